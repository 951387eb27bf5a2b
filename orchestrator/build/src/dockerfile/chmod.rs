//! `--chmod`: a mode in octal, or changes as chmod(1) takes them: `u=rwX,go=rX`.

use crate::diagnostic::{Diagnostic, Span};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chmod {
    Octal(u32),
    Changes(Vec<Change>),
}

/// One clause: `go-w`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// The classes that it is about, as the bits that these have: 0o4700 for `u`.
    classes: u32,
    operator: Operator,
    /// Bits of all classes; those of `classes` count.
    bits: u32,
    /// `X`: execute for folders and for files with any execute bit.
    execute_where_some_can: bool,
    /// `g=u`: the bits that a class has.
    copied: Option<Class>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    User,
    Group,
    Others,
}

impl Class {
    fn shift(self) -> u32 {
        match self {
            Self::User => 6,
            Self::Group => 3,
            Self::Others => 0,
        }
    }
}

impl Chmod {
    pub(crate) fn parse(text: &str, span: Span) -> Result<Self, Diagnostic> {
        let changes = || {
            text.split(',')
                .map(clause)
                .collect::<Option<Vec<_>>>()
                .map(|parts| parts.concat())
        };
        let octal = u32::from_str_radix(text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777 && !text.starts_with('+'));
        octal
            .map(Self::Octal)
            .or_else(|| changes().map(Self::Changes))
            .ok_or_else(|| {
                Diagnostic::error(span, format!("invalid mode {text}")).hint(
                    "--chmod takes octal numbers or changes: --chmod=755, --chmod=u=rwX,go=rX",
                )
            })
    }

    /// The mode of something that has `mode` now.
    pub(crate) fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        match self {
            Self::Octal(new) => *new,
            Self::Changes(changes) => changes
                .iter()
                .fold(mode, |mode, change| change.apply(mode, is_folder)),
        }
    }
}

impl Change {
    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let mut bits = self.bits;
        if self.execute_where_some_can && (is_folder || mode & 0o111 != 0) {
            bits |= 0o111;
        }
        if let Some(class) = self.copied {
            bits |= ((mode >> class.shift()) & 7) * 0o111;
        }
        let bits = bits & self.classes;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => (mode & !self.classes) | bits,
        }
    }
}

/// `ug+rw-x` is two changes for the same classes.
fn clause(text: &str) -> Option<Vec<Change>> {
    let who_end = text.find(['+', '-', '='])?;
    let mut classes = 0;
    for who in text[..who_end].chars() {
        classes |= match who {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    if classes == 0 {
        classes = 0o7777;
    }
    let mut changes = Vec::new();
    for character in text[who_end..].chars() {
        let operator = match character {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            permission => {
                let change: &mut Change = changes.last_mut()?;
                match permission {
                    'r' => change.bits |= 0o444,
                    'w' => change.bits |= 0o222,
                    'x' => change.bits |= 0o111,
                    'X' => change.execute_where_some_can = true,
                    's' => change.bits |= 0o6000,
                    't' => change.bits |= 0o1000,
                    'u' => change.copied = Some(Class::User),
                    'g' => change.copied = Some(Class::Group),
                    'o' => change.copied = Some(Class::Others),
                    _ => return None,
                }
                continue;
            }
        };
        changes.push(Change {
            classes,
            operator,
            bits: 0,
            execute_where_some_can: false,
            copied: None,
        });
    }
    Some(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_chmod_changes_them() {
        let table = [
            ("755", 0o600, false, 0o755),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o644, false, 0o644),
            ("u=rwX,go=rX", 0o744, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+x", 0o644, false, 0o755),
            ("go-w", 0o666, false, 0o644),
            ("ug+rw-x", 0o755, false, 0o665),
            ("g=u", 0o750, false, 0o770),
            ("u+s", 0o755, false, 0o4755),
            ("o+t", 0o777, true, 0o1777),
            ("o=", 0o755, false, 0o750),
        ];
        for (text, before, is_folder, after) in table {
            let chmod = Chmod::parse(text, Span::default()).unwrap();
            assert_eq!(
                chmod.apply(before, is_folder),
                after,
                "{text} of {before:o}"
            );
        }
        for wrong in ["", "999", "17777", "u", "u~x", "u+q", "z+x", "u=r,", "+5"] {
            assert!(Chmod::parse(wrong, Span::default()).is_err(), "{wrong}");
        }
    }
}
