//! Between an image's configuration and the copy of it that stays with a container.

use std::path::PathBuf;
use std::time::Duration;

use hoist_image::{Digest, Execution, Store};
use hoist_object::{ContainerDoc, HealthPlan, Healthcheck, ImageDefaults, Timing};
use hoist_scheduler::health;
use hoist_spec::model::{HealthTest, Service};

use super::LowerError;

/// What the image says that its containers run with.
pub(crate) fn defaults(image: &Execution) -> ImageDefaults {
    ImageDefaults {
        user: image.user.clone(),
        exposed_ports: image.exposed_ports.clone(),
        env: image.env.clone(),
        entrypoint: image.entrypoint.clone(),
        cmd: image.cmd.clone(),
        volumes: image.volumes.clone(),
        working_dir: image.working_dir.clone(),
        labels: image.labels.clone(),
        stop_signal: image.stop_signal.clone(),
        stop_timeout: image.stop_timeout,
        healthcheck: image.healthcheck.as_ref().map(|check| Healthcheck {
            test: check.test.clone(),
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: image.on_build.clone(),
        shell: image.shell.clone(),
        other: image.other.clone(),
    }
}

/// The same as an image says it.
pub(crate) fn execution(defaults: ImageDefaults) -> Execution {
    Execution {
        user: defaults.user,
        exposed_ports: defaults.exposed_ports,
        env: defaults.env,
        entrypoint: defaults.entrypoint,
        cmd: defaults.cmd,
        volumes: defaults.volumes,
        working_dir: defaults.working_dir,
        labels: defaults.labels,
        stop_signal: defaults.stop_signal,
        stop_timeout: defaults.stop_timeout,
        healthcheck: defaults.healthcheck.map(|check| hoist_image::Healthcheck {
            test: check.test,
            interval: check.interval,
            timeout: check.timeout,
            start_period: check.start_period,
            start_interval: check.start_interval,
            retries: check.retries,
        }),
        on_build: defaults.on_build,
        shell: defaults.shell,
        other: defaults.other,
    }
}

/// The layers that a container needs. What is no digest names no layer.
pub(crate) fn layers(doc: &ContainerDoc) -> Vec<Digest> {
    doc.layers
        .iter()
        .filter_map(|layer| Digest::parse(layer).ok())
        .collect()
}

/// The folders of a container's layers, top first.
pub(crate) fn lowers(images: &Store, doc: &ContainerDoc) -> Result<Vec<PathBuf>, LowerError> {
    let layers: Result<Vec<Digest>, _> = doc
        .layers
        .iter()
        .map(|layer| Digest::parse(layer).map_err(|_| LowerError::Layer(layer.clone())))
        .collect();
    images.lowers_of(&layers?).map_err(LowerError::Layers)
}

/// The healthcheck of a container, image and stack combined. `None`: no healthcheck.
pub(crate) fn health_plan(service: &Service, image: &ImageDefaults) -> Option<HealthPlan> {
    let from_image = image.healthcheck.clone().unwrap_or_default();
    let image_timing = image_timing(&from_image);
    let check = service.healthcheck.clone().unwrap_or_default();
    let test = match &check.test {
        HealthTest::Disabled => return None,
        HealthTest::Inherit => from_image.test.clone(),
        HealthTest::Exec(argv) => std::iter::once("CMD".to_owned())
            .chain(argv.iter().cloned())
            .collect(),
        HealthTest::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
    };
    if test.len() < 2 {
        return None;
    }
    Some(HealthPlan {
        test,
        timing: health::timing(&check, &image_timing),
    })
}

fn image_timing(check: &Healthcheck) -> Timing {
    let default = Timing::default();
    let set = |nanos: i64, otherwise: Duration| match u64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
        _ => otherwise,
    };
    Timing {
        interval: set(check.interval, default.interval),
        timeout: set(check.timeout, default.timeout),
        retries: u32::try_from(check.retries)
            .ok()
            .filter(|&n| n > 0)
            .unwrap_or(default.retries),
        start_period: set(check.start_period, default.start_period),
        start_interval: set(check.start_interval, default.start_interval),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_can_disable_the_images_healthcheck() {
        let check = Healthcheck {
            test: vec!["CMD".into(), "true".into()],
            ..Default::default()
        };
        let image = ImageDefaults {
            healthcheck: Some(check),
            ..Default::default()
        };
        let mut service = Service::default();
        assert!(health_plan(&service, &image).is_some());
        service.healthcheck = Some(hoist_spec::model::Healthcheck {
            test: HealthTest::Disabled,
            ..Default::default()
        });
        assert!(health_plan(&service, &image).is_none());
    }

    #[test]
    fn an_images_configuration_survives_in_the_record() {
        let text = r#"{"User":"1:2","ExposedPorts":{"80/tcp":{}},"Env":["A=b"],"Entrypoint":["/x"],"Cmd":["sh"],
            "Volumes":{"/data":{}},"WorkingDir":"/w","Labels":{"a":"b"},"StopSignal":"SIGINT","StopTimeout":3,
            "OnBuild":["RUN x"],"Healthcheck":{"Test":["CMD","x"],"Interval":5,"Timeout":6,"StartPeriod":7,
            "StartInterval":8,"Retries":9},"Shell":["/bin/sh","-c"],"ArgsEscaped":true}"#;
        let image: Execution = serde_json::from_str(text).unwrap();
        let kept: ImageDefaults =
            serde_json::from_value(serde_json::to_value(defaults(&image)).unwrap()).unwrap();
        assert_eq!(execution(kept), image);
        let as_before: ImageDefaults =
            serde_json::from_value(serde_json::to_value(&image).unwrap()).unwrap();
        assert_eq!(
            execution(as_before),
            image,
            "documents have held the image's own form"
        );
    }
}
