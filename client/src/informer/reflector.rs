//! The reflector: keeps a store equal to the server's objects by listing once and watching on.
//!
//! ```text
//!          ┌───────── 410, decode error ──────────┐
//!          ▼                                      │
//!   List { at, token } ──last page──► Watch { from } ──end of watch──► Watch { from }
//!     ▲  └─next page─┘                    ▲  └ event, bookmark ┘
//!     └──── Pause { then } ◄── error ─────┘
//! ```
//!
//! [`State::next`] is pure; [`Reflector::run`] performs. The first list may be answered from the
//! server's cache (resourceVersion 0); after a 410 it is read at the store, since the cache that
//! sent us away may still be behind.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use api_types::kind::Resource;
use api_types::meta::v1::ListOptions;
use daemon::clock::SharedClock;
use daemon::logging::error_chain;
use daemon::shutdown::Shutdown;
use futures::{Stream, StreamExt as _};

use super::{Facts, Store, revision};
use crate::api::Api;
use crate::error::Error;
use crate::key::Key;
use crate::watch::WatchEvent;

/// Objects on one page of a list.
const PAGE: i64 = 500;
/// Back-off after errors: doubles between these, plus up to as much again in jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(800);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where a reflector stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// To list: at revision `at` (`0` any, empty the newest), going on with `token`.
    List { at: &'static str, token: String },
    /// To watch from this revision on.
    Watch { from: String },
    /// To wait for the back-off's `attempt`, and then go on.
    Pause { attempt: u32, then: Box<State> },
}

/// What came of doing what the state says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A page, with the token of the next one, empty on the last.
    Page { revision: String, token: String },
    /// The watch ended without error, having seen history up to here.
    Ended { revision: String },
    /// The revision or token is too old, or the stream cannot be trusted any more.
    Expired,
    /// Anything else; the watch had seen history up to here.
    Failed { revision: Option<String> },
    /// The pause is over.
    Rested,
}

/// What the runner does with the objects it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keep this page and fetch the next.
    Collect,
    /// The list is complete: show it.
    Replace,
    /// Forget collected pages.
    Discard,
    Nothing,
}

impl State {
    pub fn start() -> Self {
        Self::List { at: "0", token: String::new() }
    }

    fn relist() -> Self {
        Self::List { at: "", token: String::new() }
    }

    /// The next state, and what becomes of the objects. `attempt` counts failures in a row.
    pub fn next(self, outcome: Outcome, attempt: u32) -> (Self, Step) {
        let pause = |then: Self| Self::Pause { attempt, then: Box::new(then) };
        match (self, outcome) {
            (Self::List { at, .. }, Outcome::Page { token, .. }) if !token.is_empty() => {
                (Self::List { at, token }, Step::Collect)
            }
            (Self::List { .. }, Outcome::Page { revision, .. }) => {
                (Self::Watch { from: revision }, Step::Replace)
            }
            (Self::Watch { .. }, Outcome::Ended { revision }) => {
                (Self::Watch { from: revision }, Step::Nothing)
            }
            (Self::Watch { from }, Outcome::Failed { revision }) => {
                (pause(Self::Watch { from: revision.unwrap_or(from) }), Step::Nothing)
            }
            // A continue token that expired is no reason to wait; a second 410 in a row is.
            (_, Outcome::Expired) if attempt <= 1 => (Self::relist(), Step::Discard),
            (_, Outcome::Expired) => (pause(Self::relist()), Step::Discard),
            (list @ Self::List { .. }, Outcome::Failed { .. }) => (pause(list), Step::Nothing),
            (Self::Pause { then, .. }, Outcome::Rested) => (*then, Step::Nothing),
            (state, outcome) => unreachable!("{outcome:?} cannot come of {state:?}"),
        }
    }
}

/// How long the given attempt waits; `chance` is in 0..1.
pub fn pause(attempt: u32, chance: f64) -> Duration {
    let factor = 2u32.saturating_pow(attempt.saturating_sub(1).min(16));
    FIRST_PAUSE.saturating_mul(factor).min(LONGEST_PAUSE).mul_f64(1.0 + chance)
}

/// Where objects come from: the apiserver, or a test.
pub trait Source<T>: Send + Sync + 'static {
    type Events: Stream<Item = Result<WatchEvent<T>, Error>> + Send + Unpin;

    /// One page; each object is handed out as it is decoded.
    fn list(
        &self,
        options: &ListOptions,
        each: impl FnMut(T) + Send,
    ) -> impl Future<Output = Result<api_types::meta::v1::ListMeta, Error>> + Send;

    fn watch(&self, options: &ListOptions) -> impl Future<Output = Result<Self::Events, Error>> + Send;
}

impl<T: Resource> Source<T> for Api<T> {
    type Events = crate::watch::WatchStream<T>;

    fn list(
        &self,
        options: &ListOptions,
        each: impl FnMut(T) + Send,
    ) -> impl Future<Output = Result<api_types::meta::v1::ListMeta, Error>> + Send {
        self.list_each(options, each)
    }

    fn watch(&self, options: &ListOptions) -> impl Future<Output = Result<Self::Events, Error>> + Send {
        Self::watch(self, options)
    }
}

