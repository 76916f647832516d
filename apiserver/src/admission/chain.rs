//! Runs the plugins, one after another.

use super::table::Chosen;
use super::webhook::{self, Rounds, Webhooks};
use super::{Context, Operation, Plugin, Refusal, Request, escalation::Escalation, metrics};
use crate::authz::Authorizer;
use crate::policies::{self, Policies};
use crate::status::ApiError;
use crate::views::{CatchUp, Views};
use daemon::clock::SharedClock;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks at something that somebody is about to make.
const PAUSE: Duration = Duration::from_millis(150);
/// How long a write waits for the views to be filled for the first time.
const READY_PATIENCE: Duration = Duration::from_secs(10);

/// The plugins that are on, and what they decide from.
pub struct Chain {
    plugins: Vec<Chosen>,
    views: Arc<Views>,
    fresh: Arc<dyn CatchUp>,
    authorizer: Arc<dyn Authorizer>,
    clock: SharedClock,
    /// None in tests of plugins.
    webhooks: Option<Webhooks>,
    /// None in tests of plugins.
    policies: Option<Policies>,
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
        Self { plugins, views, fresh, authorizer, clock, webhooks: None, policies: None }
    }

    /// Asks webhooks, too, as far as their plugins are on.
    #[must_use]
    pub fn with_webhooks(self, webhooks: Webhooks) -> Self {
        Self { webhooks: Some(webhooks), ..self }
    }

    /// Asks policies, too, as far as their plugins are on.
    #[must_use]
    pub fn with_policies(self, policies: Policies) -> Self {
        Self { policies: Some(policies), ..self }
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
        let step = Instant::now();
        let result = self.rounds(request).await;
        metrics::step("admit", request.operation, result.is_err(), step.elapsed().as_secs_f64());
        result
    }

    /// Plugins, then policies, then webhooks; and once more if those changed something, for those who care.
    async fn rounds(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let (mut by_policies, mut by_webhooks) = (Rounds::default(), Rounds::default());
        loop {
            self.run("admit", request, |plugin, request, context| plugin.admit(request, context)).await?;
            if let Some(policies) = self.policies(policies::MUTATING) {
                let started = Instant::now();
                let asked = policies.mutate(request, &*self.authorizer, &mut by_policies);
                let (operation, seconds) = (request.operation, started.elapsed().as_secs_f64());
                metrics::plugin(policies::MUTATING, "admit", operation, asked.is_err(), seconds);
                asked?;
            }
            if let Some(webhooks) = self.asks(webhook::MUTATING) {
                self.ready(request).await?;
                let (views, fresh) = (&self.views, &*self.fresh);
                let started = Instant::now();
                let asked = webhooks.mutate(request, views, fresh, &*self.authorizer, &mut by_webhooks).await;
                let (operation, seconds) = (request.operation, started.elapsed().as_secs_f64());
                metrics::plugin(webhook::MUTATING, "admit", operation, asked.is_err(), seconds);
                asked?;
            }
            if by_webhooks.second || !(by_webhooks.changed || by_policies.changed) {
                return Ok(());
            }
            (by_webhooks.second, by_policies.second) = (true, true);
        }
    }

    fn policies(&self, name: &str) -> Option<&Policies> {
        self.policies.as_ref().filter(|_| self.has(name))
    }

    fn asks(&self, name: &str) -> Option<&Webhooks> {
        self.webhooks.as_ref().filter(|_| self.has(name))
    }

    /// Nothing passes before it is known what webhooks there are.
    async fn ready(&self, request: &Request<'_>) -> Result<(), ApiError> {
        if self.fresh.is_filled() || tokio::time::timeout(READY_PATIENCE, self.fresh.filled()).await.is_ok() {
            return Ok(());
        }
        Err(request.forbidden("not yet ready to handle request"))
    }

    /// Lets the plugins check the object as it will be stored. Adds warnings to the request.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        let step = Instant::now();
        let result = self.checks(request).await;
        metrics::step("validate", request.operation, result.is_err(), step.elapsed().as_secs_f64());
        result
    }

    async fn checks(&self, request: &mut Request<'_>) -> Result<(), ApiError> {
        self.run("validate", request, |plugin, request, context| {
            plugin.validate(request, context)?;
            let warnings = plugin.warnings(request, context);
            request.warnings.extend(warnings);
            Ok(())
        })
        .await?;
        if let Some(policies) = &self.policies {
            policies.check_access(request, &*self.authorizer)?;
        }
        if let Some(policies) = self.policies(policies::VALIDATING) {
            let started = Instant::now();
            let asked = policies.validate(request, &*self.authorizer);
            let (operation, seconds) = (request.operation, started.elapsed().as_secs_f64());
            metrics::plugin(policies::VALIDATING, "validate", operation, asked.is_err(), seconds);
            asked?;
        }
        let Some(webhooks) = self.asks(webhook::VALIDATING) else { return Ok(()) };
        self.ready(request).await?;
        let started = Instant::now();
        let asked = webhooks.validate(request, &self.views, &*self.fresh, &*self.authorizer).await;
        let (operation, seconds) = (request.operation, started.elapsed().as_secs_f64());
        metrics::plugin(webhook::VALIDATING, "validate", operation, asked.is_err(), seconds);
        asked
    }

    async fn run(
        &self,
        phase: &str,
        request: &mut Request<'_>,
        part: fn(&dyn Plugin, &mut Request<'_>, Context<'_>) -> Result<(), Refusal>,
    ) -> Result<(), ApiError> {
        let operation = request.operation;
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
