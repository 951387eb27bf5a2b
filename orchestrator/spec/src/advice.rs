//! Suggestions for attributes that hoist does not support yet.

/// The advice about an attribute, by its path.
pub(crate) fn of(path: &[String], what: &str) -> &'static str {
    if what.contains("IPv6") || what.contains("without IPv4") {
        return "take it out: containers have IPv4 addresses only";
    }
    let known = |key: &String| {
        ADVICE
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, advice)| *advice)
    };
    let by_kind = KINDS
        .iter()
        .find(|(start, _)| what.starts_with(start))
        .map(|(_, advice)| *advice);
    by_kind
        .or_else(|| path.iter().rev().find_map(known))
        .unwrap_or("take it out, if the stack works without it; docs/compose-support.md says what hoist acts on")
}

/// By what is refused: values of attributes that are known otherwise.
const KINDS: &[(&str, &str)] = &[
    (
        "a link with an alias",
        "give the other service this name: `networks: {default: {aliases: [NAME]}}`",
    ),
    (
        "a cache of type",
        "use a cache of type registry, local or inline",
    ),
    (
        "a mount of type `image`",
        "copy the files where the service's image is built: `COPY --from=IMAGE`",
    ),
    (
        "a mount of type",
        "use a mount of type bind, volume or tmpfs",
    ),
    ("an external resource", "give it a `name`"),
    (
        "an external secret",
        "take it from a file or a variable: `file: ./secret.txt` or `environment: NAME`",
    ),
    (
        "an external config",
        "take it from a file or a variable: `file: ./x.conf`, `environment: NAME` or `content`",
    ),
    ("the target", "begin it with `/`"),
    (
        "the driver option",
        "take it out; com.docker.network.driver.mtu and com.docker.network.bridge.name are acted on",
    ),
    (
        "the bridge name",
        "write 1 to 15 characters without space, `/`, `:` and `%`, not beginning with `hb-` or `hv`",
    ),
    (
        "the protocol",
        "publish tcp or udp; `network_mode: host` reaches what speaks another protocol",
    ),
    (
        "a mode other than",
        "write `mode: replicated`; a job is run with `hoist run --rm SERVICE`",
    ),
    (
        "the policy",
        "write `pull_policy: daily`, `weekly` or `every_12h`",
    ),
];

/// By attribute; the innermost that is known counts.
const ADVICE: &[(&str, &str)] = &[
    (
        "blkio_config",
        "take it out: the bandwidth of disks is not limited",
    ),
    (
        "cgroup",
        "take it out: each container has a cgroup namespace of its own",
    ),
    (
        "cgroup_parent",
        "take it out: each container has a cgroup of its own",
    ),
    ("cpu_count", "write `cpus` instead"),
    ("cpu_percent", "write `cpus` instead"),
    ("cpu_rt_period", "write `cpus` or `cpu_shares` instead"),
    ("cpu_rt_runtime", "write `cpus` or `cpu_shares` instead"),
    (
        "device_cgroup_rules",
        "list the devices themselves under `devices`",
    ),
    (
        "external_links",
        "join a network of the other stack: `networks: {NAME: {external: true}}`, and use the container's name",
    ),
    ("gpus", GPU),
    ("devices", GPU),
    (
        "generic_resources",
        "list the devices themselves under `devices`",
    ),
    (
        "models",
        "run the model as a service of its own, and pass its address in `environment`",
    ),
    (
        "post_start",
        "do it in the service's `entrypoint`, or in a service of its own with `depends_on`",
    ),
    (
        "pre_start",
        "do it in a service of its own, and wait for it: `depends_on: {NAME: {condition: service_completed_successfully}}`",
    ),
    (
        "pre_stop",
        "do it in the program of the service when it receives its `stop_signal`",
    ),
    (
        "provider",
        "start what it provides by other means, and take the service out",
    ),
    (
        "pull_refresh_after",
        "write `pull_policy: daily`, `weekly` or `every_12h`",
    ),
    ("runtime", "take it out: hoist starts containers itself"),
    (
        "storage_opt",
        "take it out; a tmpfs with a `size` bounds what a service can write to a folder",
    ),
    (
        "use_api_socket",
        "mount the engine's socket: `volumes: [/run/hoist/hoist.sock:/var/run/docker.sock]`",
    ),
    (
        "userns_mode",
        "take it out: containers are in the host's user namespace; `user` makes them unprivileged",
    ),
    (
        "network_mode",
        "take it out: a service without it is on the network of its stack",
    ),
    (
        "recursive",
        "take it out: what is mounted below the source is mounted, too",
    ),
    (
        "labels",
        "label the volume at the top level, under `volumes`",
    ),
    (
        "image",
        "copy the files where the service's image is built: `COPY --from=IMAGE`",
    ),
    (
        "provenance",
        "take it out: builds record where they come from by themselves",
    ),
    (
        "sbom",
        "take it out; a scanner can read the image from `hoist image save`",
    ),
    (
        "template_driver",
        "take it out, and use variables in `content`",
    ),
    (
        "driver_opts",
        "take it out: secrets are files or variables, and networks are bridges of this host",
    ),
    (
        "ipam",
        "take it out, or write `driver: default`; `config` sets subnets and gateways",
    ),
    (
        "secrets",
        "take it from a file or a variable: `file: ./secret.txt` or `environment: NAME`",
    ),
    (
        "volumes",
        "use the driver `local`; mount other storage on the host, and bind it: `volumes: [/mnt/data:/data]`",
    ),
    (
        "networks",
        "use the driver `bridge`; `network_mode: host` puts a service on the network of the host",
    ),
];

const GPU: &str = "list the files of the device instead, for example `devices: [/dev/dri]` or `devices: [/dev/nvidia0, \
    /dev/nvidiactl, /dev/nvidia-uvm]`, and bind the driver's libraries";
