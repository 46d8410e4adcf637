//! What to run: Mesos' `CommandInfo`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What to run in a container.
///
/// With `shell`, `value` is a shell command line. Without, `value` is the executable and `arguments`
/// the **whole** argv, argv\[0] included; without a `value` either, the image says what runs and
/// `arguments` must *not* contain argv\[0]. `docker/runtime` holds the truth table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CommandInfo {
    /// Run `value` by `/bin/sh -c`.
    pub shell: bool,
    /// Command line or executable.
    pub value: Option<String>,
    /// See above.
    pub arguments: Vec<String>,
    /// Replaces the image's entrypoint; the empty list removes it. `None` keeps it.
    pub entrypoint: Option<Vec<String>>,
    /// As users of `docker run` expect: `arguments`, or an `entrypoint` given here, stand in place of
    /// the image's whole `CMD`, and without an entrypoint `arguments` are the whole argv. Otherwise
    /// the truth table holds, which keeps `CMD[0]` as the executable. Without meaning if `value` is
    /// there.
    pub arguments_replace_cmd: bool,
    /// The caller's environment; wins over everything else.
    pub environment: BTreeMap<String, String>,
    /// Name, uid, or `user:group`, over the image's `USER`.
    pub user: Option<String>,
    /// What the fetcher puts into the sandbox first.
    pub uris: Vec<Uri>,
}

impl CommandInfo {
    /// A line for `/bin/sh -c`.
    pub fn line(line: impl Into<String>) -> Self {
        Self { shell: true, value: Some(line.into()), ..Self::default() }
    }

    /// Exactly this argv, argv\[0] included, which is also what is executed.
    pub fn program<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let arguments: Vec<String> = argv.into_iter().map(Into::into).collect();
        Self { value: arguments.first().cloned(), arguments, ..Self::default() }
    }
}

/// One thing to fetch into the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Uri {
    /// `file:`, `http:`, or an absolute path.
    pub value: String,
    /// Make the file executable; wins over `extract`.
    pub executable: bool,
    /// Unpack a recognised archive into the sandbox.
    pub extract: bool,
    /// Name below the sandbox; the last component of the path otherwise.
    pub output_file: Option<String>,
}

impl Uri {
    /// Fetched under its own name, and unpacked if it is an archive.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), executable: false, extract: true, output_file: None }
    }

    /// Made executable, and not unpacked.
    #[must_use]
    pub fn executable(self) -> Self {
        Self { executable: true, ..self }
    }

    /// As it is, also if it is an archive.
    #[must_use]
    pub fn packed(self) -> Self {
        Self { extract: false, ..self }
    }

    /// Under this name below the sandbox.
    #[must_use]
    pub fn output_file(self, name: impl Into<String>) -> Self {
        Self { output_file: Some(name.into()), ..self }
    }
}
