//! Which attribute of the file each field of the model is, and the kind of its value: one list for both directions.
//! `bind` makes readers of these lists, `canonical` makes printers of them, and a field that is in no list does not
//! compile. A kind is a function of that name in `bind/kinds.rs` and another in `canonical/kinds.rs`.
//!
//! `field: kind`; `field "attribute": kind` where the two have different names. What takes more than its own attribute
//! to read or to print stands under `by_hand`.
//!
//! Must not know: how a kind is read or printed.

macro_rules! service {
    ($direction:ident) => {
        $direction! {
            Service {
                image: string,
                build: build,
                pull_policy: pull_policy,
                platform: string,
                command: words,
                entrypoint: words,
                environment: open_table,
                working_dir: string,
                user: string,
                group_add: strings,
                hostname: string,
                domainname: string,
                container_name: string,
                init: boolean,
                tty: flag,
                stdin_open: flag,
                stop_signal: string,
                stop_grace_period: duration,
                labels: table,
                annotations: table,
                attach: unless_false,
                depends_on: depends_on,
                healthcheck: healthcheck,
                restart: restart,
                profiles: strings,
                network_mode: network_mode,
                networks: attachments,
                ports: ports,
                expose: strings,
                dns: addresses,
                dns_search: strings,
                dns_opt: strings,
                extra_hosts: hosts,
                mac_address: string,
                secrets: secrets,
                configs: configs,
                read_only: flag,
                shm_size: bytes,
                ulimits: ulimits,
                sysctls: table,
                oom_score_adj: number,
                cap_add: strings,
                cap_drop: strings,
                security_opt: strings,
                privileged: flag,
                devices: devices,
                pid: namespace,
                ipc: namespace,
                uts: namespace,
                logging: logging,
                links: strings,
                volumes_from: volumes_from,
                tmpfs: strings,
            }
            by_hand { replicas, resources, mounts, bare_mounts, deploy, deploy_restart, extensions }
        }
    };
}

macro_rules! resources {
    ($direction:ident) => {
        $direction! {
            Resources {
                cpus: share,
                cpu_shares: limit,
                cpu_quota: limit,
                cpu_period: limit,
                cpuset: string,
                memory "mem_limit": bytes,
                memory_reservation "mem_reservation": bytes,
                memswap_limit: bytes,
                mem_swappiness: swappiness,
                pids "pids_limit": limit,
                oom_kill_disable: boolean,
            }
            by_hand {}
        }
    };
}

macro_rules! deploy_restart {
    ($direction:ident) => {
        $direction! {
            DeployRestart {
                condition: string,
                delay: duration,
                max_attempts: number,
                window: duration,
            }
            by_hand {}
        }
    };
}

macro_rules! healthcheck {
    ($direction:ident) => {
        $direction! {
            Healthcheck {
                interval: duration,
                timeout: duration,
                retries: number,
                start_period: duration,
                start_interval: duration,
            }
            by_hand { test }
        }
    };
}

macro_rules! build {
    ($direction:ident) => {
        $direction! {
            Build {
                args: open_table,
                target: string,
                labels: table,
                tags: strings,
                network: string,
                no_cache: flag,
                pull: flag,
                shm_size: bytes,
                extra_hosts: hosts,
                platforms: strings,
                ulimits: ulimits,
                privileged: flag,
                entitlements: strings,
                additional_contexts: table,
                cache_from: cache_from,
                cache_to: cache_to,
                no_cache_filter: strings,
                secrets: build_secrets,
                ssh: ssh,
                provenance: string,
                sbom: string,
            }
            by_hand { context, dockerfile, dockerfile_inline }
        }
    };
}

macro_rules! attachment {
    ($direction:ident) => {
        $direction! {
            Attachment {
                aliases: strings,
                ipv4_address: ipv4,
                ipv6_address: ipv6,
                link_local_ips: addresses,
                mac_address: string,
                interface_name: string,
                priority: priority,
                gw_priority: priority,
                driver_opts: table,
            }
            by_hand {}
        }
    };
}

macro_rules! network {
    ($direction:ident) => {
        $direction! {
            Network {
                external: flag,
                driver: string,
                driver_opts: table,
                internal: flag,
                attachable: flag,
                enable_ipv4: boolean,
                enable_ipv6: boolean,
                labels: table,
            }
            by_hand { name, ipam_driver, ipam }
        }
    };
}

macro_rules! volume {
    ($direction:ident) => {
        $direction! {
            Volume {
                external: flag,
                driver: string,
                driver_opts: table,
                labels: table,
            }
            by_hand { name }
        }
    };
}

/// The attribute of a field.
macro_rules! attribute {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

pub(crate) use {
    attachment, attribute, build, deploy_restart, healthcheck, network, resources, service, volume,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::schema::{self, Support};

    macro_rules! attributes {
        ($model:ident { $($field:ident $($key:literal)?: $kind:ident,)* } by_hand { $($own:ident),* }) => {
            [$(super::attribute!($field $($key)?)),*]
        };
    }

    /// What the table says of a section is what the lists have of it, apart from what is read by hand.
    #[track_caller]
    fn agree(section: &str, listed: &[&'static str], by_hand: &[&'static str]) {
        let bound = schema::attributes()
            .into_iter()
            .filter_map(|(path, support)| {
                let name = path.strip_prefix(section)?.strip_prefix('.')?;
                let bound = matches!(
                    support,
                    Support::Yes | Support::Part | Support::Printed | Support::Modelled
                );
                (bound && !name.contains(['.', '['])).then(|| name.to_owned())
            });
        let listed = listed.iter().chain(by_hand).map(|&name| name.to_owned());
        assert_eq!(
            bound.collect::<BTreeSet<_>>(),
            listed.collect(),
            "attributes of {section}"
        );
    }

    #[test]
    fn what_the_table_supports_has_a_field_and_nothing_else_has_one() {
        let service = [service!(attributes).as_slice(), &resources!(attributes)].concat();
        let resolved = ["env_file", "extends", "label_file"];
        agree(
            "services.*",
            &service,
            &[resolved.as_slice(), &["deploy", "scale", "volumes"]].concat(),
        );
        agree(
            "services.*.deploy.restart_policy",
            &deploy_restart!(attributes),
            &[],
        );
        agree(
            "services.*.healthcheck",
            &healthcheck!(attributes),
            &["disable", "test"],
        );
        agree(
            "services.*.build",
            &build!(attributes),
            &["context", "dockerfile", "dockerfile_inline"],
        );
        agree("services.*.networks.*", &attachment!(attributes), &[]);
        agree("networks.*", &network!(attributes), &["ipam", "name"]);
        agree("volumes.*", &volume!(attributes), &["name"]);
    }
}
