//! `jarvis-provision run`: the only place that names concrete adapters.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use jarvis_provisioning::config::Config;
use jarvis_provisioning::daemon::{Daemon, Ended};
use jarvis_provisioning::link::{http, sim};
use jarvis_provisioning::machine;
use jarvis_provisioning::registrar::{AddressPolicy, Client, Trust};
use jarvis_provisioning::simulation::SimulatedNetwork;
use jarvis_provisioning::store::Store;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{Failure, Settings, lock, open_store, paths, variable};

/// How long the servers may take to end their answers when the program ends.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// No radio and no root: simulated networks, HTTP on loopback, Bluetooth on a Unix socket. Prints one JSON object
    /// when it is ready: listening, `ble_sim`, name.
    #[arg(long)]
    simulate: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = arguments.settings.read()?;
    config.simulate |= arguments.simulate;
    let store = open_store(&config)?;
    let _lock = lock(&paths(&config))?;
    let boot = store.load()?;
    if boot.provisioned && boot.pending.is_none() && !boot.resetting && !config.skip_check {
        println!("{} is provisioned already, as {}.", boot.identity.name(), boot.identity.node_id);
        eprintln!(
            "To set it up again, run with JARVIS_SKIP_PROVISIONING_CHECK=true; to forget its owner, run `jarvis-provision reset`."
        );
        return Ok(());
    }
    if variable("CONFIG_PATH").is_none_or(|path| path.is_empty()) {
        warn!("CONFIG_PATH is not set, so no attempt can succeed: set it to the path of the node's config.json");
    }
    // One thread is enough for a program that waits for radios, and is a smaller program.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    if !config.simulate {
        return Err(Failure::Other(anyhow::anyhow!("this build has no radio: run with --simulate")));
    }
    runtime.block_on(serve(config, store, boot))
}

async fn serve(config: Config, store: Store, boot: machine::Boot) -> Result<(), Failure> {
    let name = boot.identity.name();
    let directory = paths(&config).directory;
    let policy = match (config.simulate, config.command_center.strict) {
        (true, _) => AddressPolicy::SIMULATION,
        (false, true) => AddressPolicy::STRICT,
        (false, false) => AddressPolicy::DEVICE,
    };
    let trust = config.command_center.certificates.clone().map_or(Trust::System, Trust::SystemAnd);

    let address = config.listen.unwrap_or(IpAddr::V4(if config.simulate { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED }));
    let address = SocketAddr::new(address, config.port);
    let listener = http::bind(address);
    let listener = listener.map_err(|source| Failure::Resource { attempt: format!("listening on {address}"), source })?;
    let address = listener.local_addr().context("asking for the address that was bound")?;
    let socket = variable("JARVIS_BLE_SIM_SOCKET").map_or_else(|| directory.join("ble.sock"), PathBuf::from);
    let phones = sim::Listener::bind(&socket).context("opening the simulated Bluetooth link")?;

    let (daemon, handle) = Daemon::new(machine_config(&config), boot, SimulatedNetwork, Client::new(policy, trust), store);
    let (stop, stopped) = watch::channel(());
    let until_stopped = || {
        let mut stopped = stopped.clone();
        async move {
            // An error means that the sender is gone, which is a reason to stop as well.
            let _either_way = stopped.changed().await;
        }
    };
    let listeners = http::Listeners { api: vec![listener], captive: Vec::new() };
    let api = http::Config { secrets: true, open_security: "OPEN", ..http::Config::default() };
    let servers = [
        tokio::spawn(http::serve(listeners, api, handle.clone(), until_stopped())),
        tokio::spawn(sim::serve(
            phones,
            sim::Config { mtu: config.simulated_mtu, ..sim::Config::default() },
            handle,
            until_stopped(),
        )),
    ];

    info!(%address, socket = %socket.display(), "{name} waits for a phone; `jarvis-provision label` shows its code");
    let ready = json!({ "listening": address, "ble_sim": socket, "name": name });
    // Whoever started the program may not care to read this.
    let _unread = writeln!(std::io::stdout(), "{ready}");

    let ended = daemon.run(signals()?).await;
    stop.send_replace(());
    for server in servers {
        if tokio::time::timeout(LAST_ANSWERS, server).await.is_err() {
            warn!("a server did not end in time");
        }
    }
    match ended {
        Ended::Finished => info!("{name} is provisioned, and nobody asks any more"),
        Ended::Stopped => info!("stopped"),
    }
    Ok(())
}

fn machine_config(config: &Config) -> machine::Config {
    machine::Config {
        firmware_version: "1.0.0".into(),
        capabilities: vec!["voice".into(), "speaker".into()],
        access_point: config.access_point_policy(),
        // A second: the answer to a phone leaves over the radio that is about to switch.
        answer_leaves: if config.simulate { Duration::ZERO } else { Duration::from_secs(1) },
        // On a desk somebody looks on; a device has its own work to do.
        linger: (!config.simulate).then(|| Duration::from_secs(config.linger_seconds)),
    }
}

/// Ready when the program is asked to end.
fn signals() -> Result<impl Future<Output = ()>, Failure> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
