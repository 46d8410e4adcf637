//! An actor that never runs dry does not starve its neighbours on the arbiter.

use longshore_actors::Cx;

use super::support::{Probe, World, act, ask};

#[test]
fn a_neighbour_is_heard_while_an_actor_talks_to_itself() {
    fn again(_: &mut Probe, cx: &mut Cx<Probe>) {
        cx.me().notify(act(again)).expect("its own mailbox has room");
    }
    let world = World::real();
    let (busy, neighbour) = (world.probe("busy"), world.probe("neighbour"));
    busy.notify(act(again)).expect("room");
    ask(&neighbour, |_, _| ());
    assert_eq!(world.runtime.actors()[0].name.as_ref(), "busy");
    drop(busy.kill("enough"));
}

#[test]
fn timers_without_delay_do_not_starve_the_neighbour_either() {
    fn again(_: &mut Probe, cx: &mut Cx<Probe>) {
        cx.after(std::time::Duration::ZERO, "again", again);
    }
    let world = World::virtual_();
    let (busy, neighbour) = (world.probe("busy"), world.probe("neighbour"));
    ask(&busy, again);
    ask(&neighbour, |_, _| ());
    drop(busy.kill("enough"));
}
