//! Whether the kernel can run another machine's programs: binfmt_misc with an emulator that containers see too.

use std::path::Path;

use crate::actions::StepError;

const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";

/// Refuses a step whose programs nothing here can run.
pub(super) fn check(platform: &str) -> Result<(), StepError> {
    let architecture = platform.split('/').nth(1).unwrap_or_default();
    match judge(Path::new(REGISTERED), architecture) {
        Ok(()) => Ok(()),
        Err(reason) => Err(StepError::new(format!("programs for {platform} cannot be run here: {reason}"))),
    }
}

/// qemu's name for a machine.
fn machine(architecture: &str) -> &str {
    match architecture {
        "amd64" => "x86_64",
        "386" => "i386",
        "arm64" => "aarch64",
        "mips64le" => "mips64el",
        "loong64" => "loongarch64",
        other => other,
    }
}

fn judge(registered: &Path, architecture: &str) -> Result<(), String> {
    let machine = machine(architecture);
    let name = format!("qemu-{machine}");
    let install = "install qemu-user-static with binfmt-support (Debian: apt install qemu-user-static)";
    let Ok(entry) = std::fs::read_to_string(registered.join(&name)) else {
        return Err(format!("the emulator {name} is not registered; {install}"));
    };
    if !entry.lines().any(|line| line == "enabled") {
        return Err(format!("the emulator {name} is disabled; enable it in {}", registered.join(&name).display()));
    }
    // Without F the kernel looks for the emulator inside of the image.
    let flags = entry.lines().find_map(|line| line.strip_prefix("flags:")).unwrap_or_default();
    if !flags.contains('F') {
        return Err(format!(
            "the emulator {name} is registered without the flag F, so containers do not see it; {install}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_enabled_emulator_that_containers_see_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("qemu-aarch64"), text).unwrap();
        assert!(judge(folder.path(), "arm64").unwrap_err().contains("qemu-aarch64 is not registered"));
        write("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: OC\n");
        assert!(judge(folder.path(), "arm64").unwrap_err().contains("without the flag F"));
        write("disabled\nflags: F\n");
        assert!(judge(folder.path(), "arm64").unwrap_err().contains("is disabled"));
        write("enabled\ninterpreter /usr/bin/qemu-aarch64\nflags: POCF\n");
        assert_eq!(judge(folder.path(), "arm64"), Ok(()));
    }
}
