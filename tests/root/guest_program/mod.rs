//! Two containerizers side by side in a program that does as it likes: it ignores SIGCHLD, or reaps
//! whatever ends, changes its directory and its umask all the time, runs its own actix and tokio, has
//! other versions of our dependencies, gigabytes of memory and thousands of descriptors that anything
//! it executes would inherit. Every status and every output is right, and nothing of it is disturbed.

mod house;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use futures_util::future::join_all;
use longshore::model::Volume;
use longshore::spec::ContainerSpec;
use longshore::{Containerizer, Containers, Stop};

use self::house::{Children, House, ignores_children};
use crate::alone::{alone, alone_ignoring_children};
use crate::embedded::{block_on, code, config, furnish, image, root_of, start, within};
use crate::manners::household;
use crate::support::World;

#[test]
fn two_guests_in_a_house_that_reaps_whatever_ends() {
    alone("guest_program::two_guests_in_a_house_that_reaps_whatever_ends", || {
        assert!(!ignores_children());
        visit(Children::Reaped, 64 << 20);
    });
}

#[test]
fn two_guests_in_a_house_of_four_gibibytes_that_ignores_its_children() {
    let name = "guest_program::two_guests_in_a_house_of_four_gibibytes_that_ignores_its_children";
    alone_ignoring_children(name, || {
        assert!(ignores_children(), "or this test shows nothing");
        visit(Children::Ignored, 4 << 30);
    });
}

/// Rounds of containers on both at once.
const ROUNDS: u32 = 3;

fn visit(children: Children, memory: usize) {
    require!(root, overlayfs);
    let worlds = [World::new(), World::new()];
    worlds.iter().for_each(furnish);
    let places = ["/", "/usr", "/proc"].iter().map(|place| Path::new(place).to_owned());
    let places = places.chain(worlds.iter().map(|world| world.path().to_owned())).collect();
    let mut house = House::begin(children, memory, places);
    let before = kept();
    block_on(async {
        let guests =
            [Guest::arrive(&worlds[0], "left").await, Guest::arrive(&worlds[1], "right").await];
        assert_eq!(kept(), before, "after the start");
        for round in 0..ROUNDS {
            house.child(i32::try_from(round).expect("small"));
            join_all(guests.iter().map(|guest| guest.all_kinds(round))).await;
            assert_eq!(kept(), before, "while containers run");
        }
        for guest in &guests {
            guest.node.shutdown(Containers::Destroy).await.expect("in order");
        }
    });
    assert_eq!(kept(), before, "after the shutdown");
    house.end();
    let [left, right] = worlds;
    left.assert_clean();
    drop(left);
    right.assert_clean();
}

/// What a guest must leave as it is, but for what the house itself changes all the time.
fn kept() -> Vec<(String, String)> {
    let changing = |(name, _): &(String, String)| !matches!(name.as_str(), "Umask" | "cwd");
    household().into_iter().filter(changing).collect()
}

/// One of the two containerizers.
struct Guest<'a> {
    world: &'a World,
    node: Containerizer,
    name: &'static str,
}

impl<'a> Guest<'a> {
    async fn arrive(world: &'a World, name: &'static str) -> Self {
        let node = start(world, config(world)).await.expect("the host has all that is needed");
        Self { world, node, name }
    }

    /// Containers of every kind at once, on their own and on the host's files.
    async fn all_kinds(&self, round: u32) {
        let id = |kind: &str| format!("{kind}-{round}");
        let in_image = |id: &str| ContainerSpec::image(id, &image(self.world)).expect("valid");
        let on_host = |id: &str| ContainerSpec::host(id).expect("valid");
        let ends = join_all((0..6).map(async |number| {
            let id = id(&format!("exit-{number}"));
            let line = format!("echo {}-{number}; echo to-stderr >&2; exit {number}", self.name);
            let spec = if number % 2 == 0 { in_image(&id) } else { on_host(&id) };
            self.expect(spec.shell(line), number, &format!("{}-{number}\n", self.name)).await;
        }));
        let killed = self.expect(in_image(&id("killed")).shell("kill -KILL $$"), 137, "");
        // The fourth is the directory that is listed.
        let line = "ls /proc/self/fd | tr '\\n' ' '; umask";
        let descriptors = "0 1 2 3 0022\n";
        let bare = self.expect(in_image(&id("bare")).shell(line), 0, descriptors);
        let bare_host = self.expect(on_host(&id("bare-host")).shell(line), 0, descriptors);
        // The sandbox is the user's, whatever the umask is when it is made.
        let line = "cd \"$MESOS_SANDBOX\" && echo mine > file && stat -c '%u %a' . file stdout";
        let owned = "1000 750\n1000 644\n1000 644\n";
        let user = self.expect(in_image(&id("user")).shell(line).user("user"), 0, owned);
        let user_host = self.expect(on_host(&id("user-host")).shell(line).user("1000"), 0, owned);
        let source = root_of(self.world).join("etc/passwd");
        let shown = Volume::new(source, "/new/deep/file").read_only();
        let line = "stat -c %a /new /new/deep; head -n 1 /new/deep/file | cut -d: -f1";
        let spec = in_image(&id("volume")).volume(shown).shell(line);
        let volume = self.expect(spec, 0, "755\n755\nroot\n");
        let stopped = self.stopped(in_image(&id("stopped")));
        tokio::join!(ends, killed, bare, bare_host, user, user_host, volume, stopped);
    }

    /// Runs a container to its end, and looks at what there is of it.
    async fn expect(&self, spec: ContainerSpec, expected: i32, printed: &str) {
        let id = spec.id().clone();
        let job = self.node.launch(spec).expect("the spec is valid and the id free");
        let end = within(job.wait()).await.expect("it was launched");
        let sandbox = self.world.work_dir().join("containers").join(id.to_string());
        let written = fs::read_to_string(sandbox.join("stdout")).expect("it was made");
        let errors = fs::read_to_string(sandbox.join("stderr")).expect("it was made");
        assert_eq!((code(&end), written.as_str()), (expected, printed), "{id}: {end:?} {errors}");
        let mode =
            |path: &Path| path.metadata().expect("it was made").permissions().mode() & 0o7777;
        assert_eq!(mode(&sandbox), 0o750, "{id}");
        assert_eq!(mode(&sandbox.join("stderr")), 0o644, "{id}");
        assert_eq!(mode(&self.world.work_dir().join("containers")), 0o755, "{id}");
        within(self.node.remove(&id)).await.expect("it has ended");
    }

    async fn stopped(&self, spec: ContainerSpec) {
        let id = spec.id().clone();
        let line = "trap 'exit 9' TERM; while :; do sleep 0.05; done";
        let job = self.node.launch(spec.shell(line)).expect("the id is free");
        within(job.running()).await.expect("it runs");
        // Before the trap is set it is the signal that ends it.
        let end = within(job.stop(Stop::from_image())).await.expect("it stops");
        assert!(matches!(code(&end), 9 | 143), "{end:?}");
        within(self.node.remove(&id)).await.expect("it has ended");
    }
}
