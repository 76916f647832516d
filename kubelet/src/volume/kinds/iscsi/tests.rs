//! A machine whose `/sys`, `/dev` and `iscsiadm` are a folder and a list of what was run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use api_types::core::v1::{ISCSIVolumeSource, LocalObjectReference, Volume};
use parking_lot::Mutex;

use super::*;
use crate::volume::desired::Kind;
use crate::volume::host::{Host, Said};

const IQN: &str = "iqn.2001-04.com.example:a";

#[derive(Default)]
struct State {
    /// All that was run, without `iscsiadm -m`.
    run: Vec<String>,
    /// What a command that starts like this is answered.
    refused: Vec<(String, i32)>,
    /// Portals that nobody answers at.
    away: BTreeSet<String>,
    sessions: u32,
}

struct Machine {
    root: PathBuf,
    host: Host,
    state: Arc<Mutex<State>>,
}

fn write(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

impl Machine {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("kubelet-iscsi-{}", uuid::Uuid::new_v4()));
        let state = Arc::new(Mutex::new(State::default()));
        let (known, at) = (Arc::clone(&state), root.clone());
        let host = Host::fake(&root, move |program, arguments| Ok(answer(&known, &at, program, arguments)));
        Self { root, host, state }
    }

    fn run(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().run)
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

fn answer(state: &Mutex<State>, root: &Path, program: &str, arguments: &[&str]) -> Said {
    let mut state = state.lock();
    let line = format!("{program} {}", arguments.join(" "));
    let line = line.strip_prefix("iscsiadm -m ").unwrap_or(&line).to_owned();
    state.run.push(line.clone());
    if let Some((_, code)) = state.refused.iter().find(|(start, _)| line.starts_with(start.as_str())) {
        return Said { code: Some(*code), text: "no".into() };
    }
    if line.ends_with("-o show") {
        let text = "iface.iscsi_ifacename = default\niface.transport_name = tcp\niface.hwaddress = <empty>\n";
        return Said { code: Some(0), text: text.into() };
    }
    let portal = arguments.iter().skip_while(|one| **one != "-p").nth(1).copied().unwrap_or_default();
    if line.ends_with("--discover") && state.away.contains(portal) {
        return Said { code: Some(4), text: "cannot connect".into() };
    }
    if line.ends_with("--login") {
        // A session, with a disk of two units of which nothing is known before the scan.
        state.sessions += 1;
        session(root, state.sessions, portal);
    }
    Said { code: Some(0), text: String::new() }
}

