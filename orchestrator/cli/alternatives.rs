//! Verbs and options of docker and docker compose that hoist lacks, with their alternatives. Owns the error for a
//! command line with an unknown word.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The words of a verb, and the alternative.
const VERBS: &[(&str, &str)] = &[
    (
        "compose",
        "leave the word out: `hoist up` is `docker compose up`",
    ),
    (
        "watch",
        "run `hoist up --build -d` after an edit: it rebuilds and replaces what changed",
    ),
    (
        "volumes",
        "`hoist volume ls` lists the volumes of all stacks",
    ),
    (
        "publish",
        "`hoist bundle save` takes a stack along in one file, `hoist push` its images to a registry",
    ),
    ("convert", "it is called `config`"),
    (
        "bridge",
        "hoist runs Compose files as they are and converts them to nothing else",
    ),
    ("alpha", "what it tries out is not here"),
    (
        "info",
        "`hoist version`, `hoist system df` and `hoist ps --all-projects` say what there is",
    ),
    (
        "diff",
        "`hoist commit` and `hoist image history` show what a container adds; `hoist export` has its files",
    ),
    (
        "rename",
        "names come from the Compose file: change `container_name` there and run `hoist up -d`",
    ),
    (
        "update",
        "limits come from the Compose file: change them there and run `hoist up -d`",
    ),
    ("search", "registries are searched on their own pages"),
    (
        "buildx",
        "`hoist build` and `hoist image build` have its options",
    ),
    (
        "bake",
        "`hoist build` builds all services of a Compose file, in parallel",
    ),
    (
        "container ls",
        "`hoist ps --all-projects` lists the containers of all stacks",
    ),
    (
        "container list",
        "`hoist ps --all-projects` lists the containers of all stacks",
    ),
    (
        "container ps",
        "`hoist ps --all-projects` lists the containers of all stacks",
    ),
    ("container inspect", "`hoist inspect --type container NAME`"),
    (
        "container run",
        "`hoist run SERVICE` runs a one-off container of a service",
    ),
    (
        "container create",
        "`hoist create` makes the containers of a Compose file",
    ),
    ("container diff", "`hoist export` has a container's files"),
    (
        "container rename",
        "names come from the Compose file: change `container_name` there and run `hoist up -d`",
    ),
    (
        "container update",
        "limits come from the Compose file: change them there and run `hoist up -d`",
    ),
    (
        "volume update",
        "it is for Swarm's cluster volumes, which are not here",
    ),
    (
        "system info",
        "`hoist version` and `hoist system df` say what there is",
    ),
    ("system events", "`hoist events` shows those of a stack"),
    ("builder build", "`hoist image build`"),
    ("context", "`-H SOCKET` or HOIST_HOST names another engine"),
    ("plugin", "there are no plugins"),
    (
        "trust",
        "signatures are checked where a policy asks for it: docs/signatures.md",
    ),
    (
        "manifest",
        "`hoist image ls` shows images of several platforms, `hoist push` sends them under one name",
    ),
    ("checkpoint", "containers cannot be frozen to disk"),
    ("swarm", SWARM),
    ("node", SWARM),
    ("service", SWARM),
    ("stack", SWARM),
    ("task", SWARM),
    ("secret", "declare it under `secrets` of a Compose file"),
];

const SWARM: &str = "hoist runs stacks on one machine; a Compose file and `hoist up` take the place of Swarm's commands";

/// Verbs that docker groups under `container`; hoist has them at the top level.
const OF_CONTAINERS: &[&str] = &[
    "attach", "commit", "cp", "exec", "export", "kill", "logs", "pause", "port", "restart", "rm",
    "start", "stats", "stop", "top", "unpause", "wait",
];

/// Verb (empty: any), option, alternative.
const OPTIONS: &[(&str, &str, &str)] = &[
    (
        "up",
        "--watch",
        "run `hoist up --build -d` after an edit: it rebuilds and replaces what changed",
    ),
    (
        "up",
        "-w",
        "run `hoist up --build -d` after an edit: it rebuilds and replaces what changed",
    ),
    ("up", "--menu", "leave it out: there is no menu"),
    (
        "build",
        "--builder",
        "leave it out: the engine is the only builder",
    ),
    (
        "build",
        "--memory",
        "leave it out: builds have no memory limit of their own",
    ),
    (
        "build",
        "-m",
        "leave it out: builds have no memory limit of their own",
    ),
    (
        "build",
        "--print",
        "`hoist config` prints the builds' keys as they count",
    ),
    ("build", "--push", "run `hoist push` after the build"),
    ("build", "--sbom", "leave it out: builds attest nothing yet"),
    (
        "build",
        "--provenance",
        "leave it out: builds attest nothing yet",
    ),
    (
        "build",
        "--attest",
        "leave it out: builds attest nothing yet",
    ),
    (
        "build",
        "--parallel",
        "leave it out: builds run in parallel, as many as the global --parallel says",
    ),
    (
        "build",
        "--force-rm",
        "leave it out: steps leave no containers behind",
    ),
    (
        "build",
        "--compress",
        "leave it out: contexts are not sent anywhere",
    ),
    (
        "run",
        "--env-from-file",
        "write the variables as -e NAME=VALUE, or give the service an `env_file`",
    ),
    (
        "pull",
        "--parallel",
        "leave it out: pulls run in parallel, as many as the global --parallel says",
    ),
    (
        "pull",
        "--no-parallel",
        "use the global option: `hoist --parallel 1 pull`",
    ),
    (
        "rm",
        "-a",
        "leave it out: one-off containers are removed, too",
    ),
    (
        "rm",
        "--all",
        "leave it out: one-off containers are removed, too",
    ),
    (
        "",
        "--all-resources",
        "leave it out: unused resources are printed by `hoist config` and made by nothing",
    ),
    (
        "",
        "--compatibility",
        "leave it out: names have hyphens, and `deploy` limits count always",
    ),
    (
        "",
        "--verbose",
        "leave it out: `hoist plan` says what is done and why, engine.log in the data root what happened",
    ),
    ("", "--workdir", "it is called --project-directory"),
    ("", "--no-ansi", "it is called --ansi never"),
    (
        "",
        "--context",
        "`-H SOCKET` or HOIST_HOST names another engine",
    ),
    ("", "--tls", "engines are reached by socket only"),
    ("", "--tlsverify", "engines are reached by socket only"),
];

