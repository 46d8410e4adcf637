//! The client against a scripted server: every flow and every fault.

mod blobs;
mod proofs;
#[cfg(feature = "root-tests")]
mod real;

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use super::*;
use crate::http::scripted::{Answer, End, Server};
use crate::http::{HttpConfig, Proxy, Verify};
use crate::limits;
use crate::model::Digest;
use crate::provisioner::stores::{Blob, RawManifest, Source, SourceError};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const MANIFEST: &str = r#"{"schemaVersion":2}"#;
const TOP: &str = "/v2/library/app/manifests/latest";

fn config() -> RegistryConfig {
    RegistryConfig {
        http: HttpConfig { proxy: Proxy::None, ..HttpConfig::default() },
        stall: Duration::from_secs(20),
        attempts: 3,
        backoff: Duration::from_millis(1),
    }
}

/// The source of `app` at `server`, with these credentials.
fn source_with(server: &Server, config: &RegistryConfig, docker_config: &str) -> RegistrySource {
    let default = format!("http://{}", server.authority()).parse().expect("an address");
    let reference = Reference::parse("app", &default).expect("valid");
    let credentials = DockerConfig::parse(docker_config).expect("valid");
    Registry::new(config, credentials).expect("a client").source(reference)
}

fn source(server: &Server) -> RegistrySource {
    source_with(server, &config(), "{}")
}

fn manifest() -> Answer {
    Answer::ok(MANIFEST).header("content-type", OCI)
}

