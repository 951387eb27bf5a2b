//! The table itself: one entry per attribute, in the order of docs/compose-support.md.

use super::{Field, Object, Shape, Special, Support};
use Shape::{
    Bool, Bytes, Command, Duration, Either, Int, Labels, List, Map, Null, Num, Str, StringOrList,
    Table, Word,
};
use Support::{Modelled, NotYet, Part, Printed, Warn, Yes};

const fn yes(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        support: Yes,
    }
}

const fn part(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        support: Part,
    }
}

const fn printed(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        support: Printed,
    }
}

const fn modelled(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        support: Modelled,
    }
}

const fn not_yet(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        support: NotYet,
    }
}

const fn warn(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        shape,
        support: Warn,
    }
}

const fn object(fields: &'static [Field]) -> Object {
    Object {
        fields,
        required: &[],
        extensible: true,
    }
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
    fields: &[
        yes("path", StringOrList),
        yes("project_directory", Str),
        yes("env_file", StringOrList),
    ],
    required: &["path"],
    extensible: false,
};

pub(crate) static SERVICE: Object = object(&[
    yes("profiles", STRINGS),
    yes("annotations", Labels),
    yes("attach", Bool),
    yes(
        "build",
        Shape::Special(Special::Build, &Either(&[Str, Shape::Object(&BUILD)])),
    ),
    warn("develop", Either(&[Shape::Object(&DEVELOP), Null])),
    not_yet("blkio_config", Shape::Object(&BLKIO)),
    yes("cap_add", STRINGS),
    yes("cap_drop", STRINGS),
    not_yet("cgroup_parent", Str),
    not_yet("cgroup", Word(&["host", "private"])),
    not_yet("cpu_count", Int),
    not_yet("cpu_percent", Num),
    yes("cpu_period", Int),
    yes("cpu_quota", Int),
    not_yet("cpu_rt_period", Int),
    not_yet("cpu_rt_runtime", Int),
    yes("cpus", Num),
    yes("cpuset", Str),
    yes("cpu_shares", Int),
    yes("command", Command),
    yes("configs", GRANTS),
    yes("container_name", Str),
    warn(
        "credential_spec",
        Shape::Object(&object(&[
            yes("config", Str),
            yes("file", Str),
            yes("registry", Str),
        ])),
    ),
    yes(
        "depends_on",
        Shape::Special(
            Special::DependsOn,
            &Either(&[STRINGS, Map(&Shape::Object(&DEPENDENCY))]),
        ),
    ),
    yes("deploy", Either(&[Shape::Object(&DEPLOY), Null])),
    not_yet("device_cgroup_rules", STRINGS),
    yes(
        "devices",
        Shape::Special(
            Special::Devices,
            &List(&Either(&[Str, Shape::Object(&DEVICE)])),
        ),
    ),
    yes("dns", StringOrList),
    yes("dns_opt", STRINGS),
    yes("dns_search", StringOrList),
    yes("domainname", Str),
    yes("entrypoint", Command),
    not_yet("provider", Shape::Object(&PROVIDER)),
    yes("environment", Table),
    yes(
        "env_file",
        Shape::Special(
            Special::EnvFile,
            &Either(&[Str, List(&Either(&[Str, Shape::Object(&ENV_FILE)]))]),
        ),
    ),
    yes("expose", List(&STR_OR_NUM)),
    yes("extends", Either(&[Str, Shape::Object(&EXTENDS)])),
    not_yet("external_links", STRINGS),
    yes(
        "extra_hosts",
        Shape::Special(
            Special::ExtraHosts,
            &Either(&[STRINGS, Map(&Either(&[Str, STRINGS]))]),
        ),
    ),
    yes("group_add", List(&STR_OR_NUM)),
    not_yet(
        "gpus",
        Shape::Special(
            Special::Gpus,
            &Either(&[Word(&["all"]), List(&Shape::Object(&GPU))]),
        ),
    ),
    yes("hostname", Str),
    yes("healthcheck", Shape::Object(&HEALTHCHECK)),
    yes("image", Str),
    yes("init", Bool),
    yes("ipc", Str),
    warn("isolation", Str),
    yes("labels", Labels),
    yes("label_file", StringOrList),
    yes("links", STRINGS),
    yes(
        "logging",
        Shape::Object(&object(&[part("driver", Str), yes("options", OPTIONS)])),
    ),
    yes("mem_limit", Bytes),
    yes("mem_reservation", Bytes),
    yes("memswap_limit", Bytes),
    yes("mem_swappiness", Bytes),
    yes("mac_address", Str),
    not_yet(
        "models",
        Shape::Special(
            Special::References,
            &Either(&[STRINGS, Map(&Either(&[Shape::Object(&MODEL_USE), Null]))]),
        ),
    ),
    yes("network_mode", Str),
    yes(
        "networks",
        Shape::Special(
            Special::Networks,
            &Either(&[STRINGS, Map(&Either(&[Shape::Object(&ATTACHMENT), Null]))]),
        ),
    ),
    yes("oom_kill_disable", Bool),
    yes("oom_score_adj", Int),
    yes("pid", Either(&[Str, Null])),
    yes("pids_limit", Int),
    yes("platform", Str),
    yes(
        "ports",
        Shape::Special(
            Special::Ports,
            &List(&Either(&[Str, Num, Shape::Object(&PORT)])),
        ),
    ),
    yes("privileged", Bool),
    part("pull_policy", Str),
    not_yet("pull_refresh_after", Str),
    yes("read_only", Bool),
    yes("restart", Str),
    not_yet("runtime", Str),
    yes("scale", Int),
    yes("secrets", GRANTS),
    part("security_opt", STRINGS),
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
    yes(
        "volumes",
        Shape::Special(
            Special::Mounts,
            &List(&Either(&[Str, Shape::Object(&MOUNT)])),
        ),
    ),
    yes("volumes_from", STRINGS),
    yes("working_dir", Str),
    not_yet("pre_start", List(&Shape::Object(&PRE_START))),
    not_yet("post_start", List(&Shape::Object(&HOOK))),
    not_yet("pre_stop", List(&Shape::Object(&HOOK))),
]);

