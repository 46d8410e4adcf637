//! A topic and its subscribers: each has a bounded mailbox, none can hold up the others, and the topic forgets who ends.

use std::time::Duration;

use longshore_actors::sync::Latch;
use longshore_actors::{
    AnyPid, Cx, Exit, Handle, Handler, Message, Process, Reply, Runtime, ShutdownPlan, Spawn,
};

const PATIENCE: Duration = Duration::from_secs(1);

/// What is published.
#[derive(Clone)]
struct News(String);

impl Message for News {
    type Reply = ();
}

/// Whoever accepts news can subscribe to them.
struct Subscribe(Handle<News>);

impl Message for Subscribe {
    type Reply = usize;
}

/// Passes news on to everybody who subscribed.
#[derive(Default)]
struct Topic {
    subscribers: Vec<Handle<News>>,
}

impl Process for Topic {
    fn exited(&mut self, _: &mut Cx<Self>, who: &AnyPid, why: &Exit) {
        println!("{who} has left: {why}");
        self.subscribers.retain(|subscriber| subscriber.pid() != *who);
    }
}

impl Handler<Subscribe> for Topic {
    fn handle(&mut self, Subscribe(subscriber): Subscribe, cx: &mut Cx<Self>) -> Reply<usize> {
        cx.watch(&subscriber.pid());
        self.subscribers.push(subscriber);
        Reply::now(self.subscribers.len())
    }
}

impl Handler<News> for Topic {
    fn handle(&mut self, news: News, _: &mut Cx<Self>) -> Reply<()> {
        for subscriber in &self.subscribers {
            // A topic that must not lose anything would keep what is refused, or end the subscriber.
            if let Err(refused) = subscriber.notify(news.clone()) {
                println!("lost: {refused}");
            }
        }
        Reply::now(())
    }
}

/// Prints what it hears.
struct Reader {
    heard: Latch,
}

impl Process for Reader {}

impl Handler<News> for Reader {
    fn handle(&mut self, News(text): News, cx: &mut Cx<Self>) -> Reply<()> {
        println!("{} reads: {text}", cx.name());
        self.heard.count_down();
        Reply::now(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().group("main", 2).build()?;
    let topic = runtime.spawn(Spawn::new("topic", Topic::default))?;
    let heard = Latch::new(3);
    let mut readers = Vec::new();
    for (name, heard) in [("reader/a", heard.clone()), ("reader/b", heard.clone())] {
        let reader = runtime.spawn(Spawn::new(name, || Reader { heard }).capacity(8))?;
        let subscribed = topic.dispatch(Subscribe(reader.handle()), PATIENCE);
        println!("{} subscribed", subscribed.blocking_wait().into_result()?);
        readers.push(reader);
    }
    topic.dispatch(News("first".into()), PATIENCE).blocking_wait().into_result()?;
    // It reads what it was sent, and ends.
    readers[0].drain().blocking_wait().into_result()?;
    topic.dispatch(News("second".into()), PATIENCE).blocking_wait().into_result()?;
    heard.opened().within(&runtime.clock(), PATIENCE).blocking_wait().into_result()?;
    let report = runtime.begin_shutdown(ShutdownPlan::within(PATIENCE));
    assert!(report.blocking_wait().into_result()?.is_clean());
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it runs to its end");
}
