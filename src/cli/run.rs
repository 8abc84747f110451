//! `jarvis-provision run`: with `backend`, the only module that names concrete adapters.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context;
use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::care::alarm::Alarm;
use jarvis_provisioning::care::caretaker::{self, Caretaker};
use jarvis_provisioning::care::port::Care;
use jarvis_provisioning::care::{self, collect, collect_simulated, phones};
use jarvis_provisioning::claim::{Claimant, Device, NodeClaims};
use jarvis_provisioning::command_center::{self, Limits, Registrar};
use jarvis_provisioning::config::{self, Config, Open, original};
use jarvis_provisioning::daemon::{Daemon, Ended, Handle, Heartbeats};
use jarvis_provisioning::link::{ble, http, mdns, sim};
use jarvis_provisioning::network::nm::{self, NetworkManager};
use jarvis_provisioning::network::{Maintenance, Network as _};
use jarvis_provisioning::panel::{Diagnose, Panel, button, dbus, led};
use jarvis_provisioning::simulation::SimulatedHome;
use jarvis_provisioning::store::Store;
use provisioning_core::domain::{AccessPoint, Country, Passphrase, RadioUse};
use provisioning_core::fault::chain;
use provisioning_core::machine;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::backend::Backend;
use super::{Failure, Settings, diagnose, lock, now, open_store, paths, variable};

type BoxFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long the servers may take to complete their answers when the program exits.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Time for the answer to reach the phone before the radio leaves the access point. A phone in power save fetches the
/// answer after one or two beacons, a tenth of a second each; a lost frame is retransmitted within that time.
const ANSWER_LEAVES: Duration = Duration::from_millis(500);

/// The port of captive-portal probes.
const CAPTIVE_PORT: u16 = 80;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Simulate networks, serve HTTP on loopback and Bluetooth on a Unix socket; needs no radio and no root. Prints one JSON
    /// object when it is ready: `listening`, `ble_sim`, `name`.
    #[arg(long)]
    simulate: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = arguments.settings.read()?;
    config.simulate |= arguments.simulate;
    Backend::check(&config)?;
    if config.care.enabled {
        adopt_original(&mut config);
    }
    let mut store = open_store(&config)?;
    let _lock = lock(&paths(&config))?;
    let token = if config.care.enabled { api_token(&config, &mut store)? } else { None };
    let mut boot = store.load()?;
    let given = config.country.as_deref().unwrap_or_default();
    let country = Country::try_from(if boot.country.is_empty() { given } else { &boot.country }).ok();
    boot.country =
        country.map(Country::into_string).or_else(|| (!config.simulate).then(NetworkManager::country)?).unwrap_or_default();
    // One thread suffices for a program that waits for radios, and makes the program smaller.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let is_finished = boot.provisioned && boot.pending.is_none() && !boot.resetting;
    if is_finished && !config.skip_check && !config.care.enabled {
        println!("{} is provisioned already, as {}.", boot.identity.name(), boot.identity.node_id);
        eprintln!(
            "To provision it again, run with JARVIS_SKIP_PROVISIONING_CHECK=true; for a factory reset, run `jarvis-provision reset`."
        );
        if !config.simulate {
            runtime.block_on(async {
                ble::give_back_name(&ble::Config::default(), &boot.identity.name()).await;
                let network = Backend::start(&config, None);
                network.prepare(country).await;
                hold(&network).await
            })?;
        }
        return Ok(());
    }
    if paths(&config).config.is_none() {
        warn!("CONFIG_PATH is not set, so every attempt will fail: set it to the path of the node's config.json");
    }
    let boot_is_new = !boot.provisioned;
    let node = Node { store, boot, token };
    let then = runtime.block_on(async {
        if config.simulate {
            let socket =
                variable("JARVIS_BLE_SIM_SOCKET").map_or_else(|| paths(&config).directory.join("ble.sock"), PathBuf::from);
            let phones = sim::Listener::bind(&socket).context("opening the simulated Bluetooth link")?;
            let link = |handle, stopped| {
                sim::serve(
                    phones,
                    sim::Config {
                        mtu: config.simulated_mtu,
                        espressif: config.espressif.enabled,
                        improv: config.improv.enabled,
                        nymea: config.nymea.enabled,
                        ..sim::Config::default()
                    },
                    handle,
                    stopped,
                )
            };
            // The radio is always the access point.
            let (_, radio) = watch::channel(RadioUse::AccessPoint(simulated_access_point(&config)));
            serve(&config, node, SimulatedHome::default(), radio, link, json!({ "ble_sim": socket })).await
        } else {
            let passphrase = node.store.access_point_passphrase();
            let passphrase = Passphrase::try_from(passphrase.expose().to_owned()).context("the access point's passphrase")?;
            let services = ble::Services {
                espressif: config.espressif.enabled,
                advertise_espressif: config.espressif.advertise,
                improv: config.improv.enabled,
                nymea: config.nymea.enabled,
            };
            let link = |handle, stopped| {
                ble::serve(ble::Config { adapter: config.adapter.clone(), services, ..ble::Config::default() }, handle, stopped)
            };
            let network = Backend::start(&config, Some(passphrase));
            prepare(network.clone(), country, boot_is_new);
            let radio = network.radio();
            let then = serve(&config, node, network.clone(), radio, link, json!({})).await;
            network.stop().await;
            if matches!(then, Ok(Then::Finish)) {
                hold(&network).await?;
            }
            then
        }
    })?;
    drop(runtime);
    match then {
        Then::Finish | Then::End => Ok(()),
        Then::Restart => Err(restart()),
    }
}

