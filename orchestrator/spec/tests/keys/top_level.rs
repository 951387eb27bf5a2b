//! version, name, services, include, networks, volumes, secrets, configs.

use expect_test::expect;

use super::files::check;

#[test]
fn version_is_obsolete() {
    check(
        "version: '3.8'\nname: shop\nservices:\n  a: {image: a}\n",
        expect![[r#"
        name: shop
        services:
          a:
            image: a
            networks:
              default: null
        networks:
          default:
            name: shop_default

        warning[W0001]: `version` is obsolete and has no effect
         --> compose.yaml:1:1
          |
        1 | version: '3.8'
          | ^^^^^^^ remove it
    "#]],
    );
}

#[test]
fn an_unknown_section_is_refused() {
    check(
        "service:\n  a: {image: a}\nfoo: 1\n",
        expect![[r#"
        error[E0006]: unknown attribute `service` in the top level
         --> compose.yaml:1:1
          |
        1 | service:
          | ^^^^^^^ not an attribute of Compose
          |
          = help: did you mean `services`?

        error[E0006]: unknown attribute `foo` in the top level
         --> compose.yaml:3:1
          |
        3 | foo: 1
          | ^^^ not an attribute of Compose
          |
          = help: attributes of your own begin with `x-`: `x-foo`
    "#]],
    );
}
