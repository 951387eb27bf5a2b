//! The root's overlay on kernels with other defaults. A file of its own: no other test may meet what it sets.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may panic and says why it is skipped"
)]

use std::fs;
use std::path::PathBuf;

mod support;

/// A default of the kernel's overlayfs, put back at the end.
struct KernelDefault {
    file: PathBuf,
    before: String,
}

impl KernelDefault {
    fn on(name: &str) -> Option<Self> {
        let file = PathBuf::from("/sys/module/overlay/parameters").join(name);
        let before = fs::read_to_string(&file).ok()?;
        fs::write(&file, "Y").ok()?;
        Some(Self { file, before })
    }
}

impl Drop for KernelDefault {
    fn drop(&mut self) {
        fs::write(&self.file, self.before.trim()).unwrap();
    }
}

#[test]
fn what_a_container_moves_is_whole_in_its_upper_folder() {
    let world = world!();
    let defaults = ["redirect_dir", "metacopy"].map(KernelDefault::on);
    if defaults.iter().any(Option::is_none) {
        eprintln!("skipped: the defaults of overlayfs cannot be set here");
        return;
    }
    fs::create_dir_all(world.path("root/etc/folder")).unwrap();
    fs::write(world.path("root/etc/folder/file"), "whole\n").unwrap();
    fs::write(world.path("root/etc/plain"), "plain\n").unwrap();
    let launch = world.launch("mv /etc/folder /etc/moved && chmod 600 /etc/plain");
    let (code, out) = world.run(&launch);
    assert_eq!(code, 0, "{out}");
    let upper = world.upper(&launch);
    assert_eq!(
        fs::read_to_string(upper.join("etc/moved/file")).unwrap(),
        "whole\n"
    );
    assert_eq!(
        fs::read_to_string(upper.join("etc/plain")).unwrap(),
        "plain\n"
    );
}
