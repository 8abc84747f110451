//! A phone that implements the Attribute Protocol over a kernel socket, because `BlueZ` does not offer the smallest MTU.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use getrandom::SysRng;
use provisioning_core::domain::{Network, State};
use provisioning_core::endpoint::{Endpoint, OUTBOUND_LIMIT};
use provisioning_core::session::{Opening, PhoneSecret, Session};
use provisioning_core::wire::framing::{Reassembler, frames};
use provisioning_core::wire::{Info, Message, Outbound, Reply, Request, StatusReport};
use rand_core::UnwrapErr;
use tokio::time::timeout;

use crate::air::{Controllers, PATIENCE, breath, until};
use crate::device::Device;
use crate::l2cap::Channel;
use crate::scene::Scene;

// Bluetooth Core Specification 5.4, volume 3, part F, 3.4: the opcodes in use here.
const ERROR: u8 = 0x01;
const FIND_INFORMATION: u8 = 0x04;
const READ_BY_TYPE: u8 = 0x08;
const READ: u8 = 0x0a;
const READ_BLOB: u8 = 0x0c;
const WRITE: u8 = 0x12;
const NOTIFICATION: u8 = 0x1b;
const INDICATION: u8 = 0x1d;
const CONFIRMATION: u8 = 0x1e;
/// The default ATT MTU, bytes.
const MTU: usize = 23;

/// Limit of one try to connect; the kernel's own limit is eight times longer.
const TRY: Duration = Duration::from_secs(5);

/// The UUIDs of a characteristic's declaration and of its client configuration.
const DECLARATION: u16 = 0x2803;
const CONFIGURATION: u16 = 0x2902;
/// The UUID of the characteristic with the name that phones show.
const DEVICE_NAME: u16 = 0x2a00;

/// A connection with the smallest MTU.
pub(crate) struct Att {
    channel: Channel,
    /// The value handle of each characteristic, by its UUID.
    handles: HashMap<u128, u16>,
    notified: Reassembler,
    messages: VecDeque<Outbound>,
}

impl Att {
    /// Connects, and discovers the handles.
    pub(crate) async fn connect(controllers: &Controllers) -> Self {
        let mut att = Self::connect_knowing(controllers, HashMap::new()).await;
        att.discover().await;
        att
    }

    /// Connects with known handles. A node that has just lost a phone is discoverable again after a moment.
    async fn connect_knowing(controllers: &Controllers, handles: HashMap<u128, u16>) -> Self {
        breath().await;
        let mut connected = None;
        until("the phone is connected", async || {
            connected = timeout(TRY, Channel::connect(&controllers.phone, &controllers.node)).await.ok().and_then(Result::ok);
            if connected.is_none() {
                controllers.restart_phone().await;
            }
            connected.is_some()
        })
        .await;
        let channel = connected.expect("that was waited for");
        Self { channel, handles, notified: Reassembler::new(OUTBOUND_LIMIT), messages: VecDeque::new() }
    }

    /// Ends the connection at once, and reconnects.
    pub(crate) async fn again(self, controllers: &Controllers) -> Self {
        controllers.restart_phone().await;
        Self::connect_knowing(controllers, self.handles).await
    }

    /// Sends a request; returns the answer without its opcode, or the error code.
    async fn ask(&mut self, request: &[u8]) -> Result<Vec<u8>, u8> {
        assert!(request.len() <= MTU);
        self.channel.send(request).await.expect("the link holds");
        loop {
            let packet = self.packet().await;
            match (packet[0], &packet[1..]) {
                (ERROR, [opcode, _, _, code]) if *opcode == request[0] => return Err(*code),
                (opcode, answer) if opcode == request[0] + 1 => return Ok(answer.to_vec()),
                _ => {}
            }
        }
    }

    /// The next response. Queues notifications, and refuses the node's requests, so that it does not negotiate a larger
    /// MTU.
    async fn packet(&mut self) -> Vec<u8> {
        loop {
            let mut packet = [0; 512];
            let length = timeout(PATIENCE, self.channel.recv(&mut packet)).await.expect("the node sends a packet");
            let packet = &packet[..length.expect("the link holds")];
            match *packet {
                [] => panic!("the link is lost"),
                [NOTIFICATION, _, _, ref value @ ..] => {
                    assert!(packet.len() <= MTU, "the node keeps to the MTU");
                    if let Some(message) = self.notified.push(value).expect("frames in order") {
                        self.messages.push_back(Outbound::decode(&message).expect("a message"));
                    }
                    return vec![NOTIFICATION];
                }
                [INDICATION, ..] => _ = self.channel.send(&[CONFIRMATION]).await.expect("the link holds"),
                // Requests have even numbers; 6 is "request not supported".
                [opcode, ..] if opcode % 2 == 0 => {
                    self.channel.send(&[ERROR, opcode, 0, 0, 6]).await.expect("the link holds");
                }
                _ => return packet.to_vec(),
            }
        }
    }

    async fn discover(&mut self) {
        let mut from = 1;
        while let Ok(answer) = self.ask(&request(READ_BY_TYPE, &[from, u16::MAX, DECLARATION])).await {
            for entry in answer[1..].chunks(usize::from(answer[0])) {
                from = handle(entry) + 1;
                // Handle, properties, value handle, UUID; 16-bit UUIDs belong to other services.
                if let Ok(uuid) = <[u8; 16]>::try_from(&entry[5..]) {
                    self.handles.insert(u128::from_le_bytes(uuid), handle(&entry[3..]));
                }
            }
        }
    }