/// Prepares the radio before anything uses it. The radio of a node that waits for its first owner is switched on if it was off for
/// want of a country.
fn prepare(network: Backend, country: Option<Country>, is_new: bool) {
    tokio::spawn(async move {
        network.prepare(country).await;
        if !is_new {
            network.rejoin().await;
        }
        if let (Some(country), true) = (country, is_new)
            && let Err(error) = network.set_country(country).await
        {
            warn!("{}", chain(&error));
        }
    });
}

/// Keeps a provisioned node in its network until the program is to end, if this backend needs it to run.
async fn hold(network: &Backend) -> Result<(), Failure> {
    if network.holds_network() {
        info!("the node stays in its network while this program runs");
        let signals = signals()?;
        tokio::select! {
            () = network.hold() => {}
            () = signals => info!("stopped"),
        }
    }
    Ok(())
}

/// What `run` has read.
struct Node {
    store: Store,
    boot: machine::Boot,
    token: Option<http::Token>,
}

/// The token of the API of network care.
fn api_token(config: &Config, store: &mut Store) -> Result<Option<http::Token>, Failure> {
    let Some(secret) = config.care.api_token()? else { return Ok(None) };
    let is_void = store.revocable_token(&secret)?;
    if is_void.load(Ordering::Relaxed) {
        warn!(
            "a factory reset has made the token of network care void: set another one in MOONHUB_PROVISIONING_TOKEN or care.token_file"
        );
    }
    Ok(Some(http::Token { secret, is_void }))
}

/// Takes the settings of the existing system, if it was on this device. Invalid ones are reported, and disable nothing.
fn adopt_original(config: &mut Config) {
    let Some(path) = paths(config).original() else { return };
    match original::read(&path) {
        Ok(None) => {}
        Ok(Some(original)) => {
            info!(recovery = ?original.recovery, interface = ?original.interface, "settings from {}", path.display());
            config.adopt(original);
        }
        Err(error) => warn!("{} is ignored, and the defaults apply: {}", path.display(), chain(&error)),
    }
}

/// What the program does after its servers have ended.
enum Then {
    /// The node is provisioned.
    Finish,
    /// The program was stopped.
    End,
    Restart,
}

/// Replaces this process by a new one with the same command line, so that it restarts with and without a service manager.
/// Returns only if that fails.
fn restart() -> Failure {
    let mut arguments = std::env::args_os();
    let program = arguments.next().unwrap_or_else(|| "jarvis-provision".into());
    let source = std::process::Command::new(program).args(arguments).exec();
    Failure::Resource { attempt: "starting the program again".into(), source }
}

