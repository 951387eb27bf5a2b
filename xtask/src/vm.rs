//! Owns the emulated machine: a Debian kernel and root with systemd and cgroup v2, what most users have.
//!
//! The root is made once from Debian's packages and kept in the cache; each run gets a throw-away copy-on-write view
//! of it and a payload disk with the built binaries and a script. Software emulation, so it runs wherever qemu does.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::artifacts::{self, EndToEnd};
use crate::packages;
use crate::shell::{cache, command, output, root, run as run_to_end, say};

/// Raise when the recipe below changes: the name of the cached root carries it.
const RECIPE: u32 = 2;
const PACKAGES: &str = "linux-image-cloud-amd64,systemd-sysv,udev,kmod,nftables,libseccomp2,iproute2,busybox-static,\
                        curl,ca-certificates,procps,util-linux,strace";
/// A login prompt would hang up the console that the payload writes to. The kernel's check of its timer fails when a busy host
/// lets an emulated processor wait.
const KERNEL_ARGUMENTS: &str = "root=/dev/vda rw console=ttyS0 no_timer_check quiet loglevel=3 \
                                systemd.show_status=false systemd.mask=serial-getty@ttyS0.service";
const EXIT_MARK: &str = "hoist-vm-exit:";
/// After this many seconds the machine is taken for stuck and ended. Its tests need a few minutes.
const TESTS_LIMIT: &str = "1800";
/// What `timeout` exits with when it ended the program.
const TIMED_OUT: i32 = 124;
/// The emulated processor is many times slower than the real one; waits of the tests grow by this factor.
const PATIENCE: &str = "8";

/// Runs a command in the machine; its output is shown and its exit code returned.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let words = match args.split_first() {
        Some((dashes, words)) if dashes == "--" && !words.is_empty() => words,
        _ => bail!("usage: cargo xtask vm -- CMD [ARG…]"),
    };
    let script = format!(
        "exec {}\n",
        words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" ")
    );
    let hoist = artifacts::release()?;
    let shim = hoist.with_file_name("hoist-shim");
    let code = boot(
        &[(&hoist, "hoist"), (&shim, "hoist-shim")],
        &script,
        command("qemu-system-x86_64"),
    )?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// The tests of `cargo xtask test` on cgroup v2: these end-to-end scenarios, then the smoke test (a small stack, real limits,
/// restart, logs, down, nothing left, the same after a reset).
pub(crate) fn tests(built: &EndToEnd, shim: &Path, scenarios: &[&str]) -> Result<()> {
    let smoke = root().join("xtask/vm/smoke.sh");
    let files = [
        (built.hoist.as_path(), "hoist"),
        (shim, "hoist-shim"),
        (built.tests.as_path(), "e2e"),
        (smoke.as_path(), "smoke.sh"),
    ];
    let script = format!(
        "export HOIST_E2E_PROGRAM=/usr/local/bin/hoist HOIST_E2E_PATIENCE={PATIENCE}\n\
         [ -e /root/stack/rebooted ] || /payload/e2e --exact --show-output --test-threads 2 {} || exit\n\
         exec sh /payload/smoke.sh\n",
        scenarios.join(" ")
    );
    let mut emulator = command("timeout");
    emulator.args(["--foreground", TESTS_LIMIT, "qemu-system-x86_64"]);
    match boot(&files, &script, emulator)? {
        0 => Ok(()),
        code => bail!("the tests in the machine failed with exit code {code}"),
    }
}

/// With these files on the payload disk.
fn boot(files: &[(&Path, &str)], script: &str, emulator: Command) -> Result<i32> {
    packages::ensure(&[packages::VM])?;
    let machine = machine()?;
    sweep(&machine)?;
    let work = machine.join(format!("run-{}", std::process::id()));
    let result =
        payload(files, script, &work).and_then(|payload| emulate(emulator, &machine, &payload));
    fs::remove_dir_all(&work).with_context(|| format!("remove {}", work.display()))?;
    result
}

