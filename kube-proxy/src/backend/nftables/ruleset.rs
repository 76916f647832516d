//! A table as data, and the script that turns one table into another.
//!
//! A script is one transaction (`nft -f -`): it takes effect as a whole or not at all. Order within:
//! empty the chains that change (so that nothing refers to what goes), delete elements and sets,
//! add sets, maps and chains, add rules, add elements. Chains that are no longer used are emptied
//! and deleted later: kernels before 6.2 count a reference by a deleted map element for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::state::Family;

/// The table's name in each family.
pub const TABLE: &str = "kube-proxy";

/// A chain at a hook of the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    pub hook: &'static str,
    pub priority: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    pub hook: Option<Hook>,
    pub rules: Vec<String>,
}

/// A set, or a map when its type names a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Collection {
    /// `ipv4_addr . inet_proto . inet_service : verdict`.
    pub kind: String,
    /// `flags dynamic,timeout ; timeout 10800s ;` and the like.
    pub options: String,
    pub comment: String,
    /// By key, what follows the key: nothing in sets, comment and value in maps.
    pub elements: BTreeMap<String, String>,
}

impl Collection {
    fn is_map(&self) -> bool {
        self.kind.contains(" : ")
    }

    fn word(&self) -> &'static str {
        if self.is_map() { "map" } else { "set" }
    }

    fn same_declaration(&self, other: &Self) -> bool {
        (&self.kind, &self.options, &self.comment) == (&other.kind, &other.options, &other.comment)
    }

    fn declaration(&self) -> String {
        let mut text = format!("type {} ;", self.kind);
        if !self.options.is_empty() {
            let _ = write!(text, " {}", self.options);
        }
        if !self.comment.is_empty() {
            let _ = write!(text, " comment \"{}\" ;", self.comment);
        }
        text
    }
}

/// The whole table of one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Ruleset {
    pub family: Family,
    pub chains: BTreeMap<String, Chain>,
    pub collections: BTreeMap<String, Collection>,
}

impl Ruleset {
    pub fn empty(family: Family) -> Self {
        Self { family, chains: BTreeMap::new(), collections: BTreeMap::new() }
    }

    /// `ip` or `ip6`: the family's name for tables and in matches.
    pub fn ip(&self) -> &'static str {
        match self.family {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }

    /// `ipv4_addr` or `ipv6_addr`.
    pub fn addr_type(&self) -> &'static str {
        match self.family {
            Family::V4 => "ipv4_addr",
            Family::V6 => "ipv6_addr",
        }
    }

    /// Adds a rule, and the chain if there is none.
    pub fn rule(&mut self, chain: &str, rule: impl Into<String>) {
        self.chain(chain).rules.push(rule.into());
    }

    pub fn chain(&mut self, name: &str) -> &mut Chain {
        self.chains.entry(name.to_owned()).or_default()
    }

    /// Adds an element to a set that has been declared.
    pub fn member(&mut self, set: &str, key: impl Into<String>) {
        self.insert(set, key.into(), String::new());
    }

    /// Adds an element to a map that has been declared.
    pub fn entry(&mut self, map: &str, key: impl Into<String>, value: &str) {
        self.insert(map, key.into(), format!(": {value}"));
    }

    /// As `entry`, with a comment.
    pub fn commented_entry(&mut self, map: &str, key: impl Into<String>, value: &str, comment: &str) {
        self.insert(map, key.into(), format!("comment \"{comment}\" : {value}"));
    }

    fn insert(&mut self, collection: &str, key: String, rest: String) {
        if let Some(collection) = self.collections.get_mut(collection) {
            collection.elements.insert(key, rest);
        }
    }

    /// The script that makes this table from nothing, whatever was there under its name.
    pub fn replace_script(&self) -> String {
        let mut script = Script { ip: self.ip(), text: String::new() };
        // Adding first makes deleting succeed whether or not there is one.
        script.line(&format!("add table {} {TABLE} {{ comment \"rules for kube-proxy\" ; }}", script.ip));
        script.line(&format!("delete table {} {TABLE}", script.ip));
        script.line(&format!("add table {} {TABLE} {{ comment \"rules for kube-proxy\" ; }}", script.ip));
        script.changes(&Self::empty(self.family), self, &BTreeSet::new());
        script.text
    }

    /// The script that makes this table from `before`, and the chains that it left empty.
    /// An empty script: nothing is to be done.
    pub fn update_script(&self, before: &Self) -> (String, Vec<String>) {
        let mut script = Script { ip: self.ip(), text: String::new() };
        let stale: BTreeSet<&str> =
            before.chains.keys().filter(|c| !self.chains.contains_key(*c)).map(String::as_str).collect();
        script.changes(before, self, &stale);
        (script.text, stale.into_iter().map(str::to_owned).collect())
    }
}

