//! Records of volumes as plans and stacks have them.

use hoist_object::{StackDoc, Timestamp, VolumeDoc};
use hoist_scheduler::{VolumeSpec, volume_spec};
use hoist_spec::canonical;

/// Of a volume that a plan wants.
pub(crate) fn volume_record(spec: VolumeSpec, created: Timestamp) -> VolumeDoc {
    let VolumeSpec {
        name,
        project,
        key,
        config_hash,
        driver_opts,
        labels,
    } = spec;
    VolumeDoc {
        name,
        created,
        project,
        key,
        config_hash,
        anonymous: false,
        driver_opts,
        labels,
    }
}

/// As the stack declares the volume of this name, if it does.
pub(super) fn volume(stack: &StackDoc, name: &str) -> Option<VolumeDoc> {
    let model = canonical::from_json(&stack.stack).ok()?;
    let (key, volume) = model
        .volumes
        .iter()
        .find(|(_, volume)| volume.name == name && !volume.external)?;
    Some(volume_record(
        volume_spec(&model.name, key, volume),
        stack.applied,
    ))
}
