//! Provisioning end to end, with real processes: a command center and two nodes start on this machine, and a phone brings one
//! online over the simulated Bluetooth link and the other over sealed HTTP.

mod processes;
mod timeline;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use getrandom::SysRng;
use mobile_test_harness::command_center::{CommandCenter, Order, Owner};
use mobile_test_harness::key;
use mobile_test_harness::link::Target;
use mobile_test_harness::phone::{Phone, Progress, new_request_id};
use provisioning_core::domain::{CommandCenterUrl, Credentials, Passphrase, Ssid, State};
use provisioning_core::fault::Fault;
use provisioning_core::secret::SecretText;
use provisioning_core::session::PhoneSecret;
use provisioning_core::wire::StatusReport;
use rand_core::UnwrapErr;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use processes::{Center, Node, Programs};
use timeline::{Over, Timeline};

/// The simulated network that checks its password.
const SSID: &str = "Lighthouse";
const PASSWORD: &str = "correct horse battery";
const WRONG_PASSWORD: &str = "wrong horse battery";

const HOUSEHOLD: &str = "demo-household";

/// Far longer than any operation of a simulated node takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows provisioning end to end: a real command center, two real nodes, and a phone that brings them online, one over the simulated
/// Bluetooth link and one over sealed HTTP.
///
/// Needs no root and no radio; all files are in a temporary directory, which is removed at the end.
/// Exit status: 0 when both nodes are provisioned and the command center accepts their keys; 1 otherwise.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// Print one JSON object in place of the timeline.
    #[arg(long)]
    json: bool,
}

/// The result of a run, for scripts.
#[derive(Debug, Serialize)]
struct Run {
    over: &'static str,
    outcome: &'static str,
    wrong_password: Option<&'static str>,
    seconds: f64,
    round_trips: u32,
}

#[derive(Debug, Serialize)]
struct Runs {
    runs: Vec<Run>,
}

/// The part of a node's label that is used here.
#[derive(Deserialize)]
struct Label {
    code: String,
}

/// The part of a node's configuration that is used here.
#[derive(Deserialize)]
struct Configuration {
    node_id: String,
    api_key: String,
}

fn main() -> ExitCode {
    let Arguments { json } = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let shown = runtime.context("starting the runtime").and_then(|runtime| runtime.block_on(until_interrupted(json)));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the demo; a signal ends it like an error, so that the processes it started end with it.
async fn until_interrupted(json: bool) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        shown = demo(json) => shown,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
        _ = hang_up.recv() => bail!("the terminal was closed"),
    }
}

async fn demo(json: bool) -> Result<()> {
    let timeline = Timeline::new(json);
    let programs = Programs::find(&timeline).await?;
    let directory = tempfile::Builder::new().prefix("jarvis-demo-").tempdir().context("creating a temporary directory")?;
    let result = both(&programs, directory.path(), timeline).await;
    if result.is_err() {
        processes::show_logs(directory.path());
    }
    let runs = result?;
    if json {
        println!("{}", serde_json::to_string(&runs).context("writing the result")?);
    }
    ensure!(runs.runs.iter().all(|run| run.outcome == State::Provisioned.name()), "not every node is provisioned");
    Ok(())
}

async fn both(programs: &Programs, directory: &Path, mut timeline: Timeline) -> Result<Runs> {
    timeline.start("A command center and two devices on this machine, and a phone");
    let center = Center::start(programs, directory).await?;
    timeline.step("command center", format!("listens at {}", center.url));
    let mut runs = Vec::new();
    for over in [Over::Bluetooth, Over::Http] {
        runs.push(run(programs, directory, &center, over, &mut timeline).await.with_context(|| format!("over {}", over.name()))?);
    }
    timeline.end(runs.iter().map(|run| (run.over, run.outcome, run.seconds, run.round_trips)));
    Ok(Runs { runs })
}

