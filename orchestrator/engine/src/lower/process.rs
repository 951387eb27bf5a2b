//! What runs: command, environment, user, working directory, capabilities, limits of the process.

use std::path::PathBuf;
use std::str::FromStr;

use hoist_object::{ContainerDoc, ImageDefaults};
use hoist_runtime::{ExecRequest, ExecStdio, Seccomp, spec_defaults};
use hoist_spec::model::Service;
use oci_spec::runtime::{
    BoxBuilder, Capabilities, Capability, LinuxCapabilitiesBuilder, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Process, Spec,
};

use super::LowerError;

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What every process of a container has, the main one, an exec and a healthcheck alike: they differ in what they run and
/// in their streams.
#[derive(Debug, Clone)]
pub(crate) struct ProcessSetup {
    /// Environment, folder, capabilities, limits, OOM score, privileges; no command.
    pub(crate) process: Process,
    pub(crate) user: Option<String>,
    pub(crate) group_add: Vec<String>,
    pub(crate) seccomp: Seccomp,
    pub(crate) privileged: bool,
}

impl ProcessSetup {
    pub(crate) fn of(doc: &ContainerDoc, service: &Service) -> Result<Self, LowerError> {
        let image = &doc.image;
        let set = capabilities(service)?;
        let capabilities = LinuxCapabilitiesBuilder::default()
            .bounding(set.clone())
            .effective(set.clone())
            .permitted(set)
            .inheritable(Capabilities::new())
            .ambient(Capabilities::new())
            .build()
            .map_err(|error| LowerError::Capability(error.to_string()))?;
        let ulimits = service
            .ulimits
            .iter()
            .map(|(name, limit)| (name.as_str(), limit.soft, limit.hard));
        let mut process = Process::default();
        process
            .set_args(None)
            .set_env(Some(environment(
                service,
                image,
                &super::hostname(doc, service),
            )))
            .set_cwd(PathBuf::from(working_dir(service, image)))
            .set_capabilities(Some(capabilities))
            .set_rlimits(Some(rlimits(ulimits)?))
            .set_oom_score_adj(service.oom_score_adj)
            .set_no_new_privileges(Some(no_new_privileges(service)?));
        Ok(Self {
            process,
            user: user(service, image),
            group_add: service.group_add.clone(),
            seccomp: seccomp(service)?,
            privileged: service.privileged,
        })
    }

    /// A process beside the main one.
    pub(crate) fn exec(
        self,
        id: String,
        pid: i32,
        argv: Vec<String>,
        stdio: ExecStdio,
    ) -> ExecRequest {
        let Self {
            mut process,
            user,
            group_add,
            seccomp,
            privileged,
        } = self;
        process.set_args(Some(argv));
        ExecRequest {
            id,
            pid,
            process,
            user,
            group_add,
            seccomp,
            privileged,
            stdio,
        }
    }
}

pub(super) fn apply(
    spec: &mut Spec,
    setup: &ProcessSetup,
    doc: &ContainerDoc,
    service: &Service,
    hostname: &str,
) -> Result<(), LowerError> {
    let mut process = setup.process.clone();
    process
        .set_args(Some(argv(service, &doc.image)?))
        .set_terminal(Some(service.tty));
    spec.set_process(Some(process));
    spec.set_hostname(Some(hostname.to_owned()));
    spec.set_domainname(service.domainname.clone());
    Ok(())
}

/// Gives the terminal its first size.
pub(crate) fn console(spec: &mut Spec, (rows, columns): (u16, u16)) {
    let size = BoxBuilder::default()
        .height(u64::from(rows))
        .width(u64::from(columns))
        .build();
    if let Some(process) = spec.process_mut() {
        process.set_console_size(size.ok());
    }
}

