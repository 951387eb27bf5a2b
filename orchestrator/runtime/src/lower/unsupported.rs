//! What the standard has and this runtime does not do: refused by name, never left out in silence.

use oci_spec::runtime::{Hook, Hooks, Linux, LinuxNamespaceType, Process, Spec};

use super::invalid;
use crate::launch::LaunchError;

pub(super) fn refuse(spec: &Spec, linux: &Linux) -> Result<(), LaunchError> {
    let process = spec.process().as_ref();
    let found = of_linux(linux)
        .or_else(|| process.and_then(of_process))
        .or_else(|| {
            spec.hooks()
                .as_ref()
                .filter(|hooks| any_hook(hooks))
                .map(|_| "hooks are")
        });
    found.map_or(Ok(()), |what| Err(invalid(format!("{what} not supported"))))
}

fn of_linux(linux: &Linux) -> Option<&'static str> {
    let filled = |is_empty: Option<bool>| is_empty == Some(false);
    let has_users = linux
        .namespaces()
        .iter()
        .flatten()
        .any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    let cases = [
        (
            has_users
                || filled(linux.uid_mappings().as_ref().map(Vec::is_empty))
                || filled(linux.gid_mappings().as_ref().map(Vec::is_empty)),
            "user namespaces are",
        ),
        (
            filled(
                linux
                    .time_offsets()
                    .as_ref()
                    .map(|offsets| offsets.is_empty()),
            ),
            "offsets of time namespaces are",
        ),
        (
            filled(
                linux
                    .net_devices()
                    .as_ref()
                    .map(|devices| devices.is_empty()),
            ),
            "network devices of the host are",
        ),
        (linux.memory_policy().is_some(), "memory policies are"),
        (linux.intel_rdt().is_some(), "intelRdt is"),
    ];
    cases
        .into_iter()
        .find_map(|(present, what)| present.then_some(what))
}

fn of_process(process: &Process) -> Option<&'static str> {
    let named = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let cases = [
        (named(process.apparmor_profile()), "AppArmor profiles are"),
        (named(process.selinux_label()), "SELinux labels are"),
        (process.scheduler().is_some(), "process.scheduler is"),
        (process.io_priority().is_some(), "process.ioPriority is"),
        (
            process.exec_cpu_affinity().is_some(),
            "process.execCPUAffinity is",
        ),
    ];
    cases
        .into_iter()
        .find_map(|(present, what)| present.then_some(what))
}

fn any_hook(hooks: &Hooks) -> bool {
    let lists: [&Option<Vec<Hook>>; 6] = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    lists
        .iter()
        .any(|list| list.as_ref().is_some_and(|list| !list.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &str) -> String {
        let spec: Spec = serde_json::from_str(config).unwrap();
        let linux = spec.linux().clone().unwrap_or_default();
        refuse(&spec, &linux).unwrap_err().to_string()
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let process = |more: &str| {
            format!(
                r#"{{"ociVersion":"1.2.0","process":{{"cwd":"/","user":{{"uid":0,"gid":0}},{more}}}}}"#
            )
        };
        let linux = |more: &str| format!(r#"{{"ociVersion":"1.2.0","linux":{{{more}}}}}"#);
        for (config, name) in [
            (
                process(r#""scheduler":{"policy":"SCHED_BATCH","nice":1}"#),
                "process.scheduler",
            ),
            (
                process(r#""ioPriority":{"class":"IOPRIO_CLASS_IDLE","priority":1}"#),
                "process.ioPriority",
            ),
            (process(r#""apparmorProfile":"mine""#), "AppArmor"),
            (
                linux(r#""timeOffsets":{"boottime":{"secs":10,"nanosecs":0}}"#),
                "time namespaces",
            ),
            (
                linux(r#""gidMappings":[{"containerID":0,"hostID":1000,"size":1}]"#),
                "user namespaces",
            ),
            (
                r#"{"ociVersion":"1.2.0","hooks":{"poststop":[{"path":"/bin/true"}]}}"#.to_owned(),
                "hooks",
            ),
        ] {
            let error = refused(&config);
            assert!(
                error.contains(name) && error.ends_with("not supported"),
                "{error}"
            );
        }
    }

    #[test]
    fn empty_lists_ask_for_nothing() {
        let config = r#"{"ociVersion":"1.2.0","hooks":{"poststop":[]},"linux":{"timeOffsets":{},"uidMappings":[]}}"#;
        let spec: Spec = serde_json::from_str(config).unwrap();
        refuse(&spec, &spec.linux().clone().unwrap()).unwrap();
    }
}
