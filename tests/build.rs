//! Compiles the kubelet's descriptions of CSI and of the registration of plugins into servers, for the
//! driver of tests/cluster/csi.rs.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = "../kubelet/proto";
    for file in ["csi.proto", "plugin_registration.proto"] {
        println!("cargo::rerun-if-changed={dir}/{file}");
    }
    let descriptors = protox::compile(["csi.proto", "plugin_registration.proto"], [dir])?;
    tonic_prost_build::configure().build_client(false).compile_fds(descriptors)?;
    Ok(())
}
