//! A container as one JSON object in the shape of docker's `container inspect`.

use mica_oci::{Access, MountKind};
use mica_store::{ActiveSnapshot, Durability};
use serde_json::{Map, Value, json};

use crate::containers::Containers;
use crate::record::{ContainerRecord, MountPoint};
use crate::state::{State, Status};
use crate::{ContainerId, Error, NetworkMode, PublishedPort};

/// Whether sizes are measured, which takes a walk over all files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// They are not.
    Omit,
    /// They are.
    Measure,
}

/// Docker's time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Containers {
    /// Describes a container.
    ///
    /// # Errors
    /// As [`Containers::record`].
    pub fn inspect(&self, id: &ContainerId, size: Size) -> Result<Value, Error> {
        let record = self.record(id)?;
        let state = self.state(id)?;
        let files = self.directory(id);
        let snapshot = self.store().open_snapshot(id.as_str())?;
        let (path, args) = record.split_command();
        let mut object = json!({
            "Id": id,
            "Created": time(Some(record.created)),
            "Path": path,
            "Args": args,
            "State": state_object(&state),
            "Image": record.image,
            "ResolvConfPath": files.join("resolv.conf"),
            "HostnamePath": files.join("hostname"),
            "HostsPath": files.join("hosts"),
            "LogPath": self.log_path(id),
            "Name": format!("/{}", record.name),
            "RestartCount": 0,
            "Driver": snapshot.snapshotter().as_str(),
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": host_config(&record),
            "GraphDriver": graph_driver(id, &snapshot),
            "Mounts": record.mounts.iter().map(mount).collect::<Vec<_>>(),
            "Config": config(&record),
            "NetworkSettings": network_settings(&record, &state),
        });
        if size == Size::Measure {
            let sizes = self.sizes(id)?;
            object["SizeRw"] = sizes.read_write.into();
            object["SizeRootFs"] = sizes.root.into();
        }
        Ok(object)
    }
}

fn graph_driver(id: &ContainerId, snapshot: &ActiveSnapshot) -> Value {
    let mut data = json!({ "ID": id, "MergedDir": snapshot.root() });
    if let MountKind::Overlay { lower, upper } = snapshot.mount(Durability::Durable) {
        let lower: Vec<String> = lower
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        data["LowerDir"] = lower.join(":").into();
        data["UpperDir"] = json!(upper.as_ref().map(|upper| &upper.upper));
        data["WorkDir"] = json!(upper.as_ref().map(|upper| &upper.work));
    }
    json!({ "Data": data, "Name": snapshot.snapshotter().as_str() })
}

fn time(time: Option<jiff::Timestamp>) -> String {
    time.map_or_else(|| NEVER.to_owned(), |time| format!("{time:.9}"))
}

fn state_object(state: &State) -> Value {
    json!({
        "Status": state.status.as_str(),
        "Running": state.is_running(),
        "Paused": state.status == Status::Paused,
        "Restarting": false,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started),
        "FinishedAt": time(state.finished),
    })
}

fn mount(mount: &MountPoint) -> Value {
    let writable = mount.access == Access::ReadWrite;
    let mut object = json!({
        "Type": if mount.volume.is_some() { "volume" } else { "bind" },
        "Source": mount.source,
        "Destination": mount.target,
        "Mode": if writable { "" } else { "ro" },
        "RW": writable,
        "Propagation": if mount.volume.is_some() { "" } else { "rprivate" },
    });
    if let Some(volume) = &mount.volume {
        object["Name"] = volume.name.as_str().into();
        object["Driver"] = "local".into();
    }
    object
}

fn config(record: &ContainerRecord) -> Value {
    let config = &record.config;
    let mut object = json!({
        "Hostname": record.hostname,
        "Domainname": "",
        "User": config.user,
        "AttachStdin": record.stdin_once,
        "AttachStdout": true,
        "AttachStderr": true,
        "ExposedPorts": config.exposed_ports,
        "Tty": record.tty,
        "OpenStdin": record.open_stdin,
        "StdinOnce": record.stdin_once,
        "Env": config.env,
        "Cmd": config.cmd,
        "Healthcheck": config.healthcheck,
        "Image": record.reference,
        "Volumes": config.volumes,
        "WorkingDir": config.working_dir,
        "Entrypoint": config.entrypoint,
        "OnBuild": if config.on_build.is_empty() { Value::Null } else { json!(config.on_build) },
        "Labels": record.labels(),
        "StopSignal": config.stop_signal,
        "StopTimeout": config.stop_timeout,
        "Shell": config.shell,
    });
    // Docker leaves these out when they are not set.
    if let Value::Object(fields) = &mut object {
        let optional = [
            "ExposedPorts",
            "Healthcheck",
            "StopSignal",
            "StopTimeout",
            "Shell",
        ];
        fields.retain(|name, value| !(value.is_null() && optional.contains(&name.as_str())));
    }
    object
}

fn host_config(record: &ContainerRecord) -> Value {
    let mut object = tie_settings(record);
    if let (Value::Object(object), Value::Object(limits)) = (&mut object, limits(record)) {
        object.extend(limits);
    }
    object
}

