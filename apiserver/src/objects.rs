//! The server as a client of itself: what it writes on its own account at start goes through the
//! registry as anyone's write does, without admission.

use std::sync::Arc;

use api_types::kind::{Kind, Object, Row};
use api_types::kinds;
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::bootstrap::{Existing, Objects, ObjectsError};
use crate::call::{Call, Target, Warnings};
use crate::query::Query;
use crate::registry::{self, Aspect, OBJECT};
use crate::request::{RequestInfo, User};
use crate::server::Server;
use crate::status::ApiError;

/// Who the server is to itself.
const NAME: &str = "system:apiserver";

/// The objects of the cluster, by way of the registry.
pub struct Registry(pub Arc<Server>);

/// A call of the server's own.
pub fn own_call() -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("kube-apiserver/v1.36"));
    Call {
        method: Method::POST,
        uri: Uri::default(),
        headers,
        query: Query::default(),
        info: RequestInfo::default(),
        user: User { name: NAME.into(), groups: vec![User::MASTERS.into()], ..User::default() },
        warnings: Warnings::default(),
        own: true,
        record: None,
    }
}

fn row_of(kind: &'static Kind) -> Result<&'static Row, ObjectsError> {
    kinds::by_kind(kind.group, kind.version, kind.kind).ok_or_else(|| ObjectsError::Failed {
        verb: "find",
        kind: kind.kind,
        name: String::new(),
        message: "no such kind".into(),
    })
}

fn target(kind: &'static Kind, namespace: &str, name: &str) -> Result<Target, ObjectsError> {
    Ok(Target { row: row_of(kind)?, namespace: namespace.to_owned(), name: name.to_owned() })
}

fn failed(verb: &'static str, kind: &'static Kind, name: &str, error: &ApiError) -> ObjectsError {
    match error {
        ApiError::AlreadyExists { .. } | ApiError::Conflict { .. } => {
            ObjectsError::Changed { kind: kind.kind, name: name.to_owned() }
        }
        error => ObjectsError::Failed {
            verb,
            kind: kind.kind,
            name: name.to_owned(),
            message: error.status().message,
        },
    }
}

impl Registry {
    /// Writes one part of an object over the revision that it carries.
    ///
    /// # Errors
    /// `Changed` when there is another revision.
    pub async fn update_as(&self, mut object: Box<dyn Object>, aspect: Aspect) -> Result<(), ObjectsError> {
        let (kind, name) = (object.kind(), object.meta().name.clone());
        let target = target(kind, &object.meta().namespace, &name)?;
        target.row.default(&mut *object);
        let made =
            registry::update::update_object(&self.0, &own_call(), &target, aspect, object, false).await;
        made.map(|_| ()).map_err(|e| failed("update", kind, &name, &e))
    }
}

#[async_trait::async_trait]
impl Objects for Registry {
    async fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<Existing, ObjectsError> {
        let target = target(kind, namespace, name)?;
        let found = async {
            let collection = registry::collection(&self.0, target.row)?;
            let found = registry::fresh(collection, &target).await?;
            found.map(|entry| entry.decode(target.row).map_err(ApiError::internal)).transpose()
        };
        found.await.map_err(|e| failed("get", kind, name, &e))
    }

    async fn list(&self, kind: &'static Kind) -> Result<Vec<Box<dyn Object>>, ObjectsError> {
        let row = row_of(kind)?;
        let listed = async {
            let collection = registry::collection(&self.0, row)?;
            let mut objects = Vec::new();
            let mut start = collection.prefix.clone().into_bytes();
            loop {
                let page = collection
                    .kv
                    .page(&collection.prefix, &start, 500, 0)
                    .await
                    .map_err(|e| registry::store_error(row, "list", e))?;
                for stored in &page.items {
                    objects.push(
                        registry::entry_of(collection, stored)?.decode(row).map_err(ApiError::internal)?,
                    );
                }
                match page.items.last() {
                    Some(last) if page.more => {
                        start = last.key.to_vec();
                        start.push(0);
                    }
                    _ => return Ok(objects),
                }
            }
        };
        listed.await.map_err(|e| failed("list", kind, "", &e))
    }

    async fn create(&self, mut object: Box<dyn Object>) -> Result<(), ObjectsError> {
        let (kind, name) = (object.kind(), object.meta().name.clone());
        let target = Target { name: String::new(), ..target(kind, &object.meta().namespace, "")? };
        target.row.default(&mut *object);
        let made = registry::create::create_object(&self.0, &own_call(), &target, object, false).await;
        made.map(|_| ()).map_err(|e| failed("create", kind, &name, &e))
    }

    async fn update(&self, object: Box<dyn Object>) -> Result<(), ObjectsError> {
        self.update_as(object, OBJECT).await
    }

    async fn delete(&self, kind: &'static Kind, namespace: &str, name: &str) -> Result<(), ObjectsError> {
        let target = target(kind, namespace, name)?;
        match registry::delete::delete(&self.0, &own_call(), &target, &[]).await {
            Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
            Err(error) => Err(failed("delete", kind, name, &error)),
        }
    }
}

impl Registry {
    /// Writes an object's status on the account of `manager`, over the revision that it carries.
    ///
    /// # Errors
    /// `Changed` when there is another revision.
    pub async fn update_status(&self, object: Box<dyn Object>, manager: &str) -> Result<(), ObjectsError> {
        let (kind, name) = (object.kind(), object.meta().name.clone());
        let target = target(kind, &object.meta().namespace, &name)?;
        let mut call = own_call();
        call.query = Query::parse(&format!("fieldManager={manager}"));
        let made =
            registry::update::update_object(&self.0, &call, &target, registry::STATUS, object, false).await;
        made.map(|_| ()).map_err(|e| failed("update", kind, &name, &e))
    }
}
