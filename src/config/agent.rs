//! What executors are told of their agent: read and checked.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{InvalidConfig, check_directory};
use crate::model::AgentInfo;
use crate::{error, limits};

/// Reads `--executor-environment-variables`: a JSON object of strings, or the path of a file with one
/// (`/path` or `file:///path`).
///
/// Blocks where it is a file. Errors: what is no object, a value that is no string, a name that no
/// variable can have, a file that cannot be read.
pub fn executor_environment(text: &str) -> Result<BTreeMap<String, String>, InvalidConfig> {
    let path = text.strip_prefix("file://").unwrap_or(text);
    let variables = match path.starts_with('/') {
        true => {
            let read = std::fs::read_to_string(path);
            let text = read.map_err(|error| {
                wrong(format_args!("cannot be read from {path}: {}", error::chain(&error)))
            })?;
            parse(&text).map_err(|reason| wrong(format_args!("in {path} {reason}")))?
        }
        false => parse(text).map_err(wrong)?,
    };
    check_variables(&variables)?;
    Ok(variables)
}

fn wrong(reason: impl std::fmt::Display) -> InvalidConfig {
    // One line, whatever the file says.
    InvalidConfig::ExecutorEnvironment { reason: reason.to_string().replace('\n', " ") }
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let value: Value =
        serde_json::from_str(text).map_err(|error| format!("are no JSON: {error}"))?;
    let Value::Object(object) = value else {
        return Err("are no JSON object of strings".to_owned());
    };
    let string = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        other => Err(format!("have a value for {name:?} that is no string: {other}")),
    };
    object.into_iter().map(string).collect()
}

/// Everything that can be known without a host.
pub(super) fn check(agent: &AgentInfo) -> Result<(), InvalidConfig> {
    check_variables(&agent.executor_environment_variables)?;
    if let Some(library) = &agent.native_library {
        check_directory("native library", library)?;
    }
    let Some(path) = &agent.domain_socket else { return Ok(()) };
    check_directory("domain socket", path)?;
    match length(path) <= limits::SOCKET_PATH_MAX {
        true => Ok(()),
        false => Err(InvalidConfig::SocketPath { path: path.clone() }),
    }
}

fn length(path: &Path) -> usize {
    path.as_os_str().len()
}

fn check_variables(variables: &BTreeMap<String, String>) -> Result<(), InvalidConfig> {
    for (name, value) in variables {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(wrong(format_args!("have {name:?}, which is not a name")));
        }
        if value.contains('\0') {
            return Err(wrong(format_args!("have a NUL byte in the value of {name:?}")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn refused(text: &str) -> String {
        let line = executor_environment(text).expect_err(text).to_string();
        assert!(line.starts_with("executor-environment-variables ") && !line.contains('\n'));
        line
    }

    #[test]
    fn variables_are_an_object_of_strings_in_line_or_in_a_file() {
        let expected = BTreeMap::from([
            ("A".to_owned(), "b=c".to_owned()),
            ("EMPTY".to_owned(), String::new()),
        ]);
        let text = r#"{"A": "b=c", "EMPTY": ""}"#;
        assert_eq!(executor_environment(text), Ok(expected.clone()));
        assert_eq!(executor_environment("{}"), Ok(BTreeMap::new()));
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), format!("{text}\n")).expect("written");
        let path = file.path().to_str().expect("text");
        assert_eq!(executor_environment(path), Ok(expected.clone()));
        assert_eq!(executor_environment(&format!("file://{path}")), Ok(expected));
        std::fs::write(file.path(), "{\n\"A\":\n7}").expect("written");
        assert!(refused(path).contains(path) && refused(path).contains("\"A\" that is no string"));
    }

    #[test]
    fn what_is_none_is_refused_in_one_line() {
        for (text, reason) in [
            ("", "are no JSON"),
            ("A=b", "are no JSON"),
            (r#"{"A": "b""#, "are no JSON"),
            (r#"["A"]"#, "no JSON object"),
            (r#""A""#, "no JSON object"),
            (r#"{"A": 7}"#, "\"A\" that is no string: 7"),
            (r#"{"A": null}"#, "\"A\" that is no string: null"),
            (r#"{"A": "x", "B": {"c": "d"}}"#, "\"B\" that is no string"),
            (r#"{"": "b"}"#, "not a name"),
            (r#"{"A=B": "b"}"#, "not a name"),
            (r#"{"A": "b\u0000c"}"#, "NUL"),
            ("/no/such/file", "cannot be read from /no/such/file: no such file or directory"),
        ] {
            let line = refused(text);
            assert!(line.contains(reason), "{text}: {line}");
        }
    }

    #[test]
    fn what_no_agent_can_have_is_refused_at_the_start() {
        let with = |agent| Config { agent, ..Config::default() }.validate();
        let variables = BTreeMap::from([("A=".to_owned(), String::new())]);
        let none = AgentInfo::default();
        let bad = AgentInfo { executor_environment_variables: variables, ..none.clone() };
        assert!(with(bad).is_err());
        let socket = |path: String| AgentInfo { domain_socket: Some(path.into()), ..none.clone() };
        assert!(with(socket("relative".to_owned())).is_err());
        assert!(with(socket(format!("/{}", "x".repeat(107)))).is_err());
        assert_eq!(with(socket(format!("/{}", "x".repeat(106)))), Ok(()));
        let library = Some("libmesos.so".into());
        assert!(with(AgentInfo { native_library: library, ..none.clone() }).is_err());
    }
}