fn tie_settings(record: &ContainerRecord) -> Value {
    let host = &record.host;
    let list = |values: &[String]| match values.is_empty() {
        true => Value::Null,
        false => json!(values),
    };
    let tmpfs = host.tmpfs.iter();
    let tmpfs: Map<String, Value> = tmpfs
        .map(|t| (t.target.display().to_string(), t.options.as_str().into()))
        .collect();
    json!({
        "Binds": binds(record),
        "ContainerIDFile": "",
        "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": host.network.to_string(),
        "PortBindings": wanted_ports(record),
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": host.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "CapAdd": list(&host.cap_add),
        "CapDrop": list(&host.cap_drop),
        "CgroupnsMode": "private",
        "Dns": host.dns,
        "DnsOptions": host.dns_options,
        "DnsSearch": host.dns_search,
        "ExtraHosts": list(&host.extra_hosts),
        "GroupAdd": list(&host.group_add),
        "IpcMode": "private",
        "Cgroup": "",
        "Links": null,
        "OomScoreAdj": 0,
        "PidMode": "",
        "Privileged": host.privileged,
        "PublishAllPorts": host.publish_all,
        "ReadonlyRootfs": host.read_only,
        "SecurityOpt": list(&host.security_options),
        "Tmpfs": tmpfs,
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": host.shm_size,
        "Runtime": "mica",
        "Isolation": "",
    })
}

fn limits(record: &ContainerRecord) -> Value {
    /// Docker counts CPU time in thousandths of a millionth of a CPU.
    const NANO: f64 = 1e9;
    let limits = &record.host.limits;
    let memory = limits.memory.unwrap_or(0);
    // Docker's default: as much swap as memory.
    let both = i64::try_from(memory).unwrap_or(i64::MAX).saturating_mul(2);
    let ulimits = record.host.resource_limits.iter();
    let ulimits: Vec<Value> = ulimits
        .map(|limit| json!({ "Name": limit.resource, "Soft": limit.soft, "Hard": limit.hard }))
        .collect();
    json!({
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": memory,
        "NanoCpus": (limits.cpus.unwrap_or(0.0) * NANO) as u64,
        "CgroupParent": "",
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpusetCpus": limits.cpuset.as_deref().unwrap_or(""),
        "CpusetMems": "",
        "Devices": [],
        "MemoryReservation": 0,
        "MemorySwap": limits.memory_swap.unwrap_or(both),
        "MemorySwappiness": null,
        "OomKillDisable": null,
        "PidsLimit": limits.pids,
        "Ulimits": ulimits,
    })
}

fn binds(record: &ContainerRecord) -> Value {
    let named = |mount: &&MountPoint| !mount.volume.as_ref().is_some_and(|v| v.anonymous);
    let bind = |mount: &MountPoint| {
        let source = match &mount.volume {
            Some(volume) => volume.name.clone(),
            None => mount.source.display().to_string(),
        };
        let mode = if mount.access == Access::ReadOnly {
            ":ro"
        } else {
            ""
        };
        format!("{source}:{}{mode}", mount.target.display())
    };
    let binds: Vec<String> = record.mounts.iter().filter(named).map(bind).collect();
    if binds.is_empty() {
        Value::Null
    } else {
        json!(binds)
    }
}

fn wanted_ports(record: &ContainerRecord) -> Value {
    let mut bindings = Map::new();
    for port in &record.host.ports {
        let binding = json!({
            "HostIp": port.host_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            "HostPort": port.host_port.map(|port| port.to_string()).unwrap_or_default(),
        });
        add_to_list(&mut bindings, port.key(), binding);
    }
    bindings.into()
}

fn network_settings(record: &ContainerRecord, state: &State) -> Value {
    let mut settings = json!({
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": match state.pid {
            0 => String::new(),
            pid => format!("/proc/{pid}/ns/net"),
        },
        "Ports": published_ports(record, &state.ports, state.is_running()),
    });
    let end = endpoint(state);
    if let (Value::Object(settings), Value::Object(end)) = (&mut settings, &end) {
        settings.extend(end.clone());
    }
    let name = record.host.network.to_string();
    settings["Networks"] = match &record.host.network {
        NetworkMode::Container(_) => json!({}),
        NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None => {
            let mut network = json!({ "IPAMConfig": null, "Links": null, "Aliases": null });
            if let (Value::Object(network), Value::Object(end)) = (&mut network, end) {
                network.extend(end);
            }
            json!({ name: network })
        }
    };
    settings
}

fn endpoint(state: &State) -> Value {
    let address = state.address.as_ref();
    json!({
        "EndpointID": "",
        "Gateway": address.map(|a| a.gateway.to_string()).unwrap_or_default(),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": address.map(|a| a.address.to_string()).unwrap_or_default(),
        "IPPrefixLen": address.map_or(0, |a| a.prefix),
        "IPv6Gateway": "",
        "MacAddress": address.map(|a| hardware_address(a.address)).unwrap_or_default(),
    })
}

/// What the sandbox's interface has, as docker's do: made of the IPv4 address.
fn hardware_address(address: std::net::Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Exposed ports with what they are published as; `null` for none.
fn published_ports(record: &ContainerRecord, ports: &[PublishedPort], is_running: bool) -> Value {
    let mut bindings = Map::new();
    if !is_running {
        return bindings.into();
    }
    for key in record
        .config
        .exposed_ports
        .iter()
        .flatten()
        .map(|(key, _)| key)
    {
        bindings.insert(key.clone(), Value::Null);
    }
    for port in ports {
        let binding = json!({
            "HostIp": port.host_ip.to_string(),
            "HostPort": port.host_port.to_string(),
        });
        add_to_list(
            &mut bindings,
            format!("{}/{}", port.container_port, port.protocol),
            binding,
        );
    }
    bindings.into()
}

fn add_to_list(bindings: &mut Map<String, Value>, key: String, binding: Value) {
    match bindings.entry(key).or_insert(Value::Null) {
        Value::Array(list) => list.push(binding),
        empty => *empty = json!([binding]),
    }
}

impl Containers {
    /// Returns the published ports of a running container.
    ///
    /// # Errors
    /// As [`Containers::record`].
    pub fn ports(&self, id: &ContainerId) -> Result<Vec<PublishedPort>, Error> {
        Ok(self.state(id)?.ports)
    }
}
