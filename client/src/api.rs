//! Verbs on one resource: `client.api::<Pod>().namespace("default").get("web")`.
//!
//! [`Api`] is typed; [`Client::create_object`] and its siblings do the same for `&dyn Object`, for
//! executors that handle any kind. A list is decoded item by item, so that a caller who projects
//! never holds all objects at once.

use std::marker::PhantomData;

use api_types::codec::json;
use api_types::kind::{Object, Resource};
use api_types::meta::v1::{DeleteOptions, ListMeta, ListOptions, PartialObjectMetadata};
use api_types::value::Value;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::connection::{Call, Client, JSON};
use crate::error::Error;
use crate::path::{Query, ResourceRef, is_default};
use crate::watch::WatchStream;

/// Asks for metadata only; a server that does not know the form sends whole objects.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// One resource, in one namespace or in all.
#[derive(Debug)]
pub struct Api<T> {
    client: Client,
    resource: ResourceRef,
    namespace: Option<String>,
    accept: (&'static str, &'static str),
    kind: PhantomData<fn() -> T>,
}

impl<T> Clone for Api<T> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            resource: self.resource.clone(),
            namespace: self.namespace.clone(),
            accept: self.accept,
            kind: PhantomData,
        }
    }
}

/// A patch and its format.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 6902.
    Json(serde_json::Value),
    /// RFC 7396.
    Merge(serde_json::Value),
    /// Strategic merge.
    Strategic(serde_json::Value),
    /// Server-side apply of this configuration, kind and apiVersion included.
    Apply { manager: String, force: bool, object: serde_json::Value },
}

impl Patch {
    fn content_type(&self) -> &'static str {
        match self {
            Self::Json(_) => "application/json-patch+json",
            Self::Merge(_) => "application/merge-patch+json",
            Self::Strategic(_) => "application/strategic-merge-patch+json",
            // JSON is YAML, and upstream's clients send it as this.
            Self::Apply { .. } => "application/apply-patch+yaml",
        }
    }

    fn body(&self) -> &serde_json::Value {
        match self {
            Self::Json(body) | Self::Merge(body) | Self::Strategic(body) => body,
            Self::Apply { object, .. } => object,
        }
    }
}

/// Some or all of a list's objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page<T> {
    /// Revision, and the token of the next page.
    pub metadata: ListMeta,
    pub items: Vec<T>,
}

/// What a delete left.
#[derive(Clone, Debug, PartialEq)]
pub enum Deleted<T> {
    /// It goes on existing for a while, marked as being deleted (or, for some kinds, its last state).
    Object(Box<T>),
    /// It is gone.
    Gone,
}

impl Client {
    /// Verbs on the kind `T`, in all namespaces until [`Api::namespace`] says otherwise.
    pub fn api<T: Resource>(&self) -> Api<T> {
        Api {
            client: self.clone(),
            resource: ResourceRef::from(T::facts()),
            namespace: None,
            accept: (JSON, JSON),
            kind: PhantomData,
        }
    }

    /// Metadata of any resource that discovery names: lists and watches without the objects' rest.
    pub fn metadata_api(&self, resource: ResourceRef) -> Api<PartialObjectMetadata> {
        Api {
            client: self.clone(),
            resource,
            namespace: None,
            accept: (METADATA, METADATA_LIST),
            kind: PhantomData,
        }
    }

