//! Build checks: each rule finds what it is about, at its place, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use hoist_build::{BuildError, check};

/// `Rule line:column`, a line each.
async fn findings(text: &str) -> String {
    let world = world::World::new();
    world.write("kept", "x");
    world.write("hidden", "x");
    world.write(".dockerignore", "hidden\n");
    let checked = check(&world.request(text), &world.host()).await.unwrap();
    let line = |finding: &hoist_build::Diagnostic| {
        let (line, column) = checked.file.position(finding.span.start);
        let rule = finding.rule.map_or("-", hoist_build::Rule::name);
        // The name is in the text, too.
        assert!(
            finding
                .render(&checked.file, false)
                .contains(&format!("inline Dockerfile:{line}:{column}"))
        );
        format!("{rule} {line}:{column}\n")
    };
    checked.findings.iter().map(line).collect()
}

#[tokio::test]
async fn each_rule_finds_what_it_is_about() {
    let table = [
        ("FROM scratch AS base\nCOPY kept /\n", ""),
        ("FROM scratch AS Base\n", "StageNameCasing 1:17\n"),
        ("FROM scratch as base\n", "FromAsCasing 1:1\n"),
        ("from scratch AS base\n", "FromAsCasing 1:1\n"),
        (
            "FROM scratch\nRUN a \\\n\n  b\n",
            "NoEmptyContinuation 3:1\n",
        ),
        (
            "FROM scratch\nRUN a\ncopy kept /\n",
            "ConsistentInstructionCasing 3:1\n",
        ),
        (
            "from scratch\nrun a\nRun b\n",
            "ConsistentInstructionCasing 3:1\n",
        ),
        (
            "FROM scratch AS a\nFROM scratch AS a\n",
            "DuplicateStageName 2:17\n",
        ),
        ("FROM busybox AS scratch\n", "ReservedStageName 1:17\n"),
        ("FROM scratch\nCMD run it\n", "JSONArgsRecommended 2:1\n"),
        (
            "FROM scratch\nENTRYPOINT run it\n",
            "JSONArgsRecommended 2:1\n",
        ),
        ("FROM scratch\nSHELL [\"/bin/x\"]\nCMD run it\n", ""),
        (
            "FROM scratch\nMAINTAINER me\n",
            "MaintainerDeprecated 2:1\n",
        ),
        ("ARG A=x\nFROM busybox:$A\n", ""),
        ("FROM busybox:${A:-x}\n", ""),
        ("FROM busybox${A}\n", "UndefinedArgInFrom 1:6\n"),
        ("FROM scratch\nWORKDIR app\n", "WorkdirRelativePath 2:9\n"),
        ("FROM scratch\nWORKDIR /srv\nWORKDIR app\n", ""),
        ("FROM scratch AS a\nWORKDIR /srv\nFROM a\nWORKDIR app\n", ""),
        ("FROM scratch\nARG name\nCOPY kept /$name\n", ""),
        ("FROM scratch\nCOPY kept /$name\n", "UndefinedVar 2:11\n"),
        ("FROM scratch\nCOPY kept /${name:-x}\n", ""),
        // Nothing is known about what this image declares.
        ("FROM busybox\nCOPY kept /$name\n", ""),
        (
            "FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n",
            "MultipleInstructionsDisallowed 2:1\n",
        ),
        (
            "FROM scratch\nENV a b\nLABEL c d\n",
            "LegacyKeyValueFormat 2:5\nLegacyKeyValueFormat 3:7\n",
        ),
        ("FROM scratch\nENV A=b \"C\"=d\n", ""),
        (
            "FROM scratch\nARG API_TOKEN\nENV PUBLIC_KEY=x MONKEY=y\n",
            "SecretsUsedInArgOrEnv 2:5\n",
        ),
        (
            "FROM --platform=$TARGETPLATFORM scratch\n",
            "RedundantTargetPlatform 1:6\n",
        ),
        (
            "FROM --platform=linux/amd64 scratch\n",
            "FromPlatformFlagConstDisallowed 1:6\n",
        ),
        ("FROM --platform=linux/amd64 scratch AS build-amd64\n", ""),
        ("FROM --platform=$BUILDPLATFORM scratch\n", ""),
        (
            "FROM scratch\nEXPOSE 80/TCP 81/tcp\n",
            "ExposeProtoCasing 2:8\n",
        ),
        (
            "FROM scratch\nEXPOSE 127.0.0.1:80:81\n",
            "ExposeInvalidFormat 2:8\n",
        ),
        (
            "FROM scratch\nCOPY hidden kept /\n",
            "CopyIgnoredFile 2:1\n",
        ),
        (
            "# check=experimental=all\nFROM scratch\n# other text\nARG a\n# b is it\nARG b\n# no description\n\nARG c\n",
            "InvalidDefinitionDescription 4:1\n",
        ),
        (
            "# check=experimental=InvalidDefinitionDescription\n# a version\nARG version\n# BASE is it\nFROM scratch AS base\n",
            "InvalidDefinitionDescription 3:5\nInvalidDefinitionDescription 5:1\n",
        ),
        ("FROM scratch\n# other text\nARG a\n", ""),
        (
            "FROM scratch\n# check=skip=MaintainerDeprecated it is old\nMAINTAINER me\nMAINTAINER me\n",
            "MaintainerDeprecated 4:1\n",
        ),
        (
            "# syntax=docker/dockerfile:1\nFROM scratch\n# why\n# check=skip=all\nCMD run it\n",
            "",
        ),
        (
            "FROM scratch\nWORKDIR one\nWORKDIR two\n",
            "WorkdirRelativePath 2:9\n",
        ),
        (
            "FROM scratch AS a\nSHELL [\"/bin/x\"]\nFROM a\nCMD run it\n",
            "",
        ),
        ("FROM scratch\nARG KEY_FILE TOKEN_VERSION\n", ""),
        ("# check=skip=Newer\nFROM scratch\n", "- 1:1\n"),
        (
            "# check=skip=MaintainerDeprecated\nFROM scratch\nMAINTAINER me\nCMD x\n",
            "JSONArgsRecommended 4:1\n",
        ),
        ("# check=skip=all\nFROM scratch\nMAINTAINER me\nCMD x\n", ""),
    ];
    for (text, expected) in table {
        assert_eq!(findings(text).await, expected, "{text}");
    }
}

