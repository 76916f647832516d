//! Logging in to a target and finding the disk.
//!
//! COMPAT: upstream's commands, order, numbers of attempts and words.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Disk;
use super::sessions;
use crate::volume::host::{Host, Said};
use crate::volume::kinds::multipath;

/// Paths that are enough of a disk with several portals.
const ENOUGH_PATHS: usize = 2;
/// Attempts before enough paths are enough.
const LEAST_ATTEMPTS: u32 = 2;
/// Attempts before any path is enough.
const MOST_ATTEMPTS: u32 = 5;
/// Seconds until a device is there.
const DEVICE_SECONDS: u32 = 30;
/// Seconds until the device above several paths is there.
const MULTIPATH_SECONDS: u32 = 10;
/// `iscsiadm`: there is such a session.
const SESSION_EXISTS: i32 = 15;

const DISCOVERY_KEYS: [&str; 4] = [
    "discovery.sendtargets.auth.username",
    "discovery.sendtargets.auth.password",
    "discovery.sendtargets.auth.username_in",
    "discovery.sendtargets.auth.password_in",
];
const SESSION_KEYS: [&str; 4] = [
    "node.session.auth.username",
    "node.session.auth.password",
    "node.session.auth.username_in",
    "node.session.auth.password_in",
];

/// An error is what `iscsiadm` said, and how it ended.
type Answer = Result<Said, (String, String)>;

/// Runs `iscsiadm`.
fn admin(host: &Host, arguments: &[&str]) -> Answer {
    match host.run("iscsiadm", arguments) {
        Ok(said) if said.is_fine() => Ok(said),
        Ok(said) => Err((said.text.clone(), said.end())),
        Err(error) => Err((String::new(), error)),
    }
}

/// Logs in to all portals that can be reached, and answers with the device's path. Call it with the target's turn.
pub fn attach(host: &Host, disk: &Disk) -> Result<String, String> {
    let shown =
        admin(host, &["-m", "iface", "-I", &disk.init_iface, "-o", "show"]).map_err(|(_, end)| end)?;
    let transport = transport(&shown.text);
    if !disk.initiator_name.is_empty() {
        copy_iface(host, disk)?;
    }
    let mut hosts = sessions::portal_hosts(host, &disk.iqn)?;
    let (mut found, mut last) = (BTreeMap::new(), String::new());
    for attempt in 1..=MOST_ATTEMPTS {
        for portal in &disk.portals {
            if found.contains_key(portal) {
                continue;
            }
            if !hosts.contains_key(portal) {
                if let Err(error) = log_in(host, disk, portal) {
                    last = error;
                    continue;
                }
                hosts = sessions::portal_hosts(host, &disk.iqn)?;
            }
            let Some(number) = hosts.get(portal) else {
                tracing::warn!(portal, "no SCSI host after logging in");
                continue;
            };
            // Only this unit: others that the target has are none of ours.
            host.write(&format!("/sys/class/scsi_host/host{number}/scan"), &format!("0 0 {}", disk.lun))?;
            let Some(transport) = &transport else {
                return Err(format!("could not parse iface file for {}", disk.iface));
            };
            match wait_for(host, disk, portal, transport == "tcp") {
                Ok(device) => {
                    found.insert(portal.clone(), device);
                }
                Err(error) => last = error,
            }
        }
        if found.is_empty() {
            let _ = admin(host, &["-m", "iface", "-I", &disk.iface, "-o", "delete"]);
            return Err(format!("failed to get any path for iscsi disk, last err seen:\n{last}"));
        }
        let enough = found.len() >= ENOUGH_PATHS && attempt >= LEAST_ATTEMPTS;
        // Several names of one portal are one.
        if enough || disk.portals.iter().all(|portal| found.contains_key(portal)) {
            break;
        }
    }
    if !last.is_empty() {
        tracing::warn!(error = last, iqn = disk.iqn, "not all paths to an iSCSI disk are there");
    }
    let seconds = if disk.portals.len() > 1 { MULTIPATH_SECONDS } else { 1 };
    let all = || found.values().find_map(|device| multipath::of(host, device));
    let above = wait(host, seconds, all);
    Ok(above.or_else(|| found.into_values().next()).unwrap_or_default())
}

