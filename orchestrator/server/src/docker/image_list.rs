//! `GET /images/json`: what there is, and what docker's filters leave of it.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::{Query, State};
use glob::{MatchOptions, Pattern};
use hoist_api::ImageSummary;
use hoist_engine::{Handle, moment, now};
use hoist_image::{Digest, Image, Reference};
use serde::Deserialize;

use super::convert::{names, seconds};
use super::filters::Filters;
use super::parameters::Moot;
use crate::answer::{ApiError, ApiResult, App, flag};

const KNOWN: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];
/// A star is for one part of a name.
const PARTS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ListQuery {
    filters: Option<String>,
    #[serde(rename = "shared-size")]
    shared_size: Option<String>,
    /// There are no intermediate images.
    #[serde(rename = "all")]
    _all: Moot,
    /// They are always told.
    #[serde(rename = "digests")]
    _digests: Moot,
    /// Docker's older image store has none to tell of either.
    #[serde(rename = "manifests")]
    _manifests: Moot,
}

pub(crate) async fn list(
    State(engine): App,
    Query(query): Query<ListQuery>,
) -> ApiResult<Json<Vec<ImageSummary>>> {
    let wish = Wish::parse(&engine, Filters::parse(query.filters.as_deref(), &KNOWN)?)?;
    let used = engine.image_users().await?;
    let summary = |image: &Image| ImageSummary {
        repo_tags: names(&image.references),
        repo_digests: names(&image.repo_digests),
        created: seconds(&image.created),
        size: image.size,
        shared_size: -1,
        labels: image.config.config.labels.clone(),
        platform: image.config.platform().to_string(),
        containers: used
            .get(&image.id.to_string())
            .and_then(|count| i64::try_from(*count).ok())
            .unwrap_or(0),
        id: image.id.to_string(),
        parent_id: String::new(),
    };
    let images = engine.images();
    let taken = images.iter().filter(|image| wish.takes(image));
    let listed = taken
        .filter_map(|image| wish.named(summary(image)))
        .collect();
    Ok(Json(if flag(query.shared_size.as_deref()) {
        with_shares(&engine, listed)
    } else {
        listed
    }))
}

/// How much of each image is in others too.
pub(crate) fn with_shares(engine: &Handle, mut images: Vec<ImageSummary>) -> Vec<ImageSummary> {
    let sizes = engine.layer_sizes();
    let size = |layer: &Digest| sizes.get(layer).map_or(0, |(size, _)| *size);
    let mut users: BTreeMap<Digest, usize> = BTreeMap::new();
    let known = engine.images();
    for image in &known {
        let layers: BTreeSet<Digest> = image.layers.iter().copied().collect();
        layers
            .into_iter()
            .for_each(|layer| *users.entry(layer).or_default() += 1);
    }
    for summary in &mut images {
        let Some(image) = known
            .iter()
            .find(|image| image.id.to_string() == summary.id)
        else {
            continue;
        };
        let shared = image
            .layers
            .iter()
            .filter(|layer| users.get(layer).is_some_and(|users| *users > 1));
        summary.shared_size = i64::try_from(shared.map(size).sum::<u64>()).unwrap_or(i64::MAX);
    }
    images
}

/// What is to be listed.
struct Wish {
    filters: Filters,
    dangling: Option<bool>,
    patterns: Vec<Pattern>,
    /// Seconds.
    before: Option<i64>,
    since: Option<i64>,
}

impl Wish {
    fn parse(engine: &Handle, filters: Filters) -> ApiResult<Self> {
        let pattern = |text: &String| {
            Pattern::new(text)
                .map_err(|error| ApiError::bad(format!("invalid filter reference={text}: {error}")))
        };
        let made = |name: &String| {
            let image = engine.image(name, None)?;
            Ok::<i64, ApiError>(seconds(&image.created))
        };
        let until = |text: &String| {
            let moment = moment(text, now())
                .ok_or_else(|| ApiError::bad(format!("until={text} is no time")))?;
            Ok::<i64, ApiError>(moment.0 / 1_000_000_000)
        };
        let all = |key: &str| filters.get(key).unwrap_or_default();
        let limits = all("before")
            .iter()
            .map(made)
            .chain(all("until").iter().map(until));
        let before = limits.collect::<ApiResult<Vec<i64>>>()?.into_iter().min();
        let since = all("since")
            .iter()
            .map(made)
            .collect::<ApiResult<Vec<i64>>>()?
            .into_iter()
            .max();
        Ok(Self {
            dangling: filters.flag("dangling")?,
            patterns: all("reference")
                .iter()
                .map(pattern)
                .collect::<ApiResult<_>>()?,
            before,
            since,
            filters,
        })
    }

    fn takes(&self, image: &Image) -> bool {
        let created = seconds(&image.created);
        self.dangling
            .is_none_or(|wanted| image.references.is_empty() == wanted)
            && self.before.is_none_or(|limit| created < limit)
            && self.since.is_none_or(|limit| created > limit)
            && self.filters.labels(&image.config.config.labels)
    }

    /// With those of its names alone that were asked for; nothing without any.
    fn named(&self, mut image: ImageSummary) -> Option<ImageSummary> {
        if self.patterns.is_empty() {
            return Some(image);
        }
        let fits = |name: &String| {
            let short = Reference::parse(name)
                .map(|reference| reference.familiar_name())
                .unwrap_or_default();
            self.patterns.iter().any(|pattern| {
                [name, &short]
                    .iter()
                    .any(|name| pattern.matches_with(name, PARTS))
            })
        };
        image.repo_tags.retain(fits);
        image.repo_digests.retain(fits);
        (!image.repo_tags.is_empty() || !image.repo_digests.is_empty()).then_some(image)
    }
}
