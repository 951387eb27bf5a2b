//! The process part, for starts and execs.

use oci_spec::runtime::{
    Linux, LinuxPersonalityDomain, LinuxSeccompFilterFlag, PosixRlimitType, Process, User,
};

use super::invalid;
use crate::capabilities;
use crate::exec::{ExecRequest, ExecStdio};
use crate::launch::{Launch, LaunchError, Seccomp};
use crate::seccomp;
use crate::wire::{Payload, ProcessConfig, RlimitConfig, SeccompConfig, UserConfig};

pub(super) fn numeric_user(user: &User) -> UserConfig {
    UserConfig::Numeric {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
    }
}

/// A process of a container, main or exec: the spec's settings apply to all.
struct ContainerProcess<'a> {
    id: &'a str,
    process: &'a Process,
    user: UserConfig,
    group_add: &'a [String],
    seccomp: Seccomp,
    privileged: bool,
    linux: &'a Linux,
    tty: bool,
    console_size: Option<(u16, u16)>,
    make_cwd: bool,
}

pub(super) fn of_spec(
    launch: &Launch,
    process: &Process,
    linux: &Linux,
    user: UserConfig,
    payload: &mut Payload,
) -> Result<ProcessConfig, LaunchError> {
    let asked = ContainerProcess {
        id: &launch.id,
        process,
        user,
        group_add: &launch.group_add,
        seccomp: launch.seccomp,
        privileged: launch.privileged,
        linux,
        tty: launch.tty,
        console_size: process.console_size().as_ref().map(|size| {
            let side = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            (side(size.height()), side(size.width()))
        }),
        make_cwd: true,
    };
    config(asked, payload)
}

pub(super) fn of_exec(
    request: &ExecRequest,
    payload: &mut Payload,
) -> Result<ProcessConfig, LaunchError> {
    let (tty, console_size) = match request.stdio {
        ExecStdio::Tty { rows, columns } => {
            (true, (rows > 0 && columns > 0).then_some((rows, columns)))
        }
        ExecStdio::Fds { .. } => (false, None),
    };
    let asked = ContainerProcess {
        id: &request.id,
        process: &request.process,
        user: UserConfig::Named(request.user.clone().unwrap_or_default()),
        group_add: &request.group_add,
        seccomp: request.seccomp,
        privileged: request.privileged,
        linux: &Linux::default(),
        tty,
        console_size,
        make_cwd: false,
    };
    config(asked, payload)
}

// One flat mapping: a line for each field of the configuration.
fn config(
    asked: ContainerProcess<'_>,
    payload: &mut Payload,
) -> Result<ProcessConfig, LaunchError> {
    let ContainerProcess {
        process,
        linux,
        privileged,
        ..
    } = asked;
    let sets = process.capabilities().as_ref();
    let all = capabilities::own();
    let mask = |set: Option<&_>| {
        if privileged {
            Ok(all)
        } else {
            capabilities::mask_of(set).map_err(invalid)
        }
    };
    let argv = process
        .args()
        .clone()
        .filter(|argv| !argv.is_empty())
        .ok_or_else(|| invalid("no command"))?;
    let bounding = mask(sets.and_then(|sets| sets.bounding().as_ref()))?;
    // Of these docker sets none, and privileged makes no exception.
    let quiet = |set: Option<&_>| {
        if privileged {
            Ok(0)
        } else {
            capabilities::mask_of(set).map_err(invalid)
        }
    };
    Ok(ProcessConfig {
        argv,
        env: process.env().clone().unwrap_or_default(),
        cwd: process
            .cwd()
            .to_str()
            .ok_or_else(|| invalid("the working directory is not UTF-8"))?
            .to_owned(),
        make_cwd: asked.make_cwd,
        user: asked.user,
        group_add: asked.group_add.to_vec(),
        bounding,
        effective: mask(sets.and_then(|sets| sets.effective().as_ref()))?,
        permitted: mask(sets.and_then(|sets| sets.permitted().as_ref()))?,
        inheritable: quiet(sets.and_then(|sets| sets.inheritable().as_ref()))?,
        ambient: quiet(sets.and_then(|sets| sets.ambient().as_ref()))?,
        rlimits: rlimits(process)?,
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        oom_score_adj: process.oom_score_adj(),
        umask: process.user().umask(),
        personality: linux
            .personality()
            .as_ref()
            .map(|persona| match persona.domain() {
                LinuxPersonalityDomain::PerLinux => 0,
                LinuxPersonalityDomain::PerLinux32 => 8,
            }),
        tty: asked.tty,
        console_size: asked.console_size,
        seccomp: filter(asked.seccomp, privileged, bounding, linux, payload)?,
        id: asked.id.to_owned(),
    })
}

