//! What happens to a Node on its way to the store.

use super::*;
use crate::core::v1::pod::defaults::round_up;
use crate::field::Errors;
use crate::kind::{Column, Strategy};

impl Strategy for Node {
    fn set_defaults(&mut self) {
        let status = &mut self.status;
        if status.allocatable.is_empty() {
            status.allocatable = status.capacity.clone();
        }
        round_up(&mut status.capacity);
        round_up(&mut status.allocatable);
        let NodeSpec { pod_cidr, pod_cidrs, .. } = &mut self.spec;
        // COMPAT: the singular field wins where a client set both differently.
        if !pod_cidr.is_empty() && pod_cidrs.first().is_none_or(|first| first != pod_cidr) {
            *pod_cidrs = vec![pod_cidr.clone()];
        }
        if let Some(first) = pod_cidrs.first() {
            *pod_cidr = first.clone();
        }
    }

    /// A kubelet may register itself with a status; only dynamic kubelet configuration, which is
    /// gone, is dropped.
    fn prepare_for_create(&mut self) {
        self.spec.config_source = None;
        self.status.config = None;
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status = old.status.clone();
        self.metadata.generation = old.metadata.generation;
        if old.spec.config_source.is_none() {
            self.spec.config_source = None;
        }
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec = old.spec.clone();
        self.metadata.generation = old.metadata.generation;
        if old.status.config.is_none() {
            self.status.config = None;
        }
    }

    fn validate(&self, errors: &mut Errors) {
        validate::node(self, errors);
    }

    fn validate_update(&self, old: &Self, errors: &mut Errors) {
        validate::update(self, old, errors);
    }

    fn validate_status_update(&self, old: &Self, errors: &mut Errors) {
        validate::status_update(self, old, errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        validate::warnings(self)
    }

    fn selectable_names() -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn selectable_fields(&self) -> Vec<(&'static str, String)> {
        vec![("spec.unschedulable", self.spec.unschedulable.to_string())]
    }

    fn columns() -> &'static [Column<Self>] {
        columns::COLUMNS
    }
}
