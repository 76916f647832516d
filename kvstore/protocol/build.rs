//! Compiles proto/ to clients and servers, without protoc.

use std::path::PathBuf;

const FILES: [&str; 11] = [
    "mvcc",
    "authpb",
    "header",
    "kv",
    "watch",
    "lease",
    "cluster",
    "maintenance",
    "auth",
    "lock",
    "election",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(FILES.map(|name| format!("etcd/{name}.proto")))?;
    // Keys and values are shared buffers: decoding borrows from the frame, cloning counts references.
    let builder = tonic_prost_build::configure().bytes(".").codec_path("crate::codec::SmallBuffers");
    builder.compile_fds(compiler.file_descriptor_set())?;
    let set = PathBuf::from(std::env::var("OUT_DIR")?).join("etcd.bin");
    std::fs::write(set, compiler.encode_file_descriptor_set())?;
    Ok(())
}
