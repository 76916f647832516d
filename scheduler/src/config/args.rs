//! Arguments of plugins (`pluginConfig`), with upstream's defaults. An argument that is not supported
//! is refused by name, never ignored.

use std::collections::BTreeSet;
use std::time::Duration;

use api_types::core::v1::{NodeAffinity, TopologySpreadConstraint};
use serde::Deserialize;
use serde_json::Value;

use super::ConfigError;
use crate::spread::SpreadConstraint;

/// The arguments of all plugins of a profile.
#[derive(Clone, Debug)]
pub struct PluginArgs {
    pub fit: FitArgs,
    pub balanced: BalancedArgs,
    pub node_affinity: Option<NodeAffinity>,
    pub preemption: PreemptionArgs,
    pub inter_pod: InterPodArgs,
    pub spread: SpreadArgs,
    /// How long VolumeBinding waits for bindings.
    pub bind_timeout: Duration,
    pub devices: DevicesArgs,
}

/// How long DynamicResources takes.
#[derive(Clone, Copy, Debug)]
pub struct DevicesArgs {
    /// For a node's devices at most; zero for as long as it needs.
    pub filter_timeout: Duration,
    /// Until devices have to be ready.
    pub binding_timeout: Duration,
}

impl Default for DevicesArgs {
    fn default() -> Self {
        Self { filter_timeout: Duration::from_secs(10), binding_timeout: Duration::from_secs(600) }
    }
}

impl Default for PluginArgs {
    fn default() -> Self {
        Self {
            fit: FitArgs::default(),
            balanced: BalancedArgs::default(),
            node_affinity: None,
            preemption: PreemptionArgs::default(),
            inter_pod: InterPodArgs::default(),
            spread: SpreadArgs::default(),
            bind_timeout: Duration::from_secs(600),
            devices: DevicesArgs::default(),
        }
    }
}

/// How NodeResourcesFit scores.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Strategy {
    #[default]
    LeastAllocated,
    MostAllocated,
    /// By how much of a resource is requested.
    RequestedToCapacityRatio(Shape),
}

/// Points (utilization in percent, score of 0 to 100) of a line, by rising utilization; at least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape(Vec<(i64, i64)>);

impl Shape {
    /// The score at a utilization: level before the first and after the last point.
    pub fn score(&self, utilization: i64) -> i64 {
        let after = self.0.iter().position(|(at, _)| utilization <= *at);
        match after {
            Some(0) => self.0[0].1,
            Some(next) => {
                let ((from, low), (to, high)) = (self.0[next - 1], self.0[next]);
                low + (high - low) * (utilization - from) / (to - from)
            }
            None => self.0.last().map_or(0, |(_, score)| *score),
        }
    }
}

#[derive(Clone, Debug)]
pub struct FitArgs {
    pub ignored: BTreeSet<String>,
    pub ignored_groups: BTreeSet<String>,
    pub strategy: Strategy,
    /// Resources that are scored, with their weights.
    pub resources: Vec<(String, i64)>,
}

fn cpu_and_memory() -> Vec<(String, i64)> {
    vec![("cpu".into(), 1), ("memory".into(), 1)]
}

impl Default for FitArgs {
    fn default() -> Self {
        Self {
            ignored: BTreeSet::new(),
            ignored_groups: BTreeSet::new(),
            strategy: Strategy::default(),
            resources: cpu_and_memory(),
        }
    }
}

/// Resources whose balance counts.
#[derive(Clone, Debug)]
pub struct BalancedArgs(pub Vec<(String, i64)>);

