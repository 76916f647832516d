//! Ranges are given once, in order, and never those of the Services.

use client::Key;
use client::controller::{Controller as _, Step};
use ipnet::IpNet;
use jiff::Timestamp;

use super::ranges::Ranges;
use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn assigned(whole: &str, size: u8, reserved: &[&str], used: &[&str]) -> Option<String> {
    let nets = |list: &[&str]| -> Vec<IpNet> { list.iter().map(|n| net(n)).collect() };
    let ranges = vec![Ranges::new(net(whole), size, &nets(reserved)).unwrap()];
    let view = View { key: Key::cluster("n"), uid: "u".into(), ranges, used: nets(used) };
    match NodeIpam::plan(&view, Timestamp::UNIX_EPOCH).steps.pop() {
        Some(Step::Own(assign)) => Some(assign.nets[0].to_string()),
        _ => None,
    }
}

#[test]
fn the_first_free_range_is_given() {
    assert_eq!(assigned("10.0.0.0/16", 24, &[], &[]).unwrap(), "10.0.0.0/24");
    assert_eq!(assigned("10.0.0.0/16", 24, &[], &["10.0.0.0/24", "10.0.2.0/24"]).unwrap(), "10.0.1.0/24");
    assert_eq!(assigned("10.0.0.0/16", 24, &["10.0.0.0/23"], &[]).unwrap(), "10.0.2.0/24");
    assert_eq!(assigned("fd00::/60", 64, &[], &["fd00::/64"]).unwrap(), "fd00:0:0:1::/64");
}

#[test]
fn when_all_are_taken_it_is_told() {
    assert_eq!(assigned("10.0.0.0/24", 25, &[], &["10.0.0.0/24"]), None);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    assert!(Ranges::new(net("10.0.0.0/16"), 8, &[]).is_err());
    assert!(Ranges::new(net("10.0.0.0/8"), 26, &[]).is_err());
}
