use serde_json::json;

use super::*;

fn raw(value: &Value, media_type: &str) -> RawManifest {
    let bytes = serde_json::to_vec(value).expect("serialises").into();
    RawManifest { bytes, media_type: media_type.to_owned() }
}

fn digest(seed: &str) -> Digest {
    Digest::of(seed.as_bytes())
}

/// An index with these platforms (`os/architecture[/variant]`).
fn index(platforms: &[&str]) -> Value {
    let entry = |platform: &&str| {
        let mut parts = platform.split('/');
        let mut value = json!({ "os": parts.next(), "architecture": parts.next() });
        if let Some(variant) = parts.next() {
            value["variant"] = variant.into();
        }
        json!({
            "mediaType": OCI_MANIFEST, "digest": digest(platform), "size": 1, "platform": value,
        })
    };
    let manifests: Vec<Value> = platforms.iter().map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests })
}

fn chosen(platforms: &[&str], architecture: &str, variant: Option<&str>) -> Option<Digest> {
    let platform =
        Platform { architecture: architecture.to_owned(), variant: variant.map(str::to_owned) };
    let Ok(Parsed::Index(entries)) = parse(&raw(&index(platforms), OCI_INDEX), "test") else {
        unreachable!("it is an index")
    };
    select(&entries, &platform, "test").ok().map(|blob| blob.digest)
}

#[test]
fn the_variant_for_this_host_is_chosen_and_others_are_not() {
    let offered = ["windows/amd64", "linux/arm64/v8", "unknown/unknown", "linux/amd64"];
    assert_eq!(chosen(&offered, "amd64", None), Some(digest("linux/amd64")));
    assert_eq!(chosen(&offered, "arm64", None), Some(digest("linux/arm64/v8")));
    assert_eq!(chosen(&offered, "s390x", None), None);
}

#[test]
fn an_arm_processor_takes_the_best_variant_that_it_runs() {
    let offered = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"];
    assert_eq!(chosen(&offered, "arm", Some("v6")), Some(digest("linux/arm/v6")));
    assert_eq!(chosen(&offered, "arm", Some("v7")), Some(digest("linux/arm/v7")));
    assert_eq!(chosen(&offered[2..], "arm", Some("v6")), None);
}

#[test]
fn of_amd64_the_plain_one_is_taken_and_never_a_newer_level() {
    let offered = ["linux/amd64/v3", "linux/amd64", "linux/amd64/v2"];
    assert_eq!(chosen(&offered, "amd64", None), Some(digest("linux/amd64")));
    assert_eq!(chosen(&offered[..1], "amd64", None), None);
}

#[test]
fn a_missing_variant_is_told_with_what_there_is() {
    let platform = Platform { architecture: "riscv64".to_owned(), variant: None };
    let raw = raw(&index(&["linux/amd64", "linux/arm/v7"]), OCI_INDEX);
    let Ok(Parsed::Index(entries)) = parse(&raw, "test") else { unreachable!("it is an index") };
    let error = select(&entries, &platform, "test").expect_err("none").to_string();
    assert_eq!(error, "image has no variant for linux/riscv64; it has linux/amd64, linux/arm/v7");
}

fn manifest(layer_type: &str) -> Value {
    let descriptor = |media_type: &str, seed: &str| json!({ "mediaType": media_type, "digest": digest(seed), "size": 1 });
    json!({
        "schemaVersion": 2,
        "config": descriptor(OCI_CONFIG, "config"),
        "layers": [descriptor(layer_type, "layer")],
    })
}

