//! What stands before an entry and speaks of it: PAX extended headers (POSIX.1-2017, pax, "pax Extended Header") and GNU's
//! long names. Strict: what is malformed or said twice is refused, never passed over.

use std::collections::BTreeSet;

use super::sparse::{self, decimal};

/// Extension records that apply to the next entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    /// Of the body, in bytes.
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    /// Seconds and nanoseconds.
    pub modified: Option<(i64, u32)>,
    pub sparse: sparse::Records,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub pax_seen: bool,
}

/// Records are `<length> <key>=<value>\n`, the length counting itself.
pub(super) fn parse(mut bytes: &[u8], into: &mut Extension) -> Result<(), &'static str> {
    let mut keys = BTreeSet::new();
    while !bytes.is_empty() {
        let space = bytes
            .iter()
            .take(20)
            .position(|byte| *byte == b' ')
            .ok_or("a record without length")?;
        let length = decimal(&bytes[..space]).and_then(|length| usize::try_from(length).ok());
        let length = length.ok_or("a record's length is not a number")?;
        if length <= space + 1 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err("a record's length is wrong");
        }
        let record = &bytes[space + 1..length - 1];
        bytes = &bytes[length..];
        let equals = record
            .iter()
            .position(|byte| *byte == b'=')
            .ok_or("a record without =")?;
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        if key.is_empty() || key.contains(&0) {
            return Err("a record's key is malformed");
        }
        if !keys.insert(key.to_owned()) && !sparse::Records::repeats(key) {
            return Err("a key appears twice");
        }
        let number = || decimal(value).ok_or("a number is malformed");
        match key {
            b"path" if value.is_empty() => return Err("an empty path"),
            // A name from a GNU record that came first gives way, as in every other reader.
            b"path" => into.path = Some(value.to_owned()),
            b"linkpath" => into.link = Some(value.to_owned()),
            b"size" => into.size = Some(number()?),
            b"uid" => into.uid = Some(number()?),
            b"gid" => into.gid = Some(number()?),
            b"mtime" => into.modified = Some(parse_time(value).ok_or("a time is malformed")?),
            _ => {
                if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    into.sparse.take(key, value)?;
                } else if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.len() > 255 {
                        return Err("an extended attribute's name is malformed");
                    }
                    into.xattrs.push((name.to_owned(), value.to_owned()));
                }
            }
        }
    }
    Ok(())
}

/// `[-]seconds[.fraction]`; a negative time with a fraction counts back from its second.
fn parse_time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    if text.starts_with('-') && nanoseconds > 0 {
        return Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds));
    }
    Some((seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_sign_and_fraction() {
        assert_eq!(parse_time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(parse_time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse_time(b"-0.5"), Some((-1, 500_000_000)));
        assert_eq!(parse_time(b"7"), Some((7, 0)));
        assert_eq!(parse_time(b"7.x"), None);
        assert_eq!(parse_time(b""), None);
    }

    #[test]
    fn malformed_pax_records_are_refused() {
        for bad in [
            &b"5 a=b\n"[..],
            b"7 a=b\n",
            b"x a=b\n",
            b"6 a=bc",
            b"+6 a=b\n",
            b"6 path",
            b"5 a=\n5 a=\n",
            b"8 size=-1\n",
            b"99999999999999999999 a=b\n",
        ] {
            assert!(
                parse(bad, &mut Extension::default()).is_err(),
                "{:?}",
                String::from_utf8_lossy(bad)
            );
        }
        let mut extension = Extension::default();
        parse(b"6 a=b\n12 path=abc\n", &mut extension).unwrap();
        assert_eq!(extension.path.as_deref(), Some(&b"abc"[..]));
    }
}
