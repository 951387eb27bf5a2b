//! The process itself: terminal, limits, working directory, credentials, the program.

use std::ffi::CString;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::pty::OpenptFlags;

use super::identity::Identity;
use super::inside::{self, Kind};
use super::root::attach;
use super::stages::{Setup, c_string};
use super::{Fault, Inheritance, On as _};
use crate::sys;
use crate::wire::{ChildReport, ProcessConfig, send};

const DEVPTS_MAGIC: i64 = 0x1cd1;

/// A pty of the container's own devpts; the master goes to the shim, the other end becomes stdio and /dev/console.
pub(super) fn open_terminal(setup: &mut Setup<'_>) -> Result<(), Fault> {
    if !setup.config.process.tty {
        return Ok(());
    }
    let slave = terminal_pair(setup.root(), &setup.config.process, setup.sync)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = rustix::mount::open_tree(slave.as_fd(), "", flags).on("/dev/console")?;
    let point =
        inside::find_or_make(setup.root(), "/dev/console", Kind::File).on("/dev/console")?;
    attach(&tree, &point).on("/dev/console")?;
    become_terminal(&slave)
}

pub(super) fn open_exec_terminal(config: &ProcessConfig, sync: &OwnedFd) -> Result<(), Fault> {
    if !config.tty {
        return Ok(());
    }
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("/")?;
    let slave = terminal_pair(&root, config, sync)?;
    become_terminal(&slave)
}

/// Opens a pty and hands the master out; gives the slave, by the master's own word and not by a path.
fn terminal_pair(root: &OwnedFd, config: &ProcessConfig, sync: &OwnedFd) -> Result<OwnedFd, Fault> {
    let ptmx = "/dev/pts/ptmx";
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let master =
        rustix::fs::openat2(root, "dev/pts/ptmx", flags, Mode::empty(), resolve).on(ptmx)?;
    if rustix::fs::fstatfs(&master).on(ptmx)?.f_type != DEVPTS_MAGIC {
        return Err(Fault::plain(format!("{ptmx} is not on a devpts")));
    }
    rustix::pty::unlockpt(&master).on(ptmx)?;
    let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, open).on(ptmx)?;
    if let Some((rows, columns)) = config.console_size {
        let size = rustix::termios::Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&master, size).on(ptmx)?;
    }
    send(sync, &ChildReport::Terminal, &[master.as_fd()]).on("shim")?;
    Ok(slave)
}

fn become_terminal(slave: &OwnedFd) -> Result<(), Fault> {
    rustix::process::ioctl_tiocsctty(slave).on("controlling terminal")?;
    rustix::stdio::dup2_stdin(slave).on("stdin")?;
    rustix::stdio::dup2_stdout(slave).on("stdout")?;
    rustix::stdio::dup2_stderr(slave).on("stderr")
}

pub(super) fn set_names(setup: &mut Setup<'_>) -> Result<(), Fault> {
    if let Some(name) = &setup.config.hostname {
        rustix::system::sethostname(name.as_bytes()).on(format!("hostname {name}"))?;
    }
    if let Some(name) = &setup.config.domainname {
        rustix::system::setdomainname(name.as_bytes()).on(format!("domainname {name}"))?;
    }
    Ok(())
}

fn private_proc() -> io::Result<OwnedFd> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen,
    };
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(fs.as_fd())?;
    Ok(fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?)
}

fn write_proc(proc: &OwnedFd, path: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    // No crossing: something mounted over a part of it would take the write elsewhere.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
    let file = rustix::fs::openat2(proc, path, flags, Mode::empty(), resolve)?;
    std::fs::File::from(file).write_all(value.as_bytes())
}

pub(super) fn set_sysctls(setup: &mut Setup<'_>) -> Result<(), Fault> {
    if setup.config.sysctls.is_empty() {
        return Ok(());
    }
    if setup.proc.is_none() {
        setup.proc = Some(private_proc().on("proc")?);
    }
    let proc = setup.proc.as_ref().expect("made above");
    for (path, value) in &setup.config.sysctls {
        write_proc(proc, &format!("sys/{path}"), value)
            .on(format!("{} = {value}", path.replace('/', ".")))?;
    }
    Ok(())
}

/// The shim's own protection must not pass to the container, so there is always a value.
pub(super) fn set_oom_score(config: &ProcessConfig, proc: Option<&OwnedFd>) -> Result<(), Fault> {
    let score = config.oom_score_adj.unwrap_or(0);
    let own;
    let proc = match proc {
        Some(proc) => proc,
        None => {
            own = private_proc().on("proc")?;
            &own
        }
    };
    write_proc(proc, "self/oom_score_adj", &score.to_string()).on(format!("oom_score_adj {score}"))
}

