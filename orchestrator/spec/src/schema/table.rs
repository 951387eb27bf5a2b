//! The table itself: one entry per attribute, in the order of docs/compose-support.md.

use super::{Field, Object, Shape, Special, Support};
use Shape::{
    Bool, Bytes, Command, Duration, Either, Int, Labels, List, Map, Null, Num, Str, StringOrList, Table, Word,
};
use Support::{Modelled, NotYet, Warn, Yes};

const fn yes(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, support: Yes }
}

const fn modelled(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, support: Modelled }
}

const fn not_yet(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, support: NotYet }
}

const fn warn(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, support: Warn }
}

const fn object(fields: &'static [Field]) -> Object {
    Object { fields, required: &[], extensible: true }
}

const STRINGS: Shape = List(&Str);
const SCALAR: Shape = Either(&[Str, Num, Bool, Null]);
const STR_OR_NUM: Shape = Either(&[Str, Num]);
const OPTIONS: Shape = Map(&Either(&[Str, Num, Null]));

pub(crate) static STACK: Object = object(&[
    warn("version", Str),
    yes("name", Str),
    yes("include", List(&Either(&[Str, Shape::Object(&INCLUDE)]))),
    yes("services", Map(&Shape::Object(&SERVICE))),
    yes("networks", Map(&Either(&[Shape::Object(&NETWORK), Null]))),
    yes("volumes", Map(&Either(&[Shape::Object(&VOLUME), Null]))),
    yes("secrets", Map(&Shape::Object(&SECRET))),
    yes("configs", Map(&Shape::Object(&CONFIG))),
    not_yet("models", Map(&Shape::Object(&MODEL))),
]);

static INCLUDE: Object = Object {
    fields: &[yes("path", StringOrList), yes("project_directory", Str), yes("env_file", StringOrList)],
    required: &["path"],
    extensible: false,
};

pub(crate) static SERVICE: Object = object(&[
    yes("annotations", Labels),
    yes("attach", Bool),
    not_yet("blkio_config", Shape::Object(&BLKIO)),
    yes("build", Shape::Special(Special::Build, &Either(&[Str, Shape::Object(&BUILD)]))),
    yes("cap_add", STRINGS),
    yes("cap_drop", STRINGS),
    not_yet("cgroup", Word(&["host", "private"])),
    not_yet("cgroup_parent", Str),
    yes("command", Command),
    yes("configs", GRANTS),
    yes("container_name", Str),
    not_yet("cpu_count", Int),
    not_yet("cpu_percent", Num),
    yes("cpu_period", Int),
    yes("cpu_quota", Int),
    not_yet("cpu_rt_period", Int),
    not_yet("cpu_rt_runtime", Int),
    yes("cpu_shares", Int),
    yes("cpus", Num),
    yes("cpuset", Str),
    warn("credential_spec", Shape::Object(&object(&[yes("config", Str), yes("file", Str), yes("registry", Str)]))),
    yes("depends_on", Shape::Special(Special::DependsOn, &Either(&[STRINGS, Map(&Shape::Object(&DEPENDENCY))]))),
    yes("deploy", Either(&[Shape::Object(&DEPLOY), Null])),
    warn("develop", Either(&[Shape::Object(&DEVELOP), Null])),
    not_yet("device_cgroup_rules", STRINGS),
    yes("devices", Shape::Special(Special::Devices, &List(&Either(&[Str, Shape::Object(&DEVICE)])))),
    yes("dns", StringOrList),
    yes("dns_opt", STRINGS),
    yes("dns_search", StringOrList),
    yes("domainname", Str),
    yes("entrypoint", Command),
    yes("env_file", Shape::Special(Special::EnvFile, &Either(&[Str, List(&Either(&[Str, Shape::Object(&ENV_FILE)]))]))),
    yes("environment", Table),
    yes("expose", List(&STR_OR_NUM)),
    yes("extends", Either(&[Str, Shape::Object(&EXTENDS)])),
    not_yet("external_links", STRINGS),
    yes("extra_hosts", Shape::Special(Special::ExtraHosts, &Either(&[STRINGS, Map(&Either(&[Str, STRINGS]))]))),
    not_yet("gpus", Shape::Special(Special::Gpus, &Either(&[Word(&["all"]), List(&Shape::Object(&GPU))]))),
    yes("group_add", List(&STR_OR_NUM)),
    yes("healthcheck", Shape::Object(&HEALTHCHECK)),
    yes("hostname", Str),
    yes("image", Str),
    yes("init", Bool),
    yes("ipc", Str),
    warn("isolation", Str),
    yes("label_file", StringOrList),
    yes("labels", Labels),
    yes("links", STRINGS),
    yes("logging", Shape::Object(&object(&[yes("driver", Str), yes("options", OPTIONS)]))),
    yes("mac_address", Str),
    yes("mem_limit", Bytes),
    yes("mem_reservation", Bytes),
    not_yet("mem_swappiness", Bytes),
    yes("memswap_limit", Bytes),
    not_yet(
        "models",
        Shape::Special(Special::References, &Either(&[STRINGS, Map(&Either(&[Shape::Object(&MODEL_USE), Null]))])),
    ),
    yes("network_mode", Str),
    yes(
        "networks",
        Shape::Special(Special::Networks, &Either(&[STRINGS, Map(&Either(&[Shape::Object(&ATTACHMENT), Null]))])),
    ),
    yes("oom_kill_disable", Bool),
    yes("oom_score_adj", Int),
    yes("pid", Either(&[Str, Null])),
    yes("pids_limit", Int),
    yes("platform", Str),
    yes("ports", Shape::Special(Special::Ports, &List(&Either(&[Str, Num, Shape::Object(&PORT)])))),
    not_yet("post_start", List(&Shape::Object(&HOOK))),
    not_yet("pre_start", List(&Shape::Object(&PRE_START))),
    not_yet("pre_stop", List(&Shape::Object(&HOOK))),
    yes("privileged", Bool),
    yes("profiles", STRINGS),
    not_yet("provider", Shape::Object(&PROVIDER)),
    yes("pull_policy", Str),
    not_yet("pull_refresh_after", Str),
    yes("read_only", Bool),
    yes("restart", Str),
    not_yet("runtime", Str),
    yes("scale", Int),
    yes("secrets", GRANTS),
    yes("security_opt", STRINGS),
    yes("shm_size", Bytes),
    yes("stdin_open", Bool),
    yes("stop_grace_period", Duration),
    yes("stop_signal", Str),
    not_yet("storage_opt", Map(&SCALAR)),
    yes("sysctls", Labels),
    yes("tmpfs", StringOrList),
    yes("tty", Bool),
    yes("ulimits", ULIMITS),
    not_yet("use_api_socket", Bool),
    yes("user", Str),
    not_yet("userns_mode", Str),
    yes("uts", Str),
    yes("volumes", Shape::Special(Special::Mounts, &List(&Either(&[Str, Shape::Object(&MOUNT)])))),
    not_yet("volumes_from", STRINGS),
    yes("working_dir", Str),
]);

