//! Compiles the .proto files to descriptors: the runner knows the protocol by these alone, so that
//! it shares no type, and no mistake, with a server or client.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from("../proto");
    println!("cargo:rerun-if-changed=../proto/chirm");
    println!("cargo:rerun-if-changed=../proto/vendor");
    println!("cargo:rerun-if-changed=cases");
    println!("cargo:rerun-if-changed=profiles");
    println!("cargo:rerun-if-changed=../docs/protocol.md");
    let mut files = Vec::new();
    for entry in fs::read_dir(proto.join("chirm/v1"))? {
        files.push(entry?.path());
    }
    files.sort();
    let mut compiler = protox::Compiler::new([proto.join("vendor"), proto.clone()])?;
    compiler.include_imports(true);
    compiler.open_files(files)?;
    compiler.open_file(proto.join("vendor/google/rpc/error_details.proto"))?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    Ok(())
}
