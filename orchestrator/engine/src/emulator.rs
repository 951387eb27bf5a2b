//! Whether the kernel can run another machine's programs: binfmt_misc with an emulator that containers see too.
//!
//! Who registers an emulator gives it any name, so it is found by what counts for the kernel: the head of an ELF file.

use std::path::Path;

use hoist_image::Platform;

const REGISTERED: &str = "/proc/sys/fs/binfmt_misc";
const INSTALL: &str = "install qemu-user-static with binfmt-support (Debian: apt install qemu-user-static binfmt-support)";

/// Why programs for a platform cannot be run here, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoEmulator {
    #[error("programs for {0} cannot be run here: no emulator runs that operating system")]
    System(Platform),
    #[error(
        "programs for {platform} cannot be run here: no emulator for them is registered in {REGISTERED}; {hint}"
    )]
    Missing { platform: Platform, hint: String },
    #[error(
        "programs for {platform} cannot be run here: the emulator {name} is disabled; enable it: {enable}"
    )]
    Disabled {
        platform: Platform,
        name: String,
        enable: String,
    },
    #[error(
        "programs for {platform} cannot be run here: the emulator {name} is registered without the flag F, so containers \
         do not see it; {INSTALL}"
    )]
    Unseen { platform: Platform, name: String },
}

/// Refuses what nothing here can run.
pub(crate) fn check(platform: &Platform) -> Result<(), NoEmulator> {
    if platform.is_native() {
        Ok(())
    } else {
        judge(Path::new(REGISTERED), platform)
    }
}

/// How an executable begins: e_ident and e_type with e_machine.
fn head(architecture: &str) -> Option<[u8; 20]> {
    let (bits, little, machine): (u8, bool, u16) = match architecture {
        "386" => (32, true, 3),
        "amd64" => (64, true, 62),
        "arm" => (32, true, 40),
        "arm64" => (64, true, 183),
        "loong64" => (64, true, 258),
        "mips" => (32, false, 8),
        "mipsle" => (32, true, 8),
        "mips64" => (64, false, 8),
        "mips64le" => (64, true, 8),
        "ppc64" => (64, false, 21),
        "ppc64le" => (64, true, 21),
        "riscv64" => (64, true, 243),
        "s390x" => (64, false, 22),
        _ => return None,
    };
    let half = |number: u16| {
        if little {
            number.to_le_bytes()
        } else {
            number.to_be_bytes()
        }
    };
    let mut head = [0; 20];
    head[..7].copy_from_slice(&[
        0x7f,
        b'E',
        b'L',
        b'F',
        if bits == 64 { 2 } else { 1 },
        if little { 1 } else { 2 },
        1,
    ]);
    head[16..18].copy_from_slice(&half(2));
    head[18..].copy_from_slice(&half(machine));
    Some(head)
}

fn judge(registered: &Path, platform: &Platform) -> Result<(), NoEmulator> {
    let platform_of = || platform.clone();
    if platform.os != Platform::host().os {
        return Err(NoEmulator::System(platform_of()));
    }
    let entries = std::fs::read_dir(registered)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let mut found: Vec<Entry> = entries
        .filter_map(|entry| {
            let text = std::fs::read_to_string(entry.path()).ok()?;
            Entry::parse(&entry.file_name().to_string_lossy(), &text)
        })
        .filter(|entry| head(&platform.architecture).is_some_and(|head| entry.takes(&head)))
        .collect();
    // Of several the best decides; the kernel asks the one that came last.
    found.sort_by(|a, b| (b.enabled, b.seen, &a.name).cmp(&(a.enabled, a.seen, &b.name)));
    match found.into_iter().next() {
        Some(Entry {
            enabled: true,
            seen: true,
            ..
        }) => Ok(()),
        Some(Entry {
            enabled: true,
            name,
            ..
        }) => Err(NoEmulator::Unseen {
            platform: platform_of(),
            name,
        }),
        Some(Entry { name, .. }) => {
            let enable = format!("echo 1 > {}", registered.join(&name).display());
            Err(NoEmulator::Disabled {
                platform: platform_of(),
                name,
                enable,
            })
        }
        None => {
            let mounted = registered.join("register").exists();
            let mount = format!(
                "mount binfmt_misc (mount -t binfmt_misc binfmt_misc {}) and ",
                registered.display()
            );
            let hint = if mounted {
                INSTALL.to_owned()
            } else {
                mount + INSTALL
            };
            Err(NoEmulator::Missing {
                platform: platform_of(),
                hint,
            })
        }
    }
}

/// A registered format.
#[derive(Debug)]
struct Entry {
    name: String,
    enabled: bool,
    /// Opened when it was registered (F); otherwise the kernel looks for the emulator inside of the image.
    seen: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Entry {
    /// `None` for formats by file extension, and for the files that are no format.
    fn parse(name: &str, text: &str) -> Option<Self> {
        let value = |key: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(key))
                .map(str::trim)
        };
        let magic = hex::decode(value("magic ")?).ok()?;
        let mask = value("mask ").map_or_else(
            || Some(vec![0xff; magic.len()]),
            |mask| hex::decode(mask).ok(),
        )?;
        Some(Self {
            name: name.to_owned(),
            enabled: text.lines().next() == Some("enabled"),
            seen: value("flags:").is_some_and(|flags| flags.contains('F')),
            offset: value("offset ")
                .and_then(|offset| offset.parse().ok())
                .unwrap_or(0),
            magic,
            mask,
        })
    }

    fn takes(&self, head: &[u8]) -> bool {
        let Some(part) = head
            .get(self.offset..)
            .and_then(|rest| rest.get(..self.magic.len()))
        else {
            return false;
        };
        let wanted = self.magic.iter().zip(&self.mask);
        part.iter()
            .zip(wanted)
            .all(|(byte, (magic, mask))| byte & mask == magic & mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's qemu-user-static registers it.
    const FORMAT: &str = "interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: OCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn only_an_enabled_emulator_that_containers_see_will_do() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let judge = |platform: &str| {
            judge(folder.path(), &platform.parse().unwrap()).map_err(|error| error.to_string())
        };
        assert!(
            judge("linux/arm64")
                .unwrap_err()
                .contains("mount -t binfmt_misc")
        );
        write("register", "");
        write("status", "enabled\n");
        let missing = judge("linux/arm64").unwrap_err();
        assert!(
            missing.contains("no emulator for them is registered") && !missing.contains("mount -t"),
            "{missing}"
        );
        write("any-name", &format!("disabled\n{FORMAT}"));
        assert!(
            judge("linux/arm64")
                .unwrap_err()
                .contains("the emulator any-name is disabled")
        );
        write(
            "any-name",
            &format!("enabled\n{}", FORMAT.replace("OCF", "OC")),
        );
        assert!(
            judge("linux/arm64/v8")
                .unwrap_err()
                .contains("without the flag F")
        );
        write("other", &format!("enabled\n{FORMAT}"));
        assert_eq!(judge("linux/arm64"), Ok(()));
        assert!(judge("linux/s390x").is_err() && judge("linux/arm").is_err());
        assert!(
            judge("windows/amd64")
                .unwrap_err()
                .contains("that operating system")
        );
    }
}
