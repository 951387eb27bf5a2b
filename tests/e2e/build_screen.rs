//! What a build draws on a terminal.

use crate::distribution::{Image, Registry, have};
use crate::terminal::Terminal;
use crate::world::{World, eventually, kill};

/// Says what a terminal would obey, and more than a line holds; then waits to be let go on.
const NOISY: &str = r#"
name: drawn
services:
  web:
    image: drawn-web
    build:
      context: .
      dockerfile_inline: |
        FROM BASE
        RUN printf '\033]0;owned\007\033[2J\033[31mred\n%090d\n日本語日本語日本語日本語日本語日本語日本語日本語日本語日本語\nlast line\n' 7; sleep 86398 || true; exit CODE
"#;

/// The lines of all frames, without what moves the cursor and colours.
fn lines(screen: &str) -> Vec<String> {
    let mut text = String::new();
    let mut rest = screen;
    while let Some(start) = rest.find("\u{1b}[") {
        text.push_str(&rest[..start]);
        let sequence = &rest[start + 2..];
        let end = sequence
            .find(|char: char| char.is_ascii_alphabetic())
            .expect("a whole sequence");
        assert!(
            matches!(sequence.as_bytes()[end], b'A' | b'J' | b'K' | b'm'),
            "{sequence:?}"
        );
        assert_ne!(&sequence[..=end], "2J", "the step's own sequence");
        rest = &sequence[end + 1..];
    }
    text.push_str(rest);
    text.split('\n')
        .map(|line| line.trim_matches('\r').to_owned())
        .collect()
}

fn columns(line: &str) -> usize {
    line.chars()
        .map(|char| if char >= '\u{2e80}' { 2 } else { 1 })
        .sum()
}

fn let_go(world: &World) {
    let pid = world.sleeper("86398").expect("the step sleeps");
    kill("-KILL", &pid);
}

#[test]
fn a_build_is_drawn_within_the_terminal_and_obeys_only_hoist() {
    let claim = "a build is drawn within the terminal";
    if !have(claim, &["docker-registry", "curl", "gzip"]) {
        return;
    }
    let Some(world) = World::new(claim) else {
        return;
    };
    let registry = Registry::plain(&world.project.join("registry"));
    registry.push("base", "1", &Image::busybox());
    let passes = NOISY
        .replace("BASE", &registry.name("base:1"))
        .replace("CODE", "0");
    world.file("compose.yaml", &passes);
    let mut terminal = Terminal::open(&world, "build");
    let mut wide = terminal.until("last line");
    wide.push_str(&terminal.until("\u{1b}[J"));
    for line in lines(&wide) {
        assert!(columns(&line) < 97, "{line:?} is wider than 97 columns");
    }
    assert!(
        wide.contains("\u{1b}[2m") && !wide.contains("\u{1b}]") && !wide.contains('\u{7}'),
        "{wide:?}"
    );
    eventually("the step sleeps", || world.sleeper("86398").is_some());
    terminal.resize(12, 40);
    // The first frame that is drawn for sure after the window became narrower.
    terminal.until("語…");
    terminal.until("\u{1b}[J");
    let narrow = terminal.until("\u{1b}[J");
    let frame = lines(&narrow);
    assert!(
        frame.len() <= 14 && frame.iter().all(|line| columns(line) < 40),
        "{frame:#?}"
    );
    terminal.resize(31, 97);
    let_go(&world);
    let (rest, code) = terminal.end_with_rest();
    let settled = lines(&rest);
    assert_eq!(code, 0, "{rest}");
    let from = settled
        .iter()
        .rev()
        .find(|line| line.contains("FROM"))
        .expect("the base image's line");
    assert!(
        from.contains('✔') && from.contains("MB") && from.trim_end().ends_with('s'),
        "{from:?}: bytes and time"
    );
    let run = settled
        .iter()
        .rev()
        .find(|line| line.contains("RUN printf"))
        .expect("the step's line");
    assert!(
        run.contains('✔') && run.ends_with('s'),
        "{run:?}: how long it took"
    );

    let (screen, code) = Terminal::run(&world, "NO_COLOR=1 exec HOIST build").end_with_rest();
    assert!(code == 0 && screen.contains("CACHED"), "{screen:?}");
    assert!(
        !screen.contains("\u{1b}[0m") && !screen.contains("\u{1b}[3"),
        "without colours: {screen:?}"
    );

    world.file("compose.yaml", &passes.replace("exit 0", "exit 4"));
    let mut terminal = Terminal::open(&world, "build");
    terminal.until("last line");
    eventually("the step sleeps", || world.sleeper("86398").is_some());
    let_go(&world);
    terminal.until("✘");
    let (end, code) = terminal.end_with_rest();
    assert_eq!(code, 1);
    let report = &end[end
        .find("RUN failed with exit code 4")
        .expect("the diagnostic")..];
    assert!(
        report.contains(":2:1") && report.contains("last output:\r\n  red\r\n"),
        "in rustc's form: {report:?}"
    );
    assert!(
        !report.contains("\u{1b}]") && !report.contains("\u{1b}[31mred"),
        "{report:?}"
    );
    assert!(
        !report.contains("[J"),
        "the screen is settled before it: {report:?}"
    );
    world.finish();
}
