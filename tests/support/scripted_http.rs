//! An HTTP server on 127.0.0.1 that answers as the test says, faults included.
//!
//! Speaks just enough HTTP/1.1, one request a connection, over plain TCP or TLS. What it was asked
//! is kept for the test to look at.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, pki_types::PrivateKeyDer};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Path and query.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// How the body ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// As announced.
    Complete,
    /// The connection closes after so many bytes.
    Cut(usize),
    /// Nothing comes after so many bytes, and the connection stays open.
    Stall(usize),
}

/// What the server says.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
    announce: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), body, end: End::Complete, announce: true }
    }

    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200, body)
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// No `Content-Length`: the end of the connection is the end of the body.
    #[must_use]
    pub(crate) fn unannounced(mut self) -> Self {
        self.announce = false;
        self
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\nconnection: close\r\n", self.status);
        if self.announce {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

type Script = dyn Fn(&Request, usize) -> Answer + Send + Sync;

/// A running server; ends with the test's runtime.
pub(crate) struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    /// One permit for each client that left a stalled answer.
    gone: Arc<Semaphore>,
}

impl Server {
    /// Answers every request by `script`, which is told how many requests for the same path came
    /// before.
    pub(crate) async fn start(
        script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::listen(None, Arc::new(script)).await
    }

    /// The same over TLS for `localhost` and 127.0.0.1. The second value is the authority, as PEM.
    pub(crate) async fn start_tls(
        script: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static,
    ) -> (Self, String) {
        let (config, authority) = certified();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::listen(Some(acceptor), Arc::new(script)).await, authority)
    }

    async fn listen(tls: Option<TlsAcceptor>, script: Arc<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the loopback");
        let address = listener.local_addr().expect("it is bound");
        let log = Arc::new(Mutex::new(Vec::new()));
        let gone = Arc::new(Semaphore::new(0));
        let server = Self { address, log: Arc::clone(&log), gone: Arc::clone(&gone) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, script) = (tls.clone(), Arc::clone(&script));
                let (log, gone) = (Arc::clone(&log), Arc::clone(&gone));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &script, &log, &gone).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &script, &log, &gone).await;
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Waits until a client has left a stalled answer.
    pub(crate) async fn client_gone(&self) {
        let permit = self.gone.acquire();
        let permit = tokio::time::timeout(std::time::Duration::from_secs(20), permit).await;
        permit.expect("the client leaves").expect("never closed").forget();
    }

    /// What was asked so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.log.lock().expect("no test panics while it logs").clone()
    }

    /// How often a path was asked for.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path() == path).count()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: &Arc<Script>,
    log: &Mutex<Vec<Request>>,
    gone: &Semaphore,
) {
    let Some(request) = read_request(&mut stream).await else { return };
    let before = {
        let mut log = log.lock().expect("no test panics while it logs");
        let before = log.iter().filter(|earlier| earlier.path() == request.path()).count();
        log.push(request.clone());
        before
    };
    let answer = script(&request, before);
    let sent = match answer.end {
        End::Complete => answer.body.len(),
        End::Cut(bytes) | End::Stall(bytes) => bytes,
    };
    // A client that has gone away is a matter of the test, not of the server.
    let written = async {
        stream.write_all(answer.head().as_bytes()).await?;
        stream.write_all(&answer.body[..sent]).await?;
        stream.flush().await
    };
    if written.await.is_err() {
        return;
    }
    if matches!(answer.end, End::Stall(_)) {
        // Until the client gives up.
        let _ = stream.read(&mut [0; 1]).await;
        gone.add_permits(1);
    }
    let _ = stream.shutdown().await;
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let target = lines.next()?.split(' ').nth(1)?.to_owned();
    let header = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    };
    Some(Request { target, headers: lines.filter_map(header).collect() })
}

/// A server's configuration, and the authority that signed its certificate.
fn certified() -> (ServerConfig, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("no names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&authority_key).expect("self-signed");
    let issuer = Issuer::new(authority, authority_key);

    let key = KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).expect("names");
    let leaf = leaf.signed_by(&key, &issuer).expect("signed");

    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions of ring")
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a PKCS #8 key"),
        )
        .expect("the key of the certificate");
    (config, certificate.pem())
}
