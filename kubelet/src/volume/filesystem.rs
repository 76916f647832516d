//! Filesystems on devices of the node: made where there is none, mended, mounted.
//!
//! COMPAT: upstream's order, arguments and words.

use std::path::Path;

use super::host::Host;

/// COMPAT: without `fsType`.
pub const DEFAULT: &str = "ext4";

/// Mounts a device at `place`, with a new filesystem if it holds nothing.
pub fn mount(
    host: &Host,
    device: &str,
    place: &Path,
    kind: &str,
    options: &[String],
    read_only: bool,
) -> Result<(), String> {
    let kind = if kind.is_empty() { DEFAULT } else { kind };
    let mut all = options.to_vec();
    if read_only && !all.iter().any(|option| option == "ro") {
        all.push("ro".into());
    }
    let read_only = all.iter().any(|option| option == "ro");
    all.push("defaults".into());
    let format = format_of(host, device)?;
    if format.is_empty() {
        if read_only {
            return Err(format!(
                "cannot mount unformatted disk {device} as we are manipulating it in read-only mode"
            ));
        }
        make(host, device, place, kind, &all)?;
    } else if !read_only {
        check(host, device)?;
    }
    let (place, options) = (place.to_string_lossy(), all.join(","));
    let arguments = ["-t", kind, "-o", &options, device, &place];
    let said = host.run("mount", &arguments)?;
    if said.is_fine() {
        return Ok(());
    }
    Err(format!(
        "mount failed: {}\nMounting command: mount\nMounting arguments: {}\nOutput: {}\n",
        said.end(),
        arguments.join(" "),
        said.text
    ))
}

fn make(host: &Host, device: &str, place: &Path, kind: &str, options: &[String]) -> Result<(), String> {
    let mut arguments = match kind {
        "ext3" | "ext4" => vec!["-F", "-m0"],
        "xfs" => vec!["-f"],
        _ => Vec::new(),
    };
    arguments.push(device);
    tracing::info!(device, kind, "making a filesystem on a device without content");
    let failed = |cause: String, output: &str| {
        let place = place.display().to_string();
        let options = options.join(",");
        format!(
            "format of disk {device:?} failed: type:({kind:?}) target:({place:?}) options:({options:?}) errcode:({cause}) output:({output}) "
        )
    };
    let said = host.run(&format!("mkfs.{kind}"), &arguments).map_err(|error| failed(error, ""))?;
    if said.is_fine() { Ok(()) } else { Err(failed(said.end(), &said.text)) }
}

/// What a device holds; empty: nothing that is known.
fn format_of(host: &Host, device: &str) -> Result<String, String> {
    let failed = |cause: String| format!("failed to get disk format of disk {device}: {cause}");
    let arguments = ["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", device];
    let said = host.run("blkid", &arguments).map_err(failed)?;
    match said.code {
        Some(0) => Ok(format_in(&said.text)),
        // It knows of nothing there.
        Some(2) => Ok(String::new()),
        _ => Err(failed(said.end())),
    }
}

/// `TYPE` of what blkid prints; partitions are something as well.
fn format_in(text: &str) -> String {
    let value = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).filter(|it| !it.is_empty())
    };
    match (value("PTTYPE"), value("TYPE")) {
        (Some(_), _) => "unknown data, probably partitions".to_owned(),
        (None, kind) => kind.unwrap_or_default().to_owned(),
    }
}

/// Mends what can be mended.
fn check(host: &Host, device: &str) -> Result<(), String> {
    match host.run("fsck", &["-a", device]) {
        Ok(said) if said.code == Some(4) => {
            Err(format!("'fsck' found errors on device {device} but could not correct them: {}", said.text))
        }
        Ok(said) => {
            if !matches!(said.code, Some(0 | 1)) {
                tracing::info!(device, output = said.text.trim(), "fsck found what it did not mend");
            }
            Ok(())
        }
        Err(error) => {
            tracing::warn!(device, error, "cannot check a filesystem");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::Said;
    use super::*;

    #[test]
    fn what_blkid_prints() {
        assert_eq!(format_in("DEVNAME=/dev/x\nTYPE=ext4\n"), "ext4");
        assert_eq!(format_in("DEVNAME=/dev/x\nPTTYPE=dos\n"), "unknown data, probably partitions");
        assert_eq!(format_in(""), "");
    }

    fn tried(blkid: Option<i32>, mount: Option<i32>, read_only: bool) -> Result<(), String> {
        let host = Host::fake(Path::new("/nowhere"), move |program, _| {
            let code = match program {
                "blkid" => blkid,
                "mount" => mount,
                "mkfs.xfs" => Some(1),
                _ => Some(0),
            };
            let text = if program == "blkid" { "TYPE=xfs".into() } else { format!("{program} speaks") };
            Ok(Said { code, text })
        });
        super::mount(&host, "/dev/x", Path::new("/p"), "xfs", &[], read_only)
    }

    #[test]
    fn what_fails_is_told_as_upstream_tells_it() {
        assert_eq!(tried(Some(0), Some(0), true), Ok(()));
        assert_eq!(
            tried(Some(8), Some(0), false).unwrap_err(),
            "failed to get disk format of disk /dev/x: exit status 8"
        );
        assert_eq!(
            tried(Some(2), Some(0), true).unwrap_err(),
            "cannot mount unformatted disk /dev/x as we are manipulating it in read-only mode"
        );
        assert_eq!(
            tried(Some(2), Some(0), false).unwrap_err(),
            "format of disk \"/dev/x\" failed: type:(\"xfs\") target:(\"/p\") options:(\"defaults\") errcode:(exit status 1) output:(mkfs.xfs speaks) "
        );
        assert_eq!(
            tried(Some(0), Some(32), true).unwrap_err(),
            "mount failed: exit status 32\nMounting command: mount\nMounting arguments: -t xfs -o ro,defaults /dev/x /p\nOutput: mount speaks\n"
        );
    }
}
