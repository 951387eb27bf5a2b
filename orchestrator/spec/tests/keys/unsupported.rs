//! Attributes that Compose knows and hoist cannot act on yet: refused by name, printed by `config`.

use expect_test::expect;
use hoist_spec::{LoadRequest, canonical};

use super::files::{check, files, run};

pub(crate) const ALL: &str = r#"
services:
  a:
    image: a
    blkio_config: {weight: 300, device_read_bps: [{path: /dev/sda, rate: 12mb}]}
    cgroup: private
    cgroup_parent: x
    cpu_count: 2
    cpu_percent: 50
    cpu_rt_period: 100
    cpu_rt_runtime: 100
    device_cgroup_rules: ["c 1:3 mr"]
    external_links: [other]
    gpus: all
    models: [llm]
    post_start: [{command: a}]
    pre_start: [{command: a}]
    pre_stop: [{command: a}]
    provider: {type: x}
    pull_refresh_after: 1d
    runtime: runsc
    storage_opt: {size: 1g}
    use_api_socket: true
    userns_mode: host
    links: ["b:alias"]
    network_mode: bridge
    volumes:
      - {type: image, source: x, target: /x, image: {subpath: y}}
      - {type: bind, source: /x, target: /y, bind: {recursive: disabled}}
      - {type: volume, target: /z, volume: {labels: {a: b}}}
    build:
      context: .
      cache_from: ["type=gha,scope=x"]
      cache_to: ["type=s3,region=x"]
      provenance: true
      sbom: true
    deploy:
      mode: replicated-job
      resources: {reservations: {devices: [{capabilities: [gpu]}], generic_resources: []}}
  b:
    image: b
    ports: ["80:80/sctp"]
    networks: {n: {driver_opts: {a: 1}, link_local_ips: [169.254.1.1], ipv6_address: "fd00::10"}}
    volumes: ["v:/v"]
    secrets: [s, d]
    configs: [c]
networks:
  n:
    enable_ipv4: false
    enable_ipv6: true
    driver_opts: {com.docker.network.bridge.name: hb-x, com.docker.network.driver.mtu: 1400}
    ipam: {driver: x, options: {a: b}, config: [{subnet: "fd00::/64"}]}
volumes:
  v: {driver_opts: {type: none, o: bind, device: ./store}}
models:
  llm: {model: x}
secrets:
  s: {external: true}
  d: {file: x, driver: x, driver_opts: {a: b}, template_driver: x}
configs:
  c: {file: x, template_driver: x}
"#;

