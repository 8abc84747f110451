//! `jarvis-phone`: arguments and secrets → operations of a phone → a report and an exit code.

mod arguments;
mod report;
mod secrets;

use std::error::Error as StdError;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser};
use getrandom::SysRng;
use mobile_test_harness::command_center::{self, CommandCenter, Owner};
use mobile_test_harness::link::{self, Target};
use mobile_test_harness::phone::{self, Phone, new_request_id};
use mobile_test_harness::{chain, key, wifi};
use provisioning_core::domain::{
    CareReply, CareRequest, Credentials, EapMethod, Enterprise, Login, NewEvents, Passphrase, Ssid, UnixTime,
};
use provisioning_core::fault::Fault;
use provisioning_core::secret::{SecretBlob, SecretText};
use provisioning_core::session::AcceptError;
use provisioning_core::wire::{Info, PublicStatus, StatusReport};
use rand_core::UnwrapErr;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing_subscriber::filter::LevelFilter;

use arguments::{Action, Arguments, Cancel, Care, Command, Eap, Node, Pairing, Provision, Scan, Status, Switch};
use report::Report;

/// The exit code of a program that a second Ctrl-C has ended: that of a shell for SIGINT.
const INTERRUPTED: i32 = 130;

/// Pause between two requests for new events.
const EVENTS_EVERY: Duration = Duration::from_secs(2);

/// The exit codes of the help text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Exit {
    Failed = 1,
    Usage = 2,
    NoDevice = 3,
    NotLetIn = 4,
    Unknown = 5,
    NoToken = 6,
}

/// An error, with its exit code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    fault: Option<Fault>,
    text: String,
    /// Seconds.
    retry_after: Option<u32>,
}

impl Failure {
    fn usage(error: &dyn StdError) -> Self {
        Self { exit: Exit::Usage, fault: None, text: chain(error), retry_after: None }
    }

    fn refused(exit: Exit, fault: Fault) -> Self {
        Self { exit, fault: Some(fault), text: fault.text().into(), retry_after: None }
    }

    fn no_device(error: &phone::Error) -> Self {
        let exit = match error {
            phone::Error::Link(link::Error::Wifi(wifi::Error::WrongPassphrase)) => Exit::NotLetIn,
            _ => Exit::NoDevice,
        };
        Self { exit, ..Self::from(error) }
    }
}

impl From<&phone::Error> for Failure {
    fn from(error: &phone::Error) -> Self {
        let exit = match error {
            phone::Error::Refused(refusal) => match refusal.fault {
                Fault::Busy | Fault::Locked | Fault::WrongCode | Fault::UnsupportedVersion => Exit::NotLetIn,
                _ => Exit::Failed,
            },
            phone::Error::NotAccepted(AcceptError::WrongSecret | AcceptError::Mismatch | AcceptError::Malformed) => {
                Exit::NotLetIn
            }
            phone::Error::Link(_) | phone::Error::TimedOut | phone::Error::Forgotten => Exit::Unknown,
            _ => Exit::Failed,
        };
        let retry_after = match error {
            phone::Error::Refused(refusal) if refusal.retry_after > 0 => Some(refusal.retry_after),
            _ => None,
        };
        let fault = error.fault();
        let text = fault.map_or_else(|| chain(error), |fault| fault.text().into());
        Self { exit, fault, text, retry_after }
    }
}

impl From<phone::Error> for Failure {
    fn from(error: phone::Error) -> Self {
        Self::from(&error)
    }
}

impl From<secrets::Error> for Failure {
    fn from(error: secrets::Error) -> Self {
        Self::usage(&error)
    }
}

impl From<command_center::Error> for Failure {
    fn from(error: command_center::Error) -> Self {
        Self { exit: Exit::NoToken, fault: None, text: chain(&error), retry_after: None }
    }
}

fn main() -> ExitCode {
    jarvis_program::start("jarvis-phone", run)
}

