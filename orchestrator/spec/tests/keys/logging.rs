//! logging.

use expect_test::expect;

use super::files::check;

#[test]
fn driver_and_options() {
    check(
        "services:\n  a: {image: a, logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}}\n",
        expect![[r#"
        name: demo
        services:
          a:
            image: a
            logging:
              driver: json-file
              options:
                max-file: "3"
                max-size: 10m
            networks:
              default: null
        networks:
          default:
            name: demo_default
    "#]],
    );
}