/// A hard limit above our own needs CAP_SYS_RESOURCE, which an engine in a container may lack: then as high as it goes.
pub(super) fn set_rlimits(config: &ProcessConfig) -> Result<(), Fault> {
    let finite = |limit: u64| Some(limit).filter(|limit| *limit != u64::MAX);
    let lower =
        |limit: Option<u64>, ceiling: Option<u64>| [limit, ceiling].into_iter().flatten().min();
    for limit in &config.rlimits {
        let resource = resource(limit.resource)
            .ok_or_else(|| Fault::plain(format!("unknown limit {}", limit.name)))?;
        let on = || format!("{} {}:{}", limit.name, limit.soft, limit.hard);
        let wanted = Rlimit {
            current: finite(limit.soft),
            maximum: finite(limit.hard),
        };
        match setrlimit(resource, wanted) {
            Err(Errno::PERM) => {
                let ceiling = getrlimit(resource).maximum;
                let (current, maximum) = (
                    lower(wanted.current, ceiling),
                    lower(wanted.maximum, ceiling),
                );
                setrlimit(resource, Rlimit { current, maximum }).on(on())?;
            }
            result => result.on(on())?,
        }
    }
    Ok(())
}

fn resource(number: i32) -> Option<Resource> {
    let number = u32::try_from(number).ok()?;
    [
        Resource::Cpu,
        Resource::Fsize,
        Resource::Data,
        Resource::Stack,
        Resource::Core,
        Resource::Rss,
        Resource::Nproc,
        Resource::Nofile,
        Resource::Memlock,
        Resource::As,
        Resource::Locks,
        Resource::Sigpending,
        Resource::Msgqueue,
        Resource::Nice,
        Resource::Rtprio,
        Resource::Rttime,
    ]
    .into_iter()
    .find(|resource| *resource as u32 == number)
}

/// A start makes a missing one, an exec does not. Afterwards the kernel must be able to say where we are, or the folder is outside of the root.
pub(super) fn enter_cwd(config: &ProcessConfig) -> Result<(), Fault> {
    let cwd = if config.cwd.is_empty() {
        "/"
    } else {
        &config.cwd
    };
    if !cwd.starts_with('/') {
        return Err(Fault::plain(format!(
            "working directory {cwd:?} is not absolute"
        )));
    }
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).on("/")?;
    let folder = if config.make_cwd {
        inside::find_or_make(&root, cwd, Kind::Folder)
    } else {
        inside::find(&root, cwd, OFlags::PATH | OFlags::DIRECTORY)
    };
    let folder = folder.on(cwd)?;
    rustix::process::fchdir(&folder).on(cwd)?;
    let here = rustix::process::getcwd(Vec::new()).on(cwd)?;
    if here.as_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Fault::plain(format!("{cwd} is outside of the root")))
    }
}

