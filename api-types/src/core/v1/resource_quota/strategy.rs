//! What happens to a ResourceQuota on its way to the store.

use super::*;
use crate::core::v1::pod::defaults::round_up;
use crate::field::Errors;
use crate::kind::{Column, Strategy};
use serde_json::Value as Json;

impl Strategy for ResourceQuota {
    fn set_defaults(&mut self) {
        round_up(&mut self.spec.hard);
        round_up(&mut self.status.hard);
        round_up(&mut self.status.used);
    }

    fn prepare_for_create(&mut self) {
        self.status = ResourceQuotaStatus::default();
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
    }

    fn validate(&self, errors: &mut Errors) {
        validate::quota(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn validate_status_update(&self, _old: &Self, errors: &mut Errors) {
        validate::status_update(self, errors);
    }

    /// A cap on requests above the one on limits can never be reached.
    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let hard = &self.spec.hard;
        let compared = ["cpu", "memory", "storage", "ephemeral-storage"].into_iter().filter_map(|name| {
            let asked = format!("requests.{name}");
            let asked = match hard.contains_key(&asked) {
                false if matches!(name, "cpu" | "memory") => name.to_owned(),
                _ => asked,
            };
            let limited = format!("limits.{name}");
            let (request, limit) = (hard.get(&asked)?, hard.get(&limited)?);
            (request > limit)
                .then(|| format!("ResourceQuota {asked} ({request}) should be less than {limited} ({limit})"))
        });
        if old.is_some() { Vec::new() } else { compared.collect() }
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text(
                    "Request",
                    "What is held of each cap on requests and counts.",
                    |quota: &Self, _| quota.cells(false),
                ),
                Column::text("Limit", "What is held of each cap on limits.", |quota: &Self, _| {
                    quota.cells(true)
                }),
                Column::age(),
            ]
        }
    }
}

impl ResourceQuota {
    fn cells(&self, limits: bool) -> Json {
        let status = &self.status;
        let of = status.hard.iter().filter(|(name, _)| name.starts_with("limits.") == limits);
        let texts = of.map(|(name, hard)| {
            format!("{name}: {}/{hard}", status.used.get(name).copied().unwrap_or_default())
        });
        texts.collect::<Vec<_>>().join(", ").into()
    }
}
