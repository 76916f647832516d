//! Which plugins a profile runs at which point: the defaults, what `multiPoint` changes of them, and
//! what is enabled or disabled at single points (KEP-2891).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ConfigError;
use super::args::PluginArgs;
use crate::plugins::{self, Points};
use crate::profile::Profile;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PluginRef {
    name: String,
    weight: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PluginSet {
    enabled: Vec<PluginRef>,
    disabled: Vec<PluginRef>,
}

impl PluginSet {
    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|p| p.name == name || p.name == "*")
    }
}

/// Sets by point: `multiPoint`, `filter`, `score` …
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct Plugins(BTreeMap<String, PluginSet>);

/// The points' names in the configuration.
const POINTS: &[&str] = &[
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
];

/// Plugins of upstream's for features that do not exist here. A configuration may disable them.
const ABSENT: &[&str] = &["NodeDeclaredFeatures", "GangScheduling"];

/// A plugin and its weight.
type Weighted = (&'static str, i64);

impl Plugins {
    /// The profile that the sets make.
    pub(super) fn profile(&self, at: usize, args: &PluginArgs) -> Result<Profile, ConfigError> {
        self.check(at)?;
        let everywhere = self.everywhere();
        let mut made: BTreeMap<&str, Points> = BTreeMap::new();
        let mut profile = Profile::default();
        for point in POINTS {
            for (name, weight) in self.at_point(point, &everywhere) {
                let row = plugins::row(name).expect("check() refused names without a row");
                let points = made.entry(row.name).or_insert_with(|| (row.make)(args));
                profile.know(points);
                let explicit = self.0.get(*point).is_some_and(|s| s.enabled.iter().any(|p| p.name == name));
                if !extend(&mut profile, point, points, weight) && explicit {
                    return Err(ConfigError::NotAtPoint { profile: at, plugin: name.into(), point });
                }
            }
        }
        for (missing, point) in
            [(profile.queue_sort.is_none(), "queueSort"), (profile.bind.is_empty(), "bind")]
        {
            if missing {
                return Err(ConfigError::Invalid(format!(
                    "profiles[{at}]: at least one {point} plugin is needed"
                )));
            }
        }
        Ok(profile)
    }

    fn check(&self, at: usize) -> Result<(), ConfigError> {
        for (point, set) in &self.0 {
            if point != "multiPoint" && !POINTS.contains(&point.as_str()) {
                return Err(ConfigError::Point { profile: at, point: point.clone() });
            }
            let unknown = |p: &&PluginRef| plugins::row(&p.name).is_none();
            let harmless = |p: &&PluginRef| p.name == "*" || ABSENT.contains(&p.name.as_str());
            let enabled = set.enabled.iter().find(unknown);
            let disabled = set.disabled.iter().filter(|p| !harmless(p)).find(unknown);
            if let Some(plugin) = enabled.or(disabled) {
                return Err(ConfigError::UnknownPlugin { profile: at, plugin: plugin.name.clone() });
            }
        }
        Ok(())
    }

    /// The defaults as `multiPoint` changes them: what it enables keeps its default place.
    fn everywhere(&self) -> Vec<Weighted> {
        let none = PluginSet::default();
        let set = self.0.get("multiPoint").unwrap_or(&none);
        let named = |name: &str| set.enabled.iter().find(|p| p.name == name);
        let mut all: Vec<Weighted> = plugins::TABLE
            .iter()
            .filter(|row| !set.disables(row.name))
            .map(|row| (row.name, named(row.name).and_then(|p| p.weight).unwrap_or(row.weight)))
            .collect();
        for plugin in &set.enabled {
            if let Some(row) = plugins::row(&plugin.name)
                && !all.iter().any(|(name, _)| *name == row.name)
            {
                all.push((row.name, weight_of(plugin)));
            }
        }
        all
    }

    /// What runs at a point: plugins that the point itself lists and `multiPoint` has too come first.
    fn at_point(&self, point: &str, everywhere: &[Weighted]) -> Vec<Weighted> {
        let Some(set) = self.0.get(point) else { return everywhere.to_vec() };
        let listed: Vec<Weighted> =
            set.enabled.iter().filter_map(|p| Some((plugins::row(&p.name)?.name, weight_of(p)))).collect();
        let is_listed = |name: &str| listed.iter().any(|(n, _)| *n == name);
        let is_everywhere = |name: &str| everywhere.iter().any(|(n, _)| *n == name);
        let overriding = listed.iter().filter(|(n, _)| is_everywhere(n));
        let inherited = everywhere.iter().filter(|(n, _)| !is_listed(n) && !set.disables(n));
        let added = listed.iter().filter(|(n, _)| !is_everywhere(n));
        overriding.chain(inherited).chain(added).copied().collect()
    }
}

fn weight_of(plugin: &PluginRef) -> i64 {
    plugin.weight.filter(|w| *w != 0).unwrap_or(1)
}

/// Adds the plugin at a point; false when it does not extend that point.
fn extend(profile: &mut Profile, point: &str, points: &Points, weight: i64) -> bool {
    fn push<T: ?Sized>(list: &mut Vec<std::sync::Arc<T>>, plugin: &Option<std::sync::Arc<T>>) -> bool {
        list.extend(plugin.clone());
        plugin.is_some()
    }
    match point {
        "preEnqueue" => push(&mut profile.pre_enqueue, &points.pre_enqueue),
        "queueSort" => {
            profile.queue_sort = points.queue_sort.clone().or(profile.queue_sort.take());
            points.queue_sort.is_some()
        }
        "preFilter" => push(&mut profile.pre_filter, &points.pre_filter),
        "filter" => push(&mut profile.filter, &points.filter),
        "postFilter" => push(&mut profile.post_filter, &points.post_filter),
        "preScore" => push(&mut profile.pre_score, &points.pre_score),
        "score" => {
            profile.score.extend(points.score.clone().map(|s| (s, weight.max(1))));
            points.score.is_some()
        }
        "reserve" => push(&mut profile.reserve, &points.reserve),
        "permit" => push(&mut profile.permit, &points.permit),
        "preBind" => push(&mut profile.pre_bind, &points.pre_bind),
        "bind" => push(&mut profile.bind, &points.bind),
        "postBind" => push(&mut profile.post_bind, &points.post_bind),
        _ => false,
    }
}
