//! A step of which the inputs are unchanged is never run, in any order of edits; and no other step is left out.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic and says why it is skipped"
)]

mod world;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;

/// What the steps are made from; every field has a few values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Inputs {
    early: u8,
    folder: u8,
    argument: u8,
    late: u8,
}

#[derive(Debug, Clone, Copy)]
enum Edit {
    Early(u8),
    Folder(u8),
    Argument(u8),
    Late(u8),
    /// All files are written again as they are.
    Rewrite,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = prop_oneof![
        (0..3u8).prop_map(Edit::Early),
        (0..4u8).prop_map(Edit::Folder),
        (0..3u8).prop_map(Edit::Argument),
        (0..3u8).prop_map(Edit::Late),
        Just(Edit::Rewrite),
    ];
    proptest::collection::vec(edit, 8..14)
}

/// Every step's output tells all of its inputs.
const DOCKERFILE: &str = "FROM mybase:1.0\nCOPY early /early\nRUN cat /early >/1\nCOPY folder /folder\n\
    ARG argument\nRUN (cd /folder && stat -c '%n %a' * && cat * && echo $argument) >/2\nCOPY --link late /late\n\
    RUN cat /1 /2 /late >/3\n";

impl Inputs {
    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Early(value) => self.early = value,
            Edit::Folder(value) => self.folder = value,
            Edit::Argument(value) => self.argument = value,
            Edit::Late(value) => self.late = value,
            Edit::Rewrite => {}
        }
    }

    /// Sizes are equal, and the times are those of the clock: contents alone tell.
    fn write(self, world: &world::World) {
        world.write("early", self.early.to_string());
        world.write("late", self.late.to_string());
        let _ = std::fs::remove_dir_all(world.path("folder"));
        let (name, content, mode) = [
            ("a", "x", 0o644),
            ("b", "x", 0o644),
            ("a", "y", 0o644),
            ("a", "x", 0o755),
        ][usize::from(self.folder)];
        world.write(&format!("folder/{name}"), content);
        let path = world.path(&format!("folder/{name}"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// The steps with what decides each of them.
    fn steps(self) -> [(usize, Self); 6] {
        let only_early = Self {
            early: self.early,
            ..Self::default()
        };
        let with_folder = Self {
            folder: self.folder,
            ..only_early
        };
        let with_argument = Self {
            argument: self.argument,
            ..with_folder
        };
        let only_late = Self {
            late: self.late,
            ..Self::default()
        };
        let inputs = [
            only_early,
            only_early,
            with_folder,
            with_argument,
            only_late,
            self,
        ];
        std::array::from_fn(|number| (number, inputs[number]))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_step_with_known_inputs_is_never_run(edits in edits()) {
        if let Some(reason) = world::reason_to_skip() {
            println!("skipped: {reason}");
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world::World::new();
            world.base().await;
            let (mut inputs, mut known) = (Inputs::default(), BTreeSet::new());
            for edit in edits.iter().copied() {
                inputs.apply(edit);
                inputs.write(&world);
                let new = inputs.steps().into_iter().filter(|step| known.insert(*step)).count();
                let mut request = world.request(DOCKERFILE);
                request.args.insert("argument".to_owned(), Some(inputs.argument.to_string()));
                let built = world.build_request(&request).await;
                assert_eq!(built.ran, new, "{edit:?} of {edits:?}\n{}", world.log());
                assert_eq!(built.cached, 6 - new, "{edit:?} of {edits:?}");
            }
        });
    }
}

#[tokio::test]
async fn a_linked_copy_is_used_again_on_another_base_and_an_argument_counts_from_its_first_use() {
    let world = world_or_skip!();
    world.base().await;
    world.write("file", "x");
    world
        .build("FROM mybase:1.0\nCOPY --link file /file\n")
        .await;
    let built = world
        .build("FROM mybase:1.0\nRUN echo other >/base\nCOPY --link file /file\n")
        .await;
    assert_eq!((built.ran, built.cached), (1, 1), "{}", world.log());

    let with = async |value: &str| {
        let text =
            "FROM mybase:1.0\nARG version\nCOPY file /a\nWORKDIR /w\nRUN echo $version >/v\n";
        let mut request = world.request(text);
        request
            .args
            .insert("version".to_owned(), Some(value.to_owned()));
        world.build_request(&request).await
    };
    assert_eq!(with("1").await.ran, 3);
    let built = with("2").await;
    assert_eq!(
        (built.ran, built.cached),
        (1, 2),
        "only RUN sees arguments: {}",
        world.log()
    );
    assert_eq!(with("1").await.ran, 0);
}
