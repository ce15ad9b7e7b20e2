//! How RUN steps are confined and connected, from the command line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use mica_builder::{Entitlements, NetworkMode, Sandbox};
use mica_isolation::CgroupLimits;

use super::arguments::invalid;
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

/// The period of `--cpu-quota` without `--cpu-period`, in microseconds: the kernel's default.
const CPU_PERIOD: u64 = 100_000;

/// Reads how RUN steps are confined and connected.
pub(super) fn sandbox(args: &BuildArgs, session: &Session) -> Result<Sandbox, Failure> {
    let runroot = session.directories.runroot.clone();
    let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let network = match args.network.as_str() {
        "default" | "bridge" => NetworkMode::Bridge,
        "host" => NetworkMode::Host,
        "none" => NetworkMode::None,
        other => return Err(invalid("--network", other, "expected default, host or none").into()),
    };
    let limits_at_once = Settings::read(session.environment)?.build;
    Ok(Sandbox {
        bridge: mica_container::bridge_name(&runroot),
        bridge_when_idle: mica_container::bridge_when_idle(&runroot),
        runroot,
        network,
        resolv_conf: resolv_conf(&mica_isolation::network::host_resolv_conf(&own), args),
        host_resolv_conf: resolv_conf(&own, args),
        hosts: hosts(&args.add_host)?,
        ca_bundle: ca_bundle(args, session)?,
        shm_size: args.shm_size.map_or(SHM_SIZE, |ByteSize(bytes)| bytes),
        resource_limits: args
            .ulimit
            .iter()
            .map(|text| mica_container::parse_resource_limit(text))
            .collect::<Result<_, _>>()?,
        limits: limits(args)?,
        cgroup_parent: args.cgroup_parent.clone(),
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

/// Reads the `--allow` flags.
pub(super) fn entitlements(args: &BuildArgs) -> Result<Entitlements, CliError> {
    let mut allowed = Entitlements {
        // Whoever asks for the host's network for all steps allows it to each.
        host_network: args.network == "host",
        ..Entitlements::default()
    };
    let mut devices = BTreeSet::new();
    for name in args.allow.iter().flat_map(|list| list.split(',')) {
        match name.split_once('=') {
            None if name == "network.host" => allowed.host_network = true,
            None if name == "security.insecure" => allowed.insecure = true,
            None if name == "device" => allowed.all_devices = true,
            Some(("device", name)) => {
                devices.insert(name.to_owned());
            }
            _ => {
                return Err(invalid(
                    "--allow",
                    name,
                    "expected network.host, security.insecure, device or device=NAME",
                ));
            }
        }
    }
    Ok(Entitlements { devices, ..allowed })
}

fn limits(args: &BuildArgs) -> Result<CgroupLimits, CliError> {
    let memory_swap = args.memory_swap.as_deref().map(|text| match text {
        "-1" => Ok(-1),
        _ => text
            .parse::<ByteSize>()
            .map(|ByteSize(bytes)| i64::try_from(bytes).unwrap_or(i64::MAX))
            .map_err(|reason| invalid("--memory-swap", text, &reason.to_string())),
    });
    let quota = args.cpu_quota.filter(|quota| *quota > 0);
    let share = |quota: i64| quota as f64 / args.cpu_period.unwrap_or(CPU_PERIOD).max(1) as f64;
    Ok(CgroupLimits {
        memory: args.memory.map(|ByteSize(bytes)| bytes),
        memory_swap: memory_swap.transpose()?,
        cpus: args.cpus.or(quota.map(share)),
        cpu_shares: args.cpu_shares,
        cpuset: args.cpuset_cpus.clone(),
        ..CgroupLimits::default()
    })
}

/// Puts what the flags say in the place of the host's settings.
fn resolv_conf(own: &str, args: &BuildArgs) -> String {
    let lists = [("search", &args.dns_search), ("options", &args.dns_option)];
    let given = lists.iter().filter(|(_, values)| !values.is_empty());
    let mut names: Vec<&str> = given.clone().map(|(name, _)| *name).collect();
    if !args.dns.is_empty() {
        names.push("nameserver");
    }
    let first_word = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let kept = |line: &&str| !first_word(line).is_some_and(|word| names.contains(&word.as_str()));
    let mut lines: Vec<String> = own.lines().filter(kept).map(str::to_owned).collect();
    lines.extend(args.dns.iter().map(|server| format!("nameserver {server}")));
    lines.extend(given.map(|(name, values)| format!("{name} {}", values.join(" "))));
    lines.iter().map(|line| format!("{line}\n")).collect()
}
