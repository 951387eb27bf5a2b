//! Owns the hints for a command that found no stack file: the same command for the container that was named, or where to look.

use hoist_api::ContainerSummary;
use hoist_client::Client;

use crate::containers;
use crate::ctx::Ctx;
use crate::error::Failure;

/// Verbs that take the number of a replica.
const WITH_INDEX: &[&str] = &["attach", "cp", "exec", "export", "logs", "port"];

pub(crate) async fn hinted(ctx: &Ctx, failure: Failure, words: &[String]) -> Failure {
    if !failure.lacks_stack() {
        return failure;
    }
    // Without a running engine there are no containers; do not start one for a hint.
    let found = match Client::connect_running(&ctx.settings.places).await {
        Ok(Some(client)) => containers::of_all(&client, true).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let named = words
        .iter()
        .find_map(|word| found.iter().find(|container| container.name() == word));
    failure.hint(match named.filter(|container| !container.project().is_empty()) {
        Some(container) => format!(
            "{} is a container of service {} of stack {}: `{}`",
            container.name(),
            container.service(),
            container.project(),
            command(words, container)
        ),
        None => "`hoist ps --all-projects` lists the containers of all stacks; -p NAME names a stack whose file is elsewhere"
            .to_owned(),
    })
}

fn command(words: &[String], container: &ContainerSummary) -> String {
    let mut line = vec![
        "hoist".to_owned(),
        "-p".to_owned(),
        container.project().to_owned(),
    ];
    for word in words {
        let is_name = word == container.name();
        line.push(if is_name {
            container.service().to_owned()
        } else {
            word.clone()
        });
        if container.number() > 1 && WITH_INDEX.contains(&word.as_str()) {
            line.push(format!("--index {}", container.number()));
        }
    }
    line.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_the_same_for_the_service() {
        let label =
            |key: &str, value: &str| (format!("com.docker.compose.{key}"), value.to_owned());
        let mut container = ContainerSummary {
            names: vec!["/st-web-2".to_owned()],
            ..ContainerSummary::default()
        };
        container.labels = [
            label("project", "st"),
            label("service", "web"),
            label("container-number", "2"),
        ]
        .into();
        let told = |line: &str| {
            command(
                &line.split(' ').map(str::to_owned).collect::<Vec<_>>(),
                &container,
            )
        };
        assert_eq!(
            told("exec st-web-2 ls"),
            "hoist -p st exec --index 2 web ls"
        );
        assert_eq!(told("stop -t 1 st-web-2"), "hoist -p st stop -t 1 web");
    }
}