fn credentials(server: &Server) -> String {
    // user:secret
    format!(r#"{{"auths": {{"{}": {{"auth": "dXNlcjpzZWNyZXQ="}}}}}}"#, server.authority())
}

const BASIC: &str = "Basic dXNlcjpzZWNyZXQ=";

async fn top(server: &Server) -> Result<RawManifest, SourceError> {
    source(server).top().await
}

/// Some bytes, no two parts of which are alike.
fn content() -> Vec<u8> {
    (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect()
}

fn blob_of(content: &[u8]) -> Blob {
    Blob { digest: Digest::of(content), size: content.len() as u64 }
}

async fn read_blob(source: &RegistrySource, blob: &Blob) -> Result<Vec<u8>, SourceError> {
    let mut stream = source.blob(blob).await?;
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        let bytes: Bytes = bytes?;
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn an_anonymous_manifest_comes_with_its_type() {
    let server = Server::start(|_, _| manifest().header("x", "y")).await;
    let raw = top(&server).await.expect("served");
    assert_eq!((raw.bytes.as_ref(), raw.media_type.as_str()), (MANIFEST.as_bytes(), OCI));
    let request = &server.requests()[0];
    assert_eq!(request.target, TOP);
    assert_eq!(request.header("authorization"), None);
    let accept = request.header("accept").expect("sent");
    for kind in ["oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "manifest.v2"] {
        assert!(accept.contains(kind), "{accept}");
    }
}

#[tokio::test]
async fn a_manifest_by_digest_is_asked_by_digest_and_checked() {
    let server = Server::start(|_, _| manifest()).await;
    let source = source(&server);
    let digest = Digest::of(MANIFEST.as_bytes());
    assert!(source.manifest(&digest).await.is_ok());
    assert_eq!(server.requests()[0].target, format!("/v2/library/app/manifests/{digest}"));
    let error = source.manifest(&Digest::of(b"other")).await.expect_err("another one");
    assert!(matches!(error, SourceError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Server::start(|_, _| Answer::new(302, "").header("location", TOP)).await;
    let error = top(&server).await.expect_err("no end").to_string();
    assert!(error.contains("more than 10 redirects"), "{error}");
    assert_eq!(server.count(TOP), limits::REDIRECTS_MAX + 1);
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let server = Server::start(|_, before| match before {
        0 => Answer::new(503, "busy"),
        1 => Answer::new(429, "").header("retry-after", "0"),
        _ => manifest(),
    })
    .await;
    top(&server).await.expect("at last");
    assert_eq!(server.count(TOP), 3);
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_up_with_its_words() {
    let words = r#"{"errors":[{"code":"X","message":"come\nback"}]}"#;
    let server = Server::start(move |_, _| Answer::new(503, words)).await;
    let error = top(&server).await.expect_err("busy").to_string();
    assert!(error.contains("HTTP 503") && error.contains("come back"), "{error}");
    assert!(error.contains(&server.authority()), "{error}");
    assert_eq!(server.count(TOP), 3);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_by_its_name_at_once() {
    let server = Server::start(|_, _| Answer::new(404, "{}")).await;
    let error = top(&server).await.expect_err("nothing there");
    assert!(matches!(error, SourceError::NotFound(_)));
    let name = format!("{}/library/app:latest not found", server.authority());
    assert_eq!(error.to_string(), name);
    assert_eq!(server.count(TOP), 1);
}

#[tokio::test]
async fn an_unreachable_registry_is_named_with_its_port_and_the_cause() {
    let server = Server::start(|_, _| manifest()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let free = listener.local_addr().expect("bound").port();
    drop(listener);
    let default = format!("http://127.0.0.1:{free}").parse().expect("an address");
    let reference = Reference::parse("app", &default).expect("valid");
    assert_ne!(server.port(), free);
    let registry = Registry::new(&config(), DockerConfig::default()).expect("a client");
    let error = registry.source(reference).top().await.expect_err("nobody there").to_string();
    assert_eq!(error, format!("127.0.0.1:{free}: cannot connect: connection refused"));
}

#[tokio::test]
async fn what_is_no_manifest_is_refused_and_named() {
    let large = vec![b' '; usize::try_from(limits::MANIFEST_BYTES_MAX).expect("small") + 1];
    for (answer, reason) in [
        (Answer::ok(large).header("content-type", OCI), "larger than 4194304 bytes"),
        (Answer::ok("<html>").header("content-type", "text/html"), "not a JSON object (text/html)"),
        (Answer::ok("{\"cut\":").header("content-type", OCI), "not a JSON object"),
        (Answer::ok("[]").header("content-type", OCI), "not a JSON object"),
        (Answer::ok("{}").header("content-type", "text/html"), "media type \"text/html\""),
        (Answer::ok("{}"), "media type \"\""),
    ] {
        let server = Server::start(move |_, _| answer.clone()).await;
        let error = top(&server).await.expect_err("no manifest");
        assert!(matches!(error, SourceError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_that_names_its_own_type_is_believed_behind_a_plain_file_server() {
    let body = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI}"}}"#);
    let server = Server::start(move |_, _| {
        Answer::ok(body.clone()).header("content-type", "application/json; charset=utf-8")
    })
    .await;
    assert_eq!(top(&server).await.expect("served").media_type, OCI);
}

async fn top_over_tls(server: &Server, http: HttpConfig) -> Result<RawManifest, SourceError> {
    let default = format!("https://localhost:{}", server.port()).parse().expect("an address");
    let reference = Reference::parse("app", &default).expect("valid");
    let config = RegistryConfig { http, ..config() };
    let registry = Registry::new(&config, DockerConfig::default()).expect("a client");
    registry.source(reference).top().await
}

#[tokio::test]
async fn https_trusts_the_authorities_that_the_operator_names() {
    let (server, authority) = Server::start_tls(|_, _| manifest()).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), authority).expect("written");
    let known = HttpConfig { ca_files: vec![file.path().into()], ..config().http };
    top_over_tls(&server, known).await.expect("trusted");
    let blind = HttpConfig { verify: Verify::Nothing, ..config().http };
    top_over_tls(&server, blind).await.expect("not looked at");
}

#[tokio::test]
async fn https_with_an_unknown_authority_is_refused_at_once() {
    let (server, _) = Server::start_tls(|_, _| manifest()).await;
    let error = top_over_tls(&server, config().http).await.expect_err("unknown").to_string();
    assert!(error.starts_with(&format!("localhost:{}: cannot connect", server.port())), "{error}");
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(server.requests().len(), 0);
}

#[tokio::test]
async fn a_redirect_from_https_to_http_is_refused() {
    let plain = Server::start(|_, _| manifest()).await;
    let location = format!("http://{}/", plain.authority());
    let (server, _) =
        Server::start_tls(move |_, _| Answer::new(302, "").header("location", location.clone()))
            .await;
    let blind = HttpConfig { verify: Verify::Nothing, ..config().http };
    let error = top_over_tls(&server, blind).await.expect_err("refused").to_string();
    assert!(error.contains("redirect from https to http refused"), "{error}");
    assert_eq!(plain.requests().len(), 0);
}

#[test]
fn a_file_without_certificates_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for path in [file.path(), std::path::Path::new("/no/such/ca.pem")] {
        let http = HttpConfig { ca_files: vec![path.into()], ..config().http };
        let config = RegistryConfig { http, ..config() };
        let error = Registry::new(&config, DockerConfig::default()).expect_err("no certificate");
        assert!(error.to_string().contains(path.to_str().expect("utf-8")), "{error}");
    }
}
