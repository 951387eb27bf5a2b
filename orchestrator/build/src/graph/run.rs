//! RUN → steps, with its mounts and heredocs.

use std::collections::BTreeMap;

use super::lower::{CurrentInstruction, DEFAULT_PATH, Lowering, Stage, inside};
use super::step::{AgentUse, RunMountSource, RunMountStep, SecretUse};
use super::{Op, Origin, RunStepOp};

use crate::dockerfile::{Command, Mount, MountKind, Run, SecretMount, SshMount};
use crate::request::{Entitlement, NetworkMode, SecretBytes};
use crate::step::RunFile;
use crate::{Diagnostic, Span, Spanned};

/// The `--mount` options of one RUN, lowered.
#[derive(Debug, Default)]
struct StepMounts {
    mounts: Vec<RunMountStep>,
    secrets: Vec<SecretUse>,
    agents: Vec<AgentUse>,
}

impl Lowering<'_> {
    fn entitled(&self, entitlement: Entitlement, span: Span) -> Result<(), Diagnostic> {
        if self.request.entitlements.contains(&entitlement) {
            return Ok(());
        }
        Err(Diagnostic::error(span, format!("this build is not entitled to {entitlement}"))
            .hint(format!("allow it with --allow {entitlement}, or in the stack's build section under entitlements")))
    }

    pub(super) fn run(
        &mut self,
        current: CurrentInstruction<'_>,
        run: &Run,
        stage: &mut Stage,
        done: &BTreeMap<usize, Stage>,
    ) -> Result<(), Diagnostic> {
        let (command, files) = with_heredocs(run);
        let argv = stage.argv(&command);
        let args = stage.scope.arg_lines();
        let mut env = stage.scope.seen_lines();
        if !env.iter().any(|line| line.starts_with("PATH=")) {
            env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let network = self.network(run.network.as_ref())?;
        if let Some(span) = run.insecure {
            self.entitled(Entitlement::SecurityInsecure, span)?;
        }
        let mut mounts = StepMounts::default();
        for mount in &run.mounts {
            self.mount(current, mount, stage, done, &mut mounts)?;
        }
        if let Some(agent) = mounts.agents.first()
            && !env.iter().any(|line| line.starts_with("SSH_AUTH_SOCK="))
        {
            env.push(format!("SSH_AUTH_SOCK={}", agent.target));
        }
        stage.charge(argv.iter().chain(&env).map(String::len).sum());
        let cwd = if stage.execution.working_dir.is_empty() {
            "/"
        } else {
            &stage.execution.working_dir
        };
        let op = Op::Run(Box::new(RunStepOp {
            argv: argv.clone(),
            env,
            proxies: stage.scope.proxy_lines(self.globals()),
            cwd: cwd.to_owned(),
            user: stage.user(),
            network,
            mounts: mounts.mounts,
            secrets: mounts.secrets,
            agents: mounts.agents,
            insecure: run.insecure.is_some(),
            platform: (!stage.platform.is_native()).then(|| stage.platform.to_string()),
            files,
        }));
        let shown_args = if args.is_empty() {
            String::new()
        } else {
            format!("|{} {} ", args.len(), args.join(" "))
        };
        let created_by = format!("RUN {shown_args}{}", argv.join(" "));
        let parent = stage.tree.clone();
        self.push(current, parent, op, created_by, stage);
        Ok(())
    }

    /// `--network` of a RUN, over the network of the whole build.
    fn network(&self, flag: Option<&Spanned<String>>) -> Result<NetworkMode, Diagnostic> {
        let Some(flag) = flag else {
            return Ok(self.request.network.clone());
        };
        match flag.value.as_str() {
            "default" => Ok(self.request.network.clone()),
            "none" => Ok(NetworkMode::None),
            "host" => {
                if self.request.network != NetworkMode::Host {
                    self.entitled(Entitlement::NetworkHost, flag.span)?;
                }
                Ok(NetworkMode::Host)
            }
            other => Err(
                Diagnostic::error(flag.span, format!("unknown network {other:?}"))
                    .hint("--network is default, none or host"),
            ),
        }
    }

    fn mount(
        &mut self,
        current: CurrentInstruction<'_>,
        mount: &Mount,
        stage: &Stage,
        done: &BTreeMap<usize, Stage>,
        mounts: &mut StepMounts,
    ) -> Result<(), Diagnostic> {
        let escape = self.escape();
        let kind = mount.kind(&|value| {
            stage.expand(
                &Spanned {
                    value: value.to_owned(),
                    span: mount.span,
                },
                escape,
            )
        })?;
        let from = mount
            .from
            .as_ref()
            .map(|from| self.origin(current, from, mount.span, done))
            .transpose()?;
        let (target, source) = match kind {
            MountKind::Bind {
                target,
                source,
                writable,
            } => {
                let (origin, path) = (from.unwrap_or(Origin::Context), inside(&source));
                (
                    target,
                    RunMountSource::Files {
                        origin,
                        path,
                        writable,
                    },
                )
            }
            MountKind::Cache {
                target,
                id,
                source,
                sharing,
                read_only,
                owner,
            } => {
                let base = from.map(|from| (from, inside(&source)));
                (
                    target,
                    RunMountSource::Cache {
                        id,
                        base,
                        sharing,
                        read_only,
                        owner,
                    },
                )
            }
            MountKind::Tmpfs {
                target,
                size,
                read_only,
            } => (target, RunMountSource::Tmpfs { size, read_only }),
            MountKind::Secret(secret) => {
                mounts.secret(secret, stage);
                return Ok(());
            }
            MountKind::Ssh(agent) => {
                mounts.agent(agent, stage);
                return Ok(());
            }
        };
        let target = mount_point(&target, stage, mount.span)?;
        mounts.mounts.push(RunMountStep { target, source });
        Ok(())
    }
}