/// The script that deletes chains that earlier scripts left empty.
pub fn delete_chains_script(family: Family, chains: &[String]) -> String {
    let mut script = Script { ip: Ruleset::empty(family).ip(), text: String::new() };
    for chain in chains {
        script.line(&format!("delete chain {} {TABLE} {chain}", script.ip));
    }
    script.text
}

struct Script {
    ip: &'static str,
    text: String,
}

impl Script {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn changes(&mut self, before: &Ruleset, after: &Ruleset, stale: &BTreeSet<&str>) {
        let ip = self.ip;
        let redeclared: BTreeSet<&str> = after
            .collections
            .iter()
            .filter(|(name, c)| before.collections.get(*name).is_some_and(|b| !b.same_declaration(c)))
            .map(|(name, _)| name.as_str())
            .collect();
        let refers = |chain: &Chain| {
            chain.rules.iter().any(|r| {
                r.split_whitespace()
                    .any(|word| word.strip_prefix('@').is_some_and(|s| redeclared.contains(s)))
            })
        };
        let changed: Vec<(&String, &Chain)> = after
            .chains
            .iter()
            .filter(|(name, chain)| before.chains.get(*name) != Some(chain) || refers(chain))
            .collect();

        for name in stale
            .iter()
            .copied()
            .chain(changed.iter().map(|(n, _)| n.as_str()).filter(|n| before.chains.contains_key(*n)))
        {
            self.line(&format!("flush chain {ip} {TABLE} {name}"));
        }
        self.removals(before, after, &redeclared);
        for (name, collection) in &after.collections {
            if redeclared.contains(name.as_str()) || !before.collections.contains_key(name) {
                let (word, declaration) = (collection.word(), collection.declaration());
                self.line(&format!("add {word} {ip} {TABLE} {name} {{ {declaration} }}"));
            }
        }
        for (name, chain) in &changed {
            if !before.chains.contains_key(*name) {
                match &chain.hook {
                    None => self.line(&format!("add chain {ip} {TABLE} {name}")),
                    Some(Hook { kind, hook, priority }) => self.line(&format!(
                        "add chain {ip} {TABLE} {name} {{ type {kind} hook {hook} priority {priority} ; }}"
                    )),
                }
            }
        }
        for (name, chain) in &changed {
            for rule in &chain.rules {
                self.line(&format!("add rule {ip} {TABLE} {name} {rule}"));
            }
        }
        for (name, collection) in &after.collections {
            let old = before.collections.get(name).filter(|_| !redeclared.contains(name.as_str()));
            for (key, rest) in &collection.elements {
                if old.and_then(|o| o.elements.get(key)) == Some(rest) {
                    continue;
                }
                let gap = if rest.is_empty() { "" } else { " " };
                self.line(&format!("add element {ip} {TABLE} {name} {{ {key}{gap}{rest} }}"));
            }
        }
    }

    fn removals(&mut self, before: &Ruleset, after: &Ruleset, redeclared: &BTreeSet<&str>) {
        let ip = self.ip;
        for (name, old) in &before.collections {
            match after.collections.get(name) {
                Some(new) if !redeclared.contains(name.as_str()) => {
                    // A changed value is a deletion and an addition.
                    for (key, _) in old.elements.iter().filter(|(k, v)| new.elements.get(*k) != Some(v)) {
                        self.line(&format!("delete element {ip} {TABLE} {name} {{ {key} }}"));
                    }
                }
                _ => self.line(&format!("delete {} {ip} {TABLE} {name}", old.word())),
            }
        }
    }
}