const ULIMITS: Shape = Shape::Special(
    Special::Ulimits,
    &Map(&Either(&[Int, Shape::Object(&ULIMIT)])),
);
static ULIMIT: Object = Object {
    fields: &[yes("soft", Int), yes("hard", Int)],
    required: &["soft", "hard"],
    extensible: true,
};

const GRANTS: Shape = Shape::Special(
    Special::SecretMounts,
    &List(&Either(&[Str, Shape::Object(&GRANT)])),
);
static GRANT: Object = object(&[
    yes("source", Str),
    yes("target", Str),
    yes("uid", Str),
    yes("gid", Str),
    yes("mode", Shape::Special(Special::FileMode, &STR_OR_NUM)),
]);

const BUILD_GRANTS: Shape = Shape::Special(
    Special::SecretMounts,
    &List(&Either(&[Str, Shape::Object(&BUILD_GRANT)])),
);
static BUILD_GRANT: Object = object(&[
    yes("source", Str),
    yes("target", Str),
    warn("uid", Str),
    warn("gid", Str),
    warn("mode", Shape::Special(Special::FileMode, &STR_OR_NUM)),
]);

static BUILD: Object = object(&[
    yes("context", Str),
    yes("dockerfile", Str),
    yes("dockerfile_inline", Str),
    yes("entitlements", STRINGS),
    yes("args", Table),
    modelled("provenance", SCALAR),
    modelled("sbom", SCALAR),
    yes(
        "ssh",
        Shape::Special(Special::Ssh, &Either(&[STRINGS, Map(&SCALAR)])),
    ),
    yes("labels", Labels),
    yes("cache_from", STRINGS),
    yes("cache_to", STRINGS),
    yes("no_cache", Bool),
    yes("no_cache_filter", StringOrList),
    yes("additional_contexts", Table),
    yes("pull", Bool),
    yes(
        "extra_hosts",
        Shape::Special(
            Special::ExtraHosts,
            &Either(&[STRINGS, Map(&Either(&[Str, STRINGS]))]),
        ),
    ),
    warn("isolation", Str),
    yes("network", Str),
    yes("target", Str),
    yes("secrets", BUILD_GRANTS),
    yes("shm_size", Bytes),
    yes("tags", STRINGS),
    yes("ulimits", ULIMITS),
    yes("platforms", STRINGS),
    yes("privileged", Bool),
]);