impl StepMounts {
    fn secret(&mut self, mount: SecretMount, stage: &Stage) {
        let SecretMount {
            id,
            target,
            env,
            required,
            owner,
        } = mount;
        let target = target.map(|target| stage.absolute(&target));
        self.secrets.push(SecretUse {
            id,
            target,
            env,
            required,
            owner,
        });
    }

    fn agent(&mut self, mount: SshMount, stage: &Stage) {
        let SshMount {
            id,
            target,
            required,
            owner,
        } = mount;
        let target = match target {
            Some(target) => stage.absolute(&target),
            None => format!("/run/buildkit/ssh_agent.{}", self.agents.len()),
        };
        self.agents.push(AgentUse {
            id,
            target,
            required,
            owner,
        });
    }
}

fn mount_point(target: &str, stage: &Stage, span: Span) -> Result<String, Diagnostic> {
    let target = stage.absolute(target);
    if target == "/" {
        return Err(
            Diagnostic::error(span, "a mount cannot cover the root of the step").hint(
                "give it a target; without one, it is the working directory, which WORKDIR sets",
            ),
        );
    }
    Ok(target)
}

/// The shell gets the bodies as they stand, unless the command is nothing but a heredoc: then the body is the script.
fn with_heredocs(run: &Run) -> (Command, Vec<RunFile>) {
    let (Command::Shell(line), Some(first)) = (&run.command, run.heredocs.first()) else {
        return (run.command.clone(), Vec::new());
    };
    if run.heredocs.len() == 1 && line.trim() == first.marker {
        if !first.content.starts_with("#!") {
            return (Command::Shell(first.content.clone()), Vec::new());
        }
        let path = format!("/dev/pipes/{}", first.name);
        let content = SecretBytes(first.content.clone().into_bytes());
        let file = RunFile {
            path: path.clone(),
            content,
            uid: 0,
            gid: 0,
            mode: 0o755,
        };
        return (Command::Shell(path), vec![file]);
    }
    let mut script = line.clone();
    for heredoc in &run.heredocs {
        script.push('\n');
        script.push_str(&heredoc.raw);
        script.push_str(&heredoc.name);
    }
    script.push('\n');
    (Command::Shell(script), Vec::new())
}
