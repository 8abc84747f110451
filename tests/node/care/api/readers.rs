//! The memory of 500 readers of events, in a process of its own: other tests would be measured as well.

use std::net::IpAddr;
use std::process::Command;

use jarvis_provisioning::care::events::KEPT;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::stream::Stream;
use super::{Caring, works};
use crate::http::bounds::allow_many_files;
use crate::http::support::connect_from;

const READERS: usize = 500;
/// Bytes.
const LIMIT: u64 = 4 << 20;

/// The memory of this process that is its own, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5 has it");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

/// Connects the readers with this number and with the following ones. A reader is a socket without a buffer.
async fn connect(caring: &Caring, numbers: std::ops::Range<usize>) -> Vec<TcpStream> {
    let mut readers = Vec::new();
    for number in numbers {
        let peer = u8::try_from(1 + number / 50).expect("few peers");
        let from: IpAddr = [127, 0, 1, peer].into();
        let stream = Stream::over(connect_from(from, caring.node.api).await, None).await;
        readers.push(stream.into_inner());
    }
    readers
}

#[test]
fn five_hundred_readers_need_at_most_4_mib() {
    let program = std::env::current_exe().expect("this program");
    let test = "care::api::readers::measured_in_a_process_of_its_own";
    let ended = Command::new(program).args([test, "--exact", "--ignored", "--nocapture"]).output().expect("it runs");
    let output = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && output.contains("1 passed"), "{output}{}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test]
#[ignore = "a part of `five_hundred_readers_need_at_most_4_mib`, in a process of its own"]
async fn measured_in_a_process_of_its_own() {
    allow_many_files();
    let caring = Caring::start(works);
    // The runtime's and the allocator's first blocks are not the readers'.
    drop(connect(&caring, 0..8).await);
    let before = resident();
    let mut readers = connect(&caring, 0..READERS).await;
    let idle = resident().saturating_sub(before);
    let mut buffer = vec![0; 64 * 1024];
    for number in 0..KEPT {
        caring.publish(format!("{number} {}", "x".repeat(200)));
        for reader in &mut readers {
            let length = reader.read(&mut buffer).await.expect("it is connected");
            assert!(length > 0, "a reader was dropped");
        }
    }
    let busy = resident().saturating_sub(before);
    println!("{READERS} readers: {} KiB idle, {} KiB after {KEPT} events", idle / 1024, busy / 1024);
    assert!(idle <= LIMIT && busy <= LIMIT, "{idle} and {busy} bytes");
}
