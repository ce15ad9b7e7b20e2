//! `mica stats`.

use std::time::{Duration, Instant};

use clap::Args;
use mica_container::{ContainerId, Containers, Error};
use mica_isolation::cgroup::Statistics;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::listing::{Listing, row};
use crate::printer;
use crate::session::Session;

/// Display a live stream of container(s) resource usage statistics
#[derive(Args, Debug)]
pub(crate) struct StatsArgs {
    /// Format output using a Go template, `table TEMPLATE` or `json`
    #[arg(long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Disable streaming stats and only pull the first result
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// The containers; all that run if none is named
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const LISTING: Listing = Listing {
    row: "*container.statsContext",
    headers: &[
        ("ID", "CONTAINER ID"),
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("PIDs", "PIDS"),
    ],
    default: "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.PIDs}}",
};

/// CPU time is measured over that long, as docker does.
const INTERVAL: Duration = Duration::from_secs(1);

/// Clears a terminal and goes to its first line.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// One container at two moments.
struct Usage {
    id: ContainerId,
    name: String,
    limit: Option<u64>,
    statistics: Statistics,
    cpu_percent: f64,
}

/// Runs the command.
pub(crate) fn run(args: &StatsArgs, session: &Session) -> Outcome {
    let containers = session.containers()?;
    loop {
        let rows: Vec<Value> = measure(args, &containers)?
            .iter()
            .map(|usage| describe(args, usage))
            .collect();
        if !args.no_stream && session.printer.is_terminal() {
            session.printer.data(CLEAR)?;
        }
        LISTING.print(session.printer, args.format.as_deref(), &rows)?;
        if args.no_stream {
            return Ok(Exit::Success);
        }
    }
}

fn measure(args: &StatsArgs, containers: &Containers) -> Result<Vec<Usage>, Failure> {
    let start = Instant::now();
    let mut first = Vec::new();
    for id in choose(args, containers)? {
        first.extend(statistics(containers, &id)?.map(|statistics| (id, statistics)));
    }
    std::thread::sleep(INTERVAL);
    let elapsed = start.elapsed();
    let mut usages = Vec::new();
    for (id, former) in first {
        let Some(statistics) = statistics(containers, &id)? else {
            continue;
        };
        let record = containers.record(&id)?;
        let cpu = statistics.cpu.saturating_sub(former.cpu);
        usages.push(Usage {
            id,
            name: record.name,
            limit: record.host.limits.memory,
            statistics,
            cpu_percent: cpu.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
        });
    }
    Ok(usages)
}

fn choose(args: &StatsArgs, containers: &Containers) -> Result<Vec<ContainerId>, Failure> {
    if !args.containers.is_empty() {
        return args
            .containers
            .iter()
            .map(|name| super::find(containers, name))
            .collect();
    }
    let running = containers
        .list()?
        .into_iter()
        .filter(|container| container.state.is_running());
    Ok(running.map(|container| container.id).collect())
}

/// A container that does not run, or has ended meanwhile, uses nothing.
fn statistics(containers: &Containers, id: &ContainerId) -> Result<Option<Statistics>, Failure> {
    match containers.stats(id) {
        Ok(statistics) => Ok(Some(statistics)),
        Err(Error::NotRunning { .. }) => Ok(None),
        Err(_) if !containers.state(id)?.is_running() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn describe(args: &StatsArgs, usage: &Usage) -> Value {
    let id = if args.no_trunc {
        usage.id.as_str()
    } else {
        usage.id.short()
    };
    // Page cache that goes first when memory is short is not what the container uses.
    let used = usage
        .statistics
        .memory
        .saturating_sub(usage.statistics.inactive_file);
    let limit = usage.limit.unwrap_or_else(host_memory);
    row([
        ("ID", id.to_owned()),
        ("Container", id.to_owned()),
        ("Name", usage.name.clone()),
        ("CPUPerc", format!("{:.2}%", usage.cpu_percent)),
        (
            "MemUsage",
            format!(
                "{} / {}",
                printer::bytes_binary(used),
                printer::bytes_binary(limit)
            ),
        ),
        ("MemPerc", format!("{:.2}%", percent(used, limit))),
        ("PIDs", usage.statistics.pids.to_string()),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64 * 100.0
    }
}

/// What a container without a limit may use.
fn host_memory() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}
