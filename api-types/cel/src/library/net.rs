//! URLs, IP addresses and ranges of them.

use super::super::cost::Cost;
use super::super::error::EvalError;
use super::super::value::{Key, Value};
use super::{Given, Row};
use indexmap::IndexMap;
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// A URL that has a scheme or is a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub text: String,
    scheme: String,
    host: String,
    path: String,
    query: String,
}

/// A range of addresses, with the address as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

const OF_URL: &[&str] = &["URL.() string"];

pub const TABLE: &[Row] = &[
    (
        "url",
        &["(string) URL"],
        |_, a| {
            let text = text(&a[0])?;
            let url = Url::parse(text);
            url.map(|url| Value::Url(Arc::new(url))).ok_or_else(|| {
                EvalError::failed(format!(
                    "URL parse error during conversion from string: parse {text:?}: invalid URI for request"
                ))
            })
        },
        Cost::ScanSame,
    ),
    ("isURL", &["(string) bool"], |_, a| Ok(Value::Bool(Url::parse(text(&a[0])?).is_some())), Cost::Scan),
    ("getScheme", OF_URL, |_, a| part(a, |url| url.scheme.clone()), Cost::One),
    ("getHost", OF_URL, |_, a| part(a, |url| url.host.clone()), Cost::One),
    ("getHostname", OF_URL, |_, a| part(a, |url| url.host_and_port().0.to_owned()), Cost::One),
    ("getPort", OF_URL, |_, a| part(a, |url| url.host_and_port().1.to_owned()), Cost::One),
    ("getEscapedPath", OF_URL, |_, a| part(a, |url| url.path.clone()), Cost::One),
    ("getQuery", &["URL.() map(string,list(string))"], query, Cost::One),
    (
        "ip",
        &["(string) IP", "CIDR.() IP"],
        |_, a| match &a[0] {
            Value::Cidr(cidr) => Ok(Value::Ip(cidr.address)),
            value => parse_ip(text(value)?).map(Value::Ip),
        },
        Cost::ScanIp,
    ),
    ("isIP", &["(string) bool"], |_, a| Ok(Value::Bool(parse_ip(text(&a[0])?).is_ok())), Cost::Scan),
    (
        "ip.isCanonical",
        &["(string) bool"],
        |_, a| {
            let text = text(&a[0])?;
            Ok(Value::Bool(parse_ip(text)?.to_string() == text))
        },
        Cost::ScanTwice,
    ),
    ("family", &["IP.() int"], |_, a| Ok(Value::Int(if ip(&a[0])?.is_ipv4() { 4 } else { 6 })), Cost::One),
    ("isUnspecified", &["IP.() bool"], |_, a| Ok(Value::Bool(ip(&a[0])?.is_unspecified())), Cost::One),
    ("isLoopback", &["IP.() bool"], |_, a| Ok(Value::Bool(ip(&a[0])?.is_loopback())), Cost::One),
    (
        "isLinkLocalMulticast",
        &["IP.() bool"],
        |_, a| {
            Ok(Value::Bool(match ip(&a[0])? {
                IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
                IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
            }))
        },
        Cost::One,
    ),
    ("isLinkLocalUnicast", &["IP.() bool"], |_, a| Ok(Value::Bool(link_local(ip(&a[0])?))), Cost::One),
    (
        "isGlobalUnicast",
        &["IP.() bool"],
        |_, a| {
            let ip = ip(&a[0])?;
            let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
            let other = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || link_local(ip);
            Ok(Value::Bool(!broadcast && !other))
        },
        Cost::One,
    ),
    ("cidr", &["(string) CIDR"], |_, a| parse_cidr(text(&a[0])?).map(Value::Cidr), Cost::Scan),
    ("isCIDR", &["(string) bool"], |_, a| Ok(Value::Bool(parse_cidr(text(&a[0])?).is_ok())), Cost::Scan),
    (
        "containsIP",
        &["CIDR.(string) bool", "CIDR.(IP) bool"],
        |_, a| {
            let other = match &a[1] {
                Value::Ip(ip) => *ip,
                value => parse_ip(text(value)?)?,
            };
            Ok(Value::Bool(net(cidr(&a[0])?).contains(&other)))
        },
        Cost::ContainsIp,
    ),
    (
        "containsCIDR",
        &["CIDR.(string) bool", "CIDR.(CIDR) bool"],
        |_, a| {
            let other = match &a[1] {
                Value::Cidr(cidr) => *cidr,
                value => parse_cidr(text(value)?)?,
            };
            Ok(Value::Bool(net(cidr(&a[0])?).contains(&net(other).trunc())))
        },
        Cost::ContainsCidr,
    ),
    (
        "masked",
        &["CIDR.() CIDR"],
        |_, a| {
            let own = cidr(&a[0])?;
            Ok(Value::Cidr(Cidr { address: net(own).network(), bits: own.bits }))
        },
        Cost::One,
    ),
    ("prefixLength", &["CIDR.() int"], |_, a| Ok(Value::Int(i64::from(cidr(&a[0])?.bits))), Cost::One),
];

