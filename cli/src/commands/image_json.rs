//! An image in docker's JSON shape.

use mica_oci::{ChainId, ContainerConfig, DiffId, History};
use mica_store::{Image, Store};
use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Returns the size of an image's files, in bytes.
pub(super) fn size(store: &Store, image: &Image) -> Result<u64, Failure> {
    Ok(layer_sizes(store, image)?.iter().sum())
}

/// Returns the size of each layer, bottom first: of its files where the layer is unpacked, of
/// its blob otherwise.
fn layer_sizes(store: &Store, image: &Image) -> Result<Vec<u64>, Failure> {
    let mut chain = None;
    let mut sizes = Vec::new();
    for (index, diff_id) in image.config.value().rootfs.diff_ids.iter().enumerate() {
        let id = ChainId::extend(chain.as_ref(), diff_id);
        let unpacked = store.layer(&id)?.and_then(|layer| layer.description);
        let blob = image.manifest.value().layers.get(index);
        sizes.push(match unpacked {
            Some(description) => description.content,
            None => blob.map_or(0, |descriptor| descriptor.size),
        });
        chain = Some(id);
    }
    Ok(sizes)
}

/// Returns the history, oldest first, with the size of each entry's layer.
pub(super) fn history(store: &Store, image: &Image) -> Result<Vec<(History, u64)>, Failure> {
    let mut sizes = layer_sizes(store, image)?.into_iter();
    let entries = image.config.value().history.iter();
    let mut steps: Vec<_> = entries
        .map(|entry| {
            let size = if entry.empty_layer {
                0
            } else {
                sizes.next().unwrap_or(0)
            };
            (entry.clone(), size)
        })
        .collect();
    // A tool that writes no history still makes layers.
    steps.extend(sizes.map(|size| (History::default(), size)));
    Ok(steps)
}

/// Describes an image as `docker image inspect` does.
pub(super) fn inspect(store: &Store, image: &Image) -> Result<Value, Failure> {
    let config = image.config.value();
    let mut description = json!({
        "Id": image.id(),
        "RepoTags": tags(store, image)?,
        "RepoDigests": store.repository_digests(image.id())?,
        "Parent": "",
        "Comment": config.history.last().and_then(|entry| entry.comment.clone()).unwrap_or_default(),
        "Created": config.created.map_or_else(|| "0001-01-01T00:00:00Z".into(), |time| time.to_string()),
        "DockerVersion": config.other.get("docker_version").and_then(Value::as_str).unwrap_or(""),
        "Author": config.author.clone().unwrap_or_default(),
        "Config": container_config(&config.config),
        "Architecture": config.architecture,
    });
    let fields = description
        .as_object_mut()
        .expect("made as an object above");
    if let Some(variant) = &config.variant {
        fields.insert("Variant".into(), variant.as_str().into());
    }
    let rest = json!({
        "Os": config.os,
        "Size": size(store, image)?,
        "GraphDriver": { "Data": graph_data(store, image)?, "Name": "overlay2" },
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
        "Descriptor": image.target,
    });
    if let Value::Object(rest) = rest {
        fields.extend(rest);
    }
    Ok(description)
}

fn tags(store: &Store, image: &Image) -> Result<Vec<String>, Failure> {
    let mut tags = Vec::new();
    for tagged in store.images()? {
        let same = tagged.target.digest == image.target.digest
            || store
                .image(&tagged.target, None)
                .is_ok_and(|other| other.id() == image.id());
        tags.extend(
            tagged
                .reference
                .filter(|_| same)
                .map(|reference| reference.familiar()),
        );
    }
    Ok(tags)
}

/// Where the layers are on the host, the topmost first, as docker's overlay2 driver tells.
fn graph_data(store: &Store, image: &Image) -> Result<Value, Failure> {
    let diff_ids: &[DiffId] = &image.config.value().rootfs.diff_ids;
    let mut directories = Vec::new();
    for count in (1..=diff_ids.len()).rev() {
        let chain = ChainId::of(&diff_ids[..count]);
        let layer = chain
            .map(|chain| store.layer(&chain))
            .transpose()?
            .flatten();
        directories.extend(layer.map(|layer| layer.path.display().to_string()));
    }
    let mut data = Map::new();
    if directories.len() > 1 {
        data.insert("LowerDir".into(), directories[1..].join(":").into());
    }
    if let Some(top) = directories.first() {
        data.insert("UpperDir".into(), top.as_str().into());
    }
    Ok(Value::Object(data))
}

/// The container configuration with every key that docker shows.
fn container_config(config: &ContainerConfig) -> Value {
    let other = |name: &str, default: Value| config.other.get(name).cloned().unwrap_or(default);
    let mut shown = json!({
        "Hostname": other("Hostname", "".into()),
        "Domainname": other("Domainname", "".into()),
        "User": config.user,
        "AttachStdin": other("AttachStdin", false.into()),
        "AttachStdout": other("AttachStdout", false.into()),
        "AttachStderr": other("AttachStderr", false.into()),
    });
    let fields = shown.as_object_mut().expect("made as an object above");
    let mut add = |name: &str, value: Value| fields.insert(name.into(), value);
    if let Some(ports) = &config.exposed_ports {
        add("ExposedPorts", json!(ports));
    }
    for name in ["Tty", "OpenStdin", "StdinOnce"] {
        add(name, other(name, false.into()));
    }
    add("Env", json!(config.env));
    add("Cmd", json!(config.cmd));
    if let Some(healthcheck) = &config.healthcheck {
        add("Healthcheck", json!(healthcheck));
    }
    if config.args_escaped {
        add("ArgsEscaped", true.into());
    }
    add("Image", other("Image", "".into()));
    add("Volumes", json!(config.volumes));
    add("WorkingDir", json!(config.working_dir));
    add("Entrypoint", json!(config.entrypoint));
    let on_build = Some(&config.on_build).filter(|triggers| !triggers.is_empty());
    add("OnBuild", json!(on_build));
    add("Labels", json!(config.labels));
    if let Some(signal) = &config.stop_signal {
        add("StopSignal", json!(signal));
    }
    if let Some(timeout) = config.stop_timeout {
        add("StopTimeout", json!(timeout));
    }
    if let Some(shell) = &config.shell {
        add("Shell", json!(shell));
    }
    shown
}
