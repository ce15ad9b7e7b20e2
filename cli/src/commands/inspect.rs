//! `mica inspect`: images, containers and volumes.

use clap::{Args, ValueEnum};
use mica_container::{Containers, Size};
use mica_store::{Store, StoreError};
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::{CliError, Failure, Outcome};
use crate::session::Session;
use crate::template::{Shapes, Template};

/// Return low-level information on objects
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// Format output using a Go template, or `json`
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of that type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// The objects
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// What can be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Containers
    Container,
    /// Images
    Image,
    /// Volumes
    Volume,
}

/// Fields that are maps and lists in docker's types.
const SHAPES: Shapes = Shapes {
    text_maps: &[
        "Labels",
        "Annotations",
        "Sysctls",
        "StorageOpt",
        "DriverOpts",
        "Options",
        "Tmpfs",
        "Data",
    ],
    maps: &[
        "Ports",
        "PortBindings",
        "ExposedPorts",
        "Volumes",
        "Networks",
    ],
    lists: &[
        "Args",
        "Aliases",
        "Binds",
        "CapAdd",
        "CapDrop",
        "Cmd",
        "Dns",
        "DnsOptions",
        "DnsSearch",
        "Entrypoint",
        "Env",
        "ExecIDs",
        "ExtraHosts",
        "GroupAdd",
        "Layers",
        "Links",
        "Mounts",
        "OnBuild",
        "RepoDigests",
        "RepoTags",
        "SecurityOpt",
        "Shell",
        "Ulimits",
    ],
    optional_texts: &["MacAddress", "OsVersion", "StopSignal", "Variant"],
    optional: &[
        "ExposedPorts",
        "Health",
        "Healthcheck",
        "Init",
        "Mounts",
        "Shell",
        "SizeRootFs",
        "SizeRw",
        "StopTimeout",
        "StorageOpt",
        "Sysctls",
        "Tmpfs",
    ],
};

/// Where to look.
struct Places {
    kind: Option<Kind>,
    size: bool,
    store: Store,
    containers: Containers,
}

/// Runs the command for objects of `kind`, or of the kind that the arguments name.
pub(crate) fn run(args: &InspectArgs, kind: Option<Kind>, session: &Session) -> Outcome {
    let template = match args.format.as_deref() {
        None | Some("" | "json") => None,
        Some(text) => Some(Template::parse(text)?.with_shapes(SHAPES)),
    };
    let store = session.store()?;
    let places = Places {
        kind: kind.or(args.kind),
        size: args.size,
        containers: session.containers_of(store.clone())?,
        store,
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for name in &args.names {
        match places.find(name) {
            Ok(object) => found.push(object),
            Err(failure) => missing.push(failure),
        }
    }
    print(session, template.as_ref(), args.format.as_deref(), found)?;
    for failure in &missing {
        session.printer.report(failure);
    }
    match missing.is_empty() {
        true => Ok(Exit::Success),
        false => Err(CliError::Reported.into()),
    }
}

fn print(
    session: &Session,
    template: Option<&Template>,
    format: Option<&str>,
    found: Vec<Value>,
) -> Result<(), Failure> {
    match template {
        Some(template) => {
            for object in &found {
                session.printer.line(template.render(object)?)?;
            }
        }
        None if format == Some("json") => session.printer.line(Value::Array(found).to_string())?,
        None => session.printer.line(pretty(&Value::Array(found)))?,
    }
    Ok(())
}

/// Docker indents by four.
fn pretty(value: &Value) -> String {
    if value.as_array().is_some_and(Vec::is_empty) {
        return "[]".into();
    }
    let mut out = Vec::new();
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, indent);
    serde::Serialize::serialize(value, &mut serializer).expect("a value can be written to memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}

impl Places {
    fn wants(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
    }

    fn find(&self, name: &str) -> Result<Value, Failure> {
        if self.wants(Kind::Container)
            && let Some(container) = self.container(name)?
        {
            return Ok(container);
        }
        let mut near = match self.wants(Kind::Container) {
            true => super::names::near(&self.containers, name),
            false => Vec::new(),
        };
        if self.wants(Kind::Image) {
            match self.store.find(name) {
                Ok(image) => return super::image_json::inspect(&self.store, &image),
                Err(StoreError::NotFound { near: names, .. }) if self.kind.is_none() => {
                    near.extend(names)
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.wants(Kind::Volume)
            && let Ok(volume) = self.containers.volumes().get(name)
        {
            return Ok(volume.inspect());
        }
        let error = CliError::NoSuchObject {
            name: name.to_owned(),
        };
        Err(Failure::from(error).or_hint(|| crate::hint::near_names(&near)))
    }

    fn container(&self, name: &str) -> Result<Option<Value>, Failure> {
        let id = match self.containers.find(name) {
            Ok(id) => id,
            Err(mica_container::Error::NoSuchContainer { .. }) if self.kind.is_none() => {
                return Ok(None);
            }
            Err(error) => return Err(super::container_failure(&self.containers, error)),
        };
        let size = if self.size { Size::Measure } else { Size::Omit };
        Ok(Some(self.containers.inspect(&id, size)?))
    }
}