fn text<'v>(value: &'v Value<'_>) -> Result<&'v str, EvalError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn ip(value: &Value<'_>) -> Result<IpAddr, EvalError> {
    match value {
        Value::Ip(ip) => Ok(*ip),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn cidr(value: &Value<'_>) -> Result<Cidr, EvalError> {
    match value {
        Value::Cidr(cidr) => Ok(*cidr),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn net(cidr: Cidr) -> IpNet {
    IpNet::new(cidr.address, cidr.bits).expect("the length was checked when it was read")
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}

fn parse_ip(text: &str) -> Result<IpAddr, EvalError> {
    let bad = |why: &str| {
        EvalError::failed(format!("IP Address {text:?} parse error during conversion from string: {why}"))
    };
    let ip: IpAddr = text.parse().map_err(|_| bad(&format!("ParseAddr({text:?}): unable to parse IP")))?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            Err(EvalError::failed(format!("IPv4-mapped IPv6 address {text:?} is not allowed")))
        }
        ip => Ok(ip),
    }
}

fn parse_cidr(text: &str) -> Result<Cidr, EvalError> {
    let bad = || {
        EvalError::failed(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): unable to parse"
        ))
    };
    let (address, bits) = text.split_once('/').ok_or_else(bad)?;
    let address: IpAddr = address.parse().map_err(|_| bad())?;
    let plain = bits.bytes().all(|b| b.is_ascii_digit()) && (bits == "0" || !bits.starts_with('0'));
    let bits: u8 = if plain { bits.parse().map_err(|_| bad())? } else { return Err(bad()) };
    if bits > if address.is_ipv4() { 32 } else { 128 } {
        return Err(bad());
    }
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(EvalError::failed(format!("IPv4-mapped IPv6 address {text:?} is not allowed")));
    }
    Ok(Cidr { address, bits })
}

fn part<'a>(args: &[Value<'a>], of: fn(&Url) -> String) -> Given<'a> {
    match &args[0] {
        Value::Url(url) => Ok(Value::text(of(url))),
        _ => Err(EvalError::NoSuchOverload),
    }
}

fn query<'a>(_: &mut super::Regexes, args: &[Value<'a>]) -> Given<'a> {
    let Value::Url(url) = &args[0] else { return Err(EvalError::NoSuchOverload) };
    let mut all: IndexMap<Key, Vec<Value<'a>>> = IndexMap::new();
    for pair in url.query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = Key::String(unescaped(name).into());
        all.entry(key).or_default().push(Value::text(unescaped(value)));
    }
    Ok(Value::Map(Arc::new(all.into_iter().map(|(key, list)| (key, Value::list(list))).collect())))
}

/// `%41` and `+` of a query.
fn unescaped(text: &str) -> String {
    let mut out = Vec::new();
    let bytes = text.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        let code = (bytes[place] == b'%').then(|| text.get(place + 1..place + 3)).flatten();
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                place += 3;
            }
            None => {
                out.push(if bytes[place] == b'+' { b' ' } else { bytes[place] });
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Url {
    /// Reads an absolute URL or an absolute path.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return None;
        }
        let (scheme, rest) = match text.split_once(':') {
            Some((scheme, rest))
                if scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) =>
            {
                (scheme.to_ascii_lowercase(), rest)
            }
            _ if text.starts_with('/') => (String::new(), text),
            _ => return None,
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
            None => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        if host.contains(' ') || host.contains('[') != host.contains(']') {
            return None;
        }
        let port = host.rsplit_once(':').filter(|(_, port)| !port.contains(']'));
        if port.is_some_and(|(_, port)| !port.bytes().all(|b| b.is_ascii_digit())) {
            return None;
        }
        let path: String =
            path.chars().map(|c| if c == ' ' { "%20".to_owned() } else { c.to_string() }).collect();
        Some(Self { text: text.to_owned(), scheme, host: host.to_owned(), path, query: query.to_owned() })
    }

    fn host_and_port(&self) -> (&str, &str) {
        let (host, port) = match self.host.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (self.host.as_str(), ""),
        };
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }
}
