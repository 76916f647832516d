//! ResourceSlices: which devices have taints that evict (KEP-5055). Everything else of a slice is left out.

use api_types::resource::v1::{DeviceTaint, DeviceTaintEffect, ResourceSlice};
use client::Key;
use client::informer::{Index, Projection};

/// A slice of a pool of devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DevicePool {
    pub driver: Box<str>,
    pub pool: Box<str>,
    /// Only slices of the pool's highest one count.
    pub generation: i64,
    pub taints: Box<[EvictingTaint]>,
}

/// A taint with the effect `NoExecute`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvictingTaint {
    pub device: Box<str>,
    pub taint: DeviceTaint,
}

impl Projection for DevicePool {
    type Source = ResourceSlice;

    fn project(slice: ResourceSlice) -> Option<Self> {
        let spec = slice.spec;
        let taints = spec.devices.into_iter().flat_map(|device| {
            let name: Box<str> = device.name.into();
            let evicts = |taint: &DeviceTaint| taint.effect == DeviceTaintEffect::NoExecute;
            let taints = device.taints.into_iter().filter(evicts);
            taints.map(move |taint| EvictingTaint { device: name.clone(), taint })
        });
        Some(Self {
            taints: taints.collect(),
            driver: spec.driver.into(),
            pool: spec.pool.name.into(),
            generation: spec.pool.generation,
        })
    }

    fn indexes() -> &'static [Index<Self>] {
        const {
            &[Index {
                name: "pool",
                values: |_: &Key, slice: &Self, out| out.push(format!("{}/{}", slice.driver, slice.pool)),
            }]
        }
    }
}
