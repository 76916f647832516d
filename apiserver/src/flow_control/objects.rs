//! The objects behind flow control: those that every cluster has are written and kept as they should
//! be, all are read into the configuration whenever one changes, and schemas are told when their
//! level is not there.
//!
//! What should be written says `plan`, which is pure.

use std::sync::Arc;
use std::time::Duration;

use api_types::flowcontrol::v1::standard::{self, AUTO_UPDATE};
use api_types::flowcontrol::v1::{FlowSchema, FlowSchemaCondition, PriorityLevelConfiguration};
use api_types::kind::Resource;
use api_types::meta::v1::ConditionStatus;
use api_types::value::Time;
use daemon::shutdown::Shutdown;
use tokio::sync::watch;

use super::shares;
use crate::bootstrap::{Objects, ObjectsError};
use crate::objects::Registry;
use crate::server::Server;
use crate::steps;
use crate::storage::Collection;

/// How often the standard objects are looked at.
const UPKEEP: Duration = Duration::from_secs(60);
const DANGLING: &str = "Dangling";

/// What to do about a standard object.
#[derive(Debug, PartialEq)]
enum Step<T> {
    Keep,
    Create(T),
    Update(T),
}

/// A kind with a spec that is kept.
trait Kept: Resource + PartialEq {
    fn has_spec_of(&self, other: &Self) -> bool;
    fn take_spec(&mut self, from: &Self);
}

impl Kept for FlowSchema {
    fn has_spec_of(&self, other: &Self) -> bool {
        self.spec == other.spec
    }
    fn take_spec(&mut self, from: &Self) {
        self.spec = from.spec.clone();
    }
}

impl Kept for PriorityLevelConfiguration {
    fn has_spec_of(&self, other: &Self) -> bool {
        // What the exempt level reserves is the administrator's.
        let (mut own, mut theirs) = (self.spec.clone(), other.spec.clone());
        (own.exempt, theirs.exempt) = (None, None);
        own == theirs
    }
    fn take_spec(&mut self, from: &Self) {
        let exempt = self.spec.exempt.take();
        self.spec = from.spec.clone();
        self.spec.exempt = exempt.or_else(|| self.spec.exempt.take());
    }
}

/// Mandatory objects always get their spec. Suggested ones get it while their annotation says so;
/// where it is missing, an object that nobody has changed is the server's, others are users'.
fn plan<T: Kept>(wanted: T, existing: Option<&T>, mandatory: bool) -> Step<T> {
    let Some(existing) = existing else { return Step::Create(wanted) };
    let annotation = existing.metadata().annotations.get(AUTO_UPDATE).map(String::as_str);
    let kept = mandatory
        || match annotation {
            Some("true") => true,
            Some("false") => false,
            _ => existing.metadata().generation == 1,
        };
    let mut new = existing.clone();
    new.metadata_mut().annotations.insert(AUTO_UPDATE.to_owned(), kept.to_string());
    if kept && !existing.has_spec_of(&wanted) {
        new.take_spec(&wanted);
    }
    if new == *existing { Step::Keep } else { Step::Update(new) }
}

/// Writes the standard objects.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn ensure(objects: &dyn Objects) -> Result<(), ObjectsError> {
    for (levels, mandatory) in [(standard::mandatory_levels(), true), (standard::suggested_levels(), false)] {
        for level in levels {
            ensure_one(objects, level, mandatory).await?;
        }
    }
    for (schemas, mandatory) in
        [(standard::mandatory_flow_schemas(), true), (standard::suggested_flow_schemas(), false)]
    {
        for schema in schemas {
            ensure_one(objects, schema, mandatory).await?;
        }
    }
    Ok(())
}

async fn ensure_one<T: Kept>(objects: &dyn Objects, wanted: T, mandatory: bool) -> Result<(), ObjectsError> {
    let name = wanted.metadata().name.clone();
    let existing = objects.get(T::facts(), "", &name).await?;
    let existing = existing.as_ref().and_then(|object| object.as_any().downcast_ref::<T>());
    let written = match plan(wanted, existing, mandatory) {
        Step::Keep => Ok(()),
        Step::Create(object) => objects.create(Box::new(object)).await,
        Step::Update(object) => objects.update(Box::new(object)).await,
    };
    match written {
        // Another server, or a user: the next round looks again.
        Err(ObjectsError::Changed { .. }) => Ok(()),
        other => other,
    }
}

/// Keeps the configuration current until shutdown. `configured` is told once the objects are gone by.
pub async fn follow(server: Arc<Server>, configured: steps::Step, shutdown: Shutdown) {
    let Some(control) = server.flow_control.clone() else { return };
    let schemas = server.storage.of::<FlowSchema>().clone();
    let levels = server.storage.of::<PriorityLevelConfiguration>().clone();
    let following = async {
        schemas.synced().await;
        levels.synced().await;
        let (mut schemas_reached, mut levels_reached) = (schemas.reached(), levels.reached());
        let mut balance = tokio::time::interval(shares::PERIOD);
        let mut upkeep = tokio::time::interval(UPKEEP);
        let mut known = (-1, -1);
        loop {
            let seen = (newest(&schemas), newest(&levels));
            if seen != known {
                known = seen;
                let (schemas, levels) = (read::<FlowSchema>(&schemas), read(&levels));
                tell_dangling(&server, &schemas, &levels).await;
                control.configure(schemas, &levels);
                configured.ok();
            }
            tokio::select! {
                () = changed(&mut schemas_reached) => {}
                () = changed(&mut levels_reached) => {}
                _ = balance.tick() => control.rebalance(),
                _ = upkeep.tick() => {
                    if let Err(error) = ensure(&Registry(server.clone())).await {
                        tracing::warn!(%error, "Cannot keep the flow schemas that every cluster has");
                    }
                }
            }
        }
    };
    shutdown.unless(following).await;
}

