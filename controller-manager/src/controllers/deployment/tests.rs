//! Views in, actions out; and whole rollouts, played round by round.

use std::collections::BTreeMap;
use std::sync::Arc;

use api_types::IntOrString;
use api_types::apps::v1::{
    Deployment, DeploymentCondition, DeploymentConditionType, DeploymentStrategyType, ReplicaSet,
    RollingUpdateDeployment,
};
use api_types::meta::v1::{ConditionStatus, LabelSelector, Status, StatusReason};
use api_types::value::Time;
use client::Error;
use client::controller::{Controller as _, Effect, Failure, Outcome, Plan, Step};
use jiff::Timestamp;

use super::scale::size;
use super::{Deployments, View, revision};
use crate::adoption::Adoption;
use crate::cached::ReplicaSetObject;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
    let value = |text: &str| match text.parse() {
        Ok(number) => IntOrString::Int(number),
        Err(_) => IntOrString::String(text.into()),
    };
    let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let mut d = Deployment::default();
    d.metadata.namespace = "ns".into();
    d.metadata.name = "web".into();
    d.metadata.uid = "d-uid".into();
    d.metadata.generation = 1;
    d.spec.replicas = Some(replicas);
    d.spec.selector = Some(Box::new(LabelSelector { match_labels: labels.clone(), ..Default::default() }));
    d.spec.template.metadata.labels = labels;
    d.spec.progress_deadline_seconds = Some(600);
    d.spec.revision_history_limit = Some(10);
    d.spec.strategy.type_ = DeploymentStrategyType::RollingUpdate;
    d.spec.strategy.rolling_update = Some(Box::new(RollingUpdateDeployment {
        max_surge: Some(value(surge)),
        max_unavailable: Some(value(unavailable)),
    }));
    d
}

fn set_image(d: &mut Deployment, image: &str) {
    d.spec.template.spec.hostname = image.into();
    d.metadata.generation += 1;
}

/// A cluster of one Deployment, whose ReplicaSets do at once what they are told.
struct World {
    view: View,
    second: i64,
    events: Vec<String>,
    /// Pods do not become available.
    broken: bool,
}

impl World {
    fn new(deployment: Deployment) -> Self {
        let view = View { deployment, ..View::default() };
        Self { view, second: 0, events: Vec::new(), broken: false }
    }

    fn plan(&self) -> Plan<Adoption> {
        Deployments::plan(&self.view, at(self.second))
    }

    /// One round of the controller; what it wrote becomes the view. Tells whether it wrote anything.
    fn round(&mut self) -> bool {
        self.second += 1;
        let plan = self.plan();
        let seen = self.view.clone();
        let mut outcome = Outcome::default();
        let mut wrote = self.apply(plan, &mut outcome);
        let last = Deployments::conclude(&seen, &outcome, at(self.second));
        wrote |= self.apply(last, &mut Outcome::default());
        wrote
    }

