//! `hoist config`: the stack that the files mean. Needs no engine, but for the digests of images.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::ValueEnum;
use hoist_spec::model::{Mount, MountSource, Service, Stack};
use hoist_spec::{LoadRequest, Loaded, Skip, Uninterpolated, canonical, codes, explain, schema};

use crate::config_hash;
use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::lock;
use crate::project::{self, LoadOptions};
use crate::render::table::Table;

/// Check the Compose files and print the stack that they mean
///
/// What `up` would refuse is an error here, too. Listings such as --services, and --no-consistency, only warn of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print only these services and what they depend on
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Form of the output
    #[arg(long, value_enum, default_value = "yaml")]
    format: Format,
    /// Print the names of the services, one a line
    #[arg(long = "services", group = "what")]
    list_services: bool,
    /// Print the names of the volumes, one a line
    #[arg(long, group = "what")]
    volumes: bool,
    /// Print the names of the networks, one a line
    #[arg(long, group = "what")]
    networks: bool,
    /// Print the names of the images, one a line
    #[arg(long, group = "what")]
    images: bool,
    /// Print the names of the models, one a line
    #[arg(long, group = "what")]
    models: bool,
    /// Print the names of the profiles, one a line
    #[arg(long, group = "what")]
    profiles: bool,
    /// Print the variables that the files refer to, with their defaults
    #[arg(long, group = "what")]
    variables: bool,
    /// Print the variables that were used for interpolation
    #[arg(long, group = "what")]
    environment: bool,
    /// Print the configuration hash of services (comma-separated, or `*` for all)
    #[arg(long, value_name = "SERVICES", group = "what")]
    hash: Option<String>,
    /// Print a value, such as services.web.environment.DB, and every place that had a say in it; or the page about the
    /// code of an error, such as E0012
    #[arg(long, value_name = "PATH", group = "what")]
    explain: Option<String>,
    /// Print a JSON schema of Compose files, for editors
    #[arg(long, group = "what")]
    schema: bool,
    /// Leave variables as they are written
    #[arg(long, conflicts_with_all = ["images", "models", "profiles", "environment", "hash", "explain"])]
    #[arg(conflicts_with_all = ["resolve_image_digests", "lock_image_digests"])]
    no_interpolate: bool,
    /// Make nothing up: no implicit networks and dependencies, no names of resources
    #[arg(long)]
    no_normalize: bool,
    /// Leave relative paths as they are written
    #[arg(long)]
    no_path_resolution: bool,
    /// Leave env files and variables without a value as they are written
    #[arg(long)]
    no_env_resolution: bool,
    /// Do not check whether references lead somewhere, attributes agree and hoist can act on them
    #[arg(long)]
    no_consistency: bool,
    /// Pin the images to their digests; asks the engine and the registries
    #[arg(long)]
    resolve_image_digests: bool,
    /// Print an override file that pins the images to their digests
    #[arg(long, group = "what")]
    lock_image_digests: bool,
    /// Only check, print nothing
    #[arg(short, long)]
    quiet: bool,
    /// Write to a file in place of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Yaml,
    Json,
}

impl Args {
    /// Whether something about the stack is asked for, and not the stack.
    fn lists(&self) -> bool {
        let names = self.list_services
            || self.volumes
            || self.networks
            || self.images
            || self.models
            || self.profiles;
        names || self.variables || self.environment || self.hash.is_some() || self.explain.is_some()
    }
}

pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let page = args.explain.as_deref().and_then(codes::page);
    let text = if let Some(page) = page {
        page.to_owned()
    } else if args.schema {
        format!("{:#}\n", schema::json_schema())
    } else if args.no_interpolate || args.variables {
        open(ctx, args)?
    } else {
        resolved(ctx, args).await?
    };
    if args.quiet {
        return Ok(Exit::OK);
    }
    match &args.output {
        None => ctx.ui.data(text)?,
        Some(path) => std::fs::write(path, text).map_err(|error| {
            Failure::from(
                anyhow::Error::new(error).context(format!("cannot write {}", path.display())),
            )
        })?,
    }
    Ok(Exit::OK)
}

