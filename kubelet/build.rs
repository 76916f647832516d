//! Compiles proto/cri.proto (CRI v1) and proto/health.proto (gRPC health checking, for probes) into tonic clients;
//! protox reads the files, so no protoc is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["cri.proto", "health.proto"], ["proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
