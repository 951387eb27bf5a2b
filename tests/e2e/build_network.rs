//! RUN steps in the networks of stacks.

use crate::world::World;

const STACK: &str = r#"
name: joined
services:
  web:
    image: busybox
    stop_grace_period: 0s
    command: [sh, -c, "mkdir -p /www; echo from web >/www/index.html; exec httpd -f -p 80 -h /www"]
    healthcheck: {test: wget -q -O /dev/null http://127.0.0.1, interval: 1s, start_interval: 100ms, start_period: 10s}
    networks: [back]
  app:
    image: joined-app
    profiles: [build]
    build:
      context: .
      network: back
      dockerfile_inline: |
        FROM busybox
        # A static busybox's wget looks up services in files that are not there.
        RUN address=$$(nslookup -type=a web | awk '/^Address/ {last = $$NF} END {print last}') && \
            printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 $$address 80 | grep "from web"
        RUN ip -4 -o addr show dev eth0 | awk '{print $$4}'
    networks: [back]
networks:
  back: {internal: true, ipam: {config: [{subnet: 10.97.3.0/29, gateway: 10.97.3.1}]}}
"#;

#[test]
fn a_run_step_finds_the_running_services_of_its_network() {
    let Some(world) = World::new("a RUN step joins a network of the stack") else {
        return;
    };
    world.busybox().file("compose.yaml", STACK);
    let early = world.hoist(&["build", "app"]);
    assert!(
        early.code != 0 && early.stderr.contains("there is no network \"joined_back\""),
        "{}",
        early.stderr
    );

    world.ok(&["up", "-d", "--wait", "web"]);
    let built = world.hoist(&["build", "app"]);
    assert_eq!(built.code, 0, "{}", built.stderr);
    assert!(built.stderr.contains("from web"), "{}", built.stderr);
    // The gateway has .1 and web .2.
    assert!(built.stderr.contains("10.97.3.3/29"), "{}", built.stderr);

    let apart = world.hoist(&["build", "--no-cache", "--network", "none", "app"]);
    assert!(
        apart.code != 0 && apart.stderr.contains("RUN failed"),
        "{}",
        apart.stderr
    );
    let by_name = world.hoist(&["build", "--no-cache", "--network", "joined_back", "app"]);
    assert_eq!(by_name.code, 0, "{}", by_name.stderr);
    let refused = world.hoist(&["build", "--network", "service:web", "app"]);
    assert!(
        refused.code != 0
            && refused
                .stderr
                .contains("name a network that the container is in"),
        "{}",
        refused.stderr
    );
    // Nothing of the steps holds the network.
    world.ok(&["down", "-t", "0"]);
    world.finish();
}
