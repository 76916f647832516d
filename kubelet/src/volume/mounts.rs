//! The node's mount table, and mounting.

use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags};

/// Mount points at or below `root`, deepest first.
pub fn below(root: &Path) -> io::Result<Vec<PathBuf>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> =
        parse(&table).into_iter().filter(|point| point.starts_with(root)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    Ok(points)
}

/// Mount points in the order of the table (`man 5 proc`: the fifth column, octal escapes).
fn parse(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .collect()
}

fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let digits: Vec<u8> = if byte == b'\\' { bytes.clone().take(3).collect() } else { Vec::new() };
        let code = std::str::from_utf8(&digits).ok().filter(|digits| digits.len() == 3);
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(code) => {
                out.push(code);
                bytes.nth(2);
            }
            None => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether something is mounted exactly there.
pub fn is_mounted(path: &Path) -> io::Result<bool> {
    Ok(parse(&std::fs::read_to_string("/proc/self/mountinfo")?).iter().any(|point| point == path))
}

/// A line of the mount table (`man 5 proc`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// MAJOR:MINOR of the filesystem.
    pub device: String,
    /// Where it is mounted.
    pub point: PathBuf,
    /// What is mounted: of a disk the device's path.
    pub source: String,
}

fn parse_whole(table: &str) -> Vec<Mount> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let dash = words.iter().position(|word| *word == "-")?;
        Some(Mount {
            device: (*words.get(2)?).to_owned(),
            point: PathBuf::from(unescape(words.get(4)?)),
            source: unescape(words.get(dash + 2)?),
        })
    };
    table.lines().filter_map(one).collect()
}

/// What is mounted exactly there; the last, where there are several.
pub fn at(path: &Path) -> io::Result<Option<Mount>> {
    let table = parse_whole(&std::fs::read_to_string("/proc/self/mountinfo")?);
    Ok(table.into_iter().rev().find(|mount| mount.point == path))
}

/// The same filesystem is mounted elsewhere too.
pub fn others(mount: &Mount, path: &Path) -> io::Result<bool> {
    let table = parse_whole(&std::fs::read_to_string("/proc/self/mountinfo")?);
    Ok(table.iter().any(|other| other.device == mount.device && other.point != path))
}

/// Mounts a tmpfs of at most `size` bytes (0: the kernel's default, half of memory). What is in it stays out of the swap,
/// where the kernel can do that (from 6.4 on, and not in a user namespace).
pub fn tmpfs(target: &Path, size: u64) -> io::Result<()> {
    match mount_tmpfs(target, size, true) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => mount_tmpfs(target, size, false),
        done => done,
    }
}

fn mount_tmpfs(target: &Path, size: u64, noswap: bool) -> io::Result<()> {
    let size = (size != 0).then(|| format!("size={size}"));
    let data: Vec<String> = size.into_iter().chain(noswap.then(|| "noswap".to_owned())).collect();
    nix::mount::mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), Some(data.join(",").as_str()))
        .map_err(io::Error::from)
}

/// A filesystem of huge pages of that size, such as `2Mi`.
pub fn huge_pages(target: &Path, size: &str) -> io::Result<()> {
    let data = format!("pagesize={size}");
    nix::mount::mount(Some("nodev"), target, Some("hugetlbfs"), MsFlags::empty(), Some(data.as_str()))
        .map_err(io::Error::from)
}

/// Whether the kernel keeps a tmpfs out of the swap: found out with one in `folder`.
pub fn can_stay_out_of_swap(folder: &Path) -> bool {
    let place = folder.join(format!("tmpfs-noswap-test-{}", std::process::id()));
    let mounted = std::fs::create_dir(&place).and_then(|()| mount_tmpfs(&place, 0, true)).is_ok();
    if mounted {
        let _ = nix::mount::umount2(&place, nix::mount::MntFlags::MNT_DETACH);
    }
    let _ = std::fs::remove_dir(&place);
    mounted
}

/// Makes `source` visible at `target` as well.
pub fn bind(source: &Path, target: &Path) -> io::Result<()> {
    nix::mount::mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(io::Error::from)
}

/// Makes a bind mount read-only.
pub fn remount_read_only(target: &Path) -> io::Result<()> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    nix::mount::mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(io::Error::from)
}

/// Unmounts; what is not mounted is no error. A busy mount is detached.
pub fn unmount(target: &Path) -> io::Result<()> {
    match nix::mount::umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        Err(nix::errno::Errno::EBUSY) => {
            nix::mount::umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
                .map_err(io::Error::from)
        }
        Err(error) => Err(error.into()),
    }
}

/// Unmounts; what is busy is an error.
pub fn unmount_now(target: &Path) -> io::Result<()> {
    nix::mount::umount2(target, MntFlags::UMOUNT_NOFOLLOW).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_where() {
        let table = "40 35 8:0 / /mnt/a rw,noatime shared:1 - ext4 /dev/sda rw\n41 35 0:5 / /proc rw - proc proc rw\n";
        let disk = Mount { device: "8:0".into(), point: "/mnt/a".into(), source: "/dev/sda".into() };
        assert_eq!(parse_whole(table)[0], disk);
        assert_eq!(parse_whole(table)[1].source, "proc");
    }

    #[test]
    fn mount_points_are_unescaped() {
        let table =
            "36 35 98:0 / /mnt/a\\040b rw,noatime - ext3 /dev/root rw\n37 35 0:5 / /proc rw - proc proc rw\n";
        assert_eq!(parse(table), [PathBuf::from("/mnt/a b"), PathBuf::from("/proc")]);
    }
}
