//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container: files in its directory,
//! bound over empty ones of the Init layer, so that no commit has them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use mica_isolation::network::host_resolv_conf;

use crate::error::At;
use crate::options::split_extra_host;
use crate::record::{ContainerRecord, Durability, write_file};
use crate::state::Address;
use crate::{Error, NetworkMode};

/// The host's files that a container's are made from.
const HOST_HOSTS: &str = "/etc/hosts";
const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";

/// The names of the files in a container's directory, which are also those in `/etc`.
pub(crate) const NAMES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];

/// What every container resolves without a name server.
const LOCAL_HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Writes the three files into the container's directory.
pub(crate) fn write(
    directory: &Path,
    record: &ContainerRecord,
    address: Option<&Address>,
) -> Result<(), Error> {
    let hostname = format!("{}\n", record.hostname);
    let contents = [hosts(record, address)?, hostname, resolv_conf(record)?];
    for (name, content) in NAMES.iter().zip(contents) {
        write_file(&directory.join(name), content.as_bytes(), Durability::Lazy)?;
    }
    Ok(())
}

fn hosts(record: &ContainerRecord, address: Option<&Address>) -> Result<String, Error> {
    let mut text = match record.host.network {
        NetworkMode::Host => read_or_empty(Path::new(HOST_HOSTS))?,
        _ => LOCAL_HOSTS.to_owned(),
    };
    for entry in &record.host.extra_hosts {
        let (name, target) = split_extra_host(entry)?;
        let gateway = address.map(|address| address.gateway.to_string());
        let target = match target {
            "host-gateway" => gateway.as_deref().unwrap_or("127.0.0.1"),
            target => target.trim_start_matches('[').trim_end_matches(']'),
        };
        let _ = writeln!(text, "{target}\t{name}");
    }
    if let Some(address) = address {
        let short = record.hostname.split('.').next().unwrap_or_default();
        let _ = match record.hostname.contains('.') {
            true => writeln!(text, "{}\t{} {short}", address.address, record.hostname),
            false => writeln!(text, "{}\t{short}", address.address),
        };
    }
    Ok(text)
}

/// The host's file, less what cannot be reached from the container; given servers replace its own.
fn resolv_conf(record: &ContainerRecord) -> Result<String, Error> {
    let host = read_or_empty(Path::new(HOST_RESOLV_CONF))?;
    let settings = &record.host;
    let base = match settings.network {
        NetworkMode::Host => host,
        _ => host_resolv_conf(&host),
    };
    let replaced = [
        ("nameserver", &settings.dns),
        ("search", &settings.dns_search),
        ("options", &settings.dns_options),
    ];
    let keeps = |line: &&str| {
        let keyword = line.split_whitespace().next();
        !replaced
            .iter()
            .any(|(name, values)| keyword == Some(name) && !values.is_empty())
    };
    let mut text: String = base
        .lines()
        .filter(keeps)
        .flat_map(|line| [line, "\n"])
        .collect();
    for server in &settings.dns {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (keyword, values) in &replaced[1..] {
        if !values.is_empty() {
            let _ = writeln!(text, "{keyword} {}", values.join(" "));
        }
    }
    Ok(text)
}

fn read_or_empty(path: &Path) -> Result<String, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read
            .at("read", path)
            .map(|text| String::from_utf8_lossy(&text).into_owned()),
    }
}

/// Returns source and target of the three bind mounts.
pub(crate) fn binds(directory: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    NAMES
        .iter()
        .map(move |name| (directory.join(name), Path::new("/etc").join(name)))
}
