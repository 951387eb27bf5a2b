//! Dockerfiles → graphs, as text.

use expect_test::{Expect, expect};
use hoist_image::ImageConfig;

use super::*;
use crate::dockerfile::parse;
use crate::{BuildRequest, Diagnostic, SourceFile};

fn base(on_build: &[&str]) -> ImageConfig {
    let mut config = ImageConfig::new("amd64", "linux");
    config.config.env = vec!["PATH=/bin".to_owned(), "FROM_BASE=yes".to_owned()];
    config.config.on_build = on_build.iter().map(|&trigger| trigger.to_owned()).collect();
    config.config.cmd = Some(vec!["base-cmd".to_owned()]);
    config
}

fn graph(text: &str, request: &BuildRequest) -> Result<Graph, String> {
    graph_for(text, request, &["linux/amd64"])
}

fn graph_for(text: &str, request: &BuildRequest, platforms: &[&str]) -> Result<Graph, String> {
    let source = SourceFile::new("Dockerfile", text);
    let render = |problems: Vec<Diagnostic>| {
        problems
            .iter()
            .map(|problem| problem.render(&source, false))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let file = parse(&source).map_err(render)?;
    let select = |platform: &&str| Selection::new(&file, request, &platform.parse().unwrap());
    let selections: Vec<Selection> = platforms
        .iter()
        .map(select)
        .collect::<Result<_, _>>()
        .map_err(render)?;
    let bases = [
        ("base:1", base(&[])),
        ("base:2", base(&[])),
        ("trigger", base(&["COPY a /a", "RUN b"])),
    ];
    let image = |name: &str, platform: &str| BaseImage {
        name: name.to_owned(),
        platform: platform.to_owned(),
    };
    let of = |platform: &'static str| {
        bases
            .clone()
            .map(|(name, config)| (image(name, platform), Some(config)))
    };
    let bases: Bases = ["linux/amd64", "linux/arm64"]
        .into_iter()
        .flat_map(of)
        .collect();
    for (image, _) in selections
        .iter()
        .flat_map(|selection| selection.images(&file, request))
    {
        assert!(
            bases.contains_key(&image),
            "the test has no image {image:?}"
        );
    }
    match lower(&file, request, &selections, &bases).map_err(render)? {
        Lowered::Graph(graph) => Ok(*graph),
        Lowered::Needs(images) => Err(format!("needs {images:?}")),
    }
}

fn show(graph: &Graph) -> String {
    let mut text = String::new();
    for (id, step) in graph.steps.iter().enumerate() {
        text += &format!(
            "{id}: {} | on {:?}, after {:?}\n",
            step.name,
            step.parent,
            step.after()
        );
        match &step.op {
            Op::Run(run) => {
                text += &format!("   {:?} in {} with {:?}\n", run.argv, run.cwd, run.env)
            }
            Op::Copy(copy) | Op::Link(copy) => {
                text += &format!(
                    "   {:?} to {} (folder: {})\n",
                    copy.sources, copy.destination, copy.into_folder
                );
            }
            Op::Mkdir(mkdir) => text += &format!("   mkdir {}\n", mkdir.path),
        }
    }
    for result in &graph.results {
        text += &format!("result {:?} on {:?}\n", result.tree, result.base);
    }
    text
}

fn check(text: &str, request: &BuildRequest, expected: Expect) {
    let shown = match graph(text, request) {
        Ok(graph) => show(&graph),
        Err(problems) => problems + "\n",
    };
    expected.assert_eq(&shown);
}

