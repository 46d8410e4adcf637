use super::*;

const SUM: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn parse(text: &str) -> Result<Reference, InvalidReference> {
    Reference::parse(text, &DefaultRegistry::default())
}

fn canonical(text: &str, default: &str) -> String {
    let default = default.parse().expect("a registry");
    Reference::parse(text, &default).expect("valid").canonical()
}

#[test]
fn every_spelling_of_an_image_has_one_canonical_name() {
    for text in [
        "alpine",
        "alpine:latest",
        "library/alpine",
        "docker.io/alpine",
        "docker.io/library/alpine:latest",
        "index.docker.io/library/alpine",
        "registry-1.docker.io/alpine",
        "registry-1.docker.io:443/alpine",
        "DOCKER.IO/alpine",
    ] {
        assert_eq!(
            canonical(text, "https://registry-1.docker.io"),
            "docker.io/library/alpine:latest"
        );
    }
}

#[test]
fn names_without_a_registry_take_the_default_one() {
    let default = "http://127.0.0.1:5000";
    for (text, name) in [
        ("alpine", "127.0.0.1:5000/library/alpine:latest"),
        ("alpine:3.20", "127.0.0.1:5000/library/alpine:3.20"),
        ("user/x", "127.0.0.1:5000/user/x:latest"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ("127.0.0.1:5000/library/alpine", "127.0.0.1:5000/library/alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("registry.io/library/hello-world:latest", "registry.io/library/hello-world:latest"),
    ] {
        assert_eq!(canonical(text, default), name, "{text}");
    }
}

#[test]
fn the_parts_of_a_name_are_found() {
    let digested = format!("registry:80/hello-world:v1@{SUM}");
    // text, host, port, repository, tag, digested
    for (text, host, port, repository, tag, digest) in [
        ("hello-world", "docker.io", None, "library/hello-world", Some("latest"), false),
        ("bar:test", "docker.io", None, "library/bar", Some("test"), false),
        ("library/bar", "docker.io", None, "library/bar", Some("latest"), false),
        ("localhost:5000/x", "localhost", Some(5000), "x", Some("latest"), false),
        ("localhost/x/y", "localhost", None, "x/y", Some("latest"), false),
        ("user/x", "docker.io", None, "user/x", Some("latest"), false),
        ("[::1]:5000/x:1", "[::1]", Some(5000), "x", Some("1"), false),
        ("ghcr.io/a/b/c-d__e.f:1_2.3-4", "ghcr.io", None, "a/b/c-d__e.f", Some("1_2.3-4"), false),
        (digested.as_str(), "registry", Some(80), "hello-world", Some("v1"), true),
    ] {
        let reference = parse(text).expect("valid");
        assert_eq!((reference.host.as_str(), reference.port), (host, port), "{text}");
        assert_eq!(reference.repository, repository, "{text}");
        assert_eq!(reference.tag.as_deref(), tag, "{text}");
        assert_eq!(reference.digest.is_some(), digest, "{text}");
    }
}

#[test]
fn a_digest_wins_over_a_tag_and_needs_none() {
    let reference = parse(&format!("alpine:3@{SUM}")).expect("valid");
    assert_eq!(reference.canonical(), format!("docker.io/library/alpine@{SUM}"));
    assert_eq!(reference.manifest(), SUM);
    let reference = parse(&format!("alpine@{SUM}")).expect("valid");
    assert_eq!(reference.tag, None);
}

#[test]
fn a_canonical_name_reads_as_itself() {
    for text in ["alpine", "localhost:5000/x:1", "[::1]:80/x", &format!("ghcr.io/a/b@{SUM}")] {
        let name = parse(text).expect("valid").canonical();
        assert_eq!(parse(&name).expect("valid").canonical(), name);
    }
}

#[test]
fn the_scheme_follows_the_flag_else_the_port() {
    for (text, default, base) in [
        ("alpine", "https://registry-1.docker.io", "https://registry-1.docker.io"),
        ("alpine", "docker.io", "https://registry-1.docker.io"),
        ("alpine", "https://index.docker.io/v1/", "https://registry-1.docker.io"),
        ("r.io:443/x", "docker.io", "https://r.io:443"),
        ("r.io:80/x", "docker.io", "http://r.io:80"),
        ("r.io:5000/x", "docker.io", "https://r.io:5000"),
        ("r.io/x", "docker.io", "https://r.io"),
        ("localhost:5000/x", "docker.io", "http://localhost:5000"),
        ("127.0.0.1:5000/x", "docker.io", "http://127.0.0.1:5000"),
        ("127.0.0.2:5000/x", "docker.io", "https://127.0.0.2:5000"),
        ("localhost:443/x", "docker.io", "https://localhost:443"),
        ("x", "http://r.io:5000", "http://r.io:5000"),
        ("r.io:5000/x", "http://r.io:5000/", "http://r.io:5000"),
        ("r.io:5001/x", "http://r.io:5000/v2/", "https://r.io:5001"),
        ("localhost:5000/x", "https://localhost:5000", "https://localhost:5000"),
        ("x", "127.0.0.1:5000", "http://127.0.0.1:5000"),
    ] {
        let default = default.parse().expect("a registry");
        let reference = Reference::parse(text, &default).expect("valid");
        assert_eq!(reference.base_url(), base, "{text}");
    }
}

#[test]
fn hostile_names_are_refused_in_one_clear_line() {
    let long = "a".repeat(256);
    let tag = format!("a:{}", "t".repeat(129));
    for (text, reason) in [
        ("", "no repository"),
        (":latest", "no repository"),
        ("r.io/", "no repository"),
        ("Alpine", "upper-case"),
        ("../../etc/passwd", "registry is not a host name"),
        ("a/../b", "lower-case words"),
        ("a//b", "lower-case words"),
        ("/a", "lower-case words"),
        ("a\nb", "lower-case words"),
        ("a b", "lower-case words"),
        ("a?x=1", "lower-case words"),
        ("a%2e%2e", "lower-case words"),
        ("a___b", "lower-case words"),
        ("a-", "lower-case words"),
        ("a:-x", "the tag is not"),
        ("a:", "the tag is not"),
        ("a:x\r\nHost: y", "the tag is not"),
        ("r.io:0/x", "the port is not"),
        ("r.io:65536/x", "the port is not"),
        ("r.io:+80/x", "the port is not"),
        ("r.io:x/y", "the port is not"),
        ("user:pw@r.io/x", "the digest is neither"),
        ("a@sha256:d1b2", "the digest is neither"),
        ("a@md5:00@b", "more than one digest"),
        ("-r.io/x", "not a host name"),
        ("r..io/x", "not a host name"),
        ("[::g]:1/x", "not an IPv6 address"),
        ("http://r.io/x", "the port is not"),
        (&long, "longer than 255"),
        (&tag, "longer than 128"),
    ] {
        let line = parse(text).expect_err(text).to_string();
        assert!(line.contains(reason), "{text:?}: {line}");
        assert!(!line.contains('\n') && line.len() < 400, "{line}");
    }
}

#[test]
fn a_default_registry_is_an_address_and_nothing_else() {
    for bad in ["ftp://x", "http://u:p@x", "http://x/path", "http://", "", "http://x:y", "/images"]
    {
        let line = bad.parse::<DefaultRegistry>().expect_err(bad).to_string();
        assert!(line.starts_with("registry "), "{line}");
    }
}
