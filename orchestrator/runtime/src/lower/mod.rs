//! Launches and execs to what shim and child carry out. Everything is checked here, before anything is touched.

mod mounts;
mod process;
mod shm;
mod unsupported;

pub use mounts::TREE;
pub(crate) use mounts::attribute;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDeviceType, LinuxNamespaceType, Spec};

use crate::cgroup::{self, Layout};
use crate::exec::{ExecRequest, ExecStdio};
use crate::launch::{InjectedFile, Join, Launch, LaunchError, Netns, Rootfs};
use crate::wire::{
    ExecConfig, FdRole, FileConfig, Head, InitConfig, NodeConfig, Payload, RenewConfig, RootConfig,
    ShimConfig, UserConfig,
};

/// A launch, ready to be sent: the payload first, then the descriptors that the head names.
pub(crate) struct Sealed {
    pub(crate) head: Head,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Sealed {
    pub(crate) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.fds.iter().map(|fd| fd.as_fd()).collect()
    }
}

/// What the runtime knows beside the launch.
pub(crate) struct Environment<'a> {
    pub(crate) layout: &'a Layout,
    /// Below each hierarchy's mount point.
    pub(crate) cgroup: &'a Path,
    pub(crate) engine_record: Option<PathBuf>,
    /// `oci create`: stop at the gate, pass stdio through.
    pub(crate) hold: bool,
    pub(crate) stdio: Vec<(FdRole, OwnedFd)>,
}

fn invalid(text: impl Into<String>) -> LaunchError {
    LaunchError::Spec(text.into())
}

// Two flat mappings: a line for each field of the configurations.
pub(crate) fn container(launch: &Launch, around: Environment<'_>) -> Result<Sealed, LaunchError> {
    let spec = &launch.spec;
    let empty = Linux::default();
    let linux = spec.linux().as_ref().unwrap_or(&empty);
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| invalid("no process"))?;
    unsupported::refuse(spec, linux)?;
    let mut payload = Payload::default();
    let mut fds = around.stdio;
    for (index, tree) in (0..).zip(&launch.trees) {
        fds.push((
            FdRole::Tree(index),
            tree.mount.try_clone().map_err(LaunchError::Protocol)?,
        ));
    }
    let namespaces = Namespaces::of(launch, linux, around.layout, &mut fds)?;
    let mut mounts = mounts::of_spec(launch)?;
    if let Some(owner) = launch.join.ipc {
        mounts.extend(shm::of(owner, &mounts, &mut fds)?);
    }
    let plan = cgroup::plan(around.layout, around.cgroup, linux.resources().as_ref())
        .map_err(LaunchError::Spec)?;
    let user = match &launch.user {
        Some(text) => UserConfig::Named(text.clone()),
        None => process::numeric_user(process.user()),
    };
    let init = InitConfig {
        process: process::of_spec(launch, process, linux, user, &mut payload)?,
        root: root(&launch.rootfs),
        root_readonly: spec
            .root()
            .as_ref()
            .and_then(|root| root.readonly())
            .unwrap_or(false),
        propagation: mounts::host_propagation(spec, linux)?,
        root_propagation: mounts::root_propagation(linux)?,
        mounts,
        nodes: nodes(spec, linux)?,
        files: files(launch, &mut payload),
        masked: linux.masked_paths().clone().unwrap_or_default(),
        readonly: linux.readonly_paths().clone().unwrap_or_default(),
        sysctls: sysctls(linux, &namespaces)?,
        hostname: named(spec.hostname(), "hostname", &namespaces)?,
        domainname: named(spec.domainname(), "domainname", &namespaces)?,
        loopback: matches!(launch.netns, Netns::New),
        reaper: launch.init,
        cgroup_view: cgroup_view(&plan, around.layout, around.cgroup),
        // Not the bundle itself: what the engine keeps there must stay visible for binds.
        mount_point: match &launch.rootfs {
            Rootfs::Dir(path) => path.clone(),
            Rootfs::Overlay { .. } => launch.bundle.join("rootfs"),
        },
    };
    let shim = ShimConfig {
        id: launch.id.clone(),
        bundle: launch.bundle.clone(),
        exit_record: launch.exit_record.clone(),
        log: launch.log.clone(),
        tty: launch.tty,
        stdin_open: launch.stdin_open,
        stdin_once: launch.stdin_once,
        inherit_stdio: fds.iter().any(|(role, _)| *role == FdRole::Stdout),
        hold: around.hold,
        namespaces: namespaces.flags,
        cgroup: plan,
        engine: around.engine_record,
    };
    seal(payload, &shim, &init, fds)
}

