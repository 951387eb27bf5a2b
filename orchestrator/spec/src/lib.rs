//! Owns the Compose language: file text in, canonical [`model::Stack`] out, diagnostics with spans on the way.
//!
//! Must not know: files (they come through [`Source`]), the process environment ([`Env`]), engines, containers, clocks.

#![forbid(unsafe_code)]

mod advice;
mod bind;
pub mod cache;
pub mod canonical;
mod check;
pub mod codes;
mod consistency;
pub mod diagnostic;
mod dotenv;
pub mod explain;
mod extends;
mod fields;
mod files;
mod include;
mod inert;
mod interpolate;
pub mod local;
mod lower;
mod merge;
pub mod model;
pub mod name;
mod node;
mod normalize;
mod paths;
mod project;
mod report;
pub mod schema;
pub mod size;
pub mod source;
mod suggest;
#[cfg(test)]
mod tables;
mod units;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use files::Loader;
use inert::{Collector, Judge, Policy};

pub use bind::{CAPABILITIES, is_bridge_name};
pub use diagnostic::{Diagnostic, Severity};
pub use interpolate::VariableReference;
pub use source::{Env, Kind, MAX_FILE, Source, SourceError, decode};

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
    /// Accept attributes that hoist cannot act on yet and carry them in the model, for verbs about what exists and for
    /// listings. `false`: they are errors, so that `up` never ignores one. With `as_reference` they are warned of.
    pub allow_unsupported: bool,
    /// No container comes of it: what only those need (env files, variables, values that can be acted on, references that
    /// lead somewhere) may be missing or wrong, and nothing is warned of. For verbs about what exists.
    pub nothing_is_made: bool,
    /// Keep networks, volumes, secrets and configs that no active service uses.
    pub all_resources: bool,
    /// Refuse what the reference loader cannot read or print (`config` does, unless it checks nothing).
    pub as_reference: bool,
    /// Keep what [`Loaded::provenance`] needs.
    pub keep_places: bool,
    pub skip: Skip,
}

/// Steps on the way to the canonical form that are to be left out. Only for printing: nothing can be raised from what
/// comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skip {
    /// Implicit networks and dependencies, names of resources, defaults of builds.
    pub normalization: bool,
    /// Whether references lead somewhere and attributes agree.
    pub consistency: bool,
    /// Paths stay as they are written.
    pub path_resolution: bool,
    /// `env_file` and `label_file` stay, and so do variables without a value.
    pub env_resolution: bool,
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

/// What the files say before variables are replaced: merged and in long form where that needs no values.
#[derive(Debug, Clone)]
pub struct Uninterpolated {
    pub value: serde_json::Value,
    /// Every variable that a value refers to, by name.
    pub references: Vec<VariableReference>,
    pub warnings: Vec<Diagnostic>,
}

/// Reads, checks and canonicalises a stack. Every error that can be found is found in one run. Its length is that of the
/// list of steps, whose order matters.
pub fn load(
    request: &LoadRequest,
    source: &dyn Source,
    env: &Env,
) -> Result<Loaded, Vec<Diagnostic>> {
    let mut loader = loader(request, source, env);
    let Some(project) = project::gather(request, &mut loader, env) else {
        return Err(loader.report.finish());
    };
    let project::Project {
        name,
        dir,
        files,
        variables,
        selection,
        mut tree,
    } = project;
    top_level(&mut tree, &mut loader.report);
    check::required(
        &tree,
        &schema::Shape::Object(&schema::STACK),
        "",
        &mut loader.report,
    );
    if request.checks_consistency() {
        consistency::network_modes(&tree, &mut loader.report);
    }
    normalize::emptied(&mut tree);
    if !request.skip.env_resolution {
        normalize::environments(&mut tree, &variables);
    }
    normalized(&mut tree, request.skip, &name, &variables, &dir);
    if request.checks_consistency() {
        consistency::cycles(&tree, &mut loader.report);
    }
    consistency::named(&tree, &request.services, &mut loader.report);
    let inactive = normalize::apply_profiles(&mut tree, &selection);
    let requested = normalize::with_dependencies(&tree, &request.services);
    active(
        &mut tree,
        request,
        &variables,
        &inactive,
        &requested,
        &mut loader,
    );
    let provenance = request
        .keep_places
        .then(|| explain::Provenance::new(tree.clone(), &loader.report));
    let judge = Judge {
        policy: request.policy(),
        requested: Some(requested),
    };
    let mut stack = bind::stack(tree, name, judge, &mut loader.report);
    stack.inactive = inactive.0.into_iter().map(|entry| entry.key).collect();
    stack.inactive.sort();
    if request.nothing_is_made && !stack.services.is_empty() {
        loader.report.forgive();
    }
    if loader.report.failed() {
        return Err(loader.report.finish());
    }
    let project_dir = PathBuf::from(dir);
    Ok(Loaded {
        stack,
        project_dir,
        files,
        warnings: loader.report.finish(),
        variables,
        provenance,
    })
}

