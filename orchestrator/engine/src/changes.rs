//! `--change`: Dockerfile instructions that alter an image's configuration and nothing else.

use hoist_build::dockerfile::{self, Command, Health, Kind};
use hoist_build::{Budget, SourceFile, expand};
use hoist_image::{Execution, Healthcheck};

use crate::actions::StepError;

/// Applies the instructions in order.
pub(crate) fn apply(config: &mut Execution, changes: &[String]) -> Result<(), StepError> {
    if changes.is_empty() {
        return Ok(());
    }
    let bad = |message: String| StepError::bad(message);
    let source = SourceFile::new(
        "--change",
        format!("FROM scratch\n{}\n", changes.join("\n")),
    );
    let file = dockerfile::parse(&source).map_err(|problems| {
        let shown: Vec<String> = problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect();
        bad(format!("--change: {}", shown.join("; ")))
    })?;
    let mut instructions = file.stages.into_iter().flat_map(|stage| stage.instructions);
    let budget = Budget::default();
    instructions
        .try_for_each(|instruction| one(config, &instruction.kind, &instruction.text, &budget))
        .map_err(bad)
}

fn one(config: &mut Execution, kind: &Kind, text: &str, budget: &Budget) -> Result<(), String> {
    let environment = config.env.clone();
    let lookup = |name: &str| {
        let found = environment
            .iter()
            .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name));
        found.map(|(_, value)| value.to_owned())
    };
    let value = |word: &str| {
        expand::expand(word, '\\', &lookup, budget).map_err(|error| format!("{text}: {error}"))
    };
    let shell = config
        .shell
        .clone()
        .unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
    let argv = |command: &Command| match command {
        Command::Exec(argv) => argv.clone(),
        Command::Shell(line) => shell.iter().cloned().chain([line.clone()]).collect(),
    };
    match kind {
        Kind::Cmd(command) => config.cmd = Some(argv(command)),
        Kind::Entrypoint(command) => config.entrypoint = Some(argv(command)),
        Kind::Env(pairs) => {
            for pair in pairs {
                let (name, text) = (value(&pair.name.value)?, value(&pair.value.value)?);
                config
                    .env
                    .retain(|known| known.split_once('=').is_none_or(|(key, _)| key != name));
                config.env.push(format!("{name}={text}"));
            }
        }
        Kind::Label(pairs) => {
            for pair in pairs {
                config
                    .labels
                    .insert(value(&pair.name.value)?, value(&pair.value.value)?);
            }
        }
        Kind::Expose(ports) => {
            for port in ports {
                let port = value(&port.value)?;
                config.exposed_ports.insert(if port.contains('/') {
                    port
                } else {
                    format!("{port}/tcp")
                });
            }
        }
        Kind::Volume(volumes) => {
            for volume in volumes {
                config.volumes.insert(value(&volume.value)?);
            }
        }
        Kind::User(user) => config.user = value(&user.value)?,
        Kind::Workdir(folder) => {
            let folder = value(&folder.value)?;
            config.working_dir = match folder.starts_with('/') {
                true => folder,
                false => format!("{}/{folder}", config.working_dir.trim_end_matches('/')),
            };
        }
        Kind::StopSignal(signal) => config.stop_signal = Some(value(&signal.value)?),
        Kind::Shell(shell) => config.shell = Some(shell.clone()),
        Kind::OnBuild(trigger) => config.on_build.push(trigger.clone()),
        Kind::Healthcheck(health) => config.healthcheck = Some(healthcheck(health, &argv)),
        _ => {
            let word = text.split_whitespace().next().unwrap_or_default();
            return Err(format!(
                "--change: {word} would change files; only what alters the configuration is possible"
            ));
        }
    }
    Ok(())
}

fn healthcheck(health: &Health, argv: &dyn Fn(&Command) -> Vec<String>) -> Healthcheck {
    let Health::Check {
        command,
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
    } = health
    else {
        return Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        };
    };
    let test = match command {
        Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
        exec => std::iter::once("CMD".to_owned())
            .chain(argv(exec))
            .collect(),
    };
    Healthcheck {
        test,
        interval: *interval,
        timeout: *timeout,
        start_period: *start_period,
        start_interval: *start_interval,
        retries: *retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_configuration_in_order() {
        let mut config = Execution {
            env: vec!["A=old".to_owned(), "B=b".to_owned()],
            ..Execution::default()
        };
        let changes = [
            "CMD [\"run\", \"it\"]",
            "ENTRYPOINT start here",
            "ENV A=\"new $B\" C=c",
            "EXPOSE 80 53/udp",
            "LABEL x.y=\"a b\"",
            "USER me:us",
            "VOLUME /data",
            "WORKDIR /srv",
            "WORKDIR sub",
            "STOPSIGNAL SIGINT",
            "ONBUILD RUN true",
            "HEALTHCHECK --retries=2 CMD test -e /up",
        ];
        apply(&mut config, &changes.map(str::to_owned)).unwrap();
        assert_eq!(config.cmd, Some(vec!["run".to_owned(), "it".to_owned()]));
        assert_eq!(
            config.entrypoint,
            Some(vec![
                "/bin/sh".to_owned(),
                "-c".to_owned(),
                "start here".to_owned()
            ])
        );
        assert_eq!(config.env, ["B=b", "A=new b", "C=c"]);
        assert_eq!(
            config.exposed_ports.iter().collect::<Vec<_>>(),
            ["53/udp", "80/tcp"]
        );
        assert_eq!(
            (config.labels["x.y"].as_str(), config.user.as_str()),
            ("a b", "me:us")
        );
        assert_eq!(config.working_dir, "/srv/sub");
        assert_eq!(
            config.healthcheck.unwrap().test,
            ["CMD-SHELL", "test -e /up"]
        );
        assert!(config.volumes.contains("/data") && config.on_build == ["RUN true"]);
    }

    #[test]
    fn what_changes_files_is_refused_by_name() {
        let error = apply(&mut Execution::default(), &["RUN true".to_owned()]).unwrap_err();
        assert!(
            error.message.contains("RUN") && error.kind == hoist_api::ErrorKind::Invalid,
            "{error}"
        );
        assert!(apply(&mut Execution::default(), &["NONSENSE x".to_owned()]).is_err());
    }
}
