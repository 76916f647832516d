//! `--service-cluster-ip-range` and `--service-node-port-range`: which addresses and ports there are.

use std::net::IpAddr;
use std::str::FromStr;

use api_types::core::v1::IPFamily;
use ipnet::IpNet;

/// Why a range cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("{0:?} is not a CIDR")]
    Cidr(String),
    #[error("at most two ranges, one of each IP family")]
    Families,
    #[error("{0} is too small for service IPs")]
    Small(IpNet),
    #[error("{0:?} is not a port range")]
    Ports(String),
}

/// One range, or one of each family; the first family is the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpRanges(Vec<IpNet>);

impl FromStr for IpRanges {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let mut ranges: Vec<IpNet> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let range: IpNet = part.parse().map_err(|_| RangeError::Cidr(part.to_owned()))?;
            if usable(&range) < 8 {
                return Err(RangeError::Small(range));
            }
            ranges.push(range.trunc());
        }
        match ranges.as_slice() {
            [_] => Ok(Self(ranges)),
            [a, b] if a.addr().is_ipv4() != b.addr().is_ipv4() => Ok(Self(ranges)),
            _ => Err(RangeError::Families),
        }
    }
}

/// Addresses that can be given out: not the network's own, and for IPv4 not its broadcast address.
fn usable(range: &IpNet) -> u128 {
    let bits = u32::from(range.max_prefix_len() - range.prefix_len());
    let size = 1u128 << bits.min(63);
    size.saturating_sub(if range.addr().is_ipv4() { 2 } else { 1 })
}

fn offset(range: &IpNet, by: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(base) => IpAddr::V4((u32::from(base).wrapping_add(by as u32)).into()),
        IpAddr::V6(base) => IpAddr::V6((u128::from(base).wrapping_add(by)).into()),
    }
}

pub fn family_of(ip: IpAddr) -> IPFamily {
    if ip.is_ipv4() { IPFamily::IPv4 } else { IPFamily::IPv6 }
}

impl IpRanges {
    /// The families, the default first.
    pub fn families(&self) -> impl Iterator<Item = IPFamily> + '_ {
        self.0.iter().map(|range| family_of(range.addr()))
    }

    pub fn default_family(&self) -> IPFamily {
        family_of(self.0[0].addr())
    }

    /// The first address of the default range: the `kubernetes` Service's.
    pub fn first(&self) -> IpAddr {
        offset(&self.0[0], 1)
    }

    /// The ranges themselves, the default first.
    pub fn all(&self) -> &[IpNet] {
        &self.0
    }
}

/// Whether an address of the range can be given out: not the network's own, nor its broadcast address.
pub fn gives(range: &IpNet, ip: IpAddr) -> bool {
    range.contains(&ip) && ip != range.network() && (ip.is_ipv6() || ip != range.broadcast())
}

/// A free address of the family out of one of the ranges. The lower part of a range is left to those
/// who ask for an address by name (KEP-3070) as long as the upper part has some. `random` gives a
/// number of a range.
pub fn pick(
    ranges: &[IpNet],
    family: &IPFamily,
    taken: impl Fn(IpAddr) -> bool,
    random: impl Fn(std::ops::Range<u64>) -> u64,
) -> Option<IpAddr> {
    let fitting: Vec<&IpNet> = ranges.iter().filter(|range| family_of(range.addr()) == *family).collect();
    let first = if fitting.len() > 1 { random(0..fitting.len() as u64) as usize } else { 0 };
    for range in fitting.iter().cycle().skip(first).take(fitting.len()) {
        let size = u64::try_from(usable(range)).unwrap_or(u64::MAX);
        let reserved = if size < 16 { 0 } else { (size / 16).clamp(16, 256).min(size) };
        for (low, high) in [(reserved, size), (0, reserved)] {
            if low == high {
                continue;
            }
            let start = random(low..high);
            let mut all = (start..high).chain(low..start).map(|n| offset(range, u128::from(n) + 1));
            if let Some(ip) = all.find(|ip| !taken(*ip)) {
                return Some(ip);
            }
        }
    }
    None
}

/// `30000-32767`, or `30000+2767`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub base: i32,
    pub size: i32,
}

impl FromStr for PortRange {
    type Err = RangeError;
    fn from_str(text: &str) -> Result<Self, RangeError> {
        let wrong = || RangeError::Ports(text.to_owned());
        let number = |t: &str| t.trim().parse::<i32>().ok().filter(|n| (0..=65535).contains(n));
        let (base, size) = if let Some((low, high)) = text.split_once('-') {
            let (low, high) = (number(low).ok_or_else(wrong)?, number(high).ok_or_else(wrong)?);
            (low, high - low + 1)
        } else if let Some((low, more)) = text.split_once('+') {
            (number(low).ok_or_else(wrong)?, number(more).ok_or_else(wrong)? + 1)
        } else {
            (number(text).ok_or_else(wrong)?, 1)
        };
        if size < 1 || base + size > 65536 { Err(wrong()) } else { Ok(Self { base, size }) }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.base, self.base + self.size - 1)
    }
}

impl PortRange {
    pub fn contains(&self, port: i32) -> bool {
        (self.base..self.base + self.size).contains(&port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(text: &str) -> IpRanges {
        text.parse().expect("a range")
    }

    #[test]
    fn the_upper_part_is_given_out_first() {
        let ranges = ranges("10.0.0.0/24");
        let picked = |taken: &dyn Fn(IpAddr) -> bool| {
            pick(ranges.all(), &IPFamily::IPv4, taken, |r| r.start).map(|ip| ip.to_string())
        };
        assert_eq!(picked(&|_| false).as_deref(), Some("10.0.0.17"));
        let upper = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[3] > 16);
        assert_eq!(picked(&upper).as_deref(), Some("10.0.0.1"));
        assert_eq!(picked(&|_| true), None);
    }

    #[test]
    fn network_and_broadcast_are_nobodys() {
        let ranges = ranges("10.0.0.0/24,fd00::/108");
        let contain = |ip: &str| {
            let ip = ip.parse().expect("an IP");
            ranges.all().iter().any(|range| gives(range, ip))
        };
        assert!(contain("10.0.0.1") && contain("10.0.0.254") && contain("fd00::1"));
        assert!(!contain("10.0.0.0") && !contain("10.0.0.255") && !contain("10.0.1.1"));
        assert_eq!(ranges.first().to_string(), "10.0.0.1");
    }

    #[test]
    fn port_ranges_have_three_forms() {
        assert_eq!("30000-32767".parse(), Ok(PortRange { base: 30000, size: 2768 }));
        assert_eq!("30000+10".parse(), Ok(PortRange { base: 30000, size: 11 }));
        assert_eq!("80".parse(), Ok(PortRange { base: 80, size: 1 }));
        assert!("9-1".parse::<PortRange>().is_err());
        assert!("10.0.0.0/31".parse::<IpRanges>().is_err());
        assert!("10.0.0.0/24,10.1.0.0/24".parse::<IpRanges>().is_err());
    }
}
