//! nft judges what the batch made: its listing must be the same as that of the script in its own language.
//!
//! Each test's thread has a network namespace of its own.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use expect_test::expect;
use nix::sched::{CloneFlags, unshare};

use super::batch::Channel;
use super::rules::Ruleset;
use super::text;
use super::transaction::{Operation, change, remove, replace};
use crate::model::{FirewallState, NetworkSpec, Protocol, Published};

/// False, with the reason printed, when this machine cannot.
#[expect(clippy::print_stdout, reason = "says why a test was skipped")]
fn fresh_namespace() -> bool {
    if Command::new("nft").arg("--version").output().is_err() {
        println!("skipped: nft is not installed");
        return false;
    }
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWNET) {
        println!("skipped: no network namespace: {errno}");
        return false;
    }
    true
}

fn state(networks: u8, ports: u16, replicas: u8) -> FirewallState {
    let networks = (0..networks).map(|number| NetworkSpec {
        id: format!("{number:02x}").repeat(32),
        subnet: format!("10.89.{number}.0/24").parse().unwrap(),
        gateway: Ipv4Addr::new(10, 89, number, 1),
        internal: number % 2 == 1,
        mtu: None,
        bridge: None,
    });
    let published = (0..ports).map(|port| Published {
        host_ip: (port % 2 == 1).then_some(Ipv4Addr::LOCALHOST),
        host_port: 8000 + port,
        protocol: if port % 3 == 0 {
            Protocol::Udp
        } else {
            Protocol::Tcp
        },
        targets: (0..replicas)
            .map(|replica| (Ipv4Addr::new(10, 89, 0, 2 + replica), 80))
            .collect(),
    });
    FirewallState {
        networks: networks.collect(),
        published: published.collect(),
    }
}

/// What nft reads back, without handles, which count what was there before, and with elements in a fixed order.
fn listing() -> Vec<String> {
    let output = Command::new("nft")
        .args(["-j", "list", "ruleset"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listing: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut objects = listing["nftables"].as_array().unwrap().clone();
    for object in objects
        .iter_mut()
        .flat_map(|object| object.as_object_mut().unwrap().values_mut())
    {
        object.as_object_mut().unwrap().remove("handle");
        if let Some(elements) = object
            .get_mut("elem")
            .and_then(serde_json::Value::as_array_mut)
        {
            elements.sort_by_key(ToString::to_string);
        }
    }
    objects.iter().skip(1).map(ToString::to_string).collect()
}

fn by_batch(operations: &[Operation<'_>]) {
    let refused = Channel::open().unwrap().send("hoist", operations);
    let refused = refused.map_err(|refusal| {
        let operation = refusal
            .operation
            .map(|number| text::Line("hoist", &operations[number]).to_string());
        format!("{operation:?}: {}", refusal.source)
    });
    refused.unwrap();
}

fn by_nft(script: &str) {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    assert!(nft.wait().unwrap().success(), "{script}");
}

#[test]
fn batch_makes_what_nft_makes_of_the_same_rules() {
    if !fresh_namespace() {
        return;
    }
    let rules = Ruleset::of(&state(2, 6, 1));
    let operations = replace(&rules, &[]);
    by_batch(&operations);
    let own = listing();
    by_batch(&remove());
    assert!(listing().is_empty());
    by_nft(&text::script("hoist", &operations));
    assert_eq!(own, listing());
}

#[test]
fn replacing_twice_changes_nothing() {
    if !fresh_namespace() {
        return;
    }
    let rules = Ruleset::of(&state(2, 6, 3));
    by_batch(&replace(&rules, &[]));
    let once = listing();
    by_batch(&replace(&rules, &[]));
    assert_eq!(once, listing());
}

#[test]
fn change_ends_where_replacement_ends() {
    if !fresh_namespace() {
        return;
    }
    let (old, new) = (Ruleset::of(&state(2, 6, 1)), Ruleset::of(&state(2, 9, 1)));
    for (from, to) in [(&old, &new), (&new, &old)] {
        by_batch(&replace(from, &[]));
        by_batch(&change(from, to).unwrap());
        let changed = listing();
        by_batch(&remove());
        by_batch(&replace(to, &[]));
        assert_eq!(changed, listing());
    }
}

#[test]
fn a_large_ruleset_fits_one_transaction() {
    if !fresh_namespace() {
        return;
    }
    let rules = Ruleset::of(&state(250, 3000, 3));
    by_batch(&replace(&rules, &[]));
    let empty = Ruleset::of(&state(250, 0, 0));
    by_batch(&replace(&empty, &["balance-3"]));
}

#[test]
fn refusal_names_the_operation() {
    if !fresh_namespace() {
        return;
    }
    let (none, many) = (
        Ruleset::of(&state(1, 0, 0)),
        Ruleset::of(&state(1, 1000, 1)),
    );
    let operations = change(&none, &many).unwrap();
    let refusal = Channel::open()
        .unwrap()
        .send("hoist", &operations)
        .unwrap_err();
    assert_eq!(refusal.source.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(refusal.operation, Some(0));
}

#[test]
fn nft_can_list_balanced_ports() {
    if !fresh_namespace() {
        return;
    }
    let rules = Ruleset::of(&state(1, 1, 2));
    by_batch(&replace(&rules, &[]));
    let output = Command::new("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("balance") || line.contains("replicas"))
        .collect();
    expect![[r#"
        map balanced {
        map balanced-any {
        elements = { udp . 8000 : goto balance-2 }
        map replicas {
        map replicas-any {
        chain balance-2 {
        dnat ip to ip daddr . meta l4proto . th dport . numgen inc mod 2 map @replicas
        dnat ip to meta l4proto . th dport . numgen inc mod 2 map @replicas-any
        ip daddr . meta l4proto . th dport vmap @balanced
        meta l4proto . th dport vmap @balanced-any"#]]
    .assert_eq(&shown.join("\n"));
}
