//! WATCH: where it starts, with what, and until when (API docs "Efficient detection of changes",
//! "Streaming lists").

use std::time::Duration;

use api_types::field::{Errors, Path};
use tokio::time::Instant;

use super::{collection, list, store_error};
use crate::answer::{Answer, Begin, Served, Watch};
use crate::call::{Call, Target, invalid_options};
use crate::server::Server;
use crate::status::ApiError;

/// Handles the request.
///
/// # Errors
/// 400 and 422 for bad options; a revision out of reach is an ERROR event within the watch.
pub async fn watch(server: &Server, call: &Call, target: &Target) -> Result<Answer, ApiError> {
    let query = &call.query;
    let mut filter = list::filter(call, target.row)?;
    if !target.name.is_empty() && filter.fields.is_everything() {
        // `/watch/…/NAME`, and a watch of one object by its path.
        filter.fields = api_types::selector::Fields::parse(&format!("metadata.name={}", target.name))
            .map_err(|e| ApiError::BadRequest(e.to_string()))?;
    }
    let (asked, matching) = (query.text("resourceVersion"), query.text("resourceVersionMatch"));
    let bookmarks = query.flag("allowWatchBookmarks");
    let initial_events = query.flag_if_given("sendInitialEvents");
    check(asked, matching, initial_events, bookmarks)?;
    let timeout = query.number("timeoutSeconds")?.and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    let collection = collection(server, target.row)?.clone();
    let prefix = list::key_prefix(target);
    let indexed = collection.index().and_then(|field| filter.fields.exact(field)).map(str::to_owned);

    let revision = if asked.is_empty() { 0 } else { list::parse_revision(asked)? };
    let mut begin = Begin::Events;
    let mut from = revision;
    let cursor = if asked.is_empty() || revision == 0 || initial_events == Some(true) {
        if asked.is_empty() {
            let now = collection.kv.revision().await.map_err(|e| store_error(target.row, "watch", e))?;
            if collection.kv.progress_is_reliable() {
                reach(&collection, now).await?;
            }
        } else if revision > 0 {
            reach(&collection, revision).await?;
        }
        let start = collection.start_now(indexed.as_deref());
        from = start.revision;
        if initial_events != Some(false) {
            begin = Begin::Objects {
                snapshot: start.snapshot,
                prefix: prefix.clone(),
                bookmark: initial_events == Some(true) && bookmarks,
                last: None,
            };
        }
        Some(start.cursor)
    } else {
        match collection.start_after(revision, indexed.as_deref()) {
            Ok(cursor) => Some(cursor),
            Err(old) => {
                let error =
                    ApiError::Expired(format!("too old resource version: {revision} ({})", old.floor));
                begin = Begin::Failed(Box::new(error.status()));
                None
            }
        }
    };
    let watches = server.flow_control.as_ref().map(|control| &control.watches);
    let heard = watches.and_then(|watches| watches.begin(&call.info, indexed.as_deref()));
    let lasts = timeout
        .map_or_else(|| server.min_request_timeout.mul_f64(1.0 + fastrand::f64()), Duration::from_secs);
    Ok(Answer::Watch(Box::new(Watch {
        served: Served::of(target.row),
        collection,
        begin,
        cursor,
        revision: from,
        prefix,
        filter,
        bookmarks,
        ends: Instant::now() + lasts,
        counted: server.metrics.lasting(&call.info),
        heard,
    })))
}

async fn reach(collection: &crate::storage::Collection, revision: i64) -> Result<(), ApiError> {
    collection
        .wait_for(revision)
        .await
        .map_err(|behind| ApiError::TooLargeRevision { asked: revision, current: behind.current })
}

fn check(revision: &str, matching: &str, initial: Option<bool>, bookmarks: bool) -> Result<(), ApiError> {
    let mut errors = Errors::default();
    let _ = bookmarks;
    let path = Path::new("resourceVersionMatch");
    match initial {
        None if !matching.is_empty() => {
            errors.forbidden(
                &path,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
        None => {}
        Some(_) => {
            if matching.is_empty() {
                errors.forbidden(
                    &path,
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            } else if matching != "NotOlderThan" {
                errors.not_supported(&path, matching, &["NotOlderThan"]);
            }
        }
    }
    let _ = revision;
    if errors.is_empty() { Ok(()) } else { Err(invalid_options("ListOptions", errors)) }
}
