//! Eviction thresholds: the signals, and how a configuration says when one is met. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use api_types::Quantity;
use api_types::core::v1::NodeConditionType;
use api_types::value::Format;
use daemon::flags::GoDuration;

/// What a node can run out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// Memory of the node.
    Memory,
    /// Memory of what pods may use together.
    AllocatableMemory,
    /// Space where the kubelet's files and the logs are.
    NodeFs,
    /// Inodes there.
    NodeFsInodes,
    /// Space where images are.
    ImageFs,
    /// Inodes there.
    ImageFsInodes,
    /// Space where containers' own layers are.
    ContainerFs,
    /// Inodes there.
    ContainerFsInodes,
    /// Process ids.
    Pids,
}

/// A condition of the node that pods are kept away for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// MemoryPressure
    Memory,
    /// DiskPressure
    Disk,
    /// PIDPressure
    Pid,
}

impl Pressure {
    /// The node's condition.
    pub fn condition(self) -> NodeConditionType {
        match self {
            Self::Memory => NodeConditionType::MemoryPressure,
            Self::Disk => NodeConditionType::DiskPressure,
            Self::Pid => NodeConditionType::PIDPressure,
        }
    }
}

const NAMES: [(&str, Signal); 9] = [
    ("memory.available", Signal::Memory),
    ("allocatableMemory.available", Signal::AllocatableMemory),
    ("nodefs.available", Signal::NodeFs),
    ("nodefs.inodesFree", Signal::NodeFsInodes),
    ("imagefs.available", Signal::ImageFs),
    ("imagefs.inodesFree", Signal::ImageFsInodes),
    ("containerfs.available", Signal::ContainerFs),
    ("containerfs.inodesFree", Signal::ContainerFsInodes),
    ("pid.available", Signal::Pids),
];

impl Signal {
    fn parse(name: &str) -> Result<Self, String> {
        let known = NAMES.iter().find(|(known, _)| *known == name);
        known.map(|(_, signal)| *signal).ok_or_else(|| format!("unsupported eviction signal {name}"))
    }

    /// Its name in configurations and metrics.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, signal)| *signal == self).map_or("", |(name, _)| name)
    }

    /// What is reclaimed.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory | Self::AllocatableMemory => "memory",
            Self::NodeFs | Self::ImageFs | Self::ContainerFs => "ephemeral-storage",
            Self::NodeFsInodes | Self::ImageFsInodes | Self::ContainerFsInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// The node's condition that it leads to.
    pub fn pressure(self) -> Pressure {
        match self {
            Self::Memory | Self::AllocatableMemory => Pressure::Memory,
            Self::Pids => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }

    /// Its amounts as upstream prints them.
    pub fn quantity(self, amount: i64) -> Quantity {
        let bytes = matches!(self.resource(), "memory" | "ephemeral-storage");
        Quantity::from_units(amount, if bytes { Format::BinarySi } else { Format::DecimalSi })
    }
}

/// An amount, or a part of what there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// So much.
    Quantity(Quantity),
    /// So much of one.
    Part(f32),
}

impl Amount {
    /// In units of what there is.
    fn of(self, capacity: i64) -> Quantity {
        match self {
            Self::Quantity(quantity) => quantity,
            // COMPAT: upstream prints parts of a capacity as bytes, whatever they count.
            Self::Part(part) => {
                Quantity::from_units((capacity as f64 * f64::from(part)) as i64, Format::BinarySi)
            }
        }
    }

    fn part(text: &str) -> Option<Result<f32, String>> {
        let number = text.strip_suffix('%')?;
        Some(number.parse::<f32>().map(|percent| percent / 100.0).map_err(|error| error.to_string()))
    }

    fn quantity(text: &str) -> Result<Quantity, String> {
        Quantity::parse(text).map_err(|error| error.to_string())
    }
}

/// When to act on a signal.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The signal.
    pub signal: Signal,
    /// Less than this is too little.
    pub value: Amount,
    /// How long it may be too little; zero for a hard threshold.
    pub grace: Duration,
    /// How much more than the threshold is to be freed.
    pub min_reclaim: Option<Amount>,
}

impl Threshold {
    /// It is acted on at once, without regard for pods' own grace.
    pub fn is_hard(&self) -> bool {
        self.grace.is_zero()
    }

    /// The amount below which it is met; `reclaim` adds what is to be freed beyond.
    pub fn quantity(&self, capacity: i64, reclaim: bool) -> Quantity {
        let mut quantity = self.value.of(capacity);
        if let Some(more) = self.min_reclaim.filter(|_| reclaim) {
            quantity += more.of(capacity);
        }
        quantity
    }
}

