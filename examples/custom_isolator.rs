//! An isolator of the embedder's own: each container holds one licence of a small pool while it lives,
//! and sees its number. As root: `cargo run --release --example custom_isolator`

mod support;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use longshore::Containers;
use longshore::error::ErrorKind;
use longshore::isolators::{DEFAULT_FOR_IMAGES, Host, Isolator, IsolatorError};
use longshore::model::{ContainerId, LaunchContext, LaunchInfo, Output};
use longshore::spec::ContainerSpec;
use support::{Failure, Home, exit};

/// Who holds which licence. Shared with the program, which sells them.
type Pool = Arc<Mutex<BTreeMap<u32, Option<ContainerId>>>>;

struct Licence {
    pool: Pool,
}

impl Isolator for Licence {
    const NAME: &'static str = "acme/licence";
    /// The number; written down with the container, and handed to every later call.
    type Container = u32;

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Err(IsolatorError::Invalid("give it a pool: Builder::isolator_with".to_owned()))
    }

    fn prepare(
        &self,
        id: &ContainerId,
        _: &LaunchContext,
    ) -> Result<(LaunchInfo, u32), IsolatorError> {
        let mut pool = self.pool.lock().expect("no panic with the pool locked");
        let free = pool.iter_mut().find(|(_, holder)| holder.is_none());
        let (number, holder) =
            free.ok_or_else(|| IsolatorError::Conflict("all licences are in use".to_owned()))?;
        *holder = Some(id.clone());
        let mut info = LaunchInfo::default();
        info.environment.insert("ACME_LICENCE".to_owned(), number.to_string());
        Ok((info, *number))
    }

    /// By the id alone: called also after a `prepare` that failed, and again when it failed itself.
    fn cleanup(&self, id: &ContainerId, _: Option<&u32>) -> Result<(), IsolatorError> {
        let mut pool = self.pool.lock().expect("no panic with the pool locked");
        let held = pool.values_mut().filter(|holder| holder.as_ref() == Some(id));
        held.for_each(|holder| *holder = None);
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    exit("custom_isolator", custom_isolator().await)
}

async fn custom_isolator() -> Result<(), Failure> {
    let home = Home::new()?;
    let pool: Pool = Arc::new(Mutex::new(BTreeMap::from([(7, None)])));
    let given = Arc::clone(&pool);
    let node = home
        .builder()
        .isolator_with(move |_| Ok(Licence { pool: Arc::clone(&given) }))
        .isolation(DEFAULT_FOR_IMAGES.iter().copied().chain([Licence::NAME]))
        .start()
        .await?;
    let image = |id: &str| ContainerSpec::image(id, &home.image);

    let (mut reader, writer) = std::io::pipe()?;
    let shown = image("first")?.command(["/hello", "env"]).stdout(Output::fd(writer));
    node.launch(shown)?.wait().await?;
    let environment = std::io::read_to_string(&mut reader)?;
    print!("{environment}");
    assert!(environment.lines().any(|line| line == "ACME_LICENCE=7"));

    let holder = node.launch(image("second")?.command(["/hello", "pause"]))?;
    holder.running().await?;
    assert_eq!(pool.lock().expect("no panic with it")[&7], Some(holder.id().clone()));
    let refused = node.launch(image("third")?)?.running().await.expect_err("there is one licence");
    println!("{refused}");
    assert_eq!(refused.kind(), ErrorKind::Conflict);
    holder.destroy().await?;
    assert_eq!(pool.lock().expect("no panic with it")[&7], None, "given back");
    node.shutdown(Containers::Destroy).await?;
    Ok(())
}
