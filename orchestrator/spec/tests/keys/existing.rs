//! Verbs about what exists need nothing of what makes containers, and the others only that of the services they mean.

use hoist_spec::{LoadRequest, Loaded};

use super::files::{files, run};

fn existing(text: &str) -> Result<Loaded, String> {
    let request = LoadRequest {
        nothing_is_made: true,
        allow_unsupported: true,
        profiles: vec!["*".to_owned()],
        ..LoadRequest::default()
    };
    run(&files(&[("compose.yaml", text)]), &request)
}

fn up(text: &str, services: &[&str]) -> Result<Loaded, String> {
    let services = services.iter().map(|&name| name.to_owned()).collect();
    run(
        &files(&[("compose.yaml", text)]),
        &LoadRequest {
            services,
            ..LoadRequest::default()
        },
    )
}

#[test]
fn what_exists_is_reached_whatever_is_missing_now() {
    for attributes in [
        "env_file: gone.env",
        "label_file: gone.labels",
        "environment: {A: '${GONE:?must be there}'}",
        "ports: ['${GONE}:80']",
        "scale: ${GONE}",
        "container_name: same",
        "image: ''",
        "networks: [gone]",
        "volumes: ['gone:/x']",
        "secrets: [gone]",
        "configs: [gone]",
        "depends_on: [gone]",
        "depends_on: [b]",
        "gpus: all",
        "logging: {driver: fluentd}",
        "restart: sometimes",
        "imgae: x",
        "hostname: \"a\\nb\"",
        "network_mode: host\n    networks: [x]",
        "links: [gone]",
    ] {
        let text = format!(
            "version: '3'\nservices:\n  a:\n    image: x\n    {attributes}\n  b: {{image: x, container_name: same, depends_on: [a]}}\n\
             \x20 c: {{profiles: [p]}}\nsecrets: {{s: {{}}}}\n"
        )
        .replace("image: x\n    image", "image");
        let loaded = existing(&text).unwrap_or_else(|errors| panic!("{attributes}: {errors}"));
        assert_eq!(
            loaded.stack.services.keys().collect::<Vec<_>>(),
            ["a", "b", "c"],
            "{attributes}"
        );
        assert_eq!(loaded.warnings, [], "{attributes}");
        assert!(
            up(&text, &[]).is_err()
                || attributes.contains("container_name")
                || attributes.contains("GONE}")
        );
    }
    // Without knowing which services there are, nothing can be done.
    for text in [
        "services:\n  a: [",
        "services: [a]\n",
        "- a\n",
        "services: {a: {extends: {file: gone.yaml, service: a}}}\n",
    ] {
        assert!(existing(text).is_err(), "{text}");
    }
}

#[test]
fn a_service_that_is_not_meant_keeps_none_from_coming_up() {
    let other = |attributes: &str| {
        format!(
            "services:\n  web: {{image: x, depends_on: [db]}}\n  db: {{image: x}}\n  other:\n    {attributes}\n"
        )
    };
    for attributes in [
        "{image: x, env_file: gone.env}",
        "{image: x, environment: {A: '${GONE:?must be there}'}}",
        "{command: no image}",
        "{image: x, gpus: all}",
        "{image: x, logging: {driver: fluentd}}",
        "{image: x, networks: [gone]}",
        "{image: x, depends_on: [gone]}",
        "{image: x, scale: 2, container_name: cc}",
    ] {
        let text = other(attributes);
        assert!(up(&text, &[]).is_err(), "{attributes}");
        assert!(up(&text, &["other"]).is_err(), "{attributes}");
        let loaded = up(&text, &["web"]).unwrap_or_else(|errors| panic!("{attributes}: {errors}"));
        assert_eq!(loaded.stack.services.len(), 3);
        let inactive = text.replace("other:\n    {", "other:\n    {profiles: [p], ");
        up(&inactive, &[]).unwrap_or_else(|errors| panic!("inactive, {attributes}: {errors}"));
    }
    // What a service depends on is meant with it.
    let text =
        "services:\n  web: {image: x, depends_on: [db]}\n  db: {image: x, env_file: gone.env}\n";
    assert!(up(text, &["web"]).is_err() && up(text, &["db"]).is_err());
    // So is what it draws from.
    let text = "services:\n  web: {extends: base}\n  base: {image: 'x:${GONE:?}'}\n";
    assert!(up(text, &["web"]).is_err());
}
