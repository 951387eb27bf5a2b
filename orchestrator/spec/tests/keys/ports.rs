//! ports and expose.

use expect_test::expect;

use super::files::check;

#[test]
fn short_and_long_forms_and_ranges() {
    check(
        r#"
services:
  web:
    image: a
    expose: [3000, "4000-4001"]
    ports:
      - 80
      - "8080:80"
      - 127.0.0.1:9000-9001:90-91/udp
      - "5000-5010:5000"
      - {target: 7000, published: "7100", host_ip: 127.0.0.1, protocol: udp, mode: host, name: api, app_protocol: http}
"#,
        expect![[r#"
            name: demo
            services:
              web:
                expose:
                  - "3000"
                  - 4000-4001
                image: a
                networks:
                  default: null
                ports:
                  - mode: ingress
                    target: 80
                    protocol: tcp
                  - mode: ingress
                    target: 80
                    published: "8080"
                    protocol: tcp
                  - mode: ingress
                    host_ip: 127.0.0.1
                    target: 90
                    published: "9000"
                    protocol: udp
                  - mode: ingress
                    host_ip: 127.0.0.1
                    target: 91
                    published: "9001"
                    protocol: udp
                  - mode: ingress
                    target: 5000
                    published: 5000-5010
                    protocol: tcp
                  - name: api
                    mode: host
                    host_ip: 127.0.0.1
                    target: 7000
                    published: "7100"
                    protocol: udp
                    app_protocol: http
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn host_addresses_of_ipv6_are_refused_where_they_stand() {
    check(
        "services:\n  a:\n    image: a\n    ports:\n      - '[::1]:443:443'\n      - '[::]:80:80'\n      - {target: 90, host_ip: 'fd00::1'}\n",
        expect![[r#"
            error[E0020]: `services.a.ports.0`: the IPv6 host address `::1` is not supported yet
             --> compose.yaml:5:10
              |
            5 |       - '[::1]:443:443'
              |          ^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: take it out: containers have IPv4 addresses only

            error[E0020]: `services.a.ports.1`: the IPv6 host address `::` is not supported yet
             --> compose.yaml:6:10
              |
            6 |       - '[::]:80:80'
              |          ^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: take it out: containers have IPv4 addresses only

            error[E0020]: `services.a.ports.2`: the IPv6 host address `fd00::1` is not supported yet
             --> compose.yaml:7:31
              |
            7 |       - {target: 90, host_ip: 'fd00::1'}
              |                               ^^^^^^^^^ hoist cannot act on this, and does not ignore it
              |
              = help: take it out: containers have IPv4 addresses only
        "#]],
    );
}

#[test]
fn what_is_no_port_is_refused() {
    check(
        "services:\n  web:\n    image: a\n    ports:\n      - 99999\n      - 80/xyz\n      - 1-3:1-2\n      - nowhere:80:80\n      - {published: 80}\n",
        expect![[r#"
            error[E0009]: `99999` is not a port: `99999` is not a port of the container
             --> compose.yaml:5:9
              |
            5 |       - 99999
              |         ^^^^^ [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]

            error[E0009]: `80/xyz` is not a port: `xyz` is not a protocol (tcp, udp or sctp)
             --> compose.yaml:6:9
              |
            6 |       - 80/xyz
              |         ^^^^^^ [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]

            error[E0009]: `1-3:1-2` is not a port: the two ranges differ in length
             --> compose.yaml:7:9
              |
            7 |       - 1-3:1-2
              |         ^^^^^^^ [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]

            error[E0009]: `nowhere:80:80` is not a port: `nowhere` is not an address
             --> compose.yaml:8:9
              |
            8 |       - nowhere:80:80
              |         ^^^^^^^^^^^^^ [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]

            error[E0008]: `ports` needs the attribute `target`
             --> compose.yaml:9:9
              |
            9 |       - {published: 80}
              |         ^^^^^^^^^^^^^^^ which port of the container?
        "#]],
    );
}
