//! Challenges, tokens and what is told to whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use mica_oci::{Fetch, Resolve};
use mica_registry_client::{
    Actions, Authentication, Credentials, Hint, ProtocolFault, Registry, RegistryConfig,
    RegistryError, Repository, Secret,
};
use tokio::io::AsyncReadExt;

use crate::download::layer;
use crate::fake::{Fake, Reply, Request, quick};

const MANIFEST: &str = r#"{"schemaVersion":2,"layers":[]}"#;

fn with(credentials: Credentials) -> RegistryConfig {
    RegistryConfig {
        credentials: Arc::new(move |_| credentials.clone()),
        ..quick()
    }
}

fn basic(username: &str, password: &str) -> Credentials {
    Credentials::Basic {
        username: username.to_owned(),
        password: Secret::new(password),
    }
}

fn basic_header(pair: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(pair);
    format!("Basic {pair}")
}

pub(crate) fn with_basic(fake: &Fake, username: &str, password: &str) -> Repository {
    let registry = Registry::new(with(basic(username, password))).unwrap();
    registry.repository(&fake.reference("app"), Actions::Pull)
}

/// A token server: a new token each time, `token-0`, `token-1`, …
async fn token_server(expires_in: u64) -> Fake {
    let count = AtomicUsize::new(0);
    Fake::start(move |request| {
        if request.header("authorization") == basic_header("ada:wrong") {
            let body = r#"{"errors":[{"code":"UNAUTHORIZED","message":"incorrect username or password"}]}"#;
            return Reply::new(401).body(body);
        }
        let number = count.fetch_add(1, Ordering::SeqCst);
        let body = format!(
            r#"{{"token":"token-{number}","expires_in":{expires_in},"refresh_token":"offline"}}"#
        );
        Reply::new(200).body(body)
    })
    .await
}

/// A registry that wants a token which `accepts` likes.
async fn registry(token_server: &Fake, accepts: fn(&str) -> bool) -> Fake {
    let realm = format!("http://{}/token", token_server.address);
    Fake::start(move |request: &Request| {
        let authorization = request.header("authorization");
        if !accepts(authorization.strip_prefix("Bearer ").unwrap_or_default()) {
            let challenge = format!(
                r#"Bearer realm="{realm}",service="test service",scope="repository:app:pull""#
            );
            return Reply::new(401).header("WWW-Authenticate", challenge);
        }
        let kind = "application/vnd.oci.image.manifest.v1+json";
        Reply::new(200).header("Content-Type", kind).body(MANIFEST)
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_for_all() {
    let tokens = token_server(300).await;
    let fake = registry(&tokens, |token| token == "token-0").await;
    let registry = Registry::new(with(basic("ada", "pw"))).unwrap();
    let repository = registry.repository(&fake.reference("app"), Actions::PullPush);
    for tag in ["app:v1", "app:v2"] {
        repository.manifest(&fake.reference(tag)).await.unwrap();
    }
    repository.resolve(&fake.reference("app:v1")).await.unwrap();
    let asked = tokens.log();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].header("authorization"), basic_header("ada:pw"));
    let query = "service=test+service&scope=repository%3Aapp%3Apull%2Cpush&account=ada";
    assert_eq!(asked[0].path, format!("/token?{query}"));
}

#[tokio::test]
async fn parallel_requests_share_one_token() {
    let tokens = token_server(300).await;
    let fake = registry(&tokens, |token| token == "token-0").await;
    let repository = with_basic(&fake, "ada", "pw");
    let reads: Vec<_> = (0..8)
        .map(|number| {
            let reference = fake.reference(&format!("app:v{number}"));
            let repository = repository.clone();
            tokio::spawn(async move { repository.manifest(&reference).await.map(drop) })
        })
        .collect();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    assert_eq!(tokens.log().len(), 1);
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let tokens = token_server(300).await;
    let fake = registry(&tokens, |token| token == "token-1").await;
    let repository = with_basic(&fake, "ada", "pw");
    // The probe's challenge gives token-0, whose refusal gives token-1.
    repository
        .manifest(&fake.reference("app:v1"))
        .await
        .unwrap();
    assert_eq!(tokens.log().len(), 2);

    let fake = registry(&tokens, |_| false).await;
    let repository = with_basic(&fake, "ada", "pw");
    let error = repository
        .manifest(&fake.reference("app:v1"))
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(401));
    assert_eq!(error.hint(), Some(Hint::Login));
    assert!(
        error
            .to_string()
            .ends_with(": unauthorized: authentication required"),
        "{error}"
    );
    assert_eq!(fake.log().len(), 2);
}

