//! Compiles the vendored .proto files with protox, so that no protoc is needed.

use std::error::Error;

const FILES: [&str; 2] = [
    "connectrpc/conformance/v1/server_compat.proto",
    "connectrpc/conformance/v1/service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let set = protox::compile(FILES, ["proto"])?;
    // The service names the messages that it echoes.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .build_client(false)
        .compile_fds_with_config(set, config)?;
    Ok(())
}