/// Docker's rules: a service's entrypoint drops the image's command.
pub(crate) fn argv(service: &Service, image: &ImageDefaults) -> Result<Vec<String>, LowerError> {
    let (entrypoint, command) = match &service.entrypoint {
        Some(entrypoint) => (
            entrypoint.clone(),
            service.command.clone().unwrap_or_default(),
        ),
        None => {
            let command = service
                .command
                .clone()
                .or_else(|| image.cmd.clone())
                .unwrap_or_default();
            (image.entrypoint.clone().unwrap_or_default(), command)
        }
    };
    // `entrypoint: ""` clears it.
    let entrypoint = if entrypoint == [""] {
        Vec::new()
    } else {
        entrypoint
    };
    let argv: Vec<String> = entrypoint.into_iter().chain(command).collect();
    if argv.is_empty() {
        Err(LowerError::NoCommand)
    } else {
        Ok(argv)
    }
}

/// The image's variables with the service's over them. `None` in the service takes a variable out.
pub(crate) fn environment(service: &Service, image: &ImageDefaults, hostname: &str) -> Vec<String> {
    let name = |entry: &str| {
        entry
            .split_once('=')
            .map_or(entry, |(name, _)| name)
            .to_owned()
    };
    let mut entries = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if service.tty {
        entries.push("TERM=xterm".to_owned());
    }
    let overlay = service
        .environment
        .iter()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_ref()?)));
    for entry in image.env.iter().cloned().chain(overlay) {
        let key = name(&entry);
        match entries.iter_mut().find(|present| name(present) == key) {
            Some(present) => *present = entry,
            None => entries.push(entry),
        }
    }
    let removed = |entry: &String| {
        service
            .environment
            .get(&name(entry))
            .is_some_and(Option::is_none)
    };
    entries.retain(|entry| !removed(entry));
    entries
}

pub(crate) fn working_dir(service: &Service, image: &ImageDefaults) -> String {
    let chosen = service
        .working_dir
        .as_deref()
        .filter(|dir| !dir.is_empty())
        .unwrap_or(&image.working_dir);
    if chosen.starts_with('/') {
        chosen.to_owned()
    } else {
        format!("/{chosen}")
    }
}

pub(crate) fn user(service: &Service, image: &ImageDefaults) -> Option<String> {
    service
        .user
        .clone()
        .or_else(|| Some(image.user.clone()))
        .filter(|user| !user.is_empty())
}

/// Docker's defaults, minus `cap_drop`, plus `cap_add`.
pub(crate) fn capabilities(service: &Service) -> Result<Capabilities, LowerError> {
    let all = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let mut set = Capabilities::new();
    if all(&service.cap_add) {
        set.extend(every_capability());
    } else if !all(&service.cap_drop) {
        for name in spec_defaults::CAPABILITIES {
            set.insert(capability(name)?);
        }
    }
    for name in service
        .cap_drop
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("all"))
    {
        set.remove(&capability(name)?);
    }
    for name in service
        .cap_add
        .iter()
        .filter(|name| !name.eq_ignore_ascii_case("all"))
    {
        set.insert(capability(name)?);
    }
    Ok(set)
}

fn capability(name: &str) -> Result<Capability, LowerError> {
    let upper = name.to_ascii_uppercase();
    Capability::from_str(upper.strip_prefix("CAP_").unwrap_or(&upper))
        .map_err(|_| LowerError::Capability(name.to_owned()))
}

fn every_capability() -> impl Iterator<Item = Capability> {
    hoist_spec::CAPABILITIES
        .iter()
        .filter_map(|name| Capability::from_str(name).ok())
}

/// `key` and value of an option: docker takes `=` and, from old times, `:`.
fn option(text: &str) -> (&str, &str) {
    text.split_once('=')
        .or_else(|| text.split_once(':'))
        .unwrap_or((text, ""))
}

pub(crate) fn no_new_privileges(service: &Service) -> Result<bool, LowerError> {
    let mut set = false;
    for text in &service.security_opt {
        match option(text) {
            ("no-new-privileges", "" | "true") => set = true,
            ("no-new-privileges", "false") => set = false,
            // Asks for less confinement than hoist gives; there is nothing to take away.
            ("seccomp" | "apparmor", "unconfined") | ("label", "disable") => {}
            _ => return Err(LowerError::SecurityOption(text.clone())),
        }
    }
    Ok(set)
}

