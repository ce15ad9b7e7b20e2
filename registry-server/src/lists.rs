//! Lists: tags, repositories, referrers. Source: OCI distribution specification, "Listing Tags",
//! "Listing Referrers"; distribution's catalogue.

use std::collections::BTreeSet;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, LINK};
use hyper::{Request, StatusCode};
use mica_oci::{Descriptor, Digest, Index, MediaType};
use serde_json::{Value, json};

use crate::manifests::understand;
use crate::mirror::Upstream;
use crate::names;
use crate::reply::{Refusal, Reply, set, with_body};
use crate::route::parameter;
use crate::server::Service;

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl<U: Upstream> Service<U> {
    pub(crate) async fn tags(
        &self,
        name: &str,
        request: &Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        let own = tokio::task::block_in_place(|| names::tags(&self.store, name))?;
        let Some(tags) = own else {
            let message = format!("repository name not known to registry: {name}");
            return Err(Refusal::not_found("NAME_UNKNOWN", message));
        };
        let path = format!("/v2/{name}/tags/list");
        paged(
            request,
            &path,
            tags,
            |tags| json!({ "name": name, "tags": tags }),
        )
    }

    pub(crate) fn catalog(&self, request: &Request<Incoming>) -> Result<Reply, Refusal> {
        let all = tokio::task::block_in_place(|| names::repositories(&self.store))?;
        paged(
            request,
            "/v2/_catalog",
            all,
            |names| json!({ "repositories": names }),
        )
    }

    /// A manifest that nobody knows has no referrers, which is no error.
    pub(crate) fn referrers(
        &self,
        subject: &Digest,
        request: &Request<Incoming>,
    ) -> Result<Reply, Refusal> {
        let wanted = parameter(request.uri().query(), "artifactType");
        let mut found = tokio::task::block_in_place(|| self.find_referrers(subject))?;
        if let Some(wanted) = &wanted {
            found.retain(|entry| {
                let kind = entry.artifact_type.as_ref();
                kind.is_some_and(|kind| kind.as_str() == wanted)
            });
        }
        let body = json!(Index::new(found)).to_string();
        let mut reply = with_body(StatusCode::OK, body);
        set(&mut reply, CONTENT_TYPE, MediaType::OCI_INDEX);
        if wanted.is_some() {
            set(&mut reply, FILTERS_APPLIED, "artifactType");
        }
        Ok(reply)
    }

    fn find_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, Refusal> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for entry in self.store.images()? {
            let target = entry.target;
            if !seen.insert(target.digest.clone()) {
                continue;
            }
            let document = self.store.read_document::<serde::de::IgnoredAny>(&target);
            let Ok(document) = document else { continue };
            let Ok((mut described, links)) = understand(document.raw(), None) else {
                continue;
            };
            if links.subject.is_some_and(|about| about.digest == *subject) {
                let config = links.config.map(|config| config.media_type);
                described.artifact_type = links.artifact_type.or(config);
                described.annotations = links.annotations;
                found.push(described);
            }
        }
        Ok(found)
    }
}

/// Answers with at most `n` names after `last`, and a link to the next page.
fn paged(
    request: &Request<Incoming>,
    path: &str,
    names: BTreeSet<String>,
    body: impl FnOnce(&[String]) -> Value,
) -> Result<Reply, Refusal> {
    let query = request.uri().query();
    let number = parameter(query, "n").map(|text| text.parse::<usize>());
    let number = number
        .transpose()
        .map_err(|_| Refusal::invalid("PAGINATION_NUMBER_INVALID", "`n` is not a number"))?;
    let last = parameter(query, "last").unwrap_or_default();
    let rest: Vec<String> = names.into_iter().filter(|name| *name > last).collect();
    let page = &rest[..rest.len().min(number.unwrap_or(usize::MAX))];
    let mut reply = with_body(StatusCode::OK, body(page).to_string());
    set(&mut reply, CONTENT_TYPE, "application/json");
    if let (Some(number), Some(end)) = (number, page.last())
        && page.len() < rest.len()
    {
        set(
            &mut reply,
            LINK,
            format!("<{path}?n={number}&last={end}>; rel=\"next\""),
        );
    }
    Ok(reply)
}
