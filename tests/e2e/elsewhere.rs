//! Another machine: an engine with a data root of its own, which shares nothing with the world's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::host::Instance;
use crate::world::{Run, World};

pub(crate) struct Elsewhere<'a> {
    pub(crate) world: &'a World,
    pub(crate) instance: Instance,
    /// Empty at first.
    pub(crate) folder: PathBuf,
}

impl<'a> Elsewhere<'a> {
    pub(crate) fn new(world: &'a World, name: &str) -> Self {
        let place = world.project.with_file_name(name);
        let folder = place.join("folder");
        fs::create_dir_all(&folder).expect("make a folder");
        Self {
            world,
            instance: Instance::new(place.join("data"), place.join("run")),
            folder,
        }
    }

    pub(crate) fn hoist(&self, folder: &Path, args: &[&str]) -> Run {
        let mut command = self.world.command(args);
        command
            .current_dir(folder)
            .env("HOIST_DATA_ROOT", &self.instance.data_root)
            .env("HOIST_RUN_DIR", &self.instance.run_dir);
        command.output().expect("run hoist").into()
    }

    /// Runs a command that must succeed and returns its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, folder: &Path, args: &[&str]) -> String {
        let run = self.hoist(folder, args);
        assert_eq!(
            run.code,
            0,
            "hoist {} failed\n{}\n{}",
            args.join(" "),
            run.stdout,
            run.stderr
        );
        run.stdout
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        self.instance.wipe();
    }
}