/// The files that are put into the container; their contents travel in the payload.
fn files(launch: &Launch, payload: &mut Payload) -> Vec<FileConfig> {
    let lower = |file: &InjectedFile| FileConfig {
        path: file.path.clone(),
        content: payload.push(&file.content),
        uid: file.uid,
        gid: file.gid,
        mode: file.mode,
        writable: file.writable,
    };
    launch.files.iter().map(lower).collect()
}

fn seal(
    payload: Payload,
    shim: &impl serde::Serialize,
    child: &impl serde::Serialize,
    fds: Vec<(FdRole, OwnedFd)>,
) -> Result<Sealed, LaunchError> {
    let (memfd, mut head) = payload.seal(shim, child).map_err(LaunchError::Protocol)?;
    let mut all = vec![memfd];
    for (role, fd) in fds {
        head.fds.push(role);
        all.push(fd);
    }
    Ok(Sealed { head, fds: all })
}

pub(crate) fn exec(
    request: ExecRequest,
    layout: &Layout,
    cgroup: &Path,
    mut fds: Vec<(FdRole, OwnedFd)>,
) -> Result<Sealed, LaunchError> {
    let mut payload = Payload::default();
    let config = ExecConfig {
        process: process::of_exec(&request, &mut payload)?,
        cgroup: cgroup::Plan::existing(layout, cgroup),
        namespaces: EXEC_NAMESPACES,
    };
    if let ExecStdio::Fds {
        stdin,
        stdout,
        stderr,
    } = request.stdio
    {
        for (role, fd) in [
            (FdRole::Stdin, stdin),
            (FdRole::Stdout, stdout),
            (FdRole::Stderr, stderr),
        ] {
            fds.extend(fd.map(|fd| (role, fd)));
        }
    }
    seal(payload, &config, &(), fds)
}

/// `fds`: the container's init and root, and the mount.
pub(crate) fn renew(target: &str, fds: Vec<(FdRole, OwnedFd)>) -> Result<Sealed, LaunchError> {
    seal(
        Payload::default(),
        &RenewConfig {
            target: target.to_owned(),
        },
        &(),
        fds,
    )
}

/// Those a container may have; entering one that it shares with the host changes nothing.
const EXEC_NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWTIME) as u64;

struct Namespaces {
    /// To be made: `CLONE_NEW*`.
    flags: u64,
    own_net: bool,
}

impl Namespaces {
    fn has(&self, flag: i32) -> bool {
        self.flags & u64::from(flag.cast_unsigned()) != 0
    }

    fn of(
        launch: &Launch,
        linux: &Linux,
        layout: &Layout,
        fds: &mut Vec<(FdRole, OwnedFd)>,
    ) -> Result<Self, LaunchError> {
        // The root is always mounted in a mount namespace of the container's own.
        let mut flags = u64::from(libc::CLONE_NEWNS.cast_unsigned());
        let joins = joins(&launch.join);
        for (_, role, pid, name) in &joins {
            fds.push((*role, open(&format!("/proc/{pid}/ns/{name}").into())?));
        }
        for namespace in linux.namespaces().iter().flatten() {
            let kind = namespace.typ();
            // On v1 the child enters its cgroup after it is made, so a namespace would have the wrong root.
            let after = kind == LinuxNamespaceType::Cgroup && matches!(layout, Layout::V1(_));
            if kind == LinuxNamespaceType::Network
                || after
                || joins.iter().any(|(joined, ..)| *joined == kind)
            {
                continue;
            }
            match namespace
                .path()
                .as_ref()
                .filter(|path| !path.as_os_str().is_empty())
            {
                Some(path) => {
                    let role = match kind {
                        LinuxNamespaceType::Pid => FdRole::JoinPid,
                        LinuxNamespaceType::Ipc => FdRole::JoinIpc,
                        LinuxNamespaceType::Uts => FdRole::JoinUts,
                        _ => {
                            return Err(invalid(format!(
                                "joining a {kind} namespace is not supported"
                            )));
                        }
                    };
                    fds.push((role, open(path)?));
                }
                None => flags |= u64::from(kind as u32),
            }
        }
        let own_net = match &launch.netns {
            Netns::Host => false,
            Netns::New => {
                flags |= u64::from(libc::CLONE_NEWNET.cast_unsigned());
                true
            }
            Netns::Fd(fd) => {
                let fd = fd.try_clone().map_err(LaunchError::Protocol)?;
                fds.push((FdRole::Netns, fd));
                true
            }
            Netns::Path(path) => {
                fds.push((FdRole::Netns, open(path)?));
                true
            }
        };
        Ok(Self { flags, own_net })
    }
}