/// `None`: unknown to docker as well.
pub(crate) fn alternative(error: &clap::Error, words: &[String]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => verb(text(ContextKind::InvalidSubcommand)?, words),
        ErrorKind::UnknownArgument => option(text(ContextKind::InvalidArg)?, words),
        _ => None,
    }
}

fn verb(unknown: &str, words: &[String]) -> Option<String> {
    let place = words.iter().position(|word| word == unknown)?;
    let group = place
        .checked_sub(1)
        .map_or("", |before| words[before].as_str());
    let whole = format!("{group} {unknown}");
    let known = |name: &str| VERBS.iter().find(|(verb, _)| *verb == name);
    if let Some((name, help)) = known(&whole).or_else(|| known(unknown)) {
        return Some(format!("hoist has no `{name}`: {help}"));
    }
    let direct = group == "container" && OF_CONTAINERS.contains(&unknown);
    direct.then(|| format!("hoist has no `{whole}`: leave the word `container` out; `hoist {unknown}` takes services"))
}

fn option(unknown: &str, words: &[String]) -> Option<String> {
    let name = unknown.split('=').next()?;
    let place = words
        .iter()
        .position(|word| word.split('=').next() == Some(name))
        .unwrap_or(words.len());
    let fits = |(verb, option, _): &&(&str, &str, &str)| {
        *option == name && (verb.is_empty() || words[..place].iter().any(|word| word == verb))
    };
    let (verb, _, help) = OPTIONS.iter().find(fits)?;
    let of = if verb.is_empty() {
        String::new()
    } else {
        format!("`{verb}` of ")
    };
    Some(format!("{of}hoist has no {name}: {help}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::{self, Cli};

    fn told(line: &str) -> Option<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let error = args::parse(&words).err()?;
        alternative(&error, &words)
    }

    #[test]
    fn each_word_in_the_lists_is_unknown_to_hoist_and_answered_with_what_to_do() {
        for (verb, help) in VERBS {
            let answer = told(&format!("hoist {verb}"))
                .unwrap_or_else(|| panic!("`hoist {verb}` is known by now"));
            assert!(
                answer.contains(&format!("`{verb}`")) && answer.contains(help),
                "{answer}"
            );
        }
        for (verb, option, help) in OPTIONS {
            let verb = if verb.is_empty() { "up" } else { verb };
            let answer = told(&format!("hoist {verb} {option}"));
            let answer =
                answer.unwrap_or_else(|| panic!("`hoist {verb} {option}` is known by now"));
            assert!(answer.contains(option) && answer.contains(help), "{answer}");
        }
        for verb in OF_CONTAINERS {
            assert!(
                told(&format!("hoist container {verb}"))
                    .is_some_and(|answer| answer.contains(verb)),
                "{verb}"
            );
            assert!(Cli::command().find_subcommand(verb).is_some(), "{verb}");
        }
    }

    #[test]
    fn options_in_front_and_values_do_not_confuse_it() {
        assert!(told("hoist -f watch watch").is_some_and(|answer| answer.contains("`watch`")));
        assert!(
            told("hoist --profile x up --watch=true")
                .is_some_and(|answer| answer.contains("--watch"))
        );
        assert!(
            told("hoist run --env-from-file x web")
                .is_some_and(|answer| answer.contains("--env-from-file"))
        );
        for unknown in ["hoist run --frobnicate web", "hoist exec -Z web ls"] {
            assert!(
                args::parse(unknown.split(' ')).is_err(),
                "{unknown}: an option is no service"
            );
        }
        assert!(args::parse("hoist exec web ls -Z".split(' ')).is_ok());
        assert_eq!(told("hoist frobnicate"), None);
        assert_eq!(told("hoist up --frobnicate"), None);
        assert_eq!(
            told("hoist down --menu"),
            None,
            "docker compose has it for up alone"
        );
    }
}
