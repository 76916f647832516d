//! A revision: the store's clock. `main` counts transactions that changed something, `sub` the changes
//! within one. Ordered as (main, sub); its bytes sort the same way.

/// One change in the store's history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: i64,
    pub sub: u32,
}

impl Revision {
    pub const ENCODED_LEN: usize = 12;

    pub fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }

    /// Big-endian, so that byte order is revision order (revisions are never negative).
    pub fn to_bytes(self) -> [u8; Self::ENCODED_LEN] {
        let mut bytes = [0; Self::ENCODED_LEN];
        bytes[..8].copy_from_slice(&self.main.to_be_bytes());
        bytes[8..].copy_from_slice(&self.sub.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let main = i64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
        let sub = u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?);
        Some(Self { main, sub })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_revisions_do() {
        let ordered =
            [Revision::new(1, 0), Revision::new(1, 1), Revision::new(255, 3), Revision::new(256, 0)];
        for pair in ordered.windows(2) {
            assert!(pair[0].to_bytes() < pair[1].to_bytes());
            assert_eq!(Revision::from_bytes(&pair[0].to_bytes()), Some(pair[0]));
        }
        assert_eq!(Revision::from_bytes(b"short"), None);
    }
}