#[test]
fn stages_become_a_graph_without_the_unused() {
    check(
        "FROM base:1 AS deps\nWORKDIR /src\nCOPY go.mod .\nRUN fetch\nFROM deps AS build\nCOPY . .\nRUN make\n\
         FROM base:2 AS docs\nRUN never\nFROM scratch\nCOPY --from=build /src/out /bin/\nCOPY --from=base:2 /etc/x /x\n",
        &BuildRequest::default(),
        expect![[r#"
            0: [deps 2/4] WORKDIR /src | on Image(BaseImage { name: "base:1", platform: "linux/amd64" }), after []
               mkdir /src
            1: [deps 3/4] COPY go.mod . | on Step(0), after [0]
               [Path("go.mod")] to /src (folder: true)
            2: [deps 4/4] RUN fetch | on Step(1), after [1]
               ["/bin/sh", "-c", "fetch"] in /src with ["PATH=/bin", "FROM_BASE=yes"]
            3: [build 2/3] COPY . . | on Step(2), after [2]
               [Path(".")] to /src (folder: true)
            4: [build 3/3] RUN make | on Step(3), after [3]
               ["/bin/sh", "-c", "make"] in /src with ["PATH=/bin", "FROM_BASE=yes"]
            5: [stage-3 2/3] COPY --from=build /src/out /bin/ | on Scratch, after [4]
               [Path("src/out")] to /bin (folder: true)
            6: [stage-3 3/3] COPY --from=base:2 /etc/x /x | on Step(5), after [5]
               [Path("etc/x")] to /x (folder: false)
            result Step(6) on None
        "#]],
    );
}

#[test]
fn equal_beginnings_are_one_step() {
    check(
        "FROM base:1 AS a\nRUN same\nRUN a\nFROM base:1 AS b\nRUN same\nRUN b\nFROM scratch\nCOPY --from=a / /\n\
         COPY --from=b / /\n",
        &BuildRequest::default(),
        expect![[r#"
            0: [a 2/3] RUN same | on Image(BaseImage { name: "base:1", platform: "linux/amd64" }), after []
               ["/bin/sh", "-c", "same"] in / with ["PATH=/bin", "FROM_BASE=yes"]
            1: [a 3/3] RUN a | on Step(0), after [0]
               ["/bin/sh", "-c", "a"] in / with ["PATH=/bin", "FROM_BASE=yes"]
            2: [b 3/3] RUN b | on Step(0), after [0]
               ["/bin/sh", "-c", "b"] in / with ["PATH=/bin", "FROM_BASE=yes"]
            3: [stage-2 2/3] COPY --from=a / / | on Scratch, after [1]
               [Path(".")] to / (folder: true)
            4: [stage-2 3/3] COPY --from=b / / | on Step(3), after [2, 3]
               [Path(".")] to / (folder: true)
            result Step(4) on None
        "#]],
    );
}

#[test]
fn arguments_have_docker_scopes() {
    let mut request = BuildRequest::default();
    request
        .args
        .insert("GIVEN".to_owned(), Some("given".to_owned()));
    request
        .args
        .insert("HTTPS_PROXY".to_owned(), Some("http://p".to_owned()));
    check(
        "ARG TAG=1\nARG GLOBAL=global\nARG GIVEN=default\nFROM base:${TAG}\nRUN before $GLOBAL\nARG GLOBAL\nARG GIVEN\n\
         ARG LOCAL=${GIVEN}-local\nARG UNSET\nENV LOCAL=env FROM_BASE=\"${FROM_BASE}, ${GLOBAL}\"\nRUN after\n\
         FROM scratch\nCOPY --from=0 /${GLOBAL} /x\n",
        &request,
        expect![[r#"
            0: [stage-0 2/3] RUN before $GLOBAL | on Image(BaseImage { name: "base:1", platform: "linux/amd64" }), after []
               ["/bin/sh", "-c", "before $GLOBAL"] in / with ["PATH=/bin", "FROM_BASE=yes"]
            1: [stage-0 3/3] RUN after | on Step(0), after [0]
               ["/bin/sh", "-c", "after"] in / with ["PATH=/bin", "FROM_BASE=yes, global", "GLOBAL=global", "GIVEN=given", "LOCAL=env"]
            2: [stage-1 2/2] COPY --from=0 /${GLOBAL} /x | on Scratch, after [1]
               [Path(".")] to /x (folder: false)
            result Step(2) on None
        "#]],
    );
}

#[test]
fn triggers_come_first() {
    check(
        "FROM trigger\nRUN own\n",
        &BuildRequest::default(),
        expect![[r#"
            0: [2/4] COPY a /a | on Image(BaseImage { name: "trigger", platform: "linux/amd64" }), after []
               [Path("a")] to /a (folder: false)
            1: [3/4] RUN b | on Step(0), after [0]
               ["/bin/sh", "-c", "b"] in / with ["PATH=/bin", "FROM_BASE=yes"]
            2: [4/4] RUN own | on Step(1), after [1]
               ["/bin/sh", "-c", "own"] in / with ["PATH=/bin", "FROM_BASE=yes"]
            result Step(2) on Some(BaseImage { name: "trigger", platform: "linux/amd64" })
        "#]],
    );
}

#[test]
fn mistakes_of_meaning_are_reported_together() {
    check(
        "FROM base:1 AS one\nRUN --mount=from=7,target=/x a\nCOPY --from=one a b\nFROM one AS two\n",
        &BuildRequest::default(),
        expect![[r#"
            error: there is no stage 7 before this one
             --> Dockerfile:2:5
              |
            2 | RUN --mount=from=7,target=/x a
              |     ^^^^^^^^^^^^^^^^^^^^^^^^
            error: stage one cannot copy from itself
             --> Dockerfile:3:6
              |
            3 | COPY --from=one a b
              |      ^^^^^^^^^^
        "#]],
    );
    check(
        "FROM base:1\nARG A\nEXPOSE 99999\nSTOPSIGNAL SIGNOPE\nENV X=${A:?needed}\nCOPY a${A b\nRUN --network=lan x\n",
        &BuildRequest::default(),
        expect![[r#"
            error: invalid port "99999"
             --> Dockerfile:3:8
              |
            3 | EXPOSE 99999
              |        ^^^^^
              |
              = help: EXPOSE 80, 80/tcp, 53/udp or 8000-8010
            error: unknown signal "SIGNOPE"
             --> Dockerfile:4:12
              |
            4 | STOPSIGNAL SIGNOPE
              |            ^^^^^^^
            error: A: needed
             --> Dockerfile:5:7
              |
            5 | ENV X=${A:?needed}
              |       ^^^^^^^^^^^^
            error: ${ is not closed
             --> Dockerfile:6:6
              |
            6 | COPY a${A b
              |      ^^^^
            error: unknown network "lan"
             --> Dockerfile:7:5
              |
            7 | RUN --network=lan x
              |     ^^^^^^^^^^^^^
              |
              = help: --network is default, none or host
        "#]],
    );
    let target = BuildRequest {
        target: Some("buidl".to_owned()),
        ..BuildRequest::default()
    };
    check(
        "FROM base:1 AS build\nFROM $UNSET\nFROM --platform=linux/arm64 base:1\n",
        &target,
        expect![[r#"
            error: the base $UNSET is empty
             --> Dockerfile:2:6
              |
            2 | FROM $UNSET
              |      ^^^^^^
              |
              = help: declare its variables with ARG before the first FROM, and give them a value
            error: target stage "buidl" is not in the Dockerfile
             --> Dockerfile:3:1
              |
            3 | FROM --platform=linux/arm64 base:1
              | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              |
              = help: did you mean build?
        "#]],
    );
}

#[test]
fn a_base_of_the_stage_before_keeps_its_own_configuration() {
    let text = "FROM base:1 AS a\nCMD [\"a\"]\nENTRYPOINT [\"e\"]\nENV A=1\nFROM a\nENTRYPOINT [\"f\"]\nLABEL x=y\n";
    let graph = graph(text, &BuildRequest::default()).unwrap();
    let [result] = &graph.results[..] else {
        panic!("one platform makes one image")
    };
    assert_eq!(result.execution.cmd, None);
    assert_eq!(
        result.execution.entrypoint.as_deref(),
        Some(&["f".to_owned()][..])
    );
    assert_eq!(result.execution.env, ["PATH=/bin", "FROM_BASE=yes", "A=1"]);
    assert_eq!(result.history.len(), 5);
    assert_eq!(
        result.base.as_ref().map(|base| base.name.as_str()),
        Some("base:1")
    );
}

#[test]
fn platforms_share_what_does_not_depend_on_them() {
    let text = "FROM --platform=linux/amd64 base:1 AS build\nRUN make\nFROM build AS cross\nARG TARGETARCH\nRUN cross\n\
                FROM base:2\nCOPY --from=build /out /\nCOPY --from=cross /out /\n";
    let graph = graph_for(
        text,
        &BuildRequest::default(),
        &["linux/amd64", "linux/arm64"],
    )
    .unwrap();
    expect![[r#"
        0: [linux/amd64 build 2/2] RUN make | on Image(BaseImage { name: "base:1", platform: "linux/amd64" }), after []
           ["/bin/sh", "-c", "make"] in / with ["PATH=/bin", "FROM_BASE=yes"]
        1: [linux/amd64 cross 2/2] RUN cross | on Step(0), after [0]
           ["/bin/sh", "-c", "cross"] in / with ["PATH=/bin", "FROM_BASE=yes", "TARGETARCH=amd64"]
        2: [linux/amd64 stage-2 2/3] COPY --from=build /out / | on Image(BaseImage { name: "base:2", platform: "linux/amd64" }), after [0]
           [Path("out")] to / (folder: true)
        3: [linux/amd64 stage-2 3/3] COPY --from=cross /out / | on Step(2), after [1, 2]
           [Path("out")] to / (folder: true)
        4: [linux/amd64->arm64 cross 2/2] RUN cross | on Step(0), after [0]
           ["/bin/sh", "-c", "cross"] in / with ["PATH=/bin", "FROM_BASE=yes", "TARGETARCH=arm64"]
        5: [linux/arm64 stage-2 2/3] COPY --from=build /out / | on Image(BaseImage { name: "base:2", platform: "linux/arm64" }), after [0]
           [Path("out")] to / (folder: true)
        6: [linux/arm64 stage-2 3/3] COPY --from=cross /out / | on Step(5), after [4, 5]
           [Path("out")] to / (folder: true)
        result Step(3) on Some(BaseImage { name: "base:2", platform: "linux/amd64" })
        result Step(6) on Some(BaseImage { name: "base:2", platform: "linux/arm64" })
    "#]].assert_eq(&show(&graph));
}

/// As current BuildKit has it: docker 26 gave a global `ARG TARGETARCH` no value.
#[test]
fn platform_arguments_have_their_values_before_the_first_stage() {
    let text = "ARG TARGETARCH\nARG TARGETOS\nARG TAG=${TARGETARCH}-$TARGETOS\nFROM base:1 AS last\nARG TAG\n\
        ARG TARGETSTAGE TARGETOSVERSION\nRUN x\n";
    let mut request = BuildRequest::default();
    request
        .args
        .insert("TARGETOS".to_owned(), Some("given".to_owned()));
    let graph = graph(text, &request).unwrap();
    let Op::Run(run) = &graph.steps[0].op else {
        panic!("a RUN")
    };
    assert_eq!(
        run.env[2..],
        ["TAG=amd64-given", "TARGETSTAGE=last", "TARGETOSVERSION="]
    );
}

/// Each of these few lines asks for gigabytes.
#[test]
fn what_variables_and_copies_come_to_is_bounded() {
    let problem = |text: &str| match graph(text, &BuildRequest::default()) {
        Ok(graph) => panic!("{} steps", graph.steps.len()),
        Err(problems) => problems,
    };
    let doubled = (0..40).map(|_| "ENV A=$A$A\n").collect::<String>();
    let text = format!("FROM base:1\nENV A=0123456789\n{doubled}");
    let shown = problem(&text);
    assert!(
        shown.contains("the variables of this Dockerfile expand to more than 64 MiB"),
        "{shown}"
    );
    assert_eq!(shown.matches("error").count(), 1, "{shown}");
    assert!(shown.contains("Dockerfile:2"), "it says where: {shown}");
    let args = format!(
        "ARG A=0123456789\n{}FROM base:$A\n",
        (0..40).map(|_| "ARG A=$A$A\n").collect::<String>()
    );
    assert!(problem(&args).contains("64 MiB"));
    let long = "x".repeat(100_000);
    let lines = |line: &str| line.repeat(2000);
    for text in [
        format!(
            "FROM base:1\nENV A={long}\n{}",
            lines("LABEL $A=$A $A=$A\n")
        ),
        format!("FROM base:1\nARG A={long}\n{}", lines("RUN x\n")),
        format!("FROM base:1\nENV A={long}\n{}", lines("RUN x\n")),
        format!("FROM base:1\nSHELL [\"{long}\"]\n{}", lines("CMD x\n")),
        format!("FROM base:1\nUSER {long}\n{}", lines("WORKDIR x\n")),
        format!(
            "FROM base:1 AS {long}\n{}FROM {long}\n",
            lines("COPY a b\n")
        ),
        format!(
            "FROM base:1\n{}",
            lines(&format!("WORKDIR {}\n", &long[..100]))
        ),
        format!(
            "FROM base:1\nENV A={long}\nCOPY <<E /x\n{}E\n",
            lines("$A\n")
        ),
        format!(
            "FROM base:1 AS s0\nLABEL a={long}\n{}",
            (1..2000)
                .map(|number| format!("FROM s{} AS s{number}\n", number - 1))
                .collect::<String>()
        ),
    ] {
        let shown = problem(&text);
        assert!(shown.contains("64 MiB"), "{:.300}\n{:.300}", text, shown);
    }
    let deep = format!(
        "FROM base:1\nRUN a\nENV A={}{}\n",
        "${B:-".repeat(20_000),
        "}".repeat(20_000)
    );
    let shown = problem(&deep);
    assert!(
        shown.contains("nested more than 64 deep") && shown.contains("Dockerfile:3"),
        "{shown:.300}"
    );
}

#[test]
fn mounts_without_a_target_are_the_working_directory() {
    let mounts = |line: &str| {
        let text = format!("FROM base:1 AS x\nRUN a\nFROM base:1\nWORKDIR /src\nRUN {line} b\n");
        let graph = graph(&text, &BuildRequest::default()).unwrap();
        let Some(Op::Run(run)) = graph.steps.last().map(|step| &step.op) else {
            panic!("the last step is no RUN")
        };
        run.mounts
            .iter()
            .map(|mount| mount.target.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(mounts("--mount=from=x"), ["/src"]);
    assert_eq!(mounts("--mount=ro"), ["/src"]);
    assert_eq!(mounts("--mount=type=tmpfs"), ["/src"]);
    assert_eq!(mounts("--mount=type=cache"), ["/src"]);
    let shown = graph("FROM scratch\nRUN --mount=ro b\n", &BuildRequest::default())
        .err()
        .unwrap_or_default();
    assert!(
        shown.contains("cannot cover the root") && shown.contains("WORKDIR"),
        "{shown}"
    );
}
