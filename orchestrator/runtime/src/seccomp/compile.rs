//! Profile to BPF, by libseccomp, with a head of our own for calls that are younger than the profile.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _};
use std::sync::{Arc, Mutex, PoisonError};

use libseccomp::error::SeccompError;
use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
};
use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompOperator as Operator, LinuxSyscall,
};
use rustix::fs::MemfdFlags;

use super::{default_profile, table};
use crate::capabilities;

static COMPILED: Mutex<BTreeMap<u64, Arc<Vec<u8>>>> = Mutex::new(BTreeMap::new());

/// Docker's default for this capability mask; compiled once an engine life.
pub(crate) fn compiled_default(mask: u64) -> Result<Arc<Vec<u8>>, String> {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(program) = compiled.get(&mask) {
        return Ok(Arc::clone(program));
    }
    let names: Vec<String> = capabilities::names(mask).collect();
    let program = Arc::new(compile(&default_profile(&names))?);
    compiled.insert(mask, Arc::clone(&program));
    Ok(program)
}

pub(crate) fn compile(profile: &LinuxSeccomp) -> Result<Vec<u8>, String> {
    if profile.listener_path().is_some() {
        return Err("seccomp notification listeners are not supported".to_owned());
    }
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let text = |error: SeccompError| error.to_string();
    let mut filter = ScmpFilterContext::new(default).map_err(text)?;
    filter.set_ctl_nnp(false).map_err(text)?;
    filter
        .set_act_badarch(ScmpAction::Errno(libc::EPERM))
        .map_err(text)?;
    // A search tree instead of a list: 300 calls are found in 9 comparisons.
    filter.set_ctl_optimize(2).map_err(text)?;
    for wanted in profile.architectures().iter().flatten() {
        if let Some(arch) = architecture(*wanted) {
            filter.add_arch(arch).map_err(text)?;
        }
    }
    let mut youngest = 0;
    for rule in profile.syscalls().iter().flatten() {
        youngest = youngest.max(add_rule(&mut filter, rule, default)?);
    }
    let mut program = export(&filter)?;
    if matches!(default, ScmpAction::Errno(_)) && youngest > 0 {
        program.splice(0..0, unknown_calls(youngest));
    }
    Ok(program)
}

/// Gives the highest number among the rule's calls. Unknown names are left out, as in every runtime: a
/// profile is written for many kernels and machines.
fn add_rule(
    filter: &mut ScmpFilterContext,
    rule: &LinuxSyscall,
    default: ScmpAction,
) -> Result<i32, String> {
    let action = action(rule.action(), rule.errno_ret())?;
    let mut youngest = 0;
    let args = rule.args().as_deref().unwrap_or_default();
    let compares = args.iter().map(compare).collect::<Result<Vec<_>, _>>()?;
    let repeated = args.iter().enumerate().any(|(i, arg)| {
        args[..i]
            .iter()
            .any(|earlier| earlier.index() == arg.index())
    });
    for name in rule.names() {
        let Some(number) = number(name) else { continue };
        youngest = youngest.max(number);
        if action == default {
            continue;
        }
        let call = ScmpSyscall::from(number);
        let named = |error: SeccompError| format!("{name}: {error}");
        if compares.is_empty() {
            filter.add_rule(action, call).map_err(named)?;
        } else if repeated {
            // The library knows no two conditions on one argument; the profiles mean "either" by it.
            for compare in &compares {
                filter
                    .add_rule_conditional(action, call, &[*compare])
                    .map_err(named)?;
            }
        } else {
            filter
                .add_rule_conditional(action, call, &compares)
                .map_err(named)?;
        }
    }
    Ok(youngest)
}

fn number(name: &str) -> Option<i32> {
    if name == "uretprobe" && cfg!(target_arch = "x86_64") {
        return Some(335);
    }
    let young = table::YOUNG
        .iter()
        .find(|(young, _)| *young == name)
        .map(|(_, number)| *number);
    // The library has negative numbers of its own for calls of other machines.
    young.or_else(|| {
        ScmpSyscall::from_name(name)
            .ok()
            .map(i32::from)
            .filter(|number| *number >= 0)
    })
}

