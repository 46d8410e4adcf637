//! An event log and its subscribers: an actor, a task that keeps a map, and one that comes late and lags.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_actors::{
    Cx, Handler, Log, LogBounds, LogStart, Notice, Process, Reply, Runtime, ShutdownPlan, Spawn,
    SubscribeFrom, Subscription,
};

const PATIENCE: Duration = Duration::from_secs(5);

/// Ships by name, the port that each is in, and what happens to them.
type Ships = Log<&'static str, &'static str, &'static str>;
type News = Notice<&'static str, &'static str, &'static str>;

/// Prints what it is told.
struct Gazette;

impl Process for Gazette {}

impl Handler<News> for Gazette {
    fn handle(&mut self, news: News, _: &mut Cx<Self>) -> Reply<()> {
        match news {
            Notice::Snapshot(all) => println!("{} ships at {}", all.states.len(), all.version),
            Notice::Event(one) => println!("{}: {} {}", one.version, one.key, one.event),
            Notice::Lagged { from, to } => println!("{from} to {to} were missed"),
        }
        Reply::now(())
    }
}

/// Keeps the map of who is where until the log ends.
async fn harbour_master(
    mut news: Subscription<&'static str, &'static str, &'static str>,
) -> BTreeMap<&'static str, &'static str> {
    let mut ships = BTreeMap::new();
    while let Some(notice) = news.next().await {
        match notice {
            Notice::Snapshot(all) => {
                ships = all.states.iter().map(|(ship, port)| (*ship, **port)).collect();
            }
            Notice::Event(one) => match &one.state {
                Some(port) => drop(ships.insert(one.key, **port)),
                None => drop(ships.remove(one.key)),
            },
            // A snapshot follows.
            Notice::Lagged { .. } => {}
        }
    }
    ships
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder().group("main", 2).build()?;
    let bounds = LogBounds { kept: 4, backlog: 4 };
    let ships = Ships::starting(LogStart { bounds, ..LogStart::default() });
    let gazette = runtime.spawn(Spawn::new("gazette", || Gazette))?;
    let delivered = ships.subscribe(SubscribeFrom::Now).deliver_to(&gazette.handle());
    let master = harbour_master(ships.subscribe(SubscribeFrom::Now));
    let map = runtime.spawn_future("main", "harbour master", master);
    let mut sleeper = ships.subscribe(SubscribeFrom::Now);
    ships.publish("Argo", "Iolcus", "was built");
    for port in ["Lemnos", "Cyzicus", "Salmydessus", "Colchis"] {
        ships.publish("Argo", port, "arrived");
    }
    let sunk = ships.publish_end("Demeter", "was wrecked");
    assert_eq!(ships.snapshot().ended.len(), 1);
    ships.acknowledge(&"Demeter", sunk);
    // The log ends with its last handle, and the subscriptions when they have read it.
    drop(ships);
    let version = delivered.blocking_wait().into_result()?;
    println!("the gazette knows all up to {version}");
    println!("the harbour master has {:?}", map.blocking_wait().into_result()?);
    while let Some(notice) = sleeper.try_next() {
        println!("the sleeper hears {notice:?}");
    }
    let report = runtime.begin_shutdown(ShutdownPlan::within(PATIENCE));
    assert!(report.blocking_wait().into_result()?.is_clean());
    Ok(())
}

#[test]
fn it_runs() {
    main().expect("it runs to its end");
}