const ULIMITS: Shape = Shape::Special(Special::Ulimits, &Map(&Either(&[Int, Shape::Object(&ULIMIT)])));
static ULIMIT: Object =
    Object { fields: &[yes("soft", Int), yes("hard", Int)], required: &["soft", "hard"], extensible: true };

const GRANTS: Shape = Shape::Special(Special::SecretMounts, &List(&Either(&[Str, Shape::Object(&GRANT)])));
static GRANT: Object = object(&[
    yes("source", Str),
    yes("target", Str),
    yes("uid", Str),
    yes("gid", Str),
    yes("mode", Shape::Special(Special::FileMode, &STR_OR_NUM)),
]);

static BUILD: Object = object(&[
    modelled("additional_contexts", Table),
    yes("args", Table),
    modelled("cache_from", STRINGS),
    modelled("cache_to", STRINGS),
    yes("context", Str),
    yes("dockerfile", Str),
    yes("dockerfile_inline", Str),
    modelled("entitlements", STRINGS),
    yes("extra_hosts", Shape::Special(Special::ExtraHosts, &Either(&[STRINGS, Map(&Either(&[Str, STRINGS]))]))),
    warn("isolation", Str),
    yes("labels", Labels),
    yes("network", Str),
    yes("no_cache", Bool),
    modelled("no_cache_filter", StringOrList),
    yes("platforms", STRINGS),
    modelled("privileged", Bool),
    modelled("provenance", SCALAR),
    yes("pull", Bool),
    modelled("sbom", SCALAR),
    modelled("secrets", GRANTS),
    yes("shm_size", Bytes),
    modelled("ssh", Shape::Special(Special::Ssh, &Either(&[STRINGS, Map(&SCALAR)]))),
    yes("tags", STRINGS),
    yes("target", Str),
    modelled("ulimits", ULIMITS),
]);

static DEPENDENCY: Object = Object {
    fields: &[
        yes("condition", Word(&["service_started", "service_healthy", "service_completed_successfully"])),
        yes("restart", Bool),
        yes("required", Bool),
    ],
    required: &["condition"],
    extensible: true,
};

