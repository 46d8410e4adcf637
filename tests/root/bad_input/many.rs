//! Many at once, and ends in every phase.

use futures_util::future::join_all;
use rustix::process::Signal;

use crate::embedded::{code, embedded, within};
use crate::support::images::Images;
use crate::support::{World, start};

#[test]
fn of_two_hundred_launches_at_once_fifty_are_destroyed_and_the_others_do_not_notice() {
    embedded(async |scene| {
        let jobs: Vec<_> = (0..200)
            .map(|number: i32| {
                let doomed = number % 4 == 0;
                let line = if doomed { "exec sleep 1000" } else { "echo $0 $N; exit $N" };
                let spec = scene.spec(&format!("one-of-200-{number}"), line);
                let spec = spec.env("N", (number % 256).to_string());
                (number, doomed, scene.node.launch(spec).expect("the id is free"))
            })
            .collect();
        let ends = jobs.iter().map(async |(number, doomed, job)| {
            if !doomed {
                return within(job.wait()).await.expect("launched");
            }
            // Each a little later than the one before, so that they are in every phase.
            for _ in 0..number * 20 {
                tokio::task::yield_now().await;
            }
            within(job.destroy()).await.expect("destroyed")
        });
        let ends = join_all(ends).await;
        for ((number, doomed, job), end) in jobs.iter().zip(ends) {
            match doomed {
                // Either its payload never ran, or it was killed.
                true => assert!(end.termination.is_none() || code(&end) == 137, "{end:?}"),
                false => {
                    assert_eq!(code(&end), *number, "{end:?}");
                    let said = scene.stdout(&job.id().to_string());
                    assert_eq!(said, format!("/bin/sh {number}\n"));
                }
            }
            assert!(end.remaining.is_empty(), "{end:?}");
        }
        assert_eq!(scene.left(), [""; 0]);
        for (_, _, job) in &jobs {
            scene.node.remove(job.id()).await.expect("it has ended");
        }
        assert!(scene.node.containers().is_empty());
    });
}

#[test]
fn two_signals_in_any_phase_end_a_run_and_nothing_stays() {
    require!(root, overlayfs);
    for phase in
        ["provisioning", "preparing", "forking", "isolating", "fetching", "starting", "running"]
    {
        let world = World::new();
        let mut run = world.longshore("run");
        run.args(["--image", &Images::busybox(), "--command", "trap '' TERM; exec sleep 1000"]);
        let mut running = start(run.args(["--json-events", "-"]));
        running.wait_for_line(&format!("\"event\":\"{phase}\""));
        running.process().signal(Signal::INT);
        running.process().signal(Signal::TERM);
        let ended = running.finish();
        // 137 where the payload ran already, else the number of a signal that came.
        assert!([130, 137, 143].contains(&ended.code()), "{phase}: {ended:?}");
        assert!(ended.stderr.lines().count() <= 1, "{phase}: {}", ended.stderr);
        world.assert_clean();
    }
}
