//! RuntimeClasses: by which of the runtime's configurations a pod is run (KEP-585).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api_types::core::v1::Pod;
use api_types::node::v1::RuntimeClass;
use client::Client;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::follow::{Event, follow};

/// How long a pod waits for the classes to be read for the first time.
const PATIENCE: Duration = Duration::from_secs(10);

/// The cluster's classes: name and handler.
pub struct RuntimeClasses {
    handlers: RwLock<BTreeMap<String, String>>,
    read: watch::Sender<bool>,
}

impl RuntimeClasses {
    /// None are known yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { handlers: RwLock::default(), read: watch::channel(false).0 })
    }

    /// Follows the API; never ends.
    pub async fn run(self: Arc<Self>, client: Client) {
        follow(client.api::<RuntimeClass>(), String::new(), |event| {
            let pair = |class: RuntimeClass| (class.metadata.name, class.handler);
            match event {
                Event::All(classes) => {
                    *self.handlers.write() = classes.into_iter().map(pair).collect();
                    self.read.send_replace(true);
                }
                Event::Set(class) => {
                    let (name, handler) = pair(class);
                    self.handlers.write().insert(name, handler);
                }
                Event::Gone(class) => {
                    self.handlers.write().remove(&class.metadata.name);
                }
                Event::Failed(error) => tracing::debug!(%error, "cannot follow RuntimeClasses"),
            }
            true
        })
        .await;
    }

    /// The handler for a pod: empty for the runtime's default. Errors are worded as upstream's.
    pub async fn handler(&self, pod: &Pod) -> Result<String, String> {
        let Some(class) = pod.spec.runtime_class_name.as_deref().filter(|class| !class.is_empty()) else {
            return Ok(String::new());
        };
        let mut read = self.read.subscribe();
        let _ = tokio::time::timeout(PATIENCE, read.wait_for(|read| *read)).await;
        let handler = self.handlers.read().get(class).cloned();
        handler.ok_or_else(|| format!("runtimeclass.node.k8s.io {class:?} not found"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pods_get_the_handler_of_their_class() {
        let classes = RuntimeClasses::new();
        classes.read.send_replace(true);
        classes.handlers.write().insert("sandboxed".into(), "runsc".into());
        let mut pod = Pod::default();
        assert_eq!(classes.handler(&pod).await, Ok(String::new()));
        pod.spec.runtime_class_name = Some("sandboxed".into());
        assert_eq!(classes.handler(&pod).await, Ok("runsc".into()));
        pod.spec.runtime_class_name = Some("other".into());
        assert_eq!(classes.handler(&pod).await, Err("runtimeclass.node.k8s.io \"other\" not found".into()));
    }
}
