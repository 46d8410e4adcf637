//! One continuous stream, whatever happens to the connections.

use super::*;
use crate::http::scripted::Request;

/// What a correct server says to a range.
fn ranged(request: &Request, content: &[u8]) -> Answer {
    let range = request.header("range").and_then(|r| r.strip_prefix("bytes="));
    match range.and_then(|r| r.strip_suffix('-')).map(|r| r.parse::<usize>().expect("a number")) {
        None => Answer::ok(content),
        Some(from) => Answer::new(206, &content[from..]).header(
            "content-range",
            format!("bytes {from}-{}/{}", content.len() - 1, content.len()),
        ),
    }
}

#[tokio::test]
async fn a_cut_blob_goes_on_where_it_was_cut() {
    let content = content();
    let served = content.clone();
    let server = Server::start(move |request, before| {
        let answer = ranged(request, &served);
        if before < 4 { answer.end(End::Cut(100_000)) } else { answer }
    })
    .await;
    let blob = blob_of(&content);
    assert_eq!(read_blob(&source(&server), &blob).await.expect("resumed"), content);
    let asked = server.requests();
    assert_eq!(asked.len(), 5);
    assert_eq!(asked[1].header("range"), Some("bytes=100000-"));
}

#[tokio::test]
async fn a_cut_without_range_support_starts_over_and_skips() {
    let content = content();
    let served = content.clone();
    let server = Server::start(move |_, before| {
        let answer = Answer::ok(served.clone());
        if before == 0 { answer.end(End::Cut(150_000)) } else { answer }
    })
    .await;
    let read = read_blob(&source(&server), &blob_of(&content)).await.expect("restarted");
    assert!(read == content, "the stream is continuous");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_wrong_range_is_not_believed() {
    let content = content();
    for range in ["bytes 900000-1199999/1200000", "items 1-2/3", "bytes */9", ""] {
        let served = content.clone();
        let server = Server::start(move |request, before| match request.header("range") {
            None if before == 0 => Answer::ok(served.clone()).end(End::Cut(150_000)),
            None => Answer::ok(served.clone()),
            Some(_) => Answer::new(206, &served[900_000..]).header("content-range", range),
        })
        .await;
        let read = read_blob(&source(&server), &blob_of(&content)).await.expect("restarted");
        assert!(read == content, "{range:?}: the stream is continuous");
    }
}

#[tokio::test]
async fn an_earlier_range_and_a_refused_range_are_used_as_they_are() {
    let content = content();
    for status in [206, 416] {
        let served = content.clone();
        let server = Server::start(move |request, before| match request.header("range") {
            None if before == 0 => Answer::ok(served.clone()).end(End::Cut(150_000)),
            None => Answer::ok(served.clone()),
            Some(_) if status == 416 => Answer::new(416, ""),
            Some(_) => Answer::new(206, &served[100_000..])
                .header("content-range", "bytes 100000-1199999/1200000"),
        })
        .await;
        let read = read_blob(&source(&server), &blob_of(&content)).await.expect("served");
        assert!(read == content, "{status}: the stream is continuous");
    }
}

#[tokio::test]
async fn a_blob_that_ends_early_without_a_length_is_a_cut() {
    let content = content();
    let served = content.clone();
    let server = Server::start(move |request, before| {
        let answer = ranged(request, &served).unannounced();
        if before == 0 { answer.end(End::Cut(1000)) } else { answer }
    })
    .await;
    assert!(read_blob(&source(&server), &blob_of(&content)).await.expect("resumed") == content);
}

#[tokio::test]
async fn a_blob_that_is_always_cut_at_the_same_byte_is_given_up() {
    let content = content();
    let served = content.clone();
    let server = Server::start(move |_, _| Answer::ok(served.clone()).end(End::Cut(1000))).await;
    let error = read_blob(&source(&server), &blob_of(&content)).await.expect_err("no progress");
    assert!(error.to_string().ends_with("after 1000 of 1200000 bytes"), "{error}");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn a_stalled_blob_is_resumed_on_another_connection() {
    let content = content();
    let served = content.clone();
    let server = Server::start(move |request, before| {
        let answer = ranged(request, &served);
        if before == 0 { answer.end(End::Stall(500)) } else { answer }
    })
    .await;
    let config = RegistryConfig { stall: Duration::from_millis(200), ..config() };
    let source = source_with(&server, &config, "{}");
    assert!(read_blob(&source, &blob_of(&content)).await.expect("resumed") == content);
}

#[tokio::test]
async fn a_server_that_always_stalls_is_given_up_and_named() {
    let server = Server::start(|_, _| manifest().end(End::Stall(3))).await;
    let config = RegistryConfig { stall: Duration::from_millis(50), ..config() };
    let error = source_with(&server, &config, "{}").top().await.expect_err("stalled").to_string();
    assert!(error.contains("stalled") && error.contains(&server.authority()), "{error}");
    assert_eq!(server.count(TOP), 3);
}

#[tokio::test]
async fn a_blob_larger_than_announced_is_corrupt() {
    let server = Server::start(|_, _| Answer::ok("0123456789")).await;
    let blob = Blob { digest: Digest::of(b"01234"), size: 5 };
    let error = read_blob(&source(&server), &blob).await.expect_err("too large");
    assert!(matches!(error, SourceError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn dropping_a_blob_stream_ends_the_transfer() {
    let server = Server::start(|_, _| Answer::ok(content()).end(End::Stall(10))).await;
    let blob = blob_of(&content());
    let mut stream = source(&server).blob(&blob).await.expect("opened");
    assert_eq!(stream.next().await.expect("a chunk").expect("bytes").len(), 10);
    drop(stream);
    server.client_gone().await;
}

#[tokio::test]
async fn a_complete_blob_is_complete_however_its_connection_ends() {
    let content = content();
    let served = content.clone();
    let all = End::Stall(content.len());
    let server = Server::start(move |_, _| Answer::ok(served.clone()).unannounced().end(all)).await;
    let config = RegistryConfig { stall: Duration::from_millis(200), ..config() };
    let source = source_with(&server, &config, "{}");
    assert!(read_blob(&source, &blob_of(&content)).await.expect("all of it") == content);
    assert_eq!(server.requests().len(), 1);
}
