//! `jarvis-factory prepare`.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use factory::{Batch, DEVICE_CONF, Device, Layout, Ledger, Outcome, Plan, Report, device_table, manifest};
use jarvis_provisioning::login::{Api, ApiUrl, Credentials, Limits, Owner};
use tokio::signal::unix::{SignalKind, signal};

use super::label::{draw, form};
use super::{Devices, Failure, now, write};

/// The default manifest of a batch.
const MANIFEST: &str = "factory-manifest.json";
/// Columns of the progress bar.
const BAR: usize = 30;
/// More threads do not make a disk faster.
const DISK_THREADS: usize = 16;

#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct Arguments {
    #[command(flatten)]
    devices: Devices,

    /// The admin API: `https://host[:port][/path]`; without TLS only if it begins with `http://`.
    #[arg(long, value_name = "URL", required_unless_present = "mark_shipped")]
    api_url: Option<ApiUrl>,

    /// The number of concurrent requests.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,

    /// A file with the bearer token for the admin API.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// A PEM file with the client certificate for the admin API, and its chain.
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_cert: Option<PathBuf>,

    /// A PEM file with the key of --client-cert.
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,

    /// A PEM file with the only trusted certificate authorities. Default: the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Time limit of one request, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
    timeout: u16,

    /// The number of tries per request before its device fails.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    tries: u16,

    /// The user id that owns the files in the image; root by default, if this user may change owners.
    #[arg(long, value_name = "NUMBER")]
    uid: Option<u32>,

    /// The group id that owns the files in the image; root's by default, if this user may change owners.
    #[arg(long, value_name = "NUMBER")]
    gid: Option<u32>,

    /// Write a manifest of the results, with hashes and without secrets [default for --serials: factory-manifest.json].
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,

    /// Draw the labels of all devices: pages for a name in .pdf, an image for .svg. The file is as secret as the labels.
    #[arg(long, value_name = "FILE", conflicts_with = "no_pairing")]
    labels: Option<PathBuf>,

    /// Write a table of owners and modes for image builders (genext2fs, mkfs.ubifs, makedevs).
    #[arg(long, value_name = "FILE")]
    device_table: Option<PathBuf>,

    /// Write no pairing secrets; each device generates its own at its first start.
    #[arg(long)]
    no_pairing: bool,

    /// Set new passwords for accounts that may be in use. A deployed device with such an account can no longer log in.
    #[arg(long)]
    reissue: bool,

    /// Log in as each device at the end, including devices completed earlier.
    #[arg(long)]
    verify: bool,

    /// Print the planned actions, as far as known without the server. Change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Record in the ledger that these devices are shipped, and do nothing else. Their passwords stay unchanged.
    #[arg(long, conflicts_with_all = ["reissue", "verify", "dry_run", "labels"])]
    mark_shipped: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.labels.as_deref().map(form).transpose()?;
    let devices = arguments.devices.list(!arguments.mark_shipped)?;
    let url = arguments.api_url.as_ref().map(ToString::to_string).unwrap_or_default();
    let ledger_path = &arguments.devices.ledger;
    let ledger = if arguments.dry_run { Ledger::read_only(ledger_path, &url, now) } else { Ledger::open(ledger_path, &url, now) };
    let ledger = ledger.map_err(anyhow::Error::from)?;
    ledger.check_accounts(&devices).map_err(anyhow::Error::from)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(DISK_THREADS).build();
    let runtime = runtime.map_err(anyhow::Error::from)?;
    if arguments.mark_shipped {
        runtime.block_on(ledger.shipped(&devices)).map_err(anyhow::Error::from)?;
        println!("{} recorded as shipped", count(devices.len()));
        return Ok(());
    }
    let _entered = runtime.enter();
    let batch = Arc::new(arguments.batch(ledger)?);
    if arguments.dry_run {
        return dry_run(&batch, &devices);
    }
    let reports = runtime.block_on(work(&batch, devices));
    arguments.finish(&batch, &reports)
}

impl Arguments {
    fn batch(&self, ledger: Ledger) -> Result<Batch, Failure> {
        let url = self.api_url.clone().expect("clap requires it unless devices are marked as shipped");
        let credentials = Credentials {
            token: self.admin_token_file.clone(),
            certificate: self.client_cert.clone().zip(self.client_key.clone()),
            authorities: self.ca_file.clone(),
        };
        let limits =
            Limits { jobs: self.jobs.into(), tries: self.tries.into(), answer: Duration::from_secs(self.timeout.into()) };
        let owner = Owner {
            uid: self.uid.unwrap_or(0),
            gid: self.gid.unwrap_or(0),
            required: (self.uid.is_some() || self.gid.is_some()) && self.device_table.is_none(),
        };
        Ok(Batch {
            api: Api::new(url, &credentials, limits, now).map_err(anyhow::Error::from)?,
            ledger,
            layout: Layout { pairing: (!self.no_pairing).then(|| self.devices.pairing_file.clone()), owner, lookup: None },
            reissue: self.reissue,
            // --serial confirms the device with the server; --serials resumes the rest of the list.
            confirm: self.devices.serial.is_some(),
            verify: self.verify,
        })
    }