/// Whatever the spec lists: a namespace that is to be joined must never turn out to be the host's.
fn joins(join: &Join) -> Vec<(LinuxNamespaceType, FdRole, i32, &'static str)> {
    let wanted = [
        (LinuxNamespaceType::Pid, FdRole::JoinPid, join.pid, "pid"),
        (LinuxNamespaceType::Ipc, FdRole::JoinIpc, join.ipc, "ipc"),
        (LinuxNamespaceType::Uts, FdRole::JoinUts, join.uts, "uts"),
    ];
    wanted
        .into_iter()
        .filter_map(|(kind, role, pid, name)| Some((kind, role, pid?, name)))
        .collect()
}

fn open(path: &PathBuf) -> Result<OwnedFd, LaunchError> {
    match std::fs::File::open(path) {
        Ok(file) => Ok(file.into()),
        Err(source) => Err(LaunchError::Bundle {
            path: path.clone(),
            source,
        }),
    }
}

fn root(rootfs: &Rootfs) -> RootConfig {
    match rootfs {
        Rootfs::Dir(path) => RootConfig::Dir(path.clone()),
        Rootfs::Overlay {
            lowers,
            upper,
            work,
        } => RootConfig::Overlay {
            lowers: lowers.clone(),
            upper: upper.clone(),
            work: work.clone(),
        },
    }
}

/// A name needs a UTS namespace of its own: the host keeps its name, and so does a container that shares its namespace.
fn named(
    name: &Option<String>,
    what: &str,
    namespaces: &Namespaces,
) -> Result<Option<String>, LaunchError> {
    let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.has(libc::CLONE_NEWUTS) {
        return Err(invalid(format!(
            "{what} needs a uts namespace of the container's own"
        )));
    }
    if name.len() > 64 {
        return Err(invalid(format!("{what} {name:?} is longer than 64 bytes")));
    }
    Ok(Some(name.clone()))
}

/// Only those that a namespace of the container's own holds.
fn sysctls(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>, LaunchError> {
    let mut out = Vec::new();
    for (name, value) in linux.sysctl().iter().flatten() {
        let allowed = if name.starts_with("net.") {
            namespaces.own_net
        } else if name.starts_with("fs.mqueue.")
            || name.starts_with("kernel.msg")
            || name.starts_with("kernel.shm")
            || name == "kernel.sem"
        {
            namespaces.has(libc::CLONE_NEWIPC)
        } else if name == "kernel.domainname" || name == "kernel.hostname" {
            namespaces.has(libc::CLONE_NEWUTS)
        } else {
            false
        };
        if !allowed || name.contains("..") || name.contains('/') {
            return Err(invalid(format!(
                "sysctl {name} is not in a namespace of the container's own"
            )));
        }
        out.push((name.replace('.', "/"), value.clone()));
    }
    out.sort();
    Ok(out)
}

const DEFAULT_NODES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The runtime spec's default devices and the spec's own. None when the user put a /dev of his in their place.
fn nodes(spec: &Spec, linux: &Linux) -> Result<Vec<NodeConfig>, LaunchError> {
    let own_dev = spec
        .mounts()
        .iter()
        .flatten()
        .any(|mount| mount.destination() == Path::new("/dev") && mounts::is_bind(mount));
    let mut nodes = Vec::new();
    for device in linux.devices().iter().flatten() {
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => {
                return Err(invalid(format!(
                    "device {} has no type",
                    device.path().display()
                )));
            }
        };
        let number = |n: i64| u32::try_from(n).unwrap_or(0);
        nodes.push(NodeConfig {
            path: mounts::text(device.path())?,
            kind,
            major: number(device.major()),
            minor: number(device.minor()),
            mode: device.file_mode().unwrap_or(0o666),
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
        });
    }
    if !own_dev {
        for (path, major, minor) in DEFAULT_NODES {
            if !nodes.iter().any(|node| node.path == path) {
                nodes.push(NodeConfig {
                    path: path.to_owned(),
                    kind: libc::S_IFCHR,
                    major,
                    minor,
                    mode: 0o666,
                    uid: 0,
                    gid: 0,
                });
            }
        }
    }
    Ok(nodes)
}

fn cgroup_view(plan: &cgroup::Plan, layout: &Layout, relative: &Path) -> Vec<(String, PathBuf)> {
    let Layout::V1(controllers) = layout else {
        return Vec::new();
    };
    controllers
        .iter()
        .map(|(controller, point)| (controller.clone(), point.join(relative)))
        .filter(|(_, folder)| plan.folders.contains(folder))
        .collect()
}