async fn run(programs: &Programs, directory: &Path, center: &Center, over: Over, timeline: &mut Timeline) -> Result<Run> {
    timeline.run(over);
    let node = Node::start(programs, &directory.join(over.name())).await?;
    timeline.step("device", format!("{} starts without any files", node.name));
    let label: Label = serde_json::from_slice(&node.label(programs).await?).context("reading the label")?;
    timeline.step("label", format!("the owner reads the pairing code {} on it", label.code));
    let command_center = CommandCenter::new(center.url()?)?;
    let owner = Owner::Administrator(center.administrator_key.clone());
    let order = command_center.order(&owner, HOUSEHOLD, Some("kitchen")).await?;
    let minutes = order.good_for.as_secs() / 60;
    timeline.step("order", format!("the command center expects {} within {minutes} minutes", order.node_id));

    let target = match over {
        Over::Bluetooth => Target::Simulated(node.socket.clone()),
        Over::Http => format!("http://{}", node.address).parse()?,
    };
    let secret = PhoneSecret::Code(SecretText::new(label.code));
    let run = phone(&target, &secret, &order, center.url()?, over, timeline).await?;

    timeline.files("The device wrote", &node.files()?);
    let configuration = std::fs::read(node.configuration()).context("reading the device's configuration")?;
    let Configuration { node_id, api_key } =
        serde_json::from_slice(&configuration).context("the device's configuration contains no credentials")?;
    let known = command_center.knows(&node_id, &SecretText::new(api_key)).await?;
    ensure!(node_id == order.node_id && known, "the command center does not accept the device's key");
    timeline.good("key check", "the command center accepts the key in the device's configuration");
    Ok(run)
}

/// The steps of a phone app, from discovery to the outcome.
async fn phone(
    target: &Target,
    secret: &PhoneSecret,
    order: &Order,
    command_center: CommandCenterUrl,
    over: Over,
    timeline: &mut Timeline,
) -> Result<Run> {
    let began = Instant::now();
    let mut phone = Phone::connect_within(target, PATIENCE).await?;
    match phone.name() {
        Some(name) => timeline.step("discover", format!("{name} advertises the provisioning service")),
        None => timeline.step("discover", format!("the phone is on the device's network, at {target}")),
    }
    let info = phone.info().await?;
    timeline.step("info", format!("{}, firmware {}, {}", info.hardware, info.firmware_version, info.state.name()));
    phone.open_session(secret).await?;
    timeline.step("session", "phone and device have proven that they know the code, without sending it");
    let networks = phone.scan(false).await?;
    timeline.step("scan", format!("{} networks in range of the device", networks.len()));
    timeline.networks(&networks);
    let k2 = key::new(now(), &mut UnwrapErr(SysRng));
    let kid = k2.kid.clone();
    phone.send_k2(k2).await?;
    timeline.step("settings key", format!("{kid} is stored on the device"));

    let credentials = |password: &str| {
        anyhow::Ok(Credentials {
            request_id: new_request_id(),
            ssid: Some(Ssid::try_from(SSID)?),
            passphrase: Passphrase::try_from(password.to_owned())?,
            hidden: false,
            room: "kitchen".into(),
            command_center: Some(command_center.clone()),
            config_service: None,
            household_id: HOUSEHOLD.into(),
            node_id: order.node_id.clone(),
            token: order.token.clone(),
            provision_code: None,
            time: None,
            country: None,
            seen_frequency: 0,
            enterprise: None,
        })
    };
    timeline.step("credentials", format!("for {SSID}, with a wrong password"));
    let wrong = follow(&mut phone, &credentials(WRONG_PASSWORD)?, timeline).await?;
    let wrong_password = wrong.failure.map(|failure| failure.fault.name());
    ensure!(wrong_password == Some(Fault::WrongPassword.name()), "a wrong password ended as {wrong_password:?}");
    timeline.step("credentials", format!("for {SSID}, with the right one, in the same session"));
    let status = follow(&mut phone, &credentials(PASSWORD)?, timeline).await?;
    let seconds = began.elapsed().as_secs_f64();
    let traffic = phone.traffic();
    phone.leave().await;
    timeline.step(
        "phone leaves",
        format!("{} round trips, {} bytes sent, {} received", traffic.round_trips, traffic.sent, traffic.received),
    );
    Ok(Run { over: over.name(), outcome: status.state.name(), wrong_password, seconds, round_trips: traffic.round_trips })
}

async fn follow(phone: &mut Phone, credentials: &Credentials, timeline: &mut Timeline) -> Result<StatusReport> {
    let status = phone
        .bring_online(credentials, PATIENCE, |progress| match progress {
            Progress::Accepted => {}
            Progress::Status(status) => timeline.status(status),
            Progress::Lost => timeline.step("link", "lost; the phone reconnects"),
            Progress::Back => timeline.step("link", "restored, in a new session"),
        })
        .await?;
    Ok(status)
}

#[expect(clippy::disallowed_methods, reason = "a new key is dated; goes with dated keys")]
fn now() -> SystemTime {
    SystemTime::now()
}
