//! Compiles the kubelet's descriptions of CSI, of drivers of devices and of the registration of plugins into servers,
//! for the drivers of tests/cluster.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = "../kubelet/proto";
    for file in ["csi.proto", "dra.proto", "plugin_registration.proto"] {
        println!("cargo::rerun-if-changed={dir}/{file}");
    }
    let descriptors = protox::compile(["csi.proto", "dra.proto", "plugin_registration.proto"], [dir])?;
    tonic_prost_build::configure().build_client(false).compile_fds(descriptors)?;
    Ok(())
}
