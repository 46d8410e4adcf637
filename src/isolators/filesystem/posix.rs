//! `filesystem/posix`: a container works in the host's files, in a directory of its own.
//!
//! No image and no volume: there is nothing to mount them in.
//!
//! Kernel: nothing. Undo: nothing; the sandbox is the containerizer's.

use crate::isolators::{Host, Isolator, IsolatorError};
use crate::model::{ContainerConfig, ContainerId, LaunchContext, LaunchInfo, User};

/// See the module.
#[derive(Debug)]
pub(in crate::isolators) struct Posix;

impl Isolator for Posix {
    const NAME: &'static str = "filesystem/posix";
    const PREPARES_ONLY: bool = true;
    type Container = ();

    fn create(_: &Host) -> Result<Self, IsolatorError> {
        Ok(Self)
    }

    fn prepare(
        &self,
        _: &ContainerId,
        context: &LaunchContext,
    ) -> Result<(LaunchInfo, ()), IsolatorError> {
        let refuse = |what| {
            Err(IsolatorError::Invalid(format!("{what} needs the isolator filesystem/linux")))
        };
        if context.provisioned.is_some() || context.config.image.is_some() {
            return refuse("an image");
        }
        if !context.config.volumes.is_empty() {
            return refuse("a volume");
        }
        Ok((on_the_host(&context.config), ()))
    }
}

/// Where and as whom a payload runs in the host's file system.
pub(super) fn on_the_host(config: &ContainerConfig) -> LaunchInfo {
    let directory = config.working_directory.clone().unwrap_or_else(|| config.sandbox.clone());
    LaunchInfo {
        working_directory: Some(directory),
        user: config.command.user.clone().map(User),
        ..LaunchInfo::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolators::tests::{config, context};
    use crate::model::Volume;

    #[test]
    fn the_payload_starts_in_its_sandbox() {
        let id = ContainerId::new("a").expect("valid");
        let (info, ()) = Posix.prepare(&id, &context(config(None), None)).expect("prepared");
        assert_eq!(info.working_directory, Some("/sandbox".into()));
        assert!(info.namespaces.is_empty() && info.mounts.is_empty());
    }

    #[test]
    fn images_and_volumes_are_refused() {
        let id = ContainerId::new("a").expect("valid");
        let with_image = context(config(Some("rootfs:/srv")), None);
        assert!(Posix.prepare(&id, &with_image).is_err());
        let mut with_volume = config(None);
        with_volume.volumes =
            vec![Volume { source: "/".into(), target: "/v".into(), read_only: true }];
        let error = Posix.prepare(&id, &context(with_volume, None)).expect_err("refused");
        assert!(error.to_string().contains("filesystem/linux"), "{error}");
    }
}
