//! How long a container start takes, and what a shim costs: `start_latency ROOT [SHIM]`, ROOT being a folder with
//! `/bin/true` and `/bin/sleep`. Prints medians.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hoist_runtime::{
    Join, Launch, LogConfig, Netns, Rootfs, Runtime, RuntimeConfig, Seccomp, spec_defaults,
};

const ROUNDS: usize = 20;

fn launch(folder: &Path, root: &Path, n: usize, argv: &[&str]) -> Launch {
    let id = format!("{n:0>64}");
    let (upper, work) = (
        folder.join(format!("{n}.upper")),
        folder.join(format!("{n}.work")),
    );
    std::fs::create_dir_all(&upper).unwrap();
    std::fs::create_dir_all(&work).unwrap();
    let mut spec = spec_defaults::spec();
    let argv: Vec<String> = argv.iter().map(|&arg| arg.to_owned()).collect();
    spec.process_mut().as_mut().unwrap().set_args(Some(argv));
    Launch {
        bundle: folder.join("run/containers").join(&id),
        spec,
        rootfs: Rootfs::Overlay {
            lowers: vec![root.to_owned()],
            upper,
            work,
        },
        netns: Netns::New,
        user: None,
        group_add: Vec::new(),
        log: Some(LogConfig::new(folder.join(format!("{n}.log/current.log")))),
        exit_record: folder.join(format!("{n}.exit.json")),
        tty: false,
        stdin_open: false,
        stdin_once: false,
        files: Vec::new(),
        trees: Vec::new(),
        init: false,
        join: Join::default(),
        seccomp: Seccomp::Default,
        privileged: false,
        id,
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn proportional(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let root = PathBuf::from(args.next().expect("usage: start_latency ROOT [SHIM]"));
    let shim = args.next().map(PathBuf::from);
    let folder = std::env::temp_dir().join(format!("hoist-latency-{}", std::process::id()));
    let instance = format!("{:08x}", std::process::id());
    let config = RuntimeConfig {
        run_dir: folder.join("run"),
        instance,
        shim,
        engine: None,
        descriptors: None,
    };
    let runtime = Runtime::open(config).unwrap();
    for warm in [false, true] {
        let (mut starts, mut whole) = (Vec::new(), Vec::new());
        for n in 0..ROUNDS {
            let launch = launch(&folder, &root, n, &["/bin/true"]);
            if warm {
                runtime.warm_up();
            }
            let begin = Instant::now();
            let shim = runtime.start(&launch).unwrap();
            starts.push(begin.elapsed());
            shim.wait().unwrap();
            whole.push(begin.elapsed());
        }
        println!(
            "warm {warm}: start {:?}, start to reaped and recorded {:?}",
            median(starts),
            median(whole)
        );
    }
    for count in [1, 10] {
        let shims: Vec<_> = (0..count)
            .map(|n| {
                runtime
                    .start(&launch(&folder, &root, n, &["/bin/sleep", "1000"]))
                    .unwrap()
            })
            .collect();
        let pids: Vec<i32> = shims
            .iter()
            .map(|shim| shim.state().unwrap().shim_pid)
            .collect();
        let total: u64 = pids.iter().map(|pid| proportional(*pid)).sum();
        println!(
            "{count} shims: {} kB proportional memory each",
            total / count as u64
        );
        for shim in shims {
            shim.shutdown().unwrap();
            shim.wait().unwrap();
        }
    }
    let errors = runtime.sweep(&BTreeSet::new(), |_| true).errors;
    assert!(errors.is_empty(), "{errors:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
