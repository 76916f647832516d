//! What happens to a StatefulSet on its way to the store: defaults, generation.

use super::*;
use crate::core::v1::PersistentVolumeClaimPhase;
use crate::core::v1::persistent_volume_claim::strategy::defaults as claim_defaults;
use crate::core::v1::pod::defaults::template;
use crate::core::v1::pod::gates::drop_disabled;
use crate::kind::{Strategy, set_generation};

impl Strategy for StatefulSet {
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