#[tokio::test]
async fn anonymous_and_identity_tokens() {
    let tokens = token_server(300).await;
    let fake = registry(&tokens, |token| !token.is_empty()).await;
    for credentials in [
        Credentials::Anonymous,
        Credentials::IdentityToken(Secret::new("re fresh&")),
    ] {
        let registry = Registry::new(with(credentials)).unwrap();
        let repository = registry.repository(&fake.reference("app"), Actions::Pull);
        repository
            .manifest(&fake.reference("app:v1"))
            .await
            .unwrap();
    }
    let asked = tokens.log();
    assert_eq!(
        asked[0].line(),
        "GET /token?service=test+service&scope=repository%3Aapp%3Apull"
    );
    assert_eq!(asked[0].header("authorization"), "");
    assert_eq!(asked[1].line(), "POST /token");
    assert_eq!(
        asked[1].header("content-type"),
        "application/x-www-form-urlencoded"
    );
    let form = "grant_type=refresh_token&client_id=mica&service=test+service\
        &scope=repository%3Aapp%3Apull&refresh_token=re+fresh%26";
    assert_eq!(String::from_utf8_lossy(&asked[1].body), form);
}

#[tokio::test]
async fn login_checks_and_gives_an_identity_token() {
    let tokens = token_server(300).await;
    let fake = registry(&tokens, |token| !token.is_empty()).await;
    let host = fake.address.to_string();
    let registry = Registry::new(quick()).unwrap();
    let outcome = registry
        .check_login(&host, &basic("ada", "pw"))
        .await
        .unwrap();
    assert_eq!(outcome.authentication, Authentication::Bearer);
    assert_eq!(outcome.identity_token, Some(Secret::new("offline")));
    assert!(tokens.log()[0].path.contains("offline_token=true"));

    let error = registry
        .check_login(&host, &basic("ada", "wrong"))
        .await
        .unwrap_err();
    assert_eq!(error.hint(), Some(Hint::Login));
    let text = format!("{error} {error:?}");
    assert!(text.contains("incorrect username or password"), "{text}");
    assert!(
        !text.contains("ada:wrong") && !text.contains(&basic_header("ada:wrong")),
        "{text}"
    );
}

#[tokio::test]
async fn basic_is_sent_only_when_asked_for() {
    let fake = Fake::start(|request| match request.header("authorization") {
        "" => Reply::new(401).header("WWW-Authenticate", "Basic realm=\"r\""),
        _ => Reply::new(200).body("layer"),
    })
    .await;
    let repository = with_basic(&fake, "ada", "pw");
    let mut reader = repository.fetch(&layer(b"layer")).await.unwrap();
    let mut content = String::new();
    reader.read_to_string(&mut content).await.unwrap();
    assert_eq!(content, "layer");
    assert_eq!(
        fake.log()[0].header("authorization"),
        basic_header("ada:pw")
    );

    let open = Fake::start(|_| Reply::new(200).body("layer")).await;
    with_basic(&open, "ada", "pw")
        .fetch(&layer(b"layer"))
        .await
        .unwrap();
    assert_eq!(open.log()[0].header("authorization"), "");
}

#[tokio::test]
async fn credentials_do_not_go_to_a_token_server_without_tls() {
    let fake = Fake::start(|_| {
        let challenge = "Bearer realm=\"http://tokens.example/t\",service=\"s\"";
        Reply::new(401).header("WWW-Authenticate", challenge)
    })
    .await;
    let repository = with_basic(&fake, "ada", "pw");
    let error = repository
        .manifest(&fake.reference("app:v1"))
        .await
        .unwrap_err();
    let RegistryError::Protocol { fault, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(fault, ProtocolFault::InsecureRealm);
}
