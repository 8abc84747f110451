//! A node in this process: the real machine with scripted command results behind a simulated link, and a cable that can be
//! cut.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use getrandom::SysRng;
use jarvis_provisioning::daemon::{Ends, Event, Handle, View};
use jarvis_provisioning::link::sim::{Config, Listener, serve};
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::new_request_id;
use provisioning_core::domain::{
    CommandCenterUrl, Credentials, Identity, Network, Pairing, Passphrase, Registration, Security, Ssid, Status,
};
use provisioning_core::fault::Fault;
use provisioning_core::gatt::packets::Packets;
use provisioning_core::machine::{
    self, AccessPointPolicy, Boot, Command, CommandCenterCommand, DiskCommand, Done, Input, Joined, Machine, Output, RadioCommand,
};
use provisioning_core::secret::{SecretBytes, SecretText};
use provisioning_core::session::PhoneSecret;
use provisioning_core::wire::Info;
use rand_core::UnwrapErr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use testing::journal::{self, NODE_KEY, QR_SECRET, TOKEN};
pub use testing::journal::{CODE, PASSWORD};

/// The network that can be joined.
pub const SSID: &str = "Lighthouse";

/// Limit of every wait; reached only by a failing test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The right code.
pub fn secret() -> PhoneSecret {
    PhoneSecret::Code(SecretText::new(CODE.into()))
}

/// The credentials of a phone, with that password.
pub fn credentials(password: &str) -> Credentials {
    Credentials {
        request_id: new_request_id(),
        ssid: Ssid::try_from(SSID).expect("a short name"),
        passphrase: Passphrase::try_from(password.to_owned()).expect("a short password"),
        hidden: false,
        room: "kitchen".into(),
        command_center: CommandCenterUrl::try_from("http://192.0.2.7:7703").expect("a plain URL"),
        config_service: None,
        household_id: "6f2f3a0e-93f1-4f0c-8a3c-1b7a9d2c4e5f".into(),
        node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
        token: SecretText::new(TOKEN.into()),
        provision_code: None,
    }
}

/// The initial public view of a node with that name.
pub fn view(name: &str) -> View {
    let identity = Identity { node_id: name.into(), hardware: "linux-aarch64".into(), mac_address: "d8:3a:5b:91:b6:61".into() };
    let status = Status::waiting();
    let info = Info {
        node_id: identity.node_id.clone(),
        name: identity.name(),
        firmware_version: "1.0.0".into(),
        hardware: identity.hardware.clone(),
        capabilities: vec!["voice".into(), "speaker".into()],
        state: status.state(),
        previously_provisioned: false,
        versions: vec![1],
    };
    View { info, identity, status, networks: Vec::new() }
}

/// How many networks there are in range: enough for several messages.
pub const NETWORKS: usize = 60;

fn networks() -> Vec<Network> {
    (0..NETWORKS)
        .map(|index| {
            let ssid = if index == 0 { SSID.to_owned() } else { format!("network {index}") };
            let signal = -40 - i8::try_from(index).expect("few networks");
            Network { ssid: Ssid::try_from(&*ssid).expect("a short name"), signal, security: Security::Wpa2, frequency: 2437 }
        })
        .collect()
}

/// The results of commands, and the commands so far.
#[derive(Default)]
struct Script {
    commands: Vec<Command>,
    /// Selects the commands that wait for [`Node::release`].
    hold: Option<fn(&Command) -> bool>,
    held: Vec<Done>,
}

/// A node; stops on drop.
pub struct Node {
    /// The handle that links use.
    pub handle: Handle,
    /// The target for phones.
    pub target: Target,
    directory: TempDir,
    script: Arc<Mutex<Script>>,
    results: mpsc::UnboundedSender<Done>,
    activity: watch::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    link: Option<JoinHandle<()>>,
    machine: JoinHandle<()>,
}