static DEVICE: Object = Object {
    fields: &[yes("source", Str), yes("target", Str), yes("permissions", Str)],
    required: &["source"],
    extensible: true,
};

static ENV_FILE: Object = Object {
    fields: &[yes("path", Str), yes("required", Bool), yes("format", Str)],
    required: &["path"],
    extensible: false,
};

static EXTENDS: Object =
    Object { fields: &[yes("service", Str), yes("file", Str)], required: &["service"], extensible: false };

static HEALTHCHECK: Object = object(&[
    yes("disable", Bool),
    yes("interval", Duration),
    yes("retries", Int),
    yes("start_interval", Duration),
    yes("start_period", Duration),
    yes("test", Shape::Special(Special::HealthTest, &Either(&[Str, STRINGS]))),
    yes("timeout", Duration),
]);

static ATTACHMENT: Object = object(&[
    yes("aliases", STRINGS),
    yes("driver_opts", Map(&STR_OR_NUM)),
    yes("gw_priority", Int),
    yes("interface_name", Str),
    yes("ipv4_address", Str),
    yes("ipv6_address", Str),
    yes("link_local_ips", STRINGS),
    yes("mac_address", Str),
    yes("priority", Int),
]);

static PORT: Object = object(&[
    yes("app_protocol", Str),
    yes("host_ip", Str),
    yes("mode", Str),
    yes("name", Str),
    yes("protocol", Str),
    yes("published", STR_OR_NUM),
    yes("target", Int),
]);

