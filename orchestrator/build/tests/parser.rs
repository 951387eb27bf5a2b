//! The Dockerfile language: what is read, and what is said about mistakes.

use expect_test::{Expect, expect};
use hoist_build::SourceFile;
use hoist_build::dockerfile::{CopySource, Kind, parse};

fn good(text: &str, expected: Expect) {
    let source = SourceFile::new("Dockerfile", text);
    let file = match parse(&source) {
        Ok(file) => file,
        Err(problems) => {
            panic!(
                "{}",
                problems
                    .iter()
                    .map(|problem| problem.render(&source, false))
                    .collect::<Vec<_>>()
                    .join("\n")
            )
        }
    };
    let mut shown = String::new();
    for arg in &file.args {
        shown += &format!("ARG {}\n", arg.name.value);
    }
    for stage in &file.stages {
        let name = stage
            .name
            .as_ref()
            .map_or(String::new(), |name| format!(" AS {}", name.value));
        shown += &format!("FROM {}{name}\n", stage.base.value);
        for instruction in &stage.instructions {
            shown += &format!("  {}\n", show(&instruction.kind));
        }
    }
    for warning in &file.warnings {
        shown += &format!("{}\n", warning.render(&source, false));
    }
    expected.assert_eq(&shown);
}

fn show(kind: &Kind) -> String {
    match kind {
        Kind::Copy(copy) | Kind::Add(copy) => {
            let sources: Vec<_> = copy
                .sources
                .iter()
                .map(|source| match source {
                    CopySource::Path(path) => path.value.clone(),
                    CopySource::Heredoc(heredoc) => {
                        format!("<<{}:{:?}", heredoc.name, heredoc.content)
                    }
                })
                .collect();
            let from = copy
                .from
                .as_ref()
                .map_or(String::new(), |from| format!(" from {}", from.value));
            let chown = copy
                .chown
                .as_ref()
                .map_or(String::new(), |chown| format!(" owned by {}", chown.value));
            format!(
                "copy {sources:?} to {:?}{from}{chown}",
                copy.destination.value
            )
        }
        Kind::Env(pairs) | Kind::Label(pairs) => pairs
            .iter()
            .map(|pair| format!("{}=>{}", pair.name.value, pair.value.value))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::Run(run) => {
            let bodies: Vec<_> = run
                .heredocs
                .iter()
                .map(|heredoc| heredoc.content.as_str())
                .collect();
            format!(
                "run {:?} {:?} {:?}",
                run.command,
                bodies,
                run.mounts
                    .iter()
                    .map(|m| m
                        .kind(&|value| Ok(value.to_owned()))
                        .expect("a mount that parses"))
                    .collect::<Vec<_>>()
            )
        }
        Kind::Arg(pairs) => {
            let one = |pair: &hoist_build::dockerfile::ArgPair| {
                format!(
                    "{}={:?}",
                    pair.name.value,
                    pair.default.as_ref().map(|default| &default.value)
                )
            };
            format!(
                "arg {}",
                pairs.iter().map(one).collect::<Vec<_>>().join(" ")
            )
        }
        Kind::Expose(words) | Kind::Volume(words) => {
            format!(
                "words {:?}",
                words.iter().map(|word| &word.value).collect::<Vec<_>>()
            )
        }
        Kind::User(word) | Kind::Workdir(word) | Kind::StopSignal(word) => {
            format!("word {:?}", word.value)
        }
        other => format!("{other:?}"),
    }
}

fn bad(text: &str, expected: Expect) {
    let source = SourceFile::new("Dockerfile", text);
    let problems = parse(&source).expect_err("the text has mistakes");
    let shown: Vec<_> = problems
        .iter()
        .map(|problem| problem.render(&source, false))
        .collect();
    expected.assert_eq(&(shown.join("\n\n") + "\n"));
}