static DEPENDENCY: Object = Object {
    fields: &[
        yes(
            "condition",
            Word(&[
                "service_started",
                "service_healthy",
                "service_completed_successfully",
            ]),
        ),
        yes("restart", Bool),
        yes("required", Bool),
    ],
    required: &["condition"],
    extensible: true,
};

static DEVICE: Object = Object {
    fields: &[
        yes("source", Str),
        yes("target", Str),
        yes("permissions", Str),
    ],
    required: &["source"],
    extensible: true,
};

static ENV_FILE: Object = Object {
    fields: &[yes("path", Str), yes("required", Bool), yes("format", Str)],
    required: &["path"],
    extensible: false,
};

static EXTENDS: Object = Object {
    fields: &[yes("file", Str), yes("service", Str)],
    required: &["service"],
    extensible: false,
};

static HEALTHCHECK: Object = object(&[
    yes(
        "test",
        Shape::Special(Special::HealthTest, &Either(&[Str, STRINGS])),
    ),
    yes("timeout", Duration),
    yes("interval", Duration),
    yes("retries", Int),
    yes("start_period", Duration),
    yes("start_interval", Duration),
    yes("disable", Bool),
]);

static ATTACHMENT: Object = object(&[
    yes("aliases", STRINGS),
    modelled("driver_opts", Map(&STR_OR_NUM)),
    yes("gw_priority", Int),
    yes("interface_name", Str),
    yes("ipv4_address", Str),
    modelled("ipv6_address", Str),
    modelled("link_local_ips", STRINGS),
    yes("mac_address", Str),
    yes("priority", Int),
]);

static PORT: Object = object(&[
    printed("name", Str),
    printed("mode", Str),
    yes("host_ip", Str),
    yes("target", Int),
    yes("published", STR_OR_NUM),
    part("protocol", Str),
    printed("app_protocol", Str),
]);

