//! The programs that a node starts end with it, also if it is killed.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use crate::place::PATIENCE;

/// A shell stands for the node. Its child says that it runs, and then waits forever.
const SCRIPT: &str = r#""$0" child $$ /bin/sh -c 'echo running; exec tail -f /dev/null' & wait"#;

#[tokio::test]
async fn a_child_ends_when_its_parent_is_killed() {
    let mut parent = Command::new("/bin/sh");
    parent.args(["-c", SCRIPT, env!("CARGO_BIN_EXE_jarvis-provision")]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut parent = parent.kill_on_drop(true).spawn().expect("a shell starts");
    let mut output = BufReader::new(parent.stdout.take().expect("a pipe"));
    let mut line = String::new();
    timeout(PATIENCE, output.read_line(&mut line)).await.expect("it starts in time").expect("text");
    assert_eq!(line, "running\n");
    parent.kill().await.expect("it runs");
    // The child has the other end of the pipe.
    let ended = timeout(PATIENCE, output.read_to_end(&mut Vec::new())).await;
    assert_eq!(ended.expect("the child ends").expect("the pipe"), 0);
}

#[tokio::test]
async fn a_child_whose_parent_has_ended_before_does_not_start() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_jarvis-provision"));
    // The number of no process: the kernel's are smaller.
    let output = child.args(["child", "4294967295", "/bin/echo", "started"]).output().await.expect("it starts");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(5), &b""[..]));
}

#[tokio::test]
async fn a_supervised_child_ends_with_standard_input() {
    let mut supervisor = Command::new(env!("CARGO_BIN_EXE_jarvis-provision"));
    supervisor.args(["child", "0", "/bin/sh", "-c", "echo running; exec tail -f /dev/null"]);
    let mut supervisor = supervisor.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it starts");
    let mut output = BufReader::new(supervisor.stdout.take().expect("a pipe"));
    let mut line = String::new();
    timeout(PATIENCE, output.read_line(&mut line)).await.expect("it starts in time").expect("text");
    assert_eq!(line, "running\n");
    drop(supervisor.stdin.take());
    let ended = timeout(PATIENCE, output.read_to_end(&mut Vec::new())).await;
    assert_eq!(ended.expect("the child ends").expect("the pipe"), 0);
    assert_eq!(timeout(PATIENCE, supervisor.wait()).await.expect("it ends").expect("a status").code(), Some(1));
}