    /// Creates an object of any kind in its own namespace; gives what was stored.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_object(&self, object: &dyn Object) -> Result<Box<dyn Object>, Error> {
        let path = ResourceRef::from(object.kind()).path(Some(&object.meta().namespace), None, None);
        self.write_object(Method::POST, path, object).await
    }

    /// Replaces an object of any kind, or with `Some` subresource that part of it.
    ///
    /// # Errors
    /// See [`Error`]; a stale resourceVersion is a conflict.
    pub async fn update_object(
        &self,
        object: &dyn Object,
        subresource: Option<&str>,
    ) -> Result<Box<dyn Object>, Error> {
        let meta = object.meta();
        let path =
            ResourceRef::from(object.kind()).path(Some(&meta.namespace), Some(&meta.name), subresource);
        self.write_object(Method::PUT, path, object).await
    }

    async fn write_object(
        &self,
        method: Method,
        path: String,
        object: &dyn Object,
    ) -> Result<Box<dyn Object>, Error> {
        let call = Call::with_body(method, path, json::to_vec(object));
        let answer = self.send(&call).await?;
        let mut stored = object.clone_boxed();
        stored.reset();
        json::read(&mut *stored, &answer, &mut None).map_err(|e| undecoded(&call, e))?;
        Ok(stored)
    }

    /// Patches an object of any resource; gives its metadata.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn patch_object(
        &self,
        resource: &ResourceRef,
        namespace: &str,
        name: &str,
        subresource: Option<&str>,
        patch: &Patch,
    ) -> Result<PartialObjectMetadata, Error> {
        let path = resource.path(Some(namespace), Some(name), subresource);
        let call = patch_call(path, patch);
        decode(&call, &self.send(&call).await?)
    }

    /// Deletes an object of any resource; its metadata if it goes on existing for a while.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_object(
        &self,
        resource: &ResourceRef,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
    ) -> Result<Deleted<PartialObjectMetadata>, Error> {
        let call = delete_call(resource.path(Some(namespace), Some(name), None), options);
        deleted(&call, &self.send(&call).await?)
    }

    /// GET of any path, such as `/version` or `/apis`, decoded.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_path<T: Value + Default>(&self, path: &str) -> Result<T, Error> {
        let call = Call::get(path);
        decode(&call, &self.send(&call).await?)
    }

    /// GET of any path, as the JSON that it is: for kinds that are not declared here.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn get_json(&self, path: &str) -> Result<serde_json::Value, Error> {
        let call = Call::get(path);
        serde_json::from_slice(&self.send(&call).await?).map_err(|error| undecoded(&call, error))
    }

    /// PUT of an object to any path, such as the `scale` of whatever has one.
    ///
    /// # Errors
    /// See [`Error`]; a stale resourceVersion is a conflict.
    pub async fn put_path<T: Resource>(&self, path: &str, object: &T) -> Result<T, Error> {
        let call = Call::with_body(Method::PUT, path.to_owned(), json::to_vec(object));
        decode(&call, &self.send(&call).await?)
    }

    /// POST of an object that is answered and not stored (reviews): the same kind comes back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn review<T: Resource>(&self, review: &T) -> Result<T, Error> {
        let namespace = review.metadata().namespace.as_str();
        let path = ResourceRef::from(T::facts()).path(Some(namespace), None, None);
        let call = Call::with_body(Method::POST, path, json::to_vec(review));
        decode(&call, &self.send(&call).await?)
    }
}

impl<T> Api<T> {
    /// The same in one namespace. Creating, and naming a namespaced object, need it.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    pub fn resource(&self) -> &ResourceRef {
        &self.resource
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    fn path(&self, name: Option<&str>, subresource: Option<&str>) -> String {
        self.resource.path(self.namespace.as_deref(), name, subresource)
    }
}

impl<T: Value + Default> Api<T> {
    /// # Errors
    /// See [`Error`].
    pub async fn get(&self, name: &str) -> Result<T, Error> {
        self.get_subresource(name, None).await
    }

    /// `get` that takes absence for an answer.
    ///
    /// # Errors
    /// See [`Error`]; never NotFound.
    pub async fn find(&self, name: &str) -> Result<Option<T>, Error> {
        match self.get(name).await {
            Err(error) if error.is_not_found() => Ok(None),
            outcome => outcome.map(Some),
        }
    }

    async fn get_subresource(&self, name: &str, subresource: Option<&str>) -> Result<T, Error> {
        let call = Call { accept: self.accept.0, ..Call::get(self.path(Some(name), subresource)) };
        decode(&call, &self.client.send(&call).await?)
    }

    /// One page, or with no limit all objects.
    ///
    /// # Errors
    /// See [`Error`]; a continue token that is too old `is_gone()`.
    pub async fn list(&self, options: &ListOptions) -> Result<Page<T>, Error> {
        let mut items = Vec::new();
        let metadata = self.list_each(options, |item| items.push(item)).await?;
        Ok(Page { metadata, items })
    }

    /// As [`Api::list`], handing out objects one at a time.
    ///
    /// # Errors
    /// As [`Api::list`].
    pub async fn list_each(&self, options: &ListOptions, mut each: impl FnMut(T)) -> Result<ListMeta, Error> {
        let path = Query::list(options).on(self.path(None, None));
        let call = Call { accept: self.accept.1, ..Call::get(path) };
        let answer = self.client.send(&call).await?;
        let list: RawList<'_> = serde_json::from_slice(&answer).map_err(|e| undecoded(&call, e))?;
        for item in list.items.unwrap_or_default() {
            each(decode(&call, item.get().as_bytes())?);
        }
        decode(&call, list.metadata.get().as_bytes())
    }

    /// Changes from `options.resource_version` on. Bookmarks come if the options ask for them.
    ///
    /// # Errors
    /// See [`Error`]; a revision that is too old `is_gone()`, here or as an event.
    pub async fn watch(&self, options: &ListOptions) -> Result<WatchStream<T>, Error> {
        let options = ListOptions { watch: true, ..options.clone() };
        let path = Query::list(&options).on(self.path(None, None));
        let call = Call { accept: self.accept.0, ..Call::get(path) };
        let response = self.client.stream(&call).await?;
        Ok(WatchStream::new(response.into_body(), call.path))
    }

