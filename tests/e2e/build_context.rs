//! `image build` from what it is given: standard input, a Dockerfile from elsewhere.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::world::{Run, World};

fn given(world: &World, args: &[&str], input: &[u8]) -> Run {
    let mut command = world.command(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run hoist");
    // It may end before it reads.
    let _ = child.stdin.take().expect("its input").write_all(input);
    let output = child.wait_with_output().expect("its end");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Run {
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        code: output.status.code().unwrap_or(-1),
    }
}

#[test]
fn contexts_and_dockerfiles_come_from_standard_input() {
    let Some(world) = World::new("contexts from standard input") else {
        return;
    };
    world.busybox();
    world.file("context/file", "from the archive");
    world.file(
        "context/docker/Dockerfile",
        "FROM busybox\nCOPY file /file\nRUN grep archive /file\n",
    );
    let tar = Command::new("tar")
        .args(["-cz", "-C"])
        .arg(world.project.join("context"))
        .arg(".")
        .output();
    let tar = tar.expect("run tar").stdout;

    let run = given(
        &world,
        &[
            "image",
            "build",
            "-t",
            "one",
            "-f",
            "docker/Dockerfile",
            "-",
        ],
        &tar,
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = given(
        &world,
        &["image", "build", "-t", "two", "-f", "-", "context"],
        b"FROM busybox\nCOPY file /other\n",
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = given(
        &world,
        &["image", "build", "-t", "three", "-"],
        b"FROM busybox\nRUN echo alone\n",
    );
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = given(
        &world,
        &["image", "build", "-t", "four", "-f", "-", "-"],
        b"",
    );
    assert!(
        run.code != 0
            && run
                .stderr
                .contains("cannot both be read from standard input"),
        "{}",
        run.stderr
    );
    let run = given(
        &world,
        &["image", "build", "-t", "five", "-"],
        &tar[..tar.len() / 2],
    );
    assert_ne!(run.code, 0, "half an archive");
    world.finish();
}
