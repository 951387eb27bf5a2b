//! `hoist inspect`: everything that is known of containers, images, networks and volumes.

use clap::ValueEnum;
use hoist_client::{Client, ClientError};
use serde_json::Value;

use crate::ctx::Ctx;
use crate::error::{Exit, Failure, Result};
use crate::render::template::Template;
use crate::{containers, project};

/// Print everything that is known of containers, images, networks and volumes
///
/// A container's State has its exit code, what kept it from starting, and the output of its last healthchecks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Services of the stack, or names or ids
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Form of the output: json, or a Go template such as '{{json .State.Health}}'
    #[arg(short, long, value_name = "FORMAT", default_value = "json", value_parser = form)]
    format: Form,
    /// Look only among these
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
}

#[derive(Debug, Clone)]
enum Form {
    Json,
    Lines(Template),
}

fn form(text: &str) -> Result<Form, String> {
    match text {
        "json" => Ok(Form::Json),
        _ if text.contains("{{") => Ok(Form::Lines(text.parse()?)),
        _ => Err("expected json, or a template such as '{{.State.Status}}'".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

const KINDS: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];

/// What is found is printed, also when something else is not.
pub(crate) async fn run(ctx: &Ctx, args: &Args) -> Result<Exit> {
    let client = ctx.client().await?;
    let kinds = args.kind.map_or(KINDS.to_vec(), |kind| vec![kind]);
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in &args.names {
        let before = found.len();
        for kind in &kinds {
            found.extend(look(ctx, &client, *kind, name).await?);
            if found.len() > before {
                break;
            }
        }
        if found.len() == before {
            missing.push(name.as_str());
        }
    }
    match &args.format {
        Form::Json => ctx.ui.documents(&found)?,
        Form::Lines(template) => {
            for value in &found {
                ctx.ui
                    .line(template.render(value).map_err(Failure::user)?)?;
            }
        }
    }
    if missing.is_empty() {
        return Ok(Exit::OK);
    }
    let kinds = args
        .kind
        .map_or("container, image, network or volume".to_owned(), word);
    Err(
        Failure::user(format!("no {kinds} is called {}", missing.join(", ")))
            .hint("`hoist ps --all-projects -a` lists all containers"),
    )
}

fn word(kind: Kind) -> String {
    kind.to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}

async fn look(ctx: &Ctx, client: &Client, kind: Kind, name: &str) -> Result<Vec<Value>> {
    let one = match kind {
        Kind::Container => match document(client.container(name).await)? {
            None => return of_service(ctx, client, name).await,
            found => found,
        },
        Kind::Image => document(client.image(name, None).await)?,
        Kind::Network => document(client.network(name).await)?,
        Kind::Volume => document(client.volume(name).await)?,
    };
    Ok(one.into_iter().collect())
}

/// All replicas of a service of the stack here, when there is a stack here.
async fn of_service(ctx: &Ctx, client: &Client, name: &str) -> Result<Vec<Value>> {
    let Ok(project) = project::find(&ctx.settings, ctx.ui, &[]) else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for container in
        containers::of_services(client, &project.name, &[name.to_owned()], true).await?
    {
        found.extend(document(client.container(&container.id).await)?);
    }
    Ok(found)
}

/// `None`: not found.
fn document<T: serde::Serialize>(answer: Result<T, ClientError>) -> Result<Option<Value>> {
    match answer {
        Ok(found) => Ok(Some(
            serde_json::to_value(found).map_err(anyhow::Error::from)?,
        )),
        // A name that cannot be an image's is no image.
        Err(ClientError::Api {
            status: 400 | 404, ..
        }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
