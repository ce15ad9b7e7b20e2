//! What a caller decides about a server.

use std::io;

use crate::Htpasswd;

/// How the store is served.
#[derive(Debug)]
pub struct ServeConfig {
    /// What clients may do.
    pub access: Access,
    /// Who may do it; anybody where there is none.
    pub users: Option<Htpasswd>,
    /// The server's certificate and key; plain HTTP where there is none.
    pub tls: Option<TlsIdentity>,
}

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Pull.
    Read,
    /// Pull and push.
    Push,
    /// Pull, push and delete.
    Delete,
}

/// A certificate with those that signed it, and its key; PEM.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The certificates, the server's own first.
    pub certificates: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsIdentity(***)")
    }
}

/// Why a server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Nobody can listen there.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The certificate or key is none, or they do not fit together.
    #[error("the certificate and its key cannot be used: {reason}")]
    Tls {
        /// What is wrong with them.
        reason: String,
    },
}
