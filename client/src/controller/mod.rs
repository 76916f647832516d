//! The controller pattern: look at everything one key needs (`observe`), decide (`plan`), do.
//!
//! A [`Controller`] reads caches and returns a [`Plan`]; the one loop (`run.rs`) and the one executor
//! (`hands.rs`) own workers, de-duplication, back-off, slow start, retries, waiting until own writes
//! are visible, events, metrics and logs. `plan` and `conclude` are pure: tests build a view, call
//! them, and compare actions.

mod action;
mod hands;
mod run;
#[cfg(test)]
mod tests;

pub use action::{Action, Effect, Outcome, Plan, Step, Target, Told};
pub use hands::{Failure, Hands};
pub use run::{Running, run};

use std::convert::Infallible;
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;

use crate::informer::{Caches, Change, Projection};
use crate::key::Key;
use crate::queue::{Backoff, Queue};

/// Actions of controllers that have none of their own.
pub type Never = Infallible;

/// Brings one kind of thing from what is to what should be.
pub trait Controller: Send + Sync + 'static {
    /// Upstream's name: `deployment-controller`.
    const NAME: &'static str;
    /// The label of its queue in metrics: `deployment`.
    const QUEUE: &'static str;
    /// Everything that one decision needs.
    type View: Send + Sync;
    /// Actions of another sort than reading and writing objects; [`Never`] for most.
    type Own: Send + Sync;

    /// How long a key waits whose plan failed.
    fn backoff(&self) -> Backoff {
        Backoff::default()
    }

    /// Which changes put which keys into the queue.
    fn wakes_on(&self) -> Vec<Wake>;

    /// Reads caches and nothing else. `None`: there is nothing to do for this key.
    fn observe(&self, key: &Key, caches: &Caches) -> Option<Self::View>;

    /// What to do, and when to look again.
    fn plan(view: &Self::View, now: Timestamp) -> Plan<Self::Own>;

    /// What to do once the plan's outcome is known, such as writing status. It also runs when actions failed.
    fn conclude(_view: &Self::View, _outcome: &Outcome, _now: Timestamp) -> Plan<Self::Own> {
        Plan::nothing()
    }

    /// Performs an action of its own; tells when the key should be looked at again, if it knows.
    fn perform(
        &self,
        _own: Self::Own,
        _hands: &Hands,
    ) -> impl Future<Output = Result<Option<Duration>, Failure>> + Send {
        async { Ok(None) }
    }
}

/// A kind of change, and the keys that it wakes.
pub struct Wake {
    install: Install,
}

/// Subscribes a queue to stores.
type Install = Box<dyn Fn(&Caches, &Queue<Key>) + Send + Sync>;

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wake")
    }
}

impl Wake {
    /// Changes of `P` wake the keys that `keys` pushes. It may read caches.
    pub fn on<P: Projection>(
        keys: impl Fn(&Change<'_, P>, &Caches, &mut Vec<Key>) + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::later::<P>(Duration::ZERO, keys)
    }

    /// As [`Wake::on`], but the keys wait for `delay`, so that changes that come together are seen together.
    pub fn later<P: Projection>(
        delay: Duration,
        keys: impl Fn(&Change<'_, P>, &Caches, &mut Vec<Key>) + Clone + Send + Sync + 'static,
    ) -> Self {
        let install = move |caches: &Caches, queue: &Queue<Key>| {
            let (keys, readable, queue) = (keys.clone(), caches.clone(), queue.clone());
            caches.store::<P>().subscribe(move |change| {
                let mut woken = Vec::new();
                keys(change, &readable, &mut woken);
                for key in woken {
                    queue.add_after(key, delay);
                }
            });
        };
        Self { install: Box::new(install) }
    }

    /// What is no store wakes keys: `subscribe` is called once, and adds to the queue as it hears.
    pub fn by(subscribe: impl Fn(&Caches, &Queue<Key>) + Send + Sync + 'static) -> Self {
        Self { install: Box::new(subscribe) }
    }

    /// Changes of `P` wake the object's own key.
    pub fn itself<P: Projection>() -> Self {
        Self::on::<P>(|change, _, keys| keys.push(change.key.clone()))
    }

    /// Changes of `P` wake nothing, but decisions read it: it must be there before the first.
    pub fn nothing<P: Projection>() -> Self {
        Self::on::<P>(|_, _, _| {})
    }

    fn install(&self, caches: &Caches, queue: &Queue<Key>) {
        (self.install)(caches, queue);
    }
}
