//! How the value of an attribute is read, one function for each kind that the lists of `fields` name. Kinds with a
//! notation of their own are beside what they belong to.
//!
//! Must not know: which attributes there are.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::Logging;
use crate::node::Node;

use super::Reader;

pub(super) use super::build::{build, cache_from, cache_to, secrets as build_secrets, ssh};
pub(super) use super::network::{attachments, mode as network_mode, published as ports};
pub(super) use super::service::{
    depends_on, devices, healthcheck, namespace, pull_policy, restart,
};
pub(super) use super::storage::{configs, secrets, volumes_from};
pub(super) use super::ulimits;

/// Makes the reader of a model's fields.
macro_rules! reads {
    ($model:ident { $($field:ident $($key:literal)?: $kind:ident,)* } by_hand { $($own:ident),* }) => {
        impl $model {
            pub(in crate::bind) fn read(reader: &mut Reader<'_>) -> Self {
                Self {
                    $($field: kinds::$kind(reader, crate::fields::attribute!($field $($key)?)),)*
                    $($own: $own(reader),)*
                }
            }
        }
    };
}
pub(super) use reads;

pub(super) fn string(reader: &mut Reader<'_>, key: &str) -> Option<String> {
    reader.string(key)
}

pub(super) fn strings(reader: &mut Reader<'_>, key: &str) -> Vec<String> {
    reader.strings(key)
}

/// A command: absent is not the same as empty.
pub(super) fn words(reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
    reader
        .map
        .get(key)
        .and_then(Node::as_seq)
        .map(|_| reader.strings(key))
}

pub(super) fn boolean(reader: &mut Reader<'_>, key: &str) -> Option<bool> {
    reader.boolean(key)
}

pub(super) fn flag(reader: &mut Reader<'_>, key: &str) -> bool {
    reader.flag(key)
}

/// A flag that is set by default.
pub(super) fn unless_false(reader: &mut Reader<'_>, key: &str) -> bool {
    reader.boolean(key).unwrap_or(true)
}

pub(super) fn duration(reader: &mut Reader<'_>, key: &str) -> Option<Duration> {
    reader.duration(key)
}

pub(super) fn table(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, String> {
    reader.table(key)
}

pub(super) fn open_table(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Option<String>> {
    reader.open_table(key)
}

pub(super) fn hosts(reader: &mut Reader<'_>, key: &str) -> BTreeMap<String, Vec<String>> {
    reader.hosts(key)
}

pub(super) fn addresses(reader: &mut Reader<'_>, key: &str) -> Vec<IpAddr> {
    reader.addresses(key)
}

pub(super) fn ipv4(reader: &mut Reader<'_>, key: &str) -> Option<Ipv4Addr> {
    reader.parsed(key, "an IPv4 address")
}

pub(super) fn ipv6(reader: &mut Reader<'_>, key: &str) -> Option<Ipv6Addr> {
    reader.parsed(key, "an IPv6 address")
}

pub(super) fn number<T: TryFrom<i64>>(reader: &mut Reader<'_>, key: &str) -> Option<T> {
    reader.number(key)
}

pub(super) fn priority(reader: &mut Reader<'_>, key: &str) -> i32 {
    reader.number(key).unwrap_or(0)
}

/// A number of which 0 says the same as nothing: no limit, or the default.
pub(super) fn limit<T: TryFrom<i64> + Default + PartialEq>(
    reader: &mut Reader<'_>,
    key: &str,
) -> Option<T> {
    reader.number(key).filter(|number| *number != T::default())
}

/// A limit that is written and printed as a size.
pub(super) fn bytes<T: TryFrom<i64> + Default + PartialEq>(
    reader: &mut Reader<'_>,
    key: &str,
) -> Option<T> {
    limit(reader, key)
}

/// Written and printed as a size, though it is a percentage; 0 is a value of its own.
pub(super) fn swappiness(reader: &mut Reader<'_>, key: &str) -> Option<i64> {
    reader.number(key)
}

/// Processors.
pub(super) fn share(reader: &mut Reader<'_>, key: &str) -> Option<f64> {
    reader.float(key).filter(|cpus| *cpus != 0.0)
}

pub(super) fn logging(reader: &mut Reader<'_>, key: &str) -> Option<Logging> {
    let section = reader.section(key)?;
    Some(Logging {
        driver: section.string("driver"),
        options: section.table("options"),
    })
}