type Texts = BTreeMap<String, String>;

/// What an absent `evictionHard` stands for.
pub const DEFAULT_HARD: [(&str, &str); 5] = [
    ("memory.available", "100Mi"),
    ("nodefs.available", "10%"),
    ("nodefs.inodesFree", "5%"),
    ("imagefs.available", "15%"),
    ("imagefs.inodesFree", "5%"),
];

/// A configuration's settings.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    /// `evictionHard`
    pub hard: Option<&'a Texts>,
    /// `mergeDefaultEvictionSettings`
    pub merge_defaults: bool,
    /// What all pods use together is not held to what the node lets them have.
    pub unguarded: bool,
    /// `evictionSoft`
    pub soft: Texts,
    /// `evictionSoftGracePeriod`
    pub grace: Texts,
    /// `evictionMinimumReclaim`
    pub reclaim: Texts,
}

/// The thresholds of a configuration, errors worded as upstream's.
pub fn parse(settings: &Settings<'_>) -> Result<Vec<Threshold>, String> {
    let defaults = || DEFAULT_HARD.map(|(signal, value)| (signal.to_owned(), value.to_owned())).into();
    let hard: Texts = match settings.hard {
        None => defaults(),
        Some(given) if settings.merge_defaults => {
            let mut merged: Texts = defaults();
            merged.extend(given.clone());
            merged
        }
        Some(given) => given.clone(),
    };
    let mut all = statements(&hard)?;
    let mut soft = statements(&settings.soft)?;
    let periods = periods(&settings.grace)?;
    for threshold in &mut soft {
        let signal = threshold.signal;
        threshold.grace = *periods.get(&signal).ok_or_else(|| {
            format!("grace period must be specified for the soft eviction threshold {}", signal.name())
        })?;
    }
    all.append(&mut soft);
    let reclaims = reclaims(&settings.reclaim)?;
    for threshold in &mut all {
        threshold.min_reclaim = reclaims.get(&threshold.signal).copied();
    }
    // What all pods may use together is guarded like the node.
    let guard = all
        .iter()
        .find(|threshold| !settings.unguarded && threshold.signal == Signal::Memory && threshold.is_hard())
        .cloned();
    all.extend(guard.map(|threshold| Threshold { signal: Signal::AllocatableMemory, ..threshold }));
    Ok(all)
}

fn statements(texts: &Texts) -> Result<Vec<Threshold>, String> {
    let mut thresholds = Vec::new();
    for (name, text) in texts {
        let signal = Signal::parse(name)?;
        let value = match Amount::part(text) {
            // COMPAT: these two switch a threshold off.
            Some(_) if matches!(text.as_str(), "0%" | "100%") => continue,
            Some(part) => {
                let part = part?;
                if part < 0.0 {
                    return Err(format!("eviction percentage threshold {name} must be >= 0%: {text}"));
                }
                if part > 1.0 {
                    return Err(format!("eviction percentage threshold {name} must be <= 100%: {text}"));
                }
                Amount::Part(part)
            }
            None => {
                let quantity = Amount::quantity(text)?;
                if quantity.is_negative() || quantity.is_zero() {
                    return Err(format!("eviction threshold {name} must be positive: {quantity}"));
                }
                Amount::Quantity(quantity)
            }
        };
        thresholds.push(Threshold { signal, value, grace: Duration::ZERO, min_reclaim: None });
    }
    Ok(thresholds)
}

fn periods(texts: &Texts) -> Result<BTreeMap<Signal, Duration>, String> {
    let mut periods = BTreeMap::new();
    for (name, text) in texts {
        let signal = Signal::parse(name)?;
        if text.starts_with('-') {
            return Err(format!("invalid eviction grace period specified: {text}, must be a positive value"));
        }
        let period = text.parse::<GoDuration>().map_err(|error| error.to_string())?;
        periods.insert(signal, period.0);
    }
    Ok(periods)
}

fn reclaims(texts: &Texts) -> Result<BTreeMap<Signal, Amount>, String> {
    let mut reclaims = BTreeMap::new();
    for (name, text) in texts {
        let signal = Signal::parse(name)?;
        let amount = match Amount::part(text) {
            Some(part) => {
                let part = part?;
                if part <= 0.0 {
                    return Err(format!(
                        "eviction percentage minimum reclaim {name} must be positive: {text}"
                    ));
                }
                Amount::Part(part)
            }
            None => {
                let quantity = Amount::quantity(text)?;
                if quantity.is_negative() {
                    return Err(format!("negative eviction minimum reclaim specified for {name}"));
                }
                Amount::Quantity(quantity)
            }
        };
        reclaims.insert(signal, amount);
    }
    Ok(reclaims)
}

