//! The file of `--json-events`: one object a line, written when it comes.
//!
//! A thread of its own writes: whoever reads a pipe slowly, or not at all, must hold up neither the
//! signals nor the end of the container. What it has no room for waits in the subscription, which
//! tells how much was missed.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use longshore::error;
use longshore::events::Notice;
use tokio::sync::{mpsc, oneshot};

use super::exit::Complaint;

/// Lines that wait for the writer.
const LINES: usize = 256;

/// A reader that takes longer than this at the end gets no more.
const LAST_LINES: Duration = Duration::from_secs(5);

/// Where the events go.
pub(crate) struct EventLog {
    lines: mpsc::Sender<String>,
    written: oneshot::Receiver<()>,
    path: PathBuf,
    /// A snapshot is worth a line only where events were missed before it.
    lagged: bool,
}

impl EventLog {
    /// `-` is stdout.
    pub(crate) fn open(path: &Path) -> Result<Self, Complaint> {
        let unusable = |error: std::io::Error| {
            Complaint::usage(format_args!("json-events {}: {error}", path.display()))
        };
        let (lines, waiting) = mpsc::channel(LINES);
        let (done, written) = oneshot::channel();
        let owned = path.to_owned();
        // Opened by the thread, too: a pipe without a reader blocks in open(2).
        let file = match path == Path::new("-") {
            true => None,
            false if is_pipe(path) => None,
            false => Some(File::create(path).map_err(unusable)?),
        };
        thread::Builder::new()
            .name("json-events".to_owned())
            .spawn(move || {
                write_all(&owned, file, waiting);
                // Nobody may wait for it any more.
                let _ = done.send(());
            })
            .map_err(unusable)?;
        Ok(Self { lines, written, path: path.to_owned(), lagged: false })
    }

    /// Ends when there is room for a line.
    pub(crate) async fn room(&self) {
        // A writer that has given up takes everything.
        let _ = self.lines.reserve().await;
    }

    /// Hands a line to the writer; there is [`Self::room`].
    pub(crate) fn write(&mut self, notice: &Notice) {
        if matches!(notice, Notice::Snapshot(_)) && !self.lagged {
            return;
        }
        self.lagged = matches!(notice, Notice::Lagged(_));
        let _ = self.lines.try_send(notice.to_json() + "\n");
    }

    /// Waits until all is written, but not for ever.
    pub(crate) async fn close(self) {
        let Self { lines, written, path, .. } = self;
        drop(lines);
        if tokio::time::timeout(LAST_LINES, written).await.is_err() {
            anstream::eprintln!("longshore: run: json-events {}: nobody reads it", path.display());
        }
    }
}

fn is_pipe(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// Writes what comes; after a failure the container goes on, and its events have nowhere to go.
fn write_all(path: &Path, file: Option<File>, mut lines: mpsc::Receiver<String>) {
    let open = || -> std::io::Result<Box<dyn Write>> {
        Ok(match file {
            Some(file) => Box::new(file),
            None if path == Path::new("-") => Box::new(std::io::stdout()),
            None => Box::new(File::options().write(true).open(path)?),
        })
    };
    let written = open().and_then(|mut out| {
        while let Some(line) = lines.blocking_recv() {
            out.write_all(line.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    });
    if let Err(error) = written {
        let reason = error::plain(&error.to_string());
        anstream::eprintln!("longshore: run: json-events {}: {reason}", path.display());
    }
}
