//! Generates the protobuf types from `proto/`; no `protoc` is needed.

fn main() {
    let directory = "proto/jarvis/provisioning/v1";
    println!("cargo:rerun-if-changed={directory}");
    let files = ["fault", "session", "provisioning"].map(|name| format!("{directory}/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"]).expect("the files in proto/ are valid");
    prost_build::Config::new().skip_debug(["."]).compile_fds(descriptors).expect("the output directory is writable");
}
