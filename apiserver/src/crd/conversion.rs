//! Custom resources whose versions a webhook converts (ConversionReview, KEP-1027).
//!
//! Objects rest in the version that they were stored in: filling a cache never needs the webhook. What a
//! client reads in another version is converted on its way out, a list in one call. Reading code is
//! synchronous; a conversion in the middle of it hands its thread's other work on while it waits.
//! `review` and `taken` are pure; what is around them asks.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use api_types::codec::json;
use api_types::custom::{Custom, Webhook};
use api_types::kind::{Object, Row};
use api_types::meta::v1::Status;
use daemon::metrics::{self, HistogramVec, IntCounterVec};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::answer::{Filter, List, Served, Source};
use crate::status::ApiError;
use crate::storage::Entry;
use crate::webhook::{At, Caller, Place};

/// As upstream's client has it.
const TIMEOUT: Duration = Duration::from_secs(30);
const GROUP: &str = "apiextensions.k8s.io";

/// Who asks; set once at start. Rows of custom kinds are the process's, and so is this.
static CALLER: OnceLock<Arc<Caller>> = OnceLock::new();

/// Makes webhooks reachable for conversions.
pub fn install(caller: Arc<Caller>) {
    // A second server in one process would reach the same places.
    let _ = CALLER.set(caller);
}

/// A custom object in another version, where a webhook has to say what it looks like there.
pub fn convert(object: &dyn Object, to: &'static Row) -> Option<Result<Box<dyn Object>, ApiError>> {
    let custom = Custom::of(object)?;
    let definition = to.custom?.definition();
    let webhook = definition.conversion.as_ref()?;
    if custom.definition.kind.api_version == to.kind.api_version {
        return None;
    }
    let asked = || tokio::runtime::Handle::current().block_on(ask(webhook, &[custom], to));
    Some(tokio::task::block_in_place(asked).and_then(|mut all| all.pop().ok_or_else(nothing)))
}

fn nothing() -> ApiError {
    failed("conversion webhook failed, no objects returned".to_owned())
}

/// A list in the version that the client asked for, converted at once; any other list as it is.
///
/// # Errors
/// What the webhook does not do.
pub async fn list(list: List) -> Result<List, ApiError> {
    let row = list.served.row;
    let Some(definition) = row.custom.map(|slot| slot.definition()) else { return Ok(list) };
    if definition.conversion.is_none() {
        return Ok(list);
    }
    let found: Vec<Arc<Entry>> = match list.source {
        Source::Page(page) => page.into_iter().filter(|entry| list.filter.matches(entry)).collect(),
        Source::Snapshot { snapshot, prefix } => {
            snapshot.range(&prefix, "").filter(|entry| list.filter.matches(entry)).cloned().collect()
        }
    };
    let found = entries(list.served, found).await?;
    let served = Served { row, stored: row };
    Ok(List { served, source: Source::Page(found), filter: Filter::default(), ..list })
}

/// Entries of a custom kind in the version that is served, converted at once where a webhook does it.
///
/// # Errors
/// What the webhook does not do.
pub async fn entries(served: Served, mut entries: Vec<Arc<Entry>>) -> Result<Vec<Arc<Entry>>, ApiError> {
    let row = served.row;
    let definition = row.custom.map(|slot| slot.definition());
    let Some(webhook) = definition.as_ref().and_then(|definition| definition.conversion.as_ref()) else {
        return entries.iter().map(|entry| self::entry(served, entry)).collect();
    };
    let mut places = Vec::new();
    let mut objects = Vec::new();
    for (place, entry) in entries.iter().enumerate() {
        let from = entry.row(served.stored);
        if !std::ptr::eq(from, row) {
            objects.push(entry.decode(from).map_err(ApiError::internal)?);
            places.push(place);
        }
    }
    let customs: Vec<&Custom> = objects.iter().filter_map(|object| Custom::of(&**object)).collect();
    let converted = if customs.is_empty() { Vec::new() } else { ask(webhook, &customs, row).await? };
    for (place, object) in places.into_iter().zip(converted) {
        let old = &entries[place];
        entries[place] = Arc::new(Entry::of(row, old.key.clone(), &*object, old.revision));
    }
    Ok(entries)
}

/// One entry in the version that is served.
///
/// # Errors
/// As [`entries`].
pub fn entry(served: Served, entry: &Arc<Entry>) -> Result<Arc<Entry>, ApiError> {
    if std::ptr::eq(entry.row(served.stored), served.row) {
        return Ok(entry.clone());
    }
    let object = served.decode(entry)?;
    Ok(Arc::new(Entry::of(served.row, entry.key.clone(), &*object, entry.revision)))
}