impl LoadRequest {
    fn checks_consistency(&self) -> bool {
        !self.skip.consistency && !self.nothing_is_made
    }

    fn policy(&self) -> Policy {
        match (self.allow_unsupported, self.as_reference) {
            (false, _) => Policy::Refuse,
            (true, true) => Policy::Tell,
            (true, false) => Policy::Carry,
        }
    }
}

/// The steps that are about active services only: their env files, their references, and the resources that they use.
fn active(
    tree: &mut node::Node,
    request: &LoadRequest,
    variables: &BTreeMap<String, String>,
    inactive: &node::Map,
    requested: &BTreeSet<String>,
    loader: &mut Loader<'_>,
) {
    // The reference reads and checks all active services, whichever are named.
    let checked = if request.as_reference {
        consistency::beyond_the_reference(tree, &mut loader.report);
        &normalize::with_dependencies(tree, &[])
    } else {
        loader.report.forget_others(requested);
        requested
    };
    if !request.skip.env_resolution {
        normalize::fold_service_files(tree, variables, checked, loader);
    }
    if request.checks_consistency() {
        consistency::check(tree, inactive, checked, &mut loader.report);
    }
    if !request.all_resources {
        normalize::drop_unused(tree);
    }
}

/// The caller's variables with those of the env files that set options of the program (`COMPOSE_ANSI` and its kin).
pub fn option_variables(request: &LoadRequest, source: &dyn Source, env: &Env) -> Env {
    project::options(request, source, env)
}

/// Reads a stack and leaves its variables as they are written. Values are not checked, whether hoist can act on an attribute
/// is. Services of every profile are there: which ones are active may hang on a variable.
pub fn uninterpolated(
    request: &LoadRequest,
    source: &dyn Source,
    env: &Env,
) -> Result<Uninterpolated, Vec<Diagnostic>> {
    let mut loader = loader(request, source, env);
    loader.report.lenient = true;
    let Some(project) = project::gather(request, &mut loader, env) else {
        return Err(loader.report.finish());
    };
    let project::Project {
        name,
        dir,
        variables,
        mut tree,
        ..
    } = project;
    top_level(&mut tree, &mut loader.report);
    normalized(&mut tree, request.skip, &name, &variables, &dir);
    consistency::named(&tree, &request.services, &mut loader.report);
    if !request.all_resources {
        normalize::drop_unused(&mut tree);
    }
    if !request.allow_unsupported {
        let requested = Some(normalize::with_dependencies(&tree, &request.services));
        Collector::new(Judge {
            policy: Policy::Refuse,
            requested,
        })
        .take(&mut tree.clone(), &mut loader.report);
    }
    if loader.report.failed() {
        return Err(loader.report.finish());
    }
    let value = canonical::in_order(name, tree.to_json());
    let references = std::mem::take(&mut loader.references)
        .into_values()
        .collect();
    Ok(Uninterpolated {
        value,
        references,
        warnings: loader.report.finish(),
    })
}

fn loader<'a>(request: &LoadRequest, source: &'a dyn Source, env: &Env) -> Loader<'a> {
    let mut loader = Loader::new(source, env.get("HOME").map(str::to_owned));
    loader.as_reference = request.as_reference;
    loader.report.forgiving = request.nothing_is_made;
    loader.report.variables.outside = env.0.keys().cloned().collect();
    loader
}

fn normalized(
    tree: &mut node::Node,
    skip: Skip,
    name: &str,
    variables: &BTreeMap<String, String>,
    dir: &str,
) {
    normalize::builds(
        tree,
        variables,
        if skip.path_resolution { "." } else { dir },
    );
    if !skip.normalization {
        normalize::default_network(tree);
        normalize::services(tree);
    }
    normalize::names(tree, (!skip.normalization).then_some(name));
}

/// Takes out what the model has no place for.
fn top_level(tree: &mut node::Node, report: &mut report::Report) {
    let Some(map) = tree.as_map_mut() else { return };
    map.remove("name");
    if let Some(version) = map.remove("version") {
        let _ = report
            .warning("W0001", "`version` is obsolete and has no effect")
            .at(version.key_span, "remove it");
    }
}