/// Asks once a second.
fn wait<T>(host: &Host, seconds: u32, look: impl Fn() -> Option<T>) -> Option<T> {
    for second in 0..seconds {
        if second > 0 {
            host.pause(Duration::from_secs(1));
        }
        if let Some(found) = look() {
            return Some(found);
        }
    }
    None
}

fn log_in(host: &Host, disk: &Disk, portal: &str) -> Result<(), String> {
    let discovery = ["-m", "discoverydb", "-t", "sendtargets", "-p", portal, "-I", &disk.iface];
    let discover = |more: &[&str]| admin(host, &[&discovery[..], more].concat());
    let node = |more: &[&str]| {
        let start = ["-m", "node", "-p", portal, "-T", &disk.iqn, "-I", &disk.iface];
        admin(host, &[&start[..], more].concat())
    };
    let _ = discover(&["-o", "new"]);
    let chap = |keys: &[&str], update: &dyn Fn(&str, &str) -> Answer, what: &str| {
        for key in keys {
            let value = disk.secret.get(*key).map(String::as_str).unwrap_or_default();
            if !value.is_empty() {
                update(key, value).map_err(|(said, _)| {
                    format!("iscsi: failed to update {what} key {key:?} error: {said}")
                })?;
            }
        }
        Ok::<(), String>(())
    };
    if disk.chap_discovery {
        let update = |key: &str, value: &str| discover(&["-o", "update", "-n", key, "-v", value]);
        update("discovery.sendtargets.auth.authmethod", "CHAP")
            .map_err(|(said, _)| format!("iscsi: failed to update discoverydb with CHAP, output: {said}"))
            .and_then(|_| chap(&DISCOVERY_KEYS, &update, "discoverydb"))
            .map_err(|error| {
                format!("iscsi: failed to update discoverydb to portal {portal} error: {error}")
            })?;
    }
    if let Err((said, end)) = discover(&["--discover"]) {
        let _ = discover(&["-o", "delete"]);
        return Err(format!("iscsi: failed to sendtargets to portal {portal} output: {said}, err {end}"));
    }
    let update = |key: &str, value: &str| node(&["-o", "update", "-n", key, "-v", value]);
    // The kernel is not to look for the target's other units.
    if let Err((said, _)) = update("node.session.scan", "manual") {
        tracing::warn!(output = said, "cannot keep a session from finding all units of its target");
    }
    if disk.chap_session {
        update("node.session.auth.authmethod", "CHAP")
            .map_err(|(said, _)| format!("iscsi: failed to update node with CHAP, output: {said}"))
            .and_then(|_| chap(&SESSION_KEYS, &update, "node session"))
            .map_err(|error| {
                format!("iscsi: failed to update iscsi node to portal {portal} error: {error}")
            })?;
    }
    if let Err((said, end)) = node(&["--login"]) {
        let _ =
            admin(host, &["-m", "node", "-p", portal, "-I", &disk.iface, "-T", &disk.iqn, "-o", "delete"]);
        return Err(format!("iscsi: failed to attach disk: Error: {said} ({end})"));
    }
    // A node that starts is not to wait for it.
    let manual = ["-o", "update", "-n", "node.startup", "-v", "manual"];
    let start = ["-m", "node", "-p", portal, "-T", &disk.iqn];
    if let Err((said, _)) = admin(host, &[&start[..], &manual].concat()) {
        tracing::warn!(output = said, "cannot keep the node from logging in when it starts");
    }
    Ok(())
}

