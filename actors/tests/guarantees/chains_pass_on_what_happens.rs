//! One eventual made of another: what follows, what is passed on, and where a discard goes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};

use longshore_actors::{Cause, Eventual, Exit, Fault, FaultKind, Lost, Outcome, promise};

use super::support::{PATIENCE, World, act, ask, hold};

fn answer<T: Send + 'static>(eventual: Eventual<T>) -> T {
    assert!(eventual.is_done(), "it ends with what it is made of");
    eventual.blocking_wait().into_result().expect("it is answered")
}

/// True once, when the test looks.
#[derive(Clone, Default)]
struct Flag(Arc<AtomicBool>);

impl Flag {
    fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn is_up(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_value_is_mapped_and_chained_whether_it_has_come_or_comes_later() {
    assert_eq!(answer(Eventual::ready(42).map(|n: u8| n.to_string())), "42");
    let (promise, eventual) = promise::<u8>();
    let text = eventual.then(|n| Eventual::ready(n + 1)).map(|n| n.to_string());
    assert!(!text.is_done());
    promise.set(42);
    assert_eq!(answer(text), "43");
}

#[test]
fn an_eventual_is_made_of_a_result() {
    assert_eq!(answer(Eventual::from(Ok(1_u8))), 1);
    let failed = Eventual::<u8>::from(Err(Fault::new("no"))).blocking_wait();
    assert!(matches!(failed, Outcome::Failed(fault) if fault.to_string() == "no"));
}

#[test]
fn what_is_no_answer_passes_through_a_chain_and_calls_nobody() {
    let ends: [fn() -> Outcome<u8>; 3] = [
        || Outcome::Failed(Fault::new("broken")),
        || Outcome::Discarded(Cause::Asked("not wanted")),
        || Outcome::Abandoned(Exit::Killed("gone")),
    ];
    for end in ends {
        let chain = Eventual::ended(end())
            .then(|_| -> Eventual<u8> { unreachable!("there is no answer") })
            .map(|_| -> u8 { unreachable!("there is no answer") });
        assert_eq!(format!("{:?}", chain.blocking_wait()), format!("{:?}", end()));
    }
}

#[test]
fn a_failure_is_repaired_and_nothing_else_is() {
    let fine = Eventual::ready(42).repair(|_| unreachable!("it has not failed"));
    assert_eq!(answer(fine), 42);
    let repaired = Eventual::failed(Fault::new("broken")).repair(|fault| {
        assert_eq!(fault.to_string(), "broken");
        Eventual::ready(43)
    });
    assert_eq!(answer(repaired), 43);
    let discarded = Eventual::<u8>::ended(Outcome::Discarded("x".into()));
    let discarded = discarded.repair(|_| unreachable!("it has not failed")).blocking_wait();
    assert!(matches!(discarded, Outcome::Discarded(_)));
}

#[test]
fn whatever_is_lost_is_recovered_also_a_discard_and_an_abandonment() {
    let lost = |outcome| {
        let recovered = Eventual::ended(outcome).recover(|lost| Eventual::ready(lost.to_string()));
        answer(recovered)
    };
    assert_eq!(lost(Outcome::Failed(Fault::new("broken"))), "broken");
    assert_eq!(lost(Outcome::Discarded("late".into())), "withdrawn: late");
    assert_eq!(lost(Outcome::Abandoned(Exit::Normal)), "the actor ended");
    assert_eq!(lost(Outcome::Ok("fine".to_owned())), "fine");
}

#[test]
fn a_recovery_from_a_discard_is_not_discarded_itself_but_can_be_later() {
    let (work, eventual) = promise::<u8>();
    let (rescue, rescued) = promise::<u8>();
    let chain = eventual.recover(move |lost| {
        assert!(matches!(lost, Lost::Discarded { .. }), "{lost}");
        rescued
    });
    chain.discard("too late");
    drop(work);
    assert!(!rescue.is_discarded());
    assert!(chain.discard("now really"));
    assert!(rescue.is_discarded());
    drop(rescue);
    assert!(matches!(chain.blocking_wait(), Outcome::Discarded(Cause::Asked("now really"))));
}

#[test]
fn a_discard_travels_up_to_what_is_waited_for_and_to_nothing_else() {
    let (first, eventual) = promise::<()>();
    let (second, inner) = promise::<u8>();
    let (third, never) = promise::<u8>();
    let chain = eventual.then(|()| inner).then(|_| never);
    first.set(());
    assert!(chain.discard("enough"));
    assert!(!chain.is_done(), "it is a request");
    assert!(second.is_discarded());
    assert!(!third.is_discarded());
    drop(second);
    assert!(matches!(chain.blocking_wait(), Outcome::Discarded(Cause::Asked("enough"))));
}

#[test]
fn an_answer_that_comes_after_a_discard_goes_to_its_continuation() {
    let (first, eventual) = promise::<u8>();
    let (second, inner) = promise::<u8>();
    let chain = eventual.then(move |n| {
        assert_eq!(n, 7);
        inner
    });
    chain.discard("enough");
    first.set(7);
    assert!(second.is_discarded(), "what follows hears of it at once");
    second.set(8);
    assert_eq!(answer(chain), 8);
}

#[test]
fn a_failure_that_comes_after_a_discard_is_the_end() {
    let (first, eventual) = promise::<u8>();
    let chain = eventual.then(Eventual::ready);
    chain.discard("enough");
    first.fail(Fault::new("broken"));
    assert!(matches!(chain.blocking_wait(), Outcome::Failed(_)));
}

#[test]
fn a_checkpoint_drops_an_answer_that_comes_after_a_discard() {
    let (first, eventual) = promise::<u8>();
    let chain = eventual.checkpoint().map(|_| -> u8 { unreachable!("it stops before") });
    chain.discard("enough");
    first.set(7);
    assert!(matches!(chain.blocking_wait(), Outcome::Discarded(Cause::Asked("enough"))));
    assert_eq!(answer(Eventual::ready(7).checkpoint()), 7);
}

#[test]
fn a_discard_stops_at_a_shield_and_the_answer_passes_it() {
    let (work, eventual) = promise::<u8>();
    let shielded = eventual.shield();
    assert!(shielded.discard("not now"));
    assert!(!work.is_discarded());
    work.set(42);
    assert_eq!(answer(shielded), 42);
}

#[test]
fn a_shielded_step_of_a_chain_is_not_discarded() {
    let (work, eventual) = promise::<u8>();
    let chain = Eventual::ready(2).then(|times| eventual.map(move |n| n * times).shield());
    chain.discard("not now");
    assert!(!work.is_discarded());
    work.set(42);
    assert_eq!(answer(chain), 84);
}

#[test]
fn a_promise_follows_another_eventual_in_its_end_and_passes_a_discard_to_it() {
    let (front, eventual) = promise::<u8>();
    let (back, inner) = promise::<u8>();
    front.follow(inner);
    eventual.discard("enough");
    assert!(back.is_discarded());
    back.fail(Fault::new("broken"));
    assert!(matches!(eventual.blocking_wait(), Outcome::Failed(_)));
    let (front, eventual) = promise::<u8>();
    front.follow(Eventual::ready(1));
    assert_eq!(answer(eventual), 1);
}

#[test]
fn callbacks_see_the_end_that_they_are_for_before_it_is_passed_on() {
    let (seen, sees) = channel();
    let watch = |outcome: Outcome<u8>| {
        let [any, ready, failed, discarded, abandoned] = [(); 5].map(|()| seen.clone());
        let eventual = Eventual::ended(outcome)
            .on_any(move |outcome| any.send(format!("any {outcome:?}")).expect("heard"))
            .on_ready(move |n| ready.send(format!("ready {n}")).expect("heard"))
            .on_failed(move |fault| failed.send(format!("failed {fault}")).expect("heard"))
            .on_discarded(move |cause| discarded.send(format!("{cause}")).expect("heard"))
            .on_abandoned(move |exit| abandoned.send(format!("abandoned {exit}")).expect("heard"));
        drop(eventual.blocking_wait());
        sees.try_iter().skip(1).collect::<Vec<_>>()
    };
    assert_eq!(watch(Outcome::Ok(1)), ["ready 1"]);
    assert_eq!(watch(Outcome::Failed(Fault::new("broken"))), ["failed broken"]);
    assert_eq!(watch(Outcome::Discarded("late".into())), ["withdrawn: late"]);
    assert_eq!(watch(Outcome::Abandoned(Exit::Normal)), ["abandoned ended"]);
}

#[test]
fn a_panic_in_a_continuation_is_its_failure_and_in_a_callback_nothing() {
    let (work, eventual) = promise::<u8>();
    let mapped = eventual.on_any(|_| panic!("nobody hears this")).map(|_| -> u8 { panic!("oops") });
    assert!(work.set(1), "who answers is not bothered");
    match mapped.blocking_wait() {
        Outcome::Failed(fault) => {
            assert!(matches!(fault.kind(), FaultKind::Panicked));
            assert_eq!(fault.to_string(), "panicked: oops");
        }
        other => panic!("{other:?}"),
    }
    let step = Eventual::ready(1).then(|_: u8| -> Eventual<u8> { panic!("oops") });
    assert!(matches!(step.blocking_wait(), Outcome::Failed(_)));
}

#[test]
fn a_panicking_destructor_of_an_answer_that_nobody_wants_stays_where_it_is() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("dropped");
            }
        }
    }
    let (work, eventual) = promise::<Bomb>();
    let mapped = eventual.map(drop);
    assert!(work.set(Bomb));
    assert!(matches!(mapped.blocking_wait(), Outcome::Failed(_)));
}

