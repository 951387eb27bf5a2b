//! `GET /images/json`: what there is, and what docker's filters leave of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use glob::{MatchOptions, Pattern};
use hoist_api::ImageSummary;
use hoist_image::{Image, Reference};
use serde::Deserialize;

use super::filters::Filters;
use super::images::{names, no_image, seconds};
use super::parameters::{Moot, flag};
use super::store::with_shares;
use super::{ApiError, ApiResult, App};
use crate::actions::blocking;
use crate::engine::{Engine, now};
use crate::logs::moment;

const KNOWN: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];
/// A star is for one part of a name.
const PARTS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: false };

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ListQuery {
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

pub(super) async fn list(State(engine): App, Query(query): Query<ListQuery>) -> ApiResult<Json<Vec<ImageSummary>>> {
    let wish = Wish::parse(&engine, Filters::parse(query.filters.as_deref(), &KNOWN)?)?;
    let used = engine.look(|world| {
        let mut used: BTreeMap<String, i64> = BTreeMap::new();
        for container in world.containers.values() {
            *used.entry(container.doc.image_id.clone()).or_default() += 1;
        }
        used
    });
    let used = used.await?;
    let summary = |image: &Image| ImageSummary {
        repo_tags: names(&image.references),
        repo_digests: names(&image.repo_digests),
        created: seconds(&image.created),
        size: image.size,
        shared_size: -1,
        labels: image.config.config.labels.clone(),
        platform: image.config.platform().to_string(),
        containers: used.get(&image.id.to_string()).copied().unwrap_or(0),
        id: image.id.to_string(),
        parent_id: String::new(),
    };
    let images = engine.images.images();
    let taken = images.iter().filter(|image| wish.takes(image));
    let listed: Vec<ImageSummary> = taken.filter_map(|image| wish.named(summary(image))).collect();
    if !flag(query.shared_size.as_deref()) {
        return Ok(Json(listed));
    }
    let store = Arc::clone(&engine.images);
    Ok(Json(blocking(move || Ok(with_shares(&store, listed))).await?))
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
    fn parse(engine: &Engine, filters: Filters) -> ApiResult<Self> {
        let pattern = |text: &String| {
            Pattern::new(text).map_err(|error| ApiError::bad(format!("invalid filter reference={text}: {error}")))
        };
        let made = |name: &String| {
            let image = engine.images.resolve(name).ok_or_else(|| no_image(name))?;
            Ok::<i64, ApiError>(seconds(&image.created))
        };
        let until = |text: &String| {
            let moment = moment(text, now()).ok_or_else(|| ApiError::bad(format!("until={text} is no time")))?;
            Ok::<i64, ApiError>(moment.0 / 1_000_000_000)
        };
        let all = |key: &str| filters.get(key).unwrap_or_default();
        let limits = all("before").iter().map(made).chain(all("until").iter().map(until));
        let before = limits.collect::<ApiResult<Vec<i64>>>()?.into_iter().min();
        let since = all("since").iter().map(made).collect::<ApiResult<Vec<i64>>>()?.into_iter().max();
        Ok(Self {
            dangling: filters.flag("dangling")?,
            patterns: all("reference").iter().map(pattern).collect::<ApiResult<_>>()?,
            before,
            since,
            filters,
        })
    }

    fn takes(&self, image: &Image) -> bool {
        let created = seconds(&image.created);
        self.dangling.is_none_or(|wanted| image.references.is_empty() == wanted)
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
            let short = Reference::parse(name).map(|reference| reference.familiar_name()).unwrap_or_default();
            self.patterns.iter().any(|pattern| [name, &short].iter().any(|name| pattern.matches_with(name, PARTS)))
        };
        image.repo_tags.retain(fits);
        image.repo_digests.retain(fits);
        (!image.repo_tags.is_empty() || !image.repo_digests.is_empty()).then_some(image)
    }
}
