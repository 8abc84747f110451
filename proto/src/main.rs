//! Generates the files `generated.rs` in `core/src/wire` from the `.proto` files beside this package; no `protoc` is needed.
//!
//! The files are checked in, so that building the product does not need the generator. `cargo run --package proto` writes them;
//! `cargo test --package proto` fails if one differs from the output for the `.proto` files.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A generated file: the package of its `.proto` files, their folder and names, and the file below `core/src/wire`.
struct Output {
    package: &'static str,
    folder: &'static str,
    names: &'static [&'static str],
    file: &'static str,
}

/// The generated files.
const OUTPUTS: [Output; 2] = [
    Output {
        package: "v1",
        folder: "jarvis/provisioning/v1",
        names: &["fault", "session", "provisioning"],
        file: "generated.rs",
    },
    Output { package: "espressif", folder: "espressif", names: &["provisioning"], file: "espressif/generated.rs" },
];

/// A field that few messages have, and that would make all of them larger.
const LARGE: &str = ".jarvis.provisioning.v1.Credentials.enterprise";

fn main() -> io::Result<()> {
    OUTPUTS.iter().try_for_each(|output| fs::write(output.target(), output.generate()?))
}

impl Output {
    fn target(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/src/wire").join(self.file)
    }

    /// The content of the generated file.
    fn generate(&self) -> io::Result<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = root.join(self.folder);
        let files = self.names.iter().map(|name| directory.join(format!("{name}.proto")));
        let descriptors = protox::compile(files, [root]).map_err(io::Error::other)?;
        let module = |file| (prost_build::Module::from_protobuf_package_name(self.package), file);
        let requests = descriptors.file.into_iter().map(module).collect();
        let generated = prost_build::Config::new().skip_debug(["."]).boxed(LARGE).generate(requests)?;
        let header = format!("// Generated from proto/{} by `cargo run --package proto`. Do not edit.\n\n", self.folder);
        Ok(generated.into_values().fold(header, |text, module| text + &module))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_types_are_those_of_the_proto_files() {
        for output in &OUTPUTS {
            let checked_in = fs::read_to_string(output.target()).expect("the generated file is checked in");
            assert_eq!(checked_in, output.generate().expect("the .proto files are valid"), "run `cargo run --package proto`");
        }
    }
}
