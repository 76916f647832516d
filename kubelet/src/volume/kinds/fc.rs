//! `fc` volumes: a disk of a Fibre Channel fabric that the node's adapters see.
//!
//! ```text
//! plugins/kubernetes.io/fc/WWN-WWN-lun-LUN                  the filesystem, once for all pods
//! plugins/kubernetes.io/fc/WWID-WWID                        the same of a disk that is named by identifiers
//! plugins/kubernetes.io/fc/volumeDevices/WWN-WWN-lun-LUN/   the same of devices, with a file for each pod
//! ```
//! COMPAT: upstream's places, commands and words. Nobody logs in or out: the device is looked for below `/dev/disk`,
//! once more after all adapters have looked for disks, and deleted when no pod has it. Mounting is others' work
//! ([`super::disk`]).

use std::path::{Path, PathBuf};

use super::multipath;
use crate::volume::desired::Wanted;
use crate::volume::host::Host;

/// Its directory below `plugins`.
pub const PLUGIN: &str = "kubernetes.io/fc";
const BY_PATH: &str = "/dev/disk/by-path";
const BY_ID: &str = "/dev/disk/by-id";

/// A disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disk {
    wwns: Vec<String>,
    lun: String,
    /// As the volume has them.
    wwids: Vec<String>,
    pub fs_type: String,
}

impl Disk {
    /// What a volume comes to.
    pub fn of(wanted: &Wanted) -> Option<Result<Self, String>> {
        let source = match &wanted.behind {
            Some(volume) => volume.spec.source.fc.as_ref()?,
            None => wanted.volume.source.fc.as_ref()?,
        };
        let mut disk = Self { fs_type: source.fs_type.clone(), ..Self::default() };
        match source.lun {
            Some(lun) if !source.target_wwns.is_empty() => {
                (disk.wwns, disk.lun) = (source.target_wwns.clone(), lun.to_string());
            }
            _ if !source.wwids.is_empty() => disk.wwids.clone_from(&source.wwids),
            _ => {
                let what = if wanted.block { "mapper" } else { "mounter" };
                return Some(Err(format!("fc: no fc disk information found. failed to make a new {what}")));
            }
        }
        Some(Ok(disk))
    }

    /// COMPAT: the name in a node's status; lists as Go prints them.
    pub fn unique(&self) -> String {
        match self.wwns.is_empty() {
            true => format!("{PLUGIN}/[{}]", self.wwids.join(" ")),
            false => format!("{PLUGIN}/[{}]:{}", self.wwns.join(" "), self.lun),
        }
    }

    /// Its directory below the plugin's, or below the plugin's `volumeDevices`.
    pub fn place(&self, below: &Path) -> PathBuf {
        match self.wwns.is_empty() {
            true => below.join(self.ids().join("-")),
            false => below.join(format!("{}-lun-{}", self.wwns.join("-"), self.lun)),
        }
    }

    /// The identifiers as links have them.
    fn ids(&self) -> Vec<String> {
        self.wwids.iter().map(|id| id.replace(' ', "_")).collect()
    }

    /// The disk that a directory is of, as far as the directory's name says it.
    fn by_name(place: &Path) -> Self {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let list = |text: &str| text.split('-').map(str::to_owned).collect();
        match name.rsplit_once("-lun-") {
            Some((wwns, lun)) => Self { wwns: list(wwns), lun: lun.into(), ..Self::default() },
            None => Self { wwids: list(&name), ..Self::default() },
        }
    }

    /// The names that a disk in this directory may have in a node's status.
    pub fn uniques(place: &Path) -> Vec<String> {
        let disk = Self::by_name(place);
        let mut all = vec![disk.unique()];
        if disk.wwids.iter().any(|id| id.contains('_')) {
            let wwids = disk.wwids.iter().map(|id| id.replace('_', " ")).collect();
            all.push(Self { wwids, ..disk }.unique());
        }
        all
    }

    /// The links that lead to it, by target or identifier in their order.
    fn link_of(&self, host: &Host, which: usize) -> Option<String> {
        if self.wwns.is_empty() {
            let wanted = format!("scsi-{}", self.ids().get(which)?);
            let mut names = host.any_names(BY_ID).into_iter();
            return names.find(|name| *name == wanted).map(|name| format!("{BY_ID}/{name}"));
        }
        let end = format!("fc-0x{}-lun-{}", self.wwns.get(which)?, self.lun);
        let fits = |name: &String| {
            name.strip_suffix(&end).is_some_and(|start| {
                start.is_empty() || (start.starts_with("pci-") && start.ends_with('-') && start.len() > 4)
            })
        };
        host.any_names(BY_PATH).into_iter().find(fits).map(|name| format!("{BY_PATH}/{name}"))
    }
}

