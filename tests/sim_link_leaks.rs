//! Phones that connect and leave leak no descriptors and no tasks. Runs in a separate process, because it counts descriptors.

use mobile_test_harness::phone::Phone;
use testing_node::sim_link::{Node, PATIENCE, secret};
use tokio::time::Instant;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux has it").count()
}

#[tokio::test]
async fn a_hundred_phones_that_connect_and_disconnect_leak_no_descriptor() {
    let node = Node::start(185).await;
    let mut phone = Phone::connect(&node.target).await.expect("a link");
    phone.open_session(&secret()).await.expect("the right code");
    drop(phone);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let until = Instant::now() + PATIENCE;
    let (before, mut others) = (descriptors() - 1, 0);
    for visit in 0..100 {
        let mut phone = Phone::connect_within(&node.target, PATIENCE).await.expect("a link");
        if visit % 2 == 0 {
            // Every second phone opens a session, or is refused because the node is busy.
            others += usize::from(phone.open_session(&secret()).await.is_ok());
        }
    }
    assert!(others > 0, "no phone opened a session");
    while descriptors() > before || tasks() > 2 {
        assert!(Instant::now() < until, "{} descriptors, {before} before; {} tasks", descriptors(), tasks());
        tokio::task::yield_now().await;
    }
}
