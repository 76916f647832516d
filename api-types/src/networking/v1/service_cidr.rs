//! ServiceCIDR: ranges that Services get their addresses from (KEP-1880).

use crate::addresses;
use crate::field::{Errors, Path};
use crate::kind::{Column, Kind, Strategy, Subresource, resource};
use crate::meta::v1::validate::IMMUTABLE;
use crate::meta::v1::{Condition, ObjectMeta};
use crate::value::Value;
use api_types_derive::Api;

/// Ranges of addresses for Services.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct ServiceCIDR {
    /// Name, labels and other standard metadata.
    #[api(1)]
    pub metadata: ObjectMeta,
    /// The ranges.
    #[api(2)]
    pub spec: ServiceCIDRSpec,
    /// Whether they are in use.
    #[api(3)]
    pub status: ServiceCIDRStatus,
}

/// Ranges of addresses, at most one of each family.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct ServiceCIDRSpec {
    /// The ranges in CIDR notation; only a second family can be added later.
    #[api(1, list = atomic)]
    pub cidrs: Vec<String>,
}

/// Whether the ranges are in use.
#[derive(Api, Clone, Debug, Default, PartialEq)]
#[api(package = "io.k8s.api.networking.v1")]
pub struct ServiceCIDRStatus {
    /// Latest observations: whether addresses are given out of the ranges.
    #[api(1, list = map("type"), patch = merge_key("type"))]
    pub conditions: Vec<Condition>,
}

resource!(
    ServiceCIDR,
    Kind {
        subresources: &[Subresource::status("ServiceCIDR")],
        ..Kind::cluster_wide("networking.k8s.io/v1", "ServiceCIDR", "servicecidrs", "servicecidr")
    }
);

/// The condition that says whether addresses are given out of the ranges.
pub const READY: &str = "Ready";

impl ServiceCIDR {
    /// Whether addresses may be given out of the ranges: it is not going, and nobody says otherwise.
    pub fn is_open(&self) -> bool {
        let said = self.status.conditions.iter().find(|condition| condition.type_ == READY);
        self.metadata.deletion_timestamp.is_none()
            && said.is_none_or(|condition| condition.status == crate::meta::v1::ConditionStatus::True)
    }

    fn validate_ranges(&self, errors: &mut Errors) {
        let path = Path::new("spec").child("cidrs");
        let cidrs = &self.spec.cidrs;
        if cidrs.is_empty() {
            return errors.required(&path, "at least one CIDR required");
        }
        if cidrs.len() > 2 {
            return errors.invalid(&path, &self.spec as &dyn Value, "may only hold up to 2 values");
        }
        for (place, cidr) in cidrs.iter().enumerate() {
            addresses::cidr(cidr, &path.index(place), errors);
        }
        if let [first, second] = cidrs.as_slice()
            && let (Ok(first), Ok(second)) = (first.parse::<ipnet::IpNet>(), second.parse::<ipnet::IpNet>())
            && first.addr().is_ipv4() == second.addr().is_ipv4()
        {
            let text =
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
            errors.invalid(&path, cidrs as &dyn Value, text);
        }
    }
}

impl Strategy for ServiceCIDR {
    fn prepare_for_create(&mut self) {
        self.status = ServiceCIDRStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.keep_for_status(&old.metadata);
    }

    fn validate_create(&self, errors: &mut Errors) {
        self.validate_ranges(errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        let path = Path::new("spec").child("cidrs");
        let (new, old) = (&self.spec.cidrs, &old.spec.cidrs);
        match (old.len(), new.len()) {
            (before, now) if before == now => {
                for (place, (now, before)) in new.iter().zip(old).enumerate() {
                    if now != before {
                        errors.invalid(&path.index(place), now, IMMUTABLE);
                    }
                }
            }
            (1, 2) => {
                if new[0] != old[0] {
                    errors.invalid(&path.index(0), &new[0], IMMUTABLE);
                }
                self.validate_ranges(errors);
            }
            _ => errors.invalid(&path, new as &dyn Value, IMMUTABLE),
        }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("CIDRs", "The ranges.", |own: &Self, _| own.spec.cidrs.join(",").into()),
                Column::age(),
            ]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::testing::{refused, refused_update};

    fn ranges(cidrs: &[&str]) -> ServiceCIDR {
        let cidrs = cidrs.iter().map(|cidr| (*cidr).to_owned()).collect();
        ServiceCIDR { spec: ServiceCIDRSpec { cidrs }, ..ServiceCIDR::default() }
    }

    #[test]
    fn what_is_refused() {
        assert!(refused(ranges(&["10.0.0.0/24", "fd00::/112"])).is_empty());
        assert_eq!(refused(ranges(&[])), ["spec.cidrs: Required value: at least one CIDR required"]);
        assert_eq!(
            refused(ranges(&["10.0.0.1/24"])),
            [
                r#"spec.cidrs[0]: Invalid value: "10.0.0.1/24": must not have bits set beyond the prefix length"#
            ]
        );
        assert_eq!(
            refused(ranges(&["FD00::/112"])),
            [r#"spec.cidrs[0]: Invalid value: "FD00::/112": must be in canonical form ("fd00::/112")"#]
        );
        assert_eq!(
            refused(ranges(&["10.0.0.0/24", "10.1.0.0/24"])),
            [
                r#"spec.cidrs: Invalid value: ["10.0.0.0/24","10.1.0.0/24"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#
            ]
        );
    }

    #[test]
    fn only_a_family_can_be_added() {
        let old = || ranges(&["10.0.0.0/24"]);
        assert!(refused_update(ranges(&["10.0.0.0/24", "fd00::/112"]), old()).is_empty());
        assert_eq!(
            refused_update(ranges(&["10.1.0.0/24"]), old()),
            [r#"spec.cidrs[0]: Invalid value: "10.1.0.0/24": field is immutable"#]
        );
        assert_eq!(
            refused_update(ranges(&[]), old()),
            ["spec.cidrs: Invalid value: null: field is immutable"]
        );
    }
}
