//! From the command line of `mica build` to the request that the engine takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use jiff::Timestamp;
use mica_builder::{BuildRequest, CachePolicy, NamedContext, NetworkMode, Sandbox, SecretSource};
use mica_isolation::CgroupLimits;
use mica_oci::{Platform, Reference};
use mica_store::Store;

use super::context::Context;
use crate::commands::build::BuildArgs;
use crate::config::Settings;
use crate::container::sizes::ByteSize;
use crate::failure::{CliError, Failure};
use crate::session::Session;

/// Docker's size of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;

/// How many steps run at once: they wait for networks and disks as often as for a processor, so
/// there are more of them than processors.
const STEPS_PER_CORE: usize = 2;
const FEWEST_STEPS: usize = 4;

/// The host's bundles of certificate authorities, by distribution.
const HOST_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

fn invalid(flag: &'static str, value: &str, reason: &str) -> CliError {
    CliError::FlagValue {
        flag,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Fills the request.
pub(crate) fn request(
    args: &BuildArgs,
    session: &Session,
    context: &Context,
    named_contexts: BTreeMap<String, NamedContext>,
) -> Result<BuildRequest, Failure> {
    let platform = session.environment.platform(args.platform.as_deref())?;
    let build_args = variables(args, session);
    let epoch = build_args
        .get("SOURCE_DATE_EPOCH")
        .and_then(|seconds| seconds.parse().ok());
    let epoch = epoch.and_then(|seconds| Timestamp::from_second(seconds).ok());
    let now = match epoch {
        Some(epoch) => epoch,
        None => session
            .environment
            .source_date_epoch()?
            .unwrap_or_else(Timestamp::now),
    };
    Ok(BuildRequest {
        dockerfile: context.dockerfile.clone(),
        context: context.directory.clone(),
        ignore: context.ignore.clone(),
        named_contexts,
        build_args,
        labels: pairs(&args.label),
        target: args.target.clone(),
        platform: platform.unwrap_or_else(Platform::host),
        build_platform: Platform::host(),
        cache: cache_policy(args),
        inline_cache: false,
        tags: args
            .tag
            .iter()
            .map(|tag| tag.parse())
            .collect::<Result<Vec<Reference>, _>>()?,
        secrets: args
            .secret
            .iter()
            .map(|text| secret(text, session))
            .collect::<Result<_, _>>()?,
        sandbox: sandbox(args, session)?,
        now,
    })
}

fn variables(args: &BuildArgs, session: &Session) -> BTreeMap<String, String> {
    let own = |name: &str| session.environment.passed_on(name);
    let given = args
        .build_arg
        .iter()
        .filter_map(|text| match text.split_once('=') {
            Some((name, value)) => Some((name.to_owned(), value.to_owned())),
            None => Some((text.clone(), own(text)?)),
        });
    given.collect()
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (text.clone(), String::new()),
    };
    texts.iter().map(split).collect()
}

fn cache_policy(args: &BuildArgs) -> CachePolicy {
    if args.no_cache {
        return CachePolicy::Ignore;
    }
    let stages: BTreeSet<String> = args
        .no_cache_filter
        .iter()
        .flat_map(|list| list.split(','))
        .map(str::to_owned)
        .collect();
    if stages.is_empty() {
        CachePolicy::Use
    } else {
        CachePolicy::IgnoreStages(stages)
    }
}

/// Reads `id=ID[,src=FILE|,env=NAME]`; the source is by default a variable or file of that name.
fn secret(text: &str, session: &Session) -> Result<(String, SecretSource), CliError> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value)) => kind = Some(value),
            _ => {
                return Err(invalid(
                    "--secret",
                    text,
                    "expected id=ID,src=FILE or id=ID,env=NAME",
                ));
            }
        }
    }
    let id = id.ok_or_else(|| invalid("--secret", text, "id is missing"))?;
    if kind == Some("env") && variable.is_none() {
        variable = file.take().map(|path| path.display().to_string());
    }
    let named = variable.is_some();
    let value = match file {
        Some(_) => None,
        None => session
            .environment
            .passed_on(variable.as_deref().unwrap_or(&id)),
    };
    match (file, value) {
        (Some(path), _) => Ok((id, SecretSource::File(path))),
        (None, Some(value)) => Ok((id, SecretSource::Value(value.into_bytes()))),
        (None, None) if named => Err(invalid(
            "--secret",
            text,
            "the variable is not set in the environment",
        )),
        (None, None) => {
            let path = PathBuf::from(&id);
            Ok((id, SecretSource::File(path)))
        }
    }
}

