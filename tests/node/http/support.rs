//! A node with a scripted world.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use getrandom::SysRng;
use jarvis_provisioning::daemon::{Ends, Event, Handle, View};
use jarvis_provisioning::link::http::{Config, Limits, Listeners, Secrets, bind, serve};
use provisioning_core::domain::{CommandCenterUrl, Identity, Network, Outcome, Pairing, Registration, Security, Ssid};
use provisioning_core::machine::{
    AccessPointPolicy, Answer, Boot, Cleared, ClearedItem, Command, CommandCenterCommand, Config as MachineConfig, DiskCommand,
    Done, Input, Joined, Link, Machine, Output, RadioCommand, Ticket,
};
use provisioning_core::secret::{SecretBytes, SecretText};
use rand_core::UnwrapErr;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use testing::http::{PATIENCE, Reply, exchange, request};
pub(crate) use testing::journal::CODE;
use testing::journal::{self, NODE_KEY, QR_SECRET};

pub(crate) const NODE_ID: &str = "jarvis-5b91b661";

/// The results of commands; `None` if a command never ends.
pub(crate) type World = Box<dyn FnMut(&Command) -> Option<Done> + Send>;

/// A node that answers on loopback.
pub(crate) struct Node {
    pub(crate) api: SocketAddr,
    pub(crate) captive: SocketAddr,
    pub(crate) handle: Handle,
    commands: Arc<Mutex<Vec<Command>>>,
    tasks: Vec<JoinHandle<()>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

pub(crate) fn config() -> Config {
    Config { secrets: Secrets::Anywhere, open_security: "", limits: Limits::default() }
}

pub(crate) fn network(ssid: impl AsRef<[u8]>, signal: i8, security: Security) -> Network {
    Network { ssid: Ssid::try_from(ssid.as_ref()).expect("1 to 32 bytes"), signal, security, frequency: 2412 }
}

/// Every command succeeds at once.
pub(crate) fn kind(command: &Command) -> Done {
    match command {
        Command::Disk(command) => match command {
            DiskCommand::SaveGuesses { op, .. }
            | DiskCommand::SaveK2 { op, .. }
            | DiskCommand::SavePending { op, .. }
            | DiskCommand::SaveEnrollment { op, .. }
            | DiskCommand::MarkProvisioned { op }
            | DiskCommand::SaveOutcome { op, .. } => op.done(Ok(())),
            DiskCommand::Reset { op } => op.done(Ok(Cleared {
                items: vec![ClearedItem::ProvisioningMarker, ClearedItem::K2, ClearedItem::WifiCredentials],
                node_id: NODE_ID.into(),
            })),
        },
        Command::Radio(command) => match command {
            RadioCommand::Scan { op } => op.done(Ok(vec![
                network("HomeNetwork", -45, Security::Wpa2),
                network("CoffeeShop_Free", -80, Security::Open),
                network(b"caf\xe9", -60, Security::Wpa3),
            ])),
            RadioCommand::Join { op, .. } => op.done(Ok(Joined { limited_connectivity: false })),
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

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(config(), Box::new(|command| Some(kind(command))))
    }

    pub(crate) fn with(config: Config, world: World) -> Self {
        Self::booted(config, world, None)
    }

    /// A node that was provisioned before, if it has a command center.
    pub(crate) fn booted(config: Config, world: World, command_center: Option<&str>) -> Self {
        Self::loaded(config, world, command_center, None)
    }

    /// A node that was restarted after an attempt.
    pub(crate) fn after(outcome: Outcome) -> Self {
        Self::loaded(config(), Box::new(|command| Some(kind(command))), None, Some(outcome))
    }

    fn loaded(config: Config, world: World, command_center: Option<&str>, outcome: Option<Outcome>) -> Self {
        let boot = Boot {
            identity: Identity {
                node_id: NODE_ID.into(),
                hardware: "linux-aarch64".into(),
                mac_address: "d8:3a:dd:5b:91:b6".into(),
            },
            pairing: Pairing { code: SecretText::new(CODE.into()), secret: SecretBytes::new(QR_SECRET) },
            guesses: 0,
            provisioned: command_center.is_some(),
            command_center: command_center.map(|url| CommandCenterUrl::try_from(url).expect("a plain URL")),
            pending: None,
            outcome,
            resetting: false,
        };
        let machine_config = MachineConfig {
            firmware_version: "1.0.0".into(),
            capabilities: vec!["voice".into(), "speaker".into()],
            access_point: AccessPointPolicy::Always,
            answer_leaves: Duration::ZERO,
            linger: None,
        };
        let machine = Machine::new(machine_config, boot, Duration::ZERO);
        let (handle, ends) = Handle::channel(64, view(&machine));
        let commands = Arc::<Mutex<Vec<Command>>>::default();
        let running = tokio::spawn(run(machine, ends, world, Arc::clone(&commands)));
        let mut node = Self::serving(config, handle);
        node.tasks.push(running);
        node.commands = commands;
        node
    }

    /// Only the server; the test answers in place of the loop.
    pub(crate) fn serving(config: Config, handle: Handle) -> Self {
        journal::watch();
        let free = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        let api = bind(free).expect("a free port");
        let captive = bind(free).expect("a free port");
        let (stop, stopped) = oneshot::channel::<()>();
        let (api_address, captive_address) = (api.local_addr().expect("it is bound"), captive.local_addr().expect("it is bound"));
        let listeners = Listeners { api: vec![api], captive: vec![captive] };
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let serving = tokio::spawn(serve(listeners, config, handle.clone(), shutdown));
        let commands = Arc::default();
        Self { api: api_address, captive: captive_address, handle, commands, tasks: vec![serving], stop: Some(stop) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        request(self.api, "GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        request(self.api, "POST", path, &[("content-type", "application/json")], body.as_ref()).await
    }

    /// The commands that were started.
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.commands.lock().expect("no test panics while it holds this").clone()
    }

    /// Waits until the status fits.
    pub(crate) async fn status(&self, fits: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let status = self.get("/api/v1/status").await.json();
                if fits(&status) {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.expect("the status comes to fit")
    }

    pub(crate) async fn settled(&self, state: &str) -> Value {
        self.status(|status| status["state"] == state).await
    }

    /// Waits for the first list of networks.
    pub(crate) async fn scanned(&self) {
        let mut views = self.handle.views();
        let scanned = views.wait_for(|view| !view.networks.is_empty());
        timeout(PATIENCE, scanned).await.expect("a scan in time").expect("the loop runs");
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn stop(&mut self) {
        let stop = self.stop.take().expect("stopped once");
        stop.send(()).expect("the server waits for this");
        timeout(PATIENCE, &mut self.tasks[0]).await.expect("the server ends").expect("it does not panic");
    }
}

pub(crate) fn view(machine: &Machine) -> View {
    View {
        info: machine.info(),
        identity: machine.identity().clone(),
        status: machine.status().clone(),
        networks: machine.networks().to_vec(),
    }
}

/// The loop around the machine.
async fn run(mut machine: Machine, mut ends: Ends, mut world: World, commands: Arc<Mutex<Vec<Command>>>) {
    let start = Instant::now();
    let mut links: HashMap<Link, mpsc::Sender<Vec<u8>>> = HashMap::new();
    let mut tickets: HashMap<Ticket, oneshot::Sender<Answer>> = HashMap::new();
    let mut done: Vec<Done> = Vec::new();
    let mut rng = UnwrapErr(SysRng);
    let mut next = 0;
    loop {
        ends.view.send_replace(Arc::new(view(&machine)));
        while let Some(output) = machine.poll_output() {
            match output {
                Output::Send { link, message } => {
                    if let Some(link) = links.get(&link) {
                        link.try_send(message).expect("the phones of these tests read what they are sent");
                    }
                }
                Output::Close { link } => drop(links.remove(&link)),
                Output::Answer { ticket, answer } => {
                    if let Some(waiting) = tickets.remove(&ticket) {
                        // The request may have been dropped.
                        let _gone = waiting.send(answer);
                    }
                }
                Output::Start(command) => {
                    done.extend(world(&command));
                    commands.lock().expect("no test panics while it holds this").push(command);
                }
                Output::Cancel { .. } | Output::Advertise(_) | Output::Finished => {}
            }
        }
        let input = if done.is_empty() {
            let wake = machine.poll_timeout().map(|at| start + at);
            tokio::select! {
                Some(event) = ends.events.recv() => match event {
                    Event::Opened { link, outbound } => {
                        links.insert(link, outbound);
                        continue;
                    }
                    Event::Received { link, endpoint, message } => Input::Received { link, endpoint, message },
                    Event::InvalidMessage { link, fault } => Input::InvalidMessage { link, fault },
                    Event::Closed { link } => {
                        links.remove(&link);
                        Input::Closed { link }
                    }
                    Event::LocalRequest { request, answer } => {
                        next += 1;
                        tickets.insert(Ticket(next), answer);
                        Input::ClearRequest { ticket: Ticket(next), request }
                    }
                    Event::Bluetooth { available } => Input::Bluetooth { available },
                },
                () = sleep_until(wake.unwrap_or_else(|| start + Duration::from_hours(1))) => Input::Timeout,
            }
        } else {
            Input::Done(done.remove(0))
        };
        machine.handle(input, start.elapsed(), &mut rng);
    }
}