fn filter(
    choice: Seccomp,
    privileged: bool,
    bounding: u64,
    linux: &Linux,
    payload: &mut Payload,
) -> Result<Option<SeccompConfig>, LaunchError> {
    let program = match choice {
        _ if privileged => return Ok(None),
        Seccomp::Unconfined => return Ok(None),
        Seccomp::Default => seccomp::compiled_default(bounding).map(|program| program.to_vec()),
        Seccomp::FromSpec => match linux.seccomp() {
            Some(profile) => seccomp::compile(profile),
            None => return Ok(None),
        },
    }
    .map_err(LaunchError::Seccomp)?;
    let flags = linux
        .seccomp()
        .as_ref()
        .filter(|_| choice == Seccomp::FromSpec)
        .and_then(|profile| profile.flags().as_ref());
    let flags = flags.into_iter().flatten().try_fold(0, |bits, flag| {
        Ok(bits
            | match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => {
                    libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW
                }
                other => return Err(invalid(format!("seccomp flag {other} is not supported"))),
            })
    })?;
    Ok(Some(SeccompConfig {
        program: payload.push(&program),
        flags,
    }))
}

fn rlimits(process: &Process) -> Result<Vec<RlimitConfig>, LaunchError> {
    let mut out: Vec<RlimitConfig> = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        let name = limit.typ().to_string();
        if out.iter().any(|earlier| earlier.name == name) {
            return Err(invalid(format!("{name} is set twice")));
        }
        if limit.soft() > limit.hard() {
            return Err(invalid(format!(
                "{name}: the soft limit {} is above the hard one {}",
                limit.soft(),
                limit.hard()
            )));
        }
        out.push(RlimitConfig {
            resource: number(limit.typ()),
            name,
            soft: limit.soft(),
            hard: limit.hard(),
        });
    }
    Ok(out)
}

fn number(kind: PosixRlimitType) -> i32 {
    use PosixRlimitType as Kind;
    let number = match kind {
        Kind::RlimitCpu => libc::RLIMIT_CPU,
        Kind::RlimitFsize => libc::RLIMIT_FSIZE,
        Kind::RlimitData => libc::RLIMIT_DATA,
        Kind::RlimitStack => libc::RLIMIT_STACK,
        Kind::RlimitCore => libc::RLIMIT_CORE,
        Kind::RlimitRss => libc::RLIMIT_RSS,
        Kind::RlimitNproc => libc::RLIMIT_NPROC,
        Kind::RlimitNofile => libc::RLIMIT_NOFILE,
        Kind::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        Kind::RlimitAs => libc::RLIMIT_AS,
        Kind::RlimitLocks => libc::RLIMIT_LOCKS,
        Kind::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        Kind::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        Kind::RlimitNice => libc::RLIMIT_NICE,
        Kind::RlimitRtprio => libc::RLIMIT_RTPRIO,
        Kind::RlimitRttime => libc::RLIMIT_RTTIME,
    };
    i32::try_from(number).expect("resource numbers are small")
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{PosixRlimitBuilder, ProcessBuilder};

    use super::*;
    use crate::launch::{Join, Netns, Rootfs};
    use crate::spec_defaults;

    fn process() -> Process {
        let limit = PosixRlimitBuilder::default()
            .typ(PosixRlimitType::RlimitNofile)
            .soft(7u64)
            .hard(8u64)
            .build();
        ProcessBuilder::default()
            .args(["true".to_owned()])
            .env(["A=1".to_owned()])
            .cwd("/srv")
            .capabilities(spec_defaults::capabilities(["CAP_KILL"]))
            .rlimits([limit.unwrap()])
            .oom_score_adj(300)
            .no_new_privileges(true)
            .build()
            .unwrap()
    }

    #[test]
    fn an_exec_is_all_that_the_main_process_is() {
        let (process, linux) = (process(), Linux::default());
        let mut payload = Payload::default();
        let launch = Launch {
            id: "c".into(),
            bundle: "/b".into(),
            spec: spec_defaults::spec(),
            rootfs: Rootfs::Dir("/r".into()),
            netns: Netns::Host,
            user: Some("web".into()),
            group_add: vec!["log".into()],
            log: None,
            exit_record: "/e".into(),
            tty: false,
            stdin_open: false,
            stdin_once: false,
            files: Vec::new(),
            trees: Vec::new(),
            init: false,
            join: Join::default(),
            seccomp: Seccomp::Default,
            privileged: false,
        };
        let user = UserConfig::Named("web".into());
        let main = of_spec(&launch, &process, &linux, user, &mut payload).unwrap();
        let request = ExecRequest {
            id: "c".into(),
            pid: 1,
            process,
            user: Some("web".into()),
            group_add: vec!["log".into()],
            seccomp: Seccomp::Default,
            privileged: false,
            stdio: ExecStdio::Fds {
                stdin: None,
                stdout: None,
                stderr: None,
            },
        };
        let exec = of_exec(&request, &mut payload).unwrap();
        let value = |config: &ProcessConfig| {
            let mut value = serde_json::to_value(config).unwrap();
            let fields = value.as_object_mut().unwrap();
            // Only a start makes its working folder; the filters are equal, but each has its place in the payload.
            assert!(
                fields.remove("make_cwd").is_some()
                    && fields
                        .remove("seccomp")
                        .is_some_and(|filter| !filter.is_null())
            );
            value
        };
        assert_eq!(value(&exec), value(&main));
    }
}