#[tokio::test]
async fn a_default_with_which_nothing_can_be_built_is_found() {
    let world = world::World::new();
    let mut request = world.request("ARG BASE\nFROM ${BASE}\n");
    request
        .args
        .insert("BASE".to_owned(), Some("busybox".to_owned()));
    let checked = check(&request, &world.host()).await.unwrap();
    let rules: Vec<_> = checked
        .findings
        .iter()
        .filter_map(|finding| finding.rule)
        .map(hoist_build::Rule::name)
        .collect();
    assert_eq!(rules, ["InvalidDefaultArgInFrom"]);
}

#[tokio::test]
async fn a_dockerfile_can_make_findings_errors() {
    let world = world_or_skip!();
    let text = "# check=error=true\nFROM scratch\nMAINTAINER me\n";
    let error = world.try_build(&world.request(text)).await.unwrap_err();
    assert!(matches!(error, BuildError::Dockerfile(..)));
    assert!(
        error
            .to_string()
            .starts_with("error[MaintainerDeprecated]: MAINTAINER is deprecated"),
        "{error}"
    );
    let wrong = world
        .try_build(&world.request("# check=skips=all\nFROM scratch\n"))
        .await
        .unwrap_err();
    assert!(
        wrong.to_string().contains("there is no setting \"skips\""),
        "{wrong}"
    );

    world.write("kept", "x");
    world
        .build("FROM scratch\nMAINTAINER me\nCOPY kept /\n")
        .await;
    assert!(
        world.log().contains("warning[MaintainerDeprecated]"),
        "{}",
        world.log()
    );
    assert!(
        world.log().contains("1 warning about the Dockerfile"),
        "{}",
        world.log()
    );
}