fn run() -> ExitCode {
    let Arguments { command, log_format } = Arguments::parse();
    log_format.start(LevelFilter::WARN);
    let json = match &command {
        Command::Info(node) => node.json,
        Command::Scan(scan) => scan.node.json,
        Command::Provision(provision) => provision.node.json,
        Command::Status(status) => status.node.json,
        Command::Cancel(cancel) => cancel.node.json,
        Command::Care(care) => care.node.json,
        Command::Completions(completions) => {
            completions.write::<Arguments>();
            return ExitCode::SUCCESS;
        }
        Command::Manual { folder } => {
            return match clap_mangen::generate_to(Arguments::command(), folder) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("jarvis-phone: writing the manual pages: {error}");
                    ExitCode::FAILURE
                }
            };
        }
    };
    let report = Report::new(json);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report.failure(&Failure { exit: Exit::Failed, ..Failure::usage(&error) });
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match command {
            Command::Info(node) => info(&node, report).await,
            Command::Scan(arguments) => scan(arguments, report).await,
            Command::Provision(arguments) => provision(*arguments, report).await,
            Command::Status(arguments) => status(arguments, report).await,
            Command::Cancel(arguments) => cancel(arguments, report).await,
            Command::Care(arguments) => care(arguments, report).await,
            Command::Completions(_) | Command::Manual { .. } => Ok(ExitCode::SUCCESS),
        }
    });
    result.unwrap_or_else(|failure| {
        report.failure(&failure);
        ExitCode::from(failure.exit as u8)
    })
}

/// Connects, does the work, and ends the session even after an error; otherwise the device would stay busy for a while.
async fn visit<T>(node: &Node, report: Report, work: impl AsyncFnOnce(&mut Phone) -> Result<T, Failure>) -> Result<T, Failure> {
    let wait = Duration::from_secs(node.wait);
    let target = target(node)?;
    let mut phone = Phone::connect_within(&target, wait).await.map_err(|error| Failure::no_device(&error))?;
    if let (Target::AccessPoint(_), Some(name)) = (&target, phone.name()) {
        report.line(format!("Joined the access point {name}; this computer returns to its network at the end."));
    }
    let result = work(&mut phone).await;
    phone.leave().await;
    result
}

/// The target, with the access point's name and passphrase.
fn target(node: &Node) -> Result<Target, Failure> {
    let Target::AccessPoint(way) = &node.over else { return Ok(node.over.clone()) };
    let mut way = way.clone();
    way.name.clone_from(&node.ap_name);
    if !node.ap_open {
        way.passphrase = Some(secrets::AP_PASSPHRASE.obtain(node.ap_passphrase_file.as_deref())?);
    }
    Ok(Target::AccessPoint(way))
}

async fn info(node: &Node, report: Report) -> Result<ExitCode, Failure> {
    let info = visit(node, report, async |phone| read_info(phone).await).await?;
    report.info(&info);
    Ok(ExitCode::SUCCESS)
}

/// Reads the device's info. Over HTTP this is the first request, so it fails if the device is not there.
async fn read_info(phone: &mut Phone) -> Result<Info, Failure> {
    phone.info().await.map_err(|error| Failure::no_device(&error))
}

async fn scan(arguments: Scan, report: Report) -> Result<ExitCode, Failure> {
    let secret = arguments.pairing.secret()?;
    let networks = visit(&arguments.node, report, async |phone| {
        read_info(phone).await?;
        phone.open_session(&secret).await?;
        Ok(phone.scan_in(arguments.country, arguments.fresh).await?)
    })
    .await?;
    report.networks(&networks);
    Ok(ExitCode::SUCCESS)
}

async fn status(arguments: Status, report: Report) -> Result<ExitCode, Failure> {
    let secret = arguments.pairing.given()?;
    let (public, status) = visit(&arguments.node, report, async |phone| {
        let public = phone.public_status().await.map_err(|error| Failure::no_device(&error))?;
        let Some(secret) = secret else { return Ok((public, None)) };
        phone.open_session(&secret).await?;
        Ok((public, Some(phone.status().await?)))
    })
    .await?;
    report.status(public, status.as_ref());
    Ok(ExitCode::SUCCESS)
}

