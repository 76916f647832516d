//! What a plan is made of: steps, each of actions on objects of any kind, with the events that tell of them.

use std::convert::Infallible;
use std::time::Duration;

use api_types::core::v1::ObjectReference;
use api_types::kind::{Kind, Object, Resource};
use api_types::meta::v1::DeleteOptions;

use super::hands::Failure;
use crate::api::Patch;
use crate::events::{NORMAL, WARNING};
use crate::key::Key;

/// What to do, in order, and when to look again.
#[derive(Debug)]
pub struct Plan<O = Infallible> {
    pub steps: Vec<Step<O>>,
    /// Look at the key again after this long, even if nothing changes.
    pub again: Option<Duration>,
}

/// One part of a plan. A step that fails ends the plan; the key is tried again.
#[derive(Debug)]
pub enum Step<O = Infallible> {
    Do(Action),
    /// 1, 2, 4, 8 … at a time, ending with the first round that has failures: a quota or a broken
    /// template costs one failing request and not hundreds.
    SlowStart(Vec<Action>),
    /// All at once; every one is tried.
    Together(Vec<Action>),
    /// An event alone.
    Tell(Box<Told>),
    Own(O),
}

impl<O> Default for Plan<O> {
    fn default() -> Self {
        Self::nothing()
    }
}

impl<O> Plan<O> {
    pub fn nothing() -> Self {
        Self { steps: Vec::new(), again: None }
    }

    /// Adds an action.
    pub fn act(&mut self, action: Action) -> &mut Self {
        self.steps.push(Step::Do(action));
        self
    }

    /// Adds an event.
    pub fn tell(&mut self, told: Told) -> &mut Self {
        self.steps.push(Step::Tell(Box::new(told)));
        self
    }

    /// Adds a step.
    pub fn step(&mut self, step: Step<O>) -> &mut Self {
        self.steps.push(step);
        self
    }

    /// Looks again after `delay`, or earlier if another part of the plan wants that.
    pub fn look_again(&mut self, delay: Duration) -> &mut Self {
        self.again = Some(self.again.map_or(delay, |known| known.min(delay)));
        self
    }

    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty() && self.again.is_none()
    }

    /// All actions, whatever step they are in: for tests and logs.
    pub fn actions(&self) -> Vec<&Action> {
        self.steps
            .iter()
            .flat_map(|step| match step {
                Step::Do(action) => std::slice::from_ref(action),
                Step::SlowStart(actions) | Step::Together(actions) => actions.as_slice(),
                Step::Tell(_) | Step::Own(_) => &[],
            })
            .collect()
    }
}

/// Something done to an object, and what is told about it.
#[derive(Debug)]
pub struct Action {
    pub effect: Effect,
    pub on_success: Option<Box<Told>>,
    pub on_failure: Option<Box<Told>>,
}

/// What is done.
pub enum Effect {
    Create(Box<dyn Object>),
    /// PUT of the object, or of its named subresource.
    Update(Box<dyn Object>, Option<&'static str>),
    Patch {
        target: Target,
        subresource: Option<&'static str>,
        patch: Patch,
    },
    Delete {
        target: Target,
        options: Box<DeleteOptions>,
    },
}

/// An existing object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub kind: &'static Kind,
    pub key: Key,
    /// A delete takes this as its precondition; empty takes any object of the name.
    pub uid: Box<str>,
}

impl Target {
    pub fn new<T: Resource>(key: Key, uid: &str) -> Self {
        Self { kind: T::facts(), key, uid: uid.into() }
    }

    pub fn of(object: &dyn Object) -> Self {
        Self { kind: object.kind(), key: Key::of(object.meta()), uid: object.meta().uid.as_str().into() }
    }
}

/// An event: `{name}` in the message becomes the written object's name, `{error}` the failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub regarding: ObjectReference,
    pub type_: &'static str,
    pub reason: &'static str,
    pub message: String,
}

impl Told {
    pub fn normal(regarding: ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        Self { regarding, type_: NORMAL, reason, message: message.into() }
    }

    pub fn warning(regarding: ObjectReference, reason: &'static str, message: impl Into<String>) -> Self {
        Self { regarding, type_: WARNING, reason, message: message.into() }
    }
}

impl Action {
    fn new(effect: Effect) -> Self {
        Self { effect, on_success: None, on_failure: None }
    }

    pub fn create<T: Object>(object: T) -> Self {
        Self::new(Effect::Create(Box::new(object)))
    }

    pub fn update<T: Object>(object: T) -> Self {
        Self::new(Effect::Update(Box::new(object), None))
    }

    pub fn update_status<T: Object>(object: T) -> Self {
        Self::new(Effect::Update(Box::new(object), Some("status")))
    }

    /// PUT to a subresource.
    pub fn update_part<T: Object>(object: T, subresource: &'static str) -> Self {
        Self::new(Effect::Update(Box::new(object), Some(subresource)))
    }

    pub fn patch(target: Target, patch: Patch) -> Self {
        Self::new(Effect::Patch { target, subresource: None, patch })
    }

    pub fn patch_status(target: Target, patch: Patch) -> Self {
        Self::new(Effect::Patch { target, subresource: Some("status"), patch })
    }

    /// Deletes exactly the target: its UID is the precondition.
    pub fn delete(target: Target) -> Self {
        Self::delete_with(target, DeleteOptions::default())
    }

    pub fn delete_with(target: Target, options: DeleteOptions) -> Self {
        Self::new(Effect::Delete { target, options: Box::new(options) })
    }

    #[must_use]
    pub fn on_success(mut self, told: Told) -> Self {
        self.on_success = Some(Box::new(told));
        self
    }

    #[must_use]
    pub fn on_failure(mut self, told: Told) -> Self {
        self.on_failure = Some(Box::new(told));
        self
    }
}

impl Effect {
    /// The object that is created or updated, typed.
    pub fn object<T: Resource>(&self) -> Option<&T> {
        match self {
            Self::Create(object) | Self::Update(object, _) => object.as_any().downcast_ref(),
            Self::Patch { .. } | Self::Delete { .. } => None,
        }
    }

    /// What is done to what, in a few words.
    pub fn describe(&self) -> String {
        let object = |object: &dyn Object| {
            let meta = object.meta();
            let name = if meta.name.is_empty() { &meta.generate_name } else { &meta.name };
            format!("{} {}", object.kind().kind, Key::new(meta.namespace.as_str(), name.as_str()))
        };
        let part = |subresource: &Option<&str>| subresource.map(|s| format!("/{s}")).unwrap_or_default();
        match self {
            Self::Create(o) => format!("create {}", object(&**o)),
            Self::Update(o, subresource) => format!("update{} {}", part(subresource), object(&**o)),
            Self::Patch { target, subresource, .. } => {
                format!("patch{} {} {}", part(subresource), target.kind.kind, target.key)
            }
            Self::Delete { target, .. } => format!("delete {} {}", target.kind.kind, target.key),
        }
    }
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

/// What became of a plan.
#[derive(Default)]
pub struct Outcome {
    /// Objects as the server stored them, in the order of the actions that wrote them.
    pub written: Vec<Box<dyn Object>>,
    /// Actions done, deletes and patches included.
    pub done: usize,
    pub failures: Vec<Failure>,
    /// When an action of the controller's own wants the key looked at again.
    pub again: Option<Duration>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome")
            .field("done", &self.done)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