/// The device's path; that above several paths, where there is one.
pub fn attach(host: &Host, disk: &Disk) -> Result<String, String> {
    let count = disk.wwns.len().max(disk.wwids.len());
    let look = || {
        let mut last = None;
        for which in 0..count {
            let device = disk.link_of(host, which).and_then(|link| host.resolve(&link).ok());
            if let Some(map) = device.as_deref().and_then(|device| multipath::of(host, device)) {
                return (device, Some(map));
            }
            // COMPAT: the last one counts, be it none.
            last = device;
        }
        (last, None)
    };
    let (mut device, mut map) = look();
    if map.is_none() {
        for adapter in host.any_names("/sys/class/scsi_host") {
            // Some take no such order.
            let _ = host.write(&format!("/sys/class/scsi_host/{adapter}/scan"), "- - -");
        }
        (device, map) = look();
    }
    let Some(path) = map.or(device) else { return Err("no fc disk found".into()) };
    if host.exists(&path) { Ok(path) } else { Err(format!("device {path} does not exist")) }
}

/// Lets go of a device that was mounted, once it is not any more.
pub fn detach(host: &Host, device: &str) -> Result<(), String> {
    host.resolve(device).and_then(|device| remove(host, &device))
}

/// Lets go of the device of a directory that no pod has any more, and of one that was unmounted and not let go of.
pub fn detach_by_name(host: &Host, place: &Path) -> Result<(), String> {
    let disk = Disk::by_name(place);
    let count = disk.wwns.len().max(disk.wwids.len());
    let Some(device) = (0..count).find_map(|which| host.resolve(&disk.link_of(host, which)?).ok()) else {
        tracing::warn!(place = %place.display(), "a disk that is to be let go of is not there");
        return Ok(());
    };
    let top = multipath::of(host, &device).unwrap_or(device);
    remove(host, &top)
}

