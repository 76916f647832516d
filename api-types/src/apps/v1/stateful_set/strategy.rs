//! What happens to a StatefulSet on its way to the store: defaults, generation.

use super::*;
use crate::columns::{container_images, container_names};
use crate::core::v1::PersistentVolumeClaimPhase;
use crate::core::v1::persistent_volume_claim::strategy::defaults as claim_defaults;
use crate::core::v1::persistent_volume_claim::strategy::spec_warnings;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::core::v1::pod::warnings::template as template_warnings;
use crate::field::{Errors, Path};
use crate::kind::{Column, NameRule, Strategy, set_generation};

impl Strategy for StatefulSet {
    const NAME_RULE: NameRule = NameRule::Label;

    fn set_defaults(&mut self) {
        let spec = &mut self.spec;
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        if spec.pod_management_policy.is_unset() {
            spec.pod_management_policy = PodManagementPolicyType::OrderedReady;
        }
        let update = &mut spec.update_strategy;
        if update.type_.is_unset() {
            update.type_ = StatefulSetUpdateStrategyType::RollingUpdate;
            update.rolling_update.get_or_insert_default();
        }
        if update.type_ == StatefulSetUpdateStrategyType::RollingUpdate
            && let Some(limits) = &mut update.rolling_update
        {
            limits.partition.get_or_insert(0);
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_default();
        for policy in [&mut retention.when_deleted, &mut retention.when_scaled] {
            if policy.is_unset() {
                *policy = PersistentVolumeClaimRetentionPolicyType::Retain;
            }
        }
        for claim in &mut spec.volume_claim_templates {
            claim_defaults(&mut claim.spec);
            if claim.status.phase.is_unset() {
                claim.status.phase = PersistentVolumeClaimPhase::Pending;
            }
        }
        template(&mut spec.template.spec);
    }

    fn prepare_for_create(&mut self) {
        self.status = StatefulSetStatus::default();
        self.metadata.generation = 1;
        self.drop_disabled(None);
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        self.drop_disabled(Some(old));
        set_generation(&mut self.metadata, &old.metadata, self.spec != old.spec);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
    }

    fn validate_create(&self, errors: &mut Errors) {
        validate::create(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        validate::status_update(&self.status, &old.status, errors);
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let path = Path::new("spec");
        let mut warnings = Vec::new();
        if old.is_none_or(|old| old.metadata.generation != self.metadata.generation) {
            warnings.extend(template_warnings(&self.spec.template, &path.child("template")));
        }
        for (place, claim) in self.spec.volume_claim_templates.iter().enumerate() {
            let mut path = path.child("volumeClaimTemplates").index(place);
            if old.is_some() {
                // COMPAT: upstream's path differs between the two.
                path = path.child("Spec");
            }
            warnings.extend(spec_warnings(&claim.spec, &path));
        }
        if self.spec.revision_history_limit.is_some_and(|limit| limit < 0) {
            warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        warnings
    }

    fn columns() -> &'static [Column<Self>] {
        const {
            &[
                Column::name(),
                Column::text("Ready", "Ready pods out of those wanted.", |set: &Self, _| {
                    let wanted = set.spec.replicas.unwrap_or_default();
                    format!("{}/{wanted}", set.status.ready_replicas).into()
                }),
                Column::age(),
                Column::text("Containers", "Names of the template's containers.", |set: &Self, _| {
                    container_names(&set.spec.template)
                })
                .wide(),
                Column::text("Images", "Images of the template's containers.", |set: &Self, _| {
                    container_images(&set.spec.template)
                })
                .wide(),
            ]
        }
    }
}

impl StatefulSet {
    /// maxUnavailable is off in 1.36 (MaxUnavailableStatefulSet).
    fn drop_disabled(&mut self, old: Option<&Self>) {
        let limit = |set: &Self| {
            set.spec.update_strategy.rolling_update.as_ref().and_then(|r| r.max_unavailable.clone())
        };
        if old.and_then(limit).is_none()
            && let Some(limits) = &mut self.spec.update_strategy.rolling_update
        {
            limits.max_unavailable = None;
        }
        drop_disabled(&mut self.spec.template.spec);
    }
}