async fn ask(
    webhook: &Webhook,
    objects: &[&Custom],
    to: &'static Row,
) -> Result<Vec<Box<dyn Object>>, ApiError> {
    let from = objects.first().map_or("", |own| own.definition.kind.api_version);
    let of = format!("conversion webhook for {from}, Kind={}", to.kind.kind);
    let version = webhook.reviews.iter().map(String::as_str).find(|v| matches!(*v, "v1" | "v1beta1"));
    let Some(version) = version else {
        return Err(failed("no supported conversion review versions".to_owned()));
    };
    let Some(caller) = CALLER.get() else { return Err(ApiError::internal("webhooks are not set up")) };
    let started = Instant::now();
    let uid = uuid::Uuid::new_v4().to_string();
    let body = review(version, &uid, objects, to.kind.api_version);
    let answer = caller.post(&place(webhook), body, TIMEOUT).await;
    let converted = match answer {
        Ok(answer) => taken(version, &uid, &answer, objects, to)
            .map_err(|(failure, why)| (failure, format!("{of} {why}"))),
        Err(failure) => Err(("conversion_webhook_call_failure", format!("{of} failed: {}", failure.message))),
    };
    let seconds = started.elapsed().as_secs_f64();
    let labels = match &converted {
        Ok(_) => ["success", ""],
        Err((failure, _)) => ["failure", failure],
    };
    REQUESTS.with_label_values(&labels).inc();
    REQUEST_SECONDS.with_label_values(&labels).observe(seconds);
    let name = format!("{}.{}", to.kind.resource, to.kind.group);
    let from = objects.first().map_or("", |own| own.definition.kind.version);
    let succeeded = if converted.is_ok() { "true" } else { "false" };
    CONVERSION_SECONDS.with_label_values(&[&name, from, to.kind.version, succeeded]).observe(seconds);
    converted.map_err(|(_, why)| failed(why))
}

static REQUESTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::global().counter_vec(
        "apiserver_conversion_webhook_request_total",
        "[ALPHA] Counter for conversion webhook requests with success/failure and failure error type",
        &["result", "failure_type"],
    )
});

static REQUEST_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_conversion_webhook_duration_seconds",
        "[ALPHA] Conversion webhook request latency",
        &["result", "failure_type"],
        &[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0],
    )
});

/// From one millisecond, doubled fourteen times.
const CONVERSION_BUCKETS: [f64; 15] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];

static CONVERSION_SECONDS: LazyLock<HistogramVec> = LazyLock::new(|| {
    metrics::global().histogram_vec(
        "apiserver_crd_conversion_webhook_duration_seconds",
        "[ALPHA] CRD webhook conversion duration in seconds",
        &["crd_name", "from_version", "to_version", "succeeded"],
        &CONVERSION_BUCKETS,
    )
});

/// COMPAT: upstream passes such an error on as it is: a 500 without a reason.
fn failed(message: String) -> ApiError {
    tracing::warn!(message, "Cannot convert custom resources");
    let status = Status { status: "Failure".into(), message, code: 500, ..Status::default() };
    ApiError::Said(Box::new(status))
}

fn place(webhook: &Webhook) -> Place {
    let client = &webhook.client;
    let at = match (&client.service, &client.url) {
        (Some(service), _) => At::Service {
            namespace: service.namespace.clone(),
            name: service.name.clone(),
            path: service.path.clone().unwrap_or_default(),
            port: service.port.unwrap_or(443),
        },
        (None, url) => At::Url(url.clone().unwrap_or_default()),
    };
    let blank = client.ca_bundle.0.iter().all(u8::is_ascii_whitespace);
    Place { at, ca_bundle: if blank { Vec::new() } else { client.ca_bundle.0.clone() } }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: String,
    request: Question<'a>,
}

#[derive(Serialize)]
struct Question<'a> {
    uid: &'a str,
    #[serde(rename = "desiredAPIVersion")]
    desired_api_version: &'a str,
    objects: Vec<Box<RawValue>>,
}

