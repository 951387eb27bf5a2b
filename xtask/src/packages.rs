//! Owns the Debian packages that building, the demo, the tests and the benchmarks need, and installing them.

use anyhow::{Result, bail};

use crate::shell::{self, command, say};

/// To build and to run: the seccomp compiler, the firewall, and the maker of base images.
pub(crate) const DEMO: &[&str] = &[
    "gcc",
    "libc6-dev",
    "libseccomp-dev",
    "nftables",
    "mmdebstrap",
    "ca-certificates",
];

/// What the tests bring as real parts: a registry with password files and TLS, a static userland, iproute2 to look
/// at the host from outside of hoist, a resolver to be beside, git for the tidy test, disks that can be filled, a clock that can be set.
pub(crate) const TEST: &[&str] = &[
    "docker-registry",
    "apache2-utils",
    "openssl",
    "busybox-static",
    "iproute2",
    "git",
    "util-linux",
    "curl",
    "python3",
    "dnsmasq-base",
    "zstd",
    "e2fsprogs",
    "faketime",
    "strace",
];

/// The emulated machine.
pub(crate) const VM: &[&str] = &["qemu-system-x86", "e2fsprogs", "mmdebstrap"];

/// Installs missing packages, or names them when it may not install.
pub(crate) fn ensure(groups: &[&[&str]]) -> Result<()> {
    let mut wanted: Vec<&str> = groups
        .iter()
        .flat_map(|group| group.iter().copied())
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let missing: Vec<&str> = wanted.into_iter().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if shell::output(command("id").arg("-u"))?.trim() != "0" {
        bail!(
            "these Debian packages are missing: {list}\n  install them as root: apt-get install {list}"
        );
    }
    say(&format!("installing {list}"));
    let apt = |args: &[&str]| {
        shell::run(
            command("apt-get")
                .env("DEBIAN_FRONTEND", "noninteractive")
                .args(args),
        )
    };
    apt(&["update", "-qq"])?;
    let mut install = vec![
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "-o",
        "Dpkg::Use-Pty=0",
    ];
    install.extend(&missing);
    apt(&install)
}

fn installed(package: &str) -> bool {
    shell::output(command("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status.trim() == "installed")
}
