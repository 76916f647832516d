//! IP addresses and CIDRs in fields: what is refused, and what is warned of.
//!
//! Two rules: older fields (`legacy_*`) take any spelling that is not ambiguous, newer ones only
//! the canonical one (KEP-4858; StrictIPCIDRValidation is on since 1.36).

use crate::field::{Errors, Path};
use std::net::{IpAddr, Ipv4Addr};

/// An address as lenient parsers read it: leading zeros in IPv4 are decimal.
fn lenient(value: &str) -> Option<IpAddr> {
    if let Ok(address) = value.parse() {
        return Some(address);
    }
    let mut parts = value.split('.');
    let mut octets = [0u8; 4];
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 64 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    }
    parts.next().is_none().then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// An address of an older field; gives it where it can be read.
pub fn legacy_ip(value: &str, path: &Path, errors: &mut Errors) -> Option<IpAddr> {
    let Some(address) = lenient(value) else {
        errors.invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        return None;
    };
    if value.parse::<IpAddr>().is_err() {
        errors.invalid(path, value, "must not have leading 0s");
    }
    if is_mapped(address) {
        errors.invalid(path, value, "must not be an IPv4-mapped IPv6 address");
    }
    Some(address)
}

/// An address of a newer field: canonical, or refused.
pub fn ip(value: &str, path: &Path, errors: &mut Errors) -> Option<IpAddr> {
    let before = errors.0.len();
    let address = legacy_ip(value, path, errors)?;
    if errors.0.len() == before && address.to_string() != value {
        errors.invalid(path, value, format!("must be in canonical form (\"{address}\")"));
    }
    Some(address)
}

