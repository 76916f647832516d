//! Devices that are several paths to one disk, as the device mapper has them.

use crate::volume::host::Host;

/// The device that a device is a path to (`/dev/dm-0`), if it is one of several.
pub fn of(host: &Host, device: &str) -> Option<String> {
    if device.starts_with("/dev/dm-") {
        return Some(device.to_owned());
    }
    let resolved = host.resolve(device).ok()?;
    let disk = resolved.strip_prefix("/dev/").filter(|name| !name.contains('/'))?;
    let maps = host.any_names("/sys/block").into_iter().filter(|name| name.starts_with("dm-"));
    let mut above = maps.filter(|map| host.is_there(&format!("/sys/block/{map}/slaves/{disk}")));
    above.next().map(|map| format!("/dev/{map}"))
}

/// The devices that are paths to this one (`/dev/sda`).
pub fn paths(host: &Host, map: &str) -> Vec<String> {
    let Some(name) = map.strip_prefix("/dev/").filter(|name| !name.contains('/')) else { return Vec::new() };
    host.any_names(&format!("/sys/block/{name}/slaves")).iter().map(|one| format!("/dev/{one}")).collect()
}