/// Removes the payloads of runs that were killed.
fn sweep(machine: &Path) -> Result<()> {
    for entry in fs::read_dir(machine)? {
        let path = entry?.path();
        let run = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_prefix("run-"));
        if run.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The cached kernel, initrd and root disk; made on first use.
fn machine() -> Result<PathBuf> {
    let dir = cache()?.join(format!("vm-{RECIPE}"));
    if dir.join("root.ext4").exists() {
        return Ok(dir);
    }
    say("making the machine's root from Debian's packages (once)");
    let fresh = cache()?.join(format!("vm-{RECIPE}.new-{}", std::process::id()));
    let tree = fresh.join("root");
    fs::create_dir_all(&fresh).with_context(|| format!("create {}", fresh.display()))?;
    run_to_end(
        command("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--format=directory"])
            .arg(format!("--include={PACKAGES}"))
            .arg("--customize-hook=echo hoist-vm >$1/etc/hostname; passwd --root $1 -d root")
            .arg(format!(
                "--customize-hook=copy-in {} /etc/systemd/system",
                root().join("xtask/vm/payload.service").display()
            ))
            .arg("--customize-hook=systemctl --root=$1 enable payload.service")
            .args(["--aptopt=Acquire::Languages \"none\"", "trixie"])
            .arg(&tree)
            .arg("http://deb.debian.org/debian"),
    )?;
    let boot = |prefix: &str| -> Result<PathBuf> {
        fs::read_dir(tree.join("boot"))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
            })
            .with_context(|| format!("the machine's root has no /boot/{prefix}*"))
    };
    fs::copy(boot("vmlinuz-")?, fresh.join("vmlinuz"))?;
    fs::copy(boot("initrd.img-")?, fresh.join("initrd"))?;
    disk(&fresh.join("root.ext4"), "3G", &tree)?;
    fs::remove_dir_all(&tree)?;
    fs::rename(&fresh, &dir)
        .with_context(|| format!("rename {} to {}", fresh.display(), dir.display()))?;
    Ok(dir)
}

fn payload(files: &[(&Path, &str)], script: &str, work: &Path) -> Result<PathBuf> {
    let tree = work.join("tree");
    fs::create_dir_all(&tree).with_context(|| format!("create {}", tree.display()))?;
    for (file, name) in files {
        fs::copy(file, tree.join(name)).with_context(|| format!("copy {}", file.display()))?;
    }
    fs::copy(
        root().join("packaging/hoist.service"),
        tree.join("hoist.service"),
    )?;
    // The console is a terminal of no size.
    fs::write(
        tree.join("run.sh"),
        format!("export COMPOSE_PROGRESS=plain COMPOSE_ANSI=never\n{script}"),
    )?;
    let image = work.join("payload.ext4");
    disk(&image, "1G", &tree)?;
    Ok(image)
}

fn disk(image: &Path, size: &str, tree: &Path) -> Result<()> {
    output(
        command("mke2fs")
            .args(["-q", "-t", "ext4", "-d"])
            .arg(tree)
            .arg(image)
            .arg(size),
    )
    .map(drop)
}

fn emulate(mut emulator: Command, machine: &Path, payload: &Path) -> Result<i32> {
    let drive = |path: &Path| format!("file={},format=raw,if=virtio,snapshot=on", path.display());
    let mut guest = emulator
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "2048",
        ])
        .args([
            "-nographic",
            "-nic",
            "none",
            "-monitor",
            "none",
            "-serial",
            "stdio",
        ])
        .arg("-kernel")
        .arg(machine.join("vmlinuz"))
        .arg("-initrd")
        .arg(machine.join("initrd"))
        .args(["-append", KERNEL_ARGUMENTS])
        .args([
            "-drive",
            &drive(&machine.join("root.ext4")),
            "-drive",
            &drive(payload),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("run qemu-system-x86_64")?;
    let mut code = None;
    for line in BufReader::new(guest.stdout.take().expect("stdout is piped")).split(b'\n') {
        let line = line.context("read the machine's console")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        match line.find(EXIT_MARK) {
            Some(at) => code = line[at + EXIT_MARK.len()..].trim().parse().ok(),
            None => say(line),
        }
    }
    let status = guest.wait().context("wait for qemu-system-x86_64")?;
    code.with_context(|| match status.code() {
        Some(TIMED_OUT) => {
            format!("the machine was ended after {TESTS_LIMIT} seconds, before its tests ended")
        }
        _ => "the machine went down without reporting an exit code".to_owned(),
    })
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
