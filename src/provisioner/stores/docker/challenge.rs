//! `WWW-Authenticate`: what a server wants to see before it answers. Pure.
//!
//! Source: RFC 9110, 11.6.1; distribution `spec/auth/token.md`.

/// One challenge of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    /// Lower case: `bearer`, `basic`.
    pub(super) scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter; an empty one is none.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// All challenges of one header, in order. What makes no sense is passed over: a server that is not
/// understood gets no credentials.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (token, after) = split_token(rest);
        if token.is_empty() {
            // Not a token: go on behind the next comma.
            match rest.split_once(',') {
                Some((_, behind)) => rest = behind,
                None => return challenges,
            }
            continue;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, behind) = split_value(value.trim_start());
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((token.to_ascii_lowercase(), value));
                }
                rest = behind;
            }
            None => {
                let scheme = token.to_ascii_lowercase();
                challenges.push(Challenge { scheme, parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    text.split_at(text.find(|c| !token(c)).unwrap_or(text.len()))
}

/// A quoted string, its escapes resolved, or everything up to the comma.
fn split_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return (text[..end].trim_end().to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(header: &str) -> String {
        let one = |c: &Challenge| {
            let parameters = c.parameters.iter().map(|(k, v)| format!(" {k}=<{v}>"));
            format!("{}{}", c.scheme, parameters.collect::<String>())
        };
        parse(header).iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn challenges_of_the_field_are_understood() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer realm=<https://auth.docker.io/token> service=<registry.docker.io> \
                 scope=<repository:a/b:pull,push>",
            ),
            (r#"Basic realm="a \"quoted\" name""#, r#"basic realm=<a "quoted" name>"#),
            ("BASIC", "basic"),
            ("Basic realm=plain , charset=UTF-8", "basic realm=<plain> charset=<UTF-8>"),
            (
                r#"Negotiate, Basic realm="x", BEARER Realm = "y""#,
                "negotiate; basic realm=<x>; bearer realm=<y>",
            ),
        ] {
            assert_eq!(shape(header), expected);
        }
    }

    #[test]
    fn nonsense_ends_and_yields_nothing_dangerous() {
        for (header, expected) in [
            ("", ""),
            ("=", ""),
            (",,,", ""),
            ("\"", ""),
            ("Bearer realm=\"cut", "bearer realm=<cut>"),
            ("Bearer realm=\"cut\\", "bearer realm=<cut>"),
            ("realm=\"no scheme\"", ""),
            ("é=ü, Basic", "basic"),
            ("Negotiate YWJj==", "negotiate YWJj"),
        ] {
            let shape = shape(header);
            assert!(shape.starts_with(&expected.to_ascii_lowercase()), "{header}: {shape}");
        }
    }
}
