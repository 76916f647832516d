//! What a round does.
//!
//! In order means: a pod is created once all with lower numbers are ready, deleted once all with
//! higher numbers are gone, and one thing is done at a time. In parallel, nothing waits.

use std::sync::Arc;
use std::time::Duration;

use api_types::apps::v1::{StatefulSet, StatefulSetUpdateStrategyType};
use api_types::core::v1::{Pod, PodPhase};
use api_types::meta::v1::ObjectMeta;
use client::controller::{Action, Plan, Step, Target, Told};
use client::{Key, Patch};
use jiff::Timestamp;
use serde_json::json;

use super::crew::{self, Crew, Member, POD_INDEX, POD_NAME};
use super::revision::{self, Revisions};
use super::{Own, View, claims};
use crate::adoption::{self, Adoption, Candidate};
use crate::cached::{Owner, PodFacts, controller_reference};

/// How long a pod waits for a claim that is being deleted.
const CLAIM_GOES: Duration = Duration::from_secs(5);

/// Whether a round went to its end, or something has to come first.
#[derive(PartialEq)]
enum Progress {
    On,
    Wait,
}

pub(super) fn plan(view: &View, now: Timestamp) -> Plan<Own> {
    let mut plan = Plan::nothing();
    let set = &view.set;
    let revisions = adopted_revisions(view);
    if !revisions.is_nothing() {
        plan.step(Step::Own(Own::Revisions(revisions)));
    }
    let (pods, adoption) = claimed(view);
    if !adoption.is_nothing() {
        plan.step(Step::Own(Own::Pods(adoption)));
    }
    let mut found = revision::find(view);
    if let Some(write) = found.write.take() {
        plan.act(write);
    }
    if set.metadata.deletion_timestamp.is_none() {
        let crew = Crew::of(set, &pods);
        let mut round = Round { view, found: &found, crew: &crew, now, plan: &mut plan };
        if round.replicas() == Progress::On && round.condemned() == Progress::On {
            round.update();
        }
    }
    for delete in revision::surplus(view, &found) {
        plan.act(delete);
    }
    plan
}

/// The pods that the StatefulSet claims: selected, and named after it.
pub(super) fn claimed(view: &View) -> (Vec<&(Key, Arc<PodFacts>)>, Adoption) {
    let set = &view.set;
    let member = |key: &Key| crew::ordinal_of(set, &key.name).is_some();
    adoption::claim_if::<StatefulSet>(&set.metadata, set.spec.selector.as_deref(), view.pods.iter(), member)
}

fn adopted_revisions(view: &View) -> Adoption {
    let set = &view.set;
    let keyed: Vec<_> =
        view.revisions.iter().map(|r| (Key::of(&r.metadata), r, Owner::of(&r.metadata))).collect();
    let candidates = keyed.iter().map(|(key, revision, owner)| Candidate {
        key,
        uid: &revision.metadata.uid,
        labels: &revision.metadata.labels,
        owner: owner.as_ref().map(|o| &*o.uid),
        deleting: revision.metadata.deletion_timestamp.is_some(),
    });
    let reference = controller_reference::<StatefulSet>(&set.metadata);
    let (_, adoption) = adoption::decide(&set.metadata, reference, set.spec.selector.as_deref(), candidates);
    Adoption { release: Vec::new(), ..adoption }
}

struct Round<'a> {
    view: &'a View,
    found: &'a Revisions,
    crew: &'a Crew<'a>,
    now: Timestamp,
    plan: &'a mut Plan<Own>,
}

