//! Two actors and a question between them.

use std::time::Duration;

use longshore_actors::{
    Cx, Handle, Handler, Message, Process, Reply, Runtime, ShutdownPlan, Spawn,
};

const PATIENCE: Duration = Duration::from_secs(1);

/// Asks for a pong.
struct Ping(u32);

impl Message for Ping {
    type Reply = u32;
}

/// Answers by itself.
struct Server;

impl Process for Server {}

impl Handler<Ping> for Server {
    fn handle(&mut self, Ping(n): Ping, _: &mut Cx<Self>) -> Reply<u32> {
        Reply::now(n + 1)
    }
}

/// Passes the question on, and the answer back.
struct Relay {
    server: Handle<Ping>,
}

impl Process for Relay {}

impl Handler<Ping> for Relay {
    fn handle(&mut self, ping: Ping, _: &mut Cx<Self>) -> Reply<u32> {
        Reply::later(self.server.dispatch(ping, PATIENCE))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().group("main", 2).build()?;
    let server = runtime.spawn(Spawn::new("server", || Server))?.handle();
    let relay = runtime.spawn(Spawn::new("relay", move || Relay { server }))?;
    let pong = relay.dispatch(Ping(41), PATIENCE).blocking_wait().into_result()?;
    println!("pong {pong}");
    let report = runtime.begin_shutdown(ShutdownPlan::within(PATIENCE));
    assert!(report.blocking_wait().into_result()?.is_clean());
    Ok(())
}
