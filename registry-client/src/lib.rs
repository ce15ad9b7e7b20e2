//! The OCI distribution protocol: authentication, transport, retry, upload and download.
//!
//! ```text
//! Registry ──repository(reference, actions)──▶ Repository : Fetch + Push + Resolve + Tag
//!    │ one per process                             │
//!    ├─ transport   one HTTP client, TLS roots     ├─ manifests   resolve, read, put, tag, list
//!    ├─ endpoints   host ▶ scheme, probed once     ├─ download    streamed, verified, resumed
//!    ├─ authorizer  challenge, credentials, tokens ├─ upload      mount, stream, resume
//!    └─ rules       names ▶ places                 └─ referrers   what is about a manifest
//! ```
//!
//! Rules of the room: every request goes through `site`, which alone adds an `Authorization`
//! header and alone repeats a request; every wait has a [`RetryPolicy`] budget; nothing here reads
//! the environment, or a file other than the system's certificate bundle, the token cache and the
//! upload journal that it was given; secrets are [`Secret`]s and appear in no message.

mod authorizer;
mod challenge;
mod config;
mod connect_failure;
mod credentials;
mod download;
mod endpoint;
mod error;
mod file;
mod journal;
mod login;
mod manifests;
mod object;
mod rate_limit;
mod referrers;
mod registry;
mod repository;
mod retry;
mod rules;
mod search;
mod site;
mod token;
mod token_cache;
mod transport;
mod upload;
mod upload_ahead;
mod upload_session;

pub use config::{
    Actions, HostSource, HostTls, Identity, Mirror, MirrorError, MirrorScheme, PlainHttp, Proxies,
    PullFrom, RateLimitObserver, RegistryConfig, TlsRoots, Verification,
};
pub use connect_failure::ConnectFailure;
pub use credentials::{CredentialSource, Credentials, Secret};
pub use error::{Hint, ProtocolFault, RegistryError, RegistryReply, RequestName};
pub use file::{FileAnswer, FileMethod, FileRequest};
pub use login::{Authentication, LoginOutcome};
pub use object::ObjectRequest;
pub use rate_limit::RateLimit;
pub use referrers::Referrers;
pub use registry::Registry;
pub use repository::Repository;
pub use retry::RetryPolicy;
pub use rules::{Access, Rule};
pub use search::Found;
pub use token_cache::forget_tokens;