pub(crate) fn seccomp(service: &Service) -> Result<Seccomp, LowerError> {
    no_new_privileges(service)?;
    let unconfined = service
        .security_opt
        .iter()
        .any(|text| option(text) == ("seccomp", "unconfined"));
    Ok(if unconfined || service.privileged {
        Seccomp::Unconfined
    } else {
        Seccomp::Default
    })
}

/// Name, soft, hard; below zero is none.
pub(crate) fn rlimits<'a>(
    limits: impl Iterator<Item = (&'a str, i64, i64)>,
) -> Result<Vec<PosixRlimit>, LowerError> {
    let value = |number: i64| u64::try_from(number).unwrap_or(u64::MAX);
    limits
        .map(|(name, soft, hard)| {
            let unknown = || LowerError::Limit(name.to_owned());
            let text = serde_json::Value::String(format!("RLIMIT_{}", name.to_ascii_uppercase()));
            let typ: PosixRlimitType = serde_json::from_value(text).map_err(|_| unknown())?;
            PosixRlimitBuilder::default()
                .typ(typ)
                .soft(value(soft))
                .hard(value(hard))
                .build()
                .map_err(|_| unknown())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> ImageDefaults {
        ImageDefaults {
            entrypoint: Some(vec!["/entry".into()]),
            cmd: Some(vec!["serve".into()]),
            env: vec!["PATH=/bin".into(), "A=1".into(), "B=2".into()],
            ..ImageDefaults::default()
        }
    }

    fn list(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn entrypoint_of_the_service_drops_the_images_command() {
        let service = Service {
            entrypoint: list(&["sh", "-c"]),
            ..Service::default()
        };
        assert_eq!(argv(&service, &image()).unwrap(), ["sh", "-c"]);
        let service = Service {
            command: list(&["other"]),
            ..Service::default()
        };
        assert_eq!(argv(&service, &image()).unwrap(), ["/entry", "other"]);
        assert_eq!(
            argv(&Service::default(), &image()).unwrap(),
            ["/entry", "serve"]
        );
    }

    #[test]
    fn cleared_entrypoint_leaves_the_command_alone() {
        let service = Service {
            entrypoint: Some(vec![]),
            command: list(&["ls"]),
            ..Service::default()
        };
        assert_eq!(argv(&service, &image()).unwrap(), ["ls"]);
        let nothing = Service {
            entrypoint: Some(vec![]),
            ..Service::default()
        };
        assert!(matches!(
            argv(&nothing, &image()),
            Err(LowerError::NoCommand)
        ));
    }

    #[test]
    fn service_environment_goes_over_the_images() {
        let mut service = Service::default();
        service.environment.insert("A".into(), Some("x".into()));
        service.environment.insert("B".into(), None);
        let env = environment(&service, &image(), "box");
        assert_eq!(env, ["PATH=/bin", "HOSTNAME=box", "A=x"]);
    }

    #[test]
    fn capabilities_are_dropped_before_they_are_added() {
        let service = Service {
            cap_drop: vec!["ALL".into()],
            cap_add: vec!["net_admin".into()],
            ..Service::default()
        };
        let set = capabilities(&service).unwrap();
        assert_eq!(set, Capabilities::from([Capability::NetAdmin]));
        let bad = Service {
            cap_add: vec!["FLY".into()],
            ..Service::default()
        };
        assert!(matches!(capabilities(&bad), Err(LowerError::Capability(_))));
    }

    #[test]
    fn unknown_security_options_are_refused() {
        let ok = Service {
            security_opt: vec!["no-new-privileges:true".into()],
            ..Service::default()
        };
        assert!(no_new_privileges(&ok).unwrap());
        let bad = Service {
            security_opt: vec!["seccomp=/x.json".into()],
            ..Service::default()
        };
        assert!(matches!(seccomp(&bad), Err(LowerError::SecurityOption(_))));
    }
}
