//! Who runs the payload: names and numbers of the image's own passwd and group files.
//!
//! Pure: the files come as text. A number need not be in them.

use std::collections::BTreeSet;

use crate::model::User;

/// Numbers that the payload runs with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Credentials {
    /// User.
    pub(crate) uid: u32,
    /// Primary group.
    pub(crate) gid: u32,
    /// Supplementary groups.
    pub(crate) groups: BTreeSet<u32>,
    /// Home directory; `None` where the passwd file has no entry for the user.
    pub(crate) home: Option<String>,
}

/// A user or group that the image does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownUser {
    /// The user's part.
    #[error("unknown user {0:?}")]
    User(String),
    /// The part after the colon.
    #[error("unknown group {0:?}")]
    Group(String),
    /// There is nothing to look it up in.
    #[error("{what} {name:?} cannot be looked up: {file} {reason}")]
    NoFile {
        /// `user` or `group`.
        what: &'static str,
        /// As written.
        name: String,
        /// Where it would be.
        file: &'static str,
        /// What is wrong with that.
        reason: &'static str,
    },
}

/// A passwd or group file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UserFile {
    /// What it says.
    Text(String),
    /// There is none.
    Missing,
    /// A directory or a FIFO has its name.
    NoFile,
}

impl UserFile {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Missing | Self::NoFile => "",
        }
    }

    /// Why a name is not in it.
    fn lacks(&self, what: &'static str, file: &'static str, name: &str) -> UnknownUser {
        let reason = match (self, what) {
            (Self::Text(_), "group") => return UnknownUser::Group(name.to_owned()),
            (Self::Text(_), _) => return UnknownUser::User(name.to_owned()),
            (Self::Missing, _) => "does not exist",
            (Self::NoFile, _) => "is not a file",
        };
        UnknownUser::NoFile { what, name: name.to_owned(), file, reason }
    }
}

/// Who and what is number 0 where no file says anything else.
const ROOT: &str = "root";

/// Resolves `user` (`NAME`, `UID`, `NAME:GROUP`, `UID:GID` and what is between).
///
/// As users of image engines expect: the primary group is the one written, else that of the passwd
/// entry, else 0. Supplementary groups are those of the group file that list the user, unless a
/// group was written.
/// Numbers and `root` need no file.
pub(crate) fn resolve(
    user: &User,
    passwd: &UserFile,
    group: &UserFile,
) -> Result<Credentials, UnknownUser> {
    let (who, of) = match user.0.split_once(':') {
        Some((who, of)) => (who, Some(of).filter(|of| !of.is_empty())),
        None => (user.0.as_str(), None),
    };
    let who = if who.is_empty() { "0" } else { who };
    let entry = find(passwd.text(), who, 2);
    let uid = match (&entry, number(who)) {
        // A name of digits is a number, even if somebody is called so: engines agree on it.
        (_, Some(uid)) => uid,
        (Some(entry), None) => field(entry, 2).ok_or_else(|| UnknownUser::User(who.to_owned()))?,
        (None, None) if who == ROOT => 0,
        (None, None) => return Err(passwd.lacks("user", "/etc/passwd", who)),
    };
    let home = entry.as_ref().and_then(|entry| entry.get(5)).filter(|home| !home.is_empty());
    let home = home.map(|home| (*home).to_owned());
    if let Some(of) = of {
        let gid = number(of)
            .or_else(|| find(group.text(), of, 2).and_then(|entry| field(&entry, 2)))
            .or_else(|| (of == ROOT).then_some(0))
            .ok_or_else(|| group.lacks("group", "/etc/group", of))?;
        return Ok(Credentials { uid, gid, groups: BTreeSet::new(), home });
    }
    let gid = entry.as_ref().and_then(|entry| field(entry, 3)).unwrap_or(0);
    let groups = match entry.as_ref().and_then(|entry| entry.first().copied()) {
        Some(name) => groups_of(name, group.text()),
        None => BTreeSet::new(),
    };
    Ok(Credentials { uid, gid, groups, home })
}

/// The fields of the first line whose name is `key`, or, where `key` is a number, whose number is.
fn find<'a>(file: &'a str, key: &str, number_at: usize) -> Option<Vec<&'a str>> {
    let wanted = number(key);
    file.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| match wanted {
        Some(wanted) => field(fields, number_at) == Some(wanted),
        None => fields.first() == Some(&key),
    })
}

fn field(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at).and_then(|text| number(text))
}

/// -1 means "unchanged" to the kernel and is nobody's number.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number != u32::MAX)
}

fn groups_of(name: &str, group: &str) -> BTreeSet<u32> {
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.get(3).is_some_and(|list| list.split(',').any(|who| who == name)))
        .filter_map(|fields| field(&fields, 2))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nredis:x:999:1000::/data:/bin/sh\nbad:x\n";
    const GROUP: &str = "root:x:0:\nredis:x:1000:\nextra:x:7:redis,other\nmore:x:8:redis\n";

    fn in_files(text: &str) -> Result<Credentials, UnknownUser> {
        let file = |text: &str| UserFile::Text(text.to_owned());
        resolve(&User(text.to_owned()), &file(PASSWD), &file(GROUP))
    }

    fn who(text: &str) -> Result<(u32, u32, Vec<u32>), UnknownUser> {
        in_files(text).map(|c| (c.uid, c.gid, c.groups.into_iter().collect()))
    }

    #[test]
    fn every_form_of_a_user_is_understood() {
        assert_eq!(who("redis"), Ok((999, 1000, vec![7, 8])));
        assert_eq!(who("999"), Ok((999, 1000, vec![7, 8])), "a number that has an entry");
        assert_eq!(who("1234"), Ok((1234, 0, vec![])), "a number that has none");
        assert_eq!(who("redis:extra"), Ok((999, 7, vec![])));
        assert_eq!(who("1234:5678"), Ok((1234, 5678, vec![])));
        assert_eq!(who("redis:"), Ok((999, 1000, vec![7, 8])));
        assert_eq!(who(""), Ok((0, 0, vec![])));
        assert_eq!(who("root"), Ok((0, 0, vec![])));
    }

    #[test]
    fn a_home_is_that_of_the_entry() {
        let home = |user: &str| in_files(user).expect("known").home;
        assert_eq!(home("redis").as_deref(), Some("/data"));
        assert_eq!(home("999:7").as_deref(), Some("/data"));
        assert_eq!(home("1234"), None);
    }

    #[test]
    fn root_and_numbers_need_no_file_and_a_name_says_what_is_wrong_with_it() {
        for (file, reason) in
            [(UserFile::Missing, "does not exist"), (UserFile::NoFile, "is not a file")]
        {
            let who =
                |text: &str| resolve(&User(text.to_owned()), &file, &file).map(|c| (c.uid, c.gid));
            for (text, ids) in [("root", (0, 0)), ("7:8", (7, 8)), ("root:root", (0, 0))] {
                assert_eq!(who(text), Ok(ids), "{text}");
            }
            let message = |text: &str| who(text).expect_err("unknown").to_string();
            assert!(message("redis").ends_with(&format!("/etc/passwd {reason}")));
            assert!(message("0:redis").contains("group \"redis\" cannot be looked up: /etc/group"));
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert_eq!(who("nobody").expect_err("none").to_string(), "unknown user \"nobody\"");
        assert_eq!(who("redis:x").expect_err("none").to_string(), "unknown group \"x\"");
        assert_eq!(who("bad"), Err(UnknownUser::User("bad".to_owned())), "a line without number");
        assert!(who("4294967295").is_err(), "means \"unchanged\" to the kernel");
        assert!(who("99999999999").is_err());
    }
}