/// An address that something can answer at: not this host, not one link.
pub fn endpoint_ip(value: &str, path: &Path, errors: &mut Errors) {
    let Some(address) = lenient(value) else {
        return errors.invalid(path, value, "must be a valid IP address");
    };
    let (unicast_link, multicast_link) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if address.is_unspecified() {
        errors.invalid(path, value, format!("may not be unspecified ({value})"));
    }
    if address.is_loopback() {
        errors.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if unicast_link {
        errors.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast_link {
        errors.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Address and prefix length as lenient parsers read them.
fn lenient_cidr(value: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = value.split_once('/')?;
    let address = lenient(address)?;
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let length: u8 = length.parse().ok()?;
    let limit = if address.is_ipv4() { 32 } else { 128 };
    (length <= limit).then_some((address, length))
}

/// A CIDR of an older field.
pub fn legacy_cidr(value: &str, path: &Path, errors: &mut Errors) {
    let Some((address, length)) = lenient_cidr(value) else {
        errors.invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        return;
    };
    let strict = value
        .split_once('/')
        .is_some_and(|(ip, n)| ip.parse::<IpAddr>().is_ok() && (n.len() == 1 || !n.starts_with('0')));
    if !strict {
        errors.invalid(path, value, "must not have leading 0s in IP or prefix length");
    } else if is_mapped(address) {
        errors.invalid(path, value, "must not have an IPv4-mapped IPv6 address");
    } else if network(address, length) != address {
        errors.invalid(path, value, "must not have bits set beyond the prefix length");
    }
}

/// A CIDR of a newer field: canonical, or refused.
pub fn cidr(value: &str, path: &Path, errors: &mut Errors) {
    let before = errors.0.len();
    legacy_cidr(value, path, errors);
    if errors.0.len() == before
        && let Some((address, length)) = lenient_cidr(value)
        && format!("{address}/{length}") != value
    {
        errors.invalid(path, value, format!("must be in canonical form (\"{address}/{length}\")"));
    }
}

/// The network of a CIDR, as lenient parsers read it.
pub fn network_of(value: &str) -> Option<ipnet::IpNet> {
    let (address, length) = lenient_cidr(value)?;
    ipnet::IpNet::new(address, length).ok().map(|net| net.trunc())
}

/// Whether lenient parsers read this as an address.
pub fn is_ip(value: &str) -> bool {
    lenient(value).is_some()
}

fn network(address: IpAddr, length: u8) -> IpAddr {
    ipnet::IpNet::new(address, length).map_or(address, |net| net.network())
}

/// What is warned of in an address that is taken.
pub fn ip_warning(value: &str, path: &Path) -> Option<String> {
    let address = lenient(value)?;
    let canonical = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    if value.parse::<IpAddr>().is_err() || is_mapped(address) {
        return Some(format!("{path}: non-standard IP address {value:?} is invalid: use \"{canonical}\""));
    }
    (address.is_ipv6() && address.to_string() != value).then(|| {
        format!("{path}: IPv6 address {value:?} should be in RFC 5952 canonical format (\"{address}\")")
    })
}

/// What is warned of in a CIDR that is taken.
pub fn cidr_warnings(value: &str, path: &Path) -> Vec<String> {
    let Some((address, length)) = lenient_cidr(value) else { return Vec::new() };
    let mut warnings = Vec::new();
    let net = network(address, length);
    if net != address {
        let whole = if address.is_ipv4() { 32 } else { 128 };
        warnings.push(format!(
            "{path}: CIDR value {value:?} is ambiguous in this context (should be \"{net}/{length}\" or \"{address}/{whole}\"?)"
        ));
    }
    let text = format!("{address}/{length}");
    let strict = value.split_once('/').is_some_and(|(ip, _)| ip.parse::<IpAddr>().is_ok());
    if !strict || is_mapped(address) {
        warnings
            .push(format!("{path}: non-standard CIDR value {value:?} is invalid: use \"{net}/{length}\""));
    }
    if warnings.is_empty() && address.is_ipv6() && text != value {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format (\"{text}\")"
        ));
    }
    warnings
}

/// Refuses more than one address of a family. `shown` is the list as the user wrote it.
pub fn one_per_family(addresses: &[&str], shown: &dyn crate::value::Value, path: &Path, errors: &mut Errors) {
    if addresses.len() < 2 {
        return;
    }
    let families: Vec<bool> = addresses.iter().filter_map(|a| lenient(a)).map(|a| a.is_ipv4()).collect();
    if families.len() != addresses.len() {
        return; // Said already, address by address.
    }
    if families.len() > 2 || families[0] == families[1] {
        errors.invalid(path, shown, "may specify no more than one IP for each IP family");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(f: impl Fn(&Path, &mut Errors), expected: &[&str]) {
        let mut errors = Errors::default();
        f(&Path::new("ip"), &mut errors);
        assert_eq!(errors.0.iter().map(|e| e.detail.as_str()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn addresses() {
        check(|p, e| _ = legacy_ip("10.0.0.1", p, e), &[]);
        check(|p, e| _ = legacy_ip("FE80::1", p, e), &[]);
        check(|p, e| _ = legacy_ip("010.0.0.1", p, e), &["must not have leading 0s"]);
        check(|p, e| _ = legacy_ip("::ffff:1.2.3.4", p, e), &["must not be an IPv4-mapped IPv6 address"]);
        check(
            |p, e| _ = legacy_ip("10.0.0", p, e),
            &["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"],
        );
        check(|p, e| _ = ip("FE80::1", p, e), &["must be in canonical form (\"fe80::1\")"]);
    }

    #[test]
    fn networks() {
        check(|p, e| legacy_cidr("10.0.0.0/8", p, e), &[]);
        check(|p, e| legacy_cidr("10.0.0.1/8", p, e), &["must not have bits set beyond the prefix length"]);
        check(|p, e| legacy_cidr("10.0.0.0/08", p, e), &["must not have leading 0s in IP or prefix length"]);
        check(
            |p, e| legacy_cidr("10.0.0.0", p, e),
            &["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"],
        );
    }

    #[test]
    fn warnings() {
        let path = Path::new("ip");
        assert_eq!(ip_warning("10.0.0.1", &path), None);
        assert_eq!(
            ip_warning("010.0.0.1", &path).as_deref(),
            Some(r#"ip: non-standard IP address "010.0.0.1" is invalid: use "10.0.0.1""#)
        );
        assert_eq!(
            ip_warning("FE80::1", &path).as_deref(),
            Some(r#"ip: IPv6 address "FE80::1" should be in RFC 5952 canonical format ("fe80::1")"#)
        );
    }
}
