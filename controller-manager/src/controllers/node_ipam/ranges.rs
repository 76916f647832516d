//! A range of addresses cut into equal parts, one for each node.

use anyhow::ensure;
use ipnet::IpNet;

/// The parts of one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    whole: IpNet,
    size: u8,
    /// Never given away: the Services' addresses.
    reserved: Vec<IpNet>,
}

impl Ranges {
    /// # Errors
    /// When the range cannot be cut so.
    pub fn new(whole: IpNet, size: u8, reserved: &[IpNet]) -> anyhow::Result<Self> {
        let prefix = whole.prefix_len();
        ensure!(
            size >= prefix && size <= whole.max_prefix_len(),
            "must be between {prefix} and {} for {whole}",
            whole.max_prefix_len()
        );
        ensure!(size - prefix <= 16, "{whole} has more than 65536 parts of that size");
        Ok(Self { whole: whole.trunc(), size, reserved: reserved.to_vec() })
    }

    /// The first part that overlaps nothing that is used.
    pub fn free(&self, used: &[IpNet]) -> Option<IpNet> {
        let overlaps = |a: &IpNet, b: &IpNet| a.contains(b) || b.contains(a);
        let parts = self.whole.subnets(self.size).ok()?;
        parts.into_iter().find(|part| !used.iter().chain(&self.reserved).any(|other| overlaps(part, other)))
    }
}
