//! A store and a context of its own for each test, and a way to run RUN steps for real: an overlay mount in a private
//! mount namespace, with util-linux. The namespace ends with the process, so nothing stays mounted.
#![allow(
    dead_code,
    unused_macros,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "each test file uses a part; tests may panic"
)]

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hoist_build::{
    BaseError, BaseImages, BoxFuture, BuildError, BuildEvent, BuildRequest, Built, ContextSource,
    DockerfileSource, Host, OutputStream, RunError, RunMountKind, RunRequest, RunStep, build,
};
use hoist_image::{Image, Platform, Reference, Store};

pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Why tests that build cannot run here.
pub(crate) fn reason_to_skip() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    // A dynamic one would need its libraries inside of the image: it has an interpreter (program header type 3).
    let busybox = std::fs::read(BUSYBOX).unwrap_or_default();
    let word = |at: usize| {
        busybox
            .get(at..at + 2)
            .map_or(0, |two| usize::from(u16::from_le_bytes([two[0], two[1]])))
    };
    let (headers, size, count) = (word(32), word(54), word(56));
    if busybox.is_empty() || (0..count).any(|number| word(headers + number * size) == 3) {
        return Some("needs a static busybox (busybox-static)".to_owned());
    }
    let overlay = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("cd $(mktemp -d) && trap 'umount m; rm -r $PWD' EXIT && mkdir l u w m && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w m")
        .stderr(Stdio::null())
        .status();
    match overlay {
        Ok(status) if status.success() => None,
        Ok(_) => Some("overlayfs cannot be mounted".to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

#[macro_export]
macro_rules! world_or_skip {
    () => {
        match world::reason_to_skip() {
            None => world::World::new(),
            Some(reason) => {
                println!("skipped: {reason}");
                return;
            }
        }
    };
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) runner: Arc<Runner>,
    pub(crate) events: Arc<Mutex<Vec<BuildEvent>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    pub(crate) fn within(place: &Path) -> Self {
        let folder = tempfile::tempdir_in(place).unwrap();
        std::fs::create_dir(folder.path().join("context")).unwrap();
        let store = Store::open(&folder.path().join("data")).unwrap();
        let runner = Arc::new(Runner {
            mount_point: folder.path().join("root"),
            runs: AtomicUsize::new(0),
        });
        Self {
            folder,
            store,
            runner,
            events: Arc::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("context").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        BuildRequest {
            context: ContextSource::Folder(self.folder.path().join("context")),
            dockerfile: DockerfileSource::Inline(dockerfile.to_owned()),
            ..BuildRequest::default()
        }
    }

    pub(crate) fn host(&self) -> Host {
        let events = Arc::clone(&self.events);
        Host {
            store: Arc::clone(&self.store),
            state_dir: self.folder.path().join("data/build"),
            run: Arc::clone(&self.runner) as Arc<dyn RunStep>,
            bases: Arc::new(NoRegistry),
            registries: hoist_image::PullOptions::default(),
            progress: Arc::new(move |event| events.lock().unwrap().push(event)),
        }
    }

    pub(crate) async fn try_build(&self, request: &BuildRequest) -> Result<Built, BuildError> {
        self.events.lock().unwrap().clear();
        build(request, &self.host()).await
    }

    pub(crate) async fn build(&self, dockerfile: &str) -> Built {
        self.build_request(&self.request(dockerfile)).await
    }

    pub(crate) async fn build_request(&self, request: &BuildRequest) -> Built {
        match self.try_build(request).await {
            Ok(built) => built,
            Err(error) => panic!("{error}\n{error:?}"),
        }
    }

    /// `mybase:1.0`: busybox and its links.
    pub(crate) async fn base(&self) {
        std::fs::copy(BUSYBOX, self.path("busybox")).unwrap();
        let mut request = self.request(
            "FROM scratch\nCOPY --chmod=755 busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n\
             COPY <<P /etc/passwd\nroot:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\nP\n\
             COPY <<G /etc/group\nroot:x:0:\nstaff:x:50:\nG\nCMD [\"sh\"]\n",
        );
        request.tags = vec!["mybase:1.0".to_owned()];
        self.build_request(&request).await;
        std::fs::remove_file(self.path("busybox")).unwrap();
        self.runner.runs.store(0, Ordering::Relaxed);
    }

    /// Puts Debian's perl and its libraries into the context, below `perl/`: busybox cannot connect to a unix socket.
    pub(crate) fn perl(&self) {
        let libraries = Command::new("ldd").arg("/usr/bin/perl").output().unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        let paths = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for path in paths.chain(["/usr/bin/perl"]) {
            let at = self.path(&format!("perl{path}"));
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::copy(path, at).unwrap();
        }
    }

    /// What a shell in the image prints.
    pub(crate) async fn inside(&self, image: &Image, script: &str) -> String {
        let scratch = self.store.begin_layer().unwrap();
        let printed = Arc::new(Mutex::new(String::new()));
        let sink = Arc::clone(&printed);
        let request = RunRequest {
            id: "f".repeat(64),
            lowers: self.store.lowers(image).unwrap(),
            upper: scratch.upper().to_owned(),
            work: scratch.work().to_owned(),
            argv: ["/bin/busybox", "sh", "-c", script]
                .map(str::to_owned)
                .to_vec(),
            env: vec!["PATH=/bin:/usr/bin:/usr/local/bin".to_owned()],
            cwd: "/".to_owned(),
            user: None,
            mounts: Vec::new(),
            files: Vec::new(),
            network: hoist_build::NetworkMode::None,
            extra_hosts: Vec::new(),
            shm_size: None,
            ulimits: Vec::new(),
            insecure: false,
            platform: None,
            output: hoist_build::OutputSink::new(move |_, bytes| {
                sink.lock()
                    .unwrap()
                    .push_str(&String::from_utf8_lossy(bytes));
            }),
        };
        let code = self.runner.execute(request).unwrap();
        let printed = printed.lock().unwrap().clone();
        assert_eq!(code, 0, "{script}: {printed}");
        printed
    }

    pub(crate) fn runs(&self) -> usize {
        self.runner.runs.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn log(&self) -> String {
        self.events
            .lock()
            .unwrap()
            .iter()
            .map(|event| format!("{event:?}\n"))
            .collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.folder.path().display().to_string();
        if !std::thread::panicking() {
            assert!(!mounts.contains(&own), "a mount is left: {mounts}");
        }
    }
}

struct NoRegistry;

impl BaseImages for NoRegistry {
    fn base<'a>(
        &'a self,
        reference: &'a Reference,
        _: &'a Platform,
        _: bool,
        _: hoist_build::TransferSink,
    ) -> BoxFuture<'a, Result<Arc<Image>, BaseError>> {
        Box::pin(async move { Err(format!("{reference} is not in any registry").into()) })
    }
}

pub(crate) struct Runner {
    mount_point: PathBuf,
    runs: AtomicUsize,
}

impl RunStep for Runner {
    fn can_run(&self, platform: &Platform) -> Result<(), RunError> {
        Err(format!("nothing here runs programs for {platform}").into())
    }

    fn run(&self, step: RunRequest) -> BoxFuture<'_, Result<i32, RunError>> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let runner = Self {
            mount_point: self.mount_point.clone(),
            runs: AtomicUsize::new(0),
        };
        Box::pin(async move { tokio::task::spawn_blocking(move || runner.execute(step)).await? })
    }
}

