//! Compiles the .proto files with protox, so that no protoc is needed.

use prost::Message as _;
use std::{error::Error, fs, path::PathBuf};

const FILES: [&str; 10] = [
    "chirm/v1/admin.proto",
    "chirm/v1/auth.proto",
    "chirm/v1/channel.proto",
    "chirm/v1/common.proto",
    "chirm/v1/gateway.proto",
    "chirm/v1/message.proto",
    "chirm/v1/presence.proto",
    "chirm/v1/read_state.proto",
    "chirm/v1/server.proto",
    "chirm/v1/user.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=chirm");
    println!("cargo:rerun-if-changed=vendor");
    let mut compiler = protox::Compiler::new(["vendor", "."])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(FILES)?;
    // Tools print error details as base64 unless their types are in the set.
    compiler.open_file("vendor/google/rpc/error_details.proto")?;
    compiler.open_file("vendor/google/rpc/code.proto")?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // protox's own bytes keep the HTTP annotations, which prost's types would drop.
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    let set = compiler.file_descriptor_set();
    debug_assert!(set.encoded_len() > 0);
    tonic_prost_build::configure()
        .extern_path(".google.protobuf", "::prost_types")
        .compile_well_known_types(true)
        .bytes(".chirm.v1.CustomEvent.data")
        .bytes(".chirm.v1.SendCustomEventRequest.data")
        .compile_fds(set)?;
    Ok(())
}
