//! Terminals and streams between a caller and a container.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::world::World;

const STACK: &str = r#"
name: streams
services:
  x: { image: busybox, command: [sleep, "10000"], stop_grace_period: 0s }
  shell: { image: busybox, command: [sh], tty: true, stdin_open: true, stop_grace_period: 0s }
"#;

/// Says that it waits; a first process without a handler would be deaf to the key.
const WAITS: &str = "trap \"exit 33\" INT; echo ready; while :; do sleep 0.1; done";

/// A hoist command on a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: BufReader<std::process::ChildStdout>,
    device: String,
}

impl Terminal {
    pub(crate) fn open(world: &World, line: &str) -> Self {
        Self::run(world, &format!("exec HOIST {line}"))
    }

    /// A shell's line, in which HOIST is the program.
    pub(crate) fn run(world: &World, line: &str) -> Self {
        let hoist = world.command(&[]);
        let mut command = Command::new("script");
        let line = line.replace("HOIST", &hoist.get_program().display().to_string());
        let line = format!("tty; stty rows 31 cols 97; {line}");
        command
            .args(["-qefc", &line, "/dev/null"])
            .current_dir(&world.project);
        for (name, value) in hoist.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        command.env("SHELL", "/bin/sh").env("TERM", "xterm");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("run script");
        let keys = child.stdin.take().expect("piped");
        let mut screen = BufReader::new(child.stdout.take().expect("piped"));
        let mut device = String::new();
        screen
            .read_line(&mut device)
            .expect("the screen is readable");
        Self {
            child,
            keys,
            screen,
            device: device.trim().to_owned(),
        }
    }

    pub(crate) fn press(&mut self, keys: &[u8]) {
        self.keys
            .write_all(keys)
            .and_then(|()| self.keys.flush())
            .expect("the terminal takes keys");
    }

    /// The window gets another size.
    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let size = Command::new("stty")
            .args(["-F", &self.device, "rows", &rows, "cols", &columns])
            .status();
        assert!(size.expect("run stty").success());
    }

    /// Reads the screen up to the words. Redrawn lines and prompts have no end that could be waited for.
    pub(crate) fn until(&mut self, words: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(words.as_bytes()) {
            let mut byte = [0];
            let length = self.screen.read(&mut byte).expect("the screen is readable");
            assert!(
                length > 0,
                "{words:?} did not come up on the screen:\n{}",
                String::from_utf8_lossy(&seen)
            );
            seen.extend_from_slice(&byte);
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The window is closed while the command still runs.
    pub(crate) fn close(mut self) {
        self.child.kill().expect("the terminal runs");
        self.child.wait().expect("wait for the terminal");
    }

    /// Its exit code, when it has ended.
    pub(crate) fn end(self) -> i32 {
        self.end_with_rest().1
    }

    /// What it showed until it had ended, and its exit code.
    pub(crate) fn end_with_rest(mut self) -> (String, i32) {
        let mut rest = Vec::new();
        let _ = self.screen.read_to_end(&mut rest);
        drop(self.keys);
        let code = self
            .child
            .wait()
            .expect("wait for the terminal")
            .code()
            .expect("an exit code");
        (String::from_utf8_lossy(&rest).into_owned(), code)
    }
}

#[test]
fn run_has_a_terminal_of_the_callers_size_and_the_commands_exit_code() {
    let Some(world) = World::new("run has a terminal") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    for verb in ["run --rm x", "exec x"] {
        world.ok(&["up", "-d", "x"]);
        let asks = "read line; echo got:$line; stty size; exit 6";
        let mut terminal = Terminal::open(&world, &format!("{verb} sh -c '{asks}'"));
        terminal.press(b"hello\r");
        terminal.until("got:hello");
        terminal.until("31 97");
        assert_eq!(terminal.end(), 6, "{verb}");
        let mut terminal = Terminal::open(&world, &format!("{verb} sh -c '{WAITS}'"));
        terminal.until("ready");
        terminal.press(b"\x03");
        assert_eq!(
            terminal.end(),
            33,
            "{verb}: the key reaches the foreground process"
        );
    }
    world.finish();
}

#[test]
fn attach_is_left_by_its_keys_and_the_container_goes_on() {
    let Some(world) = World::new("attach is left by its keys") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    let mut terminal = Terminal::open(&world, "attach shell");
    terminal.press(b"echo is $((6*7))\r");
    terminal.until("is 42");
    terminal.press(b"\x10\x11");
    assert_eq!(terminal.end(), 0);
    assert_eq!(world.field("shell", "State"), "running");
    let mut terminal = Terminal::open(&world, "attach shell");
    terminal.press(b"exit 9\r");
    assert_eq!(terminal.end(), 9, "the container's code");
    world.finish();
}

#[test]
fn the_end_of_input_reaches_the_program() {
    let Some(world) = World::new("the end of input reaches the program") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    world.ok(&["up", "-d"]);
    let sent: Vec<u8> = (0_u32..300_000).flat_map(u32::to_le_bytes).collect();
    for args in [
        &["exec", "-T", "x", "cat"][..],
        &["run", "--rm", "-T", "x", "cat"],
    ] {
        let mut command = world.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run hoist");
        let mut input = child.stdin.take().expect("piped");
        let bytes = sent.clone();
        let writer = std::thread::spawn(move || input.write_all(&bytes));
        let output = child.wait_with_output().expect("wait for hoist");
        writer
            .join()
            .expect("the writer ends")
            .expect("all input is taken");
        assert!(output.status.success(), "{args:?}");
        assert!(
            output.stdout == sent,
            "{args:?}: {} of {} bytes came back",
            output.stdout.len(),
            sent.len()
        );
    }
    world.finish();
}