/// Takes a device, or all paths to it, away from the kernel.
fn remove(host: &Host, device: &str) -> Result<(), String> {
    if host.is_held(device) {
        return Err(format!("the device is in use when it was no longer expected to be in use: {device}"));
    }
    let mut devices = vec![device.to_owned()];
    if device.starts_with("/dev/dm-") {
        devices = multipath::paths(host, device);
        let failed =
            |end: &str, said: &str| Err(format!("failed to flush multipath device {device}: {end}\n{said}"));
        match host.run("multipath", &["-f", device]) {
            Ok(said) if said.is_fine() => {}
            Ok(said) => return failed(&said.end(), &said.text),
            Err(error) => return failed(&error, ""),
        }
    }
    for device in devices {
        let Some(name) = device.strip_prefix("/dev/") else {
            return Err(format!(
                "fc: detachFCDisk failed. device: {device} err: fc detach disk: invalid device name: {device}"
            ));
        };
        match host.run("blockdev", &["--flushbufs", &device]) {
            Ok(said) if said.is_fine() => {}
            Ok(said) => tracing::warn!(device, output = said.text.trim(), "cannot flush a device"),
            Err(error) => tracing::warn!(device, error, "cannot flush a device"),
        }
        if let Err(error) = host.write(&format!("/sys/block/{name}/device/delete"), "1") {
            tracing::warn!(device, error, "cannot delete a block device");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api_types::core::v1::{FCVolumeSource, Volume};
    use parking_lot::Mutex;

    use super::*;
    use crate::volume::desired::Kind;
    use crate::volume::host::Loop;
    use crate::volume::host::Said;
    use crate::volume::kinds::disk::{self, Disks};
    use crate::volume::{VolumeError, mounts};

    fn wanted(source: FCVolumeSource) -> Wanted {
        let mut volume = Volume { name: "v".into(), ..Default::default() };
        volume.source.fc = Some(Box::new(source));
        Wanted {
            volume,
            kind: Kind::Fc,
            dir: "v".into(),
            read_only: false,
            options: Vec::new(),
            local: String::new(),
            behind: None,
            block: false,
        }
    }

    fn by_wwn() -> Wanted {
        let target_wwns = vec!["500a".into(), "500b".into()];
        wanted(FCVolumeSource { target_wwns, lun: Some(3), ..Default::default() })
    }

    fn by_wwid() -> Wanted {
        wanted(FCVolumeSource { wwids: vec!["VENDOR 12".into()], ..Default::default() })
    }

    struct Machine {
        root: PathBuf,
        run: Arc<Mutex<Vec<String>>>,
    }

    impl Machine {
        fn new() -> Self {
            let root = std::env::temp_dir().join(format!("kubelet-fc-{}", uuid::Uuid::new_v4()));
            for dir in ["dev/disk/by-path", "dev/disk/by-id", "sys/class/scsi_host/host7"] {
                std::fs::create_dir_all(root.join(dir)).unwrap();
            }
            std::fs::write(root.join("sys/class/scsi_host/host7/scan"), "").unwrap();
            Self { root, run: Arc::default() }
        }

        /// Programs that work on filesystems are run.
        fn host(&self) -> Host {
            let (run, this) = (Arc::clone(&self.run), Host::this());
            Host::fake(&self.root, move |program, arguments| {
                if matches!(program, "mount" | "blkid" | "fsck") || program.starts_with("mkfs") {
                    return this.run(program, arguments);
                }
                run.lock().push(format!("{program} {}", arguments.join(" ")));
                Ok(Said { code: Some(0), text: String::new() })
            })
        }

        fn device(&self, name: &str) {
            let delete = self.root.join(format!("sys/block/{name}/device/delete"));
            std::fs::create_dir_all(delete.parent().unwrap()).unwrap();
            std::fs::write(delete, "").unwrap();
            std::fs::write(self.root.join("dev").join(name), "").unwrap();
        }

        fn link(&self, link: &str, to: &str) {
            std::os::unix::fs::symlink(to, self.root.join("dev/disk").join(link)).unwrap();
        }

        fn read(&self, path: &str) -> String {
            std::fs::read_to_string(self.root.join(path)).unwrap()
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }

    fn disk(wanted: &Wanted) -> Disk {
        Disk::of(wanted).unwrap().unwrap()
    }

    #[test]
    fn names_are_upstreams() {
        let below = Path::new("/k");
        let (wwn, wwid) = (disk(&by_wwn()), disk(&by_wwid()));
        assert_eq!(wwn.unique(), "kubernetes.io/fc/[500a 500b]:3");
        assert_eq!(wwn.place(below), below.join("500a-500b-lun-3"));
        assert_eq!(Disk::uniques(&wwn.place(below)), [wwn.unique()]);
        assert_eq!(wwid.unique(), "kubernetes.io/fc/[VENDOR 12]");
        assert_eq!(wwid.place(below), below.join("VENDOR_12"));
        assert!(Disk::uniques(&wwid.place(below)).contains(&wwid.unique()));
        let error = Disk::of(&wanted(FCVolumeSource::default())).unwrap().unwrap_err();
        assert_eq!(error, "fc: no fc disk information found. failed to make a new mounter");
    }

    #[test]
    fn a_disk_is_looked_for_and_its_adapters_look_once_more() {
        let machine = Machine::new();
        let host = machine.host();
        assert_eq!(attach(&host, &disk(&by_wwn())).unwrap_err(), "no fc disk found");
        assert_eq!(machine.read("sys/class/scsi_host/host7/scan"), "- - -");
        machine.device("sda");
        machine.device("sdb");
        machine.link("by-path/pci-0000:41:00.0-fc-0x500a-lun-3", "../../sda");
        machine.link("by-path/pci-0000:41:00.0-fc-0x500b-lun-3", "../../sdb");
        machine.link("by-path/pci-0000:41:00.0-fc-0x500b-lun-3-part1", "../../sdc");
        assert_eq!(attach(&host, &disk(&by_wwn())).unwrap(), "/dev/sdb", "as upstream: the last target's");
        machine.link("by-id/scsi-VENDOR_12", "../../sda");
        assert_eq!(attach(&host, &disk(&by_wwid())).unwrap(), "/dev/sda");
        // Both are paths to one device.
        for path in ["sda", "sdb"] {
            let slave = machine.root.join("sys/block/dm-1/slaves").join(path);
            std::fs::create_dir_all(&slave).unwrap();
        }
        assert_eq!(attach(&host, &disk(&by_wwn())).unwrap_err(), "device /dev/dm-1 does not exist");
        std::fs::write(machine.root.join("dev/dm-1"), "").unwrap();
        assert_eq!(attach(&host, &disk(&by_wwn())).unwrap(), "/dev/dm-1");
        assert_eq!(attach(&host, &disk(&by_wwid())).unwrap(), "/dev/dm-1");

        detach_by_name(&host, Path::new("/k/volumeDevices/500f-lun-3")).unwrap();
        assert!(machine.run.lock().is_empty(), "it is not there");
        detach_by_name(&host, Path::new("/k/volumeDevices/VENDOR_12")).unwrap();
        let expected =
            ["multipath -f /dev/dm-1", "blockdev --flushbufs /dev/sda", "blockdev --flushbufs /dev/sdb"];
        assert_eq!(*machine.run.lock(), expected);
        for path in ["sda", "sdb"] {
            assert_eq!(machine.read(&format!("sys/block/{path}/device/delete")), "1");
        }
    }

    fn let_go(disks: &Disks, asked: bool) {
        for place in disks.unasked(|_| asked).unwrap() {
            disks.let_go(&place).unwrap();
        }
    }

    #[test]
    fn a_disk_is_mounted_once_and_goes_with_its_last_pod() {
        let machine = Machine::new();
        let device =
            nix::unistd::geteuid().is_root().then(|| Loop::new(&machine.root.join("disk"))).flatten();
        let Some(device) = device else {
            eprintln!("skipped: needs root and a loop device");
            return;
        };
        let name = device.0.strip_prefix("/dev/").unwrap();
        machine.device(name);
        machine.link("by-id/scsi-VENDOR_12", &device.0);
        let kubelet = machine.root.join("k");
        let disks = Disks::new(&kubelet, machine.host());
        let (wanted, disk) = (by_wwid(), disk::Disk::Fc(disk(&by_wwid())));
        let path = |uid: &str| kubelet.join("pods").join(uid).join("volumes/kubernetes.io~fc/v");
        let mut only_read = by_wwid();
        only_read.read_only = true;
        let error = disks.set_up(&disk, &only_read, &path("a")).unwrap_err();
        assert_eq!(error.step(false), "MountVolume.MountDevice failed");
        assert!(matches!(error, VolumeError::Step { error, .. } if error.contains("unformatted")));
        for uid in ["a", "a", "b"] {
            disks.set_up(&disk, &wanted, &path(uid)).unwrap();
        }
        std::fs::write(path("a").join("file"), "kept").unwrap();
        assert_eq!(std::fs::read_to_string(path("b").join("file")).unwrap(), "kept");
        assert_eq!(mounts::below(&kubelet).unwrap().len(), 3, "the disk, and two pods");
        assert_eq!(disks.uniques().len(), 1);
        let end = |uid: &str, asked: bool| {
            mounts::unmount(&path(uid)).unwrap();
            let_go(&disks, asked);
        };
        end("a", false);
        assert_eq!(mounts::below(&kubelet).unwrap().len(), 2, "the other pod has it still");
        end("b", true);
        assert_eq!(mounts::below(&kubelet).unwrap().len(), 1, "somebody asks for it");
        end("b", false);
        assert_eq!(mounts::below(&kubelet).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(disks.uniques(), Vec::<Vec<String>>::new());
        assert_eq!(*machine.run.lock(), [format!("blockdev --flushbufs {}", device.0)]);
        assert_eq!(machine.read(&format!("sys/block/{name}/device/delete")), "1");

        // As a device.
        let pod_dir = kubelet.join("pods/c");
        let block = Wanted { block: true, ..by_wwid() };
        std::fs::write(machine.root.join("dev").join(name), "").unwrap();
        assert!(!disks.has(&disk, &block, &pod_dir, "c"));
        std::fs::remove_file(machine.root.join("dev/disk/by-id/scsi-VENDOR_12")).unwrap();
        machine.link("by-id/scsi-VENDOR_12", &format!("../../{name}"));
        let place = kubelet.join("plugins/kubernetes.io/fc/volumeDevices/VENDOR_12");
        assert_eq!(disks.map(&disk, &block, &pod_dir, "c").unwrap(), Some(place));
        assert_eq!(disks.map(&disk, &block, &pod_dir, "c").unwrap(), None, "it has it");
        assert!(disks.has(&disk, &block, &pod_dir, "c"));
        let link = pod_dir.join("volumeDevices/kubernetes.io~fc/v");
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(&device.0));
        let_go(&disks, false);
        assert_eq!(disks.uniques().len(), 1, "a pod has it");
        disks.take(&pod_dir, "c").unwrap();
        let_go(&disks, false);
        assert!(!link.is_symlink() && disks.uniques().is_empty());
    }
}
