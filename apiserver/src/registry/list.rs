//! LIST: resourceVersion and resourceVersionMatch in all combinations, limit and continue at one
//! revision, selectors (API docs "Resource versions", "Retrieving large results sets in chunks").

use std::sync::Arc;

use api_types::field::{Errors, Path};
use api_types::kind::Row;
use api_types::selector;

use super::{collection, entry_of, relative_key, store_error};
use crate::answer::{Answer, Filter, List, Served, Source};
use crate::call::{Call, Target, invalid_options};
use crate::crd::conversion;
use crate::kinds;
use crate::server::Server;
use crate::status::ApiError;
use crate::storage::continue_token::Continue;
use crate::storage::kv::KvError;
use crate::storage::snapshot::Snapshot;
use crate::storage::{Collection, Entry};

/// Objects read from the store at once.
const STORE_PAGE: i64 = 500;

/// A list's options, checked.
#[derive(Debug, Clone)]
pub struct Options {
    pub filter: Filter,
    pub at: At,
    pub limit: usize,
    pub start: Option<String>,
}

/// At which revision to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The store's present one.
    Now,
    /// Whatever is at hand.
    Any,
    NotOlderThan(i64),
    Exactly(i64),
}

/// Handles the request.
///
/// # Errors
/// 400 and 422 for bad options, 410 and 504 for revisions out of reach.
pub async fn list(server: &Server, call: &Call, target: &Target) -> Result<Answer, ApiError> {
    let options = options(call, target.row)?;
    let collection = collection(server, target.row)?;
    Ok(Answer::List(conversion::list(read(collection, target, options).await?).await?))
}

/// Reads the options.
///
/// # Errors
/// 400 and 422 in upstream's words.
pub fn options(call: &Call, row: &Row) -> Result<Options, ApiError> {
    let query = &call.query;
    let filter = filter(call, row)?;
    let limit = query.number("limit")?.unwrap_or(0);
    query.number("timeoutSeconds")?;
    let (revision, matching, token) =
        (query.text("resourceVersion"), query.text("resourceVersionMatch"), query.text("continue"));
    check(revision, matching, token, query.get("sendInitialEvents").is_some())?;
    let limit = usize::try_from(limit).unwrap_or(0);
    let mut options = Options { filter, at: At::Now, limit, start: None };
    if !token.is_empty() {
        let token = Continue::decode(token)
            .map_err(|e| ApiError::BadRequest(format!("invalid continue token: {e}")))?;
        if !revision.is_empty() && revision != "0" {
            return Err(ApiError::BadRequest(
                "specifying resource version is not allowed when using continue".into(),
            ));
        }
        options.start = Some(token.start);
        options.at = if token.revision < 0 { At::Now } else { At::Exactly(token.revision) };
        return Ok(options);
    }
    if revision.is_empty() {
        return Ok(options);
    }
    let number = parse_revision(revision).map_err(|error| {
        ApiError::BadRequest(format!("invalid resource version: {}", error.status().message))
    })?;
    options.at = match (matching, number) {
        ("Exact", n) => At::Exactly(n),
        (_, 0) => At::Any,
        // COMPAT: a limit without a match asks for exactly this revision.
        ("", n) if options.limit > 0 => At::Exactly(n),
        (_, n) => At::NotOlderThan(n),
    };
    if options.at == At::Any {
        // COMPAT: "any" is answered whole, whatever the limit.
        options.limit = 0;
    }
    Ok(options)
}

