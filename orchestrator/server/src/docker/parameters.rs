//! Query parameters: how they are read, and those of docker's that hoist knows and does not act on. Every parameter of docker's is a field of its
//! handler's query: one that is read, or one of these two.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::answer::flag;

/// Refused by name, unless its value asks for nothing.
#[derive(Debug, Default)]
pub(crate) struct Unsupported;

impl<'de> Deserialize<'de> for Unsupported {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = String::deserialize(deserializer)?;
        if flag(Some(&value)) {
            return Err(D::Error::custom(format!(
                "{value:?}: hoist does not support this parameter"
            )));
        }
        Ok(Self)
    }
}

/// Both of its values mean the same here; the field says why.
#[derive(Debug, Default)]
pub(crate) struct Moot;

impl<'de> Deserialize<'de> for Moot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|_| Self)
    }
}

#[cfg(test)]
mod tests {
    use serde::forward_to_deserialize_any;

    use super::super::{
        archive, container_list, containers, events, image_list, images, making, objects, prune,
        push, store, streams,
    };
    use super::*;

    /// Learns the fields that a structure is made of.
    struct Fields<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(
            self,
            _: V,
        ) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("only structures have fields"))
        }

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(Self::Error::custom("nothing but the fields was wanted"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    fn fields<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
        let mut fields: &'static [&'static str] = &[];
        let _ = T::deserialize(Fields(&mut fields));
        fields
    }

    /// What docker's API documents, up to the version that is served, and who reads it.
    #[test]
    fn every_parameter_of_dockers_is_known() {
        // Keys that may stand several times are read as pairs.
        let several = ["changes", "names", "type"];
        let stop = || fields::<containers::StopQuery>();
        let operations: [(&str, &[&str], &[&str]); 36] = [
            (
                "GET /containers/json",
                &["all", "limit", "size", "filters"],
                fields::<container_list::ListQuery>(),
            ),
            (
                "GET /containers/{id}/json",
                &["size"],
                fields::<containers::InspectQuery>(),
            ),
            (
                "GET /containers/{id}/top",
                &["ps_args"],
                fields::<containers::TopQuery>(),
            ),
            (
                "GET /containers/{id}/logs",
                &[
                    "follow",
                    "stdout",
                    "stderr",
                    "since",
                    "until",
                    "timestamps",
                    "tail",
                    "details",
                ],
                fields::<streams::LogQuery>(),
            ),
            (
                "GET /containers/{id}/stats",
                &["stream", "one-shot"],
                fields::<streams::StatsQuery>(),
            ),
            (
                "POST /containers/{id}/resize",
                &["h", "w"],
                fields::<containers::ResizeQuery>(),
            ),
            (
                "POST /containers/{id}/start",
                &["detachKeys"],
                fields::<containers::StartQuery>(),
            ),
            ("POST /containers/{id}/stop", &["signal", "t"], stop()),
            ("POST /containers/{id}/restart", &["signal", "t"], stop()),
            ("POST /containers/{id}/kill", &["signal"], stop()),
            (
                "POST /containers/{id}/attach",
                &["detachKeys", "logs", "stream", "stdin", "stdout", "stderr"],
                fields::<streams::AttachQuery>(),
            ),
            (
                "POST /containers/{id}/wait",
                &["condition"],
                fields::<containers::WaitQuery>(),
            ),
            (
                "DELETE /containers/{id}",
                &["v", "force", "link"],
                fields::<containers::RemoveQuery>(),
            ),
            (
                "HEAD /containers/{id}/archive",
                &["path"],
                fields::<archive::ArchiveQuery>(),
            ),
            (
                "GET /containers/{id}/archive",
                &["path"],
                fields::<archive::ArchiveQuery>(),
            ),
            (
                "PUT /containers/{id}/archive",
                &["path", "noOverwriteDirNonDir", "copyUIDGID"],
                fields::<archive::ArchiveQuery>(),
            ),
            (
                "POST /containers/prune",
                &["filters"],
                fields::<prune::PruneQuery>(),
            ),
            (
                "GET /images/json",
                &["all", "filters", "shared-size", "digests", "manifests"],
                fields::<image_list::ListQuery>(),
            ),
            (
                "POST /images/create",
                &[
                    "fromImage",
                    "fromSrc",
                    "repo",
                    "tag",
                    "message",
                    "changes",
                    "platform",
                ],
                fields::<images::CreateQuery>(),
            ),
            (
                "GET /images/{name}/json",
                &["manifests", "platform"],
                fields::<images::LookQuery>(),
            ),
            (
                "GET /images/{name}/get",
                &["platform"],
                fields::<images::LookQuery>(),
            ),
            (
                "POST /images/{name}/push",
                &["tag", "platform"],
                fields::<push::PostQuery>(),
            ),
            (
                "POST /images/{name}/tag",
                &["repo", "tag"],
                fields::<push::PostQuery>(),
            ),
            (
                "DELETE /images/{name}",
                &["force", "noprune", "platforms"],
                fields::<images::RemoveQuery>(),
            ),
            (
                "POST /images/prune",
                &["filters"],
                fields::<prune::PruneQuery>(),
            ),
            (
                "POST /images/load",
                &["quiet", "platform"],
                fields::<images::LoadQuery>(),
            ),
            (
                "POST /commit",
                &[
                    "container",
                    "repo",
                    "tag",
                    "comment",
                    "author",
                    "pause",
                    "changes",
                ],
                fields::<making::CommitQuery>(),
            ),
            (
                "GET /events",
                &["since", "until", "filters"],
                fields::<events::EventsQuery>(),
            ),
            (
                "GET /system/df",
                &["type", "verbose"],
                fields::<store::UsageQuery>(),
            ),
            (
                "GET /networks",
                &["filters"],
                fields::<objects::ListQuery>(),
            ),
            (
                "GET /networks/{id}",
                &["verbose", "scope"],
                fields::<objects::NetworkQuery>(),
            ),
            (
                "POST /networks/prune",
                &["filters"],
                fields::<prune::PruneQuery>(),
            ),
            ("GET /volumes", &["filters"], fields::<objects::ListQuery>()),
            (
                "DELETE /volumes/{name}",
                &["force"],
                fields::<objects::RemoveQuery>(),
            ),
            (
                "POST /volumes/prune",
                &["filters"],
                fields::<prune::PruneQuery>(),
            ),
            (
                "POST /build/prune",
                &[
                    "keep-storage",
                    "reserved-space",
                    "max-used-space",
                    "min-free-space",
                    "all",
                    "filters",
                ],
                fields::<prune::BuildQuery>(),
            ),
        ];
        for (operation, documented, known) in operations {
            let missing: Vec<_> = documented
                .iter()
                .filter(|name| !known.contains(name) && !several.contains(name))
                .collect();
            assert!(missing.is_empty(), "{operation} passes over {missing:?}");
        }
    }
}
