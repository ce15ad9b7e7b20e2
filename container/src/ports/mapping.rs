//! Port mappings as the command line gives them, and as they came out.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::OptionError;

/// One published port that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The host's address; all addresses when absent.
    pub host_ip: Option<IpAddr>,
    /// The host's port; any free one when absent.
    pub host_port: Option<u16>,
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// One published port as it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The container's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's address.
    pub host_ip: IpAddr,
    /// The host's port.
    pub host_port: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl PortMapping {
    /// Reads docker's `-p`: `[[host address:][host port]:]container port[/protocol]`; ports may
    /// be ranges of equal length, such as `8000-8002:80-82`.
    ///
    /// # Errors
    /// [`OptionError::Port`].
    pub fn parse(text: &str) -> Result<Vec<Self>, OptionError> {
        let error = |reason| OptionError::Port {
            text: text.to_owned(),
            reason,
        };
        let (rest, protocol) = split_protocol(text).ok_or_else(|| error("unknown protocol"))?;
        let (rest, container) = rest.rsplit_once(':').unwrap_or(("", rest));
        let (address, host) = split_address(rest).ok_or_else(|| error("invalid IP address"))?;
        let container = range(container).ok_or_else(|| error("invalid container port"))?;
        if host.is_empty() {
            let any = container.map(|port| (None, port));
            return Ok(any.map(|pair| mapping(address, protocol, pair)).collect());
        }
        let host = range(host).ok_or_else(|| error("invalid host port"))?;
        if host.clone().count() != container.clone().count() {
            return Err(error("the ranges differ in length"));
        }
        let pairs = host.map(Some).zip(container);
        Ok(pairs.map(|pair| mapping(address, protocol, pair)).collect())
    }

    /// Returns the key that documents use: `80/tcp`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.container_port, self.protocol)
    }
}

fn mapping(
    host_ip: Option<IpAddr>,
    protocol: Protocol,
    (host_port, container_port): (Option<u16>, u16),
) -> PortMapping {
    PortMapping {
        host_ip,
        host_port,
        container_port,
        protocol,
    }
}

/// Splits `80/tcp` into `80` and the protocol; TCP when there is none.
pub(crate) fn split_protocol(text: &str) -> Option<(&str, Protocol)> {
    match text.rsplit_once('/') {
        None => Some((text, Protocol::Tcp)),
        Some((rest, protocol)) => Some((rest, protocol.parse().ok()?)),
    }
}

/// Splits `[address:]port`; IPv6 addresses stand in brackets.
fn split_address(text: &str) -> Option<(Option<IpAddr>, &str)> {
    match text.rsplit_once(':') {
        None => Some((None, text)),
        Some((address, port)) => {
            let bare = address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            Some((Some(bare.unwrap_or(address).parse().ok()?), port))
        }
    }
}

/// Reads `80` or `80-82`.
pub(crate) fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
    (first > 0 && first <= last).then_some(first..=last)
}

impl FromStr for Protocol {
    type Err = OptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            _ => Err(OptionError::Port {
                text: text.to_owned(),
                reason: "unknown protocol",
            }),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// As `docker port` shows the host's side: `0.0.0.0:8080`, `[::]:8080`.
impl fmt::Display for PublishedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.host_ip, self.host_port).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_read() {
        let check = |text: &str, expected: Option<&[(&str, u16, u16, &str)]>| {
            let read = PortMapping::parse(text).ok().map(|list| {
                list.iter()
                    .map(|m| {
                        let ip = m.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
                        (
                            ip,
                            m.host_port.unwrap_or(0),
                            m.container_port,
                            m.protocol.to_string(),
                        )
                    })
                    .collect::<Vec<_>>()
            });
            let own = |(ip, host, container, protocol): &(&str, u16, u16, &str)| {
                ((*ip).to_owned(), *host, *container, (*protocol).to_owned())
            };
            let expected = expected.map(|list| list.iter().map(own).collect::<Vec<_>>());
            assert_eq!(read, expected, "{text}");
        };
        check("80", Some(&[("", 0, 80, "tcp")]));
        check("4000:80", Some(&[("", 4000, 80, "tcp")]));
        check(
            "127.0.0.1:4000:80/udp",
            Some(&[("127.0.0.1", 4000, 80, "udp")]),
        );
        check("127.0.0.1::80", Some(&[("127.0.0.1", 0, 80, "tcp")]));
        check("[::1]:4000:80", Some(&[("::1", 4000, 80, "tcp")]));
        check(
            "8000-8001:80-81",
            Some(&[("", 8000, 80, "tcp"), ("", 8001, 81, "tcp")]),
        );
        check("8000-8001:80", None);
        check("x:80", None);
        check("80/sctp", None);
        check("0", None);
        check("1.2.3:4000:80", None);
        check("70000:80", None);
    }
}
