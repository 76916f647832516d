//! The texts: the file `userns` in a pod's directory, and what `getsubids` prints. Pure.
//!
//! ```text
//! {"uidMappings":[{"hostId":65536,"containerId":0,"length":65536}],"gidMappings":[{…}]}
//! ```
//! COMPAT: upstream's format: a node that changes from one kubelet to the other keeps its pods' ids.

use serde::{Deserialize, Serialize};

use super::ranges::Pool;

/// One range of ids, on the node and in the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mapping {
    /// The first id on the node.
    pub host_id: u32,
    /// The first id in the container.
    pub container_id: u32,
    /// How many.
    pub length: u32,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct File {
    uid_mappings: Option<Vec<Mapping>>,
    gid_mappings: Option<Vec<Mapping>>,
}

/// What is written down for a pod whose root is `first` on the node.
pub fn encode(first: u32, length: u32) -> Vec<u8> {
    let all = vec![Mapping { host_id: first, container_id: 0, length }];
    let file = File { uid_mappings: Some(all.clone()), gid_mappings: Some(all) };
    serde_json::to_vec(&file).expect("numbers and names can always be written")
}

/// The first id on the node, and how many: groups as users, root among them.
///
/// # Errors
/// When it says anything else, in upstream's words.
pub fn decode(text: &[u8]) -> Result<(u32, u32), String> {
    let file: File = serde_json::from_slice(text)
        .map_err(|error| format!("invalid user namespace mappings file: {error}"))?;
    let invalid = |what: &str| Err(format!("invalid user namespace configuration: {what}"));
    let (users, groups) = (file.uid_mappings.unwrap_or_default(), file.gid_mappings.unwrap_or_default());
    let [user] = users.as_slice() else { return invalid("no more than one mapping allowed.") };
    let [group] = groups.as_slice() else {
        return invalid("GID and UID mappings should be identical.");
    };
    if user != group {
        return invalid("GID and UID mapping should be identical");
    }
    if user.container_id != 0 {
        return invalid("UID 0 must be mapped");
    }
    Ok((user.host_id, user.length))
}

/// The one range that `getsubids kubelet` prints: `0: kubelet 65536 2147483648`.
///
/// # Errors
/// When it prints anything else, in upstream's words.
pub fn subordinate(output: &str) -> Result<Pool, String> {
    let mut lines = output.trim_matches('\n').split('\n');
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(format!("error parsing line {output:?}: it must contain only one line"));
    };
    let parts: Vec<&str> = line.split_whitespace().collect();
    let [_, _, first, length] = parts.as_slice() else { return Err(format!("invalid line {line:?}")) };
    let number =
        |text: &str| text.parse().map_err(|error| format!("error parsing line {line:?}: {text:?}: {error}"));
    Ok(Pool { first: number(first)?, length: number(length)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_upstreams() {
        let text = br#"{"uidMappings":[{"hostId":131072,"containerId":0,"length":65536}],"gidMappings":[{"hostId":131072,"containerId":0,"length":65536}]}"#;
        assert_eq!(encode(131_072, 65536), text);
        assert_eq!(decode(text), Ok((131_072, 65536)));
    }

    #[test]
    fn files_that_are_no_use() {
        let one = r#"{"hostId":65536,"containerId":0,"length":65536}"#;
        let high = r#"{"hostId":65536,"containerId":1,"length":65536}"#;
        let other = r#"{"hostId":131072,"containerId":0,"length":65536}"#;
        let check = |users: &str, groups: &str, expected: &str| {
            let text = format!(r#"{{"uidMappings":[{users}],"gidMappings":[{groups}]}}"#);
            let expected = format!("invalid user namespace configuration: {expected}");
            assert_eq!(decode(text.as_bytes()), Err(expected));
        };
        check("", "", "no more than one mapping allowed.");
        check(&format!("{one},{other}"), one, "no more than one mapping allowed.");
        check(one, "", "GID and UID mappings should be identical.");
        check(one, other, "GID and UID mapping should be identical");
        check(high, high, "UID 0 must be mapped");
        assert!(decode(b"{").unwrap_err().starts_with("invalid user namespace mappings file: "));
    }

    #[test]
    fn subordinate_ids_are_one_line() {
        let pool = Pool { first: 65536, length: 2_147_483_648 };
        assert_eq!(subordinate("0: kubelet 65536 2147483648\n"), Ok(pool));
        let two = "0: kubelet 65536 65536\n1: kubelet 131072 65536\n";
        assert_eq!(
            subordinate(two).unwrap_err(),
            format!("error parsing line {two:?}: it must contain only one line")
        );
        assert_eq!(subordinate("0: kubelet 65536\n").unwrap_err(), "invalid line \"0: kubelet 65536\"");
        assert!(subordinate("0: kubelet 1 4294967296\n").unwrap_err().starts_with("error parsing line "));
        assert!(subordinate("").is_err());
    }
}
