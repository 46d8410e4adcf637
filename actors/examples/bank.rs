//! A simulated bank with a bug that threads hardly ever show: the simulator finds it, shrinks it and draws it.
//!
//! A transfer withdraws from one account and deposits to another. Where the deposit fails, the teller puts the
//! money back: a deposit whose answer is late is taken for one that failed. So money appears, if a deposit is
//! handled after all. Run it with `cargo run -p longshore-actors --features testing --example bank`.

use std::time::Duration;

use longshore_actors::{
    Cx, Handle, Handler, Message, Pid, Process, Reply, Runtime, Search, Simulation, Spawn,
};

const PATIENCE: Duration = Duration::from_secs(1);
const AGES: Duration = Duration::from_secs(1000);
const EACH: i64 = 100;

/// Changes a balance and gives the new one. Negative amounts are withdrawn.
#[derive(Clone, Copy)]
struct Change(i64);

impl Message for Change {
    type Reply = i64;

    fn label(&self) -> &'static str {
        if self.0 < 0 { "Withdraw" } else { "Deposit" }
    }
}

/// What is there.
struct Balance;

impl Message for Balance {
    type Reply = i64;
}

/// Moves money between two accounts.
struct Transfer(i64);

impl Message for Transfer {
    type Reply = ();
}

struct Account(i64);

impl Process for Account {}

impl Handler<Change> for Account {
    fn handle(&mut self, Change(amount): Change, _: &mut Cx<Self>) -> Reply<i64> {
        self.0 += amount;
        Reply::now(self.0)
    }
}

impl Handler<Balance> for Account {
    fn handle(&mut self, _: Balance, _: &mut Cx<Self>) -> Reply<i64> {
        Reply::now(self.0)
    }
}

struct Teller {
    from: Handle<Change>,
    to: Handle<Change>,
}

impl Process for Teller {}

impl Handler<Transfer> for Teller {
    fn handle(&mut self, Transfer(amount): Transfer, cx: &mut Cx<Self>) -> Reply<()> {
        let (done, reply) = Reply::promised();
        let withdrawn = self.from.dispatch(Change(-amount), AGES);
        cx.run("withdrawn", withdrawn, move |teller, cx, _| {
            let deposited = teller.to.dispatch(Change(amount), PATIENCE);
            cx.run("deposited", deposited.result(), move |teller, _, deposited| {
                if deposited.is_err() {
                    // The bug: no answer in time does not mean that nothing was done.
                    teller.from.notify(Change(amount)).expect("the account has room");
                }
                done.set(());
            });
        });
        reply
    }
}

/// A transfer; the sum must stay what it was.
fn transfer(sim: &Simulation) -> Result<(), String> {
    let account = |name| sim.runtime().spawn(Spawn::new(name, || Account(EACH)));
    let ann = account("ann").map_err(|error| error.to_string())?;
    let bob = account("bob").map_err(|error| error.to_string())?;
    let (from, to) = (ann.handle(), bob.handle());
    let teller = sim.runtime().spawn(Spawn::new("teller", move || Teller { from, to }));
    let teller = teller.map_err(|error| error.to_string())?;
    teller.notify(Transfer(30)).map_err(|refused| refused.to_string())?;
    sim.advance(10 * PATIENCE);
    let balance = |account: &Pid<Account>| sim.block_on(account.dispatch(Balance, AGES).result());
    match (balance(&ann), balance(&bob)) {
        (Ok(a), Ok(b)) if a + b == 2 * EACH => Ok(()),
        (a, b) => Err(format!("there were {EACH} and {EACH}, and now there are {a:?} and {b:?}")),
    }
}

pub(crate) fn main() {
    let bank = Runtime::builder().group("main", 1);
    // As long as nobody is slow, all is well.
    let search = Search::new(bank).seeds(0..2000);
    assert!(search.find(transfer).is_none());
    // Where time hurries now and then, it is not.
    let finding = search.hurried(10).find(transfer).expect("the bug is found");
    println!("{finding}");
    assert!(finding.shrunk.switches() <= Some(2));
}