#[test]
fn a_format_that_we_do_not_read_is_refused_by_its_name() {
    let refused = |value: &Value, declared: &str| match parse(&raw(value, declared), "test") {
        Err(error) => error.to_string(),
        Ok(Parsed::Manifest(manifest)) => match contents(&manifest, "test") {
            Err(error) => error.to_string(),
            Ok(_) => unreachable!("{value}"),
        },
        Ok(Parsed::Index(_)) => unreachable!("{value}"),
    };
    let one = json!({ "schemaVersion": 1, "fsLayers": [], "history": [] });
    let text = refused(&one, "application/vnd.docker.distribution.manifest.v1+prettyjws");
    assert!(text.contains("manifest.v1+json") && text.contains("obsolete"), "{text}");
    let text = refused(&manifest("application/vnd.in-toto+json"), OCI_MANIFEST);
    assert!(text.contains("application/vnd.in-toto+json"), "{text}");
    let text = refused(&json!({}), "text/html");
    assert!(text.contains("text/html"), "{text}");
}

#[test]
fn a_vague_content_type_is_settled_by_the_document_itself() {
    let plain = manifest("application/vnd.oci.image.layer.v1.tar+gzip");
    for declared in ["", "application/json", "application/json; charset=utf-8"] {
        let parsed = parse(&raw(&plain, declared), "test").expect("a manifest");
        assert!(matches!(parsed, Parsed::Manifest(_)), "{declared}");
    }
    let parsed = parse(&raw(&index(&[]), ""), "test").expect("an index");
    assert!(matches!(parsed, Parsed::Index(_)));
}

#[test]
fn what_two_readers_would_read_differently_is_refused() {
    let mut both = manifest("application/vnd.oci.image.layer.v1.tar");
    both["manifests"] = json!([]);
    assert!(parse(&raw(&both, OCI_MANIFEST), "test").is_err());
    let mut lying = manifest("application/vnd.oci.image.layer.v1.tar");
    lying["mediaType"] = OCI_MANIFEST.into();
    assert!(parse(&raw(&lying, OCI_INDEX), "test").is_err());
}

#[test]
fn limits_hold_for_manifests_and_layers() {
    let mut many = manifest("application/vnd.oci.image.layer.v1.tar");
    let layer = many["layers"][0].clone();
    many["layers"] = vec![layer; limits::LAYERS_MAX + 1].into();
    let Ok(Parsed::Manifest(parsed)) = parse(&raw(&many, OCI_MANIFEST), "test") else {
        unreachable!("it parses")
    };
    assert!(matches!(contents(&parsed, "test"), Err(StoreError::Limit { .. })));
    let large = RawManifest { bytes: vec![b' '; 5 << 20].into(), media_type: String::new() };
    assert!(matches!(parse(&large, "test"), Err(StoreError::Limit { .. })));
}

#[test]
fn a_configuration_says_what_a_launch_needs() {
    let text = json!({
        "architecture": "amd64", "os": "linux", "created": "2023-11-14T22:13:20Z",
        "config": {
            "User": "", "Env": ["A=1"], "Entrypoint": null, "Cmd": ["sh"], "WorkingDir": "/data",
            "Volumes": { "/data": {} }, "ExposedPorts": { "1/tcp": {} }, "StopSignal": "SIGINT",
            "Labels": { "a": "b" }, "Healthcheck": { "Test": ["NONE"] }, "OnBuild": null
        },
        "rootfs": { "type": "layers", "diff_ids": [digest("layer")] },
        "history": [{ "created_by": "x", "empty_layer": true }], "docker_version": "20.10"
    });
    let platform = Platform { architecture: "amd64".to_owned(), variant: None };
    let bytes = text.to_string();
    let parsed = configuration(bytes.as_bytes(), &platform, "test").expect("parses");
    let config = parsed.config;
    assert_eq!((config.user, config.working_dir.as_deref()), (None, Some("/data")));
    assert_eq!((config.entrypoint.len(), config.cmd), (0, vec!["sh".to_owned()]));
    assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
    assert_eq!(parsed.diff_ids, [digest("layer")]);
    let other = bytes.replace("amd64", "s390x");
    let refused = configuration(other.as_bytes(), &platform, "test");
    assert!(matches!(refused, Err(StoreError::Platform { .. })));
}
