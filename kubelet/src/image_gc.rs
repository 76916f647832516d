//! Makes room for images: when their filesystem is fuller than the high threshold, unused ones are
//! removed, the least recently used first, until it is down to the low one. [`plan`] is pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::cri::v1;
use crate::images::with_tag;
use crate::kubelet::Kubelet;

const EVERY: Duration = Duration::from_secs(300);

/// When to begin and to end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Percent of the filesystem above which images are removed.
    pub high: u64,
    /// Percent down to which they are.
    pub low: u64,
    /// Seconds that an image is kept since it was first seen.
    pub min_age: i64,
    /// Seconds after which an unused image goes whatever the space; 0 keeps it.
    pub max_age: i64,
}

/// An image that no container uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unused {
    /// The runtime's id.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// When it was seen first.
    pub detected: Timestamp,
    /// When it was seen in use last, or else [`Unused::detected`].
    pub last_used: Timestamp,
}

/// What to remove, and how many bytes are to be freed.
pub fn plan(
    mut unused: Vec<Unused>,
    capacity: u64,
    available: u64,
    limits: Limits,
    now: Timestamp,
) -> (Vec<String>, u64) {
    let age = |since: Timestamp| now.duration_since(since).as_secs();
    let (old, mut rest): (Vec<Unused>, Vec<Unused>) =
        unused.drain(..).partition(|image| limits.max_age > 0 && age(image.last_used) > limits.max_age);
    let mut remove: Vec<String> = old.into_iter().map(|image| image.id).collect();
    // COMPAT: 100 switches it off.
    if used_percent(capacity, available) < limits.high || limits.high >= 100 {
        return (remove, 0);
    }
    let wanted = (capacity * (100 - limits.low) / 100).saturating_sub(available);
    rest.sort_by(|a, b| (a.last_used, a.detected, &a.id).cmp(&(b.last_used, b.detected, &b.id)));
    let mut freed = 0;
    for image in rest.into_iter().filter(|image| age(image.detected) >= limits.min_age) {
        if freed >= wanted {
            break;
        }
        freed += image.size;
        remove.push(image.id);
    }
    (remove, wanted)
}

fn used_percent(capacity: u64, available: u64) -> u64 {
    100 - (available * 100).checked_div(capacity).unwrap_or(100).min(100)
}

/// What is remembered of images.
#[derive(Default)]
pub struct Records(tokio::sync::Mutex<Known>);

#[derive(Default)]
struct Known {
    /// They were looked at before.
    looked: bool,
    records: HashMap<String, Record>,
}

impl Known {
    /// These images are there now. What was there before the kubelet was is not new: how old it is nobody knows.
    fn see<'a>(&mut self, ids: impl Iterator<Item = &'a String>, now: Timestamp) {
        let detected = if self.looked { now } else { Timestamp::UNIX_EPOCH };
        self.looked = true;
        let mut before = std::mem::take(&mut self.records);
        for id in ids {
            let record = before.remove(id).unwrap_or(Record { detected, last_used: now });
            self.records.insert(id.clone(), record);
        }
    }
}

/// What is remembered of an image.
#[derive(Clone, Copy)]
struct Record {
    detected: Timestamp,
    last_used: Timestamp,
}

/// Looks every few minutes; never ends.
pub async fn run(kubelet: Arc<Kubelet>) {
    let mut failed = false;
    loop {
        let outcome = collect(&kubelet, kubelet.config.image_limits()).await;
        if let Err(error) = &outcome {
            tracing::warn!(error, "cannot collect images");
            // COMPAT: one failure may be one of a node that starts.
            if failed {
                kubelet.recorder.node(&kubelet.node_name, "Warning", "ImageGCFailed", error);
            }
        }
        failed = outcome.is_err();
        tokio::time::sleep(EVERY).await;
    }
}

/// Removes all images that no container uses and that are not new: the disk is full.
pub async fn remove_unused(kubelet: &Arc<Kubelet>) -> Result<(), String> {
    let limits = kubelet.config.image_limits();
    collect(kubelet, Limits { high: 0, low: 0, ..limits }).await
}

/// The ids of images that volumes of pods show.
async fn shown_by_volumes(kubelet: &Kubelet) -> Result<Vec<String>, crate::cri::CallError> {
    let mut ids = Vec::new();
    for (pod, _) in kubelet.workers.all() {
        for source in pod.spec.volumes.iter().filter_map(|volume| volume.source.image.as_ref()) {
            let Some(image) = with_tag(&source.reference) else { continue };
            let spec = v1::ImageSpec { image, ..Default::default() };
            ids.extend(kubelet.runtime.image(spec).await?.map(|image| image.id));
        }
    }
    Ok(ids)
}

