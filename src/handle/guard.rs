//! [`Guard`]: a container that ends with a scope.

use super::Job;

/// Destroys its container when it is dropped.
///
/// The drop only begins that, and neither blocks nor needs a runtime of the caller's: the
/// containerizer does it on its own threads, as long as it is not shut down. What cannot be undone is
/// told by the event `stuck`, as for every destroy.
///
/// ```no_run
/// # async fn example(node: longshore::Containerizer) -> Result<(), Box<dyn std::error::Error>> {
/// use longshore::spec::ContainerSpec;
///
/// let job = node.launch(ContainerSpec::image("a", "alpine")?)?.guard();
/// job.running().await?; // an early return destroys the container
/// let kept = job.disarm(); // from here on it lives until somebody says otherwise
/// # drop(kept);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a guard that is dropped destroys its container"]
pub struct Guard {
    job: Option<Job>,
}

impl Guard {
    pub(super) fn new(job: Job) -> Self {
        Self { job: Some(job) }
    }

    /// Gives the job back; nothing happens to its container.
    pub fn disarm(mut self) -> Job {
        self.job.take().expect("taken by value, once")
    }
}

impl std::ops::Deref for Guard {
    type Target = Job;

    fn deref(&self) -> &Job {
        self.job.as_ref().expect("it is there until the guard goes")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            job.destroy_later();
        }
    }
}