impl Round<'_> {
    fn set(&self) -> &StatefulSet {
        &self.view.set
    }

    /// Creates what is missing, replaces what has ended, mends what differs.
    fn replicas(&mut self) -> Progress {
        let ordered = !crew::in_parallel(self.set());
        let (mut claims, mut pods, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        let mut progress = Progress::On;
        for (ordinal, member) in crew::range(self.set()).zip(&self.crew.wanted) {
            let Some(member) = member else {
                match self.creation(ordinal) {
                    Some((own, pod)) => {
                        claims.extend(own);
                        pods.push(pod);
                    }
                    None => progress = Progress::Wait,
                }
                if ordered {
                    progress = Progress::Wait;
                    break;
                }
                continue;
            };
            if matches!(member.pod.phase, PodPhase::Failed | PodPhase::Succeeded) {
                if !member.is_going() {
                    ended.push(self.deletion(*member));
                }
                if ordered {
                    progress = Progress::Wait;
                    break;
                }
                continue;
            }
            if member.pod.phase == PodPhase::Pending {
                claims.extend(claims::missing(self.view, &member.key.name, ordinal));
            }
            let settled = !member.is_going()
                && member.is_running_and_ready()
                && member.is_available(&self.view.set, self.now);
            if ordered && !settled {
                progress = Progress::Wait;
                break;
            }
            self.mend(*member);
        }
        for actions in [claims, ended] {
            if !actions.is_empty() {
                self.plan.step(Step::Together(actions));
            }
        }
        if !pods.is_empty() {
            self.plan.step(Step::SlowStart(pods));
        }
        progress
    }

    /// What creates a pod: its claims, and itself. `None` while it has to wait.
    fn creation(&mut self, ordinal: i32) -> Option<(Vec<Action>, Action)> {
        let (set, view) = (&self.view.set, self.view);
        let pod = crew::new_pod(set, self.found, ordinal);
        let name = pod.metadata.name.clone();
        let nobody = ObjectMeta { name: name.clone(), ..ObjectMeta::default() };
        if claims::stale(view, &nobody, ordinal) {
            self.plan.look_again(CLAIM_GOES);
            return None;
        }
        let what = format!("Create Pod {name} in StatefulSet {}", set.metadata.name);
        if let Some(claim) = claims::going(view, ordinal) {
            let message = format!("{what} failed error: pvc {} is being deleted", claim.metadata.name);
            self.plan.tell(Told::warning(view.reference(), "FailedCreate", message));
            self.plan.look_again(CLAIM_GOES);
            return None;
        }
        let failed = format!("{what} failed error: {{error}}");
        let create = Action::create(pod)
            .on_success(Told::normal(view.reference(), "SuccessfulCreate", format!("{what} successful")))
            .on_failure(Told::warning(view.reference(), "FailedCreate", failed));
        Some((claims::missing(view, &name, ordinal), create))
    }

    fn deletion(&self, member: Member<'_>) -> Action {
        let what = format!("Delete Pod {} in StatefulSet {}", member.key.name, self.set().metadata.name);
        let failed = format!("{what} failed error: {{error}}");
        let reference = || self.view.reference();
        Action::delete(Target::new::<Pod>(member.key.clone(), &member.pod.uid))
            .on_success(Told::normal(reference(), "SuccessfulDelete", format!("{what} successful")))
            .on_failure(Told::warning(reference(), "FailedDelete", failed))
    }

    /// Gives a pod the labels, volumes and owners of claims that it should have.
    fn mend(&mut self, member: Member<'_>) {
        let set = &self.view.set;
        let what = format!("Update Pod {} in StatefulSet {}", member.key.name, set.metadata.name);
        let told = Told::normal(self.view.reference(), "SuccessfulUpdate", format!("{what} successful"));
        let mut reowned: Vec<_> = claims::reowned(self.view, &member.meta(), member.ordinal)
            .into_iter()
            .map(Action::update)
            .collect();
        // COMPAT: of claims that get other owners upstream tells as of an update of their pod.
        if let Some(last) = reowned.pop() {
            reowned.push(last.on_success(told.clone()));
        }
        for action in reowned {
            self.plan.act(action);
        }
        let (named, stored) = (member.is_named(), member.has_storage(set));
        if named && stored {
            return;
        }
        let name = &*member.key.name;
        let mut patch = json!({ "metadata": { "uid": &*member.pod.uid, "labels": {
            POD_NAME: name, POD_INDEX: member.ordinal.to_string(),
        }}});
        if !stored {
            let volumes = set.spec.volume_claim_templates.iter().map(|template| {
                let claim = claims::name(set, template, member.ordinal);
                json!({ "name": template.metadata.name, "persistentVolumeClaim": { "claimName": claim } })
            });
            patch["spec"] = json!({ "volumes": volumes.collect::<Vec<_>>() });
        }
        let failed = format!("{what} failed error: {{error}}");
        let target = Target::new::<Pod>(member.key.clone(), &member.pod.uid);
        let update = Action::patch(target, Patch::Strategic(patch))
            .on_success(told)
            .on_failure(Told::warning(self.view.reference(), "FailedUpdate", failed));
        self.plan.act(update);
    }

    /// Deletes pods that are too many, the highest number first.
    fn condemned(&mut self) -> Progress {
        let ordered = !crew::in_parallel(self.set());
        for member in &self.crew.condemned {
            for claim in claims::reowned(self.view, &member.meta(), member.ordinal) {
                self.plan.act(Action::update(claim));
            }
        }
        let first_unwell = self.first_unavailable();
        let mut deletions = Vec::new();
        let mut progress = Progress::On;
        for member in &self.crew.condemned {
            let unwell = !member.is_running_and_ready() || !member.is_available(self.set(), self.now);
            if ordered && (member.is_going() || unwell && first_unwell != Some(member.ordinal)) {
                progress = Progress::Wait;
                break;
            }
            if !member.is_going() {
                deletions.push(self.deletion(*member));
                progress = if ordered { Progress::Wait } else { progress };
            }
            if ordered {
                break;
            }
        }
        if !deletions.is_empty() {
            self.plan.step(Step::SlowStart(deletions));
        }
        progress
    }

    /// The lowest number of an unavailable pod: of wanted ones (also those not yet there) before others.
    fn first_unavailable(&self) -> Option<i32> {
        let unwell = |m: &Member<'_>| m.is_going() || !m.is_available(self.set(), self.now);
        let mut wanted = crew::range(self.set()).zip(&self.crew.wanted);
        wanted
            .find(|(_, member)| member.as_ref().is_none_or(unwell))
            .map(|(ordinal, _)| ordinal)
            .or_else(|| self.crew.condemned.iter().rev().find(|m| unwell(m)).map(|m| m.ordinal))
    }

    /// Deletes pods of an older template, the highest number first, as far as availability allows.
    fn update(&mut self) {
        let strategy = &self.set().spec.update_strategy;
        if strategy.type_ == StatefulSetUpdateStrategyType::OnDelete {
            return;
        }
        let update = strategy.rolling_update.as_deref();
        let partition = usize::try_from(update.and_then(|u| u.partition).unwrap_or(0)).unwrap_or(0);
        let unavailable = |member: &Option<Member<'_>>| {
            member.as_ref().is_none_or(|m| m.is_going() || !m.is_available(self.set(), self.now))
        };
        let new = self.found.update.metadata.name.as_str();
        let outdated = |member: &Member<'_>| member.revision() != new && !member.is_going();
        let candidates = self.crew.wanted.iter().skip(partition).rev();
        let mut deletions = Vec::new();
        match update.and_then(|u| u.max_unavailable.as_ref()) {
            Some(limit) => {
                let limit = limit.scaled(crew::replicas(self.set()), false).unwrap_or(1).max(1);
                let limit = usize::try_from(limit).unwrap_or(1);
                let down = self.crew.wanted.iter().filter(|m| unavailable(m)).count();
                let old = candidates.flatten().filter(|m| outdated(m));
                deletions.extend(old.take(limit.saturating_sub(down)).map(|m| self.deletion(*m)));
            }
            None => {
                for member in candidates {
                    if let Some(member) = member.filter(outdated) {
                        deletions.push(self.deletion(member));
                        break;
                    }
                    if unavailable(member) {
                        break;
                    }
                }
            }
        }
        for deletion in deletions {
            self.plan.act(deletion);
        }
    }
}
