//! Why a request got no answer.

use std::error::Error;
use std::{fmt, io};

/// Why no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Nobody listens there.
    Refused,
    /// The name has no address.
    NoSuchHost,
    /// The certificate is signed by nobody we trust.
    UnknownAuthority,
    /// The certificate is wrong in another way: expired, or for another name.
    BadCertificate,
    /// The registry wants a client certificate, and got none or not one of those it wants.
    ClientCertificate,
    /// The registry does not speak TLS.
    PlainHttp,
    /// The proxy on the way does not connect us.
    Proxy,
    /// Nothing was heard for too long.
    TimedOut,
    /// The connection broke off, or the answer was no HTTP.
    Broken,
}

impl ConnectFailure {
    /// Classifies a transport's error by its causes.
    pub(crate) fn of(error: &reqwest::Error) -> Self {
        let mut causes = Causes(Some(error)).map(Self::of_cause);
        match causes.find_map(|failure| failure) {
            Some(failure) => failure,
            None if error.is_timeout() => Self::TimedOut,
            None => Self::Broken,
        }
    }

    fn of_cause(cause: &(dyn Error + 'static)) -> Option<Self> {
        use rustls::{AlertDescription as Alert, CertificateError, InvalidMessage};
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return match error {
                // A server's certificate that may sign others, and is not among those we trust.
                rustls::Error::InvalidCertificate(
                    CertificateError::UnknownIssuer | CertificateError::Other(_),
                ) => Some(Self::UnknownAuthority),
                rustls::Error::InvalidCertificate(_) => Some(Self::BadCertificate),
                rustls::Error::AlertReceived(
                    Alert::CertificateRequired | Alert::BadCertificate | Alert::UnknownCA,
                ) => Some(Self::ClientCertificate),
                rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                    Some(Self::PlainHttp)
                }
                _ => None,
            };
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused => Some(Self::Refused),
                io::ErrorKind::TimedOut => Some(Self::TimedOut),
                _ => None,
            };
        }
        // These errors are private to the HTTP client; this is all it shows of them.
        match cause.to_string() {
            text if text.starts_with("dns error") => Some(Self::NoSuchHost),
            text if text.starts_with("tunnel error") => Some(Self::Proxy),
            _ => None,
        }
    }

    /// Tells whether another try may end otherwise, given that the host has answered before.
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Self::Refused | Self::TimedOut | Self::Broken)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Refused => "connection refused",
            Self::NoSuchHost => "no such host",
            Self::UnknownAuthority => "x509: certificate signed by unknown authority",
            Self::BadCertificate => "x509: certificate is not valid",
            Self::ClientCertificate => "the server wants a client certificate",
            Self::PlainHttp => "server gave HTTP response to HTTPS client",
            Self::Proxy => "the proxy did not connect to it",
            Self::TimedOut => "timed out",
            Self::Broken => "connection broken",
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// An error and its causes, also those that an [`io::Error`] wraps.
struct Causes<'a>(Option<&'a (dyn Error + 'static)>);

impl<'a> Iterator for Causes<'a> {
    type Item = &'a (dyn Error + 'static);

    fn next(&mut self) -> Option<Self::Item> {
        let current = self.0?;
        let wrapped = current
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        self.0 = match wrapped {
            Some(inner) => Some(inner),
            None => current.source(),
        };
        Some(current)
    }
}
