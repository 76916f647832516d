//! GET of one object: out of the store itself, or out of the cache where the client allows it
//! (`resourceVersion`, API doc "Resource versions").

use crate::answer::Answer;
use crate::call::{Call, Target};
use crate::server::Server;
use crate::status::ApiError;

use super::list::parse_revision;
use super::{collection, fresh, relative_key};

/// Handles the request.
///
/// # Errors
/// 404, and what can be wrong with the revision asked for.
pub async fn get(server: &Server, call: &Call, target: &Target) -> Result<Answer, ApiError> {
    let collection = collection(server, target.row)?;
    let asked = call.query.text("resourceVersion");
    let entry = if asked.is_empty() {
        fresh(collection, target).await?
    } else {
        let revision = parse_revision(asked)?;
        collection
            .wait_for(revision)
            .await
            .map_err(|behind| ApiError::TooLargeRevision { asked: revision, current: behind.current })?;
        collection.get(&relative_key(&target.namespace, &target.name))
    };
    let entry = entry.ok_or_else(|| ApiError::not_found(target.row.kind, &target.name))?;
    Ok(Answer::stored(200, target.row, entry))
}