/// Runs the daemon with a network and its links. `link` serves phones over real or simulated Bluetooth; `ready` is
/// printed, with the address of the HTTP API, when phones can connect.
async fn serve<N: Maintenance + Clone, L: Future<Output = ()> + Send + 'static>(
    config: &Config,
    Node { store, boot, token }: Node,
    network: N,
    radio: watch::Receiver<RadioUse>,
    link: impl FnOnce(Handle, BoxFuture) -> L,
    mut ready: serde_json::Value,
) -> Result<Then, Failure> {
    let name = boot.identity.name();
    let policy = match (config.simulate, config.command_center.strict) {
        (true, _) => AddressPolicy::SIMULATION,
        (false, true) => AddressPolicy::STRICT,
        (false, false) => AddressPolicy::DEVICE,
    };
    let trust = config.command_center.certificates.clone().map_or(Trust::System, Trust::SystemAnd);

    let address = config.listen.unwrap_or(IpAddr::V4(if config.simulate { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED }));
    let listener = bind(SocketAddr::new(address, config.port))?;
    let bound = listener.local_addr().context("asking for the address that was bound")?;
    let access_point = is_in_access_point(config, address).then(|| http::InAccessPoint {
        radio: radio.clone(),
        api: bound.port(),
        captive: Some(CAPTIVE_PORT).filter(|port| !config.simulate && *port != bound.port()),
    });

    let client = Client::new(policy, trust);
    let paths = paths(config);
    let claims = NodeClaims {
        claimant: Claimant::new(client.clone()),
        device: Device::this(&boot.identity.mac_address, &paths.machine_id),
        folder: std::path::absolute(&paths.claim).context("finding the folder of the appliance's configuration")?,
        clock: super::claim::clock,
    };
    let limits = Limits { health: diagnose::HEALTH_LIMIT, ..Limits::default() };
    let health = Registrar::new(client.clone()).with_limits(limits);
    let probes = probes(config)?;
    let command_center = command_center::Client { registrar: Registrar::new(client), claims: claims.clone() };
    let page = if config.simulate { bound.to_string() } else { format!("{name}.local:{}", bound.port()) };
    let machine = machine::Config { page: format!("http://{page}/"), ..machine_config(config) };
    let (mut daemon, handle) = Daemon::new(machine, boot, network.clone(), command_center, store);
    let (restart, mut restarts) = mpsc::unbounded_channel();
    let care = if config.care.enabled {
        Some(caretaker(config, Arc::clone(&probes), network, health.clone(), handle.clone(), restart)?)
    } else {
        None
    };
    let (stop, stopped) = watch::channel(());
    let until_stopped = || -> BoxFuture {
        let mut stopped = stopped.clone();
        Box::pin(async move {
            // An error means that the sender was dropped, which is a reason to stop as well.
            let _either_way = stopped.changed().await;
        })
    };
    let listeners = http::Listeners { api: vec![listener], access_point };
    let mut servers = vec![tokio::spawn(link(handle.clone(), until_stopped()))];
    let mut http_config = http_config(config);
    let port = care.as_ref().map(|(_, port)| port.clone());
    let panel = Panel::new(handle.clone(), port, radio.clone(), diagnosis(config.simulate, probes, health));
    if let Some((caretaker, port)) = care {
        tokio::spawn(phones::serve(port.clone(), daemon.care_calls()));
        http_config.care = Some(http::Care { port, token });
        servers.push(tokio::spawn(caretaker.run(until_stopped())));
        if !config.simulate {
            tokio::spawn(handle.clone().follow_access_point(radio.clone()));
        }
    }
    tokio::spawn(handle.clone().report_appliance(claims, Heartbeats::default()));
    servers.push(tokio::spawn(http::serve(listeners, http_config, handle.clone(), until_stopped())));
    if let Some(name) = &config.led.name {
        let folder = Path::new(led::LIGHTS).join(name);
        servers.push(tokio::spawn(led::serve(panel.clone(), folder, until_stopped())));
    }
    for source in config.button.iter().filter_map(source) {
        servers.push(tokio::spawn(button::serve(panel.clone(), source, until_stopped())));
    }
    if !config.simulate {
        tokio::spawn(handle.clone().follow_radio(radio.clone()));
        servers.push(tokio::spawn(dbus::serve(panel, None, until_stopped())));
        let announcement = mdns::Config { name: name.clone(), port: bound.port(), radio };
        servers.push(tokio::spawn(mdns::serve(announcement, handle, until_stopped())));
    }

    info!(address = %bound, "{name} waits for a phone; `jarvis-provision label` prints its code");
    ready["listening"] = json!(bound);
    ready["name"] = json!(name);
    // The parent process may not read standard output.
    let _unread = writeln!(std::io::stdout(), "{ready}");

    let mut then = Then::End;
    let signals = signals()?;
    let shutdown = async {
        tokio::select! {
            () = signals => {}
            Some(()) = restarts.recv() => then = Then::Restart,
        }
    };
    let ended = daemon.run(shutdown).await;
    stop.send_replace(());
    for server in servers {
        if tokio::time::timeout(LAST_ANSWERS, server).await.is_err() {
            warn!("a server did not end in time");
        }
    }
    match ended {
        Ended::Finished => {
            info!("{name} is provisioned; linger time over, exiting");
            then = Then::Finish;
        }
        Ended::Stopped => info!("stopped"),
    }
    Ok(then)
}

/// What a diagnosis probes, at the time of each.
type Probes = Arc<dyn Fn() -> care::Settings + Send + Sync>;

/// Invalid settings end the program here, and never later.
fn probes(config: &Config) -> Result<Probes, Failure> {
    let (config, checked) = (config.clone(), diagnose::settings(config)?);
    Ok(Arc::new(move || diagnose::settings(&config).unwrap_or_else(|_| checked.clone())))
}