#[test]
fn the_target_of_the_first_issue_is_read() {
    good(
        "FROM mybase:1.0\nMAINTAINER someone@example.com\nADD build/distributions/app-3.3.1.tar /\n\
         ADD config.template.json /app-3.3.1/bin/config.json\nADD docker/script/start.sh /usr/local/bin/\n\
         RUN ln -s /usr/local/bin/start.sh /start.sh\nEXPOSE 8080\nEXPOSE 7000\nCMD [\"start.sh\"]\n",
        expect![[r#"
            FROM mybase:1.0
              Maintainer("someone@example.com")
              copy ["build/distributions/app-3.3.1.tar"] to "/"
              copy ["config.template.json"] to "/app-3.3.1/bin/config.json"
              copy ["docker/script/start.sh"] to "/usr/local/bin/"
              run Shell("ln -s /usr/local/bin/start.sh /start.sh") [] []
              words ["8080"]
              words ["7000"]
              Cmd(Exec(["start.sh"]))
        "#]],
    );
}

#[test]
fn comments_and_continuations_join_to_one_line() {
    good(
        "# a comment\nARG V=1\nFROM base:$V\nRUN a && \\\n    # inside\n    b \\\n  && c\n  # indented\nRUN d \\\\\nenv A=b",
        expect![[r#"
            ARG V
            FROM base:$V
              run Shell("a &&     b   && c") [] []
              run Shell("d \\\\") [] []
              A=>b
        "#]],
    );
}

#[test]
fn the_escape_directive_changes_the_continuation() {
    good(
        "# escape=`\nFROM base\nRUN dir c:\\ `\n  && more\nENV A=x` y",
        expect![[r#"
        FROM base
          run Shell("dir c:\\   && more") [] []
          A=>x` y
    "#]],
    );
}

#[test]
fn heredocs_keep_their_bodies() {
    good(
        "FROM base\nRUN <<EOF\napt-get update\n# not a comment\nEOF\nRUN python3 <<-'PY' && echo done\n\tprint(1)\n\tPY\n\
         COPY <<one <<\"two\" /dest/\n$x\none\n$y\ntwo\n",
        expect![[r#"
            FROM base
              run Shell("<<EOF") ["apt-get update\n# not a comment\n"] []
              run Shell("python3 <<-'PY' && echo done") ["print(1)\n"] []
              copy ["<<one:\"$x\\n\"", "<<two:\"$y\\n\""] to "/dest/"
        "#]],
    );
}

#[test]
fn flags_mounts_and_stages() {
    good(
        "FROM --platform=$BUILDPLATFORM golang:1 AS Build\n\
         RUN --mount=type=cache,target=/root/.cache,sharing=locked --mount=type=bind,source=.,target=/src,rw \
         --mount=type=secret,id=npm,required --mount=type=tmpfs,target=/t,size=64m --network=none make\n\
         FROM scratch\nCOPY --from=build --chown=1000:1000 --chmod=755 /a /b /c/\nCOPY [\"with space\", \"/x\"]\n",
        expect![[r#"
            FROM golang:1 AS build
              run Shell("make") [] [Cache { target: "/root/.cache", id: "/root/.cache", source: "/", sharing: Locked, read_only: false, owner: FileOwner { uid: 0, gid: 0, mode: 493 } }, Bind { target: "/src", source: ".", writable: true }, Secret(SecretMount { id: "npm", target: Some("/run/secrets/npm"), env: None, required: true, owner: FileOwner { uid: 0, gid: 0, mode: 256 } }), Tmpfs { target: "/t", size: Some(67108864), read_only: false }]
            FROM scratch
              copy ["/a", "/b"] to "/c/" from build owned by 1000:1000
              copy ["with space"] to "/x"
        "#]],
    );
}

#[test]
fn pairs_keep_quotes_for_the_expansion() {
    good(
        "FROM base\nENV A=1 B=\"two words\" C=three\\ words\nENV old form here\nLABEL \"a.b\"='c d' e=\nARG X Y=2\n\
         EXPOSE 80 443/tcp $P\nVOLUME [\"/data\", \"/logs\"]\nVOLUME /a /b\nUSER app:app\nWORKDIR /a b\nSTOPSIGNAL SIGINT",
        expect![[r#"
            FROM base
              A=>1, B=>"two words", C=>three\ words
              old=>form here
              "a.b"=>'c d', e=>
              arg X=None Y=Some("2")
              words ["80", "443/tcp", "$P"]
              words ["/data", "/logs"]
              words ["/a", "/b"]
              word "app:app"
              word "/a b"
              word "SIGINT"
        "#]],
    );
}

#[test]
fn healthcheck_shell_and_onbuild() {
    good(
        "FROM base\nHEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 --start-period=2s CMD curl -f localhost\n\
         HEALTHCHECK NONE\nHEALTHCHECK CMD [\"true\"]\nSHELL [\"/bin/bash\", \"-c\"]\nONBUILD COPY . /src\n\
         ONBUILD RUN <<EOF\nmake\nEOF\nENTRYPOINT exec top -b\nCMD [\"a\", \"b\"]\nCMD [not json]",
        expect![[r#"
            FROM base
              Healthcheck(Check { command: Shell("curl -f localhost"), interval: 90000000000, timeout: 500000000, start_period: 2000000000, start_interval: 0, retries: 3 })
              Healthcheck(None)
              Healthcheck(Check { command: Exec(["true"]), interval: 0, timeout: 0, start_period: 0, start_interval: 0, retries: 0 })
              Shell(["/bin/bash", "-c"])
              OnBuild("COPY . /src")
              OnBuild("RUN <<EOF\nmake\nEOF")
              Entrypoint(Shell("exec top -b"))
              Cmd(Exec(["a", "b"]))
              Cmd(Shell("[not json]"))
        "#]],
    );
}

#[test]
fn warnings_do_not_stop_anything() {
    good(
        "# syntax=docker/dockerfile:1-labs\nFROM a AS x\nRUN a \\\n\n  b\nFROM a AS x\n",
        expect![[r#"
            FROM a AS x
              run Shell("a   b") [] []
            FROM a AS x
            warning[NoEmptyContinuation]: empty line inside a continued instruction
             --> Dockerfile:4:1
              |
            4 |
              | ^
              |
              = help: put a # on the line, or remove it: the instruction goes on after it
        "#]],
    );
}

#[test]
fn all_mistakes_are_reported_at_once() {
    bad(
        "RUNN echo\nFROM base AS 1bad\nFROM base\nCOPPY a b\nCOPY a\nCOPY a b c\nENV\nENV A\nENV A=1 B\nEXPOSE\n\
         RUN --mont=x y\nHEALTHCHECK FOO x\nHEALTHCHECK --interval=5 CMD x\nSHELL bash\nCMD [\"a\", 1]\n\
         ADD https://example.com/x /x\nONBUILD FROM x\nCOPY --from=$x a b\nCOPY --chmod=rwx a b\n\
         RUN --mount=type=secret x\nRUN --mount=type=cach,target=/x x\nRUN <<EOF\nnever closed\n",
        expect![[r#"
            error: unknown instruction: RUNN
             --> Dockerfile:1:1
              |
            1 | RUNN echo
              | ^^^^ not an instruction
              |
              = help: did you mean RUN?

            error: invalid name for a build stage: 1bad
             --> Dockerfile:2:14
              |
            2 | FROM base AS 1bad
              |              ^^^^
              |
              = help: it starts with a letter, and has letters, digits, '-', '_' and '.'

            error: unknown instruction: COPPY
             --> Dockerfile:4:1
              |
            4 | COPPY a b
              | ^^^^^ not an instruction
              |
              = help: did you mean COPY?

            error: COPY needs a source and a destination
             --> Dockerfile:5:1
              |
            5 | COPY a
              | ^^^^^^
              |
              = help: COPY [--chown=user:group] source… destination

            error: with several sources, the destination of COPY must be a folder
             --> Dockerfile:6:10
              |
            6 | COPY a b c
              |          ^
              |
              = help: end it with a /

            error: ENV needs an argument
             --> Dockerfile:7:1
              |
            7 | ENV
              | ^^^

            error: ENV needs a name and a value
             --> Dockerfile:8:1
              |
            8 | ENV A
              | ^^^^^
              |
              = help: ENV A=value

            error: ENV: B has no value
             --> Dockerfile:9:9
              |
            9 | ENV A=1 B
              |         ^
              |
              = help: ENV name=value; quote values with spaces

            error: EXPOSE needs an argument
              --> Dockerfile:10:1
               |
            10 | EXPOSE
               | ^^^^^^

            error: RUN has no flag --mont
              --> Dockerfile:11:5
               |
            11 | RUN --mont=x y
               |     ^^^^^^^^
               |
               = help: did you mean --mount?

            error: unknown type FOO in HEALTHCHECK
              --> Dockerfile:12:13
               |
            12 | HEALTHCHECK FOO x
               |             ^^^
               |
               = help: HEALTHCHECK [--interval=30s …] CMD command, or HEALTHCHECK NONE

            error: invalid duration "5"
              --> Dockerfile:13:13
               |
            13 | HEALTHCHECK --interval=5 CMD x
               |             ^^^^^^^^^^^^
               |
               = help: a number with a unit: 30s, 1m30s, 500ms

            error: SHELL takes a JSON array
              --> Dockerfile:14:1
               |
            14 | SHELL bash
               | ^^^^^^^^^^
               |
               = help: SHELL ["/bin/bash", "-o", "pipefail", "-c"]

            error: the exec form takes only strings
              --> Dockerfile:15:5
               |
            15 | CMD ["a", 1]
               |     ^^^^^^^^
               |
               = help: quote every element: ["program", "1"]

            error: FROM is not allowed as an ONBUILD trigger
              --> Dockerfile:17:9
               |
            17 | ONBUILD FROM x
               |         ^^^^^^

            error: variables are not expanded in --from
              --> Dockerfile:18:6
               |
            18 | COPY --from=$x a b
               |      ^^^^^^^^^
               |
               = help: name a stage for it: FROM ${IMAGE} AS name, then --from=name

            error: invalid mode rwx
              --> Dockerfile:19:6
               |
            19 | COPY --chmod=rwx a b
               |      ^^^^^^^^^^^
               |
               = help: --chmod takes octal numbers or changes: --chmod=755, --chmod=u=rwX,go=rX

            error: a mount of type secret needs an id
              --> Dockerfile:20:5
               |
            20 | RUN --mount=type=secret x
               |     ^^^^^^^^^^^^^^^^^^^

            error: unknown type "cach" of a mount
              --> Dockerfile:21:5
               |
            21 | RUN --mount=type=cach,target=/x x
               |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^
               |
               = help: did you mean cache?

            error: heredoc EOF is not terminated
              --> Dockerfile:22:5
               |
            22 | RUN <<EOF
               |     ^^^^^
               |
               = help: end it with a line EOF
        "#]],
    );
}

#[test]
fn a_file_without_from_says_so() {
    bad(
        "",
        expect![[r#"
        error: the Dockerfile has no FROM
         --> Dockerfile:1:1
          |
        1 |
          | ^
    "#]],
    );
    bad(
        "# only a comment\nARG A=1\n",
        expect![[r#"
        error: the Dockerfile has no FROM
         --> Dockerfile:1:1
          |
        1 | # only a comment
          | ^
    "#]],
    );
    bad(
        "COPY a b\nFROM base\n",
        expect![[r#"
        error: no build stage in the current context: the first instruction must be FROM
         --> Dockerfile:1:1
          |
        1 | COPY a b
          | ^^^^^^^^
          |
          = help: only ARG and comments may stand before FROM
    "#]],
    );
}

#[test]
fn a_place_behind_a_continuation_is_the_place_in_the_file() {
    bad(
        "FROM base\nENV A=1 \\\n    B=2 \\\n    nothing\n",
        expect![[r#"
        error: ENV: nothing has no value
         --> Dockerfile:4:5
          |
        4 |     nothing
          |     ^^^^^^^
          |
          = help: ENV name=value; quote values with spaces
    "#]],
    );
}