fn review(version: &str, uid: &str, objects: &[&Custom], wanted: &str) -> Vec<u8> {
    let texts = objects.iter().map(|own| json::to_vec(*own));
    let objects =
        texts.filter_map(|text| RawValue::from_string(String::from_utf8(text).ok()?).ok()).collect();
    let review = Review {
        kind: "ConversionReview",
        api_version: format!("{GROUP}/{version}"),
        request: Question { uid, desired_api_version: wanted, objects },
    };
    serde_json::to_vec(&review).expect("texts and JSON make JSON")
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Reviewed {
    kind: String,
    api_version: String,
    response: Option<Said>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Said {
    uid: String,
    converted_objects: Option<Vec<Box<RawValue>>>,
    result: Outcome,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Outcome {
    status: String,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    kind: String,
    api_version: String,
    metadata: Option<serde_json::Value>,
}

/// The objects out of a webhook's answer; otherwise how a message about it goes on.
/// What a webhook's answer came to; a failure has upstream's name in metrics beside its text.
type Taken = Result<Vec<Box<dyn Object>>, (&'static str, String)>;

fn taken(version: &str, uid: &str, answer: &[u8], objects: &[&Custom], to: &'static Row) -> Taken {
    let converted = said(version, uid, answer)
        .map_err(|why| ("conversion_webhook_malformed_response_failure", format!("failed: {why}")))?;
    if converted.len() != objects.len() {
        let why = format!("returned {} objects, expected {}", converted.len(), objects.len());
        return Err(("conversion_webhook_partial_response_failure", why));
    }
    let several = objects.len() > 1;
    let pairs = objects.iter().zip(&converted).enumerate();
    let all: Result<Vec<_>, String> =
        pairs.map(|(place, (old, new))| one(several.then_some(place), old, new.get(), to)).collect();
    all.map_err(|why| ("conversion_webhook_invalid_converted_object_failure", why))
}

/// The objects of an answer.
fn said(version: &str, uid: &str, answer: &[u8]) -> Result<Vec<Box<RawValue>>, String> {
    let review: Reviewed = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let known = [format!("{GROUP}/v1"), format!("{GROUP}/v1beta1")];
    if !review.kind.is_empty() && (review.kind != "ConversionReview" || !known.contains(&review.api_version))
    {
        return Err(format!(
            "no kind {:?} is registered for version {:?} in scheme \"pkg/util/webhook/client.go:71\"",
            review.kind, review.api_version
        ));
    }
    if version == "v1" && (review.kind != "ConversionReview" || review.api_version != format!("{GROUP}/v1")) {
        return Err(format!(
            "expected webhook response of {GROUP}/v1, Kind=ConversionReview, got {}, Kind={}",
            if review.api_version.is_empty() { "/" } else { &review.api_version },
            review.kind
        ));
    }
    let Some(said) = review.response else { return Err("no response provided".into()) };
    if version == "v1" && said.uid != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", said.uid));
    }
    if said.result.status != "Success" {
        if !said.result.message.is_empty() {
            return Err(said.result.message);
        }
        return Err(format!("response.result.status was '{}', not 'Success'", said.result.status));
    }
    Ok(said.converted_objects.unwrap_or_default())
}

fn one(place: Option<usize>, old: &Custom, text: &str, to: &'static Row) -> Result<Box<dyn Object>, String> {
    // COMPAT: one object alone is told of in other words than one of several.
    let told = |alone: &str, what: &str, why: String| match place {
        None => format!("returned invalid {alone}: {why}"),
        Some(place) => format!("returned invalid {what} at index {place}: {why}"),
    };
    let invalid = |why: String| told("object at index 0", "converted object", why);
    let head: Head = serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    if head.api_version != to.kind.api_version {
        let (expected, got) = (to.kind.api_version, head.api_version);
        return Err(invalid(format!("invalid groupVersion (expected {expected}, received {got})")));
    }
    if head.kind != to.kind.kind {
        let (expected, got) = (to.kind.kind, head.kind);
        return Err(invalid(format!("invalid kind (expected {expected}, received {got})")));
    }
    let mut object = (to.new)();
    json::read(object.as_dyn_struct_mut(), text.as_bytes(), &mut None)
        .map_err(|error| invalid(error.to_string()))?;
    let (was, is) = (&old.metadata, object.meta());
    for (what, was, is) in [
        ("name", &was.name, &is.name),
        ("namespace", &was.namespace, &is.namespace),
        ("UID", &was.uid, &is.uid),
    ] {
        if was != is {
            let why = format!("must have the same {what}: {was} != {is}");
            return Err(told("object", "converted object", why));
        }
    }
    if !head.metadata.as_ref().is_some_and(serde_json::Value::is_object) {
        return Err(told("metadata", "metadata in object", "missing metadata in converted object".into()));
    }
    // Labels and annotations are the webhook's to change, all other metadata is not.
    let meta = object.meta_mut();
    let (labels, annotations) = (std::mem::take(&mut meta.labels), std::mem::take(&mut meta.annotations));
    *meta = old.metadata.clone();
    meta.labels = labels;
    meta.annotations = annotations;
    to.default(&mut *object);
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api_types::apiextensions::v1::{CustomResourceDefinition, CustomResourceDefinitionVersion};
    use api_types::custom::{Definition, slot};

    fn rows() -> (&'static Row, &'static Row) {
        let mut crd = CustomResourceDefinition::default();
        crd.spec.group = "convert.example.com".into();
        crd.spec.names.kind = "Thing".into();
        crd.spec.names.plural = "things".into();
        crd.status.accepted_names = crd.spec.names.clone();
        for name in ["v1", "v2"] {
            crd.spec.versions.push(CustomResourceDefinitionVersion {
                name: name.into(),
                served: true,
                storage: name == "v1",
                ..CustomResourceDefinitionVersion::default()
            });
        }
        let mut rows = Definition::all(&crd).into_iter().map(slot);
        (rows.next().expect("v1"), rows.next().expect("v2"))
    }

    fn object(row: &'static Row) -> Custom {
        let mut own = Custom::new(row.custom.expect("custom").definition());
        own.metadata.name = "a".into();
        own.metadata.uid = "u".into();
        own.metadata.generation = 3;
        own.content.insert("hostPort".into(), "h:1".into());
        own
    }

    fn check(answer: &str) -> Result<String, String> {
        let (v1, v2) = rows();
        let taken = taken("v1", "U", answer.as_bytes(), &[&object(v1)], v2).map_err(|(_, why)| why)?;
        Ok(String::from_utf8(json::to_vec(&*taken[0])).expect("text"))
    }

    fn told(objects: &str) -> String {
        format!(
            r#"{{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{{"uid":"U","result":{{"status":"Success"}},"convertedObjects":[{objects}]}}}}"#
        )
    }

    #[test]
    fn questions_carry_the_objects() {
        let (v1, v2) = rows();
        let text = review("v1", "U", &[&object(v1)], v2.kind.api_version);
        let asked: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(asked["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(asked["request"]["desiredAPIVersion"], "convert.example.com/v2");
        assert_eq!(asked["request"]["objects"][0]["apiVersion"], "convert.example.com/v1");
        assert_eq!(asked["request"]["objects"][0]["hostPort"], "h:1");
    }

    #[test]
    fn answers_keep_metadata_but_labels_and_annotations() {
        let new = r#"{"kind":"Thing","apiVersion":"convert.example.com/v2","metadata":{"name":"a","uid":"u","generation":9,"labels":{"l":"m"}},"host":"h","port":"1"}"#;
        assert_eq!(
            check(&told(new)).expect("taken"),
            r#"{"kind":"Thing","apiVersion":"convert.example.com/v2","metadata":{"name":"a","uid":"u","generation":3,"labels":{"l":"m"}},"host":"h","port":"1"}"#
        );
    }

    #[test]
    fn answers_that_are_none() {
        let wrong = |objects: &str| check(&told(objects)).expect_err("refused");
        assert_eq!(wrong(""), "returned 0 objects, expected 1");
        assert_eq!(
            wrong(r#"{"kind":"Thing","apiVersion":"convert.example.com/v1","metadata":{}}"#),
            "returned invalid object at index 0: invalid groupVersion (expected convert.example.com/v2, received convert.example.com/v1)"
        );
        assert_eq!(
            wrong(
                r#"{"kind":"Thing","apiVersion":"convert.example.com/v2","metadata":{"name":"b","uid":"u"}}"#
            ),
            "returned invalid object: must have the same name: a != b"
        );
        let other = r#"{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v7"}"#;
        assert_eq!(
            check(other),
            Err(r#"failed: no kind "ConversionReview" is registered for version "apiextensions.k8s.io/v7" in scheme "pkg/util/webhook/client.go:71""#.into())
        );
        let failed = r#"{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{"uid":"U","result":{"status":"Failure","message":"cannot"}}}"#;
        assert_eq!(check(failed), Err("failed: cannot".into()));
        assert_eq!(
            check("{}"),
            Err("failed: expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got /, Kind=".into())
        );
    }
}