fn session(root: &Path, number: u32, portal: &str) {
    let (address, port) = portal.rsplit_once(':').unwrap();
    let session = root.join(format!("sys/class/iscsi_host/host{number}/device/session{number}"));
    write(session.join(format!("iscsi_session/session{number}/targetname")), &format!("{IQN}\n"));
    let connection = format!("connection{number}:0");
    let connection = session.join(&connection).join("iscsi_connection").join(&connection);
    for (file, text) in [("address", address), ("port", port)] {
        write(connection.join(file), text);
        write(connection.join(format!("persistent_{file}")), text);
    }
    let disk = format!("sd{}", char::from(b'a' + u8::try_from(number).unwrap()));
    let block = format!("target{number}:0:0/{number}:0:0:2/block/{disk}");
    std::fs::create_dir_all(session.join(block)).unwrap();
    write(root.join(format!("sys/class/scsi_host/host{number}/scan")), "");
    write(root.join(format!("sys/block/{disk}/device/delete")), "");
    write(root.join(format!("dev/{disk}")), "");
    let link = root.join(format!("dev/disk/by-path/ip-{portal}-iscsi-{IQN}-lun-2"));
    std::fs::create_dir_all(link.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(format!("../../{disk}"), link).unwrap();
}

fn source() -> ISCSIVolumeSource {
    ISCSIVolumeSource {
        target_portal: "10.0.0.1".into(),
        iqn: IQN.into(),
        lun: 2,
        iscsi_interface: "default".into(),
        ..Default::default()
    }
}

fn disk(source: ISCSIVolumeSource) -> Disk {
    let mut volume = Volume { name: "v".into(), ..Default::default() };
    volume.source.iscsi = Some(Box::new(source));
    let wanted = Wanted {
        volume,
        kind: Kind::Iscsi,
        dir: "v".into(),
        read_only: false,
        options: Vec::new(),
        local: String::new(),
        behind: None,
        block: false,
    };
    Disk::of(&wanted, "ns").unwrap()
}

const PORTAL: &str = "10.0.0.1:3260";

#[test]
fn a_node_logs_in_once() {
    let machine = Machine::new();
    let disk = disk(source());
    assert_eq!(disk.unique(), format!("kubernetes.io/iscsi/10.0.0.1:{IQN}:2"));
    let device = attach::attach(&machine.host, &disk).unwrap();
    assert_eq!(device, format!("/dev/disk/by-path/ip-{PORTAL}-iscsi-{IQN}-lun-2"));
    let discovery = format!("discoverydb -t sendtargets -p {PORTAL} -I default");
    let node = format!("node -p {PORTAL} -T {IQN}");
    let expected = [
        "iface -I default -o show".to_owned(),
        format!("{discovery} -o new"),
        format!("{discovery} --discover"),
        format!("{node} -I default -o update -n node.session.scan -v manual"),
        format!("{node} -I default --login"),
        format!("{node} -o update -n node.startup -v manual"),
    ];
    assert_eq!(machine.run(), expected);
    let scan = machine.root.join("sys/class/scsi_host/host1/scan");
    assert_eq!(std::fs::read_to_string(scan).unwrap(), "0 0 2");
    assert_eq!(attach::attach(&machine.host, &disk).unwrap(), device);
    assert_eq!(machine.run(), ["iface -I default -o show"], "it is logged in");
}

#[test]
fn a_secret_is_given_for_what_asks_for_it() {
    let machine = Machine::new();
    let mut source = source();
    source.secret_ref = Some(Box::new(LocalObjectReference { name: "chap".into() }));
    assert_eq!(disk(source.clone()).secret_at, None, "nothing asks for it");
    (source.chap_auth_discovery, source.chap_auth_session) = (true, true);
    let mut disk = disk(source);
    let at = disk.secret_at.clone().unwrap();
    assert_eq!((at.namespace.as_str(), at.name.as_str()), ("ns", "chap"));
    for key in ["discovery.sendtargets.auth.username", "node.session.auth.password", "other"] {
        disk.secret.insert(key.into(), "x".into());
    }
    attach::attach(&machine.host, &disk).unwrap();
    let update = |line: &String| line.contains("auth") || line.contains("other");
    let told: Vec<String> = machine.run().into_iter().filter(update).collect();
    let discovery = format!("discoverydb -t sendtargets -p {PORTAL} -I default -o update -n");
    let node = format!("node -p {PORTAL} -T {IQN} -I default -o update -n");
    let expected = [
        format!("{discovery} discovery.sendtargets.auth.authmethod -v CHAP"),
        format!("{discovery} discovery.sendtargets.auth.username -v x"),
        format!("{node} node.session.auth.authmethod -v CHAP"),
        format!("{node} node.session.auth.password -v x"),
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_fails_is_told_and_taken_back() {
    let machine = Machine::new();
    let disk = disk(source());
    machine.state.lock().away.insert(PORTAL.into());
    let error = attach::attach(&machine.host, &disk).unwrap_err();
    let said =
        format!("iscsi: failed to sendtargets to portal {PORTAL} output: cannot connect, err exit status 4");
    assert_eq!(error, format!("failed to get any path for iscsi disk, last err seen:\n{said}"));
    let run = machine.run();
    assert_eq!(run[3], format!("discoverydb -t sendtargets -p {PORTAL} -I default -o delete"));
    assert_eq!(run[4], "iface -I default -o delete");

    let machine = Machine::new();
    let login = format!("node -p {PORTAL} -T {IQN} -I default --login");
    machine.state.lock().refused.push((login, 24));
    let error = attach::attach(&machine.host, &disk).unwrap_err();
    assert!(error.ends_with("\niscsi: failed to attach disk: Error: no (exit status 24)"), "{error}");
    let run = machine.run();
    assert_eq!(run[run.len() - 2], format!("node -p {PORTAL} -I default -T {IQN} -o delete"));

    let machine = Machine::new();
    machine.state.lock().refused.push(("iface -I default -o show".into(), 21));
    assert_eq!(attach::attach(&machine.host, &disk).unwrap_err(), "exit status 21");
}

#[test]
fn an_initiator_has_an_interface_of_its_own() {
    let machine = Machine::new();
    let mut source = source();
    source.initiator_name = Some("iqn.2001-04.com.example:me".into());
    let disk = disk(source);
    let iface = format!("{PORTAL}:v");
    assert_eq!(disk.iface, iface);
    let root = Path::new("/k");
    let name = format!("{PORTAL}-{IQN}-lun-2");
    assert_eq!(disk.place(root), root.join(format!("iface-{iface}")).join(name));
    attach::attach(&machine.host, &disk).unwrap();
    let expected = [
        "iface -I default -o show".to_owned(),
        "iface -I default -o show".to_owned(),
        format!("iface -I {iface} -o new"),
        format!("iface -I {iface} -o update -n iface.initiatorname -v iqn.2001-04.com.example:me"),
        format!("iface -I {iface} -o update -n iface.transport_name -v tcp"),
    ];
    assert_eq!(machine.run()[..5], expected);
}

#[test]
fn several_portals_are_paths_to_one_device() {
    let machine = Machine::new();
    let mut source = source();
    source.portals = vec!["10.0.0.2".into(), "10.0.0.3:3261".into()];
    let disk = disk(source);
    machine.state.lock().away.insert("10.0.0.3:3261".into());
    for path in ["sdb", "sdc"] {
        write(machine.root.join("sys/block/dm-3/slaves").join(path), "");
    }
    assert_eq!(attach::attach(&machine.host, &disk).unwrap(), "/dev/dm-3");
    let discovered = machine.run().into_iter().filter(|line| line.ends_with("--discover")).count();
    assert_eq!(discovered, 4, "the one that is away is tried twice, two paths are enough then");

    // Letting go of it: the map, both devices, all portals.
    let kubelet = machine.root.join("k");
    let place = disk.place(&kubelet.join("plugins").join(PLUGIN));
    std::fs::create_dir_all(&place).unwrap();
    disk.save(&place).unwrap();
    detach::detach(&machine.host, &kubelet, &place, false).unwrap();
    for path in ["sdb", "sdc"] {
        let deleted = machine.root.join(format!("sys/block/{path}/device/delete"));
        assert_eq!(std::fs::read_to_string(deleted).unwrap(), "1");
    }
    let run = machine.run();
    assert_eq!(run.len(), 7, "{run:?}");
    assert_eq!(run[0], "multipath -f /dev/dm-3");
    assert_eq!(run[1], format!("node -p {PORTAL} -T {IQN} --logout -I default"));
    assert_eq!(run[6], format!("node -p 10.0.0.3:3261 -T {IQN} -o delete -I default"));
}

#[test]
fn a_node_logs_out_with_the_last_disk_of_a_target() {
    let machine = Machine::new();
    let disk = disk(source());
    attach::attach(&machine.host, &disk).unwrap();
    machine.run();
    let kubelet = machine.root.join("k");
    let files = kubelet.join("plugins").join(PLUGIN);
    let place = disk.place(&files);
    std::fs::create_dir_all(&place).unwrap();
    let other = files.join("volumeDevices/iface-default").join(format!("{PORTAL}-{IQN}-lun-5"));
    std::fs::create_dir_all(&other).unwrap();
    // Nothing is written down: the name says enough.
    detach::detach(&machine.host, &kubelet, &place, false).unwrap();
    assert_eq!(machine.run(), Vec::<String>::new(), "the other one is used");
    assert!(machine.exists("sys/block/sdb/device/delete"));
    std::fs::remove_dir(&other).unwrap();
    machine.state.lock().refused.push(("node".into(), 21));
    detach::detach(&machine.host, &kubelet, &place, true).unwrap();
    let node = format!("node -p {PORTAL} -T {IQN}");
    assert_eq!(
        machine.run(),
        [format!("{node} --logout -I default"), format!("{node} -o delete -I default")],
        "what is not there is no error"
    );
    machine.state.lock().refused = vec![("node".into(), 8)];
    let error = detach::detach(&machine.host, &kubelet, &place, true).unwrap_err();
    assert_eq!(error, "failed to finish detachISCSIDisk, err: exit status 8");
}

#[test]
fn what_is_written_down_is_upstreams() {
    let dir = std::env::temp_dir().join(format!("kubelet-iscsi-json-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&dir).unwrap();
    let disk = disk(source());
    disk.save(&dir).unwrap();
    let text = format!(
        "{{\"VolName\":\"v\",\"Portals\":[\"{PORTAL}\"],\"Iqn\":\"{IQN}\",\"Lun\":\"2\",\"InitIface\":\"default\",\
         \"Iface\":\"default\",\"InitiatorName\":\"\",\"MetricsProvider\":null}}\n"
    );
    assert_eq!(std::fs::read_to_string(dir.join("iscsi.json")).unwrap(), text);
    let loaded = Disk::load(&dir).unwrap();
    assert_eq!((&loaded.portals, &loaded.iface, &loaded.lun), (&disk.portals, &disk.iface, &disk.lun));
    std::fs::remove_dir_all(&dir).unwrap();
    let place = disk.place(Path::new("/k"));
    let named = Disk::load(&place).unwrap();
    assert_eq!((named.portals, named.iqn, named.lun), (disk.portals.clone(), disk.iqn.clone(), "2".into()));
    let name = |portal: &str| format!("kubernetes.io/iscsi/{portal}:{IQN}:2");
    assert_eq!(Disk::uniques(&place), [name(PORTAL), name("10.0.0.1")]);
}
