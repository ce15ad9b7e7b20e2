//! "Content discovery": tags, repositories, referrers.

use mica_oci::{Digest, Document, Index, MediaType};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, artifact, header, image, world};

async fn list(world: &World, path: &str) -> (Value, String) {
    let reply = world.get(path).await;
    assert_eq!(reply.status(), StatusCode::OK, "{path}");
    let link = header(&reply, "link").to_owned();
    (
        serde_json::from_str(&reply.text().await.unwrap()).unwrap(),
        link,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_sorted_and_paged() {
    let world = world().await;
    for tag in ["v2", "v10", "latest", "v1"] {
        world.push_image("team/app", tag, &image("x")).await;
    }
    let path = "/v2/team/app/tags/list";
    let all = json!({ "name": "team/app", "tags": ["latest", "v1", "v10", "v2"] });
    assert_eq!(list(&world, path).await, (all, String::new()));
    let (page, link) = list(&world, &format!("{path}?n=2")).await;
    assert_eq!(page["tags"], json!(["latest", "v1"]));
    assert_eq!(link, format!("<{path}?n=2&last=v1>; rel=\"next\""));
    let (page, link) = list(&world, &format!("{path}?n=2&last=v1")).await;
    assert_eq!(
        (page["tags"].clone(), link),
        (json!(["v10", "v2"]), String::new())
    );
    let (page, _) = list(&world, &format!("{path}?n=0")).await;
    assert_eq!(page["tags"], json!([]));
    let (page, _) = list(&world, &format!("{path}?last=v10")).await;
    assert_eq!(page["tags"], json!(["v2"]));
    let bad = world.request(Method::GET, &format!("{path}?n=x"));
    world.refuses(bad, 400, "PAGINATION_NUMBER_INVALID").await;
    let none = world.request(Method::GET, "/v2/team/none/tags/list");
    world.refuses(none, 404, "NAME_UNKNOWN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_listed() {
    let world = world().await;
    for name in ["team/b", "library/a"] {
        world.push_image(name, "v1", &image("x")).await;
    }
    let (page, link) = list(&world, "/v2/_catalog?n=1").await;
    assert_eq!(page, json!({ "repositories": ["a"] }));
    assert_eq!(link, "</v2/_catalog?n=1&last=a>; rel=\"next\"");
    let (page, _) = list(&world, "/v2/_catalog?last=a").await;
    assert_eq!(page, json!({ "repositories": ["team/b"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_listed_and_filtered() {
    let world = world().await;
    let image = image("x");
    world.push_image("team/app", "v1", &image).await;
    world.push_blob("team/app", b"{}").await;
    let path = format!("/v2/team/app/referrers/{}", image.manifest.digest());
    let (empty, _) = list(&world, &path).await;
    assert_eq!(empty["manifests"], json!([]));
    for kind in ["application/x-signature", "application/x-sbom+json"] {
        let (manifest, _) = artifact(kind, Some(image.manifest.descriptor()));
        let object = manifest.digest().to_string();
        world.put_manifest("team/app", &object, &manifest).await;
    }
    let reply = world.get(&path).await;
    assert_eq!(
        header(&reply, "content-type"),
        "application/vnd.oci.image.index.v1+json"
    );
    let index: Index = serde_json::from_str(&reply.text().await.unwrap()).unwrap();
    assert_eq!(index.manifests.len(), 2);
    let filtered = world
        .get(&format!("{path}?artifactType=application/x-sbom%2Bjson"))
        .await;
    assert_eq!(header(&filtered, "oci-filters-applied"), "artifactType");
    let index: Index = serde_json::from_str(&filtered.text().await.unwrap()).unwrap();
    assert_eq!(index.manifests.len(), 1);
    let entry = &index.manifests[0];
    assert_eq!(
        entry.artifact_type.as_ref().unwrap().as_str(),
        "application/x-sbom+json"
    );
    assert_eq!(entry.annotations["k"], "application/x-sbom+json");
    let unknown = format!("/v2/team/app/referrers/{}", Digest::of(b"nothing"));
    let (empty, _) = list(&world, &unknown).await;
    assert_eq!(empty["manifests"], json!([]));
    let bad = world.request(Method::GET, "/v2/team/app/referrers/x");
    world.refuses(bad, 400, "DIGEST_INVALID").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_and_a_manifest_without_a_type_are_referrers() {
    let world = world().await;
    let image = image("x");
    world.push_image("team/app", "v1", &image).await;
    let subject = json!(image.manifest.descriptor());
    let index = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [],
        "artifactType": "application/x-list", "subject": subject });
    let index = Document::encode(MediaType::OCI_INDEX, index);
    world
        .put_manifest("team/app", index.digest().as_str(), &index)
        .await;
    let mut manifest = image.manifest.value().clone();
    manifest.subject = Some(image.manifest.descriptor().clone());
    let manifest = Document::encode(MediaType::OCI_MANIFEST, manifest);
    world.put_manifest("team/app", "about", &manifest).await;
    let path = format!("/v2/team/app/referrers/{}", image.manifest.digest());
    for kind in ["application/x-list", MediaType::OCI_CONFIG.as_str()] {
        let query = kind.replace('+', "%2B");
        let (found, _) = list(&world, &format!("{path}?artifactType={query}")).await;
        assert_eq!(
            found["manifests"].as_array().map(Vec::len),
            Some(1),
            "{found}"
        );
        assert_eq!(found["manifests"][0]["artifactType"], kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_do_not_hinder_the_collector() {
    let world = world().await;
    let (manifest, _) = artifact("application/x-thing", None);
    world.push_blob("team/thing", b"{}").await;
    world.put_manifest("team/thing", "v1", &manifest).await;
    let collected = world.store.collect().unwrap();
    assert!(
        !collected.skipped && collected.blobs.is_empty(),
        "{collected:?}"
    );
    let again = world.get("/v2/team/thing/manifests/v1").await;
    assert_eq!(again.status(), StatusCode::OK);
}
