//! The OCI distribution protocol: authentication, transport, retry, upload and download.
//!
//! ```text
//! Registry ──repository(reference, actions)──▶ Repository : Fetch + Push + Resolve + Tag
//!    │ one per process                             │
//!    ├─ transport   one HTTP client, TLS roots     ├─ manifests   resolve, read, put, tag, list
//!    ├─ endpoints   host ▶ scheme, probed once     ├─ download    streamed, verified, resumed
//!    └─ authorizer  challenge, credentials, tokens └─ upload      mount, stream, resume
//! ```
//!
//! Rules of the room: every request goes through `site`, which alone adds an `Authorization`
//! header and alone repeats a request; every wait has a [`RetryPolicy`] budget; nothing here reads
//! the environment or a file other than the system's certificate bundle; secrets are
//! [`Secret`]s and appear in no message.

mod authorizer;
mod challenge;
mod config;
mod credentials;
mod download;
mod endpoint;
mod error;
mod file;
mod login;
mod manifests;
mod object;
mod registry;
mod repository;
mod retry;
mod site;
mod token;
mod transport;
mod upload;
mod upload_session;

pub use config::{
    Actions, Mirror, MirrorError, MirrorScheme, PlainHttp, Proxies, RegistryConfig, TlsRoots,
};
pub use credentials::{CredentialSource, Credentials, Secret};
pub use error::{ConnectFailure, Hint, ProtocolFault, RegistryError, RegistryReply, RequestName};
pub use file::{FileAnswer, FileMethod, FileRequest};
pub use login::{Authentication, LoginOutcome};
pub use object::ObjectRequest;
pub use registry::Registry;
pub use repository::Repository;
pub use retry::RetryPolicy;
