//! Upload sessions. Source: OCI distribution specification, "Pushing blobs".

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Incoming as RequestBody};
use hyper::header::{CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use hyper::{Method, Request, StatusCode};
use mica_oci::Digest;
use mica_store::{Incoming, Store, StoreError, UseLock};

use crate::manifests::{CONTENT_DIGEST, Links};
use crate::mirror::Upstream;
use crate::reply::{Refusal, Reply, empty, set};
use crate::route::parameter;
use crate::server::Service;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");

/// A session that nobody went on with is given up after this time.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a blob waits for the manifest that it was pushed for.
const UNSETTLED: Duration = Duration::from_secs(15 * 60);
/// No more sessions at a time: each holds a file.
const MOST: usize = 512;

/// All sessions, and blobs that no manifest leads to yet.
#[derive(Default)]
pub(crate) struct Uploads {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, Session>,
    unsettled: HashSet<Digest>,
    /// Keeps the collector away from what is unsettled.
    hold: Option<(Instant, UseLock)>,
}

#[derive(Clone)]
struct Session {
    /// Taken by the request that writes; `None` after the session's end.
    incoming: Arc<tokio::sync::Mutex<Option<Incoming>>>,
    repository: String,
    used: Instant,
}

impl Uploads {
    fn begin(&self, store: &Store, repository: &str) -> Result<String, Refusal> {
        let incoming = store.incoming()?;
        let hold = store.hold()?;
        let mut state = self.lock();
        state
            .sessions
            .retain(|_, session| session.used.elapsed() < IDLE);
        if state.sessions.len() >= MOST {
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Err(Refusal::new(status, "TOOMANYREQUESTS", "too many uploads"));
        }
        state.hold = Some((Instant::now(), hold));
        let id = incoming.id().to_owned();
        let session = Session {
            incoming: Arc::new(tokio::sync::Mutex::new(Some(incoming))),
            repository: repository.to_owned(),
            used: Instant::now(),
        };
        state.sessions.insert(id.clone(), session);
        Ok(id)
    }

    fn find(&self, id: &str, repository: &str) -> Result<Session, Refusal> {
        let mut state = self.lock();
        let session = state.sessions.get_mut(id);
        let session = session.filter(|session| session.repository == repository);
        let session = session.ok_or_else(unknown)?;
        session.used = Instant::now();
        Ok(session.clone())
    }

    fn end(&self, id: &str, finished: Option<&Digest>) {
        let mut state = self.lock();
        state.sessions.remove(id);
        state.unsettled.extend(finished.cloned());
        state.release();
    }

    /// Notes that a manifest leads to blobs now.
    pub(crate) fn settle(&self, links: &Links) {
        let mut state = self.lock();
        for blob in links.config.iter().chain(&links.layers) {
            state.unsettled.remove(&blob.digest);
        }
        state.release();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under this lock")
    }
}

impl State {
    /// Lets the collector in when nothing waits any more.
    fn release(&mut self) {
        let is_old = self
            .hold
            .as_ref()
            .is_some_and(|(since, _)| since.elapsed() > UNSETTLED);
        if self.sessions.is_empty() && (self.unsettled.is_empty() || is_old) {
            self.unsettled.clear();
            self.hold = None;
        }
    }
}

fn unknown() -> Refusal {
    Refusal::not_found("BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
}

impl<U: Upstream> Service<U> {
    /// `POST`: mounts a blob, takes a whole one, or begins a session.
    pub(crate) async fn start_upload(
        &self,
        name: &str,
        request: Request<RequestBody>,
    ) -> Result<Reply, Refusal> {
        let query = request.uri().query().map(str::to_owned);
        let query = query.as_deref();
        // What cannot be mounted, whatever the reason, is uploaded.
        if let Some(mount) = parameter(query, "mount")
            && let Ok(digest) = digest(&mount)
            && self.store.has_blob(&digest)
        {
            return Ok(created(name, &digest));
        }
        let whole = parameter(query, "digest")
            .map(|text| digest(&text))
            .transpose()?;
        let id = tokio::task::block_in_place(|| self.uploads.begin(&self.store, name))?;
        let Some(expected) = whole else {
            return Ok(progress(StatusCode::ACCEPTED, name, &id, 0));
        };
        self.finish(name, &id, &expected, request).await
    }

    /// `GET`, `PATCH`, `PUT` and `DELETE` of a session.
    pub(crate) async fn upload(
        &self,
        name: &str,
        id: &str,
        request: Request<RequestBody>,
    ) -> Result<Reply, Refusal> {
        let session = self.uploads.find(id, name)?;
        match *request.method() {
            Method::GET | Method::HEAD => {
                let incoming = session.incoming.lock().await;
                let offset = incoming.as_ref().ok_or_else(unknown)?.offset();
                Ok(progress(StatusCode::NO_CONTENT, name, id, offset))
            }
            Method::PATCH => {
                let offset = append(&session, request).await?;
                Ok(match offset {
                    Ok(offset) => progress(StatusCode::ACCEPTED, name, id, offset),
                    Err(offset) => progress(StatusCode::RANGE_NOT_SATISFIABLE, name, id, offset),
                })
            }
            Method::PUT => {
                let text = parameter(request.uri().query(), "digest");
                let missing = || Refusal::invalid("DIGEST_INVALID", "the digest is missing");
                let expected = digest(&text.ok_or_else(missing)?)?;
                self.finish(name, id, &expected, request).await
            }
            Method::DELETE => {
                self.uploads.end(id, None);
                Ok(empty(StatusCode::NO_CONTENT))
            }
            _ => Err(Refusal::unsupported("an upload does not take the method")),
        }
    }

    async fn finish(
        &self,
        name: &str,
        id: &str,
        expected: &Digest,
        request: Request<RequestBody>,
    ) -> Result<Reply, Refusal> {
        let session = self.uploads.find(id, name)?;
        if let Err(offset) = append(&session, request).await? {
            return Ok(progress(
                StatusCode::RANGE_NOT_SATISFIABLE,
                name,
                id,
                offset,
            ));
        }
        let incoming = session.incoming.lock().await.take().ok_or_else(unknown)?;
        let finished = tokio::task::block_in_place(|| incoming.finish(expected));
        self.uploads.end(id, finished.is_ok().then_some(expected));
        match finished {
            Ok(_) => Ok(created(name, expected)),
            Err(StoreError::Content { source, .. }) => {
                Err(Refusal::invalid("DIGEST_INVALID", source.to_string()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Appends a request's body; the inner error is the offset that it should have begun at. What came
/// before a cut stays.
async fn append(
    session: &Session,
    request: Request<RequestBody>,
) -> Result<Result<u64, u64>, Refusal> {
    let mut incoming = session.incoming.lock().await;
    let incoming = incoming.as_mut().ok_or_else(unknown)?;
    if let Some(range) = request.headers().get(CONTENT_RANGE) {
        let range = content_range(range.to_str().unwrap_or_default());
        let Some((first, last)) = range.filter(|(first, _)| *first == incoming.offset()) else {
            return Ok(Err(incoming.offset()));
        };
        let length = request.body().size_hint().exact();
        if length.is_some_and(|length| first + length != last.saturating_add(1)) {
            let message = "the content is not as long as its range";
            return Err(Refusal::invalid("SIZE_INVALID", message));
        }
    }
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let cut = |_| Refusal::invalid("BLOB_UPLOAD_INVALID", "the connection broke off");
        if let Ok(data) = frame.map_err(cut)?.into_data() {
            tokio::task::block_in_place(|| incoming.write(&data))?;
        }
    }
    Ok(Ok(incoming.offset()))
}

/// Reads `5-9`, or HTTP's `bytes 5-9/10`: the first byte and the last.
fn content_range(text: &str) -> Option<(u64, u64)> {
    let bare = text.trim_start_matches("bytes ").split('/').next()?;
    let (first, last) = bare.split_once('-')?;
    Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse()
        .map_err(|_| Refusal::invalid("DIGEST_INVALID", format!("`{text}` is no digest")))
}

fn created(name: &str, digest: &Digest) -> Reply {
    let mut reply = empty(StatusCode::CREATED);
    set(&mut reply, LOCATION, format!("/v2/{name}/blobs/{digest}"));
    set(&mut reply, CONTENT_DIGEST, digest);
    reply
}

/// An empty session's range is `0-0`, as in distribution.
fn progress(status: StatusCode, name: &str, id: &str, offset: u64) -> Reply {
    let mut reply = empty(status);
    set(
        &mut reply,
        LOCATION,
        format!("/v2/{name}/blobs/uploads/{id}"),
    );
    set(&mut reply, RANGE, format!("0-{}", offset.saturating_sub(1)));
    set(&mut reply, UPLOAD_ID, id);
    reply
}
