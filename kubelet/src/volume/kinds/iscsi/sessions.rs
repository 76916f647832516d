//! What the kernel says of iSCSI sessions and their devices.

use std::collections::BTreeMap;

use crate::volume::host::Host;

const HOSTS: &str = "/sys/class/iscsi_host";

/// Number and folder of the hosts that have sessions with the target, and the session's name.
fn of_target(host: &Host, iqn: &str) -> Result<Vec<(u32, String, String)>, String> {
    let mut found = Vec::new();
    for name in host.names(HOSTS)?.unwrap_or_default() {
        let Some(number) = name.strip_prefix("host").and_then(|number| number.parse().ok()) else { continue };
        let device = format!("{HOSTS}/{name}/device");
        for session in host.names(&device)?.unwrap_or_default() {
            if !session.starts_with("session") {
                continue;
            }
            let path = format!("{device}/{session}/iscsi_session/{session}/targetname");
            // One that ends just now has none.
            if host.read(&path).is_ok_and(|target| target == iqn) {
                found.push((number, device.clone(), session));
            }
        }
    }
    Ok(found)
}

/// The SCSI host of each portal that there is a session with.
pub fn portal_hosts(host: &Host, iqn: &str) -> Result<BTreeMap<String, u32>, String> {
    let mut hosts = BTreeMap::new();
    for (number, device, session) in of_target(host, iqn)? {
        let session = format!("{device}/{session}");
        for connection in host.any_names(&session) {
            if !connection.starts_with("connection") {
                continue;
            }
            let read = |file: &str| {
                host.read(&format!("{session}/{connection}/iscsi_connection/{connection}/{file}"))
            };
            for (address, port) in [("address", "port"), ("persistent_address", "persistent_port")] {
                if let (Ok(address), Ok(port)) = (read(address), read(port)) {
                    let address = if address.contains(':') { format!("[{address}]") } else { address };
                    hosts.insert(format!("{address}:{port}"), number);
                }
            }
        }
    }
    Ok(hosts)
}

/// The devices (`sda`) that are the logical unit, one for each session.
pub fn devices(host: &Host, iqn: &str, lun: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for (number, device, session) in of_target(host, iqn)? {
        // Channel and target are always 0 with iSCSI.
        let unit = format!("{device}/{session}/target{number}:0:0/{number}:0:0:{lun}");
        found.extend(host.any_names(&format!("{unit}/block")).into_iter().next());
    }
    Ok(found)
}