/// Network care for this node.
fn caretaker<N: Maintenance>(
    config: &Config,
    probes: Probes,
    network: N,
    registrar: Registrar,
    handle: Handle,
    restart: mpsc::UnboundedSender<()>,
) -> Result<(Caretaker<N>, Care), Failure> {
    let settings = caretaker::Settings {
        probes,
        recovery: config.care.recovery.unwrap_or(true),
        simulated: config.simulate,
        interface: config.interface.clone(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        clock: now,
        alarm: Alarm::of_kernel().context("making a timer")?,
        restart: config.care.restart.then_some(restart),
    };
    Ok(Caretaker::new(settings, network, registrar, handle))
}

/// What collects the evidence for the panel's diagnoses.
fn diagnosis(simulate: bool, probes: Probes, registrar: Registrar) -> Diagnose {
    let registrar = Arc::new(registrar);
    Arc::new(move || {
        let (settings, registrar) = (probes(), Arc::clone(&registrar));
        Box::pin(async move {
            if simulate { collect_simulated(&settings, &registrar).await } else { collect(&settings, &registrar).await }
        })
    })
}

/// Where a button of the settings is; every valid one is somewhere.
fn source(button: &config::Button) -> Option<button::Source> {
    /// `KEY_RESTART` of `linux/input-event-codes.h`: the usual key of a reset button in a device tree.
    const KEY_RESTART: u16 = 408;
    let config::Button { input, key, gpio, line, active_high } = button.clone();
    match (input, gpio, line) {
        (Some(device), _, _) => Some(button::Source::Input { device, key: key.unwrap_or(KEY_RESTART) }),
        (None, Some(chip), Some(line)) => Some(button::Source::Gpio { chip, line, active_high }),
        _ => None,
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    http::bind(address).map_err(|source| Failure::Resource { attempt: format!("listening on {address}"), source })
}

/// The access point in simulation: the loopback, or the interface that the settings name.
fn simulated_access_point(config: &Config) -> AccessPoint {
    match config.interface.clone() {
        None => AccessPoint { interface: "lo".into(), address: Ipv4Addr::LOCALHOST, prefix: 8 },
        Some(interface) => AccessPoint { interface, address: nm::Settings::default().address, prefix: 24 },
    }
}

/// Whether the API listens in the access point, too: if it listens at all addresses, or at that one.
fn is_in_access_point(config: &Config, listen: IpAddr) -> bool {
    let address = if config.simulate { simulated_access_point(config).address } else { nm::Settings::default().address };
    listen.is_unspecified() || listen.to_canonical() == address
}

fn http_config(config: &Config) -> http::Config {
    let secrets = match (config.access_point.secrets_in_clear, config.access_point.open) {
        (true, _) => http::Secrets::Anywhere,
        (false, Open::Never) => http::Secrets::Nowhere,
        (false, Open::WhenQuiet | Open::Always) => http::Secrets::InAccessPoint,
    };
    let open_security = if config.simulate { "OPEN" } else { "" };
    let (portal, espressif) = (config.access_point.portal, config.espressif.enabled);
    http::Config { secrets, open_security, portal, espressif, ..http::Config::default() }
}

pub(super) fn machine_config(config: &Config) -> machine::Config {
    machine::Config {
        firmware_version: config.firmware_version.clone(),
        capabilities: config.capabilities.clone(),
        access_point: config.access_point_policy(),
        answer_leaves: if config.simulate { Duration::ZERO } else { ANSWER_LEAVES },
        // A developer stops a simulated node; a real node must start its normal operation.
        linger: (!config.simulate && !config.care.enabled).then(|| Duration::from_secs(config.linger_seconds)),
        network_care: config.care.enabled,
        improv: config.improv.enabled,
        nymea: config.nymea.enabled,
        page: String::new(),
        next_url: config.next_url(),
    }
}

/// Ready on SIGTERM or SIGINT.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_clear_are_refused_without_an_access_point_in_simulation_too() {
        let secrets = |simulate, open, secrets_in_clear| {
            let mut config = Config { simulate, ..Config::default() };
            (config.access_point.open, config.access_point.secrets_in_clear) = (open, secrets_in_clear);
            http_config(&config).secrets
        };
        for simulate in [true, false] {
            assert_eq!(secrets(simulate, Open::Never, false), http::Secrets::Nowhere);
            assert_eq!(secrets(simulate, Open::Always, false), http::Secrets::InAccessPoint);
            assert_eq!(secrets(simulate, Open::Never, true), http::Secrets::Anywhere);
        }
    }

    #[test]
    fn a_listener_at_another_address_is_not_in_the_access_point() {
        let listens = |simulate, listen: &str| {
            let config = Config { simulate, ..Config::default() };
            is_in_access_point(&config, listen.parse().expect("an address"))
        };
        for (simulate, own, other) in [(true, "127.0.0.1", "127.0.0.2"), (false, "192.168.4.1", "127.0.0.1")] {
            assert!(["0.0.0.0", "::", own].iter().all(|listen| listens(simulate, listen)));
            assert!(!listens(simulate, other) && !listens(simulate, "::1"));
        }
    }
}