    /// Prints the results, and writes the requested files.
    fn finish(&self, batch: &Batch, reports: &[Report]) -> Result<(), Failure> {
        if let [report] = reports {
            tell_one(report, &batch.layout);
        } else {
            tell_many(reports);
        }
        let manifest_path = self.manifest.clone().or_else(|| self.devices.serials.is_some().then(|| MANIFEST.into()));
        if let Some(path) = &manifest_path {
            let content = manifest(batch.ledger.api(), now(), &batch.layout, reports);
            write(path, content.as_bytes()).context("writing the manifest")?;
        }
        if let Some(path) = &self.device_table {
            write(path, device_table(&batch.layout).as_bytes()).context("writing the device table")?;
        }
        if self.device_table.is_none() && reports.iter().any(|report| !report.is_owned) {
            let Owner { uid, gid, .. } = batch.layout.owner;
            eprintln!(
                "warning: this user cannot give files to {uid}:{gid} and still owns them in the tree: run as root or under \
                 fakeroot, or let the image builder set owners with --device-table"
            );
        }
        if let Some(path) = &self.labels {
            let done: Vec<_> = reports.iter().filter(|report| report.is_done()).map(|report| &report.device).collect();
            draw(batch, &done, path)?;
        }
        let open = reports.iter().filter(|report| !report.is_done()).count();
        if open > 0 {
            return Err(Failure::Other(anyhow::anyhow!(
                "{open} of {} not done; run the same command again to resume",
                count(reports.len())
            )));
        }
        Ok(())
    }
}

fn dry_run(batch: &Batch, devices: &[Device]) -> Result<(), Failure> {
    let mut failing = 0;
    let mut out = std::io::stdout().lock();
    for device in devices {
        let (what, why) = match batch.plan(device) {
            Plan::Create => ("create", String::new()),
            Plan::Resume => ("resume", String::new()),
            Plan::Reissue => ("reissue", String::new()),
            Plan::Nothing => ("done", String::new()),
            Plan::Fail(reason) => {
                failing += 1;
                ("fail", format!("  {reason}"))
            }
        };
        writeln!(out, "{what:<11}{}  {}  {}{why}", device.serial, device.account, device.rootfs.display())
            .map_err(anyhow::Error::from)?;
    }
    if failing > 0 {
        return Err(Failure::Other(anyhow::anyhow!("{failing} of {} would fail", count(devices.len()))));
    }
    Ok(())
}

async fn work(batch: &Arc<Batch>, devices: Vec<Device>) -> Vec<Report> {
    let signals = tokio::spawn(stop_on_signal(batch.api.clone()));
    let mut progress = Progress::new(devices.len());
    let reports = batch.run(devices, |report| progress.step(report)).await;
    progress.clear();
    signals.abort();
    reports
}

/// The first signal ends the run after the requests in progress, the second at once.
async fn stop_on_signal(api: Api) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return;
    };
    for signals in 0.. {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if signals > 0 {
            std::process::exit(130);
        }
        eprintln!("\nending after the requests in progress; interrupt again to end at once");
        api.stop();
    }
}

/// A progress bar on standard error, if that is a terminal.
struct Progress {
    total: usize,
    done: usize,
    failed: usize,
    shown: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        Self { total, done: 0, failed: 0, shown: total > 1 && std::io::stderr().is_terminal() }
    }

    fn step(&mut self, report: &Report) {
        self.done += 1;
        self.failed += usize::from(!report.is_done());
        if self.shown {
            let filled = self.done * BAR / self.total;
            let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
            eprint!("\r[{:<BAR$}] {}/{}{failed}", "#".repeat(filled), self.done, self.total);
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\u{1b}[K");
        }
    }
}

fn tell_one(report: &Report, layout: &Layout) {
    let Report { device, .. } = report;
    let (serial, account) = (&device.serial, &device.account);
    match &report.outcome {
        Outcome::Created => println!("{serial}: created the account {account}"),
        Outcome::Updated => println!("{serial}: the account {account} existed and has this image's password"),
        Outcome::Already => println!("{serial}: done already, as {account}"),
        Outcome::Failed(reason) => eprintln!("{serial}: {reason}"),
        Outcome::NotTried => eprintln!("{serial}: not tried"),
    }
    if report.is_done() {
        println!("  {}", device.rootfs.join(DEVICE_CONF).display());
        if let Some(path) = &layout.pairing {
            let new = if report.has_new_label { ", new: print the label" } else { "" };
            println!("  {}{new}", device.rootfs.join(path.strip_prefix("/").unwrap_or(path)).display());
        }
    }
}

fn tell_many(reports: &[Report]) {
    let number = |is: fn(&Outcome) -> bool| reports.iter().filter(|report| is(&report.outcome)).count();
    let rows = [
        ("created", number(|outcome| *outcome == Outcome::Created)),
        ("updated", number(|outcome| *outcome == Outcome::Updated)),
        ("done already", number(|outcome| *outcome == Outcome::Already)),
        ("failed", number(|outcome| matches!(outcome, Outcome::Failed(_)))),
        ("not tried", number(|outcome| *outcome == Outcome::NotTried)),
        ("new labels", reports.iter().filter(|report| report.has_new_label).count()),
    ];
    for (title, number) in rows {
        println!("{title:<13}{number:>7}");
    }
    for report in reports {
        if let Outcome::Failed(reason) = &report.outcome {
            eprintln!("{}: {reason}", report.device.serial);
        }
    }
}

fn count(devices: usize) -> String {
    if devices == 1 { "1 device".into() } else { format!("{devices} devices") }
}
