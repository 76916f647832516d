//! The files of a certificate: `kubelet-client-…` or `kubelet-server-…`.

use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use x509_parser::prelude::GeneralName;

/// From when until when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// From then.
    pub not_before: Timestamp,
    /// Until then.
    pub not_after: Timestamp,
}

/// The life of the first certificate of a PEM text.
pub fn life(pem: &[u8]) -> Option<Life> {
    let block = x509_parser::pem::Pem::iter_from_buffer(pem)
        .filter_map(Result::ok)
        .find(|block| block.label == "CERTIFICATE")?;
    let certificate = block.parse_x509().ok()?;
    let validity = certificate.validity();
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    Some(Life { not_before: at(validity.not_before)?, not_after: at(validity.not_after)? })
}

/// Whether the first certificate of a PEM text holds for all of these names and addresses.
pub fn covers(pem: &[u8], (names, ips): &(Vec<String>, Vec<IpAddr>)) -> bool {
    let block = x509_parser::pem::Pem::iter_from_buffer(pem)
        .filter_map(Result::ok)
        .find(|block| block.label == "CERTIFICATE");
    let Some(certificate) = block.as_ref().and_then(|block| block.parse_x509().ok()) else { return false };
    let Ok(Some(held)) = certificate.subject_alternative_name() else { return false };
    let held = &held.value.general_names;
    let has_ip = |ip: &IpAddr| {
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        held.iter().any(|one| matches!(one, GeneralName::IPAddress(bytes) if **bytes == *octets))
    };
    let has_name =
        |name: &String| held.iter().any(|one| matches!(one, GeneralName::DNSName(text) if text == name));
    names.iter().all(has_name) && ips.iter().all(has_ip)
}

/// Certificates of one use in a directory.
pub struct Store {
    dir: PathBuf,
    name: &'static str,
}

impl Store {
    /// The client's certificates in this directory.
    pub fn client(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), name: "kubelet-client" }
    }

    /// The server's.
    pub fn server(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), name: "kubelet-server" }
    }

    /// The link to the newest.
    pub fn current(&self) -> PathBuf {
        self.dir.join(format!("{}-current.pem", self.name))
    }

    /// Keeps certificate and key, and makes them the current ones.
    pub fn keep(&self, pem: &[u8], now: Timestamp) -> io::Result<()> {
        std::fs::create_dir_all(&self.dir)?;
        let file = self.dir.join(format!("{}-{}.pem", self.name, now.strftime("%Y-%m-%d-%H-%M-%S")));
        write_private(&file, pem)?;
        let beside = self.dir.join(format!("{}-updated.pem", self.name));
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        std::os::unix::fs::symlink(&file, &beside)?;
        std::fs::rename(&beside, self.current())
    }
}

/// Writes a file that no one else may read; a crash in between leaves the old one.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let beside = path.with_extension("tmp");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_newest_is_the_current_one() {
        let dir = std::env::temp_dir().join(format!("kubelet-certificates-{}", uuid::Uuid::new_v4()));
        let store = Store::client(&dir);
        let at = |second| Timestamp::from_second(second).unwrap();
        store.keep(b"one", at(0)).unwrap();
        store.keep(b"two", at(60)).unwrap();
        assert_eq!(std::fs::read(store.current()).unwrap(), b"two");
        let file = dir.join("kubelet-client-1970-01-01-00-01-00.pem");
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_life_of_a_certificate() {
        let (cert, key) = daemon::tls::self_signed("n", &[]).unwrap();
        let both = [key.bytes().unwrap(), cert.bytes().unwrap()].concat();
        let life = life(&both).unwrap();
        assert_eq!(life.not_after.duration_since(life.not_before).as_secs(), 365 * 86_400 + 3600);
        assert_eq!(super::life(b"nothing"), None);
    }

    #[test]
    fn names_and_addresses_of_a_certificate() {
        let (cert, _) = daemon::tls::self_signed("n", &["10.0.0.1".to_owned()]).unwrap();
        let pem = cert.bytes().unwrap();
        let check = |names: &[&str], ips: &[&str], expected: bool| {
            let wanted = (
                names.iter().map(|name| (*name).to_owned()).collect(),
                ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            );
            assert_eq!(covers(&pem, &wanted), expected, "{wanted:?}");
        };
        check(&["n"], &["10.0.0.1"], true);
        check(&["n", "other"], &["10.0.0.1"], false);
        check(&["n"], &["10.0.0.1", "fd00::1"], false);
        assert!(!covers(b"nothing", &(Vec::new(), Vec::new())));
    }
}
