//! `mica build`.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};

use clap::Args;
use jiff::Timestamp;
use mica_builder::{BuildRequest, Journal, SecretSource, SshSource, Subject};
use mica_oci::Digest;
use mica_store::Store;

use crate::build::{
    self, Ask, Attesting, Bases, Call, Checker, Context, Delivery, Display, ErrorFormat, Goal,
    Host, Method, Origin, OutputArgs, Pull, Remotes, Reporting, Shipping, Style, Warnings,
};
use crate::config::Settings;
use crate::container::sizes::ByteSize;
use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;

/// Build an image from a Dockerfile
#[derive(Args, Debug)]
pub(crate) struct BuildArgs {
    /// Name and optionally a tag (format: "name:tag")
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Name of the Dockerfile (default: "PATH/Dockerfile"); - reads it from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Set build-time variables
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Additional build contexts (e.g., name=path, name=docker-image://x, name=oci-layout://dir)
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) build_context: Vec<String>,
    /// Set the target build stage to build
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Set metadata for an image
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Set target platforms for build; several give one image index
    #[arg(long, value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// Do not use cache when building the image
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Do not cache specified stages
    #[arg(long, value_name = "STAGE")]
    pub(crate) no_cache_filter: Vec<String>,
    /// External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")
    #[arg(long, value_name = "SPEC")]
    cache_from: Vec<String>,
    /// Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")
    #[arg(long, value_name = "SPEC")]
    cache_to: Vec<String>,
    /// How many RUN instructions may run at once
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_parallelism: Option<NonZeroUsize>,
    /// How much memory RUN instructions that run at once may need together
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_memory: Option<ByteSize>,
    /// Always attempt to pull all referenced images
    #[arg(long)]
    pub(crate) pull: bool,
    /// Suppress the build output and print image ID on success
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Set type of progress output
    #[arg(long, value_enum)]
    progress: Option<Style>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")
    #[arg(long, value_name = "SPEC")]
    pub(crate) secret: Vec<String>,
    /// SSH agent socket or keys to expose to the build (format: "default" or "ID=SOCKET" or "ID=KEY,KEY")
    #[arg(long, value_name = "SPEC")]
    pub(crate) ssh: Vec<String>,
    /// Allow extra privileged entitlement (e.g., "network.host", "security.insecure", "device")
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(crate) allow: Vec<String>,
    /// Set the networking mode for the RUN instructions during build
    #[arg(long, default_value = "default")]
    pub(crate) network: String,
    /// Add a custom host-to-IP mapping (format: "host:ip")
    #[arg(long, value_name = "HOST:IP")]
    pub(crate) add_host: Vec<String>,
    /// Set custom DNS servers for RUN steps
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Set custom DNS search domains for RUN steps
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Set DNS options for RUN steps
    #[arg(long, value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// Certificate authorities that RUN steps trust: "host" or a PEM file; leaves no trace
    #[arg(long, value_name = "host|FILE")]
    pub(crate) ca_bundle: Option<String>,
    /// Shared memory size for build containers
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<ByteSize>,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Memory limit of each step
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<ByteSize>,
    /// Swap limit of each step equal to memory plus swap: -1 to enable unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Number of CPUs of each step
    #[arg(long, value_name = "NUMBER", conflicts_with = "cpu_quota")]
    pub(crate) cpus: Option<f64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_period: Option<u64>,
    /// Limit the CPU CFS (Completely Fair Scheduler) quota, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    pub(crate) cpu_quota: Option<i64>,
    /// CPU shares of each step (relative weight)
    #[arg(short = 'c', long, value_name = "SHARES")]
    pub(crate) cpu_shares: Option<u64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "CPUS")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Check the Dockerfile and build nothing: shorthand for "--call=check"
    #[arg(long)]
    check: bool,
    /// Set method for evaluating build ("check", "outline", "targets"; ",format=json")
    #[arg(long, value_name = "METHOD", default_value = "build")]
    call: String,
    /// How errors about the Dockerfile are written
    #[arg(long, value_enum, default_value = "text")]
    error_format: ErrorFormat,
    /// Tell which pattern of the ignore file keeps a path out of the context, and build nothing
    #[arg(long, value_name = "PATH")]
    explain_ignore: Option<String>,
    /// Set the parent cgroup for the RUN instructions during build
    #[arg(long, value_name = "CGROUP")]
    pub(crate) cgroup_parent: Option<PathBuf>,
    /// The context: a directory, an archive, a git or http(s) address, or - for an archive or a Dockerfile on standard input
    #[arg(value_name = "PATH | URL | -")]
    context: String,
}