/// Where images and containers' layers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Images are on a filesystem of their own.
    pub image_fs: bool,
    /// And containers' layers are not there with them.
    pub split: bool,
}

/// COMPAT: the thresholds of the containers' filesystem are always those of the one that it is on;
/// answers whether some were given and are not used.
pub fn mirror_container_fs(thresholds: &mut Vec<Threshold>, layout: Layout) -> bool {
    let before = thresholds.len();
    thresholds.retain(|one| !matches!(one.signal, Signal::ContainerFs | Signal::ContainerFsInodes));
    let given = thresholds.len() != before;
    let with_images = layout.image_fs && !layout.split;
    let mirrored: Vec<Threshold> = thresholds
        .iter()
        .filter_map(|threshold| {
            let signal = match (threshold.signal, with_images) {
                (Signal::ImageFs, true) | (Signal::NodeFs, false) => Signal::ContainerFs,
                (Signal::ImageFsInodes, true) | (Signal::NodeFsInodes, false) => Signal::ContainerFsInodes,
                _ => return None,
            };
            Some(Threshold { signal, ..threshold.clone() })
        })
        .collect();
    thresholds.extend(mirrored);
    given
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[(&str, &str)]) -> Texts {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn hard(list: &[(&str, &str)]) -> Result<Vec<Threshold>, String> {
        let given = texts(list);
        parse(&Settings { hard: Some(&given), ..Default::default() })
    }

    fn signals(thresholds: &[Threshold]) -> Vec<&'static str> {
        thresholds.iter().map(|threshold| threshold.signal.name()).collect()
    }

    #[test]
    fn defaults_stand_for_an_absent_setting_only() {
        assert_eq!(parse(&Settings::default()).unwrap().len(), 6);
        let one = hard(&[("pid.available", "10")]).unwrap();
        assert_eq!(signals(&one), ["pid.available"]);
        let given = texts(&[("memory.available", "5%")]);
        let merged =
            parse(&Settings { hard: Some(&given), merge_defaults: true, ..Default::default() }).unwrap();
        assert_eq!(merged.len(), 6);
        assert_eq!(merged.iter().find(|one| one.signal == Signal::Memory).unwrap().value, Amount::Part(0.05));
        assert!(hard(&[("memory.available", "0%")]).unwrap().is_empty());
        let unguarded = parse(&Settings { unguarded: true, ..Default::default() }).unwrap();
        assert_eq!(unguarded.len(), 5);
        assert!(unguarded.iter().all(|one| one.signal != Signal::AllocatableMemory));
    }

    #[test]
    fn refusals_are_upstreams() {
        let check = |list: &[(&str, &str)], expected: &str| assert_eq!(hard(list).unwrap_err(), expected);
        check(&[("disk", "1")], "unsupported eviction signal disk");
        check(
            &[("memory.available", "120%")],
            "eviction percentage threshold memory.available must be <= 100%: 120%",
        );
        check(&[("memory.available", "0")], "eviction threshold memory.available must be positive: 0");
        let soft = Settings { soft: texts(&[("memory.available", "1Gi")]), ..Default::default() };
        assert_eq!(
            parse(&soft).unwrap_err(),
            "grace period must be specified for the soft eviction threshold memory.available"
        );
    }

    #[test]
    fn soft_thresholds_have_their_grace_and_all_their_reclaim() {
        let none = texts(&[]);
        let settings = Settings {
            hard: Some(&none),
            soft: texts(&[("nodefs.available", "10%")]),
            grace: texts(&[("nodefs.available", "1m30s")]),
            reclaim: texts(&[("nodefs.available", "500")]),
            ..Default::default()
        };
        let made = parse(&settings).unwrap();
        assert_eq!(made[0].grace, Duration::from_secs(90));
        assert_eq!(made[0].quantity(1000, false).value(), 100);
        assert_eq!(made[0].quantity(1000, true).value(), 600);
    }

    #[test]
    fn containers_follow_the_filesystem_that_they_are_on() {
        let mut one =
            hard(&[("nodefs.available", "1"), ("imagefs.available", "2"), ("containerfs.available", "3")])
                .unwrap();
        assert!(mirror_container_fs(&mut one, Layout { image_fs: true, split: false }));
        let container = one.iter().find(|one| one.signal == Signal::ContainerFs).unwrap();
        assert_eq!(container.quantity(0, false).value(), 2);
        assert!(mirror_container_fs(&mut one, Layout::default()));
        let container = one.iter().find(|one| one.signal == Signal::ContainerFs).unwrap();
        assert_eq!(container.quantity(0, false).value(), 1);
    }
}
