//! Every end of a payload is told as it was.

use super::World;
use crate::model::WaitStatus;

#[tokio::test]
async fn an_exit_code_arrives() {
    let mut world = World::new();
    let outcome = world.run(World::shell("echo hello; exit 7")).await;
    assert_eq!((outcome.started, outcome.output.as_str()), (Ok(()), "hello\n"));
    assert_eq!(outcome.status, WaitStatus(7 << 8));
}
