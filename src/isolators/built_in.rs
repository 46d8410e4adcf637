//! The names of the built-in isolators as values, for those who choose them in code.

use std::fmt;

macro_rules! built_in {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A built-in isolator, by a value that the compiler checks.
        ///
        /// ```
        /// use longshore::Containerizer;
        /// use longshore::isolators::BuiltIn;
        ///
        /// let builder = Containerizer::builder("/var/lib/ci", "/run/ci").isolation([
        ///     BuiltIn::FilesystemLinux,
        ///     BuiltIn::DockerRuntime,
        ///     BuiltIn::NamespacesPid,
        ///     BuiltIn::CgroupsMem,
        /// ]);
        /// # drop(builder);
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "the names are the isolators', documented where they are")]
        pub enum BuiltIn {
            $($variant),+
        }

        impl BuiltIn {
            /// All, in no order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As the operator writes it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

built_in!(
    FilesystemPosix = "filesystem/posix",
    FilesystemLinux = "filesystem/linux",
    PosixCpu = "posix/cpu",
    PosixMem = "posix/mem",
    PosixRlimits = "posix/rlimits",
    CgroupsCpu = "cgroups/cpu",
    CgroupsMem = "cgroups/mem",
    CgroupsPids = "cgroups/pids",
    DockerRuntime = "docker/runtime",
    LinuxCapabilities = "linux/capabilities",
    LinuxNnp = "linux/nnp",
    NamespacesIpc = "namespaces/ipc",
    NamespacesPid = "namespaces/pid",
);

impl fmt::Display for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<BuiltIn> for String {
    fn from(isolator: BuiltIn) -> Self {
        isolator.name().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isolators::TABLE;

    #[test]
    fn every_isolator_of_the_table_is_a_value_and_no_other() {
        let mut values: Vec<&str> = BuiltIn::ALL.iter().map(|isolator| isolator.name()).collect();
        let mut table: Vec<&str> = TABLE.iter().map(|entry| entry.name).collect();
        values.sort_unstable();
        table.sort_unstable();
        assert_eq!(values, table);
    }
}