    fn apply(&mut self, plan: Plan<Adoption>, outcome: &mut Outcome) -> bool {
        let mut wrote = false;
        for step in plan.steps {
            let actions = match step {
                Step::Do(action) => vec![action],
                Step::Together(actions) | Step::SlowStart(actions) => actions,
                Step::Tell(told) => {
                    self.events.push(told.message.clone());
                    continue;
                }
                Step::Own(_) => continue,
            };
            for action in actions {
                wrote = true;
                self.events.extend(action.on_success.map(|told| told.message));
                match action.effect {
                    Effect::Create(o) | Effect::Update(o, _) if o.as_any().is::<ReplicaSet>() => {
                        self.store(o.as_any().downcast_ref::<ReplicaSet>().unwrap().clone());
                    }
                    Effect::Update(o, part) => {
                        let given = o.as_any().downcast_ref::<Deployment>().unwrap().clone();
                        outcome.written.push(Box::new(given.clone()));
                        if part == Some("status") {
                            self.view.deployment.status = given.status;
                            self.view.deployment.metadata.annotations = given.metadata.annotations;
                        } else {
                            self.view.deployment.metadata = given.metadata;
                        }
                    }
                    Effect::Delete { target, .. } => {
                        self.view.sets.retain(|s| s.metadata.uid != *target.uid);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        wrote
    }

    fn store(&mut self, mut set: ReplicaSet) {
        if set.metadata.uid.is_empty() {
            set.metadata.uid = set.metadata.name.clone();
            set.metadata.creation_timestamp = Some(Time(at(self.second)));
        }
        set.metadata.generation += 1;
        self.view.sets.retain(|s| s.metadata.uid != set.metadata.uid);
        self.view.sets.push(Arc::new(ReplicaSetObject(set)));
    }

    /// The ReplicaSets reach their sizes; new pods become available unless they are broken.
    fn settle(&mut self, broken_image: &str) {
        let broken = self.broken;
        for set in &mut self.view.sets {
            let set = &mut Arc::make_mut(set).0;
            let works = !(broken && set.spec.template.spec.hostname == broken_image);
            let replicas = size(set);
            set.status.replicas = replicas;
            set.status.available_replicas = if works { replicas } else { 0 };
            set.status.ready_replicas = set.status.available_replicas;
            set.status.terminating_replicas = Some(0);
            set.status.observed_generation = set.metadata.generation;
        }
    }

    /// Rounds until nothing changes, checking after each that surge and availability hold.
    fn run(&mut self, broken_image: &str, most: i32, least: i32) {
        for _ in 0..200 {
            let wrote = self.round();
            let asked: i32 = self.view.sets.iter().map(|s| size(s)).sum();
            assert!(asked <= most, "{asked} pods, at most {most} allowed: {:?}", self.sizes());
            let kept: i32 = self.view.sets.iter().map(|s| size(s).min(s.status.available_replicas)).sum();
            assert!(kept >= least, "{kept} available, at least {least} needed: {:?}", self.sizes());
            if !wrote {
                return;
            }
            self.settle(broken_image);
        }
        panic!("the rollout does not come to rest: {:?}", self.sizes());
    }

    /// Revision and size of each ReplicaSet.
    fn sizes(&self) -> BTreeMap<i64, i32> {
        self.view.sets.iter().map(|s| (revision::revision_of(s).unwrap_or(0), size(s))).collect()
    }

    fn condition(&self, type_: &str) -> DeploymentCondition {
        let conditions = &self.view.deployment.status.conditions;
        conditions.iter().find(|c| c.type_ == *type_).cloned().unwrap_or_default()
    }
}

#[test]
fn a_new_deployment_gets_one_replica_set() {
    let mut world = World::new(deployment(3, "25%", "25%"));
    world.run("", 3, 0);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 3)]));
    let set = &world.view.sets[0];
    assert!(set.metadata.name.starts_with("web-"));
    let hash = &set.metadata.labels["pod-template-hash"];
    assert_eq!(set.spec.selector.as_ref().unwrap().match_labels["pod-template-hash"], *hash);
    assert_eq!(set.metadata.annotations[revision::DESIRED], "3");
    assert_eq!(set.metadata.annotations[revision::MAX], "4");
    assert_eq!(world.view.deployment.metadata.annotations[revision::REVISION], "1");
    assert_eq!(world.events, [format!("Scaled up replica set {} from 0 to 3", set.metadata.name)]);
    let progressing = world.condition("Progressing");
    assert_eq!(progressing.reason, "NewReplicaSetAvailable");
    assert_eq!(
        progressing.message,
        format!("ReplicaSet {:?} has successfully progressed.", set.metadata.name)
    );
    assert_eq!(world.condition("Available").reason, "MinimumReplicasAvailable");
}

#[test]
fn the_first_status_tells_of_the_new_replica_set() {
    let mut world = World::new(deployment(3, "1", "0"));
    world.round();
    assert_eq!(world.condition("Progressing").reason, "NewReplicaSetCreated");
    assert_eq!(world.condition("Available").status, ConditionStatus::False);
    assert_eq!(world.view.deployment.status.unavailable_replicas, 3);
}

#[test]
fn rollouts_stay_within_surge_and_availability() {
    for replicas in [1, 2, 3, 10] {
        for (surge, unavailable) in
            [("0", "1"), ("1", "0"), ("25%", "25%"), ("100%", "0"), ("0", "100%"), ("3", "2"), ("0", "1%")]
        {
            let mut d = deployment(replicas, surge, unavailable);
            set_image(&mut d, "one");
            let mut world = World::new(d);
            world.run("", i32::MAX, 0);
            set_image(&mut world.view.deployment, "two");
            let most = replicas + super::scale::max_surge(&world.view.deployment);
            let least = replicas - super::scale::max_unavailable(&world.view.deployment);
            world.run("", most, least);
            assert_eq!(
                world.sizes(),
                BTreeMap::from([(1, 0), (2, replicas)]),
                "{replicas} replicas, {surge}, {unavailable}"
            );
        }
    }
}

#[test]
fn a_broken_template_stops_and_times_out_and_can_be_rolled_back() {
    let mut d = deployment(10, "3", "2");
    set_image(&mut d, "good");
    let mut world = World::new(d);
    world.run("", 10, 0);
    world.broken = true;
    set_image(&mut world.view.deployment, "bad");
    world.run("bad", 13, 8);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 8), (2, 5)]));
    let last = Deployments::conclude(&world.view, &Outcome::default(), at(world.second));
    assert!(last.again.is_some(), "it looks again when the deadline passes");
    world.second += 601;
    world.round();
    let progressing = world.condition("Progressing");
    assert_eq!(
        (progressing.reason.as_str(), progressing.status),
        ("ProgressDeadlineExceeded", ConditionStatus::False)
    );
    set_image(&mut world.view.deployment, "good");
    world.run("bad", 13, 8);
    assert_eq!(world.sizes(), BTreeMap::from([(2, 0), (3, 10)]), "the old one becomes revision 3");
    let good = world.view.sets.iter().find(|s| size(s) == 10).unwrap();
    assert_eq!(good.metadata.annotations[revision::HISTORY], "1");
    assert_eq!(world.condition("Progressing").reason, "NewReplicaSetAvailable");
}

