//! Letting go of a disk: its devices are removed, and the node logs out when it has no other disk of the target.
//!
//! COMPAT: upstream's commands, order and words. What still holds the device keeps it.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Disk, PLUGIN, sessions};
use crate::volume::actual::entries;
use crate::volume::host::Host;
use crate::volume::kinds::multipath;

/// `iscsiadm`: no such session; nothing of that sort.
const ABSENT: [i32; 2] = [2, 21];
const DEVICES: &str = "volumeDevices";

/// Lets go of the disk that a directory is of: of a filesystem's once that is unmounted, of a device's once no pod
/// has it. `root` is the kubelet's. Call it with the target's turn; what it is comes from [`target`].
pub fn detach(host: &Host, root: &Path, place: &Path, block: bool) -> Result<(), String> {
    let Some(disk) = Disk::load(place) else {
        return Err(format!("iscsi detach disk: malformatted mnt path: {}", place.display()));
    };
    let devices = sessions::devices(host, &disk.iqn, &disk.lun)?;
    let maps: BTreeSet<String> =
        devices.iter().filter_map(|device| multipath::of(host, &format!("/dev/{device}"))).collect();
    let tops: Vec<String> = match maps.is_empty() {
        true => devices.iter().map(|device| format!("/dev/{device}")).collect(),
        false => maps.iter().cloned().collect(),
    };
    // Something that was detached lazily may still write to it.
    if let Some(held) = tops.iter().find(|device| host.is_held(device)) {
        return Err(format!("the device is in use when it was no longer expected to be in use: {held}"));
    }
    // COMPAT: of devices only the session goes.
    if !block {
        for map in &maps {
            match host.run("multipath", &["-f", map]) {
                Ok(said) if said.is_fine() => {}
                Ok(said) => tracing::warn!(map, output = said.text.trim(), "cannot flush a multipath device"),
                Err(error) => tracing::warn!(map, error, "cannot flush a multipath device"),
            }
        }
        for device in &devices {
            let path = format!("/sys/block/{device}/device/delete");
            if host.exists(&path)
                && let Err(error) = host.write(&path, "1")
            {
                tracing::warn!(device, error, "cannot delete a block device");
            }
        }
    }
    let mut portals: Vec<&str> = Vec::new();
    for portal in disk.portals.iter().filter(|portal| !portal.is_empty()) {
        if !portals.contains(&portal.as_str()) {
            portals.push(portal);
        }
    }
    let Some(first) = portals.first() else {
        return Err("iscsi detach disk: failed to detach iscsi disk. Couldn't get connected portals from configurations".into());
    };
    if is_busy(root, first, &disk.iqn) {
        return Ok(());
    }
    log_out(host, &disk, &portals).map_err(|error| format!("failed to finish detachISCSIDisk, err: {error}"))
}

/// The target of the disk in a directory.
pub fn target(place: &Path) -> String {
    Disk::load(place).map(|disk| disk.iqn).unwrap_or_default()
}

/// The target has other disks that are in use: their directories are there.
fn is_busy(root: &Path, portal: &str, iqn: &str) -> bool {
    let (files, start) = (root.join("plugins").join(PLUGIN), format!("{portal}-{iqn}"));
    let count = |dir: &Path| -> std::io::Result<usize> {
        let mut count = 0;
        for iface in entries(dir)?.iter().filter(|path| path.is_dir() && !path.ends_with(DEVICES)) {
            let names =
                |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().starts_with(&start);
            count += entries(iface)?.iter().filter(|path| names(path)).count();
        }
        Ok(count)
    };
    match (count(&files), count(&files.join(DEVICES))) {
        (Ok(files), Ok(devices)) => files + devices > 1,
        // Not to know is no reason to log out.
        _ => true,
    }
}

fn log_out(host: &Host, disk: &Disk, portals: &[&str]) -> Result<(), String> {
    let gone = |arguments: &[&str]| match host.run("iscsiadm", arguments) {
        Ok(said) if said.is_fine() || said.code.is_some_and(|code| ABSENT.contains(&code)) => Ok(()),
        Ok(said) => {
            tracing::warn!(output = said.text.trim(), iqn = disk.iqn, "cannot log out of a target");
            Err(said.end())
        }
        Err(error) => Err(error),
    };
    for portal in portals {
        let node = ["-m", "node", "-p", portal, "-T", &disk.iqn];
        gone(&[&node[..], &["--logout", "-I", &disk.iface]].concat())?;
        gone(&[&node[..], &["-o", "delete", "-I", &disk.iface]].concat())?;
    }
    // One that was made for this volume.
    if !disk.initiator_name.is_empty() && disk.iface == format!("{}:{}", portals[0], disk.vol_name) {
        gone(&["-m", "iface", "-I", &disk.iface, "-o", "delete"])?;
    }
    Ok(())
}
