//! `hoist config`: the stack that the files mean. Needs no engine.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use clap::ValueEnum;
use hoist_spec::Loaded;
use hoist_spec::model::{Mount, MountSource, NamespaceMode, NetworkMode, Service, Stack};

use crate::commands::Ctx;
use crate::config_hash;
use crate::error::{Exit, Failure, Result};
use crate::project::{self, Wish};

/// Check the Compose files and print the stack that they mean
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
    /// Print the names of the profiles, one a line
    #[arg(long, group = "what")]
    profiles: bool,
    /// Print the variables that were used for interpolation
    #[arg(long, group = "what")]
    environment: bool,
    /// Print the configuration hash of services (comma-separated, or `*` for all)
    #[arg(long, value_name = "SERVICES", group = "what")]
    hash: Option<String>,
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

pub(crate) fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let wish = Wish { services: &args.services, only_print: true, all_profiles: args.profiles };
    let mut loaded = project::load(&ctx.settings, ctx.ui, wish)?;
    if !args.services.is_empty() {
        narrow(&mut loaded.stack, &args.services);
    }
    let text = text(&loaded, args)?;
    if args.quiet {
        return Ok(Exit::OK);
    }
    match &args.output {
        None => ctx.ui.data(text)?,
        Some(path) => std::fs::write(path, text).map_err(|error| {
            Failure::from(anyhow::Error::new(error).context(format!("cannot write {}", path.display())))
        })?,
    }
    Ok(Exit::OK)
}

fn text(loaded: &Loaded, args: &Args) -> Result<String> {
    let stack = &loaded.stack;
    let lines = if args.list_services {
        stack.services.keys().cloned().collect()
    } else if args.volumes {
        stack.volumes.keys().cloned().collect()
    } else if args.networks {
        stack.networks.keys().cloned().collect()
    } else if args.images {
        images(stack)
    } else if args.profiles {
        let profiles: BTreeSet<_> = stack.services.values().flat_map(|service| &service.profiles).collect();
        profiles.into_iter().cloned().collect()
    } else if args.environment {
        loaded.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()
    } else if let Some(services) = &args.hash {
        hashes(loaded, services)?
    } else {
        return Ok(match args.format {
            Format::Yaml => hoist_spec::canonical::to_yaml(stack),
            Format::Json => format!("{:#}\n", hoist_spec::canonical::to_json(stack)),
        });
    };
    Ok(lines.into_iter().map(|line: String| line + "\n").collect())
}

fn images(stack: &Stack) -> Vec<String> {
    stack.services.iter().map(|(name, service)| image(stack, name, service)).collect()
}

/// A service that is only built gets an image name made of stack and service.
fn image(stack: &Stack, name: &str, service: &Service) -> String {
    service.image.clone().unwrap_or_else(|| format!("{}-{name}", stack.name))
}

fn hashes(loaded: &Loaded, services: &str) -> Result<Vec<String>> {
    let known = config_hash::of(loaded)?;
    if services == "*" {
        return Ok(known.into_iter().map(|(name, hash)| format!("{name} {hash}")).collect());
    }
    let line = |name: &str| match known.get(name) {
        Some(hash) => Ok(format!("{name} {hash}")),
        None => Err(Failure::user(format!("no such service: {name}"))),
    };
    services.split(',').map(line).collect()
}

/// Leaves the named services and everything they need.
fn narrow(stack: &mut Stack, named: &[String]) {
    let mut keep = BTreeSet::new();
    let mut open: Vec<String> = named.to_vec();
    while let Some(name) = open.pop() {
        if keep.insert(name.clone())
            && let Some(service) = stack.services.get(&name)
        {
            open.extend(needs(service));
        }
    }
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

fn needs(service: &Service) -> Vec<String> {
    let mut names: Vec<String> = service.depends_on.keys().cloned().collect();
    if let Some(NetworkMode::Service(name)) = &service.network_mode {
        names.push(name.clone());
    }
    for mode in [&service.pid, &service.ipc, &service.uts] {
        if let Some(NamespaceMode::Service(name)) = mode {
            names.push(name.clone());
        }
    }
    names
}