#[test]
fn scaling_does_not_roll_out() {
    let mut world = World::new(deployment(3, "1", "1"));
    world.run("", 3, 0);
    world.view.deployment.spec.replicas = Some(5);
    world.events.clear();
    world.run("", 5, 3);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 5)]));
    assert_eq!(world.events.len(), 1);
    assert!(world.events[0].ends_with("from 3 to 5"), "{:?}", world.events);
}

#[test]
fn scaling_in_a_rollout_is_proportional() {
    let mut d = deployment(10, "3", "2");
    set_image(&mut d, "one");
    let mut world = World::new(d);
    world.run("", 10, 0);
    world.broken = true;
    set_image(&mut world.view.deployment, "two");
    world.run("two", 13, 8);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 8), (2, 5)]));
    world.view.deployment.spec.replicas = Some(30);
    world.round();
    assert_eq!(world.sizes(), BTreeMap::from([(1, 20), (2, 13)]), "33 in the proportion of 8 to 5");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll_out() {
    let mut world = World::new(deployment(3, "1", "1"));
    world.run("", 3, 0);
    world.view.deployment.spec.paused = true;
    set_image(&mut world.view.deployment, "two");
    world.view.deployment.spec.replicas = Some(4);
    world.run("", 4, 0);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 4)]));
    assert_eq!(world.condition("Progressing").reason, "DeploymentPaused");
    world.view.deployment.spec.paused = false;
    world.run("", 5, 0);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 0), (2, 4)]));
}

#[test]
fn recreate_waits_for_old_pods_to_be_gone() {
    let mut d = deployment(3, "1", "1");
    d.spec.strategy.type_ = DeploymentStrategyType::Recreate;
    d.spec.strategy.rolling_update = None;
    let mut world = World::new(d);
    world.run("", 3, 0);
    set_image(&mut world.view.deployment, "two");
    world.view.running = vec![world.view.sets[0].metadata.uid.as_str().into()];
    world.round();
    world.settle("");
    world.round();
    assert_eq!(world.sizes(), BTreeMap::from([(1, 0)]), "a pod is still ending");
    world.view.running.clear();
    world.run("", 3, 0);
    assert_eq!(world.sizes(), BTreeMap::from([(1, 0), (2, 3)]));
}

#[test]
fn history_is_kept_up_to_its_limit() {
    let mut d = deployment(1, "1", "0");
    d.spec.revision_history_limit = Some(2);
    let mut world = World::new(d);
    for image in ["a", "b", "c", "d", "e"] {
        set_image(&mut world.view.deployment, image);
        world.run("", 2, 0);
    }
    assert_eq!(world.sizes(), BTreeMap::from([(3, 0), (4, 0), (5, 1)]));
}

#[test]
fn a_taken_name_raises_the_collision_count() {
    let d = deployment(1, "1", "0");
    let mut view = View { deployment: d.clone(), ..View::default() };
    let planned = Deployments::plan(&view, at(0));
    let creation = planned.actions()[0].effect.describe();
    let taken = Status { reason: StatusReason::AlreadyExists, code: 409, ..Default::default() };
    let failed = |creation: &str, status: Status| Outcome {
        failures: vec![Failure::new(creation, Error::Status(Box::new(status)))],
        ..Default::default()
    };
    let mut stranger = ReplicaSet::default();
    stranger.spec.template.spec.hostname = "other".into();
    view.occupant = Some(stranger);
    let plan = Deployments::conclude(&view, &failed(&creation, taken.clone()), at(0));
    let changed: &Deployment = plan.actions()[0].effect.object().unwrap();
    assert_eq!(changed.status.collision_count, Some(1));
    assert_ne!(revision::name(changed), revision::name(&d));

    view.occupant = Some(revision::create(&d, 1, 1));
    assert!(Deployments::conclude(&view, &failed(&creation, taken), at(0)).is_nothing(), "it is ours");

    let quota = Status { message: "exceeded quota".into(), code: 403, ..Default::default() };
    let plan = Deployments::conclude(&view, &failed(&creation, quota), at(0));
    let changed: &Deployment = plan.actions()[0].effect.object().unwrap();
    assert_eq!(changed.status.conditions[0].type_, DeploymentConditionType::Progressing);
    assert_eq!(changed.status.conditions[0].reason, "ReplicaSetCreateError");
}

#[test]
fn hashes_are_stable_and_tell_templates_apart() {
    let d = deployment(1, "1", "0");
    let mut other = d.clone();
    set_image(&mut other, "x");
    let hash = |d: &Deployment, n| revision::hash(&d.spec.template, n);
    assert_eq!(hash(&d, None), hash(&d.clone(), None));
    assert_ne!(hash(&d, None), hash(&other, None));
    assert_ne!(hash(&d, None), hash(&d, Some(1)));
    assert!(hash(&d, None).bytes().all(|b| b"bcdfghjklmnpqrstvwxz2456789".contains(&b)));
}
