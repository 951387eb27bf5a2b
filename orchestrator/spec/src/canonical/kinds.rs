//! How the value of a field is printed, one function for each kind that the lists of `fields` name. Kinds with a
//! notation of their own are beside what they belong to.
//!
//! Must not know: which attributes there are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::Value;

use crate::model::Logging;
use hoist_object::units;

use super::{Object, decimal};

pub(super) use super::build::{build, secrets as build_secrets, ssh};
pub(super) use super::service::{
    attachments, configs, depends_on, devices, healthcheck, namespace, network_mode, ports,
    pull_policy, restart, secrets, ulimits,
};
pub(super) use {strings as cache_from, strings as cache_to, strings as volumes_from};

/// Makes the printer of a model's fields.
macro_rules! prints {
    ($model:ident { $($field:ident $($key:literal)?: $kind:ident,)* } by_hand { $($own:ident),* }) => {
        impl $model {
            pub(in crate::canonical) fn print(&self, object: &mut Object) {
                let Self { $($field,)* $($own: _,)* } = self;
                $(kinds::$kind(object, crate::fields::attribute!($field $($key)?), $field);)*
            }
        }
    };
}
pub(super) use prints;

pub(super) fn string(object: &mut Object, key: &str, value: &Option<String>) {
    object.text(key, value.as_ref());
}

pub(super) fn strings(object: &mut Object, key: &str, items: &[String]) {
    object.strings(key, items);
}

/// A command: not set is printed as null.
pub(super) fn words(object: &mut Object, key: &str, words: &Option<Vec<String>>) {
    object.put(key, words.clone());
}

pub(super) fn boolean(object: &mut Object, key: &str, value: &Option<bool>) {
    object.maybe(key, *value);
}

pub(super) fn flag(object: &mut Object, key: &str, value: &bool) {
    object.flag(key, *value);
}

pub(super) fn unless_false(object: &mut Object, key: &str, value: &bool) {
    object.maybe(key, (!value).then_some(false));
}

pub(super) fn duration(object: &mut Object, key: &str, value: &Option<Duration>) {
    object.maybe(key, value.map(units::duration_text));
}

pub(super) fn table(object: &mut Object, key: &str, table: &BTreeMap<String, String>) {
    object.table(key, table);
}

pub(super) fn open_table(object: &mut Object, key: &str, table: &BTreeMap<String, Option<String>>) {
    let entries = table
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.clone())));
    object.section(key, Object(entries.collect()));
}

pub(super) fn hosts(object: &mut Object, key: &str, hosts: &BTreeMap<String, Vec<String>>) {
    let lines = hosts.iter().flat_map(|(name, addresses)| {
        addresses
            .iter()
            .map(move |address| Value::from(format!("{name}={address}")))
    });
    object.list(key, lines.collect());
}

pub(super) fn addresses(object: &mut Object, key: &str, addresses: &[IpAddr]) {
    object.list(
        key,
        addresses
            .iter()
            .map(|address| Value::from(address.to_string()))
            .collect(),
    );
}

pub(super) fn ipv4(object: &mut Object, key: &str, address: &Option<Ipv4Addr>) {
    object.maybe(key, address.map(|address| address.to_string()));
}

pub(super) fn ipv6(object: &mut Object, key: &str, address: &Option<Ipv6Addr>) {
    object.maybe(key, address.map(|address| address.to_string()));
}

pub(super) fn number<T: Copy + Into<Value>>(object: &mut Object, key: &str, number: &Option<T>) {
    object.maybe(key, *number);
}

pub(super) fn priority(object: &mut Object, key: &str, priority: &i32) {
    object.maybe(key, Some(*priority).filter(|priority| *priority != 0));
}

pub(super) fn limit<T: Copy + Into<Value>>(object: &mut Object, key: &str, limit: &Option<T>) {
    object.maybe(key, *limit);
}

pub(super) fn bytes<T: ToString>(object: &mut Object, key: &str, bytes: &Option<T>) {
    object.maybe(key, bytes.as_ref().map(ToString::to_string));
}

pub(super) fn swappiness(object: &mut Object, key: &str, percent: &Option<i64>) {
    bytes(object, key, percent);
}

pub(super) fn share(object: &mut Object, key: &str, cpus: &Option<f64>) {
    object.maybe(key, cpus.map(decimal));
}

pub(super) fn logging(object: &mut Object, key: &str, logging: &Option<Logging>) {
    let Some(logging) = logging else { return };
    let mut section = Object::default();
    string(&mut section, "driver", &logging.driver);
    table(&mut section, "options", &logging.options);
    object.put(key, section.0);
}