static MOUNT: Object = Object {
    fields: &[
        yes("bind", Shape::Object(&BIND)),
        yes("consistency", Str),
        yes("image", Shape::Object(&object(&[not_yet("subpath", Str)]))),
        yes("read_only", Bool),
        yes("source", Str),
        yes("target", Str),
        yes("tmpfs", Shape::Object(&object(&[yes("mode", Num), yes("size", Bytes)]))),
        yes("type", Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"])),
        yes("volume", Shape::Object(&object(&[not_yet("labels", Labels), yes("nocopy", Bool), yes("subpath", Str)]))),
    ],
    required: &["type"],
    extensible: true,
};

static BIND: Object = object(&[
    yes("create_host_path", Bool),
    yes("propagation", Str),
    not_yet("recursive", Word(&["enabled", "disabled", "writable", "readonly"])),
    yes("selinux", Word(&["z", "Z"])),
]);

static DEPLOY: Object = object(&[
    warn("endpoint_mode", Str),
    warn("labels", Labels),
    yes("mode", Str),
    warn("placement", Shape::Object(&PLACEMENT)),
    yes("replicas", Int),
    yes(
        "resources",
        Shape::Object(&object(&[
            yes("limits", Shape::Object(&object(&[yes("cpus", Num), yes("memory", Bytes), yes("pids", Int)]))),
            yes("reservations", Shape::Object(&RESERVATIONS)),
        ])),
    ),
    yes(
        "restart_policy",
        Shape::Object(&object(&[
            yes("condition", Str),
            yes("delay", Duration),
            yes("max_attempts", Int),
            yes("window", Duration),
        ])),
    ),
    not_yet("rollback_config", Shape::Object(&UPDATE)),
    not_yet("update_config", Shape::Object(&UPDATE)),
]);

static RESERVATIONS: Object = object(&[
    warn("cpus", Num),
    not_yet("devices", List(&Shape::Object(&RESERVED_DEVICE))),
    not_yet(
        "generic_resources",
        List(&Shape::Object(&object(&[yes(
            "discrete_resource_spec",
            Shape::Object(&object(&[yes("kind", Str), yes("value", Int)])),
        )]))),
    ),
    yes("memory", Bytes),
]);

static PLACEMENT: Object = object(&[
    yes("constraints", STRINGS),
    yes("max_replicas_per_node", Int),
    yes("preferences", List(&Shape::Object(&object(&[yes("spread", Str)])))),
]);

static UPDATE: Object = object(&[
    yes("delay", Duration),
    yes("failure_action", Str),
    yes("max_failure_ratio", Num),
    yes("monitor", Duration),
    yes("order", Word(&["start-first", "stop-first"])),
    yes("parallelism", Int),
]);

const GPU_FIELDS: &[Field] = &[
    yes("capabilities", STRINGS),
    yes("count", Shape::Special(Special::DeviceCount, &STR_OR_NUM)),
    yes("device_ids", STRINGS),
    yes("driver", Str),
    yes("options", Table),
];
static GPU: Object = Object { fields: GPU_FIELDS, required: &[], extensible: true };
static RESERVED_DEVICE: Object = Object { fields: GPU_FIELDS, required: &["capabilities"], extensible: true };

static BLKIO: Object = Object {
    fields: &[
        yes("device_read_bps", List(&Shape::Object(&BLKIO_RATE))),
        yes("device_read_iops", List(&Shape::Object(&BLKIO_RATE))),
        yes("device_write_bps", List(&Shape::Object(&BLKIO_RATE))),
        yes("device_write_iops", List(&Shape::Object(&BLKIO_RATE))),
        yes("weight", Int),
        yes("weight_device", List(&Shape::Object(&BLKIO_WEIGHT))),
    ],
    required: &[],
    extensible: false,
};
/// The capitals are the reference's own printed JSON, which must be readable again.
static BLKIO_RATE: Object = Object {
    fields: &[yes("path", Str), yes("rate", Bytes), yes("Path", Str), yes("Rate", Bytes)],
    required: &[],
    extensible: false,
};
static BLKIO_WEIGHT: Object = Object {
    fields: &[yes("path", Str), yes("weight", Int), yes("Path", Str), yes("Weight", Int)],
    required: &[],
    extensible: false,
};

const HOOK_FIELDS: &[Field] = &[
    yes("command", Command),
    yes("environment", Table),
    yes("privileged", Bool),
    yes("user", Str),
    yes("working_dir", Str),
];
static HOOK: Object = Object { fields: HOOK_FIELDS, required: &["command"], extensible: true };
static PRE_START: Object = object(&[
    yes("command", Command),
    yes("environment", Table),
    yes("image", Str),
    yes("per_replica", Bool),
    yes("privileged", Bool),
    yes("user", Str),
    yes("working_dir", Str),
]);

static DEVELOP: Object = object(&[yes("watch", List(&Shape::Object(&WATCH)))]);
static WATCH: Object = Object {
    fields: &[
        yes("action", Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"])),
        yes("exec", Shape::Object(&object(HOOK_FIELDS))),
        yes("ignore", StringOrList),
        yes("include", StringOrList),
        yes("initial_sync", Bool),
        yes("path", Str),
        yes("target", Str),
    ],
    required: &["path", "action"],
    extensible: true,
};

static PROVIDER: Object = Object {
    fields: &[
        yes("type", Str),
        yes(
            "options",
            Shape::Special(
                Special::ProviderOptions,
                &Map(&Either(&[Str, Num, Bool, List(&Either(&[Str, Num, Bool]))])),
            ),
        ),
    ],
    required: &["type"],
    extensible: true,
};

static MODEL_USE: Object = object(&[yes("endpoint_var", Str), yes("model_var", Str)]);
static MODEL: Object = Object {
    fields: &[yes("name", Str), yes("model", Str), yes("context_size", Int), yes("runtime_flags", STRINGS)],
    required: &["model"],
    extensible: true,
};

const EXTERNAL: Shape =
    Shape::Special(Special::External, &Either(&[Bool, Shape::Object(&object(&[yes("name", Str)]))]));

static NETWORK: Object = object(&[
    yes("attachable", Bool),
    yes("driver", Str),
    yes("driver_opts", Map(&STR_OR_NUM)),
    yes("enable_ipv4", Bool),
    yes("enable_ipv6", Bool),
    yes("external", EXTERNAL),
    yes("internal", Bool),
    yes(
        "ipam",
        Shape::Object(&object(&[
            yes("config", List(&Shape::Object(&POOL))),
            not_yet("driver", Str),
            not_yet("options", Map(&Str)),
        ])),
    ),
    yes("labels", Labels),
    yes("name", Str),
]);
static POOL: Object =
    object(&[yes("aux_addresses", Map(&Str)), yes("gateway", Str), yes("ip_range", Str), yes("subnet", Str)]);

static VOLUME: Object = object(&[
    yes("driver", Str),
    yes("driver_opts", Map(&STR_OR_NUM)),
    yes("external", EXTERNAL),
    yes("labels", Labels),
    yes("name", Str),
]);

static SECRET: Object = object(&[
    not_yet("driver", Str),
    not_yet("driver_opts", Map(&STR_OR_NUM)),
    yes("environment", Str),
    yes("external", EXTERNAL),
    yes("file", Str),
    yes("labels", Labels),
    yes("name", Str),
    not_yet("template_driver", Str),
]);

static CONFIG: Object = object(&[
    yes("content", Str),
    yes("environment", Str),
    yes("external", EXTERNAL),
    yes("file", Str),
    yes("labels", Labels),
    yes("name", Str),
    not_yet("template_driver", Str),
]);
