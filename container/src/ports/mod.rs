//! Published ports: how they are asked for, and the proxies that serve them.
//!
//! ```text
//! client ──▶ host address:port (a listener in the monitor) ──▶ container address:port
//! ```
//!
//! Listeners are bound before the container starts, so that a port in use is an error of the
//! start; the proxies run as threads of the monitor and end with it.

mod listener;
mod mapping;
mod tcp;
mod udp;

pub(crate) use listener::{Listeners, publish};
pub use mapping::{PortMapping, Protocol, PublishedPort};
pub(crate) use mapping::{range, split_protocol};
