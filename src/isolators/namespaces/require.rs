//! Does this kernel have a namespace?

use crate::isolators::IsolatorError;

/// `kind` as in /proc/self/ns: `pid`, `ipc`, `mnt`.
pub(in crate::isolators) fn require(kind: &'static str) -> Result<(), IsolatorError> {
    match std::fs::symlink_metadata(format!("/proc/self/ns/{kind}")) {
        Ok(_) => Ok(()),
        Err(error) => Err(IsolatorError::Unsupported {
            feature: "namespaces",
            detail: format!("/proc/self/ns/{kind}: {error}"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_the_kernel_has_not_is_named() {
        require("mnt").expect("every kernel has it");
        let error = require("none").expect_err("no such namespace").to_string();
        assert!(error.contains("/proc/self/ns/none"), "{error}");
    }
}
