//! A scripted node behind a simulated link, and a cable that can be cut.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jarvis_provisioning::daemon::Handle;
use jarvis_provisioning::link::sim::{Config, Listener, serve};
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::new_request_id;
use provisioning_core::domain::{CommandCenterUrl, Credentials, Network, Passphrase, Security, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::gatt::packets::Packets;
use provisioning_core::machine::{AccessPointPolicy, Command, Done, RadioCommand};
use provisioning_core::secret::SecretText;
use provisioning_core::session::PhoneSecret;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::scripted::{Scripted, boot, config, network, success};
use testing::journal::{self, TOKEN};
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
        ssid: Some(Ssid::try_from(SSID).expect("a short name")),
        passphrase: Passphrase::try_from(password.to_owned()).expect("a short password"),
        hidden: false,
        room: "kitchen".into(),
        command_center: Some(CommandCenterUrl::try_from("http://192.0.2.7:7703").expect("a plain URL")),
        config_service: None,
        household_id: "6f2f3a0e-93f1-4f0c-8a3c-1b7a9d2c4e5f".into(),
        node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
        token: SecretText::new(TOKEN.into()),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

/// How many networks there are in range: enough for several messages.
pub const NETWORKS: usize = 60;

fn networks() -> Vec<Network> {
    (0..NETWORKS)
        .map(|index| {
            let ssid = if index == 0 { SSID.to_owned() } else { format!("network {index}") };
            network(ssid, -40 - i8::try_from(index).expect("few networks"), Security::Wpa2)
        })
        .collect()
}

/// There are many networks, and they have one password.
fn answer(command: &Command) -> Done {
    match command {
        Command::Radio(RadioCommand::Scan { op, .. }) => op.done(Ok(networks())),
        Command::Radio(RadioCommand::Join { op, passphrase, .. }) if passphrase.expose() != PASSWORD => {
            op.done(Err(Fault::WrongPassword))
        }
        command => success(command),
    }
}

/// The commands so far, and those that wait.
#[derive(Default)]
struct Script {
    commands: Vec<Command>,
    /// Selects the commands that wait for [`Node::release`].
    hold: Option<fn(&Command) -> bool>,
    held: Vec<Done>,
}

impl Script {
    fn start(&mut self, command: &Command) -> Option<Done> {
        let done = answer(command);
        self.commands.push(command.clone());
        if self.hold.is_some_and(|hold| hold(command)) {
            self.held.push(done);
            return None;
        }
        Some(done)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        let script = Arc::new(Mutex::new(Script::default()));
        let (active, activity) = watch::channel(());
        let shared = Arc::clone(&script);
        let (daemon, handle, results) = Scripted::node(config(AccessPointPolicy::Never), boot(), move |command: &Command| {
            let done = lock(&shared).start(command);
            active.send_replace(());
            done
        });
        let machine = tokio::spawn(async { _ = daemon.run(std::future::pending()).await });
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

    /// The started commands that `wanted` selects.
    pub fn started(&self, wanted: impl Fn(&Command) -> bool) -> usize {
        lock(&self.script).commands.iter().filter(|command| wanted(command)).count()
    }

    /// Holds all following commands that `hold` selects.
    pub fn hold(&self, hold: fn(&Command) -> bool) {
        lock(&self.script).hold = Some(hold);
    }

    /// Waits until a command waits.
    pub async fn held(&self) {
        self.held_count(1).await;
    }

    /// Waits until so many commands wait.
    pub async fn held_count(&self, count: usize) {
        let mut activity = self.activity.clone();
        while lock(&self.script).held.len() < count {
            let changed = tokio::time::timeout(PATIENCE, activity.changed()).await;
            changed.expect("a command is started in time").expect("the loop runs");
        }
    }

    /// Completes the held commands.
    pub fn release(&self) {
        let held = {
            let mut script = lock(&self.script);
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
        lock(&self.left).is_none()
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
                match &mut *lock(&left) {
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