impl Node {
    /// Starts a node whose links have that ATT MTU, and waits until it advertises.
    pub async fn start(mtu: u16) -> Self {
        journal::watch();
        let identity = view("jarvis-5b91b661").identity;
        let config = machine::Config {
            firmware_version: "1.0.0".into(),
            capabilities: vec!["voice".into(), "speaker".into()],
            access_point: AccessPointPolicy::Never,
            answer_leaves: Duration::ZERO,
            linger: None,
        };
        let pairing = Pairing { code: SecretText::new(CODE.into()), secret: SecretBytes::new(QR_SECRET) };
        let boot = Boot {
            identity,
            pairing,
            guesses: 0,
            provisioned: false,
            command_center: None,
            pending: None,
            outcome: None,
            resetting: false,
        };
        let machine = Machine::new(config, boot, Duration::ZERO);
        let (handle, ends) = Handle::channel(8, view("jarvis-5b91b661"));
        let script = Arc::new(Mutex::new(Script::default()));
        let (results, done) = mpsc::unbounded_channel();
        let (active, activity) = watch::channel(());
        let machine = tokio::spawn(run(machine, ends, Arc::clone(&script), results.clone(), done, active));
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("node.sock");
        let listener = Listener::bind(&path).expect("nothing is there yet");
        let (stop, stopped) = oneshot::channel();
        let config = Config { mtu, ..Config::default() };
        let link = tokio::spawn(serve(listener, config, handle.clone(), async move {
            let _dropped = stopped.await;
        }));
        handle.advertising().wait_for(|advertising| *advertising).await.expect("the loop runs");
        let target = Target::Simulated(path);
        Self { handle, target, directory, script, results, activity, stop: Some(stop), link: Some(link), machine }
    }

    /// The socket that phones connect to.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("node.sock")
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The started commands that `wanted` selects.
    pub fn started(&self, wanted: impl Fn(&Command) -> bool) -> usize {
        self.script().commands.iter().filter(|command| wanted(command)).count()
    }

    /// Holds all following commands that `hold` selects.
    pub fn hold(&self, hold: fn(&Command) -> bool) {
        self.script().hold = Some(hold);
    }

    /// Waits until a command waits.
    pub async fn held(&self) {
        let mut activity = self.activity.clone();
        while self.script().held.is_empty() {
            let changed = tokio::time::timeout(PATIENCE, activity.changed()).await;
            changed.expect("a command is started in time").expect("the loop runs");
        }
    }

    /// Completes the held commands.
    pub fn release(&self) {
        let held = {
            let mut script = self.script();
            script.hold = None;
            std::mem::take(&mut script.held)
        };
        for result in held {
            self.results.send(result).expect("the loop runs");
        }
    }

    /// Ends the simulated link as a shutdown does, and waits until it has ended.
    pub async fn stop_link(&mut self) {
        drop(self.stop.take());
        if let Some(link) = self.link.take() {
            tokio::time::timeout(PATIENCE, link).await.expect("the link ends in time").expect("the link does not panic");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.machine.abort();
    }
}

/// The loop of the machine: handle one input, drain all outputs in order, then wait.
async fn run(
    mut machine: Machine,
    mut ends: Ends,
    script: Arc<Mutex<Script>>,
    results: mpsc::UnboundedSender<Done>,
    mut done: mpsc::UnboundedReceiver<Done>,
    active: watch::Sender<()>,
) {
    let start = Instant::now();
    let mut links = HashMap::new();
    loop {
        let mut told = (*ends.view.borrow()).as_ref().clone();
        told.info = machine.info();
        told.identity = machine.identity().clone();
        told.status = machine.status().clone();
        ends.view.send_replace(Arc::new(told));
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Send { link, message } => {
                    let outbound: Option<&mpsc::Sender<Vec<u8>>> = links.get(&link);
                    if let Some(outbound) = outbound
                        && outbound.try_send(message).is_err()
                    {
                        links.remove(&link);
                    }
                }
                Output::Close { link } => {
                    links.remove(&link);
                }
                Output::Start(command) => {
                    let result = answer(&command);
                    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
                    if script.hold.is_some_and(|hold| hold(&command)) {
                        script.held.push(result);
                    } else {
                        results.send(result).expect("the receiver is in this function");
                    }
                    script.commands.push(command);
                }
                Output::Advertise(advertise) => {
                    ends.advertising.send_replace(advertise);
                }
                Output::Answer { .. } | Output::Cancel { .. } | Output::Finished => {}
            }
        }
        active.send_replace(());
        let timeout = machine.poll_timeout();
        let input = tokio::select! {
            Some(done) = done.recv() => Input::Done(done),
            event = ends.events.recv() => match event {
                Some(Event::Opened { link, outbound }) => {
                    links.insert(link, outbound);
                    continue;
                }
                Some(Event::Received { link, endpoint, message }) => Input::Received { link, endpoint, message },
                Some(Event::InvalidMessage { link, fault }) => Input::InvalidMessage { link, fault },
                Some(Event::Closed { link }) => {
                    links.remove(&link);
                    Input::Closed { link }
                }
                Some(Event::LocalRequest { .. } | Event::Bluetooth { .. }) => continue,
                None => return,
            },
            () = tokio::time::sleep_until(start + timeout.unwrap_or_default()), if timeout.is_some() => Input::Timeout,
        };
        machine.handle(input, start.elapsed(), &mut UnwrapErr(SysRng));
    }
}

