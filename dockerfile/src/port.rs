//! The words of `EXPOSE`: `80`, `53/udp`, `8000-8010/tcp`.

use crate::quote::Quoted;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use thiserror::Error;

/// A word of `EXPOSE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPort {
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// The protocol in lower case; `tcp` if there is none.
    pub protocol: String,
}

/// What is wrong with a word of `EXPOSE`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PortError {
    /// There is no port, or another protocol than `tcp`, `udp` and `sctp`.
    #[error("invalid port: {}: {problem}", Quoted(.word))]
    Word {
        /// The word.
        word: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The address in front is none.
    #[error("invalid IP address: {0}")]
    Address(String),
    /// The port or range is none.
    #[error("invalid containerPort: {0}")]
    Container(String),
    /// The host port or range in front is none.
    #[error("invalid hostPort: {0}")]
    Host(String),
    /// A range of ports for a range of another length.
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges {
        /// The container's ports.
        container: String,
        /// The host's ports.
        host: String,
    },
}

impl ExposedPort {
    /// Reads a word after its variables are expanded.
    pub fn parse(word: &str) -> Result<Self, PortError> {
        let mut parts = word.rsplitn(3, ':');
        let container = parts.next().unwrap_or_default();
        let host = parts.next().unwrap_or_default();
        let address = parts.next().unwrap_or_default();
        let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
        let wrong = |problem: String| PortError::Word {
            word: word.to_owned(),
            problem,
        };
        if port.is_empty() {
            return Err(wrong("no port specified".to_owned()));
        }
        let lower = match protocol.to_lowercase().as_str() {
            "" => "tcp".to_owned(),
            known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
            _ => return Err(wrong(format!("invalid proto: {protocol}"))),
        };
        check_address(address)?;
        let ports = range(port).ok_or_else(|| PortError::Container(port.to_owned()))?;
        if !host.is_empty() {
            check_host(host, port, &ports)?;
        }
        Ok(Self {
            ports,
            protocol: lower,
        })
    }

    /// Tells whether a word has an address or a host port in front, as `docker run -p` takes it;
    /// it has no meaning here.
    #[must_use]
    pub fn has_host(word: &str) -> bool {
        word.rsplit_once(':')
            .is_some_and(|(host, _)| host.contains(|c| c != ':'))
    }

    /// Tells whether the protocol of a word is written with capitals.
    #[must_use]
    pub fn has_capitals(word: &str) -> bool {
        let last = word.rsplit(':').next().unwrap_or(word);
        let protocol = last.split_once('/').map_or("", |(_, protocol)| protocol);
        protocol != protocol.to_lowercase()
    }

    /// Lists the ports as the image configuration has them: `80/tcp`.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.ports
            .clone()
            .map(|port| format!("{port}/{}", self.protocol))
    }
}

fn check_address(address: &str) -> Result<(), PortError> {
    let bare = address
        .strip_prefix('[')
        .and_then(|it| it.strip_suffix(']'))
        .unwrap_or(address);
    if address.is_empty() || bare.parse::<IpAddr>().is_ok() {
        Ok(())
    } else {
        Err(PortError::Address(bare.to_owned()))
    }
}

fn check_host(host: &str, port: &str, ports: &RangeInclusive<u16>) -> Result<(), PortError> {
    let hosts = range(host).ok_or_else(|| PortError::Host(host.to_owned()))?;
    let length = |range: &RangeInclusive<u16>| range.end() - range.start();
    if length(ports) != length(&hosts) && length(ports) != 0 {
        return Err(PortError::Ranges {
            container: port.to_owned(),
            host: host.to_owned(),
        });
    }
    Ok(())
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ports() {
        let cases: [(&str, &[&str]); 5] = [
            ("80", &["80/tcp"]),
            ("53/UDP", &["53/udp"]),
            ("8000-8002/tcp", &["8000/tcp", "8001/tcp", "8002/tcp"]),
            ("127.0.0.1:80:8080", &["8080/tcp"]),
            ("[::1]:8080:8080/sctp", &["8080/sctp"]),
        ];
        for (word, expected) in cases {
            let port = ExposedPort::parse(word).expect(word);
            assert_eq!(port.names().collect::<Vec<_>>(), expected, "{word}");
            assert_eq!(ExposedPort::has_host(word), word.contains(':'), "{word}");
            assert_eq!(
                ExposedPort::has_capitals(word),
                word.contains("UDP"),
                "{word}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let cases = [
            ("", "invalid port: \"\": no port specified"),
            ("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp"),
            ("x", "invalid containerPort: x"),
            ("90-80", "invalid containerPort: 90-80"),
            ("70000", "invalid containerPort: 70000"),
            ("-1", "invalid containerPort: -1"),
            ("x:80", "invalid hostPort: x"),
            ("a:1:80", "invalid IP address: a"),
            (
                "1-3:80-81",
                "invalid ranges specified for container and host Ports: 80-81 and 1-3",
            ),
        ];
        for (word, expected) in cases {
            let error = ExposedPort::parse(word).expect_err(word);
            assert_eq!(error.to_string(), expected);
        }
    }
}