static MOUNT: Object = Object {
    fields: &[
        part(
            "type",
            Word(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        ),
        yes("source", Str),
        yes("target", Str),
        yes("read_only", Bool),
        printed("consistency", Str),
        yes("bind", Shape::Object(&BIND)),
        yes(
            "volume",
            Shape::Object(&object(&[
                not_yet("labels", Labels),
                yes("nocopy", Bool),
                yes("subpath", Str),
            ])),
        ),
        yes(
            "tmpfs",
            Shape::Object(&object(&[yes("mode", Num), yes("size", Bytes)])),
        ),
        not_yet("image", Shape::Object(&object(&[yes("subpath", Str)]))),
    ],
    required: &["type"],
    extensible: true,
};

static BIND: Object = object(&[
    printed("selinux", Word(&["z", "Z"])),
    yes("propagation", Str),
    yes("create_host_path", Bool),
    not_yet(
        "recursive",
        Word(&["enabled", "disabled", "writable", "readonly"]),
    ),
]);

static DEPLOY: Object = object(&[
    part("mode", Str),
    yes("replicas", Int),
    warn("labels", Labels),
    warn("update_config", Shape::Object(&UPDATE)),
    warn("rollback_config", Shape::Object(&UPDATE)),
    yes(
        "resources",
        Shape::Object(&object(&[
            yes(
                "limits",
                Shape::Object(&object(&[
                    yes("cpus", Num),
                    yes("memory", Bytes),
                    yes("pids", Int),
                ])),
            ),
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
    warn("placement", Shape::Object(&PLACEMENT)),
    warn("endpoint_mode", Str),
]);

static RESERVATIONS: Object = object(&[
    warn("cpus", Num),
    yes("memory", Bytes),
    not_yet("devices", List(&Shape::Object(&RESERVED_DEVICE))),
    not_yet(
        "generic_resources",
        List(&Shape::Object(&object(&[yes(
            "discrete_resource_spec",
            Shape::Object(&object(&[yes("kind", Str), yes("value", Int)])),
        )]))),
    ),
]);

static PLACEMENT: Object = object(&[
    yes("constraints", STRINGS),
    yes(
        "preferences",
        List(&Shape::Object(&object(&[yes("spread", Str)]))),
    ),
    yes("max_replicas_per_node", Int),
]);

static UPDATE: Object = object(&[
    yes("parallelism", Int),
    yes("delay", Duration),
    yes("failure_action", Str),
    yes("monitor", Duration),
    yes("max_failure_ratio", Num),
    yes("order", Word(&["start-first", "stop-first"])),
]);

const GPU_FIELDS: &[Field] = &[
    yes("capabilities", STRINGS),
    yes("driver", Str),
    yes("count", Shape::Special(Special::DeviceCount, &STR_OR_NUM)),
    yes("device_ids", STRINGS),
    yes("options", Table),
];
static GPU: Object = Object {
    fields: GPU_FIELDS,
    required: &[],
    extensible: true,
};
static RESERVED_DEVICE: Object = Object {
    fields: GPU_FIELDS,
    required: &["capabilities"],
    extensible: true,
};

static BLKIO: Object = Object {
    fields: &[
        yes("weight", Int),
        yes("weight_device", List(&Shape::Object(&BLKIO_WEIGHT))),
        yes("device_read_bps", List(&Shape::Object(&BLKIO_RATE))),
        yes("device_read_iops", List(&Shape::Object(&BLKIO_RATE))),
        yes("device_write_bps", List(&Shape::Object(&BLKIO_RATE))),
        yes("device_write_iops", List(&Shape::Object(&BLKIO_RATE))),
    ],
    required: &[],
    extensible: false,
};
/// The capitals are the reference's own printed JSON, which must be readable again.
static BLKIO_RATE: Object = Object {
    fields: &[
        yes("path", Str),
        yes("rate", Bytes),
        yes("Path", Str),
        yes("Rate", Bytes),
    ],
    required: &[],
    extensible: false,
};
static BLKIO_WEIGHT: Object = Object {
    fields: &[
        yes("path", Str),
        yes("weight", Int),
        yes("Path", Str),
        yes("Weight", Int),
    ],
    required: &[],
    extensible: false,
};

const HOOK_FIELDS: &[Field] = &[
    yes("command", Command),
    yes("user", Str),
    yes("privileged", Bool),
    yes("working_dir", Str),
    yes("environment", Table),
];
static HOOK: Object = Object {
    fields: HOOK_FIELDS,
    required: &["command"],
    extensible: true,
};
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
        yes("path", Str),
        yes(
            "action",
            Word(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        ),
        yes("target", Str),
        yes("exec", Shape::Object(&object(HOOK_FIELDS))),
        yes("include", StringOrList),
        yes("ignore", StringOrList),
        yes("initial_sync", Bool),
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
    fields: &[
        yes("name", Str),
        yes("model", Str),
        yes("context_size", Int),
        yes("runtime_flags", STRINGS),
    ],
    required: &["model"],
    extensible: true,
};

const EXTERNAL: Shape = Shape::Special(
    Special::External,
    &Either(&[Bool, Shape::Object(&object(&[yes("name", Str)]))]),
);

static NETWORK: Object = object(&[
    yes("name", Str),
    part("driver", Str),
    part("driver_opts", Map(&STR_OR_NUM)),
    yes(
        "ipam",
        Shape::Object(&object(&[
            part("driver", Str),
            yes("config", List(&Shape::Object(&POOL))),
            not_yet("options", Map(&Str)),
        ])),
    ),
    yes("external", EXTERNAL),
    yes("internal", Bool),
    printed("attachable", Bool),
    yes("labels", Labels),
    part("enable_ipv4", Bool),
    part("enable_ipv6", Bool),
]);
static POOL: Object = object(&[
    yes("subnet", Str),
    yes("gateway", Str),
    yes("ip_range", Str),
    yes("aux_addresses", Map(&Str)),
]);

static VOLUME: Object = object(&[
    yes("name", Str),
    part("driver", Str),
    yes("driver_opts", Map(&STR_OR_NUM)),
    yes("external", EXTERNAL),
    yes("labels", Labels),
]);

static SECRET: Object = object(&[
    yes("name", Str),
    yes("file", Str),
    yes("environment", Str),
    part("external", EXTERNAL),
    printed("labels", Labels),
    not_yet("driver", Str),
    not_yet("driver_opts", Map(&STR_OR_NUM)),
    not_yet("template_driver", Str),
]);

static CONFIG: Object = object(&[
    yes("name", Str),
    yes("file", Str),
    yes("environment", Str),
    yes("content", Str),
    part("external", EXTERNAL),
    printed("labels", Labels),
    not_yet("template_driver", Str),
]);
