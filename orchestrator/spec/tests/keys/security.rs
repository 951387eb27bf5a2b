//! Capabilities, namespaces, privileges.

use expect_test::expect;

use super::files::check;

#[test]
fn every_attribute_is_in_the_model() {
    check(
        r#"
services:
  a:
    image: a
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    privileged: true
    pid: host
    ipc: shareable
    uts: host
"#,
        expect![[r#"
            name: demo
            services:
              a:
                cap_add:
                  - NET_ADMIN
                cap_drop:
                  - ALL
                image: a
                ipc: shareable
                networks:
                  default: null
                pid: host
                privileged: true
                security_opt:
                  - no-new-privileges:true
                uts: host
            networks:
              default:
                name: demo_default
        "#]],
    );
}

#[test]
fn unknown_namespace_modes_are_refused() {
    check(
        "services:\n  a:\n    image: a\n    pid: mine\n",
        expect![[r#"
            error[E0009]: `services.a.pid`: `mine` is not host, private, shareable, none, service:NAME or container:NAME
             --> compose.yaml:4:10
              |
            4 |     pid: mine
              |          ^^^^ this value
        "#]],
    );
}