fn compare(arg: &LinuxSeccompArg) -> Result<ScmpArgCompare, String> {
    let index = u32::try_from(arg.index())
        .map_err(|_| format!("argument {} does not exist", arg.index()))?;
    let second = arg.value_two().unwrap_or(0);
    let (operator, datum) = match arg.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Operator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), second),
    };
    Ok(ScmpArgCompare::new(index, operator, datum))
}

fn action(action: Action, errno: Option<u32>) -> Result<ScmpAction, String> {
    let errno_or = |default: i32| {
        errno
            .map_or(Ok(default), i32::try_from)
            .map_err(|_| "errno is out of range".to_owned())
    };
    Ok(match action {
        Action::ScmpActKill | Action::ScmpActKillThread => ScmpAction::KillThread,
        Action::ScmpActKillProcess => ScmpAction::KillProcess,
        Action::ScmpActTrap => ScmpAction::Trap,
        Action::ScmpActErrno => ScmpAction::Errno(errno_or(libc::EPERM)?),
        Action::ScmpActTrace => {
            ScmpAction::Trace(u16::try_from(errno_or(libc::EPERM)?).map_err(|e| e.to_string())?)
        }
        Action::ScmpActLog => ScmpAction::Log,
        Action::ScmpActAllow => ScmpAction::Allow,
        Action::ScmpActNotify => return Err("seccomp notification is not supported".to_owned()),
    })
}

/// Those that a process on this machine can be of; the native one is always in.
fn architecture(arch: Arch) -> Option<ScmpArch> {
    match (
        arch,
        cfg!(target_arch = "x86_64"),
        cfg!(target_arch = "aarch64"),
    ) {
        (Arch::ScmpArchX86, true, _) => Some(ScmpArch::X86),
        (Arch::ScmpArchX32, true, _) => Some(ScmpArch::X32),
        (Arch::ScmpArchArm, _, true) => Some(ScmpArch::Arm),
        _ => None,
    }
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, String> {
    let memfd = rustix::fs::memfd_create("hoist-seccomp", MemfdFlags::CLOEXEC)
        .map_err(|error| error.to_string())?;
    let mut file = std::fs::File::from(memfd);
    filter
        .export_bpf(&file)
        .map_err(|error| error.to_string())?;
    let mut program = Vec::new();
    file.rewind()
        .and_then(|()| file.read_to_end(&mut program))
        .map_err(|error| error.to_string())?;
    Ok(program)
}

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// From here on numbers are x32's, which are not the machine's own.
const X32_BIT: u32 = 0x4000_0000;

/// Calls that are younger than the profile must look as if the kernel lacked them: programs fall back on ENOSYS and
/// give up on EPERM.
fn unknown_calls(youngest: i32) -> Vec<u8> {
    const LOAD: u16 = 0x20;
    const JUMP_EQUAL: u16 = 0x15;
    const JUMP_ABOVE: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const ARCH: u32 = 4;
    const NUMBER: u32 = 0;
    const ERRNO: u32 = 0x0005_0000;
    let program: [(u16, u8, u8, u32); 6] = [
        (LOAD, 0, 0, ARCH),
        (JUMP_EQUAL, 0, 4, NATIVE),
        (LOAD, 0, 0, NUMBER),
        (JUMP_ABOVE, 0, 2, youngest.unsigned_abs()),
        (JUMP_ABOVE, 1, 0, X32_BIT - 1),
        (RETURN, 0, 0, ERRNO | libc::ENOSYS.unsigned_abs()),
    ];
    let mut bytes = Vec::new();
    for (code, on_true, on_false, operand) in program {
        bytes.extend(code.to_ne_bytes());
        bytes.extend([on_true, on_false]);
        bytes.extend(operand.to_ne_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_profile_compiles_once_and_small() {
        let first = compiled_default(0).unwrap();
        assert!(Arc::ptr_eq(&first, &compiled_default(0).unwrap()));
        assert!(
            first.len() / 8 < 4096,
            "the kernel's limit: {}",
            first.len() / 8
        );
    }

    #[test]
    fn every_name_of_the_table_is_known() {
        let conditional = table::WITH_CAPABILITY
            .iter()
            .flat_map(|(_, calls)| calls.split_whitespace());
        for name in table::ALWAYS.split_whitespace().chain(conditional) {
            let elsewhere = ["arch_prctl", "modify_ldt", "ioperm", "iopl", "uretprobe"];
            assert!(
                number(name).is_some() || elsewhere.contains(&name),
                "{name}"
            );
        }
    }
}
