//! Users and groups, looked up in the container's own passwd and group files.

use std::io::Read as _;

use rustix::fs::{FileType, Mode, OFlags};

use super::{Fault, On as _, inside};
use crate::wire::{ProcessConfig, UserConfig};

/// Nobody's passwd is larger; an image may not make us read without end.
const FILE_LIMIT: u64 = 16 << 20;
/// The kernel's −1 means "leave it".
const LAST_ID: u32 = u32::MAX - 2;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The primary group is among them, as login does it.
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
}

/// `/` is the container's root by now.
pub(super) fn look_up(config: &ProcessConfig) -> Result<Identity, Fault> {
    let passwd = database("/etc/passwd")?;
    let group = database("/etc/group")?;
    match &config.user {
        UserConfig::Named(text) => {
            resolve(text, &config.group_add, &passwd, &group).map_err(Fault::plain)
        }
        UserConfig::Numeric { uid, gid, groups } => {
            let mut identity = Identity {
                uid: *uid,
                gid: *gid,
                groups: groups.clone(),
                home: home_of(*uid, &passwd),
            };
            identity
                .add_groups(&config.group_add, &group)
                .map_err(Fault::plain)?;
            Ok(identity)
        }
    }
}

/// Empty when missing. Not through devices, fifos or links out of the root (an exec's root may be a chroot only).
fn database(path: &str) -> Result<String, Fault> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("/")?;
    let file = match inside::find(&root, path, flags) {
        Ok(file) => file,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
            return Ok(String::new());
        }
        Err(error) => return Err(Fault::new(path, error)),
    };
    let stat = rustix::fs::fstat(&file).on(path)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file)
        .take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .on(path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account {
            name,
            uid,
            gid,
            home: fields.nth(1).unwrap_or("/"),
        })
    })
}

/// Name, number, members.
fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((
            fields.next()?,
            fields.nth(1)?.parse().ok()?,
            fields.next().unwrap_or_default(),
        ))
    })
}

fn home_of(uid: u32, passwd: &str) -> String {
    let home = accounts(passwd)
        .find(|account| account.uid == uid)
        .map_or("/", |account| account.home);
    if home.is_empty() {
        "/".to_owned()
    } else {
        home.to_owned()
    }
}

fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= LAST_ID => Ok(Some(id)),
        _ => Err(format!("id {text} is out of range")),
    }
}

fn group_id(text: &str, group: &str) -> Result<u32, String> {
    if let Some((_, gid, _)) = groups(group).find(|(name, _, _)| *name == text) {
        return Ok(gid);
    }
    number(text)?
        .ok_or_else(|| format!("unable to find group {text}: no matching entries in group file"))
}

/// `""`, `user`, `user:group`; each a name or a number. Names win over numbers, as in docker.
fn resolve(
    text: &str,
    group_add: &[String],
    passwd: &str,
    group: &str,
) -> Result<Identity, String> {
    let (user, group_text) = text
        .split_once(':')
        .map_or((text, ""), |(user, group)| (user, group));
    let user = if user.is_empty() { "0" } else { user };
    let account = accounts(passwd).find(|account| account.name == user);
    let account = match (account, number(user)?) {
        (Some(account), _) => Some(account),
        (None, Some(uid)) => accounts(passwd).find(|account| account.uid == uid),
        (None, None) => {
            return Err(format!(
                "unable to find user {user}: no matching entries in passwd file"
            ));
        }
    };
    let (uid, own_gid) = match &account {
        Some(account) => (account.uid, account.gid),
        None => (number(user)?.expect("an unknown name was refused above"), 0),
    };
    let gid = if group_text.is_empty() {
        own_gid
    } else {
        group_id(group_text, group)?
    };
    let mut identity = Identity {
        uid,
        gid,
        groups: vec![gid],
        home: home_of(uid, passwd),
    };
    // An explicit group replaces the memberships.
    if let (Some(account), true) = (&account, group_text.is_empty()) {
        let member = |members: &str| {
            members
                .split(',')
                .any(|member| member.trim() == account.name)
        };
        identity.groups.extend(
            groups(group)
                .filter(|(_, _, members)| member(members))
                .map(|(_, gid, _)| gid),
        );
        identity.home = if account.home.is_empty() {
            "/".to_owned()
        } else {
            account.home.to_owned()
        };
    }
    identity.add_groups(group_add, group)?;
    Ok(identity)
}

/// User and primary group of `user[:group]`, as a process of that user would have them.
pub fn owner_of(user: &str, passwd: &str, group: &str) -> Result<(u32, u32), String> {
    resolve(user, &[], passwd, group).map(|identity| (identity.uid, identity.gid))
}

impl Identity {
    fn add_groups(&mut self, names: &[String], group: &str) -> Result<(), String> {
        for name in names {
            self.groups.push(group_id(name, group)?);
        }
        let mut seen = std::collections::BTreeSet::new();
        self.groups.retain(|gid| seen.insert(*gid));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:/bin/sh\nbroken\n1000:x:7:7::/n:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nadm:x:4:root,web\nlog:x:50:web\n";

    fn ids(text: &str, add: &[&str]) -> (u32, u32, Vec<u32>, String) {
        let add: Vec<String> = add.iter().map(|&name| name.to_owned()).collect();
        let found = resolve(text, &add, PASSWD, GROUP).unwrap();
        (found.uid, found.gid, found.groups, found.home)
    }

    #[test]
    fn name_brings_its_groups_and_home() {
        assert_eq!(
            ids("web", &[]),
            (33, 34, vec![34, 4, 50], "/var/www".into())
        );
        assert_eq!(ids("33", &[]), (33, 34, vec![34, 4, 50], "/var/www".into()));
        assert_eq!(ids("", &[]), (0, 0, vec![0, 4], "/root".into()));
    }

    #[test]
    fn explicit_group_replaces_memberships() {
        assert_eq!(
            ids("web:adm", &["log", "77"]),
            (33, 4, vec![4, 50, 77], "/var/www".into())
        );
        assert_eq!(ids("1234:5678", &[]), (1234, 5678, vec![5678], "/".into()));
    }

    #[test]
    fn a_user_whose_name_is_a_number_wins() {
        assert_eq!(ids("1000", &[]).0, 7);
    }

    #[test]
    fn unknown_and_overflowing_are_refused() {
        assert!(
            resolve("ghost", &[], PASSWD, GROUP)
                .unwrap_err()
                .contains("unable to find user ghost")
        );
        assert!(
            resolve("web:ghosts", &[], PASSWD, GROUP)
                .unwrap_err()
                .contains("unable to find group ghosts")
        );
        for id in ["4294967296", "4294967295", "99999999999999999999"] {
            assert!(
                resolve(id, &[], PASSWD, GROUP)
                    .unwrap_err()
                    .contains("out of range"),
                "{id}"
            );
        }
    }
}
