//! What becomes of an event, given those before it: written as new, counted onto an earlier one,
//! folded into "(combined from similar events)", or dropped as spam. Pure; upstream's numbers.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use api_types::core::v1::Event;
use api_types::value::Time;
use jiff::Timestamp;

use crate::limiter::Bucket;

/// Records kept of each sort; the oldest half goes when they are exceeded.
const RECORDS: usize = 4096;
/// Events that differ by message alone are combined when this many came …
const SIMILAR: usize = 10;
/// … each within this many seconds of the one before.
const SIMILAR_SECONDS: i64 = 600;
/// Events about one object from one source: so many at once, and one in five minutes.
const SPAM_BURST: u32 = 25;
const SPAM_QPS: f64 = 1.0 / 300.0;

/// What to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Create(Event),
    /// The event of this name exists: count, time and message change.
    Repeat(Event),
}

/// Remembers earlier events.
#[derive(Debug, Default)]
pub struct Correlator {
    started: Option<Timestamp>,
    similar: Memory<Vec<String>, Similar>,
    written: Memory<Vec<String>, Written>,
    spam: Memory<Vec<String>, Bucket>,
}

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Written {
    name: String,
    count: i32,
    first: Option<Time>,
}

impl Correlator {
    /// What to do about an event; `None` drops it.
    pub fn observe(&mut self, event: Event, now: Timestamp) -> Option<Write> {
        let (mut event, key) = self.aggregate(event, now);
        if let Some(known) = self.written.get(&key).filter(|known| known.count > 0) {
            known.count += 1;
            event.metadata.name.clone_from(&known.name);
            event.first_timestamp = known.first;
            event.count = known.count;
            return self.passes(&event, now).then_some(Write::Repeat(event));
        }
        let written =
            Written { name: event.metadata.name.clone(), count: event.count, first: event.first_timestamp };
        self.written.put(key, written);
        self.passes(&event, now).then_some(Write::Create(event))
    }

    /// The server has it: under this name it will be counted on.
    pub fn stored(&mut self, event: &Event) {
        let known = self.written.get(&exact_key(event));
        if let Some(known) = known {
            known.name.clone_from(&event.metadata.name);
            known.count = event.count;
        }
    }

    /// The event itself and its key, or what it is folded into.
    fn aggregate(&mut self, event: Event, now: Timestamp) -> (Event, Vec<String>) {
        let (own, group) = (exact_key(&event), similar_key(&event));
        if self.similar.get(&group).is_none_or(|s| now.as_second() - s.last.as_second() > SIMILAR_SECONDS) {
            self.similar.put(group.clone(), Similar { messages: HashSet::new(), last: now });
        }
        let similar = self.similar.get(&group).expect("it was just put there");
        similar.last = now;
        similar.messages.insert(event.message.clone());
        if similar.messages.len() < SIMILAR {
            return (event, own);
        }
        // Keep the set from growing: one goes for each that comes.
        if let Some(one) = similar.messages.iter().next().cloned() {
            similar.messages.remove(&one);
        }
        // COMPAT: who reports it, annotations and the rest do not come along.
        let combined = Event {
            metadata: api_types::meta::v1::ObjectMeta {
                name: super::name(&event.involved_object.name, now),
                namespace: event.metadata.namespace,
                ..Default::default()
            },
            message: format!("(combined from similar events): {}", event.message),
            first_timestamp: Some(Time::whole(now)),
            last_timestamp: Some(Time::whole(now)),
            count: 1,
            involved_object: event.involved_object,
            reason: event.reason,
            type_: event.type_,
            source: event.source,
            ..Event::default()
        };
        (combined, group)
    }

    fn passes(&mut self, event: &Event, now: Timestamp) -> bool {
        let started = *self.started.get_or_insert(now);
        let since = Duration::try_from(now.duration_since(started)).unwrap_or_default();
        let key = spam_key(event);
        if self.spam.get(&key).is_none() {
            let mut bucket = Bucket::new(SPAM_QPS, SPAM_BURST);
            bucket.reserve(since);
            self.spam.put(key, bucket);
            return true;
        }
        self.spam.get(&key).is_some_and(|bucket| bucket.try_take(since))
    }
}

/// Identical events but for time.
fn exact_key(event: &Event) -> Vec<String> {
    let mut key = spam_key(event);
    let field_path = event.involved_object.field_path.clone();
    key.extend([field_path, event.reason.clone(), event.message.clone()]);
    key
}

/// Events that differ by message alone.
fn similar_key(event: &Event) -> Vec<String> {
    let mut key = spam_key(event);
    key.extend([event.reason.clone(), event.reporting_component.clone(), event.reporting_instance.clone()]);
    key
}

/// Events of one type about one object from one source.
fn spam_key(event: &Event) -> Vec<String> {
    let object = &event.involved_object;
    [
        &event.source.component,
        &event.source.host,
        &object.kind,
        &object.namespace,
        &object.name,
        &object.uid,
        &object.api_version,
        &event.type_,
    ]
    .map(Clone::clone)
    .to_vec()
}

/// A map that forgets what was not used for longest, roughly: two generations.
#[derive(Debug)]
struct Memory<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone, V> Memory<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        if let Some(value) = self.old.remove(key) {
            self.put(key.clone(), value);
        }
        self.young.get_mut(key)
    }

    fn put(&mut self, key: K, value: V) {
        if self.young.len() >= RECORDS / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use api_types::core::v1::{EventSource, ObjectReference};

    use super::*;

    fn event(message: &str) -> Event {
        Event {
            involved_object: ObjectReference { kind: "Pod".into(), name: "web".into(), ..Default::default() },
            source: EventSource { component: "kubelet".into(), host: "n1".into() },
            reason: "BackOff".into(),
            message: message.into(),
            count: 1,
            ..Default::default()
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// `+` created, `~n` repeated with count n, `x` dropped; then the message.
    fn told(write: Option<Write>) -> String {
        match write {
            Some(Write::Create(e)) => format!("+{}", e.message),
            Some(Write::Repeat(e)) => format!("~{} {}", e.count, e.message),
            None => "x".into(),
        }
    }

    #[test]
    fn the_same_again_is_counted() {
        let mut c = Correlator::default();
        let mut see = |message: &str| told(c.observe(event(message), at(0)));
        assert_eq!(see("a"), "+a");
        assert_eq!(see("a"), "~2 a");
        assert_eq!(see("b"), "+b");
        assert_eq!(see("a"), "~3 a");
    }

    #[test]
    fn ten_that_differ_by_message_are_combined() {
        let mut c = Correlator::default();
        for n in 0..9 {
            assert_eq!(told(c.observe(event(&n.to_string()), at(n))), format!("+{n}"));
        }
        assert_eq!(told(c.observe(event("9"), at(9))), "+(combined from similar events): 9");
        assert_eq!(told(c.observe(event("10"), at(10))), "~2 (combined from similar events): 10");
        assert_eq!(told(c.observe(event("11"), at(700))), "+11", "after a pause they are single again");
    }

    #[test]
    fn an_object_has_its_budget() {
        let mut c = Correlator::default();
        let passed = (0..40).filter(|_| c.observe(event("a"), at(0)).is_some()).count();
        assert_eq!(passed, 25);
        assert!(c.observe(event("a"), at(299)).is_none());
        assert!(c.observe(event("a"), at(301)).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut memory = Memory::default();
        for n in 0..100_000 {
            memory.put(n, n);
            memory.get(&0);
        }
        assert!(memory.young.len() + memory.old.len() <= RECORDS);
        assert!(memory.get(&0).is_some(), "what is used stays");
        assert!(memory.get(&1).is_none());
    }
}
