//! A scripted node with an HTTP API.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use jarvis_provisioning::config::Portal;
use jarvis_provisioning::daemon::Handle;
use jarvis_provisioning::link::http::{Config, InAccessPoint, Listeners, Secrets, bind, serve};
use provisioning_core::domain::{AccessPoint, CommandCenterUrl, Outcome, RadioUse};
use provisioning_core::machine::{AccessPointPolicy, Boot, Command, Done};
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use testing::http::{PATIENCE, Reply, connect_from, exchange, request, request_over};
use testing::http::{poll_json, post_json};
use testing::journal;
pub(crate) use testing::journal::CODE;
pub(crate) use testing_node::scripted::{NODE_ID, network, success};
use testing_node::scripted::{Scripted, boot, config as machine_config};

/// The results of commands; `None` if a command never ends.
pub(crate) type World = Box<dyn FnMut(&Command) -> Option<Done> + Send>;

/// A node that answers on loopback, whose access point is the loopback at 127.0.0.1.
pub(crate) struct Node {
    pub(crate) api: SocketAddr,
    pub(crate) captive: SocketAddr,
    pub(crate) radio: watch::Sender<RadioUse>,
    /// Keeps the port of the captive portal from other tests; it receives nothing.
    _captive: TcpSocket,
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
    Config { secrets: Secrets::Anywhere, open_security: "", portal: Portal::App, ..Config::default() }
}

/// Where a node listens, and the size of its access point.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) listen: IpAddr,
    pub(crate) prefix: u8,
}

impl Default for Place {
    fn default() -> Self {
        Self { listen: Ipv4Addr::LOCALHOST.into(), prefix: 8 }
    }
}

impl Place {
    pub(crate) fn access_point(self) -> AccessPoint {
        AccessPoint { interface: "lo".into(), address: Ipv4Addr::LOCALHOST, prefix: self.prefix }
    }
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(config(), Box::new(|command| Some(success(command))))
    }

    pub(crate) fn with(config: Config, world: World) -> Self {
        Self::booted(config, world, None)
    }

    /// A node that listens at other addresses.
    pub(crate) fn at(place: Place, config: Config) -> Self {
        Self::loaded(place, config, Box::new(|command| Some(success(command))), None, None)
    }

    /// A node that was provisioned before, if it has a command center.
    pub(crate) fn booted(config: Config, world: World, command_center: Option<&str>) -> Self {
        Self::loaded(Place::default(), config, world, command_center, None)
    }

    /// A node that was restarted after an attempt.
    pub(crate) fn after(outcome: Outcome) -> Self {
        Self::loaded(Place::default(), config(), Box::new(|command| Some(success(command))), None, Some(outcome))
    }

    fn loaded(place: Place, config: Config, world: World, command_center: Option<&str>, outcome: Option<Outcome>) -> Self {
        let boot = Boot {
            provisioned: command_center.is_some(),
            command_center: command_center.map(|url| CommandCenterUrl::try_from(url).expect("a plain URL")),
            outcome,
            ..boot()
        };
        Self::running(place, boot, world, |_| config)
    }

    /// A node whose settings need the way to its loop.
    pub(crate) fn running(place: Place, boot: Boot, mut world: World, config: impl FnOnce(&Handle) -> Config) -> Self {
        let commands = Arc::<Mutex<Vec<Command>>>::default();
        let started = Arc::clone(&commands);
        let (daemon, handle, _) = Scripted::node(machine_config(AccessPointPolicy::Always), boot, move |command: &Command| {
            started.lock().expect("no test panics while it holds this").push(command.clone());
            world(command)
        });
        let running = tokio::spawn(async { _ = daemon.run(std::future::pending()).await });
        let config = config(&handle);
        let mut node = Self::serving_at(place, config, handle);
        node.tasks.push(running);
        node.commands = commands;
        node
    }

    /// Only the server; the test answers in place of the loop.
    pub(crate) fn serving(config: Config, handle: Handle) -> Self {
        Self::serving_at(Place::default(), config, handle)
    }

    fn serving_at(place: Place, config: Config, handle: Handle) -> Self {
        journal::watch();
        let listener = bind((place.listen, 0).into()).expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let reserved = TcpSocket::new_v4().expect("a socket");
        reserved.set_reuseport(true).expect("Linux has it");
        reserved.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let captive = reserved.local_addr().expect("it is bound");
        let (radio, receiver) = watch::channel(RadioUse::AccessPoint(place.access_point()));
        let access_point = InAccessPoint { radio: receiver, api: port, captive: Some(captive.port()) };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let listeners = Listeners { api: vec![listener], access_point: Some(access_point) };
        let serving = tokio::spawn(serve(listeners, config, handle.clone(), shutdown));
        let api = (Ipv4Addr::LOCALHOST, port).into();
        Self { api, captive, radio, _captive: reserved, handle, commands: Arc::default(), tasks: vec![serving], stop: Some(stop) }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        request(self.api, "GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        post_json(self.api, path, body.as_ref()).await
    }

    /// The commands that were started.
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.commands.lock().expect("no test panics while it holds this").clone()
    }

    /// Waits until the status fits.
    pub(crate) async fn status(&self, fits: impl Fn(&Value) -> bool) -> Value {
        poll_json(self.api, "/api/v1/status", PATIENCE, fits).await
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
