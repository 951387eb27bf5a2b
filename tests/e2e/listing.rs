//! What images are listed, under which names, and what filters leave of them.

use crate::distribution::{Image, Layer, Registry, have};
use crate::world::World;

#[test]
fn a_filter_lists_what_it_says_and_never_more() {
    let claim = "filters of images";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else { return };
    let registry = Registry::plain(&world.project.join("registry"));
    let other = Image::busybox().layer(Layer::new().file("two", 0o644, b"two").tar());
    registry.push("team/app", "1", &Image::busybox());
    let digest = registry.push("team/other", "1", &other);
    let (app, by_digest) = (registry.name("team/app:1"), registry.name(&format!("team/other@{digest}")));
    world.ok(&["image", "pull", "-q", &app]);
    world.ok(&["image", "pull", "-q", &by_digest]);
    world.ok(&["tag", &app, "app:2"]);

    // What was pulled by its digest comes from somewhere, though it has no tag.
    let table = world.ok(&["image", "ls", "--digests"]);
    let row = table.lines().find(|line| line.contains("team/other")).expect("the image without a tag");
    assert_eq!(row.split_whitespace().take(3).collect::<Vec<_>>(), [&registry.name("team/other"), "<none>", &digest]);
    assert!(table.lines().next().is_some_and(|head| head.contains("DIGEST")), "{table}");

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
    assert_eq!(names(&format!("reference={host}/team/*")), [app.as_str(), other.as_str()]);
    assert_eq!(names("reference=*:2"), ["app:2"]);
    assert_eq!(names("label=nobody.has.it"), Vec::<String>::new());
    assert_eq!(names("until=1s").len(), 3);
    assert_eq!(names("before=app:2"), names("since=app:2"), "made at the same moment");

    for (filter, words) in
        [("dangle=true", "invalid filter"), ("dangling=maybe", "true or false"), ("before=nothing", "no such image")]
    {
        let refused = world.hoist(&["image", "ls", "-q", "--filter", filter]);
        assert!(refused.code == 1 && refused.stdout.is_empty() && refused.stderr.contains(words), "{}", refused.stderr);
    }
    world.finish();
}
