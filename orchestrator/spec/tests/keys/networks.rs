//! Networks, attachments, names and addresses.

use expect_test::expect;

use super::files::check;

#[test]
fn a_service_without_networks_joins_default() {
    check(
        "services:\n  web: {image: a}\n",
        expect![[r#"
        name: demo
        services:
          web:
            image: a
            networks:
              default: null
        networks:
          default:
            name: demo_default
    "#]],
    );
}

#[test]
fn attachments_in_all_forms() {
    check(
        r#"
services:
  a: {image: a, networks: [front]}
  b:
    image: a
    mac_address: 02:42:ac:11:65:43
    networks:
      front:
        aliases: [www, web]
        ipv4_address: 10.1.0.10
        mac_address: 02:42:72:98:65:08
        interface_name: eth7
        priority: 10
        gw_priority: 5
      back:
networks:
  front:
    driver: bridge
    driver_opts: {com.docker.network.driver.mtu: 1400}
    attachable: true
    enable_ipv4: true
    enable_ipv6: false
    labels: {a: b}
    ipam:
      driver: default
      config:
        - {subnet: 10.1.0.0/16, ip_range: 10.1.2.0/24, gateway: 10.1.0.1, aux_addresses: {printer: 10.1.0.5}}
  back: {internal: true, name: backnet}
  unused:
"#,
        expect![[r#"
            name: demo
            services:
              a:
                image: a
                networks:
                  front: null
              b:
                image: a
                mac_address: 02:42:ac:11:65:43
                networks:
                  back: null
                  front:
                    aliases:
                      - www
                      - web
                    gw_priority: 5
                    interface_name: eth7
                    ipv4_address: 10.1.0.10
                    mac_address: 02:42:72:98:65:08
                    priority: 10
            networks:
              back:
                name: backnet
                internal: true
              front:
                name: demo_front
                driver: bridge
                driver_opts:
                  com.docker.network.driver.mtu: "1400"
                ipam:
                  driver: default
                  config:
                    - subnet: 10.1.0.0/16
                      gateway: 10.1.0.1
                      ip_range: 10.1.2.0/24
                      aux_addresses:
                        printer: 10.1.0.5
                attachable: true
                labels:
                  a: b
                enable_ipv4: true
                enable_ipv6: false
        "#]],
    );
}

#[test]
fn a_mode_may_name_a_network_and_a_link_an_alias() {
    check(
        "services:\n  a: {image: a, network_mode: bridge, links: ['b:db', c]}\n  b: {image: a, network_mode: default}\n  \
         c: {image: a, network_mode: proxy}\n",
        expect![[r#"
            name: demo
            services:
              a:
                depends_on:
                  b:
                    condition: service_started
                    restart: true
                    required: true
                  c:
                    condition: service_started
                    restart: true
                    required: true
                image: a
                links:
                  - b:db
                  - c
                network_mode: bridge
              b:
                image: a
                network_mode: default
              c:
                image: a
                network_mode: proxy
        "#]],
    );
    check(
        "services:\n  d: {image: a, network_mode: 'ns:/run/netns/x'}\n",
        expect![[r#"
            error[E0020]: `services.d.network_mode`: the mode `ns:/run/netns/x` is not supported yet
             --> compose.yaml:2:31
              |
            2 |   d: {image: a, network_mode: 'ns:/run/netns/x'}
              |                               ^^^^^^^^^^^^^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: take it out: a service without it is on the network of its stack
        "#]],
    );
}

#[test]
fn external_networks_keep_their_own_name() {
    check(
        "services:\n  a: {image: a, networks: [x, y]}\nnetworks:\n  x: {external: true}\n  y: {external: true, name: real}\n",
        expect![[r#"
        name: demo
        services:
          a:
            image: a
            networks:
              x: null
              "y": null
        networks:
          x:
            name: x
            external: true
          "y":
            name: real
            external: true
    "#]],
    );
}

#[test]
fn names_and_addresses() {
    check(
        r#"
services:
  a:
    image: a
    dns: 8.8.8.8
    dns_search: [example.com]
    dns_opt: [use-vc]
    extra_hosts: ["a=1.2.3.4", "b:5.6.7.8", "gw=host-gateway", "six=[::1]"]
  b:
    image: a
    extra_hosts: {c: 1.2.3.4, d: [1.1.1.1, 2.2.2.2]}
"#,
        expect![[r#"
            name: demo
            services:
              a:
                dns:
                  - 8.8.8.8
                dns_opt:
                  - use-vc
                dns_search:
                  - example.com
                extra_hosts:
                  - a=1.2.3.4
                  - b=5.6.7.8
                  - gw=host-gateway
                  - six=::1
                image: a
                networks:
                  default: null
              b:
                extra_hosts:
                  - c=1.2.3.4
                  - d=1.1.1.1
                  - d=2.2.2.2
                image: a
                networks:
                  default: null
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn modes_exclude_networks() {
    check(
        "services:\n  a:\n    image: a\n    network_mode: host\n    networks: [x]\nnetworks: {x: }\n",
        expect![[r#"
        error[E0018]: service `a`: `network_mode` and `networks` exclude each other
         --> compose.yaml:4:5
          |
        4 |     network_mode: host
          |     ^^^^^^^^^^^^ takes a network from elsewhere
        5 |     networks: [x]
          |     -------- and joins networks
    "#]],
    );
}

#[test]
fn modes_are_read() {
    check(
        "services:\n  a: {image: a, network_mode: none}\n  b: {image: a, network_mode: host}\n  c: {image: a, network_mode: 'container:abc'}\n",
        expect![[r#"
        name: demo
        services:
          a:
            image: a
            network_mode: none
          b:
            image: a
            network_mode: host
          c:
            image: a
            network_mode: container:abc
    "#]],
    );
}

#[test]
fn an_undefined_network_is_an_error() {
    check(
        "services:\n  a:\n    image: a\n    networks: [frnt]\nnetworks: {front: }\n",
        expect![[r#"
        error[E0016]: service `a` uses the undefined network `frnt`
         --> compose.yaml:4:16
          |
        4 |     networks: [frnt]
          |                ^^^^ no network of this name
          |
          = help: did you mean `front`?
    "#]],
    );
}

#[test]
fn bad_addresses_are_errors() {
    check(
        "services:\n  a:\n    image: a\n    dns: here\n    networks: {n: {ipv4_address: 10.1.0.300}}\nnetworks:\n  n: {ipam: {config: [{subnet: 10.1.0.0}]}}\n",
        expect![[r#"
            error[E0009]: `services.a.dns`: `here` is not an address
             --> compose.yaml:4:10
              |
            4 |     dns: here
              |          ^^^^ this value

            error[E0009]: `services.a.networks.n.ipv4_address`: `10.1.0.300` is not an IPv4 address
             --> compose.yaml:5:34
              |
            5 |     networks: {n: {ipv4_address: 10.1.0.300}}
              |                                  ^^^^^^^^^^ this value

            error[E0009]: `networks.n.ipam.config.0.subnet`: `10.1.0.0` is not a subnet like 10.1.0.0/16
             --> compose.yaml:7:32
              |
            7 |   n: {ipam: {config: [{subnet: 10.1.0.0}]}}
              |                                ^^^^^^^^ this value
        "#]],
    );
}

#[test]
fn an_extension_is_not_a_network() {
    check(
        "services:\n  web:\n    image: a\n    networks: [x-net]\nnetworks:\n  x-net:\n",
        expect![[r#"
        error[E0016]: service `web` cannot join a network named `x-net`
         --> compose.yaml:4:16
          |
        4 |     networks: [x-net]
          |                ^^^^^ what begins with `x-` is an extension, not a network
          |
          = help: give the network another name
    "#]],
    );
}

#[test]
fn the_old_form_of_external_names_it() {
    check(
        "services:\n  a: {image: a, networks: [n]}\nnetworks:\n  n: {external: {name: outer}}\n",
        expect![[r#"
            name: demo
            services:
              a:
                image: a
                networks:
                  "n": null
            networks:
              "n":
                name: outer
                external: true

            warning[W0001]: `networks`: `external.name` is obsolete
             --> compose.yaml:4:24
              |
            4 |   n: {external: {name: outer}}
              |                        ^^^^^ named here
              |
              = help: write `external: true` and `name` beside it
        "#]],
    );
}
