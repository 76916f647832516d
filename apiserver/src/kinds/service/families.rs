//! IP families of a Service: what it leaves open is settled by the cluster's ranges (KEP-563,
//! dual stack). Pure; messages are upstream's.

use std::net::IpAddr;

use api_types::core::v1::{IPFamily, IPFamilyPolicy, Service, ServiceType};
use api_types::field::{Errors, Path};
use api_types::kind::Resource;

use super::HEADLESS;
use super::ranges::{IpRanges, family_of};
use crate::status::ApiError;

/// Settles `ipFamilyPolicy` and `ipFamilies`.
///
/// # Errors
/// 422 where the cluster does not have what is asked for.
pub fn settle(service: &mut Service, old: Option<&Service>, ranges: &IpRanges) -> Result<(), ApiError> {
    let spec = &mut service.spec;
    if spec.type_ == ServiceType::ExternalName {
        return Ok(());
    }
    let selectorless_headless = spec.cluster_ip == HEADLESS && spec.selector.is_empty();
    if spec.ip_family_policy.is_none() {
        let before = old.and_then(|old| old.spec.ip_family_policy.clone());
        spec.ip_family_policy = Some(match before {
            Some(before) => before,
            // COMPAT: such a Service is whatever its hand-made endpoints are.
            None if selectorless_headless => IPFamilyPolicy::RequireDualStack,
            None => IPFamilyPolicy::SingleStack,
        });
    }
    let single = spec.ip_family_policy == Some(IPFamilyPolicy::SingleStack);
    if single && let Some(old) = old {
        // Setting the policy alone is intent enough to give the second address up.
        if spec.cluster_ips == old.spec.cluster_ips {
            spec.cluster_ips.truncate(1);
        }
        if spec.ip_families == old.spec.ip_families {
            spec.ip_families.truncate(1);
        }
    }
    let mut errors = Errors::default();
    let path = Path::new("spec");
    let policy = spec.ip_family_policy.as_ref().map_or("", |p| p.as_str()).to_owned();
    for (several, what) in
        [(spec.cluster_ips.len() == 2, "cluster IPs"), (spec.ip_families.len() == 2, "IP families")]
    {
        if single && several {
            errors.invalid(
                &path.child("ipFamilyPolicy"),
                policy.as_str(),
                format!("must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"),
            );
        }
    }
    let known: Vec<IPFamily> = ranges.families().collect();
    for (place, ip) in spec.cluster_ips.iter().enumerate().skip(spec.ip_families.len()) {
        let Ok(ip) = ip.parse::<IpAddr>() else { break };
        let family = family_of(ip);
        if known.contains(&family) {
            spec.ip_families.push(family);
        } else {
            let shown: &dyn api_types::value::Value = &spec.cluster_ips;
            errors.invalid(
                &path.child("clusterIPs").index(place),
                shown,
                format!("{family} is not configured on this cluster"),
            );
        }
    }
    if spec.ip_families.is_empty() && errors.is_empty() {
        spec.ip_families.push(ranges.default_family());
    }
    if selectorless_headless {
        if !single && spec.ip_families.len() == 1 {
            let other = if spec.ip_families[0] == IPFamily::IPv4 { IPFamily::IPv6 } else { IPFamily::IPv4 };
            spec.ip_families.push(other);
        }
    } else {
        for (place, family) in spec.ip_families.iter().enumerate() {
            if !known.contains(family) {
                errors.invalid(
                    &path.child("ipFamilies").index(place),
                    family.as_str(),
                    "not configured on this cluster",
                );
            }
        }
        if spec.ip_family_policy == Some(IPFamilyPolicy::RequireDualStack) && known.len() < 2 {
            errors.invalid(
                &path.child("ipFamilyPolicy"),
                policy.as_str(),
                "this cluster is not configured for dual-stack services",
            );
        }
        // A PreferDualStack Service keeps what it has when the cluster changes.
        let unchanged = old.is_some_and(|old| {
            policy == "PreferDualStack"
                && old.spec.ip_families == spec.ip_families
                && old.spec.cluster_ips == spec.cluster_ips
                && old.spec.ip_family_policy == spec.ip_family_policy
        });
        if !single && !unchanged && spec.ip_families.len() == 1 {
            spec.ip_families.extend(known.into_iter().find(|family| *family != spec.ip_families[0]));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(Service::facts(), &service.metadata.name, errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(change: impl FnOnce(&mut Service), ranges: &str) -> Result<(String, Vec<String>), String> {
        let mut service = Service::default();
        service.spec.type_ = ServiceType::ClusterIP;
        service.spec.selector.insert("a".into(), "b".into());
        change(&mut service);
        settle(&mut service, None, &ranges.parse().expect("ranges")).map_err(|e| e.status().message)?;
        let policy = service.spec.ip_family_policy.map(|p| p.as_str().to_owned()).unwrap_or_default();
        Ok((policy, service.spec.ip_families.iter().map(|f| f.as_str().to_owned()).collect()))
    }

    fn check(found: Result<(String, Vec<String>), String>, policy: &str, families: &[&str]) {
        let families = families.iter().map(|f| (*f).to_owned()).collect();
        assert_eq!(found, Ok((policy.to_owned(), families)));
    }

    const ONE: &str = "10.0.0.0/24";
    const TWO: &str = "10.0.0.0/24,fd00::/108";

    #[test]
    fn a_service_is_single_stack_unless_it_says_otherwise() {
        check(settled(|_| {}, TWO), "SingleStack", &["IPv4"]);
        let prefer = |s: &mut Service| s.spec.ip_family_policy = Some(IPFamilyPolicy::PreferDualStack);
        check(settled(prefer, TWO), "PreferDualStack", &["IPv4", "IPv6"]);
        check(settled(prefer, ONE), "PreferDualStack", &["IPv4"]);
    }

    #[test]
    fn what_the_cluster_lacks_is_refused() {
        let require = |s: &mut Service| s.spec.ip_family_policy = Some(IPFamilyPolicy::RequireDualStack);
        let error = settled(require, ONE).expect_err("refused");
        assert!(error.contains("this cluster is not configured for dual-stack services"), "{error}");
        let error = settled(|s| s.spec.ip_families = vec![IPFamily::IPv6], ONE).expect_err("refused");
        assert!(
            error.contains("spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster"),
            "{error}"
        );
    }

    #[test]
    fn headless_without_selector_is_of_both_families() {
        let headless = |s: &mut Service| {
            s.spec.selector.clear();
            s.spec.cluster_ip = "None".into();
            s.spec.cluster_ips = vec!["None".into()];
        };
        check(settled(headless, ONE), "RequireDualStack", &["IPv4", "IPv6"]);
    }
}
