//! Compiles what the kubelet speaks over sockets into tonic clients: CRI v1 (proto/cri.proto), gRPC health
//! checking, for probes (proto/health.proto), the registration of plugins and the node's part of CSI; of
//! the last two the servers as well, for tests. Device plugins and those that ask for pods' resources call the kubelet too. protox reads the files, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["cri.proto", "health.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    let descriptors = protox::compile(["csi.proto", "plugin_registration.proto"], ["proto"])?;
    tonic_prost_build::configure().server_mod_attribute(".", "#[cfg(test)]").compile_fds(descriptors)?;
    for served in ["deviceplugin.proto", "podresources.proto", "podresources_v1alpha1.proto"] {
        let descriptors = protox::compile([served], ["proto"])?;
        tonic_prost_build::configure().compile_fds(descriptors)?;
    }
    Ok(())
}