async fn collect(kubelet: &Arc<Kubelet>, limits: Limits) -> Result<(), String> {
    let began = Timestamp::now();
    let mut known = kubelet.image_records.0.lock().await;
    let text = |error: crate::cri::CallError| error.to_string();
    let images = kubelet.runtime.image_list().await.map_err(text)?;
    let containers = kubelet.runtime.containers(None).await.map_err(text)?;
    let mut used: HashSet<String> = containers
        .into_iter()
        .flat_map(|container| {
            [
                container.image_ref,
                container.image_id,
                container.image.map(|image| image.image).unwrap_or_default(),
            ]
        })
        .filter(|name| !name.is_empty())
        .collect();
    used.extend(shown_by_volumes(kubelet).await.map_err(text)?);
    let now = crate::steady::now();
    known.see(images.iter().map(|image| &image.id), now);
    let records = &mut known.records;
    let mut unused = Vec::new();
    for image in images {
        let Some(record) = records.get_mut(&image.id) else { continue };
        let names = image.repo_tags.iter().chain(&image.repo_digests).chain([&image.id]);
        if names.into_iter().any(|name| used.contains(name)) {
            record.last_used = now;
        } else if !image.pinned && !is_sandbox_image(&image) {
            unused.push(Unused {
                id: image.id,
                size: image.size,
                detected: record.detected,
                last_used: record.last_used,
            });
        }
    }
    let filesystem = kubelet.runtime.image_fs().await.map_err(text)?;
    let mountpoint = filesystem
        .image_filesystems
        .into_iter()
        .find_map(|usage| usage.fs_id)
        .ok_or("the runtime names no image filesystem")?
        .mountpoint;
    let stat = rustix::fs::statvfs(mountpoint.as_str()).map_err(|error| format!("{mountpoint}: {error}"))?;
    let (capacity, available) = (stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize);
    let sizes: HashMap<String, u64> = unused.iter().map(|image| (image.id.clone(), image.size)).collect();
    let (remove, wanted) = plan(unused, capacity, available, limits, now);
    let mut freed = 0;
    let mut errors = Vec::new();
    for id in remove {
        let spec = v1::ImageSpec { image: id.clone(), ..Default::default() };
        match kubelet.runtime.remove_image(spec).await {
            Ok(()) => {
                freed += sizes.get(&id).copied().unwrap_or_default();
                records.remove(&id);
                tracing::info!(image = id, "removed an unused image");
            }
            Err(error) => {
                tracing::warn!(%error, image = id, "cannot remove an image");
                errors.push(error.to_string());
            }
        }
    }
    if !errors.is_empty() {
        let joined = if errors.len() == 1 { errors.remove(0) } else { format!("[{}]", errors.join(", ")) };
        return Err(format!(
            "wanted to free {wanted} bytes, but freed {freed} bytes space with errors in image deletion: {joined}"
        ));
    }
    kubelet.images.prune(|id| records.contains_key(id), began);
    // Whoever wants all of it does not expect to get it.
    if freed < wanted && limits.high > 0 {
        let message = format!(
            "Insufficient free disk space on the node's image filesystem ({}% of {} used). Failed to free sufficient \
             space by deleting unused images (freed {freed} bytes). Investigate disk usage, as it could be used by \
             active images, logs, volumes, or other data.",
            used_percent(capacity, available),
            readable(capacity)
        );
        kubelet.recorder.node(&kubelet.node_name, "Warning", "FreeDiskSpaceFailed", &message);
        return Err(message);
    }
    Ok(())
}

/// COMPAT: sizes for people, as upstream's events have them.
fn readable(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut unit = "";
    for next in units {
        if !unit.is_empty() && size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

/// COMPAT: older runtimes do not pin the image of sandboxes, which no container shows as its own.
fn is_sandbox_image(image: &v1::Image) -> bool {
    image.repo_tags.iter().any(|tag| {
        let path = tag.rsplit_once(':').map_or(tag.as_str(), |(path, _)| path);
        path.rsplit('/').next() == Some("pause")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { high: 85, low: 80, min_age: 120, max_age: 0 };

    fn image(id: &str, size: u64, detected: i64, last_used: i64) -> Unused {
        let at = |second| Timestamp::from_second(second).unwrap();
        Unused { id: id.into(), size, detected: at(detected), last_used: at(last_used) }
    }

    fn check(available: u64, limits: Limits, expected: (&[&str], u64)) {
        let unused = vec![
            image("new", 50, 950, 950),
            image("a", 40, 0, 500),
            image("b", 40, 0, 400),
            image("c", 40, 0, 600),
        ];
        let (remove, wanted) = plan(unused, 1000, available, limits, Timestamp::from_second(1000).unwrap());
        assert_eq!(
            (remove.iter().map(String::as_str).collect::<Vec<_>>(), wanted),
            (expected.0.to_vec(), expected.1)
        );
    }

    #[test]
    fn the_least_recently_used_go_until_there_is_room() {
        check(160, LIMITS, (&[], 0));
        check(150, LIMITS, (&["b", "a"], 50));
        // What was only just pulled stays, even when that is not enough.
        check(0, LIMITS, (&["b", "a", "c"], 200));
    }

    #[test]
    fn what_was_there_before_the_kubelet_is_not_new() {
        let mut known = Known::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let ids = ["a".to_owned(), "b".to_owned()];
        known.see(ids[..1].iter(), at(1000));
        known.see(ids.iter(), at(1010));
        let of = |known: &Known, id: &str| (known.records[id].detected, known.records[id].last_used);
        assert_eq!(of(&known, "a"), (Timestamp::UNIX_EPOCH, at(1000)));
        assert_eq!(of(&known, "b"), (at(1010), at(1010)));
        known.see(ids[1..].iter(), at(1020));
        assert!(!known.records.contains_key("a"));
    }

    #[test]
    fn sizes_are_written_for_people() {
        let check = |bytes: u64, expected: &str| assert_eq!(readable(bytes), expected);
        check(1023, "1023 B");
        check(1536, "1.5 KiB");
        check(5 << 20, "5.0 MiB");
        check(3 << 30, "3.0 GiB");
        check(2048 << 40, "2048.0 TiB");
    }

    #[test]
    fn a_threshold_of_all_of_it_never_removes() {
        check(0, Limits { high: 100, ..LIMITS }, (&[], 0));
    }

    #[test]
    fn what_was_not_used_for_too_long_goes_whatever_the_space() {
        check(900, Limits { max_age: 450, ..LIMITS }, (&["a", "b"], 0));
    }
}
