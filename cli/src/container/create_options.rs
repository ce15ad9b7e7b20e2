//! The flags that `create` and `run` share.

use std::path::PathBuf;

use clap::{ArgAction, ValueEnum};

use super::sizes::{ByteSize, SwapLimit};

/// Docker's flags for making a container.
#[derive(Clone, Debug, clap::Args)]
#[command(args_override_self = true)]
pub(crate) struct ContainerArgs {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) add_host: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) cap_drop: Vec<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// CPU shares (relative weight)
    #[arg(short = 'c', long, value_name = "INT")]
    pub(crate) cpu_shares: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    pub(crate) cpus: Option<f64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "STRING")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) dns: Vec<String>,
    /// Set DNS options
    #[arg(long, visible_alias = "dns-opt", value_name = "LIST", action = ArgAction::Append)]
    pub(crate) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) dns_search: Vec<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "STRING")]
    pub(crate) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short = 'e', long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) group_add: Vec<String>,
    /// Print usage
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "STRING")]
    pub(crate) hostname: Option<String>,
    /// Run an init inside the container (not supported)
    #[arg(long)]
    pub(crate) init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short = 'i', long)]
    pub(crate) interactive: bool,
    /// Set meta data on a container
    #[arg(short = 'l', long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub(crate) label_file: Vec<PathBuf>,
    /// Memory limit
    #[arg(short = 'm', long, value_name = "BYTES")]
    pub(crate) memory: Option<ByteSize>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<SwapLimit>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "MOUNT", action = ArgAction::Append)]
    pub(crate) mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "STRING")]
    pub(crate) name: Option<String>,
    /// Connect a container to a network (bridge, host, none, container:NAME)
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "INT", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Set platform if the image is for several platforms
    #[arg(long, value_name = "STRING")]
    pub(crate) platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short = 'p', long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Pull image before running
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: PullPolicy,
    /// Suppress the pull output
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Restart policy to apply when a container exits (only 'no')
    #[arg(long, value_name = "STRING")]
    pub(crate) restart: Option<String>,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Security options
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<ByteSize>,
    /// Signal to stop the container
    #[arg(long, value_name = "STRING")]
    pub(crate) stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "INT", allow_hyphen_values = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "ULIMIT", action = ArgAction::Append)]
    pub(crate) ulimit: Vec<String>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short = 'u', long, value_name = "STRING")]
    pub(crate) user: Option<String>,
    /// Bind mount a volume
    #[arg(short = 'v', long, value_name = "LIST", action = ArgAction::Append)]
    pub(crate) volume: Vec<String>,
    /// Working directory inside the container
    #[arg(short = 'w', long, value_name = "STRING")]
    pub(crate) workdir: Option<String>,
    /// The image, and what to run in place of its command; nothing behind the image is a flag
    #[arg(
        required = true,
        num_args = 1..,
        trailing_var_arg = true,
        value_names = ["IMAGE", "COMMAND"],
    )]
    image_and_command: Vec<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// Every time.
    Always,
    /// When the store does not have it.
    Missing,
    /// Not at all.
    Never,
}

impl ContainerArgs {
    /// Returns the image's name as given.
    pub(crate) fn image(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// Returns what follows the image.
    pub(crate) fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
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

    fn read(line: &str) -> Option<ContainerArgs> {
        let words = std::iter::once("run").chain(line.split_whitespace());
        Line::try_parse_from(words).ok().map(|line| line.create)
    }

    #[test]
    fn nothing_behind_the_image_is_a_flag() {
        let check = |line: &str, image: &str, command: &[&str]| {
            let read = read(line).unwrap();
            assert_eq!(
                (read.image(), read.command()),
                (
                    image,
                    &command.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>()[..]
                ),
                "{line}"
            );
        };
        check("busybox", "busybox", &[]);
        check("busybox -e A --rm", "busybox", &["-e", "A", "--rm"]);
        check("--rm busybox ls -- -l", "busybox", &["ls", "--", "-l"]);
        check("-e A=B busybox --nope", "busybox", &["--nope"]);
        check("busybox -- x", "busybox", &["--", "x"]);
        check("busybox --help", "busybox", &["--help"]);
        assert!(read("--nope busybox").is_none());
        assert!(read("").is_none());
    }

    #[test]
    fn short_flags_go_together() {
        let args = read("-it -m64m -h host -c 2 -eA --memory-swap -1 --pids-limit -1 --net=none x")
            .unwrap();
        assert!(args.interactive && args.tty);
        assert_eq!(args.memory, Some(ByteSize(64 << 20)));
        assert_eq!(args.memory_swap, Some(SwapLimit(-1)));
        assert_eq!(args.hostname.as_deref(), Some("host"));
        assert_eq!((args.cpu_shares, args.pids_limit), (Some(2), Some(-1)));
        assert_eq!(
            (args.env, args.network.as_deref()),
            (vec!["A".to_owned()], Some("none"))
        );
    }

    #[test]
    fn the_last_of_a_flag_counts() {
        let args = read("--name a --name b --pull never --pull always --rm --rm x").unwrap();
        assert_eq!(
            (args.name.as_deref(), args.pull),
            (Some("b"), PullPolicy::Always)
        );
    }
}
