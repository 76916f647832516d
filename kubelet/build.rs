//! Compiles what the kubelet speaks over sockets into tonic clients: CRI v1 (proto/cri.proto), gRPC health
//! checking, for probes (proto/health.proto), the registration of plugins and the node's part of CSI; of
//! the last two, and of drivers of devices, the servers as well, for tests. Device plugins and those that ask for pods' resources call the kubelet too. protox reads the files, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["cri.proto", "health.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    let descriptors = protox::compile(["csi.proto", "plugin_registration.proto", "dra.proto"], ["proto"])?;
    tonic_prost_build::configure().server_mod_attribute(".", "#[cfg(test)]").compile_fds(descriptors)?;
    for served in ["deviceplugin.proto", "podresources.proto", "podresources_v1alpha1.proto"] {
        let descriptors = protox::compile([served], ["proto"])?;
        tonic_prost_build::configure().compile_fds(descriptors)?;
    }
    // Its package is called as one above: in a folder of its own.
    let dir = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("dra_health");
    std::fs::create_dir_all(&dir)?;
    let descriptors = protox::compile(["dra_health.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .server_mod_attribute(".", "#[cfg(test)]")
        .out_dir(dir)
        .compile_fds(descriptors)?;
    Ok(())
}