    /// # Errors
    /// See [`Error`].
    pub async fn patch(&self, name: &str, patch: &Patch) -> Result<T, Error> {
        self.patch_subresource(name, None, patch).await
    }

    /// # Errors
    /// See [`Error`].
    pub async fn patch_status(&self, name: &str, patch: &Patch) -> Result<T, Error> {
        self.patch_subresource(name, Some("status"), patch).await
    }

    async fn patch_subresource(
        &self,
        name: &str,
        subresource: Option<&str>,
        patch: &Patch,
    ) -> Result<T, Error> {
        let call = patch_call(self.path(Some(name), subresource), patch);
        decode(&call, &self.client.send(&call).await?)
    }

    /// # Errors
    /// See [`Error`]; preconditions that do not hold are a conflict.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<Deleted<T>, Error> {
        let call = delete_call(self.path(Some(name), None), options);
        deleted(&call, &self.client.send(&call).await?)
    }

    /// Deletes all objects that the list options select.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_collection(
        &self,
        options: &DeleteOptions,
        selected: &ListOptions,
    ) -> Result<(), Error> {
        let path = Query::list(selected).on(self.path(None, None));
        self.client.send(&delete_call(path, options)).await.map(drop)
    }

    /// POST to a subresource: `pods/binding`, `serviceaccounts/token`. `R` is what it answers with.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_subresource<B: Object, R: Value + Default>(
        &self,
        name: &str,
        subresource: &str,
        body: &B,
    ) -> Result<R, Error> {
        let path = self.path(Some(name), Some(subresource));
        let call = Call::with_body(Method::POST, path, json::to_vec(body));
        decode(&call, &self.client.send(&call).await?)
    }
}

impl<T: Resource> Api<T> {
    /// Creates in this Api's namespace, or else in the object's own.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create(&self, object: &T) -> Result<T, Error> {
        self.write(Method::POST, object, None, None).await
    }

    /// # Errors
    /// See [`Error`]; a stale resourceVersion is a conflict.
    pub async fn update(&self, object: &T) -> Result<T, Error> {
        self.write(Method::PUT, object, Some(&object.metadata().name), None).await
    }

    /// # Errors
    /// As [`Api::update`].
    pub async fn update_status(&self, object: &T) -> Result<T, Error> {
        self.update_subresource("status", object).await
    }

    /// PUT of the object to a subresource of it: `status`, `finalize`, `approval`.
    ///
    /// # Errors
    /// As [`Api::update`].
    pub async fn update_subresource(&self, subresource: &str, object: &T) -> Result<T, Error> {
        self.write(Method::PUT, object, Some(&object.metadata().name), Some(subresource)).await
    }

    async fn write(
        &self,
        method: Method,
        object: &T,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Result<T, Error> {
        let namespace = self.namespace.as_deref().unwrap_or(&object.metadata().namespace);
        let path = self.resource.path(Some(namespace), name, subresource);
        let call = Call::with_body(method, path, json::to_vec(object));
        decode(&call, &self.client.send(&call).await?)
    }
}

#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

fn patch_call(path: String, patch: &Patch) -> Call {
    let mut query = Query::default();
    if let Patch::Apply { manager, force, .. } = patch {
        query.add("fieldManager", manager);
        query.add("force", if *force { "true" } else { "" });
    }
    let body: Bytes = patch.body().to_string().into();
    Call { content_type: patch.content_type(), ..Call::with_body(Method::PATCH, query.on(path), body) }
}

fn delete_call(path: String, options: &DeleteOptions) -> Call {
    let body = if is_default(options) {
        Vec::new()
    } else {
        // DeleteOptions belongs to every group; the server takes it as meta/v1's own, too.
        let mut body = br#"{"kind":"DeleteOptions","apiVersion":"v1","#.to_vec();
        body.extend_from_slice(&json::value_to_vec(options)[1..]);
        body
    };
    Call::with_body(Method::DELETE, path, body)
}

/// The answer to a delete is a Status or the object.
fn deleted<T: Value + Default>(call: &Call, answer: &[u8]) -> Result<Deleted<T>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head<'a> {
        kind: &'a str,
        api_version: &'a str,
    }
    let head: Head<'_> = serde_json::from_slice(answer).map_err(|e| undecoded(call, e))?;
    match head {
        Head { kind: "Status", api_version: "v1" } => Ok(Deleted::Gone),
        _ => Ok(Deleted::Object(Box::new(decode(call, answer)?))),
    }
}

fn decode<T: Value + Default>(call: &Call, text: &[u8]) -> Result<T, Error> {
    json::from_slice(text).map_err(|e| undecoded(call, e))
}

fn undecoded(call: &Call, error: impl std::fmt::Display) -> Error {
    Error::Decode { path: call.path.clone(), message: error.to_string() }
}