/// Waits for the device of a portal. Of transports that are cards the place of the card is not known.
fn wait_for(host: &Host, disk: &Disk, portal: &str, tcp: bool) -> Result<String, String> {
    // COMPAT: the links have no brackets.
    let address = if portal.starts_with('[') { portal.replace(['[', ']'], "") } else { portal.to_owned() };
    let link = format!("ip-{address}-iscsi-{}-lun-{}", disk.iqn, disk.lun);
    let folder = "/dev/disk/by-path";
    let look = || match tcp {
        true => Some(format!("{folder}/{link}")).filter(|path| host.exists(path)),
        false => {
            let end = format!("-{link}");
            let names = host.any_names(folder).into_iter();
            let mut fit = names.filter(|name| name.starts_with("pci-") && name.ends_with(&end));
            fit.next().map(|name| format!("{folder}/{name}"))
        }
    };
    wait(host, DEVICE_SECONDS, look).ok_or_else(|| {
        let path = if tcp { format!("{folder}/{link}") } else { format!("{folder}/pci-*-{link}") };
        format!("Timed out waiting for device at path {path} after {DEVICE_SECONDS}s")
    })
}

/// How an interface speaks; `None`: it does not say so.
fn transport(shown: &str) -> Option<String> {
    let line = shown.lines().find_map(|line| line.strip_prefix("iface.transport_name = "))?;
    Some(if line == "<empty>" { "tcp" } else { line }.to_owned()).filter(|name| !name.is_empty())
}

/// What an interface is set to, but its name.
fn settings(shown: &str) -> Result<BTreeMap<&str, &str>, String> {
    let mut all = BTreeMap::new();
    for line in shown.lines().filter(|line| line.starts_with("iface.") && !line.contains("<empty>")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [key, "=", value] = words[..] else {
            return Err(format!("error: invalid iface setting: [{}]", words.join(" ")));
        };
        if key != "iface.iscsi_ifacename" {
            all.insert(key, value);
        }
    }
    Ok(all)
}

/// Makes the volume's own interface, with its initiator's name.
fn copy_iface(host: &Host, disk: &Disk) -> Result<(), String> {
    if disk.init_iface == disk.iface {
        return Err(format!("iscsi: cannot clone iface with same name: {}", disk.init_iface));
    }
    let shown = admin(host, &["-m", "iface", "-I", &disk.init_iface, "-o", "show"])
        .map_err(|(said, end)| format!("iscsi: failed to show iface records: {said} ({end})"))?;
    let mut settings = settings(&shown.text)
        .map_err(|error| format!("iscsi: failed to parse iface records: {} ({error})", shown.text))?;
    settings.insert("iface.initiatorname", &disk.initiator_name);
    let made = host.run("iscsiadm", &["-m", "iface", "-I", &disk.iface, "-o", "new"]);
    let failed = |said: &str, end: &str| Err(format!("iscsi: failed to create new iface: {said} ({end})"));
    match made {
        Ok(said) if said.is_fine() || said.code == Some(SESSION_EXISTS) => {}
        Ok(said) => return failed(&said.text, &said.end()),
        Err(error) => return failed("", &error),
    }
    for (key, value) in settings {
        let update = ["-m", "iface", "-I", &disk.iface, "-o", "update", "-n", key, "-v", value];
        if let Err((said, end)) = admin(host, &update) {
            let _ = admin(host, &["-m", "iface", "-I", &disk.iface, "-o", "delete"]);
            return Err(format!(
                "iscsi: failed to update iface records: {said} ({end}). iface({}) will be used",
                disk.init_iface
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interface_is() {
        let shown = "# BEGIN RECORD 2.1.8\niface.iscsi_ifacename = default\niface.net_ifacename = <empty>\n\
                     iface.transport_name = tcp\niface.mtu = 0\n# END RECORD\n";
        assert_eq!(transport(shown).as_deref(), Some("tcp"));
        assert_eq!(transport("iface.transport_name = <empty>\n").as_deref(), Some("tcp"));
        assert_eq!(transport("nothing"), None);
        let expected = BTreeMap::from([("iface.transport_name", "tcp"), ("iface.mtu", "0")]);
        assert_eq!(settings(shown), Ok(expected));
        assert_eq!(settings("iface.x = a b\n").unwrap_err(), "error: invalid iface setting: [iface.x = a b]");
    }
}
