//! Owns the Compose language: file text in, canonical [`model::Stack`] out, diagnostics with spans on the way.
//!
//! Must not know: files (they come through [`Source`]), the process environment ([`Env`]), engines, containers, clocks.

#![forbid(unsafe_code)]

mod bind;
pub mod canonical;
mod check;
pub mod codes;
mod consistency;
pub mod diagnostic;
mod dotenv;
pub mod explain;
mod extends;
mod files;
mod include;
mod inert;
mod interpolate;
mod lower;
mod merge;
pub mod model;
mod node;
mod normalize;
mod paths;
mod project;
mod report;
pub mod schema;
pub mod source;
mod suggest;
#[cfg(test)]
mod tables;
mod units;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use files::Loader;
use inert::Policy;

pub use diagnostic::{Diagnostic, Severity};
pub use source::{Env, Kind, Source, SourceError};

/// What to load, as the command line says it. `Default` means: search upwards from the working directory.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// The `-f` arguments in order, `-` for standard input. Empty: search upwards for the default names.
    pub files: Vec<String>,
    /// `--project-directory`.
    pub project_dir: Option<PathBuf>,
    /// `-p`.
    pub project_name: Option<String>,
    /// The `--env-file` arguments in order. Empty: `.env` of the project directory, when it exists.
    pub env_files: Vec<String>,
    /// The `--profile` arguments; `*` activates every service.
    pub profiles: Vec<String>,
    /// Services named on the command line: their profiles are activated.
    pub services: Vec<String>,
    /// Accept attributes that hoist cannot act on yet and carry them in the model, for printing (`config`).
    /// `false`: they are errors, so that `up` never ignores one.
    pub allow_unsupported: bool,
    /// Keep networks, volumes, secrets and configs that no active service uses.
    pub all_resources: bool,
    /// Refuse what the reference loader cannot read or print (`config` does, unless it checks nothing).
    pub as_reference: bool,
    /// Keep what [`Loaded::provenance`] needs.
    pub keep_places: bool,
}

/// A loaded stack and what was learnt on the way.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub stack: model::Stack,
    /// Absolute; relative paths of the files were resolved against it.
    pub project_dir: PathBuf,
    /// The files that were read as stack files, in order; absolute, or `-`.
    pub files: Vec<PathBuf>,
    pub warnings: Vec<Diagnostic>,
    /// The variables that interpolation saw: the caller's environment over the env files.
    pub variables: BTreeMap<String, String>,
    /// Where each value comes from, when it was asked for.
    pub provenance: Option<explain::Provenance>,
}

/// Reads, checks and canonicalises a stack. Every error that can be found is found in one run.
pub fn load(request: &LoadRequest, source: &dyn Source, env: &Env) -> Result<Loaded, Vec<Diagnostic>> {
    let home = env.get("HOME").map(str::to_owned);
    let mut loader = Loader::new(source, home);
    loader.as_reference = request.as_reference;
    loader.report.variables.outside = env.0.keys().cloned().collect();
    let Some(project) = project::gather(request, &mut loader, env) else {
        return Err(loader.report.finish());
    };
    let project::Project { name, dir, files, variables, selection, mut tree } = project;
    if let Some(map) = tree.as_map_mut() {
        map.remove("name");
        if let Some(version) = map.remove("version") {
            let _ = loader
                .report
                .warning("W0001", "`version` is obsolete and has no effect")
                .at(version.key_span, "remove it");
        }
    }
    check::required(&tree, &schema::Shape::Object(&schema::STACK), "", &mut loader.report);
    consistency::network_modes(&tree, &mut loader.report);
    normalize::emptied(&mut tree);
    normalize::default_network(&mut tree);
    normalize::services(&mut tree, &variables, &dir);
    normalize::names(&mut tree, &name);
    consistency::cycles(&tree, &mut loader.report);
    consistency::named(&tree, &request.services, &mut loader.report);
    let inactive = normalize::apply_profiles(&mut tree, &selection);
    if request.as_reference {
        consistency::beyond_the_reference(&tree, &mut loader.report);
    }
    normalize::fold_service_files(&mut tree, &variables, &mut loader);
    consistency::check(&tree, &inactive, &mut loader.report);
    if !request.all_resources {
        normalize::drop_unused(&mut tree);
    }
    let provenance = request.keep_places.then(|| explain::Provenance::new(tree.clone(), &loader.report));
    let policy = if request.allow_unsupported { Policy::Carry } else { Policy::Refuse };
    let mut stack = bind::stack(tree, name, policy, &mut loader.report);
    stack.inactive = inactive.0.into_iter().map(|entry| entry.key).collect();
    stack.inactive.sort();
    if loader.report.failed() {
        return Err(loader.report.finish());
    }
    Ok(Loaded {
        stack,
        project_dir: PathBuf::from(dir),
        files,
        warnings: loader.report.finish(),
        variables,
        provenance,
    })
}
