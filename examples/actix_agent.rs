//! An agent of a scheduler as an actix actor: requests by recipients, events as messages. As root:
//! `cargo run --release --example actix_agent --features actix`

mod support;

use std::process::ExitCode;

use actix::{Actor, AsyncContext, Context, Handler, Recipient, WrapFuture};
use longshore::Containers;
use longshore::events::{Event, EventKind, Notice, Since};
use longshore::messages::{Launch, Remove, Stop};
use longshore::model::ContainerId;
use longshore::spec::ContainerSpec;
use support::{Failure, Home, exit};
use tokio::sync::oneshot;

/// Launches two containers and sees them to their end.
struct Agent {
    launch: Recipient<Launch>,
    stop: Recipient<Stop>,
    remove: Recipient<Remove>,
    image: String,
    /// How each has ended.
    ended: Vec<String>,
    done: Option<oneshot::Sender<Vec<String>>>,
}

impl Agent {
    fn launch(&self, ctx: &mut Context<Self>, id: &str, command: &[&str]) -> Result<(), Failure> {
        let spec = ContainerSpec::image(id, &self.image)?.command(command.iter().copied());
        let launched = self.launch.send(Launch { spec });
        ctx.spawn(
            async move { assert!(launched.await.is_ok_and(|job| job.is_ok())) }.into_actor(self),
        );
        Ok(())
    }

    fn running(&self, container_id: ContainerId) {
        if container_id.to_string() == "long" {
            // Its end comes as an event: nobody waits for the answer.
            let stop = Stop { container_id, how: longshore::Stop::from_image() };
            drop(self.stop.try_send(stop));
        }
    }

    fn terminated(&mut self, event: &Event) {
        let stopped = event.termination.as_ref().is_some_and(|end| end.stopped);
        let how = if stopped { "was stopped" } else { "ended" };
        self.ended.push(format!("{} {how}", event.container_id));
        drop(self.remove.try_send(Remove { container_id: event.container_id.clone() }));
        if self.ended.len() == 2 {
            self.ended.sort();
            let told = self.done.take().map(|done| done.send(self.ended.clone()));
            assert_eq!(told, Some(Ok(())), "told once, to somebody who waits");
        }
    }
}

impl Actor for Agent {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.launch(ctx, "short", &["/hello", "echo", "done"]).expect("a valid spec");
        self.launch(ctx, "long", &["/hello", "pause"]).expect("a valid spec");
    }
}

impl Handler<Notice> for Agent {
    type Result = ();

    fn handle(&mut self, notice: Notice, _: &mut Self::Context) {
        match notice {
            Notice::Event(event) if event.kind == EventKind::Running => {
                self.running(event.container_id.clone());
            }
            Notice::Event(event) if event.kind == EventKind::Terminated => self.terminated(&event),
            other => println!("{}", other.to_json()),
        }
    }
}

fn main() -> ExitCode {
    // The containerizer has threads of its own; this system is the program's.
    exit("actix_agent", actix::System::new().block_on(actix_agent()))
}

async fn actix_agent() -> Result<(), Failure> {
    let home = Home::new()?;
    let node = home.builder().start().await?;
    let (done, ended) = oneshot::channel();
    let (launch, stop, remove) = (node.recipient(), node.recipient(), node.recipient());
    let (image, done, none) = (home.image.clone(), Some(done), Vec::new());
    let agent = Agent { launch, stop, remove, image, ended: none, done }.start();
    let delivery = node.deliver(Since::Now, agent.recipient());
    assert_eq!(ended.await?, ["long was stopped", "short ended"]);
    delivery.stop();
    node.shutdown(Containers::Destroy).await?;
    Ok(())
}
