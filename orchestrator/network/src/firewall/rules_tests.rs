//! The ruleset as text, network by network and port by port.

use expect_test::expect;

use super::*;
use crate::firewall::text;
use crate::firewall::transaction::{change, replace};
use crate::model::Published;

fn network(digit: char, internal: bool) -> NetworkSpec {
    let third = digit.to_digit(10).unwrap();
    NetworkSpec {
        id: digit.to_string().repeat(64),
        subnet: format!("10.89.{third}.0/24").parse().unwrap(),
        gateway: format!("10.89.{third}.1").parse().unwrap(),
        internal,
        mtu: None,
        bridge: None,
    }
}

fn published(host_ip: Option<&str>, host_port: u16, targets: &[(&str, u16)]) -> Published {
    Published {
        host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        host_port,
        protocol: Protocol::Tcp,
        targets: targets
            .iter()
            .map(|(address, port)| (address.parse().unwrap(), *port))
            .collect(),
    }
}

#[test]
fn whole_ruleset() {
    let state = FirewallState {
        networks: vec![network('1', false), network('2', true)],
        published: vec![
            published(None, 8080, &[("10.89.1.2", 80)]),
            published(
                Some("127.0.0.1"),
                5432,
                &[("10.89.1.3", 5432), ("10.89.1.4", 5432)],
            ),
            published(None, 9999, &[]),
        ],
    };
    expect![[r#"
        add table inet hoist
        add set inet hoist bridges { type ifname; }
        add set inet hoist internal { type ifname; }
        add set inet hoist within { type ifname . ifname; }
        add map inet hoist published { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
        add map inet hoist published-any { type inet_proto . inet_service : ipv4_addr . inet_service; }
        add map inet hoist balanced { type ipv4_addr . inet_proto . inet_service : verdict; }
        add map inet hoist balanced-any { type inet_proto . inet_service : verdict; }
        add map inet hoist replicas { type ipv4_addr . inet_proto . inet_service . mark : ipv4_addr . inet_service; }
        add map inet hoist replicas-any { type inet_proto . inet_service . mark : ipv4_addr . inet_service; }
        add chain inet hoist user
        add chain inet hoist raw { type filter hook prerouting priority -300; policy accept; }
        flush chain inet hoist raw
        add chain inet hoist forward { type filter hook forward priority 0; policy accept; }
        flush chain inet hoist forward
        add chain inet hoist prerouting { type nat hook prerouting priority -100; policy accept; }
        flush chain inet hoist prerouting
        add chain inet hoist output { type nat hook output priority -100; policy accept; }
        flush chain inet hoist output
        add chain inet hoist postrouting { type nat hook postrouting priority 100; policy accept; }
        flush chain inet hoist postrouting
        add chain inet hoist balance-2
        flush chain inet hoist balance-2
        add chain inet hoist publish
        flush chain inet hoist publish
        flush set inet hoist bridges
        add element inet hoist bridges { "hb-111111111111", "hb-222222222222" }
        flush set inet hoist internal
        add element inet hoist internal { "hb-222222222222" }
        flush set inet hoist within
        add element inet hoist within { "hb-111111111111" . "hb-111111111111", "hb-222222222222" . "hb-222222222222" }
        flush map inet hoist published
        flush map inet hoist published-any
        add element inet hoist published-any { tcp . 8080 : 10.89.1.2 . 80 }
        flush map inet hoist balanced
        add element inet hoist balanced { 127.0.0.1 . tcp . 5432 : goto balance-2 }
        flush map inet hoist balanced-any
        flush map inet hoist replicas
        add element inet hoist replicas { 127.0.0.1 . tcp . 5432 . 0 : 10.89.1.3 . 5432, 127.0.0.1 . tcp . 5432 . 1 : 10.89.1.4 . 5432 }
        flush map inet hoist replicas-any
        add rule inet hoist raw iifname != "lo" ip daddr 127.0.0.0/8 drop
        add rule inet hoist raw iifname != "lo" ip saddr 127.0.0.0/8 drop
        add rule inet hoist forward jump user
        add rule inet hoist forward ct state established,related accept
        add rule inet hoist forward iifname . oifname @within accept
        add rule inet hoist forward iifname @internal drop
        add rule inet hoist forward oifname @internal drop
        add rule inet hoist forward oifname @bridges ct status dnat accept
        add rule inet hoist forward oifname @bridges drop
        add rule inet hoist prerouting fib daddr type local jump publish
        add rule inet hoist output fib daddr type local jump publish
        add rule inet hoist postrouting ip saddr 10.89.1.0/24 oifname != "hb-111111111111" masquerade
        add rule inet hoist postrouting ip saddr 10.89.1.0/24 oifname "hb-111111111111" ct status dnat masquerade
        add rule inet hoist postrouting ip saddr 127.0.0.0/8 oifname "hb-111111111111" masquerade
        add rule inet hoist postrouting ip saddr 10.89.2.0/24 oifname "hb-222222222222" ct status dnat masquerade
        add rule inet hoist postrouting ip saddr 127.0.0.0/8 oifname "hb-222222222222" masquerade
        add rule inet hoist balance-2 dnat ip to ip daddr . meta l4proto . th dport . numgen inc mod 2 map @replicas
        add rule inet hoist balance-2 dnat ip to meta l4proto . th dport . numgen inc mod 2 map @replicas-any
        add rule inet hoist publish dnat ip to ip daddr . meta l4proto . th dport map @published
        add rule inet hoist publish ip daddr . meta l4proto . th dport vmap @balanced
        add rule inet hoist publish dnat ip to meta l4proto . th dport map @published-any
        add rule inet hoist publish meta l4proto . th dport vmap @balanced-any
    "#]].assert_eq(&text::script("hoist", &replace(&Ruleset::of(&state), &[])));
}

#[test]
fn publishing_adds_one_element_and_no_rule() {
    let mut state = FirewallState {
        networks: vec![network('1', false)],
        published: vec![published(None, 8080, &[("10.89.1.2", 80)])],
    };
    let before = Ruleset::of(&state);
    state
        .published
        .push(published(None, 8081, &[("10.89.1.3", 80)]));
    let after = Ruleset::of(&state);
    expect![[r#"
        add element inet hoist published-any { tcp . 8081 : 10.89.1.3 . 80 }
    "#]]
    .assert_eq(&text::script("hoist", &change(&before, &after).unwrap()));
    expect![[r#"
        delete element inet hoist published-any { tcp . 8081 : 10.89.1.3 . 80 }
    "#]]
    .assert_eq(&text::script("hoist", &change(&after, &before).unwrap()));
}

#[test]
fn moved_target_is_replaced_in_one_transaction() {
    let state = |target| FirewallState {
        networks: vec![network('1', false)],
        published: vec![published(None, 8080, &[(target, 80)])],
    };
    let before = Ruleset::of(&state("10.89.1.2"));
    let after = Ruleset::of(&state("10.89.1.3"));
    expect![[r#"
        delete element inet hoist published-any { tcp . 8080 : 10.89.1.2 . 80 }
        add element inet hoist published-any { tcp . 8080 : 10.89.1.3 . 80 }
    "#]]
    .assert_eq(&text::script("hoist", &change(&before, &after).unwrap()));
}

#[test]
fn new_network_replaces_the_rules() {
    let mut state = FirewallState {
        networks: vec![network('1', false)],
        ..FirewallState::default()
    };
    let before = Ruleset::of(&state);
    state.networks.push(network('2', false));
    assert!(change(&before, &Ruleset::of(&state)).is_none());
}
