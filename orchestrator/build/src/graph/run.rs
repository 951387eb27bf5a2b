//! RUN → steps, with its mounts and heredocs.

use std::collections::BTreeMap;

use super::lower::{DEFAULT_PATH, Lowering, Place, Stage, inside};
use super::step::{AgentUse, RunMountSource, RunMountStep, SecretUse};
use super::{Op, Origin, RunStepOp};

use crate::dockerfile::{Command, Mount, MountKind, Run};
use crate::request::{Entitlement, NetworkMode, SecretBytes};
use crate::step::RunFile;
use crate::{Diagnostic, Span, Spanned};

/// What the mounts of one RUN come to.
#[derive(Debug, Default)]
struct Lent {
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
        place: Place<'_>,
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
        let network = match &run.network {
            None => self.request.network.clone(),
            Some(network) => match network.value.as_str() {
                "default" => self.request.network.clone(),
                "none" => NetworkMode::None,
                "host" if self.request.network == NetworkMode::Host => NetworkMode::Host,
                "host" => {
                    self.entitled(Entitlement::NetworkHost, network.span)?;
                    NetworkMode::Host
                }
                other => {
                    return Err(Diagnostic::error(network.span, format!("unknown network {other:?}"))
                        .hint("--network is default, none or host"));
                }
            },
        };
        if let Some(span) = run.insecure {
            self.entitled(Entitlement::SecurityInsecure, span)?;
        }
        let mut lent = Lent::default();
        for mount in &run.mounts {
            self.mount(place, mount, stage, done, &mut lent)?;
        }
        if let Some(agent) = lent.agents.first()
            && !env.iter().any(|line| line.starts_with("SSH_AUTH_SOCK="))
        {
            env.push(format!("SSH_AUTH_SOCK={}", agent.target));
        }
        stage.takes(argv.iter().chain(&env).map(String::len).sum());
        let cwd = if stage.execution.working_dir.is_empty() { "/" } else { &stage.execution.working_dir };
        let op = Op::Run(Box::new(RunStepOp {
            argv: argv.clone(),
            env,
            proxies: stage.scope.proxy_lines(self.globals()),
            cwd: cwd.to_owned(),
            user: stage.user(),
            network,
            mounts: lent.mounts,
            secrets: lent.secrets,
            agents: lent.agents,
            insecure: run.insecure.is_some(),
            platform: (!stage.platform.is_native()).then(|| stage.platform.to_string()),
            files,
        }));
        let shown_args = if args.is_empty() { String::new() } else { format!("|{} {} ", args.len(), args.join(" ")) };
        let created_by = format!("RUN {shown_args}{}", argv.join(" "));
        let parent = stage.tree.clone();
        self.push(place, parent, op, created_by, stage);
        Ok(())
    }

    fn mount(
        &mut self,
        place: Place<'_>,
        mount: &Mount,
        stage: &Stage,
        done: &BTreeMap<usize, Stage>,
        lent: &mut Lent,
    ) -> Result<(), Diagnostic> {
        let escape = self.escape();
        let kind = mount.kind(&|value| stage.expand(&Spanned { value: value.to_owned(), span: mount.span }, escape))?;
        let from = mount.from.as_ref().map(|from| self.origin(place, from, mount.span, done)).transpose()?;
        let (target, source) = match kind {
            MountKind::Bind { target, source, writable } => {
                let (origin, path) = (from.unwrap_or(Origin::Context), inside(&source));
                (target, RunMountSource::Files { origin, path, writable })
            }
            MountKind::Cache { target, id, source, sharing, read_only, owner } => {
                let base = from.map(|from| (from, inside(&source)));
                (target, RunMountSource::Cache { id, base, sharing, read_only, owner })
            }
            MountKind::Tmpfs { target, size, read_only } => (target, RunMountSource::Tmpfs { size, read_only }),
            MountKind::Secret { id, target, env, required, owner } => {
                let target = target.map(|target| stage.absolute(&target));
                lent.secrets.push(SecretUse { id, target, env, required, owner });
                return Ok(());
            }
            MountKind::Ssh { id, target, required, owner } => {
                let target = match target {
                    Some(target) => stage.absolute(&target),
                    None => format!("/run/buildkit/ssh_agent.{}", lent.agents.len()),
                };
                lent.agents.push(AgentUse { id, target, required, owner });
                return Ok(());
            }
        };
        let target = stage.absolute(&target);
        if target == "/" {
            return Err(Diagnostic::error(mount.span, "a mount cannot cover the root of the step")
                .hint("give it a target; without one, it is the working directory, which WORKDIR sets"));
        }
        lent.mounts.push(RunMountStep { target, source });
        Ok(())
    }
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
        let file = RunFile { path: path.clone(), content, uid: 0, gid: 0, mode: 0o755 };
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