fn check(revision: &str, matching: &str, token: &str, initial_events: bool) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    let path = Path::new("resourceVersionMatch");
    if !matching.is_empty() {
        if revision.is_empty() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if !token.is_empty() {
            errors.forbidden(&path, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.not_supported(&path, matching, &["Exact", "NotOlderThan", ""]);
        }
        if matching == "Exact" && revision == "0" {
            errors.forbidden(&path, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if initial_events {
        errors.forbidden(&Path::new("sendInitialEvents"), "sendInitialEvents is forbidden for list");
    }
    if errors.is_empty() { Ok(()) } else { Err(invalid_options("ListOptions", errors)) }
}

/// A revision out of a query.
///
/// # Errors
/// A 400 in upstream's words.
pub fn parse_revision(text: &str) -> Result<i64, ApiError> {
    text.parse::<i64>().ok().filter(|n| *n >= 0).ok_or_else(|| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        ApiError::BadRequest(format!("resourceVersion: Invalid value: {text:?}: {why}"))
    })
}

/// The selectors of a list, watch or deletecollection.
///
/// # Errors
/// A 400 for what cannot be parsed, and for fields that the kind does not let select.
pub fn filter(call: &Call, row: &Row) -> Result<Filter, ApiError> {
    let bad = |e: selector::Error| ApiError::BadRequest(e.to_string());
    let labels = selector::Labels::parse(call.query.text("labelSelector")).map_err(bad)?;
    let fields = selector::Fields::parse(call.query.text("fieldSelector")).map_err(bad)?;
    let known = (row.selectable_names)();
    for requirement in fields.requirements() {
        let field = requirement.field.as_str();
        if matches!(field, "metadata.name" | "metadata.namespace") || known.contains(&field) {
            continue;
        }
        return Err(ApiError::BadRequest(if known.is_empty() {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        } else {
            format!("field label not supported: {field}")
        }));
    }
    let fields = if kinds::event::is_event(row.kind) {
        fields.renamed(|field| kinds::event::stored_field(row, field))
    } else {
        fields
    };
    Ok(Filter { labels, fields })
}

/// Key prefix of the objects that a target can mean.
pub fn key_prefix(target: &Target) -> String {
    if target.namespace.is_empty() || !target.row.kind.namespaced {
        String::new()
    } else {
        format!("{}/", target.namespace)
    }
}

/// Reads a list.
///
/// # Errors
/// 410 and 504 for revisions out of reach.
pub async fn read(collection: &Arc<Collection>, target: &Target, options: Options) -> Result<List, ApiError> {
    let prefix = key_prefix(target);
    let (snapshot, revision) = match options.at {
        At::Any => collection.snapshot(),
        At::NotOlderThan(revision) => {
            reach(collection, revision).await?;
            collection.snapshot()
        }
        At::Now => {
            let now = collection.kv.revision().await.map_err(|e| store_error(target.row, "list", e))?;
            if !collection.kv.progress_is_reliable() && collection.revision() < now {
                // The cache cannot be asked whether it has seen everything: the store answers.
                return from_store(collection, target, options, &prefix, now).await;
            }
            reach(collection, now).await?;
            collection.snapshot()
        }
        At::Exactly(revision) => {
            if collection.revision() < revision {
                let now = collection.kv.revision().await.map_err(|e| store_error(target.row, "list", e))?;
                if revision > now {
                    return Err(ApiError::TooLargeRevision { asked: revision, current: now });
                }
            }
            // What is compacted is gone for all clients alike, also where the cache still has it.
            let remembered = collection.at(revision).filter(|_| revision >= collection.kv.compacted());
            match remembered {
                Some(snapshot) => (snapshot, revision),
                None => return from_store(collection, target, options, &prefix, revision).await,
            }
        }
    };
    let mut served = Served::of(target.row);
    let snapshot = if options.filter.asks_version(target.row) {
        // Fields are those of the version that is asked: everything that may match has to be seen in it.
        let found = snapshot.range(&prefix, "").filter(|e| options.filter.may_match(e)).cloned().collect();
        let mut converted = Snapshot::default();
        for entry in conversion::entries(served, found).await? {
            converted.insert(entry);
        }
        served.stored = target.row;
        converted
    } else {
        snapshot
    };
    if let Some(name) = options.filter.fields.exact("metadata.name").filter(|_| options.limit == 0) {
        let found = snapshot.get(&relative_key(&target.namespace, name)).cloned();
        if !prefix.is_empty() || !target.row.kind.namespaced {
            let page = found.into_iter().filter(|e| options.filter.matches(e)).collect();
            return Ok(whole(served, Source::Page(page), Filter::default(), revision));
        }
    }
    if options.limit == 0 && options.start.is_none() {
        return Ok(whole(served, Source::Snapshot { snapshot, prefix }, options.filter, revision));
    }
    Ok(page(served, &snapshot, &prefix, &options, revision))
}

async fn reach(collection: &Collection, revision: i64) -> Result<(), ApiError> {
    collection
        .wait_for(revision)
        .await
        .map_err(|behind| ApiError::TooLargeRevision { asked: revision, current: behind.current })
}

fn whole(served: Served, source: Source, filter: Filter, revision: i64) -> List {
    List { served, source, filter, revision, next: String::new(), remaining: None }
}

/// One page of a snapshot.
fn page(served: Served, snapshot: &Snapshot, prefix: &str, options: &Options, revision: i64) -> List {
    let start = options.start.as_ref().map(|start| format!("{prefix}{start}")).unwrap_or_default();
    let mut matching = snapshot.range(prefix, &start).filter(|e| options.filter.matches(e));
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let chosen: Vec<Arc<Entry>> = matching.by_ref().take(limit).cloned().collect();
    let rest = if chosen.len() == limit {
        // With selectors the rest is not counted, as upstream does not know it either.
        if options.filter.is_everything() { matching.count() } else { usize::from(matching.next().is_some()) }
    } else {
        0
    };
    let next = match chosen.last() {
        Some(last) if rest > 0 => token(&last.key, prefix, revision),
        _ => String::new(),
    };
    let remaining = (rest > 0 && options.filter.is_everything()).then_some(rest as i64);
    List { served, source: Source::Page(chosen), filter: Filter::default(), revision, next, remaining }
}

fn token(last: &str, prefix: &str, revision: i64) -> String {
    let start = format!("{}\0", last.strip_prefix(prefix).unwrap_or(last));
    Continue { revision, start }.encode()
}

/// The same out of the store, at a revision that the cache has not or no longer.
async fn from_store(
    collection: &Arc<Collection>,
    target: &Target,
    options: Options,
    prefix: &str,
    revision: i64,
) -> Result<List, ApiError> {
    let full = format!("{}{prefix}", collection.prefix);
    let mut start = format!("{full}{}", options.start.as_deref().unwrap_or_default()).into_bytes();
    let mut chosen: Vec<Arc<Entry>> = Vec::new();
    let limit = if options.limit == 0 { usize::MAX } else { options.limit };
    let (mut more, mut total) = (true, None);
    let size = match i64::try_from(options.limit) {
        Ok(limit @ 1..STORE_PAGE) if options.filter.is_everything() => limit + 1,
        _ => STORE_PAGE,
    };
    while more && chosen.len() <= limit {
        let page = match collection.kv.page(&full, &start, size, revision).await {
            Ok(page) => page,
            Err(KvError::Compacted) => return Err(expired(&options)),
            Err(error) => return Err(store_error(target.row, "list", error)),
        };
        more = page.more;
        total.get_or_insert(page.count);
        for stored in &page.items {
            let mut entry = entry_of(collection, stored)?;
            if options.filter.asks_version(target.row) && options.filter.may_match(&entry) {
                entry = conversion::entry(Served::of(target.row), &entry)?;
            }
            if options.filter.matches(&entry) {
                chosen.push(entry);
            }
        }
        match page.items.last() {
            Some(last) => {
                start = last.key.to_vec();
                start.push(0);
            }
            None => break,
        }
    }
    let (mut next, mut remaining) = (String::new(), None);
    if chosen.len() > limit {
        chosen.truncate(limit);
        // With selectors the rest is not counted, as of a snapshot.
        remaining = total.filter(|_| options.filter.is_everything()).map(|total| total - chosen.len() as i64);
        if let Some(last) = chosen.last() {
            next = token(&last.key, prefix, revision);
        }
    }
    let served = Served::of(target.row);
    Ok(List { served, source: Source::Page(chosen), filter: Filter::default(), revision, next, remaining })
}

/// The revision is compacted; a page's client is offered to go on at the present one.
fn expired(options: &Options) -> ApiError {
    match &options.start {
        Some(start) => ApiError::ExpiredContinue(Continue { revision: -1, start: start.clone() }.encode()),
        None => ApiError::Expired("The resourceVersion for the provided list is too old.".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_do_not_go_together_are_refused() {
        let message = |r, m, c, s| check(r, m, c, s).err().map(|e| e.status().message).unwrap_or_default();
        assert_eq!(message("5", "Exact", "", false), "");
        assert!(message("", "Exact", "", false).contains("forbidden unless resourceVersion is provided"));
        assert!(message("5", "Exact", "x", false).contains("forbidden when continue is provided"));
        assert!(message("0", "Exact", "", false).contains("is forbidden for resourceVersion \"0\""));
        assert!(message("5", "Maybe", "", false).contains("Unsupported value: \"Maybe\""));
        assert!(message("", "", "", true).contains("sendInitialEvents is forbidden for list"));
    }

    #[test]
    fn a_token_starts_after_the_last_key() {
        let token = Continue::decode(&token("ns/web", "ns/", 7)).expect("decodable");
        assert_eq!(token, Continue { revision: 7, start: "web\0".into() });
    }
}
