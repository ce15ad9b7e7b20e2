//! From the flags of `create` and `run` to what the library is told.

use mica_container::{
    CreateOptions, HostSettings, NetworkMode, OptionError, PortMapping, TmpfsMount, VolumeMount,
    parse_resource_limit, parse_signal,
};
use mica_isolation::CgroupLimits;
use mica_store::Image;

use super::create_options::ContainerArgs;
use super::mount_option::{MountOption, MountOptionError, parse_mount, parse_volume};
use super::sizes::{ByteSize, SwapLimit};
use super::variables::{self, Lookup, VariableError};

/// What is wrong with the flags of `create` and `run`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The library refuses a value.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// A mount cannot be read.
    #[error("invalid argument \"{value}\" for \"--mount\" flag")]
    Mount {
        /// The mount as given.
        value: String,
        /// What is wrong with it.
        #[source]
        source: MountOptionError,
    },
    /// A variable or a label cannot be read.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// A port that cannot be exposed.
    #[error("invalid range format for --expose: {0}")]
    Expose(String),
    /// `--init` is not there.
    #[error("--init is not supported: there is no init process to put in front of the command")]
    Init,
    /// Restarting needs somebody who stays.
    #[error("--restart {0} is not supported: mica has no daemon that could restart a container")]
    Restart(String),
    /// `--restart` and `--rm` exclude each other, and so do other pairs.
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    /// Less memory than a process can start with.
    #[error("Minimum memory limit allowed is 6MB")]
    LittleMemory,
    /// Memory and swap together are less than the memory.
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    LittleSwap,
    /// A limit for swap alone.
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapAlone,
    /// Not a number of CPUs.
    #[error("invalid argument \"{0}\" for \"--cpus\" flag: a number greater than 0 is needed")]
    Cpus(f64),
}

/// Docker's least memory limit.
const LEAST_MEMORY: u64 = 6 << 20;

/// Whether somebody listens to a container from its start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// The container starts in the foreground.
    Foreground,
    /// It starts in the background, or is only made.
    Background,
}

/// Checks what can be checked before an image is looked for.
pub(crate) fn check(args: &ContainerArgs) -> Result<(), RequestError> {
    if args.init {
        return Err(RequestError::Init);
    }
    match args.restart.as_deref() {
        None | Some("no" | "") => Ok(()),
        Some(_) if args.rm => Err(RequestError::Conflict(
            "cannot specify both --restart and --rm",
        )),
        Some(policy) => Err(RequestError::Restart(policy.to_owned())),
    }
}

/// What flags and files say, read and checked before an image is looked for.
#[derive(Debug)]
pub(crate) struct Request {
    attached: Attached,
    env: Vec<String>,
    volumes: Vec<VolumeMount>,
    labels: Vec<(String, String)>,
    expose: Vec<String>,
    host: HostSettings,
}

/// Reads the flags' values, and the files that they name.
pub(crate) fn read(
    args: &ContainerArgs,
    attached: Attached,
    lookup: Lookup<'_>,
) -> Result<Request, RequestError> {
    let (volumes, tmpfs) = mounts(args)?;
    args.stop_signal.as_deref().map(parse_signal).transpose()?;
    Ok(Request {
        attached,
        env: variables::environment(&args.env_file, &args.env, lookup)?,
        volumes,
        labels: variables::labels(&args.label_file, &args.label)?,
        expose: exposed_ports(&args.expose)?,
        host: host_settings(args, tmpfs)?,
    })
}

impl Request {
    /// Puts together what the library is told.
    pub(crate) fn options(self, args: &ContainerArgs, image: Image) -> CreateOptions {
        CreateOptions {
            name: args.name.clone(),
            args: args.command().to_vec(),
            entrypoint: args.entrypoint.clone().map(|entrypoint| vec![entrypoint]),
            env: self.env,
            working_dir: args.workdir.clone(),
            user: args.user.clone(),
            hostname: args.hostname.clone(),
            tty: args.tty,
            interactive: args.interactive,
            stdin_once: args.interactive && self.attached == Attached::Foreground,
            volumes: self.volumes,
            labels: self.labels,
            expose: self.expose,
            stop_signal: args.stop_signal.clone(),
            stop_timeout: args.stop_timeout,
            host: self.host,
            ..CreateOptions::new(image, args.image())
        }
    }
}

fn host_settings(
    args: &ContainerArgs,
    tmpfs: Vec<TmpfsMount>,
) -> Result<HostSettings, RequestError> {
    let ports = args.publish.iter().map(|text| PortMapping::parse(text));
    let resource_limits = args.ulimit.iter().map(|text| parse_resource_limit(text));
    let usual = HostSettings::default();
    Ok(HostSettings {
        network: match &args.network {
            Some(network) => network.parse()?,
            None => NetworkMode::Bridge,
        },
        ports: ports.collect::<Result<Vec<_>, _>>()?.concat(),
        publish_all: args.publish_all,
        limits: limits(args)?,
        read_only: args.read_only,
        cap_add: args.cap_add.clone(),
        cap_drop: args.cap_drop.clone(),
        privileged: args.privileged,
        security_options: args.security_opt.clone(),
        shm_size: args.shm_size.map_or(usual.shm_size, |ByteSize(size)| size),
        resource_limits: resource_limits.collect::<Result<_, _>>()?,
        tmpfs,
        extra_hosts: args.add_host.clone(),
        dns: args.dns.clone(),
        dns_search: args.dns_search.clone(),
        dns_options: args.dns_option.clone(),
        group_add: args.group_add.clone(),
        auto_remove: args.rm,
    })
}

