//! `hoist bundle load`.

use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use hoist_api::{BundleDocument, BundleEvent};

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::signals::Interrupts;
use crate::target;

/// Load a bundle: images and volumes into the engine, the stack file into a folder
///
/// The file is read to its end and verified before anything is changed. Afterwards `hoist up` in the folder needs no
/// registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The bundle
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Folder for the stack file (default: one with the stack's name)
    #[arg(short, long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// Also fill volumes that their driver_opts mount from elsewhere (a folder, a device, a share), where that is empty
    #[arg(long)]
    mounted: bool,
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let head = super::inspect::head(&args.file)?;
    let folder = folder(ctx, args, &head)?;
    let archive = target::source(Some(&args.file)).await?;
    let mut events = ctx
        .client()
        .await?
        .load_bundle(archive, args.mounted)
        .await?;
    let mut interrupts = Interrupts::listen()?;
    loop {
        let event = tokio::select! {
            event = events.next() => event?,
            () = interrupts.next() => return Err(Failure::interrupted()),
        };
        match event {
            Some(BundleEvent::Note { text }) => ctx.ui.note(&text),
            Some(BundleEvent::Failed { error }) => return Err(Failure::user(error)),
            Some(BundleEvent::Done { document }) => {
                write(&folder, &document)?;
                ctx.ui.line(folder.join(STACK_FILE).display().to_string())?;
                return Ok(Exit::OK);
            }
            None => {
                return Err(Failure::user(
                    "the engine ended before the bundle was loaded",
                ));
            }
        }
    }
}

const STACK_FILE: &str = "compose.yaml";

/// Where the stack goes; nothing that is there is overwritten.
fn folder(ctx: &Ctx, args: &Args, document: &BundleDocument) -> Result<PathBuf> {
    let name = Path::new(&document.project);
    if !matches!(
        name.components().collect::<Vec<_>>().as_slice(),
        [Component::Normal(_)]
    ) {
        return Err(Failure::user(format!(
            "{:?} is no name of a stack",
            document.project
        )));
    }
    for file in document.files.keys() {
        let parts: Vec<Component<'_>> = Path::new(file).components().collect();
        if !matches!(
            parts.as_slice(),
            [Component::Normal(_), Component::Normal(_)]
        ) {
            return Err(Failure::user(format!(
                "the bundle has a file {file:?}, which leads out of its folder"
            )));
        }
    }
    let folder = ctx
        .settings
        .working_dir
        .join(args.directory.as_deref().unwrap_or(name));
    let stack = folder.join(STACK_FILE);
    if stack.symlink_metadata().is_ok() {
        return Err(Failure::user(format!("{} exists", stack.display()))
            .hint("choose another folder with -d FOLDER"));
    }
    Ok(folder)
}

fn write(folder: &Path, document: &BundleDocument) -> Result<()> {
    let failed = |path: &Path| {
        let context = format!("cannot write {}", path.display());
        move |error: std::io::Error| Failure::from(anyhow::Error::new(error).context(context))
    };
    let create = |path: &Path, mode: u32| {
        use std::io::Write;
        let parent = path.parent().unwrap_or(folder).to_owned();
        let mut folders = std::fs::DirBuilder::new();
        folders
            .recursive(true)
            .mode(if mode == SECRET { 0o700 } else { 0o755 });
        let file = folders.create(&parent).and_then(|()| {
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(path)
        });
        let failure = failed(path);
        move |bytes: &[u8]| {
            file.and_then(|mut file| file.write_all(bytes))
                .map_err(failure)
        }
    };
    // Others may look at the stack, if not at its secrets.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(folder)
        .map_err(failed(folder))?;
    for (name, content) in &document.files {
        let bytes = base64::engine::general_purpose::STANDARD.decode(content);
        let bytes = bytes.map_err(|error| Failure::from(anyhow::Error::new(error)))?;
        create(
            &folder.join(name),
            if name.starts_with("secrets/") {
                SECRET
            } else {
                0o644
            },
        )(&bytes)?;
    }
    create(&folder.join(STACK_FILE), 0o644)(document.stack.as_bytes())
}

const SECRET: u32 = 0o600;