/// Runs the command.
pub(crate) fn run(args: &BuildArgs, session: &Session) -> Outcome {
    let goal = goal(args, session)?;
    let call = Call::of(&args.call, args.check)?;
    let store = session.store()?;
    let secrets = build::secrets(&args.secret, session)?;
    let ssh = build::ssh(&args.ssh, session)?;
    let context = open_context(args, session, &store, &secrets, &ssh)?;
    if let Some(path) = &args.explain_ignore {
        return build::explain_ignore(path, &context, session.printer);
    }
    let reporting = reporting(args, session, &context);
    if let Some(error) = build::unknown_frontend(&context.dockerfile) {
        return Err(reporting.failure(&[error]));
    }
    let held = store.hold()?;
    let named = build::named_contexts(&args.build_context, session, &store)?;
    let caches = build::Caches::read(&args.cache_from, &args.cache_to, session)?;
    let mut request = build::request(args, session, &context, named, secrets, ssh)?;
    request.inline_cache = caches.inline;
    request.platform.clone_from(&goal.platforms[0]);
    let checker = Checker {
        request: &request,
        store: &store,
        session,
        ask: if call.method == Method::Build {
            Ask::Store
        } else {
            Ask::Registry
        },
    };
    if call.method != Method::Build {
        return build::call(call, &checker, &reporting);
    }
    let style = build::choose_style(args.quiet, args.progress, session)?;
    let display = style.display(session);
    build::tell_definition(&display, &context);
    display.record(Journal::new(&store, Subject::of(&request, &goal.tags)));
    let warnings = match style.shows_warnings() {
        true => Warnings::Shown,
        false => Warnings::Hidden,
    };
    let id = build::checked(&checker, &reporting, warnings, || {
        let made = make(args, session, &checker, caches, &display, &reporting, &goal);
        build::end(&display, style, made, &reporting)
    })?;
    // What is over the limit goes only when nobody uses the store.
    drop(held);
    let limits = Settings::read(session.environment)?.build.cache;
    super::builder_prune::keep_limit(&store, &limits)?;
    if style.is_quiet() {
        session.printer.line(id.as_str())?;
    }
    Ok(Exit::Success)
}

/// Opens the context, wherever it is.
fn open_context(
    args: &BuildArgs,
    session: &Session,
    store: &Store,
    secrets: &BTreeMap<String, SecretSource>,
    ssh: &BTreeMap<String, SshSource>,
) -> Result<Context, Failure> {
    let remotes = Remotes {
        store,
        client: &build::Fetcher::new(session),
        secrets,
        ssh,
    };
    let context = build::open_context(&args.context, args.file.as_deref(), &remotes)?;
    Ok(context)
}

/// Builds the image and brings it to its outputs; returns its ID.
fn make(
    args: &BuildArgs,
    session: &Session,
    checker: &Checker<'_>,
    caches: build::Caches,
    display: &Display,
    reporting: &Reporting<'_>,
    goal: &Goal,
) -> Result<Digest, Failure> {
    let (store, request): (&Store, &BuildRequest) = (checker.store, checker.request);
    let shipping = Shipping::new(store, goal, || session.registry())?;
    let connect = || session.registry().map_err(|failure| failure.error);
    let host = Host {
        store,
        display,
        pull: if args.pull {
            Pull::Always
        } else {
            Pull::Missing
        },
        caches,
        connect: &connect,
        connection: OnceLock::new(),
        pulling: Mutex::new(()),
        shipping: shipping.as_ref(),
        bases: Bases::default(),
    };
    let started = Timestamp::now();
    let built = mica_builder::build(store, request, &goal.platforms, &host)
        .map_err(|error| reporting.failure(&build::diagnostics(&error, &request.dockerfile)));
    let id = built.and_then(|built| {
        let attesting = (!goal.attestations.is_empty()).then(|| Attesting {
            wanted: &goal.attestations,
            origin: Origin {
                request,
                bases: &host.bases,
                invocation: display.build_id(),
                started,
            },
        });
        let delivery = Delivery {
            store,
            built: &built,
            tags: &goal.tags,
            shipping: shipping.as_ref(),
            attesting: attesting.as_ref(),
            display,
        };
        build::deliver_all(&goal.outputs, &delivery, &args.output)
    });
    if let Some(shipping) = shipping {
        shipping.close();
    }
    id
}

/// Reads what is to be made, and fails for what cannot be.
fn goal(args: &BuildArgs, session: &Session) -> Result<Goal, CliError> {
    let goal = Goal {
        tags: build::tags(&args.tag)?,
        platforms: build::platforms(&args.platform, session)?,
        outputs: args.output.outputs()?,
        attestations: args.output.attestations()?,
    };
    goal.check(session.printer)?;
    Ok(goal)
}

fn reporting<'c>(args: &BuildArgs, session: &Session, context: &'c Context) -> Reporting<'c> {
    let github = session.environment.variable("GITHUB_ACTIONS");
    Reporting {
        dockerfile: &context.dockerfile,
        path: context.path.as_deref(),
        format: args.error_format,
        annotate: github.as_deref() == Some("true"),
        printer: session.printer,
    }
}
