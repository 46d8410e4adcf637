//! `--serve`: the floor's protocol, so that anything can be timed against us alternately.
//!
//! Each byte on stdin is one container, from nothing to nothing, and is answered with one byte. Who
//! writes another byte before the answer has two in flight.

use std::io;
use std::os::fd::AsFd as _;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use longshore::config::Backend;
use longshore::error::Error;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::Failure;
use crate::node::{Node, Setup};
use crate::options::Options;
use crate::place::Place;

/// More containers at once than this wait in the pipe.
const IN_FLIGHT_MAX: usize = 64;

/// Serves until stdin ends.
pub(crate) fn serve(options: &Options) -> Result<(), Failure> {
    let place = match &options.work_dir {
        Some(_) if options.mounts == 0 => None,
        _ => Some(Place::make()?),
    };
    if let Some(place) = &place {
        place.crowd(options.mounts)?;
    }
    let ballast = touch(options.rss);
    let setup = setup(options, place.as_ref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(start_and_answer(&setup));
    drop(runtime);
    drop(ballast);
    served
}

fn setup(options: &Options, place: Option<&Place>) -> Result<Setup, Failure> {
    let own = |name| place.map(|place| place.directory(name)).transpose();
    let [work, run] = [own("work")?, own("run")?];
    Ok(Setup {
        work_dir: options.work_dir.clone().or(work).ok_or("no work directory")?,
        runtime_dir: options.runtime_dir.clone().or(run).ok_or("no runtime directory")?,
        root: options.root.clone().ok_or("--serve needs --root")?,
        backend: if options.overlay { Backend::Overlay } else { Backend::Bind },
        command: options.command.clone(),
    })
}

/// Memory that is resident.
fn touch(mib: usize) -> Vec<u8> {
    // Large pages would make a copy of the page tables look cheap.
    if let Err(errno) = nix::sys::prctl::set_thp_disable(true) {
        eprintln!("launch: with large pages: {errno}");
    }
    std::hint::black_box(vec![1; mib << 20])
}

async fn start_and_answer(setup: &Setup) -> Result<(), Failure> {
    let mut node = Node::start(setup).await?;
    let answered = answer(&mut node).await;
    let stopped = node.stop().await;
    answered.and(stopped)
}

async fn answer(node: &mut Node) -> Result<(), Failure> {
    let mut requests = Requests::open()?;
    let mut ends = Ends::catch()?;
    let mut removals = FuturesUnordered::new();
    let (mut open, mut in_flight) = (true, 0);
    while open || in_flight > 0 {
        tokio::select! {
            biased;
            () = ends.wait() => return Err("ended by a signal".into()),
            Some(removed) = removals.next() => {
                let removed: Result<(), Error> = removed;
                removed?;
                in_flight -= 1;
                rustix::io::write(io::stdout(), b"k")?;
            }
            ended = node.terminated() => {
                if let Some(id) = ended? {
                    let containerizer = node.containerizer.clone();
                    removals.push(async move { containerizer.remove(&id).await });
                }
            }
            request = requests.next(), if open && in_flight < IN_FLIGHT_MAX => match request? {
                Request::Launch => {
                    let _ = node.launch_command()?;
                    in_flight += 1;
                }
                Request::End => open = false,
            }
        }
    }
    Ok(())
}

/// What stdin says.
enum Request {
    Launch,
    End,
}

impl Request {
    fn of(bytes_read: usize) -> Self {
        if bytes_read == 0 { Self::End } else { Self::Launch }
    }
}

/// The bytes of stdin, one by one.
enum Requests {
    /// Without a thread between.
    Pipe(Receiver),
    /// A socket, a terminal or a file.
    Other(UnboundedReceiver<io::Result<Request>>),
}

impl Requests {
    fn open() -> Result<Self, Failure> {
        match Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?) {
            Ok(pipe) => Ok(Self::Pipe(pipe)),
            // It is no pipe.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Ok(Self::read_by_a_thread())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read_by_a_thread() -> Self {
        let (told, requests) = tokio::sync::mpsc::unbounded_channel();
        // Not joined: it waits for a byte as long as nobody closes stdin.
        std::thread::spawn(move || {
            loop {
                let mut byte = [0];
                let read = rustix::io::read(io::stdin(), &mut byte).map(Request::of);
                let last = !matches!(read, Ok(Request::Launch));
                if told.send(read.map_err(io::Error::from)).is_err() || last {
                    return;
                }
            }
        });
        Self::Other(requests)
    }

    /// May be dropped at any time: a byte is read and returned in one turn.
    async fn next(&mut self) -> io::Result<Request> {
        let pipe = match self {
            Self::Pipe(pipe) => pipe,
            Self::Other(requests) => return requests.recv().await.unwrap_or(Ok(Request::End)),
        };
        loop {
            pipe.readable().await?;
            match pipe.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read.map(Request::of),
            }
        }
    }
}

/// The signals that end it, with everything removed.
struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Ends {
    fn catch() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
