//! What the codes of diagnostics mean. A code keeps its meaning for good; new ones are added at the end.

/// One sentence about a code.
pub fn explain(code: &str) -> Option<&'static str> {
    CODES
        .iter()
        .find(|(known, _)| *known == code)
        .map(|(_, text)| *text)
}

macro_rules! pages {
    ($($code:literal),* $(,)?) => {
        &[$(($code, include_str!(concat!("../../../docs/errors/", $code, ".md")))),*]
    };
}

/// The page of docs/errors about a code: an example, what is said about it, and what to do.
pub fn page(code: &str) -> Option<&'static str> {
    PAGES
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(code))
        .map(|(_, text)| *text)
}

const PAGES: &[(&str, &str)] = pages![
    "E0001", "E0002", "E0003", "E0004", "E0005", "E0006", "E0007", "E0008", "E0009", "E0010",
    "E0011", "E0012", "E0013", "E0014", "E0015", "E0016", "E0017", "E0018", "E0019", "E0020",
    "E0021", "E0022", "E0023", "E0024", "E0025", "E0026", "E0027", "E0028", "W0001", "W0002",
    "W0003", "W0004", "W0005", "W0006"
];

/// Every code with its sentence.
pub const CODES: &[(&str, &str)] = &[
    ("E0001", "The text is not YAML."),
    (
        "E0002",
        "A mapping has one key twice; YAML does not say which of them counts.",
    ),
    (
        "E0003",
        "Aliases refer to themselves, expand to far more than was written, or values are nested too deep.",
    ),
    ("E0004", "A key is not a string; quote it."),
    (
        "E0005",
        "The file is empty, or not a mapping at its top level.",
    ),
    (
        "E0006",
        "An attribute does not exist in Compose; attributes of your own begin with `x-`.",
    ),
    (
        "E0007",
        "A value has another type than its attribute takes.",
    ),
    ("E0008", "An attribute that is needed is missing."),
    (
        "E0009",
        "A value cannot be understood: a notation, a unit, a word that is not one of the known ones.",
    ),
    (
        "E0010",
        "A variable is not written as $NAME or ${NAME}; $$ is a dollar sign.",
    ),
    (
        "E0011",
        "A variable that the file requires (`${NAME:?}`) is not set.",
    ),
    ("E0012", "A file cannot be read."),
    ("E0013", "An env file or label file cannot be understood."),
    (
        "E0014",
        "`extends` names a service that does not exist, or services extend each other in a circle.",
    ),
    ("E0015", "Files include each other in a circle."),
    (
        "E0016",
        "A service refers to a network, volume, secret, config, model or service that is not there.",
    ),
    ("E0017", "Services depend on each other in a circle."),
    ("E0018", "Two attributes exclude or contradict each other."),
    (
        "E0019",
        "A service has neither an image nor a way to build one.",
    ),
    (
        "E0020",
        "An attribute or a value is part of Compose, but hoist cannot act on it yet, and does not ignore it.",
    ),
    (
        "E0021",
        "The project's name has characters that it must not have.",
    ),
    (
        "E0022",
        "There is no stack file in this folder or above it.",
    ),
    (
        "E0023",
        "The command line names a service that does not exist.",
    ),
    (
        "E0024",
        "Two things have one name or one place: container names, mount targets.",
    ),
    (
        "E0025",
        "More files are included than anyone writes; probably they include others again and again.",
    ),
    (
        "E0026",
        "The reference loader cannot read or print this, and `config` keeps to it.",
    ),
    (
        "E0027",
        "Two included files define one service or resource differently.",
    ),
    (
        "E0028",
        "The stack comes to more than one machine is for: text that is made of text, containers, ports.",
    ),
    ("W0001", "An obsolete attribute or notation."),
    (
        "W0002",
        "A variable is not set and has no default; it becomes an empty string.",
    ),
    ("W0003", "An attribute is accepted without effect."),
    (
        "W0004",
        "Several stack files lie in one folder; the first of the known names is used.",
    ),
    (
        "W0005",
        "A command has a shell's operators, but no shell runs; its words are passed on as they are.",
    ),
    ("W0006", "A service that is not required does not exist."),
];

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the sources lie in files")]
mod tests {
    use super::*;

    fn sources(folder: &std::path::Path, texts: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, texts);
            } else if !path.ends_with("codes.rs") {
                texts.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }

    #[test]
    fn every_code_that_is_used_is_explained_and_the_other_way_round() {
        let mut text = String::new();
        sources(
            &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut text,
        );
        let is_code = |word: &&str| {
            word.len() == 5 && word.starts_with(['E', 'W']) && word[1..].parse::<u16>().is_ok()
        };
        let used: std::collections::BTreeSet<&str> = text.split('"').filter(is_code).collect();
        let explained: std::collections::BTreeSet<&str> =
            CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(used, explained);
        assert!(explain("E0001").is_some() && explain("E9999").is_none());
        assert_eq!(PAGES.len(), CODES.len());
        assert!(page("e0001").is_some_and(|text| text.starts_with("# E0001")));
    }
}