fn request(ctx: &Ctx, args: &Args) -> LoadRequest {
    // What is printed as a stack can be raised; names and explanations can be had of every stack.
    let only_print = args.no_consistency || args.lists();
    let options = LoadOptions {
        services: &args.services,
        only_print,
        all_profiles: args.profiles,
        ..LoadOptions::default()
    };
    LoadRequest {
        as_reference: !args.no_consistency,
        keep_places: args.explain.is_some(),
        skip: Skip {
            normalization: args.no_normalize,
            consistency: args.no_consistency,
            path_resolution: args.no_path_resolution,
            env_resolution: args.no_env_resolution,
        },
        ..project::request(&ctx.settings, options)
    }
}

async fn resolved(ctx: &Ctx, args: &Args) -> Result<String> {
    let source = project::file_system(&ctx.settings);
    let mut loaded =
        hoist_spec::load(&request(ctx, args), &source, &ctx.settings.env).map_err(Failure::spec)?;
    loaded
        .warnings
        .iter()
        .for_each(|warning| ctx.ui.diagnostic(warning));
    if args.hash.is_some() {
        project::default_platform(&mut loaded)?;
    } else if !args.no_consistency && !args.lists() {
        // Not printed, but what it contradicts cannot be raised.
        project::default_platform(&mut loaded.clone())?;
    }
    if !args.services.is_empty() {
        narrow(&mut loaded.stack, &args.services);
    }
    if args.resolve_image_digests || args.lock_image_digests {
        pin(ctx, &mut loaded.stack).await?;
    }
    text(&loaded, args)
}

/// What can be said without values for the variables.
fn open(ctx: &Ctx, args: &Args) -> Result<String> {
    let source = project::file_system(&ctx.settings);
    let open = hoist_spec::uninterpolated(&request(ctx, args), &source, &ctx.settings.env)
        .map_err(Failure::spec)?;
    open.warnings
        .iter()
        .for_each(|warning| ctx.ui.diagnostic(warning));
    if args.variables {
        return Ok(variables(&open, args.format));
    }
    let names = |section: &str| -> Vec<String> {
        open.value[section]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect()
    };
    let mut names = if args.list_services {
        names("services")
    } else if args.volumes {
        names("volumes")
    } else if args.networks {
        names("networks")
    } else {
        return Ok(match args.format {
            Format::Yaml => canonical::value_to_yaml(&open.value),
            Format::Json => format!("{:#}\n", open.value),
        });
    };
    names.sort();
    Ok(names.into_iter().map(|line| line + "\n").collect())
}

