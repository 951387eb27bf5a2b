//! seccomp profiles: docker's default as data, and their compilation to BPF.
//!
//! Compilation happens in the engine; the container child only installs the bytes.

#[cfg(feature = "seccomp")]
mod compile;
mod table;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator as Operator, LinuxSyscall, LinuxSyscallBuilder,
};

#[cfg(feature = "seccomp")]
pub(crate) use compile::{compile, compiled_default};

const COMPLETE: &str = "every field without a default is given";

/// The shim's build: it is handed compiled filters.
#[cfg(not(feature = "seccomp"))]
pub(crate) fn compile(_profile: &LinuxSeccomp) -> Result<Vec<u8>, String> {
    Err("this build cannot compile seccomp profiles".to_owned())
}

#[cfg(not(feature = "seccomp"))]
pub(crate) fn compiled_default(_capabilities: u64) -> Result<std::sync::Arc<Vec<u8>>, String> {
    Err("this build cannot compile seccomp profiles".to_owned())
}

/// Docker's default profile for a container with these capabilities (`CAP_…` names).
#[must_use]
pub fn default_profile(capabilities: &[String]) -> LinuxSeccomp {
    let has = |name: &str| capabilities.iter().any(|have| have == name);
    let mut names: Vec<&str> = table::ALWAYS.split_whitespace().collect();
    for (capability, calls) in table::WITH_CAPABILITY {
        if has(capability) {
            names.extend(
                calls
                    .split_whitespace()
                    .filter(|call| !names.contains(call))
                    .collect::<Vec<_>>(),
            );
        }
    }
    let mut rules = vec![rule(&names, Action::ScmpActAllow, &[])];
    for persona in table::PERSONALITIES {
        rules.push(rule(
            &["personality"],
            Action::ScmpActAllow,
            &[arg(Operator::ScmpCmpEq, persona, None)],
        ));
    }
    for (operator, family) in [
        (Operator::ScmpCmpLt, table::AF_ALG),
        (Operator::ScmpCmpEq, table::AF_ALG + 1),
        (Operator::ScmpCmpGt, table::AF_VSOCK),
    ] {
        rules.push(rule(
            &["socket"],
            Action::ScmpActAllow,
            &[arg(operator, family, None)],
        ));
    }
    if !has("CAP_SYS_ADMIN") {
        let no_namespace = arg(Operator::ScmpCmpMaskedEq, table::NAMESPACE_FLAGS, Some(0));
        rules.push(rule(&["clone"], Action::ScmpActAllow, &[no_namespace]));
        // Its flags are behind a pointer; libc falls back to clone when told that there is no such call.
        let mut clone3 = rule(&["clone3"], Action::ScmpActErrno, &[]);
        clone3.set_errno_ret(Some(libc::ENOSYS.unsigned_abs()));
        rules.push(clone3);
    }
    LinuxSeccompBuilder::default()
        .default_action(Action::ScmpActErrno)
        .default_errno_ret(libc::EPERM.unsigned_abs())
        .syscalls(rules)
        .build()
        .expect(COMPLETE)
}

fn rule(names: &[&str], action: Action, args: &[LinuxSeccompArg]) -> LinuxSyscall {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    LinuxSyscallBuilder::default()
        .names(names)
        .action(action)
        .args(args)
        .build()
        .expect(COMPLETE)
}

/// On the first argument.
fn arg(operator: Operator, value: u64, second: Option<u64>) -> LinuxSeccompArg {
    let builder = LinuxSeccompArgBuilder::default()
        .index(0usize)
        .value(value)
        .op(operator);
    let builder = if let Some(second) = second {
        builder.value_two(second)
    } else {
        builder
    };
    builder.build().expect(COMPLETE)
}