async fn changed(reached: &mut watch::Receiver<i64>) {
    if reached.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A number that grows with every change of the collection: its objects' newest revision and count.
fn newest(collection: &Collection) -> i64 {
    let (snapshot, _) = collection.snapshot();
    let newest = snapshot.iter().map(|entry| entry.revision).max().unwrap_or_default();
    // A deletion leaves no newer revision behind, but one object less.
    newest.wrapping_mul(4096).wrapping_add(i64::try_from(snapshot.len()).unwrap_or_default())
}

fn read<T: Resource>(collection: &Collection) -> Vec<T> {
    let (snapshot, _) = collection.snapshot();
    snapshot.iter().filter_map(|entry| entry.typed().ok()).collect()
}

/// The condition that a schema should have; `None` when it has it.
fn dangling(schema: &FlowSchema, levels: &[PriorityLevelConfiguration]) -> Option<FlowSchemaCondition> {
    let level = &schema.spec.priority_level_configuration.name;
    let found = levels.iter().any(|own| own.metadata.name == *level);
    let (status, reason, message) = if found {
        let text = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists"
        );
        (ConditionStatus::False, "Found", text)
    } else {
        let text = format!(
            "This FlowSchema references the PriorityLevelConfiguration object named {level:?} but there is no such object"
        );
        (ConditionStatus::True, "NotFound", text)
    };
    let old = schema.status.conditions.iter().find(|condition| condition.type_ == DANGLING);
    if old.is_some_and(|old| old.status == status && old.reason == reason && old.message == message) {
        return None;
    }
    Some(FlowSchemaCondition {
        type_: DANGLING.to_owned(),
        status,
        reason: reason.to_owned(),
        message,
        last_transition_time: None,
    })
}

async fn tell_dangling(server: &Arc<Server>, schemas: &[FlowSchema], levels: &[PriorityLevelConfiguration]) {
    for schema in schemas {
        let Some(mut condition) = dangling(schema, levels) else { continue };
        condition.last_transition_time = Some(Time(jiff::Timestamp::now()));
        let mut schema = schema.clone();
        schema.status.conditions.retain(|own| own.type_ != DANGLING);
        schema.status.conditions.push(condition);
        let name = schema.metadata.name.clone();
        let manager = "api-priority-and-fairness-config-consumer-v1";
        match Registry(server.clone()).update_status(Box::new(schema), manager).await {
            // Somebody was quicker; the change wakes this loop again.
            Ok(()) | Err(ObjectsError::Changed { .. }) => {}
            Err(error) => tracing::warn!(schema = name, %error, "Cannot write the status of a flow schema"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_suggests_it_keeps_until_told_otherwise() {
        let wanted = || standard::suggested_flow_schemas().remove(0);
        assert_eq!(plan(wanted(), None, false), Step::Create(wanted()));
        assert_eq!(plan(wanted(), Some(&wanted()), false), Step::Keep);
        let mut changed = wanted();
        changed.spec.matching_precedence = 7;
        let Step::Update(fixed) = plan(wanted(), Some(&changed), false) else { panic!("an update") };
        assert_eq!(fixed.spec, wanted().spec);
        changed.metadata.annotations.insert(AUTO_UPDATE.into(), "false".into());
        assert_eq!(plan(wanted(), Some(&changed), false), Step::Keep);
        // Changed by somebody who took the annotation away: theirs from now on.
        changed.metadata.annotations.clear();
        changed.metadata.generation = 3;
        let Step::Update(left) = plan(wanted(), Some(&changed), false) else { panic!("an update") };
        assert_eq!(
            (left.spec.matching_precedence, left.metadata.annotations[AUTO_UPDATE].as_str()),
            (7, "false")
        );
    }

    #[test]
    fn the_exempt_levels_reserve_is_the_administrators() {
        let wanted = || standard::mandatory_levels().remove(0);
        let mut changed = wanted();
        changed.spec.exempt.as_mut().expect("exempt").nominal_concurrency_shares = Some(9);
        assert_eq!(plan(wanted(), Some(&changed), true), Step::Keep);
    }

    #[test]
    fn a_schema_without_its_level_dangles() {
        let mut schema = standard::suggested_flow_schemas().remove(0);
        let condition = dangling(&schema, &standard::mandatory_levels()).expect("news");
        assert_eq!(
            (condition.status.clone(), condition.reason.as_str()),
            (ConditionStatus::True, "NotFound")
        );
        schema.status.conditions.push(condition);
        assert_eq!(dangling(&schema, &standard::mandatory_levels()), None);
        let found = dangling(&schema, &standard::suggested_levels()).expect("news");
        assert_eq!(found.status, ConditionStatus::False);
    }
}
