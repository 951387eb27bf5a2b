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

#[test]
fn names_that_would_leave_their_folder_are_refused() {
    check(
        "services:\n  a/b: {image: a}\n  c:\n    image: a\n    networks: [n]\n    volumes: ['data:/x']\nnetworks:\n  n: {name: a b}\nvolumes:\n  data:\n    name: ../../etc\n",
        expect![[r#"
            error[E0009]: `a/b` cannot be a name in `services`
             --> compose.yaml:2:3
              |
            2 |   a/b: {image: a}
              |   ^^^ names have letters, digits, `.`, `_` and `-`

            error[E0009]: `a b` cannot be the name of one of the networks
             --> compose.yaml:8:13
              |
            8 |   n: {name: a b}
              |             ^^^ a letter or digit, then letters, digits, `.`, `_` and `-`

            error[E0009]: `../../etc` cannot be the name of one of the volumes
              --> compose.yaml:11:11
               |
            11 |     name: ../../etc
               |           ^^^^^^^^^ a letter or digit, then letters, digits, `.`, `_` and `-`
        "#]],
    );
}
