//! Runs the plugins, one after another.

use super::{Context, Operation, Plugin, Refusal, Request, escalation::Escalation};
use crate::authz::Authorizer;
use crate::status::ApiError;
use crate::views::{CatchUp, Views};
use daemon::clock::SharedClock;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks at something that somebody is about to make.
const PAUSE: Duration = Duration::from_millis(150);

/// The plugins that are on, and what they decide from.
pub struct Chain {
    plugins: Vec<Box<dyn Plugin>>,
    views: Arc<Views>,
    fresh: Arc<dyn CatchUp>,
    authorizer: Arc<dyn Authorizer>,
    clock: SharedClock,
}

impl Chain {
    /// `plugins` in their order, as [`super::chosen`] gives them.
    pub fn new(
        mut plugins: Vec<Box<dyn Plugin>>,
        views: Arc<Views>,
        fresh: Arc<dyn CatchUp>,
        authorizer: Arc<dyn Authorizer>,
        clock: SharedClock,
    ) -> Self {
        // Upstream has it in the storage of its kinds: no flag turns it off.
        plugins.insert(0, Box::new(Escalation));
        Self { plugins, views, fresh, authorizer, clock }
    }

    /// Lets the plugins change the object. The object has its defaults and is not validated yet.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        for plugin in self.interested(request.operation) {
            let mut attempt = 0;
            while let Err(refusal) = plugin.admit(request, self.context()) {
                self.again(refusal, attempt).await?;
                attempt += 1;
            }
        }
        Ok(())
    }

    /// Lets the plugins check the object as it will be stored. Adds warnings to the request.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        for plugin in self.interested(request.operation) {
            let mut attempt = 0;
            while let Err(refusal) = plugin.validate(request, self.context()) {
                self.again(refusal, attempt).await?;
                attempt += 1;
            }
            let warnings = plugin.warnings(request, self.context());
            request.warnings.extend(warnings);
        }
        Ok(())
    }

    fn context(&self) -> Context<'_> {
        Context { views: &self.views, policy: &self.views.policy, authorizer: &*self.authorizer }
    }

    fn interested(&self, operation: Operation) -> impl Iterator<Item = &dyn Plugin> {
        self.plugins.iter().map(|plugin| &**plugin).filter(move |plugin| plugin.handles(operation))
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
