//! Which devices a container gets. Pure.

use std::collections::BTreeSet;

/// Names of devices.
pub type Ids = BTreeSet<String>;

/// What is known when devices of a resource are chosen for a container.
pub struct View<'a> {
    /// The resource.
    pub resource: &'a str,
    /// `UID` and name, for errors.
    pub container: (&'a str, &'a str),
    /// How many it is to have.
    pub required: usize,
    /// What it has already.
    pub had: Option<&'a Ids>,
    /// The devices that work; `None`: no plugin was ever seen.
    pub healthy: Option<&'a Ids>,
    /// Devices that containers have.
    pub used: &'a Ids,
    /// Those of the pod's init containers, which end before it starts.
    pub reusable: &'a Ids,
    /// Those near the NUMA nodes that the container is to be near.
    pub near: &'a Ids,
    /// Those that are near no node: taken last where it matters.
    pub nowhere: &'a Ids,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It has what it is to have.
    Nothing,
    /// These.
    Take(Ids),
    /// `taken`, and `missing` more out of `available` and `last`: the plugin may have a preference.
    Ask {
        /// Settled.
        taken: Ids,
        /// To choose from.
        available: Ids,
        /// To choose from where that is too little.
        last: Ids,
        /// How many.
        missing: usize,
    },
}

/// Chooses; errors are worded as upstream's.
pub fn choose(view: &View<'_>) -> Result<Choice, String> {
    let View { resource, required, .. } = *view;
    let had = view.had.map_or(0, BTreeSet::len);
    if view.had.is_some() && had != required {
        let (uid, container) = view.container;
        return Err(format!(
            "pod {uid:?} container {container:?} changed request for resource {resource:?} from {had} to {required}"
        ));
    }
    let Some(healthy) = view.healthy else {
        return Err(format!("cannot allocate unregistered device {resource}"));
    };
    if healthy.is_empty() {
        return Err(format!("no healthy devices present; cannot allocate unhealthy devices {resource}"));
    }
    if view.had.is_some_and(|had| !healthy.is_superset(had)) {
        return Err(format!(
            "previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
        ));
    }
    if view.had.is_some() || required == 0 {
        return Ok(Choice::Nothing);
    }
    let mut taken: Ids = view.reusable.iter().take(required).cloned().collect();
    let mut missing = required - taken.len();
    if missing == 0 {
        return Ok(Choice::Take(taken));
    }
    let available: Ids = healthy.difference(view.used).cloned().collect();
    if available.len() < missing {
        return Err(format!(
            "requested number of devices unavailable for {resource}. Requested: {missing}, Available: {}",
            available.len()
        ));
    }
    let near: Ids = available.intersection(view.near).cloned().collect();
    if missing < near.len() {
        return Ok(Choice::Ask { taken, available: near, last: Ids::new(), missing });
    }
    // All that are near, and others beside them.
    missing -= near.len();
    taken.extend(near.iter().cloned());
    if missing == 0 {
        return Ok(Choice::Take(taken));
    }
    let (last, available) = available.difference(&near).cloned().partition(|id| view.nowhere.contains(id));
    Ok(Choice::Ask { taken, available, last, missing })
}

/// What was settled, as many of the preferred devices as are missing, and others where they are too few.
pub fn complete(
    mut taken: Ids,
    (available, last): (&Ids, &Ids),
    missing: usize,
    preferred: &[String],
) -> Ids {
    let wanted = taken.len() + missing;
    let first = preferred.iter().filter(|id| available.contains(*id) || last.contains(*id));
    for id in first.chain(available).chain(last) {
        if taken.len() == wanted {
            break;
        }
        taken.insert(id.clone());
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &str) -> Ids {
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn check(
        required: usize,
        had: Option<&str>,
        healthy: Option<&str>,
        used: &str,
        reusable: &str,
        expected: Result<Choice, &str>,
    ) {
        let (had, healthy) = (had.map(ids), healthy.map(ids));
        let made = choose(&View {
            resource: "a/b",
            container: ("u", "c"),
            required,
            had: had.as_ref(),
            healthy: healthy.as_ref(),
            used: &ids(used),
            reusable: &ids(reusable),
            near: &Ids::new(),
            nowhere: &Ids::new(),
        });
        assert_eq!(made, expected.map_err(str::to_owned));
    }

    #[test]
    fn devices_are_free_healthy_and_those_of_init_containers_first() {
        let ask = |taken: &str, available: &str, missing| {
            Ok(Choice::Ask { taken: ids(taken), available: ids(available), last: Ids::new(), missing })
        };
        check(1, None, Some("1 2 3"), "1", "", ask("", "2 3", 1));
        check(2, None, Some("1 2 3"), "1 2", "1", ask("1", "3", 1));
        check(1, None, Some("1 2 3"), "1 2", "1 2", Ok(Choice::Take(ids("1"))));
        check(1, Some("1"), Some("1 2"), "1", "", Ok(Choice::Nothing));
        check(0, None, Some("1"), "", "", Ok(Choice::Nothing));
    }

    #[test]
    fn what_cannot_be_had_is_said_as_upstream_says_it() {
        check(1, None, None, "", "", Err("cannot allocate unregistered device a/b"));
        let none = "no healthy devices present; cannot allocate unhealthy devices a/b";
        check(1, None, Some(""), "", "", Err(none));
        let few = "requested number of devices unavailable for a/b. Requested: 2, Available: 1";
        check(2, None, Some("1 2"), "1", "", Err(few));
        let sick =
            "previously allocated devices are no longer healthy; cannot allocate unhealthy devices a/b";
        check(1, Some("1"), Some("2"), "1", "", Err(sick));
        let changed = "pod \"u\" container \"c\" changed request for resource \"a/b\" from 1 to 2";
        check(2, Some("1"), Some("1 2"), "1", "", Err(changed));
    }

    #[test]
    fn preferences_are_followed_as_far_as_they_can_be() {
        let preferred = ["9".to_owned(), "3".to_owned()];
        assert_eq!(complete(ids("1"), (&ids("2 3 4"), &ids("")), 2, &preferred), ids("1 2 3"));
        assert_eq!(complete(ids(""), (&ids("2 3"), &ids("1")), 1, &[]), ids("2"));
    }

    #[test]
    fn devices_near_the_node_come_first_and_those_of_no_node_last() {
        let healthy = ids("1 2 3 4");
        let check = |required, expected: Choice| {
            let view = View {
                resource: "a/b",
                container: ("u", "c"),
                required,
                had: None,
                healthy: Some(&healthy),
                used: &Ids::new(),
                reusable: &Ids::new(),
                near: &ids("2 4"),
                nowhere: &ids("1"),
            };
            assert_eq!(choose(&view), Ok(expected));
        };
        let ask = |taken: &str, available: &str, last: &str, missing| Choice::Ask {
            taken: ids(taken),
            available: ids(available),
            last: ids(last),
            missing,
        };
        check(1, ask("", "2 4", "", 1));
        check(2, Choice::Take(ids("2 4")));
        check(3, ask("2 4", "3", "1", 1));
    }
}
