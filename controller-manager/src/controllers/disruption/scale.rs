//! How many pods a controller of any kind wants: its `scale` subresource.

use api_types::autoscaling::v1::Scale as ScaleObject;
use api_types::meta::v1::APIResourceList;
use client::{Client, Error};

use super::Scale;
use crate::cached::Owner;

/// Asks the owner for its scale.
pub(super) async fn ask(namespace: &str, owner: &Owner, client: &Client) -> Scale {
    match look(namespace, owner, client).await {
        Ok(scale) => scale,
        Err(error) => Scale::Unknown(Some(error.to_string())),
    }
}

async fn look(namespace: &str, owner: &Owner, client: &Client) -> Result<Scale, Error> {
    let root = if owner.api_version.contains('/') { "/apis" } else { "/api" };
    let root = format!("{root}/{}", owner.api_version);
    let served: APIResourceList = client.get_path(&root).await?;
    let of_kind = |name: &&str| served.resources.iter().any(|r| r.name == **name && r.kind == *owner.kind);
    let names = served.resources.iter().map(|r| r.name.as_str()).filter(|name| !name.contains('/'));
    let Some(resource) = names.into_iter().find(of_kind) else { return Ok(Scale::Unknown(None)) };
    let path = format!("{root}/namespaces/{namespace}/{resource}/{}/scale", owner.name);
    match client.get_path::<ScaleObject>(&path).await {
        Ok(scale) if *scale.metadata.uid == *owner.uid => {
            Ok(Scale::Of(owner.uid.clone(), scale.spec.replicas))
        }
        Ok(_) => Ok(Scale::Unknown(None)),
        Err(error) if error.is_not_found() => {
            let subresource = format!("{resource}/scale");
            if served.resources.iter().any(|r| r.name == subresource) {
                return Ok(Scale::Unknown(None));
            }
            let message = format!(
                "{}, Resource={resource} does not implement the scale subresource",
                owner.api_version
            );
            Ok(Scale::Unknown(Some(message)))
        }
        Err(error) => Err(error),
    }
}