impl std::ops::Deref for BalancedArgs {
    type Target = [(String, i64)];
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Default for BalancedArgs {
    fn default() -> Self {
        Self(cpu_and_memory())
    }
}

#[derive(Clone, Debug)]
pub struct PreemptionArgs {
    pub min_candidate_nodes_percentage: usize,
    pub min_candidate_nodes_absolute: usize,
}

impl Default for PreemptionArgs {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

#[derive(Clone, Debug)]
pub struct InterPodArgs {
    pub hard_pod_affinity_weight: i64,
    pub ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodArgs {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

/// `None`: the system's defaults.
#[derive(Clone, Debug, Default)]
pub struct SpreadArgs {
    pub defaults: Option<Vec<SpreadConstraint>>,
}

impl PluginArgs {
    /// Takes over the arguments of one plugin.
    ///
    /// # Errors
    /// For a plugin without arguments, and arguments that are unknown, unsupported or malformed.
    pub fn set(&mut self, plugin: &str, args: Value) -> Result<(), ConfigError> {
        let args = without_header(plugin, args)?;
        let fields = Fields { plugin };
        match plugin {
            "NodeResourcesFit" => self.fit = fields.read::<FitFile>(args)?.args(&fields)?,
            "NodeResourcesBalancedAllocation" => {
                let file: BalancedFile = fields.read(args)?;
                if !file.resources.is_empty() {
                    self.balanced = BalancedArgs(weights(file.resources));
                }
                for (at, (name, weight)) in self.balanced.iter().enumerate() {
                    if self.balanced[..at].iter().any(|(before, _)| before == name) {
                        return Err(fields.refuse(format!("resources[{at}].name: Duplicate value: {name:?}")));
                    }
                    if *weight != 1 {
                        return Err(fields
                            .refuse(format!("resources[{at}].weight: Invalid value: {weight}: must be 1")));
                    }
                }
            }
            "NodeAffinity" => {
                let file: NodeAffinityFile = fields.read(args)?;
                self.node_affinity = file.added_affinity.map(|v| fields.typed(&v)).transpose()?;
            }
            "DefaultPreemption" => {
                let file: PreemptionFile = fields.read(args)?;
                self.preemption = file.args(&fields)?;
            }
            "InterPodAffinity" => {
                let file: InterPodFile = fields.read(args)?;
                if !(0..=100).contains(&file.hard_pod_affinity_weight) {
                    return Err(fields.refuse("hardPodAffinityWeight: must be in the range 0-100"));
                }
                self.inter_pod = InterPodArgs {
                    hard_pod_affinity_weight: file.hard_pod_affinity_weight,
                    ignore_preferred_terms_of_existing_pods: file.ignore_preferred_terms_of_existing_pods,
                };
            }
            "PodTopologySpread" => self.spread = fields.read::<SpreadFile>(args)?.args(&fields)?,
            "VolumeBinding" => {
                let file: VolumeBindingFile = fields.read(args)?;
                if file.shape.is_some() {
                    return Err(fields.refuse(
                        "shape: unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
                    ));
                }
                let seconds = u64::try_from(file.bind_timeout_seconds.unwrap_or(600)).map_err(|_| {
                    fields.refuse(
                        "bindTimeoutSeconds: invalid BindTimeoutSeconds, should not be a negative value",
                    )
                })?;
                self.bind_timeout = Duration::from_secs(seconds);
            }
            "DynamicResources" => self.devices = fields.read::<DevicesFile>(args)?.args(&fields)?,
            _ => return Err(fields.refuse("this plugin takes no arguments")),
        }
        Ok(())
    }
}

fn without_header(plugin: &str, args: Value) -> Result<Value, ConfigError> {
    let Value::Object(mut fields) = args else {
        return Err(ConfigError::Args { plugin: plugin.into(), message: "args must be an object".into() });
    };
    for (name, expected) in
        [("apiVersion", "kubescheduler.config.k8s.io/v1".to_owned()), ("kind", format!("{plugin}Args"))]
    {
        if let Some(value) = fields.shift_remove(name)
            && value != *expected
        {
            let message = format!("{name}: expected {expected}, got {value}");
            return Err(ConfigError::Args { plugin: plugin.into(), message });
        }
    }
    Ok(Value::Object(fields))
}

struct Fields<'a> {
    plugin: &'a str,
}

impl Fields<'_> {
    fn refuse(&self, message: impl Into<String>) -> ConfigError {
        ConfigError::Args { plugin: self.plugin.into(), message: message.into() }
    }

    fn read<T: serde::de::DeserializeOwned>(&self, args: Value) -> Result<T, ConfigError> {
        serde_json::from_value(args).map_err(|e| self.refuse(e.to_string()))
    }

