//! `scale` of what has replicas: autoscaling/v1 Scale in and out, `spec.replicas` beneath.

use std::sync::LazyLock;

use api_types::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use api_types::autoscaling::v1::Scale;
use api_types::core::v1::ReplicationController;
use api_types::custom::Custom;
use api_types::field::{Errors, Path};
use api_types::kind::{Object, Row};
use api_types::meta::v1::{LabelSelector, ObjectMeta};
use api_types::schema::managed_fields::Count;
use api_types::selector::Labels;
use api_types::value::Time;
use hyper::body::Incoming;
use serde_json::{Map, Value};

use crate::answer::{Answer, Served};
use crate::call::{Call, Target};
use crate::registry::manage::{self, Manager};
use crate::registry::update::{self, Change};
use crate::registry::{Aspect, collection, decode, fresh, patch};
use crate::server::Server;
use crate::status::{ApiError, Qualified};

static SCALE: LazyLock<Row> = LazyLock::new(Row::of::<Scale>);

const ASPECT: Aspect = Aspect {
    subresource: "scale",
    prepare: |row, new, old| (row.prepare_for_update)(new, old),
    validate: |row, new, old, errors| {
        // A schema may say more of the count; of other kinds' counts all is said before.
        if Custom::of(new).is_some() {
            (row.validate_update)(new, old, errors);
        }
    },
    ignored: &[],
    internal: false,
};

/// Handles GET, PUT and PATCH.
///
/// # Errors
/// As for the object itself, in the name of its Scale.
pub async fn answer(
    server: &Server,
    call: &Call,
    target: &Target,
    body: Incoming,
) -> Result<Answer, ApiError> {
    let of = Target { row: &SCALE, ..target.clone() };
    let (wanted, options) = match call.info.verb.as_str() {
        "get" => {
            let entry = fresh(collection(server, target.row)?, target).await?;
            let entry = entry.ok_or_else(|| ApiError::not_found(target.row.kind, &target.name))?;
            return made(&*Served::of(target.row).decode(&entry)?);
        }
        "update" => {
            let object = decode::object(call, &SCALE, &call.read(body).await?, "UpdateOptions")?;
            (Wanted::Whole(object), "UpdateOptions")
        }
        "patch" => {
            let work = patch::Work::read(call, &of, ASPECT, &call.read(body).await?)?;
            (Wanted::Patched(work), "PatchOptions")
        }
        _ => return Err(ApiError::MethodNotAllowed),
    };
    let dry_run = call.dry_run(options)?;
    let manager = Manager { name: call.manager(), now: Time::whole(jiff::Timestamp::now()) };
    let write = Write { target, wanted, manager };
    let entry = update::change(server, call, target, ASPECT, dry_run, &write).await?;
    made(&*Served::of(target.row).decode(&entry)?)
}

fn made(object: &dyn Object) -> Result<Answer, ApiError> {
    Ok(Answer::made(200, scale_of(object)?))
}

enum Wanted<'a> {
    Whole(Box<dyn Object>),
    Patched(patch::Work<'a>),
}

/// A write to `scale` on its way to the object beneath.
struct Write<'a> {
    target: &'a Target,
    wanted: Wanted<'a>,
    manager: Manager,
}

impl Change for Write<'_> {
    /// The object as its scale would have it. Who owns the count is settled on the Scale.
    fn change(&self, old: &dyn Object) -> Result<Box<dyn Object>, ApiError> {
        let (target, count) = (self.target, count(self.target, old));
        let mut present = scale_of(old)?;
        present.metadata.managed_fields = count.in_scale(&old.meta().managed_fields);
        let mut changed = match &self.wanted {
            Wanted::Whole(scale) => scale.clone_boxed(),
            Wanted::Patched(work) => work.change(&present)?,
        };
        if !matches!(&self.wanted, Wanted::Patched(work) if work.manages_fields()) {
            manage::record(&SCALE, Some(&present), &mut *changed, &self.manager, &ASPECT)?;
        }
        let scale = scale_in(&*changed)?;
        if scale.metadata.name != target.name {
            return Err(ApiError::BadRequest(format!(
                "the name of the object ({}) does not match the name on the URL ({})",
                scale.metadata.name, target.name
            )));
        }
        let mut errors = Errors::default();
        if scale.spec.replicas < 0 && Custom::of(old).is_none() {
            let path = Path::new("spec").child("replicas");
            errors.invalid(&path, scale.spec.replicas, "must be greater than or equal to 0");
            return Err(ApiError::invalid(SCALE.kind, &target.name, errors));
        }
        let (given, uid) = (&scale.metadata.uid, &old.meta().uid);
        if !given.is_empty() && given != uid {
            let kind = target.row.kind;
            return Err(ApiError::Conflict {
                of: Qualified::new(kind.group, &format!("{}/scale", kind.resource)),
                name: target.name.clone(),
                why: format!("Precondition failed: UID in precondition: {given}, UID in object meta: {uid}"),
            });
        }
        let mut new = old.clone_boxed();
        set(&mut *new, &scale)?;
        let meta = new.meta_mut();
        meta.resource_version.clone_from(&scale.metadata.resource_version);
        meta.managed_fields = count.in_object(&old.meta().managed_fields, &scale.metadata.managed_fields);
        Ok(new)
    }

    fn manages_fields(&self) -> bool {
        true
    }
}

