//! The simulated link packet by packet: refusals of GATT and of framing, and the socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jarvis_provisioning::daemon::{Ends, Event, Handle};
use jarvis_provisioning::link::sim::{Config, Error, Listener, serve};
use mobile_test_harness::link::simulated::Simulated;
use mobile_test_harness::link::{Error as LinkError, Target};
use mobile_test_harness::phone::{Error as PhoneError, Phone};
use provisioning_core::endpoint::{Endpoint, SERVICE};
use provisioning_core::fault::Fault;
use provisioning_core::gatt::AttError;
use provisioning_core::gatt::packets::{FromNode, FromPhone, PACKET_LIMIT, Packets};
use provisioning_core::wire::framing::{VALUE_LIMIT, frames};
use provisioning_core::wire::{Info, Outbound, PublicStatus, Refusal};
use tempfile::TempDir;
use testing_node::scripted::view;
use testing_node::sim_link::{Node, PATIENCE, secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

/// A phone that sends arbitrary packets.
struct Raw {
    stream: UnixStream,
    packets: Packets,
}

impl Raw {
    async fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).await.expect("the node listens");
        Self { stream, packets: Packets::default() }
    }

    /// Connects, and takes advertisement and MTU.
    async fn greeted(path: &Path) -> Self {
        let mut raw = Self::connect(path).await;
        assert!(matches!(raw.next().await, Some(FromNode::Advertisement { service: SERVICE, .. })));
        assert!(matches!(raw.next().await, Some(FromNode::Mtu(_))));
        raw
    }

    /// The next packet; none when the node has ended the link.
    async fn next(&mut self) -> Option<FromNode> {
        let mut bytes = [0; 1024];
        loop {
            if let Some(packet) = self.packets.take().expect("nodes send good lengths") {
                return Some(FromNode::decode(&packet).expect("nodes send known packets"));
            }
            match timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("the node answers in time") {
                Ok(count @ 1..) => self.packets.push(&bytes[..count]),
                _ => return None,
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the node reads");
    }

    async fn ask(&mut self, request: &FromPhone) -> Option<FromNode> {
        self.send(&request.encode()).await;
        self.next().await
    }

    async fn refused(&mut self, request: &FromPhone) -> AttError {
        match self.ask(request).await {
            Some(FromNode::Error(error)) => error,
            other => panic!("{request:?} was answered with {other:?}"),
        }
    }
}

fn uuid(endpoint: Endpoint) -> u128 {
    endpoint.row().uuid
}

async fn refusal(link: &mut Simulated) -> Fault {
    match link.receive(Instant::now() + PATIENCE).await {
        Ok(Some(Outbound::Refusal(Refusal { fault, .. }))) => fault,
        other => panic!("{other:?}"),
    }
}

/// The channels of a daemon whose loop the test replaces, and a link to it.
fn silent(config: Config) -> (TempDir, Target, Ends) {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("node.sock");
    let (handle, ends) = Handle::channel(4, view());
    ends.advertising.send_replace(true);
    let listener = Listener::bind(&path).expect("nothing is there yet");
    tokio::spawn(serve(listener, config, handle, std::future::pending()));
    (directory, Target::Simulated(path), ends)
}

fn path(target: &Target) -> &Path {
    match target {
        Target::Simulated(path) => path,
        other => panic!("{other:?} is no socket"),
    }
}

#[tokio::test]
async fn a_node_advertises_its_name_its_service_and_its_mtu() {
    let node = Node::start(185).await;
    let mut raw = Raw::connect(&node.path()).await;
    let advertisement = FromNode::Advertisement { name: "jarvis-5b91b661".into(), service: SERVICE };
    assert_eq!(raw.next().await, Some(advertisement));
    assert_eq!(raw.next().await, Some(FromNode::Mtu(185)));
}

#[tokio::test]
async fn an_mtu_out_of_range_is_clamped() {
    for (configured, used) in [(0, 23), (22, 23), (518, 517), (u16::MAX, 517)] {
        let (_directory, target, _ends) = silent(Config { mtu: configured, ..Config::default() });
        assert_eq!(Simulated::connect(path(&target)).await.expect("a link").mtu(), used);
    }
}

#[tokio::test]
async fn public_values_are_read_in_parts_at_any_mtu() {
    for mtu in [23, 185, 517] {
        let node = Node::start(mtu).await;
        let mut link = Simulated::connect(&node.path()).await.expect("a link");
        let info = link.read(Endpoint::Info).await.expect("readable");
        assert_eq!(Info::decode(&info).expect("an info"), node.handle.view().info);
        let status = link.read(Endpoint::Status).await.expect("readable");
        assert_eq!(PublicStatus::decode(&status).expect("a status"), PublicStatus::from(&node.handle.view().status));
    }
}

#[tokio::test]
async fn invalid_reads_and_writes_are_refused_by_name() {
    let node = Node::start(23).await;
    let mut raw = Raw::greeted(&node.path()).await;
    let read = |characteristic, offset| FromPhone::Read { characteristic, offset };
    let write = |characteristic, length| FromPhone::Write { characteristic, value: vec![0x80; length] };
    let subscribe = |characteristic| FromPhone::Subscribe { characteristic };
    assert_eq!(raw.refused(&read(1, 0)).await, AttError::InvalidHandle);
    assert_eq!(raw.refused(&read(SERVICE, 0)).await, AttError::InvalidHandle);
    assert_eq!(raw.refused(&read(uuid(Endpoint::Credentials), 0)).await, AttError::ReadNotPermitted);
    assert_eq!(raw.refused(&read(uuid(Endpoint::Info), 512)).await, AttError::InvalidOffset);
    assert_eq!(raw.refused(&write(uuid(Endpoint::Info), 4)).await, AttError::WriteNotPermitted);
    assert_eq!(raw.refused(&write(uuid(Endpoint::Session), 20)).await, AttError::NotSubscribed);
    assert_eq!(raw.refused(&subscribe(uuid(Endpoint::Session))).await, AttError::NotSupported);
    assert_eq!(raw.refused(&subscribe(7)).await, AttError::InvalidHandle);
    assert_eq!(raw.ask(&subscribe(uuid(Endpoint::Status))).await, Some(FromNode::Written));
    assert_eq!(raw.refused(&write(uuid(Endpoint::Session), 21)).await, AttError::InvalidLength);
}

#[tokio::test]
async fn a_value_over_495_bytes_is_refused_even_where_the_mtu_would_carry_it() {
    let node = Node::start(517).await;
    let mut link = Simulated::connect(&node.path()).await.expect("a link");
    link.write(Endpoint::Session, &[0; 4]).await.expect("subscribed");
    let error = link.write_value(Endpoint::Credentials, vec![0x80; VALUE_LIMIT + 1]).await.expect_err("too long");
    assert!(matches!(error, LinkError::Refused(AttError::InvalidLength)), "{error:?}");
    link.write_value(Endpoint::Credentials, vec![0x80; VALUE_LIMIT]).await.expect("the most that may be written");
}

#[tokio::test]
async fn an_unknown_packet_is_refused_and_the_link_stays() {
    let node = Node::start(185).await;
    let mut raw = Raw::greeted(&node.path()).await;
    raw.send(&[0, 2, 0x55, 1]).await;
    assert_eq!(raw.next().await, Some(FromNode::Error(AttError::NotSupported)));
    raw.send(&[0, 3, 0x12, 1, 2]).await;
    assert_eq!(raw.next().await, Some(FromNode::Error(AttError::InvalidPdu)));
    let read = FromPhone::Read { characteristic: uuid(Endpoint::Status), offset: 0 };
    assert!(matches!(raw.ask(&read).await, Some(FromNode::Value(_))));
}

#[tokio::test]
async fn a_packet_of_invalid_length_ends_the_link() {
    let node = Node::start(185).await;
    for length in [0, PACKET_LIMIT + 1, 65_535] {
        let mut raw = Raw::greeted(&node.path()).await;
        raw.send(&u16::try_from(length).expect("below 64 KiB").to_be_bytes()).await;
        assert_eq!(raw.next().await, None, "{length} bytes");
    }
}

#[tokio::test]
async fn frames_out_of_order_are_malformed_and_the_next_message_is_taken() {
    let node = Node::start(23).await;
    let mut phone = Simulated::connect(&node.path()).await.expect("a link");
    let message = frames(&[1; 60], 20);
    phone.write(Endpoint::Session, &[1; 4]).await.expect("acknowledged");
    assert_eq!(refusal(&mut phone).await, Fault::Malformed);
    for frame in [&message[0], &message[2]] {
        phone.write_value(Endpoint::Session, frame.clone()).await.expect("acknowledged");
    }
    assert_eq!(refusal(&mut phone).await, Fault::Malformed);
    for frame in &message {
        phone.write_value(Endpoint::Scan, frame.clone()).await.expect("acknowledged");
    }
    // The message is complete, and refused because it is not a record.
    assert_eq!(refusal(&mut phone).await, Fault::Malformed);
    drop(phone);

    let mut phone = Phone::connect_within(&node.target, PATIENCE).await.expect("a link");
    phone.open_session(&secret()).await.expect("nothing was lost");
}

#[tokio::test]
async fn a_repeated_frame_is_malformed() {
    let node = Node::start(23).await;
    let mut phone = Simulated::connect(&node.path()).await.expect("a link");
    phone.write(Endpoint::Session, &[1; 4]).await.expect("acknowledged");
    assert_eq!(refusal(&mut phone).await, Fault::Malformed);
    let message = frames(&[1; 60], 20);
    for frame in [&message[0], &message[1], &message[1]] {
        phone.write_value(Endpoint::Session, frame.clone()).await.expect("acknowledged");
    }
    assert_eq!(refusal(&mut phone).await, Fault::Malformed);
}

#[tokio::test]
async fn a_message_over_its_endpoints_limit_is_too_large() {
    let node = Node::start(185).await;
    for endpoint in [Endpoint::Session, Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status] {
        let mut phone = Simulated::connect(&node.path()).await.expect("a link");
        phone.write(Endpoint::Session, &[1; 4]).await.expect("acknowledged");
        assert_eq!(refusal(&mut phone).await, Fault::Malformed);
        let message = vec![1; endpoint.row().limit + 1];
        phone.write_value(endpoint, frames(&message, 182)[0].clone()).await.expect("acknowledged");
        assert_eq!(refusal(&mut phone).await, Fault::TooLarge, "{endpoint:?}");
    }
}

#[tokio::test]
async fn messages_to_two_endpoints_may_be_written_in_turns() {
    let (_directory, target, mut ends) = silent(Config { mtu: 23, ..Config::default() });
    let mut phone = Simulated::connect(path(&target)).await.expect("a link");
    phone.write(Endpoint::Status, &[9]).await.expect("acknowledged");
    let (scan, k2) = (frames(&[1; 30], 20), frames(&[2; 30], 20));
    for index in 0..2 {
        phone.write_value(Endpoint::Scan, scan[index].clone()).await.expect("acknowledged");
        phone.write_value(Endpoint::K2, k2[index].clone()).await.expect("acknowledged");
    }
    let mut received = Vec::new();
    while received.len() < 3 {
        if let Some(Event::Received { endpoint, message, .. }) = ends.events.recv().await {
            received.push((endpoint, message));
        }
    }
    assert_eq!(received, [(Endpoint::Status, vec![9]), (Endpoint::Scan, vec![1; 30]), (Endpoint::K2, vec![2; 30])]);
}

#[tokio::test]
async fn a_write_is_acknowledged_before_it_is_processed() {
    let (_directory, target, mut ends) = silent(Config::default());
    let mut phone = Simulated::connect(path(&target)).await.expect("a link");
    // No event is received before the acknowledgement.
    phone.write(Endpoint::Session, &[7; 4]).await.expect("acknowledged");
    assert!(matches!(ends.events.recv().await, Some(Event::Opened { .. })));
    assert!(matches!(ends.events.recv().await, Some(Event::Received { message, .. }) if message == [7; 4]));
}

#[tokio::test]
async fn a_phone_that_only_reads_opens_no_link() {
    let (_directory, target, mut ends) = silent(Config::default());
    let mut phone = Phone::connect(&target).await.expect("a link");
    phone.info().await.expect("readable");
    drop(phone);
    let mut other = Simulated::connect(path(&target)).await.expect("a link");
    other.write(Endpoint::Session, &[1]).await.expect("acknowledged");
    assert!(matches!(ends.events.recv().await, Some(Event::Opened { link, .. }) if link.0 == 0));
}

#[tokio::test]
async fn a_link_that_the_node_closes_delivers_all_messages_sent_before() {
    let (_directory, target, mut ends) = silent(Config { mtu: 23, ..Config::default() });
    let mut phone = Simulated::connect(path(&target)).await.expect("a link");
    phone.write(Endpoint::Session, &[1]).await.expect("acknowledged");
    let Some(Event::Opened { outbound, link }) = ends.events.recv().await else { panic!("a link is opened first") };
    let sent = Outbound::Refusal(Refusal { fault: Fault::Locked, retry_after: 60 });
    for _ in 0..3 {
        outbound.send(sent.encode()).await.expect("the link is there");
    }
    drop(outbound);
    let until = Instant::now() + PATIENCE;
    for _ in 0..3 {
        assert_eq!(phone.receive(until).await.expect("a message"), Some(sent.clone()));
    }
    assert!(matches!(phone.receive(until).await, Err(LinkError::Lost(_))));
    loop {
        match ends.events.recv().await {
            Some(Event::Closed { link: closed }) => break assert_eq!(closed, link),
            Some(_) => {}
            None => panic!("the loop receives the end of the link"),
        }
    }
}

#[tokio::test]
async fn a_subscribed_phone_is_present_while_it_is_connected() {
    let (_directory, target, mut ends) = silent(Config::default());
    let mut phone = Simulated::connect(path(&target)).await.expect("a link");
    phone.write(Endpoint::Session, &[1]).await.expect("acknowledged");
    let Some(Event::Opened { link, outbound: _outbound }) = ends.events.recv().await else { panic!("a link is opened first") };
    assert!(matches!(ends.events.recv().await, Some(Event::Received { .. } | Event::InvalidMessage { .. })));
    tokio::time::pause();
    for _ in 0..3 {
        assert!(matches!(ends.events.recv().await, Some(Event::Present { link: present }) if present == link));
    }
}

#[tokio::test]
async fn a_node_that_does_not_advertise_is_not_found_and_keeps_its_links() {
    let (_directory, target, ends) = silent(Config::default());
    let mut early = Simulated::connect(path(&target)).await.expect("a link");
    ends.advertising.send_replace(false);
    assert!(matches!(Phone::connect(&target).await, Err(PhoneError::Link(LinkError::NotAdvertising))));
    early.read(Endpoint::Info).await.expect("the earlier link stays");
    ends.advertising.send_replace(true);
    Phone::connect(&target).await.expect("found again");
}

#[tokio::test]
async fn the_ninth_phone_finds_nothing_until_one_leaves() {
    let (_directory, target, _ends) = silent(Config::default());
    let mut phones = Vec::new();
    for _ in 0..8 {
        phones.push(Phone::connect(&target).await.expect("a link is free"));
    }
    assert!(matches!(Phone::connect(&target).await, Err(PhoneError::Link(LinkError::NotAdvertising))));
    phones.pop();
    Phone::connect_within(&target, PATIENCE).await.expect("a link is free again");
}

#[tokio::test]
async fn a_shutdown_ends_every_link_and_removes_the_file() {
    let mut node = Node::start(185).await;
    let mut phone = Phone::connect(&node.target).await.expect("a link");
    phone.open_session(&secret()).await.expect("the right code");
    let mut idle = Raw::greeted(&node.path()).await;
    node.stop_link().await;
    assert!(matches!(phone.next_change(Instant::now() + PATIENCE).await, Err(PhoneError::Link(LinkError::Lost(_)))));
    assert_eq!(idle.next().await, None);
    assert!(!node.path().exists());
}

#[tokio::test]
async fn the_socket_is_private() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("node.sock");
    let listener = Listener::bind(&path).expect("nothing is there yet");
    assert_eq!(fs::metadata(listener.path()).expect("the socket").permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn the_file_of_a_process_that_has_ended_is_replaced() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("node.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("nothing is there yet"));
    assert!(path.exists());
    Listener::bind(&path).expect("the socket is unused");
}

#[tokio::test]
async fn a_socket_in_use_is_not_replaced() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("node.sock");
    let _first = Listener::bind(&path).expect("nothing is there yet");
    assert!(matches!(Listener::bind(&path), Err(Error::InUse { .. })));
    UnixStream::connect(&path).await.expect("the first one listens");
}

#[tokio::test]
async fn a_file_that_is_not_a_socket_is_not_replaced() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("node.sock");
    fs::write(&path, "a letter").expect("a new file");
    assert!(matches!(Listener::bind(&path), Err(Error::NotASocket { .. })));
    assert_eq!(fs::read_to_string(&path).expect("the file"), "a letter");

    let link = directory.path().join("link.sock");
    std::os::unix::fs::symlink(&path, &link).expect("a new link");
    assert!(matches!(Listener::bind(&link), Err(Error::NotASocket { .. })));
}

#[tokio::test]
async fn a_file_that_replaced_the_socket_is_not_removed() {
    let directory = TempDir::new().expect("a temporary directory");
    let path = directory.path().join("node.sock");
    let listener = Listener::bind(&path).expect("nothing is there yet");
    fs::remove_file(&path).expect("the socket");
    fs::write(&path, "a letter").expect("a new file");
    drop(listener);
    assert!(path.exists());
}
