//! Tells systemd that this member is ready, as etcd does: its units (Debian's, kubespray's) are of
//! `Type=notify` and would be stopped without it. See sd_notify(3).

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// Where systemd listens; an at sign stands for the zero byte of an abstract address.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says it once, if anyone wants to know.
pub fn announce() {
    let Some(socket) = std::env::var_os(SOCKET).filter(|socket| !socket.is_empty()) else { return };
    match notify(socket.as_bytes()) {
        Ok(()) => tracing::info!("successfully notified init daemon"),
        Err(error) => tracing::error!(%error, "failed to notify systemd for readiness"),
    }
}

fn notify(socket: &[u8]) -> io::Result<()> {
    let address = match socket {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_on_either_kind_of_address() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstracted = format!("kvstore-readiness-{}", std::process::id());
        let check = |address: SocketAddr, socket: &[u8]| {
            let heard = UnixDatagram::bind_addr(&address).unwrap();
            notify(socket).unwrap();
            let mut text = [0; 16];
            let length = heard.recv(&mut text).unwrap();
            assert_eq!(&text[..length], b"READY=1");
        };
        check(SocketAddr::from_pathname(&path).unwrap(), path.as_os_str().as_bytes());
        let address = SocketAddr::from_abstract_name(&abstracted).unwrap();
        check(address, format!("@{abstracted}").as_bytes());
        assert!(notify(b"/no/such/socket").is_err());
    }
}
