//! Runs the plugins, one after another.

use super::table::Chosen;
use super::{Context, Operation, Plugin, Refusal, Request, escalation::Escalation, metrics};
use crate::authz::Authorizer;
use crate::status::ApiError;
use crate::views::{CatchUp, Views};
use daemon::clock::SharedClock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at something that somebody is about to make.
const PAUSE: Duration = Duration::from_millis(150);

/// The plugins that are on, and what they decide from.
pub struct Chain {
    plugins: Vec<Chosen>,
    views: Arc<Views>,
    fresh: Arc<dyn CatchUp>,
    authorizer: Arc<dyn Authorizer>,
    clock: SharedClock,
}

impl Chain {
    /// `plugins` in their order, as [`super::chosen`] gives them.
    pub fn new(
        mut plugins: Vec<Chosen>,
        views: Arc<Views>,
        fresh: Arc<dyn CatchUp>,
        authorizer: Arc<dyn Authorizer>,
        clock: SharedClock,
    ) -> Self {
        // Upstream has it in the storage of its kinds: no flag turns it off.
        plugins.insert(0, ("RoleEscalation", Box::new(Escalation)));
        Self { plugins, views, fresh, authorizer, clock }
    }

    /// Whether a plugin is on.
    pub fn has(&self, name: &str) -> bool {
        self.plugins.iter().any(|(own, _)| *own == name)
    }

    /// Lets the plugins change the object. The object has its defaults and is not validated yet.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        self.run("admit", request, |plugin, request, context| plugin.admit(request, context)).await
    }

    /// Lets the plugins check the object as it will be stored. Adds warnings to the request.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        self.run("validate", request, |plugin, request, context| {
            plugin.validate(request, context)?;
            let warnings = plugin.warnings(request, context);
            request.warnings.extend(warnings);
            Ok(())
        })
        .await
    }

    async fn run(
        &self,
        phase: &str,
        request: &mut Request<'_>,
        part: fn(&dyn Plugin, &mut Request<'_>, Context<'_>) -> Result<(), Refusal>,
    ) -> Result<(), ApiError> {
        let operation = request.operation;
        let step = Instant::now();
        let mut result = Ok(());
        for (name, plugin) in self.interested(operation) {
            let started = Instant::now();
            let mut attempt = 0;
            while let Err(refusal) = part(plugin, request, self.context()) {
                result = self.again(refusal, attempt).await;
                if result.is_err() {
                    break;
                }
                attempt += 1;
            }
            metrics::plugin(name, phase, operation, result.is_err(), started.elapsed().as_secs_f64());
            if result.is_err() {
                break;
            }
        }
        metrics::step(phase, operation, result.is_err(), step.elapsed().as_secs_f64());
        result
    }

    fn context(&self) -> Context<'_> {
        Context { views: &self.views, policy: &self.views.policy, authorizer: &*self.authorizer }
    }

    fn interested(&self, operation: Operation) -> impl Iterator<Item = (&'static str, &dyn Plugin)> {
        let all = self.plugins.iter().map(|(name, plugin)| (*name, &**plugin));
        all.filter(move |(_, plugin)| plugin.handles(operation))
    }

    /// Returns when it makes sense to ask again, after `attempt` repeats.
    async fn again(&self, refusal: Refusal, attempt: u32) -> Result<(), ApiError> {
        match refusal {
            Refusal::Missing { waits, .. } if attempt <= waits => {
                if attempt > 0 {
                    self.clock.sleep(PAUSE).await;
                }
                self.fresh.catch_up().await;
                Ok(())
            }
            refusal => Err(refusal.into_error()),
        }
    }
}
