//! The instructions of a Dockerfile as types. Values are as written: variables are not expanded yet.

use super::lines::Heredoc;
use crate::diagnostic::{Span, Spanned};

#[derive(Debug, Clone)]
pub struct Stage {
    /// What follows FROM: an image, an earlier stage, or `scratch`; may hold global ARGs.
    pub base: Spanned<String>,
    pub platform: Option<Spanned<String>>,
    /// Lower case.
    pub name: Option<Spanned<String>>,
    /// The FROM line as written.
    pub text: String,
    pub span: Span,
    pub instructions: Vec<Instruction>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    pub kind: Kind,
    /// One line, as written but for joined continuations.
    pub text: String,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Add(Copy),
    Arg(Vec<ArgPair>),
    Cmd(Command),
    Copy(Copy),
    Entrypoint(Command),
    Env(Vec<Pair>),
    Expose(Vec<Spanned<String>>),
    Healthcheck(Health),
    Label(Vec<Pair>),
    Maintainer(String),
    /// The trigger as text: it is parsed again where it fires.
    OnBuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(Spanned<String>),
    User(Spanned<String>),
    Volume(Vec<Spanned<String>>),
    Workdir(Spanned<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    pub name: Spanned<String>,
    pub value: Spanned<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgPair {
    pub name: Spanned<String>,
    pub default: Option<Spanned<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// One line for the stage's shell.
    Shell(String),
    Exec(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub sources: Vec<CopySource>,
    pub destination: Spanned<String>,
    pub from: Option<Spanned<String>>,
    pub chown: Option<Spanned<String>>,
    pub chmod: Option<Spanned<String>>,
    /// The layer does not depend on what is below it.
    pub link: bool,
    pub exclude: Vec<Spanned<String>>,
    /// Sources keep the folders that they are in, from `/./` on.
    pub parents: bool,
    /// Of what ADD downloads.
    pub checksum: Option<Spanned<String>>,
    pub keep_git_dir: bool,
    /// `None`: local archives are unpacked, downloaded ones are not.
    pub unpack: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    Path(Spanned<String>),
    Heredoc(Heredoc),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    pub command: Command,
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<Mount>,
    pub network: Option<Spanned<String>>,
    /// `--security=insecure`, where it stands.
    pub insecure: Option<Span>,
}

/// `RUN --mount=…`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Keys in lower case, values as written.
    pub(crate) fields: Vec<(String, Option<String>)>,
    /// A stage, an image or a context.
    pub from: Option<String>,
    pub span: Span,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    Bind {
        target: String,
        source: String,
        writable: bool,
    },
    Cache {
        target: String,
        id: String,
        source: String,
        sharing: Sharing,
        read_only: bool,
        owner: FileOwner,
    },
    Tmpfs {
        target: String,
        size: Option<u64>,
        read_only: bool,
    },
    Secret(SecretMount),
    Ssh(SshMount),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretMount {
    pub id: String,
    pub target: Option<String>,
    /// Hand it over as a variable of this name.
    pub env: Option<String>,
    pub required: bool,
    pub owner: FileOwner,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshMount {
    pub id: String,
    pub target: Option<String>,
    pub required: bool,
    pub owner: FileOwner,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOwner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sharing {
    #[default]
    Shared,
    /// A folder of its own for a step that finds the cache in use.
    Private,
    /// Steps wait for each other.
    Locked,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    None,
    /// Durations are nanoseconds, 0 for the default.
    Check {
        command: Command,
        interval: i64,
        timeout: i64,
        start_period: i64,
        start_interval: i64,
        retries: i64,
    },
}