fn variables(open: &Uninterpolated, format: Format) -> String {
    if format == Format::Json {
        let one = |reference: &hoist_spec::VariableReference| {
            serde_json::json!({
                "Name": reference.name, "Required": reference.required,
                "DefaultValue": reference.default, "PresenceValue": reference.alternate,
            })
        };
        return format!(
            "{:#}\n",
            open.references
                .iter()
                .map(one)
                .collect::<serde_json::Value>()
        );
    }
    let mut table = Table::new(["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]);
    for reference in &open.references {
        table.row([
            reference.name.clone(),
            reference.required.to_string(),
            reference.default.clone(),
            reference.alternate.clone(),
        ]);
    }
    table.to_string()
}

/// Adds to every image the digest that its registry has for it now.
async fn pin(ctx: &Ctx, stack: &mut Stack) -> Result<()> {
    let open = |service: &Service| service.image.clone().filter(|image| !image.contains('@'));
    let images: BTreeSet<String> = stack.services.values().filter_map(open).collect();
    let pinned = lock::digests(&ctx.client().await?, images).await?;
    for image in stack
        .services
        .values_mut()
        .filter_map(|service| service.image.as_mut())
    {
        if let Some(digest) = pinned.get(image.as_str()) {
            *image = format!("{image}@{digest}");
        }
    }
    Ok(())
}

/// Only the images, as a file to be put over the others.
fn override_file(stack: &Stack) -> serde_json::Value {
    let images = stack
        .services
        .iter()
        .filter_map(|(name, service)| Some((name, service.image.as_ref()?)));
    let services: serde_json::Map<_, _> = images
        .map(|(name, image)| (name.clone(), serde_json::json!({ "image": image })))
        .collect();
    serde_json::json!({ "services": services })
}

fn explained(loaded: &Loaded, path: &str, format: Format) -> Result<String> {
    let Some(provenance) = &loaded.provenance else {
        return Ok(String::new());
    };
    match provenance.explain(path) {
        Ok(explanation) if format == Format::Json => {
            Ok(format!("{:#}\n", explain::to_json(&explanation)))
        }
        Ok(explanation) => Ok(explain::render(&explanation)),
        Err(error) => {
            let near = error.near.join(", ");
            let failure = Failure::user(error.to_string());
            Err(if near.is_empty() {
                failure
            } else {
                failure.hint(format!("there is {near}"))
            })
        }
    }
}

fn text(loaded: &Loaded, args: &Args) -> Result<String> {
    let stack = &loaded.stack;
    let print = |value: serde_json::Value| match args.format {
        Format::Yaml => canonical::value_to_yaml(&value),
        Format::Json => format!("{value:#}\n"),
    };
    let lines = if args.list_services {
        stack.services.keys().cloned().collect()
    } else if args.volumes {
        stack.volumes.keys().cloned().collect()
    } else if args.networks {
        stack.networks.keys().cloned().collect()
    } else if args.images {
        images(stack)
    } else if args.models {
        let all = canonical::to_json(stack);
        all["models"]
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect()
    } else if args.profiles {
        let profiles: BTreeSet<_> = stack
            .services
            .values()
            .flat_map(|service| &service.profiles)
            .collect();
        profiles.into_iter().cloned().collect()
    } else if args.environment {
        loaded
            .variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    } else if let Some(services) = &args.hash {
        hashes(loaded, services)?
    } else if let Some(path) = &args.explain {
        return explained(loaded, path, args.format);
    } else if args.lock_image_digests {
        return Ok(print(override_file(stack)));
    } else {
        return Ok(match args.format {
            Format::Yaml => canonical::shown_yaml(stack),
            Format::Json => format!("{:#}\n", canonical::shown(stack)),
        });
    };
    Ok(lines.into_iter().map(|line: String| line + "\n").collect())
}

fn images(stack: &Stack) -> Vec<String> {
    stack
        .services
        .iter()
        .map(|(name, service)| image(stack, name, service))
        .collect()
}

/// A service that is only built gets an image name made of stack and service.
fn image(stack: &Stack, name: &str, service: &Service) -> String {
    service
        .image
        .clone()
        .unwrap_or_else(|| format!("{}-{name}", stack.name))
}

fn hashes(loaded: &Loaded, services: &str) -> Result<Vec<String>> {
    let known = config_hash::of(loaded)?;
    if services == "*" {
        return Ok(known
            .into_iter()
            .map(|(name, hash)| format!("{name} {hash}"))
            .collect());
    }
    let line = |name: &str| match known.get(name) {
        Some(hash) => Ok(format!("{name} {hash}")),
        None => Err(Failure::user(format!("no such service: {name}"))),
    };
    services.split(',').map(line).collect()
}

/// Leaves the named services and everything they need.
fn narrow(stack: &mut Stack, named: &[String]) {
    let keep = project::with_dependencies(stack, named);
    stack.services.retain(|name, _| keep.contains(name));
    let used = |pick: fn(&Service) -> Vec<&String>| -> BTreeSet<String> {
        stack.services.values().flat_map(pick).cloned().collect()
    };
    let networks = used(|service| service.networks.keys().collect());
    let secrets = used(|service| service.secrets.iter().map(|file| &file.source).collect());
    let configs = used(|service| service.configs.iter().map(|file| &file.source).collect());
    let volumes = used(|service| service.mounts.iter().filter_map(volume_name).collect());
    retain(&mut stack.networks, &networks);
    retain(&mut stack.secrets, &secrets);
    retain(&mut stack.configs, &configs);
    retain(&mut stack.volumes, &volumes);
}

fn volume_name(mount: &Mount) -> Option<&String> {
    match &mount.source {
        MountSource::Volume { name, .. } => name.as_ref(),
        _ => None,
    }
}

fn retain<T>(map: &mut BTreeMap<String, T>, keep: &BTreeSet<String>) {
    map.retain(|key, _| keep.contains(key));
}
