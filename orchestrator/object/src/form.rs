//! The form of documents on disk: JSON with a version number.
//!
//! A document is an object whose `version` says which form it has. Within one version fields are only ever added: an
//! absent one means its default, and one that this version does not know is ignored. What cannot be said in that way
//! gets the next number, and a step in [`read`] that brings older ones up to it. Documents of before there was a number
//! have none: they are of form 0, which differs by that alone.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The form that this version writes.
pub const VERSION: u64 = 1;

#[derive(Debug, thiserror::Error)]
pub enum FormError {
    #[error("{0}")]
    Damaged(#[from] serde_json::Error),
    /// Nothing is wrong with the document: it must be left as it is.
    #[error("a newer hoist wrote it (form {found}, and this one reads up to {VERSION})")]
    Newer { found: u64 },
}

/// A document that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Read<T> {
    pub document: T,
    /// It has an older form, and should be written again.
    pub outdated: bool,
}

/// Reads a document of this or any older form.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Read<T>, FormError> {
    let value: Value = serde_json::from_slice(bytes)?;
    let found = value.get("version").and_then(Value::as_u64).unwrap_or(0);
    if found > VERSION {
        return Err(FormError::Newer { found });
    }
    Ok(Read {
        document: serde_json::from_value(value)?,
        outdated: found < VERSION,
    })
}

/// The document in the form of this version.
pub fn write<T: Serialize>(document: &T) -> Vec<u8> {
    #[derive(Serialize)]
    struct Numbered<'a, T> {
        version: u64,
        #[serde(flatten)]
        document: &'a T,
    }
    serde_json::to_vec(&Numbered {
        version: VERSION,
        document,
    })
    .expect("documents are structs with string keys and no failing serialisers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContainerDoc, StateDoc, VolumeDoc, Wanted};

    #[test]
    fn what_was_written_is_read_again_and_up_to_date() {
        let state = StateDoc {
            wanted: Wanted::Running,
            boot: "b".to_owned(),
            ..StateDoc::default()
        };
        let bytes = write(&state);
        assert!(
            bytes.starts_with(b"{\"version\":1,"),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
        assert_eq!(
            read::<StateDoc>(&bytes).unwrap(),
            Read {
                document: state,
                outdated: false
            }
        );
        let doc = ContainerDoc::unknown("0123456789abcdef");
        assert_eq!(read::<ContainerDoc>(&write(&doc)).unwrap().document, doc);
    }

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_have_defaults() {
        let read = read::<VolumeDoc>(br#"{"version":1,"name":"data","colour":"green"}"#).unwrap();
        assert_eq!(read.document, VolumeDoc::recovered("data"));
    }

    #[test]
    fn documents_without_a_number_are_outdated() {
        assert!(read::<VolumeDoc>(br#"{"name":"data"}"#).unwrap().outdated);
    }

    #[test]
    fn newer_forms_are_told_from_damage() {
        assert!(matches!(
            read::<VolumeDoc>(br#"{"version":2,"name":1}"#),
            Err(FormError::Newer { found: 2 })
        ));
        assert!(matches!(
            read::<VolumeDoc>(b"{\"name\":"),
            Err(FormError::Damaged(_))
        ));
        assert!(matches!(
            read::<VolumeDoc>(br#"{"version":1,"name":1}"#),
            Err(FormError::Damaged(_))
        ));
    }
}