#[test]
fn each_is_refused_by_name() {
    let refused = run(&files(&[("compose.yaml", ALL)]), &LoadRequest::default()).unwrap_err();
    let lines: Vec<_> = refused
        .lines()
        .filter(|line| line.starts_with("error"))
        .collect();
    expect![[r#"
        error[E0020]: `services.a.blkio_config`: the attribute `blkio_config` is not supported yet
        error[E0020]: `services.a.cgroup`: the attribute `cgroup` is not supported yet
        error[E0020]: `services.a.cgroup_parent`: the attribute `cgroup_parent` is not supported yet
        error[E0020]: `services.a.cpu_count`: the attribute `cpu_count` is not supported yet
        error[E0020]: `services.a.cpu_percent`: the attribute `cpu_percent` is not supported yet
        error[E0020]: `services.a.cpu_rt_period`: the attribute `cpu_rt_period` is not supported yet
        error[E0020]: `services.a.cpu_rt_runtime`: the attribute `cpu_rt_runtime` is not supported yet
        error[E0020]: `services.a.device_cgroup_rules`: the attribute `device_cgroup_rules` is not supported yet
        error[E0020]: `services.a.external_links`: the attribute `external_links` is not supported yet
        error[E0020]: `services.a.gpus`: the attribute `gpus` is not supported yet
        error[E0020]: `services.a.models`: the attribute `models` is not supported yet
        error[E0020]: `services.a.post_start`: the attribute `post_start` is not supported yet
        error[E0020]: `services.a.pre_start`: the attribute `pre_start` is not supported yet
        error[E0020]: `services.a.pre_stop`: the attribute `pre_stop` is not supported yet
        error[E0020]: `services.a.provider`: the attribute `provider` is not supported yet
        error[E0020]: `services.a.pull_refresh_after`: the attribute `pull_refresh_after` is not supported yet
        error[E0020]: `services.a.runtime`: the attribute `runtime` is not supported yet
        error[E0020]: `services.a.storage_opt`: the attribute `storage_opt` is not supported yet
        error[E0020]: `services.a.use_api_socket`: the attribute `use_api_socket` is not supported yet
        error[E0020]: `services.a.userns_mode`: the attribute `userns_mode` is not supported yet
        error[E0020]: `services.a.volumes.0`: a mount of type `image` is not supported yet
        error[E0020]: `services.a.volumes.0.image`: the attribute `image` is not supported yet
        error[E0020]: `services.a.volumes.1.bind.recursive`: the attribute `recursive` is not supported yet
        error[E0020]: `services.a.volumes.2.volume.labels`: the attribute `labels` is not supported yet
        error[E0020]: `services.a.build.cache_from.0`: a cache of type `gha` (there are `registry`, `inline` and `local`) is not supported yet
        error[E0020]: `services.a.build.cache_to.0`: a cache of type `s3` (there are `registry`, `inline` and `local`) is not supported yet
        error[E0020]: `services.a.build.provenance`: the attribute `provenance` is not supported yet
        error[E0020]: `services.a.build.sbom`: the attribute `sbom` is not supported yet
        error[E0020]: `services.a.deploy`: a mode other than `replicated` and `global` is not supported yet
        error[E0020]: `services.a.deploy.resources.reservations.devices`: the attribute `devices` is not supported yet
        error[E0020]: `services.a.deploy.resources.reservations.generic_resources`: the attribute `generic_resources` is not supported yet
        error[E0020]: `services.b.ports.0`: the protocol `sctp` is not supported yet
        error[E0020]: `services.b.networks.n.driver_opts`: the attribute `driver_opts` is not supported yet
        error[E0020]: `services.b.networks.n.link_local_ips`: the attribute `link_local_ips` is not supported yet
        error[E0020]: `services.b.networks.n.ipv6_address`: the attribute `ipv6_address` is not supported yet
        error[E0020]: `networks.n`: a network without IPv4 is not supported yet
        error[E0020]: `networks.n`: IPv6 is not supported yet
        error[E0020]: `networks.n`: the bridge name `hb-x` is not supported yet
        error[E0020]: `networks.n.ipam.driver`: the address driver `x` is not supported yet
        error[E0020]: `networks.n.ipam.options`: the attribute `options` is not supported yet
        error[E0020]: `networks.n`: IPv6 is not supported yet
        error[E0020]: `models`: the attribute `models` is not supported yet
        error[E0020]: `secrets.s`: an external secret is not supported yet
        error[E0020]: `secrets.d.driver`: the attribute `driver` is not supported yet
        error[E0020]: `secrets.d.driver_opts`: the attribute `driver_opts` is not supported yet
        error[E0020]: `secrets.d.template_driver`: the attribute `template_driver` is not supported yet
        error[E0020]: `configs.c.template_driver`: the attribute `template_driver` is not supported yet"#]].assert_eq(&lines.join("\n"));
}

#[test]
fn the_place_is_shown() {
    check(
        "services:\n  a:\n    image: a\n    gpus: all\n",
        expect![[r#"
            error[E0020]: `services.a.gpus`: the attribute `gpus` is not supported yet
             --> compose.yaml:4:5
              |
            4 |     gpus: all
              |     ^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: list the files of the device instead, for example `devices: [/dev/dri]` or `devices: [/dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm]`, and bind the driver's libraries
        "#]],
    );
}

#[test]
fn each_is_carried_for_printing() {
    let request = LoadRequest {
        allow_unsupported: true,
        ..LoadRequest::default()
    };
    let loaded = run(&files(&[("compose.yaml", ALL)]), &request).unwrap();
    expect![[r#"
        name: demo
        services:
          a:
            build:
              context: /demo
              dockerfile: Dockerfile
              provenance: "true"
              sbom: "true"
              cache_from:
                - type=gha,scope=x
              cache_to:
                - type=s3,region=x
            blkio_config:
              weight: 300
              device_read_bps:
                - path: /dev/sda
                  rate: "12582912"
            cgroup_parent: x
            cgroup: private
            cpu_count: 2
            cpu_percent: 50
            cpu_rt_period: 100
            cpu_rt_runtime: 100
            depends_on:
              b:
                condition: service_started
                restart: true
                required: true
            deploy:
              mode: replicated-job
              resources:
                reservations:
                  devices:
                    - capabilities:
                        - gpu
                      count: -1
                  generic_resources: []
            device_cgroup_rules:
              - c 1:3 mr
            provider:
              type: x
            external_links:
              - other
            gpus:
              - count: -1
            image: a
            links:
              - b:alias
            models:
              llm: null
            network_mode: bridge
            pull_refresh_after: 1d
            runtime: runsc
            storage_opt:
              size: 1g
            use_api_socket: true
            userns_mode: host
            volumes:
              - type: image
                source: x
                target: /x
                image:
                  subpath: "y"
              - type: bind
                source: /x
                target: /y
                bind:
                  recursive: disabled
              - type: volume
                target: /z
                volume:
                  labels:
                    a: b
            pre_start:
              - command:
                  - a
                image: a
            post_start:
              - command:
                  - a
            pre_stop:
              - command:
                  - a
          b:
            configs:
              - source: c
            image: b
            networks:
              "n":
                driver_opts:
                  a: "1"
                ipv6_address: fd00::10
                link_local_ips:
                  - 169.254.1.1
            ports:
              - mode: ingress
                target: 80
                published: "80"
                protocol: sctp
            secrets:
              - source: s
                target: /run/secrets/s
              - source: d
                target: /run/secrets/d
            volumes:
              - type: volume
                source: v
                target: /v
                volume: {}
        networks:
          "n":
            name: demo_n
            driver_opts:
              com.docker.network.bridge.name: hb-x
              com.docker.network.driver.mtu: "1400"
            ipam:
              driver: x
              config:
                - subnet: fd00::/64
              options:
                a: b
            enable_ipv4: false
            enable_ipv6: true
        volumes:
          v:
            name: demo_v
            driver_opts:
              device: /demo/store
              o: bind
              type: none
        secrets:
          d:
            name: demo_d
            file: /demo/x
            driver: x
            driver_opts:
              a: b
            template_driver: x
          s:
            name: s
            external: true
        configs:
          c:
            name: demo_c
            file: /demo/x
            template_driver: x
        models:
          llm:
            model: x
    "#]]
    .assert_eq(&canonical::to_yaml(&loaded.stack));
    let printed = canonical::to_json(&loaded.stack);
    assert_eq!(canonical::from_json(&printed).unwrap(), loaded.stack);
}
