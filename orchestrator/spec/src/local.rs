//! Options of the `local` volume driver: a mount instead of an engine-managed folder.

use std::collections::BTreeMap;

/// As for mount(8): `type`, `device` and `o`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalMount {
    pub kind: String,
    pub device: String,
    pub options: Vec<String>,
}

/// The option that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct LocalError {
    pub option: String,
    pub problem: String,
}

const KNOWN: [&str; 3] = ["type", "device", "o"];

impl LocalMount {
    /// `None`: the options ask for nothing.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Option<Self>, LocalError> {
        let fail = |option: &str, problem: String| {
            Err(LocalError {
                option: option.to_owned(),
                problem,
            })
        };
        if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            let known = "`type`, `device` and `o`";
            return fail(
                unknown,
                format!("`{unknown}` is not an option of the driver `local`, which has {known}"),
            );
        }
        if options.is_empty() {
            return Ok(None);
        }
        let text = |key: &str| {
            options
                .get(key)
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
        };
        let words = text("o")
            .unwrap_or_default()
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        let mount = Self {
            kind: text("type").unwrap_or_default().to_owned(),
            device: text("device").unwrap_or_default().to_owned(),
            options: words.map(str::to_owned).collect(),
        };
        for (key, given) in [("type", &mount.kind), ("device", &mount.device)] {
            if given.is_empty() && !(key == "type" && mount.is_bind()) {
                return fail(
                    key,
                    format!("the driver `local` needs the option `{key}` when it has others"),
                );
            }
        }
        if matches!(mount.kind.as_str(), "none" | "bind") && !mount.is_bind() {
            return fail("o", "a volume of type `none` needs `o: bind`".to_owned());
        }
        if mount.is_bind() && !mount.device.starts_with('/') {
            return fail(
                "device",
                format!("`{}` is not an absolute path", mount.device),
            );
        }
        Ok(Some(mount))
    }

    /// A folder of the host in the volume's place.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.options
            .iter()
            .any(|word| word == "bind" || word == "rbind")
    }

    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.options
            .iter()
            .rev()
            .find(|word| *word == "ro" || *word == "rw")
            .is_some_and(|word| word == "ro")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &[(&str, &str)]) -> Result<Option<LocalMount>, LocalError> {
        LocalMount::of(
            &options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn options_are_those_of_mount() {
        let nfs = of(&[
            ("type", "nfs"),
            ("o", "addr=10.0.0.1, rw,nfsvers=4"),
            ("device", ":/data"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(nfs.options, ["addr=10.0.0.1", "rw", "nfsvers=4"]);
        assert!(!nfs.is_bind() && !nfs.is_read_only());
        let bind = of(&[("type", "none"), ("o", "bind,ro"), ("device", "/srv")])
            .unwrap()
            .unwrap();
        assert!(bind.is_bind() && bind.is_read_only());
        assert!(
            of(&[("o", "bind"), ("device", "/srv")])
                .unwrap()
                .unwrap()
                .is_bind()
        );
        assert_eq!(of(&[]), Ok(None));
    }

    #[test]
    fn an_error_names_its_option() {
        for (options, option) in [
            (&[("size", "10m")][..], "size"),
            (&[("type", "nfs"), ("o", "addr=a")], "device"),
            (&[("device", "/x")], "type"),
            (&[("type", "none"), ("device", "/x")], "o"),
            (
                &[("type", "none"), ("o", "bind"), ("device", "x")],
                "device",
            ),
        ] {
            assert_eq!(of(options).unwrap_err().option, option, "{options:?}");
        }
    }
}
