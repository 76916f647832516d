//! Chains of iptables that other programs of the node look for (`makeIPTablesUtilChains`): one that tells which of the two
//! iptables is in use, and a rule against packets from elsewhere to 127.0.0.0/8. They are made again when someone
//! has flushed the tables. A node without iptables has none.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// COMPAT: how often it is looked whether the chains are still there.
const EVERY: Duration = Duration::from_secs(60);
const HINT: &str = "KUBE-IPTABLES-HINT";
const FIREWALL: &str = "KUBE-FIREWALL";
/// In every table: gone, the tables were flushed.
const CANARY: &str = "KUBE-KUBELET-CANARY";
const TABLES: [&str; 3] = ["mangle", "nat", "filter"];
/// What keeps packets from elsewhere out.
const LOCAL_ONLY: &str = "-m comment --comment @ --dst 127.0.0.0/8 ! --src 127.0.0.0/8 -m conntrack ! --ctstate \
                          RELATED,ESTABLISHED,DNAT -j DROP";
const COMMENT: &str = "block incoming localnet connections";

/// What is to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Chain { table: &'static str, chain: &'static str },
    Rule { operation: &'static str, table: &'static str, chain: &'static str, rule: &'static str },
}

/// What is to be there, in this order.
fn wanted(program: &str) -> Vec<Wanted> {
    let mut all = vec![Wanted::Chain { table: "mangle", chain: HINT }];
    if program == "iptables" {
        let rule = |operation, chain, rule| Wanted::Rule { operation, table: "filter", chain, rule };
        all.extend([
            Wanted::Chain { table: "filter", chain: FIREWALL },
            rule("-I", "OUTPUT", "-j KUBE-FIREWALL"),
            rule("-I", "INPUT", "-j KUBE-FIREWALL"),
            rule("-A", FIREWALL, LOCAL_ONLY),
        ]);
    }
    all.extend(TABLES.map(|table| Wanted::Chain { table, chain: CANARY }));
    all
}

/// The words behind the program's name.
fn words(operation: &str, table: &str, chain: &str, rule: &str) -> Vec<String> {
    let begin = ["-w", "5", operation, chain, "-t", table];
    let rule = rule.split_whitespace().map(|word| if word == "@" { COMMENT } else { word });
    begin.into_iter().chain(rule).map(str::to_owned).collect()
}

/// Makes the chains and keeps them there.
pub async fn run() {
    let mut there = false;
    for program in ["iptables", "ip6tables"] {
        if matches!(call(program, &words("-S", "nat", "POSTROUTING", "")).await, Ok(0)) {
            there = true;
            tokio::spawn(keep(program));
        }
    }
    if !there {
        tracing::info!("No iptables support on this system; not creating the KUBE-IPTABLES-HINT chain");
    }
}

async fn keep(program: &'static str) {
    if let Err(error) = make(program).await {
        tracing::warn!(
            error,
            program,
            "Failed to initialize iptables rules; some functionality may be missing."
        );
        return;
    }
    loop {
        tokio::time::sleep(EVERY).await;
        if matches!(call(program, &words("-S", TABLES[0], CANARY, "")).await, Ok(1)) {
            tracing::info!(program, "iptables canary deleted");
            if let Err(error) = make(program).await {
                tracing::warn!(error, program, "Failed to restore iptables rules");
            }
        }
    }
}

async fn make(program: &str) -> Result<(), String> {
    for one in wanted(program) {
        match one {
            Wanted::Chain { table, chain } => match call(program, &words("-N", table, chain, "")).await? {
                // 1: it is there.
                0 | 1 => {}
                code => return Err(format!("error creating chain {chain:?}: exit status {code}")),
            },
            Wanted::Rule { operation, table, chain, rule } => {
                match call(program, &words("-C", table, chain, rule)).await? {
                    0 => continue,
                    1 => {}
                    code => return Err(format!("error checking rule: exit status {code}")),
                }
                match call(program, &words(operation, table, chain, rule)).await? {
                    0 => {}
                    code => return Err(format!("error appending rule: exit status {code}")),
                }
            }
        }
    }
    Ok(())
}

async fn call(program: &str, words: &[String]) -> Result<i32, String> {
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status()
        .await;
    status.map(|status| status.code().unwrap_or(-1)).map_err(|error| daemon::go_words::of(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_for_version_4_only() {
        let chains = |program: &str| {
            let all = wanted(program).into_iter();
            all.filter_map(|one| match one {
                Wanted::Chain { table, chain } => Some(format!("{table}/{chain}")),
                Wanted::Rule { .. } => None,
            })
            .collect::<Vec<_>>()
        };
        let canaries =
            ["mangle/KUBE-KUBELET-CANARY", "nat/KUBE-KUBELET-CANARY", "filter/KUBE-KUBELET-CANARY"];
        assert_eq!(chains("ip6tables")[1..], canaries);
        assert_eq!(chains("iptables")[..2], ["mangle/KUBE-IPTABLES-HINT", "filter/KUBE-FIREWALL"]);
        let rules =
            |program: &str| wanted(program).iter().filter(|one| matches!(one, Wanted::Rule { .. })).count();
        assert_eq!((rules("iptables"), rules("ip6tables")), (3, 0));
    }

    #[test]
    fn a_comment_is_one_word() {
        let all = words("-A", "filter", FIREWALL, LOCAL_ONLY);
        assert_eq!(all[..6], ["-w", "5", "-A", "KUBE-FIREWALL", "-t", "filter"]);
        assert!(all.contains(&COMMENT.to_owned()));
        assert_eq!(all.last().map(String::as_str), Some("DROP"));
    }
}
