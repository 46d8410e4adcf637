//! Debian's `docker-registry` on a port of 127.0.0.1, with files of its own.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::images::{Images, scripts};

/// What callers must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Nothing.
    Anonymous,
    /// [`USER`] and [`PASSWORD`] by basic authentication.
    Basic,
}

/// The only user of a registry with [`Access::Basic`].
pub(crate) const USER: &str = "tester";

/// Their password.
pub(crate) const PASSWORD: &str = "secret";

/// bcrypt of [`PASSWORD`], as htpasswd(1) writes it.
const PASSWORD_HASH: &str = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";

/// Servers that run now: children of the test program that are no leaks.
static SERVERS: Mutex<Vec<i32>> = Mutex::new(Vec::new());

/// Pids of the registries that run now.
pub(crate) fn servers() -> Vec<i32> {
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn pid_of(server: &Child) -> i32 {
    i32::try_from(server.id()).expect("pids are positive and small")
}

/// A registry that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Registry {
    server: Child,
    port: u16,
    access: Access,
    /// Configuration and blobs. Not in a world: the registry is a helper, never a leak.
    directory: TempDir,
}

impl Registry {
    /// An empty registry for everybody.
    pub(crate) fn start() -> Self {
        Self::start_with(Access::Anonymous)
    }

    /// An empty registry.
    pub(crate) fn start_with(access: Access) -> Self {
        let directory = tempfile::Builder::new().prefix("registry-").tempdir();
        let directory = directory.expect("the directory for temporary files can be written");
        // Between our looking for a free port and its use somebody else may take it.
        for _ in 0..10 {
            let port = free_port();
            write_config(directory.path(), port, access);
            if let Some(server) = serve(directory.path()) {
                return Self { server, port, access, directory };
            }
        }
        panic!("docker-registry found no port in ten attempts");
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A reference into this registry: `docker://127.0.0.1:PORT/REPOSITORY`.
    pub(crate) fn reference(&self, repository: &str) -> String {
        format!("docker://{}/{repository}", self.address())
    }

    /// Where its blobs are, for tests that change them.
    pub(crate) fn storage(&self) -> std::path::PathBuf {
        self.directory.path().join("storage/docker/registry/v2/blobs")
    }

    /// Copies the images that match `patterns` (`library/redis:*`) from the layout.
    pub(crate) fn push(&self, images: &Images, patterns: &[&str]) {
        self.push_layout(&images.layout(), patterns);
    }

    /// The same from any OCI layout.
    pub(crate) fn push_layout(&self, layout: &Path, patterns: &[&str]) {
        let mut push = Command::new("python3");
        push.arg(scripts().join("push.py"));
        if self.access == Access::Basic {
            push.arg("--user").arg(format!("{USER}:{PASSWORD}"));
        }
        push.arg(layout).arg(format!("http://{}", self.address()));
        let pushed = push.args(patterns).output().expect("python3 can be run");
        let errors = String::from_utf8_lossy(&pushed.stderr);
        assert!(pushed.status.success() && !pushed.stdout.is_empty(), "push.py: {errors}");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.server.kill();
        let _ = self.server.wait();
        let pid = pid_of(&self.server);
        SERVERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|server| *server != pid);
    }
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback is up");
    listener.local_addr().expect("it is bound").port()
}

fn write_config(directory: &Path, port: u16, access: Access) {
    let storage = directory.join("storage");
    let mut config = format!(
        "version: 0.1\nlog: {{level: info}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '127.0.0.1:{port}', secret: tests}}\n",
        storage.display()
    );
    if access == Access::Basic {
        let users = directory.join("htpasswd");
        fs::write(&users, format!("{USER}:{PASSWORD_HASH}\n")).expect("our own directory");
        let users = users.display();
        writeln!(config, "auth: {{htpasswd: {{realm: tests, path: {users}}}}}")
            .expect("writing to a string cannot fail");
    }
    fs::write(directory.join("config.yml"), config).expect("our own directory");
}

/// Starts the server; `None` when it ended before it listened.
fn serve(directory: &Path) -> Option<Child> {
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(directory.join("config.yml"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut servers = SERVERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut server = command.spawn().expect("Debian's package docker-registry is installed");
    servers.push(pid_of(&server));
    drop(servers);
    let mut log = BufReader::new(server.stderr.take().expect("piped"));
    let mut line = String::new();
    while log.read_line(&mut line).expect("its log is text") > 0 {
        if line.contains("listening on") {
            // Read on, so that it never waits for its log.
            std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
            return Some(server);
        }
        line.clear();
    }
    server.wait().expect("it is our child");
    let pid = pid_of(&server);
    SERVERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|server| *server != pid);
    None
}
