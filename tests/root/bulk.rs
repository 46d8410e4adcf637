//! Many containers through one containerizer: no line lost, no status wrong.

use std::fs;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use longshore::config::Config;
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers};

use crate::support::World;
use crate::support::images::Images;

/// Payloads of `.ci/run`; `LONGSHORE_PAYLOADS` sets another number, and `.ci/full` takes 10,000.
const PAYLOADS: u32 = 2_000;

/// Containers that live at the same time.
const IN_FLIGHT: usize = 16;

#[test]
fn of_thousands_of_payloads_not_one_line_or_status_is_lost() {
    require!(root, overlayfs);
    let world = World::new();
    let payloads = match std::env::var("LONGSHORE_PAYLOADS") {
        Ok(number) => number.parse().expect("LONGSHORE_PAYLOADS is a number"),
        Err(_) => PAYLOADS,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(launch_all(&world, payloads));
    world.assert_clean();
}

async fn launch_all(world: &World, payloads: u32) {
    let mut config = Config::default();
    world.cgroups_root().clone_into(&mut config.cgroups_root);
    let builder = Containerizer::builder(world.work_dir(), world.runtime_dir()).config(config);
    let node = builder.start().await.expect("it starts");
    let image = Images::busybox();
    let begin = Instant::now();
    let wrong: Vec<String> = futures_util::stream::iter(0..payloads)
        .map(|number| launch_one(&node, world, &image, number))
        .buffer_unordered(IN_FLIGHT)
        .filter_map(async |outcome| outcome.err())
        .collect()
        .await;
    let each = begin.elapsed() / payloads.max(1);
    eprintln!("{payloads} payloads, {IN_FLIGHT} at a time: {each:?} each");
    node.shutdown(Containers::Destroy).await.expect("nothing is left to destroy");
    assert!(wrong.is_empty(), "{} of {payloads} went wrong: {wrong:#?}", wrong.len());
    assert!(each < Duration::from_secs(2), "{each:?} each");
}

/// Launches the payload of that number and checks its line and status.
async fn launch_one(
    node: &Containerizer,
    world: &World,
    image: &str,
    number: u32,
) -> Result<(), String> {
    let id = format!("payload-{number}");
    let code = i32::try_from(number % 256).expect("below 256");
    let spec = ContainerSpec::image(&id, image)
        .expect("id and reference are valid")
        .shell(format!("echo line {number}; exit {code}"));
    let job = node.launch(spec).map_err(|error| format!("{id}: {error}"))?;
    let end = job.wait().await.map_err(|error| format!("{id}: {error}"))?;
    let stdout = world.work_dir().join("containers").join(&id).join("stdout");
    let line = fs::read_to_string(stdout).map_err(|error| format!("{id}: {error}"))?;
    let exit_code = end.termination.as_ref().map(|termination| termination.exit_code);
    if exit_code != Some(code) || line != format!("line {number}\n") {
        return Err(format!("{id}: {line:?}, {end:?}"));
    }
    node.remove(job.id()).await.map_err(|error| format!("{id}: {error}"))
}