impl Runner {
    fn execute(&self, step: RunRequest) -> Result<i32, RunError> {
        let root = self.mount_point.with_extension(&step.id);
        std::fs::create_dir(&root)?;
        let script = script(&step, &root)?;
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| pump(&mut stdout, OutputStream::Stdout, &step));
            scope.spawn(|| pump(&mut stderr, OutputStream::Stderr, &step));
        });
        let status = child.wait()?;
        std::fs::remove_dir(&root)?;
        Ok(status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }
}

fn pump(from: &mut impl Read, stream: OutputStream, step: &RunRequest) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        step.output.write(stream, &buffer[..length]);
    }
}

fn script(step: &RunRequest, root: &Path) -> Result<String, RunError> {
    let quote = |text: &str| shlex::try_quote(text).unwrap().into_owned();
    let overlay = |lowers: &[PathBuf], pair: Option<(&Path, &Path)>| {
        let lowers: Vec<_> = lowers
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let mut options = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = pair {
            options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
        }
        options
    };
    let shown = root.display();
    let mut script = format!(
        "mount -t overlay o -o {} {shown}\n",
        quote(&overlay(&step.lowers, Some((&step.upper, &step.work))))
    );
    for mount in &step.mounts {
        let target = format!("{shown}{}", mount.target);
        let target = quote(&target);
        match &mount.kind {
            RunMountKind::Bind { source, read_only } => {
                let make = if source.is_dir() {
                    "mkdir -p".to_owned()
                } else {
                    format!("mkdir -p $(dirname {target}) && touch")
                };
                let ro = if *read_only { ",ro" } else { "" };
                script += &format!(
                    "{make} {target}\nmount -o bind {} {target}\n",
                    source.display()
                );
                script += &format!("mount -o remount,bind{ro} {target}\n");
            }
            RunMountKind::Overlay { lowers, scratch } => {
                let pair = scratch
                    .as_ref()
                    .map(|(upper, work)| (upper.as_path(), work.as_path()));
                let options = quote(&overlay(lowers, pair));
                script += &format!("mkdir -p {target}\nmount -t overlay o -o {options} {target}\n");
            }
            RunMountKind::Tmpfs { .. } => {
                script += &format!("mkdir -p {target}\nmount -t tmpfs t {target}\n");
            }
        }
    }
    for (number, file) in step.files.iter().enumerate() {
        let target = quote(&format!("{shown}{}", file.path));
        let content = quote(&String::from_utf8(file.content.0.clone())?);
        script += &format!(
            "mkdir -p $(dirname {target}) && touch {target}\nf=$(mktemp -p /dev/shm) && printf %s {content} >$f\n\
             chmod {:o} $f && exec {}<$f\nmount -o bind $f {target}\nrm $f\n",
            file.mode,
            number + 3
        );
    }
    let user = match step.user.as_deref() {
        None => String::new(),
        Some(user) => format!("--setuid {user}"),
    };
    let env: Vec<_> = step.env.iter().map(|line| quote(line)).collect();
    let argv: Vec<_> = step.argv.iter().map(|word| quote(word)).collect();
    script += &format!(
        "exec env -i {} unshare --root {shown} --wd {} {user} -- {}\n",
        env.join(" "),
        quote(&step.cwd),
        argv.join(" ")
    );
    Ok(script)
}