fn limits(args: &ContainerArgs) -> Result<CgroupLimits, RequestError> {
    // Zero stands for "no limit", as in docker.
    let memory = args
        .memory
        .map(|ByteSize(size)| size)
        .filter(|size| *size > 0);
    let memory_swap = args
        .memory_swap
        .map(|SwapLimit(limit)| limit)
        .filter(|limit| *limit != 0);
    check_memory(memory, memory_swap)?;
    let cpus = args.cpus.filter(|cpus| *cpus != 0.0);
    if let Some(cpus) = cpus.filter(|cpus| !cpus.is_finite() || *cpus < 0.0) {
        return Err(RequestError::Cpus(cpus));
    }
    Ok(CgroupLimits {
        memory,
        memory_swap,
        cpus,
        cpu_shares: args.cpu_shares.filter(|shares| *shares > 0),
        cpuset: args.cpuset_cpus.clone().filter(|set| !set.is_empty()),
        pids: args
            .pids_limit
            .and_then(|limit| u64::try_from(limit).ok())
            .filter(|limit| *limit > 0),
    })
}

fn check_memory(memory: Option<u64>, swap: Option<i64>) -> Result<(), RequestError> {
    match (memory, swap) {
        (Some(memory), _) if memory < LEAST_MEMORY => Err(RequestError::LittleMemory),
        (None, Some(swap)) if swap > 0 => Err(RequestError::SwapAlone),
        (Some(memory), Some(swap)) => match u64::try_from(swap) {
            Ok(swap) if swap < memory => Err(RequestError::LittleSwap),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn mounts(args: &ContainerArgs) -> Result<(Vec<VolumeMount>, Vec<TmpfsMount>), RequestError> {
    let volumes = args.volume.iter().map(|text| parse_volume(text));
    let memory = args.tmpfs.iter().map(|text| text.parse());
    let mut volumes = volumes.collect::<Result<Vec<_>, _>>()?;
    let mut tmpfs = memory.collect::<Result<Vec<_>, OptionError>>()?;
    for text in &args.mount {
        let mount = parse_mount(text).map_err(|source| RequestError::Mount {
            value: text.clone(),
            source,
        })?;
        match mount {
            MountOption::Volume(volume) => volumes.push(volume),
            MountOption::Memory(memory) => tmpfs.push(memory),
        }
    }
    Ok((volumes, tmpfs))
}

/// Reads `80`, `53/udp` and `8000-8002/tcp` into one entry a port.
fn exposed_ports(flags: &[String]) -> Result<Vec<String>, RequestError> {
    let mut ports = Vec::new();
    for flag in flags {
        let error = || RequestError::Expose(flag.clone());
        if flag.contains(':') {
            return Err(error());
        }
        let mappings = PortMapping::parse(flag).map_err(|_| error())?;
        ports.extend(mappings.iter().map(PortMapping::key));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        create: ContainerArgs,
    }

    fn read(line: &str) -> ContainerArgs {
        let words = std::iter::once("run").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().create
    }

    #[test]
    fn limits_are_checked() {
        let check = |line: &str, expected: Option<(Option<u64>, Option<i64>, Option<u64>)>| {
            let limits = limits(&read(line)).ok();
            let limits = limits.map(|limits| (limits.memory, limits.memory_swap, limits.pids));
            assert_eq!(limits, expected, "{line}");
        };
        check("x", Some((None, None, None)));
        check(
            "-m 64m --pids-limit 100 x",
            Some((Some(64 << 20), None, Some(100))),
        );
        check(
            "-m 64m --memory-swap -1 x",
            Some((Some(64 << 20), Some(-1), None)),
        );
        check("-m 0 --pids-limit -1 x", Some((None, None, None)));
        check("-m 64m --memory-swap 32m x", None);
        check("--memory-swap 32m x", None);
        check("-m 1m x", None);
        check("--cpus=-1 x", None);
    }

    #[test]
    fn exposed_ranges_become_ports() {
        let check = |flag: &str, expected: Option<&[&str]>| {
            let ports = exposed_ports(&[flag.to_owned()]).ok();
            let expected: Option<Vec<String>> =
                expected.map(|ports| ports.iter().map(|port| (*port).to_owned()).collect());
            assert_eq!(ports, expected, "{flag}");
        };
        check("80", Some(&["80/tcp"]));
        check("53/udp", Some(&["53/udp"]));
        check("8000-8002", Some(&["8000/tcp", "8001/tcp", "8002/tcp"]));
        check("1:2", None);
        check("x", None);
    }

    #[test]
    fn ports_and_mounts_are_collected() {
        let args = read(
            "-p 80 -p 1000-1001:2000-2001/udp -v a1:/a --mount type=tmpfs,dst=/t --tmpfs /u x",
        );
        let (volumes, tmpfs) = mounts(&args).unwrap();
        assert_eq!((volumes.len(), tmpfs.len()), (1, 2));
        assert_eq!(host_settings(&args, tmpfs).unwrap().ports.len(), 3);
        assert!(host_settings(&read("-p x:80 x"), Vec::new()).is_err());
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let check_line = |line: &str, expected: bool| {
            assert_eq!(check(&read(line)).is_ok(), expected, "{line}");
        };
        check_line("--restart no x", true);
        check_line("--restart always x", false);
        check_line("--restart always --rm x", false);
        check_line("--init x", false);
    }
}
