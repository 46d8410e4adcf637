//! The name of a container: one or more levels, outermost first.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Names a container. Levels are joined with `.`; a nested container carries its parents' names.
///
/// Each level is 1 to [`limits::CONTAINER_ID_LENGTH_MAX`] bytes, is neither `.` nor `..`, and has no
/// control character, `/`, `\`, `.` or white space. At most [`limits::NESTING_DEPTH_MAX`] levels.
/// Cheap to clone: it goes with every message.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(Arc<str>);

/// Why a text is no container id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidContainerId {
    /// A level has no character.
    #[error("container id {id:?} has an empty name")]
    Empty {
        /// The id as given.
        id: String,
    },
    /// A level is too long.
    #[error(
        "container id has {length} bytes, at most {} are allowed",
        limits::CONTAINER_ID_LENGTH_MAX
    )]
    TooLong {
        /// Bytes of the level.
        length: usize,
    },
    /// A level has a character that paths, cgroups or logs would not survive.
    #[error("container id {id:?} contains {character:?}")]
    Character {
        /// The id as given.
        id: String,
        /// The first offender.
        character: char,
    },
    /// The kernel nests PID namespaces to 32 levels (pid_namespaces(7)).
    #[error("container id has {depth} levels, at most {} are allowed", limits::NESTING_DEPTH_MAX)]
    TooDeep {
        /// Levels of the id.
        depth: usize,
    },
}

impl ContainerId {
    /// A top-level id.
    ///
    /// Errors: the rules above; a `.` is refused, use [`Self::child`] for nested ids.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidContainerId> {
        let name = name.into();
        validate_level(&name)?;
        Ok(Self(name.into()))
    }

    /// The id of a container nested in this one.
    ///
    /// Errors: the rules above for `name`, and the depth.
    pub fn child(&self, name: impl Into<String>) -> Result<Self, InvalidContainerId> {
        let name = name.into();
        validate_level(&name)?;
        let depth = self.levels().count() + 1;
        if depth > limits::NESTING_DEPTH_MAX {
            return Err(InvalidContainerId::TooDeep { depth });
        }
        Ok(Self(format!("{self}.{name}").into()))
    }

    /// The container that this one is nested in.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('.').map(|(parents, _)| Self(parents.into()))
    }

    /// The outermost ancestor; itself when top level.
    pub fn root(&self) -> Self {
        Self(self.levels().next().unwrap_or_default().into())
    }

    /// The levels, outermost first; never empty.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// All levels, joined with `.`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same text, shared.
    pub(crate) fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

fn validate_level(name: &str) -> Result<(), InvalidContainerId> {
    if name.is_empty() {
        return Err(InvalidContainerId::Empty { id: name.to_owned() });
    }
    if name.len() > limits::CONTAINER_ID_LENGTH_MAX {
        return Err(InvalidContainerId::TooLong { length: name.len() });
    }
    let refused = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\' | '.');
    match name.chars().find(|c| refused(*c)) {
        Some(character) => Err(InvalidContainerId::Character { id: name.to_owned(), character }),
        None => Ok(()),
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.split('.').any(str::is_empty) {
            return Err(InvalidContainerId::Empty { id: text.to_owned() });
        }
        let mut levels = text.split('.');
        let mut id = Self::new(levels.next().unwrap_or_default())?;
        for level in levels {
            id = id.child(level)?;
        }
        Ok(id)
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidContainerId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_a_path_would_not_survive_is_refused() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a b", "a\nb", "a.", ".a"] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
        let long = "x".repeat(limits::CONTAINER_ID_LENGTH_MAX);
        assert!(ContainerId::new(long.clone()).is_ok());
        assert!(ContainerId::new(long + "x").is_err());
    }

    #[test]
    fn a_nested_id_prints_and_parses_back() {
        let id = ContainerId::new("a").and_then(|a| a.child("b")).expect("valid");
        assert_eq!(id.to_string(), "a.b");
        assert_eq!("a.b".parse::<ContainerId>(), Ok(id.clone()));
        assert_eq!(id.parent().map(|p| p.to_string()).as_deref(), Some("a"));
        assert_eq!(id.root().to_string(), "a");
    }

    #[test]
    fn nesting_ends_at_the_kernels_limit() {
        let mut id = ContainerId::new("0").expect("valid");
        for level in 1..limits::NESTING_DEPTH_MAX {
            id = id.child(level.to_string()).expect("within the limit");
        }
        assert!(matches!(id.child("x"), Err(InvalidContainerId::TooDeep { .. })));
    }
}