fn answer(command: &Command) -> Done {
    match command {
        Command::Disk(command) => match command {
            DiskCommand::SaveGuesses { op, .. }
            | DiskCommand::SaveK2 { op, .. }
            | DiskCommand::SavePending { op, .. }
            | DiskCommand::SaveEnrollment { op, .. }
            | DiskCommand::MarkProvisioned { op }
            | DiskCommand::SaveOutcome { op, .. } => op.done(Ok(())),
            DiskCommand::Reset { op } => op.done(Err(Fault::StorageFailed)),
        },
        Command::Radio(command) => match command {
            RadioCommand::Scan { op } => op.done(Ok(networks())),
            RadioCommand::Join { op, passphrase, .. } => {
                let right = passphrase.expose() == PASSWORD;
                op.done(if right { Ok(Joined { limited_connectivity: false }) } else { Err(Fault::WrongPassword) })
            }
            RadioCommand::KeepNetwork { op }
            | RadioCommand::RestoreNetwork { op }
            | RadioCommand::OpenAccessPoint { op, .. }
            | RadioCommand::ForgetNetworks { op } => op.done(Ok(())),
        },
        Command::CommandCenter(command) => match command {
            CommandCenterCommand::Register { op, node_id, .. } => {
                op.done(Ok(Registration { node_id: node_id.clone(), node_key: SecretText::new(NODE_KEY.into()) }))
            }
            CommandCenterCommand::Claim { op, .. } => op.done(Ok("appliance".into())),
            CommandCenterCommand::CheckHealth { op, .. } => op.done(true),
        },
    }
}

/// A cable between phones and a node.
pub struct Cable {
    /// The target for phones.
    pub target: Target,
    _directory: TempDir,
    cut: watch::Sender<u64>,
    left: Arc<Mutex<Option<usize>>>,
    task: JoinHandle<()>,
}

impl Cable {
    /// Starts a cable to the node at `to`. It breaks once, after `packets` of the node's packets.
    pub fn to(to: &Path, packets: Option<usize>) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("cable.sock");
        let listener = UnixListener::bind(&path).expect("nothing is there yet");
        let (cut, cuts) = watch::channel(0);
        let to = to.to_owned();
        let left = Arc::new(Mutex::new(packets));
        let shared = Arc::clone(&left);
        let task = tokio::spawn(async move {
            loop {
                let Ok((phone, _)) = listener.accept().await else { return };
                let Ok(node) = UnixStream::connect(&to).await else { continue };
                tokio::spawn(carry(phone, node, cuts.clone(), Arc::clone(&shared)));
            }
        });
        Self { target: Target::Simulated(path), _directory: directory, cut, left, task }
    }

    /// Cuts all connections; new ones are possible.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Whether it has broken.
    pub fn has_broken(&self) -> bool {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(phone: UnixStream, node: UnixStream, mut cuts: watch::Receiver<u64>, left: Arc<Mutex<Option<usize>>>) {
    cuts.mark_unchanged();
    let (mut from_phone, mut to_phone) = phone.into_split();
    let (mut from_node, mut to_node) = node.into_split();
    let up = tokio::io::copy(&mut from_phone, &mut to_node);
    let down = async {
        let mut packets = Packets::default();
        let mut bytes = [0; 4096];
        loop {
            match from_node.read(&mut bytes).await {
                Ok(count @ 1..) => packets.push(&bytes[..count]),
                _ => return,
            }
            while let Ok(Some(packet)) = packets.take() {
                match &mut *left.lock().unwrap_or_else(PoisonError::into_inner) {
                    broken @ Some(0) => {
                        *broken = None;
                        return;
                    }
                    Some(left) => *left -= 1,
                    None => {}
                }
                let length = u16::try_from(packet.len()).expect("a packet's length has two bytes");
                if to_phone.write_all(&[&length.to_be_bytes()[..], &packet].concat()).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        _ = up => {}
        () = down => {}
        _ = cuts.changed() => {}
    }
}
