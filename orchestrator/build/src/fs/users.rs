//! Names of users and groups, looked up in an image's own /etc/passwd and /etc/group.

use std::io::Read;
use std::path::Path;

use super::view::{Kind, View, ViewError};

/// More than any real account file.
const MAX_ACCOUNT_FILE: u64 = 4 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UserError {
    #[error("no user {0} in the image's /etc/passwd")]
    NoUser(String),
    #[error("no group {0} in the image's /etc/group")]
    NoGroup(String),
    #[error("{0} is not a user id")]
    OutOfRange(String),
    #[error("looking up {name}")]
    View { name: String, source: ViewError },
    #[error("reading {path} of the image")]
    Read {
        path: &'static str,
        source: std::io::Error,
    },
}

/// `user[:group]`, names or numbers. A number without a group stands for the group of the same number.
pub(crate) fn find_owner(view: &View, text: &str) -> Result<Owner, UserError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let (uid, own_gid) = match number(user)? {
        // `:group` is root's with another group.
        None if user.is_empty() && group.is_some() => (0, 0),
        Some(uid) => (uid, uid),
        None => {
            let line = account(view, "etc/passwd", user)?
                .ok_or_else(|| UserError::NoUser(user.to_owned()))?;
            let field = |index| {
                line.get(index)
                    .and_then(|field: &String| field.parse().ok())
            };
            match (field(2), field(3)) {
                (Some(uid), Some(gid)) => (uid, gid),
                _ => return Err(UserError::NoUser(user.to_owned())),
            }
        }
    };
    let gid = match group {
        None => own_gid,
        Some(group) => match number(group)? {
            Some(gid) => gid,
            None => {
                let line = account(view, "etc/group", group)?;
                let gid = line.and_then(|line| line.get(2)?.parse().ok());
                gid.ok_or_else(|| UserError::NoGroup(group.to_owned()))?
            }
        },
    };
    Ok(Owner { uid, gid })
}

/// `None`: a name. The two highest values mean something else to the kernel.
fn number(text: &str) -> Result<Option<u32>, UserError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id < u32::MAX - 1 => Ok(Some(id)),
        _ => Err(UserError::OutOfRange(text.to_owned())),
    }
}

fn account(view: &View, path: &'static str, name: &str) -> Result<Option<Vec<String>>, UserError> {
    let error = |source| UserError::View {
        name: name.to_owned(),
        source,
    };
    let walk = view.walk(Path::new(path), true).map_err(error)?;
    let Some(node) = walk.found.filter(|node| node.kind() == Kind::File) else {
        return Ok(None);
    };
    let file = view.open_file(&node).map_err(error)?;
    let mut text = String::new();
    file.take(MAX_ACCOUNT_FILE)
        .read_to_string(&mut text)
        .map_err(|source| UserError::Read { path, source })?;
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    Ok(text
        .lines()
        .map(fields)
        .find(|fields| fields.first().is_some_and(|first| first == name)))
}
