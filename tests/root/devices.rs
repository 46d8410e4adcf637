//! Devices that a payload makes itself.

use crate::support::images::Images;
use crate::support::{World, finish};

#[test]
fn a_device_that_the_payload_makes_opens_nothing_and_the_usual_ones_work() {
    require!(root, overlayfs);
    let world = World::new();
    // Made with the CAP_MKNOD of the default set: in /dev, where it would count, and elsewhere.
    let line = "mknod /dev/disk b 7 0 && mknod /dev/mine c 1 5 && mknod /mine c 1 5 && \
                for made in /dev/disk /dev/mine /mine; do \
                head -c 1 $made >/dev/null 2>&1 && echo opened $made; done; \
                echo x >/dev/null && head -c 3 /dev/zero | wc -c && touch /dev/file && echo done";
    let ended =
        finish(world.longshore("run").args(["--image", &Images::busybox(), "--command", line]));
    ended.assert_code(0);
    assert_eq!(ended.stdout, "3\ndone\n", "{}", ended.stderr);
    world.assert_clean();
}