#[test]
fn dropping_a_derived_eventual_withdraws_nothing() {
    let ran = Flag::default();
    let (work, eventual) = promise::<u8>();
    let flag = ran.clone();
    drop(eventual.map(move |_| flag.raise()));
    assert!(!work.is_discarded());
    work.set(1);
    assert!(ran.is_up());
}

#[test]
fn a_promise_that_is_dropped_abandons_the_whole_chain() {
    let (work, eventual) = promise::<u8>();
    let chain = eventual.map(|n| n + 1).shield().checkpoint();
    drop(work);
    assert!(matches!(chain.blocking_wait(), Outcome::Abandoned(Exit::Killed("promise dropped"))));
}

#[test]
fn a_chain_of_ten_thousand_needs_no_more_stack_than_one() {
    let (work, eventual) = promise::<u32>();
    let chain = (0..10_000).fold(eventual, |chain, _| chain.map(|n| n + 1));
    assert!(chain.discard("all the way up"));
    assert!(work.is_discarded());
    work.set(0);
    assert_eq!(answer(chain), 10_000);
}

#[test]
fn a_chain_of_a_dispatch_names_the_actor_and_ends_with_it() {
    let world = World::real();
    let pid = world.probe("a");
    let release = hold(&pid);
    let chain = pid
        .dispatch(act(|_, _| 1), PATIENCE)
        .recover(|lost| Eventual::failed(Fault::new(lost.to_string())));
    drop(pid.kill("enough"));
    drop(release);
    let lost = chain.blocking_wait().into_result().expect_err("it was killed");
    assert_eq!(lost.to_string(), "Do to a: the actor killed: enough");
}

