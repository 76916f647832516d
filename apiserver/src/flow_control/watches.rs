//! How many watches may hear of a write: of all objects of its resource, of those of its namespace, or of it alone.
//!
//! COMPAT: as upstream's, watches of one node's pods are not counted: a pod is of one node, and the others do not
//! hear of it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::request::RequestInfo;

/// The watches that run, by what they are about.
#[derive(Debug, Default)]
pub struct Watches(Mutex<HashMap<Arc<Interest>, usize>>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Interest {
    group: String,
    resource: String,
    /// Empty for all.
    namespace: String,
    /// Empty for all.
    name: String,
}

impl Interest {
    fn of(info: &RequestInfo) -> Self {
        Self {
            group: info.group.clone(),
            resource: info.resource.clone(),
            namespace: info.namespace.clone(),
            name: info.name.clone(),
        }
    }
}

/// Counts a watch while it lives.
#[derive(Debug)]
pub struct Watching {
    watches: Arc<Watches>,
    interest: Arc<Interest>,
}

impl Watches {
    /// Counts a watch, unless it is of one value of an indexed field.
    pub fn begin(self: &Arc<Self>, info: &RequestInfo, indexed: Option<&str>) -> Option<Watching> {
        if indexed.is_some_and(|value| !value.is_empty()) {
            return None;
        }
        let interest = Interest::of(info);
        let mut all = self.0.lock();
        // Thousands of watches have few interests: all of one share it.
        let interest =
            all.get_key_value(&interest).map_or_else(|| Arc::new(interest), |(known, _)| known.clone());
        *all.entry(interest.clone()).or_default() += 1;
        Some(Watching { watches: self.clone(), interest })
    }

    /// How many may hear of a write.
    pub fn interested(&self, info: &RequestInfo) -> usize {
        let all = self.0.lock();
        let mut interest = Interest { namespace: String::new(), name: String::new(), ..Interest::of(info) };
        let count = |interest: &Interest| all.get(interest).copied().unwrap_or_default();
        let mut sum = count(&interest);
        if !info.namespace.is_empty() {
            interest.namespace.clone_from(&info.namespace);
            sum += count(&interest);
        }
        if !info.name.is_empty() {
            interest.name.clone_from(&info.name);
            sum += count(&interest);
        }
        sum
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut all = self.watches.0.lock();
        if let Some(count) = all.get_mut(&self.interest) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.interest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_heard_by_those_whom_it_concerns() {
        let info = |namespace: &str, name: &str| RequestInfo {
            resource: "pods".into(),
            namespace: namespace.into(),
            name: name.into(),
            ..RequestInfo::default()
        };
        let watches = Arc::new(Watches::default());
        let running: Vec<_> = [("", ""), ("", ""), ("a", ""), ("a", "one"), ("b", "one")]
            .map(|(namespace, name)| watches.begin(&info(namespace, name), None))
            .into();
        assert!(watches.begin(&info("", ""), Some("n1")).is_none());
        let counts = |namespace: &str, name: &str| watches.interested(&info(namespace, name));
        assert_eq!(
            [counts("a", ""), counts("a", "one"), counts("a", "two"), counts("c", "one")],
            [3, 4, 3, 2]
        );
        drop(running);
        assert_eq!(counts("a", "one"), 0);
        assert!(watches.0.lock().is_empty());
    }
}
