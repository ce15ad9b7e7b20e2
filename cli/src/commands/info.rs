//! `mica info`.

use clap::Args;
use mica_isolation::{HostReport, Rung, probe};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::session::Session;
use crate::template::Template;

/// Display what the host allows, and what is in the store
#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Format output using a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Display how a registry is reached, and which files say so
    #[arg(long, value_name = "HOST")]
    registry: Option<String>,
    /// The same as --registry
    #[arg(value_name = "HOST", conflicts_with = "registry")]
    host: Option<String>,
}

/// Runs the command.
pub(crate) fn run(args: &InfoArgs, session: &Session) -> Outcome {
    if let Some(host) = args.registry.as_ref().or(args.host.as_ref()) {
        return super::registry_info::run(host, args.format.as_deref(), session);
    }
    let host = probe();
    let data = describe(&host, session)?;
    match args.format.as_deref() {
        None | Some("") => session.printer.data(text(&host, &data))?,
        Some("json") => session.printer.line(data.to_string())?,
        Some(format) => session
            .printer
            .line(Template::parse(format)?.render(&data)?)?,
    }
    Ok(Exit::Success)
}

fn describe(host: &HostReport, session: &Session) -> Result<Value, Failure> {
    let containers = session.containers()?;
    let list = containers.list()?;
    let in_state = |state: &str| {
        list.iter()
            .filter(|summary| summary.state.status.as_str() == state)
            .count()
    };
    let platform = mica_oci::Platform::host();
    let (running, paused) = (in_state("running"), in_state("paused"));
    Ok(json!({
        "Containers": list.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": list.len() - running - paused,
        "Images": containers.store().images()?.len(),
        "Driver": "overlay2",
        "CgroupVersions": host.cgroups.versions,
        "CgroupControllers": host.cgroups.controllers,
        "KernelVersion": host.kernel,
        "OSType": platform.os,
        "Architecture": platform.architecture,
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "Overlay": host.overlay,
        "Seccomp": host.seccomp,
        "Nftables": host.nftables,
        "Isolation": host.rungs.iter().map(|report| json!({
            "Name": name(report.rung),
            "Allowed": report.obstacle.is_none(),
            "Reason": report.obstacle.as_ref().map(|obstacle| &obstacle.reason),
            "Remedy": report.obstacle.as_ref().map(|obstacle| &obstacle.remedy),
        })).collect::<Vec<_>>(),
        "DockerRootDir": session.directories.root,
        "RunRoot": session.directories.runroot,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    }))
}

fn name(rung: Rung) -> &'static str {
    match rung {
        Rung::Root => "root",
        Rung::SubordinateIds => "user with subordinate ids",
        Rung::SingleId => "user with a single id",
        Rung::ChangedRoot => "without namespaces",
    }
}

fn text(host: &HostReport, data: &Value) -> String {
    let mut out = String::new();
    let shown = [
        ("Version", "ServerVersion"),
        ("Store", "DockerRootDir"),
        ("Run state", "RunRoot"),
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Kernel", "KernelVersion"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Overlay", "Overlay"),
        ("Seccomp", "Seccomp"),
        ("Nftables", "Nftables"),
    ];
    for (label, field) in shown {
        let value = &data[field];
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        out.push_str(&format!("{label}: {value}\n"));
    }
    let versions: Vec<_> = host
        .cgroups
        .versions
        .iter()
        .map(|version| format!("v{version}"))
        .collect();
    let controllers = host.cgroups.controllers.join(" ");
    out.push_str(&format!(
        "Cgroups: {} ({controllers})\nIsolation:\n",
        versions.join(", ")
    ));
    for report in &host.rungs {
        let name = name(report.rung);
        out.push_str(&match &report.obstacle {
            None => format!(" {name}: yes\n"),
            Some(obstacle) => format!(" {name}: no: {}; {}\n", obstacle.reason, obstacle.remedy),
        });
    }
    out
}