async fn cancel(arguments: Cancel, report: Report) -> Result<ExitCode, Failure> {
    let secret = arguments.pairing.secret()?;
    let status = visit(&arguments.node, report, async |phone| {
        read_info(phone).await?;
        phone.open_session(&secret).await?;
        let attempt = phone.status().await?.request_id;
        Ok(phone.cancel(attempt, Duration::from_secs(arguments.timeout)).await?)
    })
    .await?;
    let fault = status.failure.as_ref().map(|failure| failure.fault);
    report.status(PublicStatus { state: status.state, progress: status.progress, fault }, Some(&status));
    Ok(if fault == Some(Fault::Cancelled) { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

async fn care(arguments: Care, report: Report) -> Result<ExitCode, Failure> {
    let request = match arguments.action {
        Action::Status => CareRequest::Status,
        Action::Saved => CareRequest::Saved,
        Action::Join { name } => {
            CareRequest::Join(Ssid::try_from(name.as_str()).map_err(|fault| Failure::refused(Exit::Usage, fault))?)
        }
        Action::Connect { name, hidden, open, wifi_password_file } => CareRequest::Connect {
            ssid: Ssid::try_from(name.as_str()).map_err(|fault| Failure::refused(Exit::Usage, fault))?,
            passphrase: passphrase(open, wifi_password_file.as_deref())?,
            hidden,
        },
        Action::Forget { name } => CareRequest::Forget(name),
        Action::Diagnose => CareRequest::Diagnose,
        Action::Hotspot { to } => CareRequest::Hotspot(to == Switch::On),
        Action::Recover => CareRequest::Recover,
        Action::Restart => CareRequest::Restart,
        Action::Label => CareRequest::Label,
        Action::Reset { .. } => CareRequest::Reset,
        Action::Events { follow } => return care_events(&arguments.node, &arguments.pairing, follow, report).await,
    };
    let secret = arguments.pairing.secret()?;
    let answer = visit(&arguments.node, report, async |phone| {
        read_info(phone).await?;
        phone.open_session(&secret).await?;
        Ok(phone.care(request).await?)
    })
    .await?;
    report.care(&answer);
    Ok(ExitCode::SUCCESS)
}

/// Prints events. They are asked for again and again, because the node sends them only as replies.
async fn care_events(node: &Node, pairing: &Pairing, follow: bool, report: Report) -> Result<ExitCode, Failure> {
    let secret = pairing.secret()?;
    visit(node, report, async |phone| {
        read_info(phone).await?;
        phone.open_session(&secret).await?;
        let mut last = String::new();
        loop {
            let CareReply::Events(NewEvents { events, gap }) = phone.care(CareRequest::Events(last.clone())).await? else {
                return Err(mobile_test_harness::phone::Error::Unexpected.into());
            };
            report.events(&events, gap);
            if let Some(event) = events.into_iter().next_back() {
                last = event.id;
            }
            if !follow {
                return Ok(());
            }
            tokio::select! {
                () = tokio::time::sleep(EVENTS_EVERY) => {}
                // The session ends in order, so that the device is not busy for a while.
                interrupted = tokio::signal::ctrl_c() => return interrupted.map_err(|error| Failure::usage(&error)),
            }
        }
    })
    .await?;
    Ok(ExitCode::SUCCESS)
}

async fn provision(arguments: Provision, report: Report) -> Result<ExitCode, Failure> {
    let ssid = arguments.ssid.as_ref().map(|name| Ssid::try_from(name.as_bytes())).transpose();
    let ssid = ssid.map_err(|fault| Failure::refused(Exit::Usage, fault))?;
    let has_none = arguments.open || arguments.connected || arguments.enterprise.eap.is_some();
    let passphrase = passphrase(has_none, arguments.wifi_password_file.as_deref())?;
    let enterprise = login(&arguments)?;
    let secret = arguments.pairing.secret()?;
    let k2 = (!arguments.no_k2).then(|| key::new(now(), &mut UnwrapErr(SysRng)));
    let provision_code = secrets::provision_code(arguments.code_to_claim.as_deref())?;
    let (node_id, token) = order(&arguments).await?;
    let credentials = Credentials {
        request_id: new_request_id(),
        ssid,
        passphrase,
        hidden: arguments.hidden,
        room: arguments.room,
        command_center: Some(arguments.command_center),
        config_service: arguments.config_service,
        household_id: arguments.household,
        node_id,
        token,
        provision_code,
        time: now().duration_since(UNIX_EPOCH).ok().map(|since| UnixTime(since.as_secs())),
        country: arguments.country,
        seen_frequency: 0,
        enterprise,
    };
    let node_id = credentials.node_id.as_str();

    let started = Instant::now();
    let (status, traffic) = visit(&arguments.node, report, async |phone| {
        let info = read_info(phone).await?;
        report.line(format!("Found {} ({}).", info.name, info.hardware));
        phone.open_session(&secret).await?;
        report.line("The session is open: the device knows the code.");
        if let Some(k2) = &k2 {
            // Write the file before sending the key: the device must not hold the only copy.
            if let Some(path) = &arguments.k2_out {
                secrets::write(path, &key::export(k2, node_id))?;
            }
            phone.send_k2(k2.clone()).await?;
            report.line(format!("The device has stored the settings key {}.", k2.kid));
        }
        let patience = Duration::from_secs(arguments.timeout);
        let status = attempt(phone, &credentials, patience, report).await?;
        Ok((status, phone.traffic()))
    })
    .await?;
    let kid = k2.as_ref().map(|k2| k2.kid.as_str());
    report.outcome(&status, &credentials, kid, traffic, started.elapsed().as_secs_f64());
    Ok(if status.failure.is_some() { ExitCode::from(Exit::Failed as u8) } else { ExitCode::SUCCESS })
}

/// Sends the credentials and follows the attempt to its end. Ctrl-C cancels it; a second one ends the program at once.
async fn attempt(
    phone: &mut Phone,
    credentials: &Credentials,
    patience: Duration,
    report: Report,
) -> Result<StatusReport, Failure> {
    let interrupts = || signal(SignalKind::interrupt()).map_err(|error| Failure { exit: Exit::Failed, ..Failure::usage(&error) });
    let (mut first, mut second) = (interrupts()?, interrupts()?);
    let cancelled = async {
        first.recv().await;
        report.line("Cancelling. Press Ctrl-C again to leave at once.");
    };
    let abandoned = async {
        second.recv().await;
        second.recv().await;
    };
    tokio::select! {
        status = phone.bring_online_unless(credentials, patience, cancelled, |progress| report.follow(progress)) => Ok(status?),
        () = abandoned => std::process::exit(INTERRUPTED),
    }
}

/// The network's password, from a file or elsewhere; empty if it has none. An invalid one is refused here.
fn passphrase(has_none: bool, file: Option<&Path>) -> Result<Passphrase, Failure> {
    let text = if has_none { String::new() } else { secrets::PASSWORD.obtain(file)?.expose().to_owned() };
    let passphrase = Passphrase::try_from(text).map_err(|fault| Failure::refused(Exit::Usage, fault))?;
    if has_none || (!passphrase.is_empty() && passphrase.is_printable()) {
        Ok(passphrase)
    } else {
        Err(Failure::refused(Exit::Usage, Fault::InvalidPassphrase))
    }
}

/// The login to an enterprise network, if the arguments name one. An invalid one is refused here.
fn login(arguments: &Provision) -> Result<Option<Box<Enterprise>>, Failure> {
    let given = &arguments.enterprise;
    let (Some(eap), Some(identity)) = (given.eap, &given.identity) else { return Ok(None) };
    let mut login = Login {
        method: match eap {
            Eap::Peap => EapMethod::PeapMschapv2,
            Eap::Ttls => EapMethod::TtlsPap,
            Eap::Tls => EapMethod::Tls,
        },
        identity: identity.clone(),
        anonymous_identity: given.anonymous_identity.clone().unwrap_or_default(),
        password: SecretText::new(String::new()),
        certificate: SecretBlob::default(),
        certificate_password: SecretText::new(String::new()),
        authority: Vec::new(),
        domain: given.server_domain.clone().unwrap_or_default(),
        accept_unverified_server: given.accept_unverified_server,
    };
    if let Some(path) = &given.authority_file {
        login.authority = secrets::certificates("an authority", path)?.expose().to_vec();
    }
    if let Some(path) = &given.certificate_file {
        login.certificate = secrets::certificates("a PKCS#12", path)?;
    }
    if eap == Eap::Tls {
        login.certificate_password = secrets::CERTIFICATE_PASSWORD.obtain(given.certificate_password_file.as_deref())?;
    } else {
        login.password = secrets::PASSWORD.obtain(arguments.wifi_password_file.as_deref())?;
    }
    let enterprise = Enterprise::try_from(login).map_err(|fault| Failure::refused(Exit::Usage, fault))?;
    Ok(Some(Box::new(enterprise)))
}

/// The device's identity and its token, from the arguments or from the command center.
async fn order(arguments: &Provision) -> Result<(String, SecretText), Failure> {
    let Some(node_id) = &arguments.node_id else {
        let owner = match &arguments.admin_key_file {
            Some(path) => Owner::Administrator(secrets::read("the administrator's key", path)?),
            None => Owner::User(secrets::JWT.obtain(None)?),
        };
        let center = CommandCenter::new(arguments.command_center.clone())?;
        let order = center.order(&owner, &arguments.household, Some(&arguments.room)).await?;
        return Ok((order.node_id, order.token));
    };
    Ok((node_id.clone(), secrets::TOKEN.obtain(arguments.token_file.as_deref())?))
}

#[expect(clippy::disallowed_methods, reason = "the device is told the time, and a new key is dated")]
fn now() -> SystemTime {
    SystemTime::now()
}