    /// A part whose type is one of the API.
    fn typed<T: api_types::value::Value + Default>(&self, value: &Value) -> Result<T, ConfigError> {
        let (typed, strict) = api_types::codec::json::from_slice_strict(value.to_string().as_bytes())
            .map_err(|e| self.refuse(e.to_string()))?;
        match strict.first() {
            None => Ok(typed),
            Some(first) => Err(self.refuse(first.to_string())),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResourceFile {
    name: String,
    #[serde(default)]
    weight: i64,
}

fn weights(resources: Vec<ResourceFile>) -> Vec<(String, i64)> {
    resources.into_iter().map(|r| (r.name, if r.weight == 0 { 1 } else { r.weight })).collect()
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct FitFile {
    ignored_resources: BTreeSet<String>,
    ignored_resource_groups: BTreeSet<String>,
    scoring_strategy: Option<StrategyFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct StrategyFile {
    #[serde(rename = "type")]
    type_: String,
    resources: Vec<ResourceFile>,
    requested_to_capacity_ratio: Option<RatioFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct RatioFile {
    shape: Vec<PointFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct PointFile {
    utilization: i64,
    score: i64,
}

impl RatioFile {
    fn shape(self, fields: &Fields<'_>) -> Result<Shape, ConfigError> {
        let path = "scoringStrategy.requestedToCapacityRatio.shape";
        if self.shape.is_empty() {
            return Err(
                fields.refuse(format!("{path}: Required value: at least one point must be specified"))
            );
        }
        for (at, point) in self.shape.iter().enumerate() {
            let refuse = |field: &str, value: i64, why: &str| {
                Err(fields.refuse(format!("{path}[{at}].{field}: Invalid value: {value}: {why}")))
            };
            if at > 0 && self.shape[at - 1].utilization >= point.utilization {
                return refuse("utilization", point.utilization, "values must be sorted in increasing order");
            }
            if !(0..=100).contains(&point.utilization) {
                return refuse("utilization", point.utilization, "not in valid range [0, 100]");
            }
            if !(0..=10).contains(&point.score) {
                return refuse("score", point.score, "not in valid range [0, 10]");
            }
        }
        // Scores of the file go up to ten.
        Ok(Shape(self.shape.into_iter().map(|point| (point.utilization, point.score * 10)).collect()))
    }
}

impl FitFile {
    fn args(self, fields: &Fields<'_>) -> Result<FitArgs, ConfigError> {
        let mut args = FitArgs {
            ignored: self.ignored_resources,
            ignored_groups: self.ignored_resource_groups,
            ..FitArgs::default()
        };
        if let Some(strategy) = self.scoring_strategy {
            let ratio = "scoringStrategy.requestedToCapacityRatio";
            args.strategy = match (strategy.type_.as_str(), strategy.requested_to_capacity_ratio) {
                ("" | "LeastAllocated", None) => Strategy::LeastAllocated,
                ("MostAllocated", None) => Strategy::MostAllocated,
                ("RequestedToCapacityRatio", Some(file)) => {
                    Strategy::RequestedToCapacityRatio(file.shape(fields)?)
                }
                ("RequestedToCapacityRatio", None) => {
                    return Err(fields.refuse(format!(
                        "{ratio}: Required value: must be specified when type is RequestedToCapacityRatio"
                    )));
                }
                ("" | "LeastAllocated" | "MostAllocated", Some(_)) => {
                    return Err(fields.refuse(format!(
                        "{ratio}: Forbidden: must be nil when type is not RequestedToCapacityRatio"
                    )));
                }
                (other, _) => {
                    return Err(fields.refuse(format!(
                        "scoringStrategy.type: Unsupported value: {other:?}: supported values: \"LeastAllocated\", \"MostAllocated\", \"RequestedToCapacityRatio\""
                    )));
                }
            };
            if !strategy.resources.is_empty() {
                args.resources = weights(strategy.resources);
            }
            for (at, (name, weight)) in args.resources.iter().enumerate() {
                if !(1..=100).contains(weight) {
                    return Err(fields.refuse(format!(
                        "scoringStrategy.resources[{at}].weight: Invalid value: {weight}: resource weight of {name} not in valid range (0, 100]"
                    )));
                }
            }
        }
        Ok(args)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct VolumeBindingFile {
    bind_timeout_seconds: Option<i64>,
    shape: Option<Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct DevicesFile {
    filter_timeout: Option<Value>,
    binding_timeout: Option<Value>,
}

impl DevicesFile {
    fn args(self, fields: &Fields<'_>) -> Result<DevicesArgs, ConfigError> {
        let mut args = DevicesArgs::default();
        let given = |name: &str, value: &Option<Value>, least: i64, rule: &str| {
            let Some(value) = value else { return Ok(None) };
            let duration: api_types::value::Duration = fields.typed(value)?;
            if duration.0 < least {
                return Err(fields.refuse(format!("{name}: Invalid value: {value}: {rule}")));
            }
            Ok(Some(duration.to_std()))
        };
        let filter = given("filterTimeout", &self.filter_timeout, 0, "must be zero or positive")?;
        let binding =
            given("bindingTimeout", &self.binding_timeout, 1_000_000_000, "must be at least 1 second")?;
        args.filter_timeout = filter.unwrap_or(args.filter_timeout);
        args.binding_timeout = binding.unwrap_or(args.binding_timeout);
        Ok(args)
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct BalancedFile {
    resources: Vec<ResourceFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct NodeAffinityFile {
    added_affinity: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct PreemptionFile {
    min_candidate_nodes_percentage: i64,
    min_candidate_nodes_absolute: i64,
}

impl Default for PreemptionFile {
    fn default() -> Self {
        Self { min_candidate_nodes_percentage: 10, min_candidate_nodes_absolute: 100 }
    }
}

impl PreemptionFile {
    fn args(self, fields: &Fields<'_>) -> Result<PreemptionArgs, ConfigError> {
        if !(0..=100).contains(&self.min_candidate_nodes_percentage) {
            return Err(fields.refuse("minCandidateNodesPercentage: not in valid range [0, 100]"));
        }
        let absolute = usize::try_from(self.min_candidate_nodes_absolute)
            .map_err(|_| fields.refuse("minCandidateNodesAbsolute: not in valid range [0, inf)"))?;
        if self.min_candidate_nodes_percentage == 0 && absolute == 0 {
            return Err(fields
                .refuse("cannot set both minCandidateNodesPercentage and minCandidateNodesAbsolute to 0"));
        }
        Ok(PreemptionArgs {
            min_candidate_nodes_percentage: self.min_candidate_nodes_percentage as usize,
            min_candidate_nodes_absolute: absolute,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct InterPodFile {
    hard_pod_affinity_weight: i64,
    ignore_preferred_terms_of_existing_pods: bool,
}

impl Default for InterPodFile {
    fn default() -> Self {
        Self { hard_pod_affinity_weight: 1, ignore_preferred_terms_of_existing_pods: false }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct SpreadFile {
    default_constraints: Vec<Value>,
    defaulting_type: String,
}

impl SpreadFile {
    fn args(self, fields: &Fields<'_>) -> Result<SpreadArgs, ConfigError> {
        match self.defaulting_type.as_str() {
            "" | "System" if self.default_constraints.is_empty() => Ok(SpreadArgs::default()),
            "" | "System" => {
                Err(fields.refuse("defaultConstraints: when .defaultingType is System, must be empty"))
            }
            "List" => {
                let constraints = self.default_constraints.iter().map(|v| {
                    let constraint: TopologySpreadConstraint = fields.typed(v)?;
                    if constraint.label_selector.is_some() {
                        return Err(fields.refuse(
                            "defaultConstraints[].labelSelector: constraint must not define a selector, as they deduced for each pod",
                        ));
                    }
                    Ok(SpreadConstraint::of(&constraint, &Default::default()))
                });
                Ok(SpreadArgs { defaults: Some(constraints.collect::<Result<_, _>>()?) })
            }
            other => Err(fields.refuse(format!("defaultingType: Unsupported value: {other:?}"))),
        }
    }
}
