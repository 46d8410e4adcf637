//! Who we are, told only to those who may know.

use super::*;

#[tokio::test]
async fn basic_credentials_are_sent_only_when_asked_for() {
    let server = Server::start(|request, _| match request.header("authorization") {
        Some(BASIC) => manifest(),
        _ => Answer::new(401, "").header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let source = source_with(&server, &config(), &credentials(&server));
    source.top().await.expect("let in");
    source.top().await.expect("let in again");
    let sent: Vec<_> = server.requests();
    let sent: Vec<_> = sent.iter().map(|r| r.header("authorization")).collect();
    assert_eq!(sent, [None, Some(BASIC), Some(BASIC)]);

    let error = top(&server).await.expect_err("anonymous");
    assert!(matches!(&error, SourceError::Denied { .. }), "{error}");
}

/// A registry whose token server is itself; `answer` makes the token's JSON from how often it was
/// asked; `valid` judges a token.
async fn bearer(
    answer: impl Fn(usize) -> String + Send + Sync + 'static,
    valid: impl Fn(&str, usize) -> bool + Send + Sync + 'static,
) -> Server {
    Server::start(move |request, before| {
        if request.path() == "/token" {
            return Answer::ok(answer(before));
        }
        let token = request.header("authorization").and_then(|a| a.strip_prefix("Bearer "));
        if token.is_some_and(|token| valid(token, before)) {
            return manifest();
        }
        let realm = format!("http://{}/token", request.header("host").expect("sent"));
        let value = format!(
            "Bearer realm=\"{realm}\",service=\"a registry\",scope=\"repository:library/app:pull\""
        );
        Answer::new(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#)
            .header("www-authenticate", value)
    })
    .await
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_again() {
    let server = bearer(|_| r#"{"token":"t","expires_in":300}"#.into(), |t, _| t == "t").await;
    let source = source(&server);
    source.top().await.expect("let in");
    source.top().await.expect("let in again");
    assert_eq!(server.count("/token"), 1);
    assert_eq!(server.count(TOP), 3);
    let ask = server.requests().into_iter().find(|r| r.path() == "/token").expect("asked");
    let query = "/token?service=a+registry&scope=repository%3Alibrary%2Fapp%3Apull";
    assert_eq!(ask.target, query);
    assert_eq!(ask.header("authorization"), None);
}

#[tokio::test]
async fn the_password_goes_to_the_token_server_and_not_to_the_registry() {
    let server = bearer(|_| r#"{"access_token":"t"}"#.into(), |t, _| t == "t").await;
    source_with(&server, &config(), &credentials(&server)).top().await.expect("let in");
    for request in server.requests() {
        let basic = request.header("authorization") == Some(BASIC);
        assert_eq!(basic, request.path() == "/token", "{}", request.target);
    }
}

#[tokio::test]
async fn an_expired_token_is_not_sent_again() {
    let token = |n| format!(r#"{{"token":"t{n}","expires_in":0}}"#);
    let server = bearer(token, |_, _| true).await;
    let source = source(&server);
    source.top().await.expect("let in");
    source.top().await.expect("let in again");
    assert_eq!(server.count("/token"), 2);
}

#[tokio::test]
async fn a_token_that_the_registry_stops_to_accept_is_renewed() {
    let token = |n| format!(r#"{{"token":"t{n}","expires_in":300}}"#);
    // The third request comes with the first token, which is refused by then.
    let server = bearer(token, |token, before| token == if before < 2 { "t0" } else { "t1" }).await;
    let source = source(&server);
    source.top().await.expect("let in");
    source.top().await.expect("let in again");
    assert_eq!(server.count("/token"), 2);
}

#[tokio::test]
async fn blobs_that_are_refused_together_ask_for_one_token() {
    let server = bearer(|_| r#"{"token":"t"}"#.into(), |t, _| t == "t").await;
    let source = source(&server);
    let digest = Digest::of(MANIFEST.as_bytes());
    let (a, b, c) =
        tokio::join!(source.manifest(&digest), source.manifest(&digest), source.manifest(&digest));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(server.count("/token"), 1);
}

#[tokio::test]
async fn a_token_that_is_never_accepted_ends_as_denied() {
    let server = bearer(|_| r#"{"token":"t"}"#.into(), |_, _| false).await;
    let error = top(&server).await.expect_err("never let in").to_string();
    assert!(error.contains("refused access to library/app"), "{error}");
    assert!(error.contains("UNAUTHORIZED"), "{error}");
    assert_eq!(server.count(TOP), 2);
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
    let content = content();
    let served = content.clone();
    let storage = Server::start(move |_, _| Answer::ok(served.clone())).await;
    let location = format!("http://{}/storage?signature=x", storage.authority());
    let server = Server::start(move |request, _| match request.header("authorization") {
        Some(BASIC) => Answer::new(307, "").header("location", location.clone()),
        _ => Answer::new(401, "").header("www-authenticate", "Basic realm=x"),
    })
    .await;
    let source = source_with(&server, &config(), &credentials(&server));
    assert_eq!(read_blob(&source, &blob_of(&content)).await.expect("served"), content);
    let asked = storage.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("authorization"), None);
}

#[tokio::test]
async fn a_stranger_that_asks_for_credentials_gets_none() {
    let stranger =
        Server::start(|_, _| Answer::new(401, "").header("www-authenticate", "Basic realm=x"))
            .await;
    let location = format!("http://{}/", stranger.authority());
    let server =
        Server::start(move |_, _| Answer::new(302, "").header("location", location.clone())).await;
    let source = source_with(&server, &config(), &credentials(&server));
    let error = source.top().await.expect_err("denied");
    assert!(matches!(error, SourceError::Denied { .. }), "{error}");
    assert!(stranger.requests().iter().all(|r| r.header("authorization").is_none()));
}