/// What is kept of an object, if anything.
type Project<T, P> = Box<dyn Fn(T) -> Option<P> + Send + Sync>;

/// Fills one store from one source.
pub struct Reflector<S, T, P: 'static> {
    source: S,
    store: Arc<Store<P>>,
    selection: ListOptions,
    project: Project<T, P>,
    /// For the log.
    what: String,
    clock: SharedClock,
    collected: Vec<(Key, Facts, P)>,
}

impl<S: Source<T>, T: Resource, P: Send + Sync + 'static> Reflector<S, T, P> {
    pub fn new(
        source: S,
        store: Arc<Store<P>>,
        selection: ListOptions,
        project: impl Fn(T) -> Option<P> + Send + Sync + 'static,
        what: String,
        clock: SharedClock,
    ) -> Self {
        Self { source, store, selection, project: Box::new(project), what, clock, collected: Vec::new() }
    }

    /// Follows the source until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        shutdown.unless(self.follow()).await;
    }

    async fn follow(&mut self) {
        let (mut state, mut attempt) = (State::start(), 0);
        loop {
            let outcome = self.perform(&state).await;
            attempt = match outcome {
                Outcome::Failed { revision: None } | Outcome::Expired => attempt + 1,
                // The watch did run: a new count.
                Outcome::Failed { revision: Some(_) } => 1,
                Outcome::Rested => attempt,
                Outcome::Page { .. } | Outcome::Ended { .. } => 0,
            };
            let at = match &outcome {
                Outcome::Page { revision, .. } => revision.clone(),
                _ => String::new(),
            };
            let (next, step) = state.next(outcome, attempt);
            match step {
                Step::Replace => self.store.replace(std::mem::take(&mut self.collected), revision(&at)),
                Step::Discard => self.collected.clear(),
                Step::Collect | Step::Nothing => {}
            }
            state = next;
        }
    }

    async fn perform(&mut self, state: &State) -> Outcome {
        match state {
            State::List { at, token } => self.list(at, token).await,
            State::Watch { from } => self.watch(from).await,
            State::Pause { attempt, .. } => {
                self.clock.sleep(pause(*attempt, fastrand::f64())).await;
                Outcome::Rested
            }
        }
    }

    async fn list(&mut self, at: &str, token: &str) -> Outcome {
        let options = ListOptions {
            limit: PAGE,
            // A page that goes on stays at the first page's revision by its token.
            resource_version: if token.is_empty() { at.to_owned() } else { String::new() },
            continue_: token.to_owned(),
            ..self.selection.clone()
        };
        let (project, collected) = (&self.project, &mut self.collected);
        let each = |object: T| {
            let (key, facts) = (Key::of(object.metadata()), Facts::of(object.metadata()));
            if let Some(value) = project(object) {
                collected.push((key, facts, value));
            }
        };
        match self.source.list(&options, each).await {
            Ok(meta) => Outcome::Page { revision: meta.resource_version, token: meta.continue_ },
            Err(error) => self.outcome_of(&error, None, "list"),
        }
    }

    async fn watch(&mut self, from: &str) -> Outcome {
        let options = ListOptions {
            resource_version: from.to_owned(),
            allow_watch_bookmarks: true,
            // Spread over minutes, so that watches do not all end at once.
            timeout_seconds: Some(fastrand::i64(300..600)),
            ..self.selection.clone()
        };
        let mut events = match self.source.watch(&options).await {
            Ok(events) => events,
            Err(error) => return self.outcome_of(&error, None, "watch"),
        };
        let mut seen: Option<String> = None;
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(WatchEvent::Error(status)) => Err(Error::Status(status)),
                event => event,
            };
            match event {
                Ok(event) => seen = Some(self.apply(event)),
                Err(error) => return self.outcome_of(&error, seen, "watch"),
            }
        }
        match seen {
            Some(revision) => Outcome::Ended { revision },
            // A server that ends watches at once must not be asked in a tight loop.
            None => Outcome::Failed { revision: None },
        }
    }

    /// Applies one event and gives its revision.
    fn apply(&mut self, event: WatchEvent<T>) -> String {
        let (object, there) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => (object, true),
            WatchEvent::Deleted(object) => (object, false),
            WatchEvent::Bookmark(object) => {
                let at = object.metadata().resource_version.clone();
                self.store.advance(revision(&at));
                return at;
            }
            WatchEvent::Error(_) => unreachable!("the caller turned it into an error"),
        };
        let meta = object.metadata();
        let (key, facts, at) = (Key::of(meta), Facts::of(meta), meta.resource_version.clone());
        let value = if there { (self.project)(object) } else { None };
        self.store.apply(key, facts, value);
        at
    }

    fn outcome_of(&self, error: &Error, seen: Option<String>, verb: &str) -> Outcome {
        let what = &self.what;
        if error.is_gone() {
            tracing::debug!(what, verb, "The revision is too old, listing again");
            return Outcome::Expired;
        }
        if let Error::Decode { .. } = error {
            tracing::error!(what, verb, error = error_chain(error), "Unreadable object, listing again");
            return Outcome::Expired;
        }
        tracing::warn!(what, verb, error = error_chain(error), "Cannot follow the server, trying again");
        Outcome::Failed { revision: seen }
    }
}
