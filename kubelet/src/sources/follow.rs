//! List, then watch, for ever: the state of some objects as calls to one function.

use std::time::Duration;

use api_types::kind::Resource;
use api_types::meta::v1::ListOptions;
use client::{Api, WatchEvent};
use futures::StreamExt;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A change to what is followed.
pub enum Event<T> {
    /// All there is; what is not in it is gone.
    All(Vec<T>),
    /// New or changed.
    Set(T),
    /// Gone.
    Gone(T),
    /// The API cannot be asked right now.
    Failed(client::Error),
}

/// Follows the objects that `field_selector` admits; returns when `each` answers false.
pub async fn follow<T>(api: Api<T>, field_selector: String, mut each: impl FnMut(Event<T>) -> bool)
where
    T: Resource + Send + 'static,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let options = ListOptions { field_selector: field_selector.clone(), ..Default::default() };
        let failed = match api.list(&options).await {
            Ok(page) => {
                pause = FIRST_PAUSE;
                let revision = page.metadata.resource_version.clone();
                if !each(Event::All(page.items)) {
                    return;
                }
                match watch(&api, options, revision, &mut each).await {
                    Ok(true) => continue,
                    Ok(false) => return,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        if !each(Event::Failed(failed)) {
            return;
        }
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Watches until the watch must be started over with a list (`true`) or `each` has had enough.
async fn watch<T>(
    api: &Api<T>,
    mut options: ListOptions,
    mut revision: String,
    each: &mut impl FnMut(Event<T>) -> bool,
) -> Result<bool, client::Error>
where
    T: Resource + Send + 'static,
{
    options.allow_watch_bookmarks = true;
    loop {
        options.resource_version.clone_from(&revision);
        // Spread, so that the watches of many nodes do not end together.
        options.timeout_seconds = Some(300 + fastrand::i64(0..300));
        let mut stream = match api.watch(&options).await {
            Err(error) if error.is_gone() => return Ok(true),
            other => other?,
        };
        while let Some(event) = stream.next().await {
            let event = match event? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    revision.clone_from(&object.metadata().resource_version);
                    Event::Set(object)
                }
                WatchEvent::Deleted(object) => {
                    revision.clone_from(&object.metadata().resource_version);
                    Event::Gone(object)
                }
                WatchEvent::Bookmark(object) => {
                    revision.clone_from(&object.metadata().resource_version);
                    continue;
                }
                WatchEvent::Error(status) => {
                    let error = client::Error::Status(status);
                    return if error.is_gone() { Ok(true) } else { Err(error) };
                }
            };
            if !each(event) {
                return Ok(false);
            }
        }
    }
}
