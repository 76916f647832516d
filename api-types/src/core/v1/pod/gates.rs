//! Fields of features that are off in this version: dropped before anything is stored, as upstream
//! does, so that nothing is kept that nobody heeds.

use super::*;

/// Off in 1.36: ContainerStopSignals, ClusterTrustBundleProjection, PodCertificateRequest,
/// GenericWorkload.
pub(crate) fn drop_disabled(spec: &mut PodSpec) {
    spec.scheduling_group = None;
    let debug = spec.ephemeral_containers.iter_mut().map(|c| &mut c.common);
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers).chain(debug) {
        if let Some(lifecycle) = &mut container.lifecycle {
            lifecycle.stop_signal = None;
        }
    }
    for volume in &mut spec.volumes {
        for source in volume.source.projected.iter_mut().flat_map(|projected| &mut projected.sources) {
            source.cluster_trust_bundle = None;
            source.pod_certificate = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_dropped() {
        let lifecycle = Lifecycle { stop_signal: Some("SIGTERM".into()), ..Default::default() };
        let mut spec = PodSpec {
            containers: vec![Container { lifecycle: Some(Box::new(lifecycle)), ..Default::default() }],
            ..PodSpec::default()
        };
        drop_disabled(&mut spec);
        assert_eq!(spec.containers[0].lifecycle.as_ref().and_then(|l| l.stop_signal.clone()), None);
    }
}