pub(super) fn read_filter(
    config: &ProcessConfig,
    inheritance: &Inheritance,
) -> Result<Option<(Vec<u8>, u64)>, Fault> {
    let Some(seccomp) = &config.seccomp else {
        return Ok(None);
    };
    Ok(Some((
        inheritance.bytes(seccomp.program).on("filter")?,
        seccomp.flags,
    )))
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All that exec needs, so that nothing has to be looked up after privileges are gone.
pub(super) struct Command {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    named: String,
    identity: Identity,
    seccomp: Option<(Vec<u8>, u64)>,
    no_new_privileges: bool,
    umask: u32,
    personality: Option<u64>,
    bounding: u64,
    effective: u64,
    permitted: u64,
    inheritable: u64,
    ambient: u64,
}

impl Command {
    pub(super) fn find(
        config: &ProcessConfig,
        identity: Identity,
        seccomp: Option<(Vec<u8>, u64)>,
    ) -> Result<Self, Fault> {
        let name = config
            .argv
            .first()
            .ok_or_else(|| Fault::plain("no command"))?;
        let mut env = config
            .env
            .iter()
            .map(|entry| c_string(entry))
            .collect::<Result<Vec<_>, _>>()?;
        if !config.env.iter().any(|entry| entry.starts_with("HOME=")) {
            env.push(c_string(&format!("HOME={}", identity.home))?);
        }
        let search = config
            .env
            .iter()
            .rev()
            .find_map(|entry| entry.strip_prefix("PATH="));
        Ok(Self {
            path: find_program(name, search.unwrap_or(DEFAULT_PATH))?,
            argv: config
                .argv
                .iter()
                .map(|arg| c_string(arg))
                .collect::<Result<_, _>>()?,
            env,
            named: name.clone(),
            identity,
            seccomp,
            no_new_privileges: config.no_new_privileges,
            umask: config.umask.unwrap_or(0o022),
            personality: config.personality,
            bounding: config.bounding,
            effective: config.effective,
            permitted: config.permitted,
            inheritable: config.inheritable,
            ambient: config.ambient,
        })
    }

    /// From here on only plain system calls that every sensible filter allows.
    pub(super) fn drop_privileges(&self) -> Result<(), Fault> {
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        if let Some(persona) = self.personality {
            sys::set_personality(persona).on("personality")?;
        }
        self.own_stdio()?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).on("no_new_privs")?;
        } else {
            // Without it the filter needs CAP_SYS_ADMIN, which is about to go.
            self.install_filter()?;
        }
        self.limit_bounding()?;
        let Identity {
            uid, gid, groups, ..
        } = &self.identity;
        let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&groups).on("supplementary groups")?;
        rustix::thread::set_keep_capabilities(true).on("keep capabilities")?;
        let gid_named = || format!("gid {gid}");
        let group = Gid::from_raw(*gid);
        rustix::thread::set_thread_res_gid(group, group, group).on(gid_named())?;
        let user = Uid::from_raw(*uid);
        rustix::thread::set_thread_res_uid(user, user, user).on(format!("uid {uid}"))?;
        rustix::thread::set_keep_capabilities(false).on("keep capabilities")?;
        sys::clear_ambient().on("ambient capabilities")?;
        let have = sys::permitted().on("capabilities")?;
        let (permitted, inheritable) = (
            self.permitted & have,
            self.inheritable & have & self.bounding,
        );
        sys::capset(self.effective & permitted, permitted, inheritable).on("capabilities")?;
        for capability in (0..64).filter(|n| self.ambient & inheritable & permitted & (1 << n) != 0)
        {
            sys::raise_ambient(capability).on("ambient capabilities")?;
        }
        if self.no_new_privileges {
            self.install_filter()?;
        }
        Ok(())
    }

    /// What an exec takes from a user that is not root, for a process that does none.
    pub(super) fn lose_capabilities(&self) -> io::Result<()> {
        if self.identity.uid == 0 {
            return Ok(());
        }
        let inheritable = self.inheritable & self.bounding & sys::permitted()?;
        let kept = self.ambient & inheritable;
        sys::capset(kept, kept, inheritable)
    }

    /// `> /dev/stdout` reopens the pipe, which checks its owner.
    fn own_stdio(&self) -> Result<(), Fault> {
        let user = Uid::from_raw(self.identity.uid);
        for fd in [
            rustix::stdio::stdin(),
            rustix::stdio::stdout(),
            rustix::stdio::stderr(),
        ] {
            let stat = rustix::fs::fstat(fd).on("stdio")?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            let ours = kind == FileType::Fifo
                || (kind == FileType::CharacterDevice && rustix::termios::isatty(fd));
            if ours && stat.st_uid != user.as_raw() {
                match rustix::fs::fchown(fd, Some(user), None) {
                    // Another user's pipe, passed on as it is.
                    Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => {}
                    Err(error) => return Err(Fault::new("stdio", error)),
                }
            }
        }
        Ok(())
    }

    fn limit_bounding(&self) -> Result<(), Fault> {
        for capability in 0..64 {
            match sys::bounding_has(capability) {
                Some(true) if self.bounding & (1 << capability) == 0 => {
                    sys::drop_bounding(capability).on(format!("capability {capability}"))?;
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(())
    }

    fn install_filter(&self) -> Result<(), Fault> {
        match &self.seccomp {
            Some((program, flags)) => sys::install_seccomp(program, *flags).on("seccomp filter"),
            None => Ok(()),
        }
    }

    pub(super) fn exec(&self) -> Fault {
        if let Err(error) = sys::close_on_exec_from(3) {
            return Fault::new("descriptors", error);
        }
        let error = sys::execve(&self.path, &self.argv, &self.env);
        let exit_code = exec_code(&error);
        Fault {
            object: format!("exec: {:?}", self.named),
            source: error,
            exit_code,
        }
    }
}

fn exec_code(error: &io::Error) -> u8 {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => 127,
        Some(libc::EACCES | libc::ENOEXEC | libc::EISDIR | libc::EPERM | libc::ELOOP) => 126,
        _ => 125,
    }
}

/// As a shell would: a name with a slash is a path (from the working directory), else `PATH` is searched.
fn find_program(name: &str, search: &str) -> Result<CString, Fault> {
    let refuse = |error: Errno, exit_code| Fault {
        object: format!("exec: {name:?}"),
        source: error.into(),
        exit_code,
    };
    if name.contains('/') {
        return match runnable(name) {
            Ok(()) => c_string(name),
            Err(error) => Err(refuse(error, exec_code(&error.into()))),
        };
    }
    let mut denied = None;
    for folder in search.split(':').filter(|_| !name.is_empty()) {
        let path = if folder.is_empty() {
            format!("./{name}")
        } else {
            format!("{folder}/{name}")
        };
        match runnable(&path) {
            Ok(()) => return c_string(&path),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(error) => denied = Some(error),
        }
    }
    match denied {
        Some(error) => Err(refuse(error, 126)),
        None => {
            let object = format!("exec: {name:?}: executable file not found in $PATH");
            Err(Fault {
                object,
                source: Errno::NOENT.into(),
                exit_code: 127,
            })
        }
    }
}

fn runnable(path: &str) -> Result<(), Errno> {
    let stat = rustix::fs::statat(rustix::fs::CWD, path, AtFlags::empty())?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile if stat.st_mode & 0o111 == 0 => Err(Errno::ACCESS),
        FileType::RegularFile => Ok(()),
        _ => Err(Errno::ACCESS),
    }
}
