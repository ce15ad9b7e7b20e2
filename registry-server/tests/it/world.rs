//! A server with a store of its own, and a client.

use std::collections::BTreeMap;

use mica_fixtures::{TestImage, layer};
use mica_oci::{Compression, Descriptor, Document, Manifest, MediaType};
use mica_registry_server::{Access, Htpasswd, NoUpstream, ServeConfig, Server, Upstream};
use mica_store::Store;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use tempfile::TempDir;

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) address: String,
    client: Client,
    _directory: TempDir,
}

/// A server that lets clients do everything.
pub(crate) async fn world() -> World {
    start(Access::Delete, None, NoUpstream).await
}

pub(crate) async fn start<U: Upstream>(
    access: Access,
    users: Option<Htpasswd>,
    upstream: U,
) -> World {
    // The client has none of its own; whoever comes first installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let config = ServeConfig {
        access,
        users,
        tls: None,
    };
    let server = Server::bind("127.0.0.1:0", store.clone(), config, upstream);
    let server = server.await.unwrap();
    let address = server.address().unwrap().to_string();
    tokio::spawn(server.run(std::future::pending()));
    World {
        store,
        address,
        client: Client::builder().no_proxy().build().unwrap(),
        _directory: directory,
    }
}

/// An image of two layers; different `seed`s give different images.
pub(crate) fn image(seed: &str) -> TestImage {
    let one = layer(&[("a", seed.as_bytes())]);
    let two = layer(&[("b", &[7; 5000])]);
    TestImage::new(&[one, two], Compression::Gzip)
}

/// An artifact that is about `subject`.
pub(crate) fn artifact(
    kind: &str,
    subject: Option<&Descriptor>,
) -> (Document<Manifest>, Descriptor) {
    let empty = Descriptor::of(MediaType::new("application/vnd.oci.empty.v1+json"), b"{}");
    let mut manifest = Manifest::new(empty.clone(), vec![empty.clone()]);
    manifest.artifact_type = Some(MediaType::new(kind));
    manifest.subject = subject.cloned();
    manifest.annotations = BTreeMap::from([("k".to_owned(), kind.to_owned())]);
    (Document::encode(MediaType::OCI_MANIFEST, manifest), empty)
}

impl World {
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path.starts_with("http") {
            true => path.to_owned(),
            false => format!("http://{}{path}", self.address),
        };
        self.client.request(method, url)
    }

    pub(crate) async fn send(&self, method: Method, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path).await
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) {
        let digest = mica_oci::Digest::of(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let request = self.request(Method::POST, &path).body(content.to_vec());
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::CREATED);
    }

    pub(crate) async fn put_manifest<T>(
        &self,
        name: &str,
        object: &str,
        document: &Document<T>,
    ) -> Response {
        let path = format!("/v2/{name}/manifests/{object}");
        let media_type = document.descriptor().media_type.as_str();
        self.request(Method::PUT, &path)
            .header("Content-Type", media_type)
            .body(document.raw().clone())
            .send()
            .await
            .unwrap()
    }

    /// Pushes a whole image.
    pub(crate) async fn push_image(&self, name: &str, tag: &str, image: &TestImage) {
        let (_, blobs) = image.blobs.split_last().unwrap();
        for (_, content) in blobs {
            self.push_blob(name, content).await;
        }
        let reply = self.put_manifest(name, tag, &image.manifest).await;
        assert_eq!(reply.status(), StatusCode::CREATED);
    }

    /// Checks status and code of a refusal.
    pub(crate) async fn refuses(&self, request: RequestBuilder, status: u16, code: &str) {
        let reply = request.send().await.unwrap();
        assert_eq!(reply.status().as_u16(), status);
        let body: serde_json::Value = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
        assert_eq!(body["errors"][0]["code"], code, "{body}");
    }
}

pub(crate) fn header<'r>(reply: &'r Response, name: &str) -> &'r str {
    let value = reply.headers().get(name);
    value.map_or("", |value| value.to_str().unwrap())
}
