//! `--runtime-config`: which API versions are on. Here they are what they are: all that upstream has on by
//! default, and none besides. So a pair is taken when it asks for that, and refused when it would turn a
//! version off, or one on that is not there.

use std::collections::BTreeSet;

use daemon::flags::parse_bool;

/// Checks a value of the flag, `api/all=true,batch/v1=true`.
///
/// # Errors
/// Names the pair that cannot be had.
pub fn check(text: &str) -> Result<(), String> {
    text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).try_for_each(pair)
}

fn pair(pair: &str) -> Result<(), String> {
    // As upstream has it, a key alone turns on.
    let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
    let on = if value.is_empty() { true } else { parse_bool(value)? };
    let refused = |why: &str| Err(format!("{key}={value} is not supported: {why}"));
    match (key, on) {
        // What there is is on. Of what is off by default there is nothing that could be turned on.
        ("api/all" | "api/ga" | "api/legacy" | "api/beta" | "api/alpha", true) => Ok(()),
        ("api/beta" | "api/alpha", false) => Ok(()),
        ("api/all" | "api/ga" | "api/legacy", false) => refused("it cannot be turned off"),
        _ => match (is_served(key), on) {
            (true, true) | (false, false) => Ok(()),
            (true, false) => refused("it cannot be turned off"),
            (false, true) => refused("it is not there"),
        },
    }
}

/// Whether a version (`v1`, `api/v1`, `batch/v1`) or a resource of one (`batch/v1/jobs`) is served.
fn is_served(key: &str) -> bool {
    let key = key.strip_prefix("api/").unwrap_or(key);
    let served: BTreeSet<(String, &str)> =
        api_types::kinds::served().map(|row| (row.kind.api_version.to_owned(), row.kind.resource)).collect();
    let has = |version: &str, resource: Option<&str>| {
        served.iter().any(|(v, r)| v == version && resource.is_none_or(|wanted| wanted == *r))
    };
    has(key, None) || key.rsplit_once('/').is_some_and(|(version, resource)| has(version, Some(resource)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_may_be_asked_for() {
        for taken in [
            "",
            "api/all=true",
            "api/ga=true,api/beta=false",
            "v1=true,batch/v1,apps/v1/deployments=true",
            "resource.k8s.io/v1beta1=false,api/alpha=false",
        ] {
            assert_eq!(check(taken), Ok(()), "{taken}");
        }
        for (refused, why) in [
            ("api/all=false", "api/all=false is not supported: it cannot be turned off"),
            ("batch/v1=false", "batch/v1=false is not supported: it cannot be turned off"),
            ("batch/v2alpha1=true", "batch/v2alpha1=true is not supported: it is not there"),
            ("batch/v1=maybe", "strconv.ParseBool: parsing \"maybe\": invalid syntax"),
        ] {
            assert_eq!(check(refused), Err(why.to_owned()));
        }
    }
}
