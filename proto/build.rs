//! Compiles the .proto files with protox, so that no protoc is needed.

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};
use std::fmt::Write as _;
use std::{error::Error, fs, path::PathBuf};

const FILES: [&str; 12] = [
    "chirm/v1/admin.proto",
    "chirm/v1/auth.proto",
    "chirm/v1/channel.proto",
    "chirm/v1/common.proto",
    "chirm/v1/gateway.proto",
    "chirm/v1/message.proto",
    "chirm/v1/moderation.proto",
    "chirm/v1/presence.proto",
    "chirm/v1/read_state.proto",
    "chirm/v1/server.proto",
    "chirm/v1/user.proto",
    "chirm/v1/webhook.proto",
];

/// What the comment of a field says whose value is never printed.
const SECRET: &str = "Secret.";

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
    let secrets = secrets(&set);
    let with_secrets = secrets.iter().map(|(name, _)| format!(".chirm.v1.{name}"));
    fs::write(out.join("redacted.rs"), redacted(&secrets)?)?;
    tonic_prost_build::configure()
        .extern_path(".google.protobuf", "::prost_types")
        .compile_well_known_types(true)
        .bytes(".chirm.v1.CustomEvent.data")
        .bytes(".chirm.v1.SendCustomEventRequest.data")
        .skip_debug(with_secrets)
        .compile_fds(set)?;
    Ok(())
}

/// A message's name and its fields: their names, and whether they are secret.
type Redacted = (String, Vec<(String, bool)>);

/// The messages that have a secret field.
fn secrets(set: &FileDescriptorSet) -> Vec<Redacted> {
    let mut found = Vec::new();
    for file in set.file.iter().filter(|file| file.package() == "chirm.v1") {
        for (index, message) in file.message_type.iter().enumerate() {
            let fields: Vec<_> = (0..message.field.len())
                .map(|field| is_secret(file, index, field))
                .collect();
            if fields.contains(&true) {
                let names = message.field.iter().map(|field| field.name().to_owned());
                let fields = names.zip(fields).collect();
                assert_plain(message);
                found.push((message.name().to_owned(), fields));
            }
        }
    }
    assert!(found.len() > 5, "the secrets' comments are lost");
    found
}

/// The fields of a oneof would need more than [`redacted`] does.
fn assert_plain(message: &DescriptorProto) {
    let name = message.name();
    assert!(
        message.oneof_decl.is_empty(),
        "{name} has secrets beside a oneof"
    );
}

fn is_secret(file: &FileDescriptorProto, message: usize, field: usize) -> bool {
    // By descriptor.proto: field 4 of a file are its messages, field 2 of those their fields.
    let path = [4, message as i32, 2, field as i32];
    let locations = file.source_code_info.iter().flat_map(|info| &info.location);
    let mut comments = locations
        .filter(|location| location.path == path)
        .filter_map(|location| location.leading_comments.as_deref());
    comments.any(|comment| comment.contains(SECRET))
}

/// `Debug` for them.
fn redacted(messages: &[Redacted]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    for (message, fields) in messages {
        writeln!(code, "impl ::core::fmt::Debug for {message} {{")?;
        writeln!(
            code,
            "fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{"
        )?;
        writeln!(code, "f.debug_struct({message:?})")?;
        for (field, secret) in fields {
            if *secret {
                writeln!(code, ".field({field:?}, &crate::Secret::of(&self.{field}))")?;
            } else {
                writeln!(code, ".field({field:?}, &self.{field})")?;
            }
        }
        writeln!(code, ".finish()\n}}\n}}")?;
    }
    Ok(code)
}
