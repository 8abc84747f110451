//! Generates `core/src/wire/generated.rs` from the `.proto` files beside this package; no `protoc` is needed.
//!
//! The file is checked in, so that building the product does not need the generator. `cargo run --package proto` writes it;
//! `cargo test --package proto` fails if it differs from the output for the `.proto` files.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The comment at the top of the generated file.
const HEADER: &str = "// Generated from proto/jarvis/provisioning/v1 by `cargo run --package proto`. Do not edit.\n\n";

fn main() -> io::Result<()> {
    fs::write(target(), generate()?)
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/wire/generated.rs")
}

/// The content of the generated file.
fn generate() -> io::Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.join("jarvis/provisioning/v1");
    let files = ["fault", "session", "provisioning"].map(|name| directory.join(format!("{name}.proto")));
    let descriptors = protox::compile(files, [root]).map_err(io::Error::other)?;
    let requests = descriptors.file.into_iter().map(|file| (prost_build::Module::from_protobuf_package_name("v1"), file));
    let generated = prost_build::Config::new().skip_debug(["."]).generate(requests.collect())?;
    Ok(generated.into_values().fold(HEADER.to_owned(), |text, module| text + &module))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_types_are_those_of_the_proto_files() {
        let checked_in = fs::read_to_string(target()).expect("the generated file is checked in");
        assert_eq!(checked_in, generate().expect("the .proto files are valid"), "run `cargo run --package proto`");
    }
}
