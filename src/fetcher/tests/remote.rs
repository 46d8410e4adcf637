//! Downloads, and what networks do to them.

use std::time::Duration;

use super::*;
use crate::http::scripted::{Answer, End, Server};

fn at(server: &Server, path: &str) -> Uri {
    uri(&format!("http://{}{path}", server.authority()))
}

#[tokio::test]
async fn a_download_arrives_without_its_query() {
    let world = World::new();
    let server = Server::start(|_, _| Answer::ok(vec![b'x'; 500_000])).await;
    world.fetch(&[at(&server, "/a/b.bin?token=secret")]).await.expect("fetched");
    assert_eq!(world.read("b.bin").len(), 500_000);
    assert_eq!(world.mode("b.bin"), 0o644);
    assert_eq!(world.names(), ["b.bin"]);
    assert_eq!(server.requests()[0].target, "/a/b.bin?token=secret");
}

#[tokio::test]
async fn redirects_are_followed_and_the_name_is_the_first_ones() {
    let world = World::new();
    let server = Server::start(|request, _| match request.path() {
        "/name" => Answer::new(302, "").header("location", "/other"),
        _ => Answer::ok("content"),
    })
    .await;
    world.fetch(&[at(&server, "/name")]).await.expect("fetched");
    assert_eq!(world.read("name"), "content");
}

#[tokio::test]
async fn cuts_and_busy_servers_are_tried_again() {
    let world = World::new();
    let server = Server::start(|_, before| match before {
        0 => Answer::new(503, ""),
        1 => Answer::ok("content").end(End::Cut(3)),
        _ => Answer::ok("content"),
    })
    .await;
    world.fetch(&[at(&server, "/x")]).await.expect("at last");
    assert_eq!(world.read("x"), "content");
    assert_eq!(world.names(), ["x"]);
}

#[tokio::test]
async fn failures_name_the_uri_without_its_secrets_and_leave_nothing() {
    for (answer, kind, reason) in [
        (Answer::new(404, ""), ErrorKind::NotFound, "not found"),
        (Answer::new(403, ""), ErrorKind::Remote, "HTTP 403"),
        (Answer::new(503, ""), ErrorKind::Remote, "HTTP 503"),
        (Answer::ok("x").end(End::Cut(0)), ErrorKind::Remote, ""),
        (Answer::ok("content").end(End::Stall(3)), ErrorKind::Remote, "stalled"),
    ] {
        let world = World::new();
        let server = Server::start(move |_, _| answer.clone()).await;
        let config = FetcherConfig { stall: Duration::from_millis(100), ..config() };
        let error = world.fetch_with(&[at(&server, "/x?secret")], config).await;
        let error = error.expect_err("failed");
        let start = format!("fetch http://{}/x: {reason}", server.authority());
        assert!(error.to_string().starts_with(&start), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(world.names(), [""; 0]);
    }
}

#[tokio::test]
async fn an_announced_or_actual_size_over_the_limit_is_refused() {
    for answer in [Answer::ok(vec![0; 1000]), Answer::ok(vec![0; 1000]).unannounced()] {
        let world = World::new();
        let server = Server::start(move |_, _| answer.clone()).await;
        let config = FetcherConfig { bytes_max: 999, ..config() };
        let error = world.fetch_with(&[at(&server, "/x")], config).await;
        assert_eq!(error.expect_err("too large").kind(), ErrorKind::Exhausted);
        assert_eq!((world.names().len(), server.requests().len()), (0, 1));
    }
}

#[tokio::test]
async fn a_dropped_fetch_leaves_nothing_and_ends_the_transfer() {
    let world = World::new();
    let server = Server::start(|_, _| Answer::ok(vec![0; 200_000]).end(End::Stall(150_000))).await;
    let uris = [at(&server, "/x")];
    let mut fetch = Box::pin(world.fetch(&uris));
    // Polled until its temporary file is there.
    while world.names().is_empty() {
        let turn = tokio::time::timeout(Duration::from_millis(5), &mut fetch).await;
        assert!(turn.is_err(), "a stalled transfer does not end");
    }
    assert!(world.names()[0].starts_with(".longshore-fetch-"));
    drop(fetch);
    assert_eq!(world.names(), [""; 0]);
    server.client_gone().await;
    assert_eq!(world.names(), [""; 0]);
}

#[tokio::test]
async fn https_works_with_the_authorities_that_the_operator_names() {
    let world = World::new();
    let (server, authority) = Server::start_tls(|_, _| Answer::ok("content")).await;
    let ca = world.directory.path().join("ca.pem");
    fs::write(&ca, authority).expect("written");
    let uris = [uri(&format!("https://localhost:{}/x", server.port()))];
    let error = world.fetch(&uris).await.expect_err("unknown authority");
    assert!(error.to_string().contains("certificate"), "{error}");
    let mut config = config();
    config.http.ca_files = vec![ca];
    world.fetch_with(&uris, config).await.expect("trusted");
    assert_eq!(world.read("x"), "content");
}
