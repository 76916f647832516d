//! Writing tar archives (POSIX ustar): folders, files, symbolic links, owned by root, dated 1970,
//! so that the same content always gives the same bytes.

const BLOCK: usize = 512;

/// An archive under construction.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

enum Entry<'a> {
    File(&'a [u8]),
    Folder,
    Link(&'a str),
}

impl Archive {
    /// Paths are relative, at most 100 bytes, and folders come before what is in them.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.entry(path, mode, &Entry::Folder);
    }
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, mode, &Entry::File(content));
    }
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o777, &Entry::Link(target));
    }

    /// The archive, ended as the format wants it.
    pub fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 2 * BLOCK, 0);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, entry: &Entry<'_>) {
        let (kind, content, target): (u8, &[u8], &str) = match entry {
            Entry::File(content) => (b'0', content, ""),
            Entry::Link(target) => (b'2', b"", target),
            Entry::Folder => (b'5', b"", ""),
        };
        assert!(path.len() <= 100 && target.len() <= 100, "{path} → {target}: too long for a tar header");
        let mut header = [0u8; BLOCK];
        let mut put =
            |offset: usize, text: &str| header[offset..offset + text.len()].copy_from_slice(text.as_bytes());
        put(0, path);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        // The checksum counts its own field as blanks.
        put(148, "        ");
        put(157, target);
        put(257, "ustar\u{0}00");
        put(265, "root");
        put(297, "root");
        header[156] = kind;
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\u{0} ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gnu_tar_reads_it_back() {
        let mut archive = Archive::default();
        archive.folder("bin", 0o755);
        archive.file("bin/tool", 0o755, b"content");
        archive.link("bin/alias", "tool");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.tar");
        std::fs::write(&file, archive.finish()).unwrap();
        let extracted =
            std::process::Command::new("tar").arg("-xf").arg(&file).arg("-C").arg(dir.path()).status();
        assert!(extracted.unwrap().success());
        assert_eq!(std::fs::read(dir.path().join("bin/alias")).unwrap(), b"content");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &dir.path().join("bin/tool").metadata().unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o755);
    }
}