fn sandbox(args: &BuildArgs, session: &Session) -> Result<Sandbox, Failure> {
    let runroot = session.directories.runroot.clone();
    let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let network = match args.network.as_str() {
        "default" | "bridge" => NetworkMode::Bridge,
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        other => return Err(invalid("--network", other, "expected default, host or none").into()),
    };
    let limits = CgroupLimits {
        memory: args.memory.map(|ByteSize(bytes)| bytes),
        cpu_shares: args.cpu_shares,
        cpuset: args.cpuset_cpus.clone(),
        ..CgroupLimits::default()
    };
    let limits_at_once = Settings::read(session.environment)?.build;
    Ok(Sandbox {
        bridge: mica_container::bridge_name(&runroot),
        bridge_when_idle: mica_container::bridge_when_idle(&runroot),
        runroot,
        network,
        resolv_conf: mica_isolation::network::host_resolv_conf(&resolv_conf),
        hosts: hosts(&args.add_host)?,
        ca_bundle: ca_bundle(args, session)?,
        shm_size: args.shm_size.map_or(SHM_SIZE, |ByteSize(bytes)| bytes),
        resource_limits: args
            .ulimit
            .iter()
            .map(|text| mica_container::parse_resource_limit(text))
            .collect::<Result<_, _>>()?,
        limits,
        parallelism: args
            .max_parallelism
            .or(limits_at_once.max_parallelism)
            .map_or_else(usual_parallelism, NonZeroUsize::get),
        memory: args
            .max_memory
            .or(limits_at_once.max_memory)
            .map(|ByteSize(bytes)| bytes),
    })
}

fn usual_parallelism() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (STEPS_PER_CORE * cores).max(FEWEST_STEPS)
}

/// Reads `NAME:ADDRESS` and `NAME=ADDRESS`.
fn hosts(texts: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let read = |text: &String| {
        let (name, address) = text
            .split_once('=')
            .or_else(|| text.split_once(':'))
            .ok_or_else(|| invalid("--add-host", text, "expected NAME:ADDRESS"))?;
        let address = address.trim_matches(['[', ']']);
        if address.parse::<std::net::IpAddr>().is_err() {
            return Err(invalid(
                "--add-host",
                text,
                "invalid IP address in add-host",
            ));
        }
        Ok((name.to_owned(), address.to_owned()))
    };
    texts.iter().map(read).collect()
}

/// `--ca-bundle host|FILE`, or the variable of the same meaning.
fn ca_bundle(args: &BuildArgs, session: &Session) -> Result<Option<PathBuf>, CliError> {
    let chosen = args
        .ca_bundle
        .clone()
        .or_else(|| session.environment.variable("MICA_CA_BUNDLE"));
    let path = match chosen.as_deref() {
        None => return Ok(None),
        Some("host") => host_bundle(session)
            .ok_or_else(|| invalid("--ca-bundle", "host", "no bundle was found on this machine"))?,
        Some(path) => PathBuf::from(path),
    };
    path.canonicalize()
        .map(Some)
        .map_err(|source| CliError::File {
            action: "read the CA bundle",
            path,
            source,
        })
}

fn host_bundle(session: &Session) -> Option<PathBuf> {
    let named = session
        .environment
        .variable("SSL_CERT_FILE")
        .map(PathBuf::from);
    let usual = HOST_BUNDLES.map(PathBuf::from);
    named.into_iter().chain(usual).find(|path| path.is_file())
}

/// Reads `--build-context NAME=SOURCE`: a directory, `docker-image://NAME`, `oci-layout://DIR[:TAG]`.
pub(crate) fn named_contexts(
    texts: &[String],
    session: &Session,
    store: &Store,
) -> Result<BTreeMap<String, NamedContext>, Failure> {
    let mut contexts = BTreeMap::new();
    for text in texts {
        let Some((name, source)) = text.split_once('=') else {
            return Err(invalid("--build-context", text, "expected NAME=SOURCE").into());
        };
        contexts.insert(
            name.to_owned(),
            named_context(text, source, session, store)?,
        );
    }
    Ok(contexts)
}

fn named_context(
    text: &str,
    source: &str,
    session: &Session,
    store: &Store,
) -> Result<NamedContext, Failure> {
    if let Some(name) = source.strip_prefix("docker-image://") {
        let image = match store.find(name) {
            Ok(image) => image,
            Err(_) => crate::commands::pull::pull_for_build(session, store, &name.parse()?)?,
        };
        return Ok(NamedContext::Image(Box::new(image)));
    }
    if let Some(layout) = source.strip_prefix("oci-layout://") {
        return layout_image(text, layout, store);
    }
    if source.contains("://") {
        return Err(invalid(
            "--build-context",
            text,
            "this kind of source is not supported yet",
        )
        .into());
    }
    let path = PathBuf::from(source);
    let failed = |source| CliError::File {
        action: "open the build context",
        path: path.clone(),
        source,
    };
    Ok(NamedContext::Directory(
        path.canonicalize().map_err(failed)?,
    ))
}

/// Takes one image of a layout: the one of that tag, or the only one.
fn layout_image(text: &str, layout: &str, store: &Store) -> Result<NamedContext, Failure> {
    let (path, tag) = match layout.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (layout, None),
    };
    let path = path.split('@').next().unwrap_or(path);
    let loaded = mica_store::load_directory(store, &PathBuf::from(path))?;
    let matches = |loaded: &&mica_store::Loaded| match (&loaded.reference, tag) {
        (Some(reference), Some(tag)) => reference.tag() == Some(tag) || reference.familiar() == tag,
        (_, None) => true,
        (None, Some(_)) => false,
    };
    match loaded.iter().find(matches) {
        Some(loaded) => Ok(NamedContext::Image(Box::new(loaded.image.clone()))),
        None => Err(invalid("--build-context", text, "the layout has no such image").into()),
    }
}