#[tokio::test]
async fn the_errors_of_a_chain_name_the_dispatch_until_something_else_follows() {
    let world = World::real();
    let pid = world.probe("a");
    assert!(pid.kill("enough").await.is_ok());
    let ask = || pid.dispatch(act(|_, _| 1), PATIENCE);
    let text = async |eventual: Eventual<u8>| {
        eventual.result().await.expect_err("it has been killed").to_string()
    };
    let named = "Do to a: the actor killed: enough";
    assert_eq!(text(ask().map(|n| n + 1).on_ready(|_| ()).checkpoint().shield()).await, named);
    let clock = world.runtime.clock();
    assert_eq!(text(ask().map(|n| n + 1).within(&clock, PATIENCE)).await, named);
    assert_eq!(text(ask().then(Eventual::ready)).await, "the actor killed: enough");
}

#[test]
fn an_answer_taken_through_a_chain_on_another_thread_is_a_crossing() {
    let world = World::real();
    let pid = world.probe("a");
    ask(&pid, |_, _| ());
    let before = world.runtime.crossings();
    let chain = pid.dispatch(act(|_, _| 1), PATIENCE).map(|n: u8| n + 1);
    assert!(matches!(chain.blocking_wait(), Outcome::Ok(2)));
    assert_eq!(world.runtime.crossings() - before, 2);
}

#[test]
fn an_end_and_a_discard_that_race_with_the_chaining_are_both_heard() {
    for round in 0..300 {
        let (work, eventual) = promise::<u8>();
        let discarder = eventual.discarder();
        let start = Arc::new(Barrier::new(3));
        let calls = Arc::new(AtomicUsize::new(0));
        let ends = {
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                start.wait();
                work.set(1)
            })
        };
        let discards = {
            let start = Arc::clone(&start);
            std::thread::spawn(move || {
                start.wait();
                discarder.discard("race");
            })
        };
        start.wait();
        let counted = Arc::clone(&calls);
        let chain = eventual.map(move |n| {
            counted.fetch_add(1, Ordering::SeqCst);
            n
        });
        assert!(matches!(chain.blocking_wait(), Outcome::Ok(1)), "round {round}");
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert!(ends.join().expect("it ends"));
        discards.join().expect("it discards");
    }
}
