//! The image's configuration and the command line's become the container's.

use std::collections::BTreeMap;

use mica_oci::ContainerConfig;
use serde_json::Map;

use crate::options::check_working_directory;
use crate::ports::{range, split_protocol};
use crate::{CreateOptions, Error, NetworkMode, OptionError, parse_signal};

/// Returns the container's configuration: the image's, changed by the options.
pub(crate) fn merge(options: &CreateOptions) -> Result<ContainerConfig, Error> {
    let mut config = options.image.config.value().config.clone();
    merge_command(&mut config, options);
    for entry in &options.env {
        merge_variable(&mut config, entry);
    }
    if let Some(user) = &options.user {
        config.user.clone_from(user);
    }
    if let Some(directory) = &options.working_dir {
        check_working_directory(directory)?;
        config.working_dir.clone_from(directory);
    }
    if let Some(signal) = &options.stop_signal {
        parse_signal(signal)?;
        config.stop_signal = Some(signal.clone());
    }
    config.stop_timeout = options.stop_timeout.or(config.stop_timeout);
    merge_labels(&mut config, &options.labels);
    merge_ports(&mut config, options)?;
    Ok(config)
}

/// An entrypoint given on the command line drops the image's command, arguments replace it.
fn merge_command(config: &mut ContainerConfig, options: &CreateOptions) {
    let args = (!options.args.is_empty()).then(|| options.args.clone());
    match &options.entrypoint {
        Some(entrypoint) => {
            let reset = entrypoint.iter().all(String::is_empty);
            config.entrypoint = (!reset).then(|| entrypoint.clone());
            config.cmd = args;
        }
        None => config.cmd = args.or(config.cmd.take()),
    }
}

/// Returns the whole command line of a configuration.
pub(crate) fn command(config: &ContainerConfig) -> Result<Vec<String>, Error> {
    let parts = [&config.entrypoint, &config.cmd];
    let command: Vec<String> = parts.into_iter().flatten().flatten().cloned().collect();
    match command.first().is_none_or(String::is_empty) {
        true => Err(Error::NoCommand),
        false => Ok(command),
    }
}

/// `NAME=value` sets; `NAME` alone removes, for it is not set where the command line looked.
fn merge_variable(config: &mut ContainerConfig, entry: &str) {
    match entry.split_once('=') {
        Some((name, value)) => config.set_env(name, value),
        None => config
            .env
            .retain(|known| known.split('=').next() != Some(entry)),
    }
}

fn merge_labels(config: &mut ContainerConfig, labels: &[(String, String)]) {
    if !labels.is_empty() {
        let known = config.labels.get_or_insert_with(BTreeMap::new);
        known.extend(labels.iter().cloned());
    }
}

/// What is published is exposed too.
fn merge_ports(config: &mut ContainerConfig, options: &CreateOptions) -> Result<(), OptionError> {
    let mut keys: Vec<String> = options.host.ports.iter().map(|port| port.key()).collect();
    for text in &options.expose {
        let error = |reason| OptionError::Port {
            text: text.clone(),
            reason,
        };
        let (ports, protocol) = split_protocol(text).ok_or_else(|| error("unknown protocol"))?;
        let ports = range(ports).ok_or_else(|| error("invalid container port"))?;
        keys.extend(ports.map(|port| format!("{port}/{protocol}")));
    }
    if !keys.is_empty() {
        let known = config.exposed_ports.get_or_insert_with(BTreeMap::new);
        known.extend(keys.into_iter().map(|key| (key, Map::new())));
    }
    Ok(())
}

/// Refuses options that do not go together, as docker does.
pub(crate) fn check_conflicts(options: &CreateOptions) -> Result<(), OptionError> {
    let host = &options.host;
    if !matches!(host.network, NetworkMode::Container(_)) {
        return Ok(());
    }
    let conflicts = [
        (options.hostname.is_some(), "hostname and the network mode"),
        (!host.dns.is_empty(), "dns and the network mode"),
        (
            !host.extra_hosts.is_empty(),
            "custom host-to-IP mapping and the network mode",
        ),
        (
            !host.ports.is_empty() || host.publish_all,
            "port publishing and the container type network mode",
        ),
        (
            !options.expose.is_empty(),
            "port exposing and the container type network mode",
        ),
    ];
    match conflicts.into_iter().find(|(wrong, _)| *wrong) {
        Some((_, what)) => Err(OptionError::Conflict { what }),
        None => Ok(()),
    }
}