fn scale_in(object: &dyn Object) -> Result<Scale, ApiError> {
    object.as_any().downcast_ref::<Scale>().cloned().ok_or_else(|| ApiError::internal("not a Scale"))
}

/// Where the object has its replica count, for those who keep its owners.
fn count(target: &Target, object: &dyn Object) -> Count {
    let declared = Custom::of(object).and_then(|custom| custom.definition.scale.as_ref());
    let path = match declared {
        Some(paths) => paths.spec.iter().map(|name| format!("f:{name}")).collect(),
        None => vec!["f:spec".to_owned(), "f:replicas".to_owned()],
    };
    Count { api_version: target.row.kind.api_version.to_owned(), path }
}

/// What admission is shown of a write to `scale`: it is asked about the Scale, before and after.
///
/// # Errors
/// For objects without a replica count.
pub fn shown(
    aspect: &Aspect,
    new: &dyn Object,
    old: &dyn Object,
) -> Result<Option<(Scale, Scale)>, ApiError> {
    if aspect.subresource != ASPECT.subresource {
        return Ok(None);
    }
    Ok(Some((scale_of(new)?, scale_of(old)?)))
}

/// Writes the replica count into the object.
///
/// # Errors
/// For custom objects that have no place for it.
pub fn set(new: &mut dyn Object, scale: &Scale) -> Result<(), ApiError> {
    if let Some(custom) = Custom::of_mut(new) {
        return set_custom(custom, scale.spec.replicas);
    }
    let any = new.as_any_mut();
    if let Some(deployment) = any.downcast_mut::<Deployment>() {
        deployment.spec.replicas = Some(scale.spec.replicas);
    } else if let Some(set) = any.downcast_mut::<ReplicaSet>() {
        set.spec.replicas = Some(scale.spec.replicas);
    } else if let Some(set) = any.downcast_mut::<StatefulSet>() {
        set.spec.replicas = Some(scale.spec.replicas);
    } else if let Some(controller) = any.downcast_mut::<ReplicationController>() {
        controller.spec.replicas = Some(scale.spec.replicas);
    }
    Ok(())
}

/// Writes the replica count into a custom object, where its definition says.
fn set_custom(custom: &mut Custom, replicas: i32) -> Result<(), ApiError> {
    let definition = custom.definition.clone();
    let fields = definition.scale.as_ref().map(|scale| scale.spec.as_slice()).unwrap_or_default();
    let Some((last, above)) = fields.split_last() else { return Err(ApiError::NoSuchPath) };
    let mut at = &mut custom.content;
    for name in above {
        let entry = at.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        at = entry.as_object_mut().ok_or_else(|| ApiError::internal(format!("{name} is no object")))?;
    }
    at.insert(last.clone(), replicas.into());
    Ok(())
}

fn custom_scale(custom: &Custom) -> Result<Scale, ApiError> {
    let Some(paths) = &custom.definition.scale else { return Err(ApiError::NoSuchPath) };
    let find = |fields: &[String]| {
        let (first, rest) = fields.split_first()?;
        rest.iter().try_fold(custom.content.get(first)?, |at, name| at.get(name))
    };
    let number = |fields: &[String]| find(fields).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok());
    let Some(wanted) = number(&paths.spec) else {
        let path = paths.spec.join(".");
        return Err(ApiError::Internal(format!("the spec replicas field {path:?} does not exist")));
    };
    let mut scale = scale(&custom.metadata, Some(wanted), number(&paths.status).unwrap_or(0), None)?;
    let selector = paths.selector.as_deref().and_then(find).and_then(Value::as_str);
    scale.status.selector = selector.unwrap_or_default().to_owned();
    Ok(scale)
}

fn scale_of(object: &dyn Object) -> Result<Scale, ApiError> {
    let any = object.as_any();
    if let Some(custom) = Custom::of(object) {
        return custom_scale(custom);
    }
    if let Some(deployment) = any.downcast_ref::<Deployment>() {
        let (spec, status) = (&deployment.spec, &deployment.status);
        return scale(&deployment.metadata, spec.replicas, status.replicas, spec.selector.as_deref());
    }
    if let Some(set) = any.downcast_ref::<ReplicaSet>() {
        return scale(&set.metadata, set.spec.replicas, set.status.replicas, set.spec.selector.as_deref());
    }
    if let Some(set) = any.downcast_ref::<StatefulSet>() {
        return scale(&set.metadata, set.spec.replicas, set.status.replicas, set.spec.selector.as_deref());
    }
    if let Some(controller) = any.downcast_ref::<ReplicationController>() {
        let (spec, status) = (&controller.spec, &controller.status);
        let selector = LabelSelector { match_labels: spec.selector.clone(), ..LabelSelector::default() };
        return scale(&controller.metadata, spec.replicas, status.replicas, Some(&selector));
    }
    Err(ApiError::NoSuchPath)
}

fn scale(
    meta: &ObjectMeta,
    wanted: Option<i32>,
    seen: i32,
    selector: Option<&LabelSelector>,
) -> Result<Scale, ApiError> {
    let metadata = ObjectMeta {
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        creation_timestamp: meta.creation_timestamp,
        ..ObjectMeta::default()
    };
    let mut scale = Scale { metadata, ..Scale::default() };
    scale.spec.replicas = wanted.unwrap_or(0);
    scale.status.replicas = seen;
    scale.status.selector = Labels::from_spec(selector).map_err(ApiError::internal)?.to_string();
    Ok(scale)
}