    /// The name that phones show of a device that they have connected to.
    pub(crate) async fn device_name(&mut self) -> String {
        let answer = self.ask(&request(READ_BY_TYPE, &[1, u16::MAX, DEVICE_NAME])).await.expect("every device has a name");
        // A length and a handle come before the value.
        String::from_utf8(answer[3..].to_vec()).expect("a text")
    }

    /// Switches notifications on or off.
    pub(crate) async fn subscribe(&mut self, on: bool) {
        let value = self.handle(Endpoint::Status);
        let answer = self.ask(&request(FIND_INFORMATION, &[value + 1, value + 3])).await.expect("descriptors");
        let found = answer[1..].chunks(4).find(|entry| handle(&entry[2..]) == CONFIGURATION).expect("it can notify");
        self.ask(&[&request(WRITE, &[handle(found)])[..], &[u8::from(on), 0]].concat()).await.expect("a subscription");
    }

    /// The value handle of each characteristic, by its UUID.
    pub(crate) const fn handles(&self) -> &HashMap<u128, u16> {
        &self.handles
    }

    fn handle(&self, endpoint: Endpoint) -> u16 {
        self.handles[&endpoint.row().uuid]
    }

    async fn read(&mut self, endpoint: Endpoint) -> Vec<u8> {
        let handle = self.handle(endpoint);
        let mut value = self.ask(&request(READ, &[handle])).await.expect("a value");
        while value.len() % (MTU - 1) == 0 {
            let offset = u16::try_from(value.len()).expect("a short value");
            let Ok(part) = self.ask(&request(READ_BLOB, &[handle, offset])).await else { break };
            if part.is_empty() {
                break;
            }
            value.extend(part);
        }
        value
    }

    async fn write(&mut self, endpoint: Endpoint, message: &[u8]) {
        let start = request(WRITE, &[self.handle(endpoint)]);
        for frame in frames(message, MTU - start.len()) {
            self.ask(&[&start[..], &frame].concat()).await.expect("a value that is taken");
        }
    }

    async fn receive(&mut self) -> Outbound {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return message;
            }
            self.packet().await;
        }
    }

    async fn open(&mut self, secret: &PhoneSecret) -> Session {
        let info = Info::decode(&self.read(Endpoint::Info).await).expect("what the node is");
        let (opening, open) = Opening::new(&info.node_id, secret, &mut UnwrapErr(SysRng));
        self.write(Endpoint::Session, &open.encode()).await;
        let Outbound::Accept(accept) = self.receive().await else { panic!("the node accepts") };
        opening.read(&accept).expect("the code is right")
    }

    async fn send(&mut self, session: &mut Session, request: &Request) {
        let record = session.seal(request.endpoint(), &request.encode());
        self.write(request.endpoint(), &record.encode()).await;
    }

    async fn message(&mut self, session: &mut Session) -> Message {
        let Outbound::Record(record) = self.receive().await else { panic!("the session holds") };
        Message::decode(&session.open(Endpoint::Status, &record).expect("it is of this session")).expect("a message")
    }
}

/// A request with its 16-bit parameters.
fn request(opcode: u8, parameters: &[u16]) -> Vec<u8> {
    std::iter::once(opcode).chain(parameters.iter().flat_map(|parameter| parameter.to_le_bytes())).collect()
}

fn handle(bytes: &[u8]) -> u16 {
    u16::from_le_bytes([bytes[0], bytes[1]])
}

async fn scan(att: &mut Att, session: &mut Session) -> Vec<Network> {
    att.send(session, &Request::Scan { fresh: false, country: None }).await;
    let mut found = Vec::new();
    loop {
        if let Message::Reply { reply: Reply::Networks { networks, last }, .. } = att.message(session).await {
            found.extend(networks);
            if last {
                return found;
            }
        }
    }
}

async fn outcome(att: &mut Att, session: &mut Session) -> StatusReport {
    loop {
        match att.message(session).await {
            Message::Changed(report) if matches!(report.state, State::Provisioned | State::Error) => return report,
            Message::Changed(_) | Message::Reply { reply: Reply::Accepted { .. }, .. } => {}
            Message::Reply { reply, .. } => panic!("the node answers {reply:?}"),
        }
    }
}

#[tokio::test]
async fn a_phone_with_the_smallest_mtu_provisions() {
    let mut scene = Scene::set().await;
    scene.goes().await;
    let mut att = Att::connect(scene.controllers()).await;
    att.subscribe(true).await;
    let mut session = att.open(&Device::code()).await;
    let found = scan(&mut att, &mut session).await;
    assert!(found.iter().any(|network| Some(&network.ssid) == scene.credentials.ssid.as_ref()), "{found:?}");
    att.send(&mut session, &Request::Credentials(Box::new(scene.credentials.clone()))).await;
    let report = outcome(&mut att, &mut session).await;
    assert_eq!((report.state, report.request_id), (State::Provisioned, scene.credentials.request_id));
    scene.assert_provisioned().await;
}
