//! ImageLocality: prefers nodes that have the pod's images already, in proportion to their size and
//! to how many nodes have them (lest all pods go to the one node that does).

use crate::cache::{NodeInfo, Snapshot};
use crate::framework::{CycleState, MAX_SCORE, Plugin, Score};
use crate::pod::PodView;

const MEBIBYTE: i64 = 1024 * 1024;
/// Images smaller than this in sum do not matter.
const MIN_SIZE: i64 = 23 * MEBIBYTE;
/// The most that counts for each container.
const MAX_SIZE: i64 = 1000 * MEBIBYTE;

pub struct ImageLocality;

impl Plugin for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }
}

impl Score for ImageLocality {
    fn score(&self, _: &CycleState, pod: &PodView, node: &NodeInfo, snapshot: &Snapshot) -> i64 {
        let all = snapshot.nodes.len().max(1) as f64;
        let present = |image: &String| {
            let (name, size) = node.node().images.iter().find(|(name, _)| name == image)?;
            let nodes = snapshot.image_nodes.get(name).copied().unwrap_or(0);
            Some((*size as f64 * (nodes as f64 / all)) as i64)
        };
        let sum: i64 = pod.images.iter().filter_map(present).sum();
        let most = MAX_SIZE * pod.containers.max(1) as i64;
        MAX_SCORE * (sum.clamp(MIN_SIZE, most) - MIN_SIZE) / (most - MIN_SIZE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Cache;
    use crate::testing::{node, pod};
    use std::sync::Arc;

    #[test]
    fn large_images_that_are_there_count() {
        let mut cache = Cache::default();
        cache.set_node(Arc::new(
            node("a").image("big:latest", 500 * MEBIBYTE).image("tiny:1", MEBIBYTE).view(),
        ));
        cache.set_node(Arc::new(node("b").view()));
        let mut snapshot = Snapshot::default();
        cache.update(&mut snapshot);
        let check = |image: &str, on: &str, expected| {
            let pod = pod("p").image(image).view();
            let node = snapshot.get(on).unwrap();
            assert_eq!(
                ImageLocality.score(&CycleState::default(), &pod, node, &snapshot),
                expected,
                "{image} {on}"
            );
        };
        // Half of the nodes have it: 250 of 1000 MiB, above the first 23.
        check("big", "a", 100 * (250 - 23) / (1000 - 23));
        check("big", "b", 0);
        check("tiny:1", "a", 0);
    }
}
