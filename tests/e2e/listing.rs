//! What images and artifacts are listed, under which names, and what filters leave of them.

use serde_json::{Value, json};

use crate::distribution::{Image, Layer, Registry, digest, have};
use crate::world::World;

#[test]
fn a_filter_lists_what_it_says_and_never_more() {
    let claim = "filters of images";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let other = Image::busybox().layer(Layer::new().file("two", 0o644, b"two").tar());
    registry.push("team/app", "1", &Image::busybox());
    let digest = registry.push("team/other", "1", &other);
    let (app, by_digest) = (
        registry.name("team/app:1"),
        registry.name(&format!("team/other@{digest}")),
    );
    world.ok(&["image", "pull", "-q", &app]);
    world.ok(&["image", "pull", "-q", &by_digest]);
    world.ok(&["tag", &app, "app:2"]);

    // What was pulled by its digest comes from somewhere, though it has no tag.
    let table = world.ok(&["image", "ls", "--digests"]);
    let row = table
        .lines()
        .find(|line| line.contains("team/other"))
        .expect("the image without a tag");
    assert_eq!(
        row.split_whitespace().take(3).collect::<Vec<_>>(),
        [&registry.name("team/other"), "<none>", &digest]
    );
    assert!(
        table
            .lines()
            .next()
            .is_some_and(|head| head.contains("DIGEST")),
        "{table}"
    );

    let names = |filter: &str| {
        let rows = world.ok(&["image", "ls", "--filter", filter]);
        let name = |row: &str| row.split_whitespace().take(2).collect::<Vec<_>>().join(":");
        let mut names: Vec<String> = rows.lines().skip(1).map(name).collect();
        names.sort();
        names
    };
    let (other, host) = (registry.name("team/other:<none>"), registry.host());
    assert_eq!(names("dangling=true"), [other.as_str()]);
    assert_eq!(names("dangling=false"), [app.as_str(), "app:2"]);
    assert_eq!(names("reference=app"), ["app:2"]);
    assert_eq!(names("reference=*/*/app"), [app.as_str()]);
    assert_eq!(
        names(&format!("reference={host}/team/*")),
        [app.as_str(), other.as_str()]
    );
    assert_eq!(names("reference=*:2"), ["app:2"]);
    assert_eq!(names("label=nobody.has.it"), Vec::<String>::new());
    assert_eq!(names("until=1s").len(), 3);
    assert_eq!(
        names("before=app:2"),
        names("since=app:2"),
        "made at the same moment"
    );

    for (filter, words) in [
        ("dangle=true", "invalid filter"),
        ("dangling=maybe", "true or false"),
        ("before=nothing", "no such image"),
    ] {
        let refused = world.hoist(&["image", "ls", "-q", "--filter", filter]);
        assert!(
            refused.code == 1 && refused.stdout.is_empty() && refused.stderr.contains(words),
            "{}",
            refused.stderr
        );
    }
    world.finish();
}

#[test]
fn what_a_registry_has_attached_to_an_image_is_listed_and_is_no_image() {
    let claim = "artifacts";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    let image = registry.push("app", "1", &Image::busybox());
    assert_eq!(
        world.ok(&["image", "artifacts", "-q", &registry.name("app:1")]),
        ""
    );

    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    registry.push_blob("app", b"{}");
    registry.push_blob("app", b"sbom");
    let empty = json!({"mediaType": "application/vnd.oci.empty.v1+json", "size": 2, "digest": digest(b"{}")});
    let sbom = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json", "config": empty,
        "layers": [{"mediaType": "application/spdx+json", "size": 4, "digest": digest(b"sbom")}],
    })
    .to_string();
    let hex = image.strip_prefix("sha256:").expect("a digest");
    let sbom_digest = registry.push_manifest("app", "sbom", MANIFEST, sbom.as_bytes());
    let signature = registry.push_manifest(
        "app",
        &format!("sha256-{hex}.sig"),
        MANIFEST,
        sbom.as_bytes(),
    );
    // A registry without the referrers API: what refers to the image is under its tag.
    let index = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST, "size": sbom.len(), "digest": sbom_digest, "artifactType": "application/spdx+json",
        }],
    });
    registry.push_manifest(
        "app",
        &format!("sha256-{hex}"),
        INDEX,
        index.to_string().as_bytes(),
    );
    let listed = world.ok(&["image", "artifacts", &registry.name("app:1")]);
    let rows: Vec<Vec<&str>> = listed
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["DIGEST", "TYPE", "SIZE", "ATTACHED"]);
    assert_eq!(
        (rows[1][0], rows[1][1], rows[1][3]),
        (sbom_digest.as_str(), "application/spdx+json", "referrer")
    );
    assert_eq!(
        (rows[2][0], rows[2][3]),
        (signature.as_str(), format!("sha256-{hex}.sig").as_str())
    );
    assert_eq!(rows.len(), 3, "{listed}");

    // An attestation beside the image in an index is listed, and never chosen.
    let with_attestation = json!({
        "schemaVersion": 2, "mediaType": INDEX,
        "manifests": [
            {"mediaType": MANIFEST, "size": sbom.len(), "digest": sbom_digest,
             "platform": {"os": "unknown", "architecture": "unknown"},
             "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image}},
        ],
    });
    registry.push_manifest(
        "app",
        "indexed",
        INDEX,
        with_attestation.to_string().as_bytes(),
    );
    let listed = world.ok(&[
        "image",
        "artifacts",
        "--format",
        "json",
        &registry.name("app:indexed"),
    ]);
    let row: Value = serde_json::from_str(listed.trim()).expect("a JSON line");
    assert_eq!(
        (&row["artifactType"], &row["attached"]),
        (&json!("attestation-manifest"), &json!("index"))
    );
    let refused = world.hoist(&["image", "pull", "-q", &registry.name("app:sbom")]);
    let words = "not a container image but an artifact of type application/spdx+json";
    assert!(
        refused.code == 1 && refused.stderr.contains(words),
        "{}",
        refused.stderr
    );
    let absent = world.hoist(&["image", "artifacts", &registry.name("app:none")]);
    assert!(
        absent.code == 1 && absent.stderr.contains("not found"),
        "{}",
        absent.stderr
    );
    world.finish();
}
