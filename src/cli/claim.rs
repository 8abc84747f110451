//! `jarvis-provision claim`: interactive on a screen, or unattended.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::claim::{self, Appliance, CONFIG, Claimant, DEFAULT_ENDPOINT, Device, Error, MacAddress, Request};
use jarvis_provisioning::store::{self, CLAIM_FOLDER};
use provisioning_core::domain::{CommandCenterUrl, ProvisionCode};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::{Failure, Settings, paths, variable};

/// How many codes an installer may enter.
const TRIES: u32 = 3;

/// Longest line or file that is searched for a code, bytes.
const PAGE: usize = 4096;

/// The variable with the code for unattended claims.
const VARIABLE: &str = "JARVIS_PROVISION_CODE";

/// The line above and below each heading.
const RULE: &str = "============================================================";

#[derive(clap::Args)]
#[command(after_long_help = "\
Without --code-file, --qr and --code, the code is read from JARVIS_PROVISION_CODE; if that is unset, the program prompts for it.
A claim that failed or was interrupted can be repeated with the same code.")]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Read the code from this file; `-` is standard input.
    #[arg(long, value_name = "FILE", group = "source")]
    code_file: Option<PathBuf>,

    /// Read the code from a QR code in a PNG image.
    #[arg(long, value_name = "FILE.png", group = "source")]
    qr: Option<PathBuf>,

    /// The code. Every user of this machine can see it while the program runs: prefer --code-file.
    #[arg(long, value_name = "CODE", group = "source")]
    code: Option<String>,

    /// Only check whether a code must be claimed: exit status 0 if not, 1 if so.
    #[arg(long, group = "source")]
    check: bool,

    /// The command center that issued the code.
    #[arg(long, value_name = "URL", default_value = DEFAULT_ENDPOINT)]
    api_endpoint: String,

    /// The folder of config.yaml.
    #[arg(long, value_name = "DIR", env = "JARVIS_CLAIM_DIRECTORY", default_value = CLAIM_FOLDER)]
    state_dir: PathBuf,

    /// The hardware address by which the server identifies this node. Default: that of a network interface.
    #[arg(long, value_name = "ADDRESS")]
    mac: Option<String>,

    /// Claim a code even if config.yaml exists, and replace the file.
    #[arg(long)]
    again: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let needed = claim::needs_provisioning(&arguments.state_dir).map_err(store::Error::from)?;
    if arguments.check {
        say(format_args!("{}", if needed { "Provisioning required" } else { "Already provisioned" }))?;
        return if needed { Err(Failure::Reported(1)) } else { Ok(()) };
    }
    if !needed && !arguments.again {
        say(format_args!("Already provisioned"))?;
        eprintln!("{} exists. Use --again to claim another code.", arguments.state_dir.join(CONFIG).display());
        return Ok(());
    }
    let session = Session::open(arguments)?;
    match given(arguments)? {
        Some(code) => session.unattended(&code),
        None => session.screen(),
    }
}

/// The code from the arguments or the environment, if any: parsed, or the reason why it is invalid.
fn given(arguments: &Arguments) -> Result<Option<Result<ProvisionCode, String>>, Failure> {
    let parse = |text: &str| ProvisionCode::try_from(text).map_err(|error| error.to_string());
    if let Some(path) = &arguments.code_file {
        return Ok(Some(parse(&read_code(path)?)));
    }
    if let Some(path) = &arguments.qr {
        let reading = || format!("reading {}", path.display());
        let picture = File::open(path).map_err(|source| Failure::Resource { attempt: reading(), source })?;
        return Ok(Some(Ok(claim::read_qr(picture).with_context(reading)?)));
    }
    if let Some(code) = &arguments.code {
        tracing::warn!("every user of this machine can see the value of --code: use --code-file, --qr or {VARIABLE}");
        return Ok(Some(parse(code)));
    }
    Ok(variable(VARIABLE).filter(|code| !code.is_empty()).map(|code| parse(&Zeroizing::new(code))))
}

fn read_code(path: &Path) -> Result<Zeroizing<String>, Failure> {
    // One allocation, so that no copy of the secret remains in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(2 * PAGE));
    let read = if path == Path::new("-") {
        io::stdin().lock().take(PAGE as u64).read_to_string(&mut text)
    } else {
        File::open(path).and_then(|file| {
            let found = file.metadata()?;
            if found.is_file() && found.permissions().mode() & 0o077 != 0 {
                tracing::warn!(file = %path.display(), "other users can read the file with the code: run `chmod 600` on it");
            }
            file.take(PAGE as u64).read_to_string(&mut text)
        })
    };
    match read {
        Ok(_) => Ok(text),
        // A code is UTF-8 text.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Zeroizing::default()),
        Err(source) => Err(Failure::Resource { attempt: format!("reading {}", path.display()), source }),
    }
}

/// Everything that a claim needs except the code.
struct Session {
    claimant: Claimant,
    runtime: Runtime,
    device: Device,
    endpoint: CommandCenterUrl,
    folder: PathBuf,
    again: bool,
}

impl Session {
    fn open(arguments: &Arguments) -> Result<Self, Failure> {
        let config = arguments.settings.read()?;
        let endpoint = CommandCenterUrl::try_from(arguments.api_endpoint.as_str()).map_err(|_| {
            Failure::Usage("--api-endpoint must be an http or https URL of a host, without user, query and fragment".into())
        })?;
        let paths = paths(&config);
        let mut device = Device::this(&store::mac_address(&paths), &paths.machine_id);
        if let Some(address) = &arguments.mac {
            device.mac_address =
                MacAddress::try_from(address.as_str()).map_err(|error| Failure::Usage(format!("--mac: {error}")))?;
        }
        // The caller controls this machine, so an address on it is intended.
        let policy = if config.command_center.strict {
            AddressPolicy::STRICT
        } else {
            AddressPolicy { loopback: true, ..AddressPolicy::DEVICE }
        };
        let trust = config.command_center.certificates.map_or(Trust::System, Trust::SystemAnd);
        // The agent may run in another working directory.
        let folder = std::path::absolute(&arguments.state_dir).context("finding the folder of --state-dir")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
        Ok(Self {
            claimant: Claimant::new(Client::new(policy, trust)),
            runtime,
            device,
            endpoint,
            folder,
            again: arguments.again,
        })
    }

    fn claim(&self, code: ProvisionCode) -> Result<Appliance, Error> {
        let request = Request {
            code,
            device: self.device.clone(),
            endpoint: self.endpoint.clone(),
            folder: self.folder.clone(),
            again: self.again,
            clock,
        };
        self.runtime.block_on(self.claimant.provision(&request))
    }

    fn unattended(&self, code: &Result<ProvisionCode, String>) -> Result<(), Failure> {
        let failed = |reason: &dyn std::fmt::Display, status| {
            say(format_args!("Provisioning failed: {reason}"))?;
            Err(Failure::Reported(status))
        };
        let code = match code {
            Ok(code) => code,
            Err(reason) => return failed(reason, 1),
        };
        match self.claim(code.clone()) {
            // The output of a service is its journal: even a part of a code appears there only when nobody else can claim it.
            Ok(appliance) => {
                say(format_args!("Auto-provisioning with code: {}", code.masked()))?;
                say(format_args!("Provisioning complete. Config: {}", appliance.config.display()))
            }
            Err(Error::AlreadyProvisioned) => say(format_args!("{}", Error::AlreadyProvisioned)),
            Err(error) => failed(&in_full(&error), status(&error)),
        }
    }

    fn screen(&self) -> Result<(), Failure> {
        say(format_args!("{RULE}\n  OsirisCare Appliance Provisioning\n{RULE}\n"))?;
        say(format_args!("MAC Address: {}\nHostname:    {}\n", self.device.mac_address, plain(&self.device.hostname)))?;
        say(format_args!("Enter your provision code (from partner dashboard):\nFormat: XXXXXXXXXXXXXXXX (16 characters)\n"))?;
        for left in (0..TRIES).rev() {
            let Some(line) = ask("Provision Code: ")? else {
                say(format_args!("\nProvisioning failed: no code was entered"))?;
                return Err(Failure::Reported(1));
            };
            let error = match ProvisionCode::try_from(line.as_str()) {
                Err(_) if line.trim().is_empty() => "No code was entered.".into(),
                Err(error) => error.to_string(),
                Ok(code) => {
                    say(format_args!("\nProvisioning..."))?;
                    match self.claim(code) {
                        Ok(appliance) => return complete(&appliance),
                        Err(error) if status(&error) == 1 => error.to_string(),
                        Err(error) => {
                            say(format_args!("\nProvisioning failed: {}", in_full(&error)))?;
                            return Err(Failure::Reported(status(&error)));
                        }
                    }
                }
            };
            let tries = match left {
                0 => "That was the last try.".into(),
                1 => "One more try.".into(),
                left => format!("{left} more tries."),
            };
            say(format_args!("\nProvisioning failed: {error}\n{tries}\n"))?;
        }
        Err(Failure::Reported(1))
    }
}

fn complete(appliance: &Appliance) -> Result<(), Failure> {
    let Appliance { site_id, brand_name, config, .. } = appliance;
    say(format_args!("\n{RULE}\n  Provisioning Complete!\n{RULE}\n"))?;
    say(format_args!(
        "Site ID:     {}\nPartner:     {}\nConfig:      {}\n",
        plain(site_id),
        plain(brand_name),
        config.display()
    ))?;
    say(format_args!("The agent will now restart in normal operation mode."))
}

#[expect(clippy::disallowed_methods, reason = "the core takes the time as an argument; it is read here")]
pub(super) fn clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

/// Unwritable files have their own exit status, because another code does not help.
const fn status(error: &Error) -> u8 {
    match error {
        Error::Files(_) => 4,
        _ => 1,
    }
}

fn in_full(error: &Error) -> String {
    match error {
        Error::Files(error) => provisioning_core::fault::chain(error),
        error => error.to_string(),
    }
}

/// Prompts for a line; none at the end of the input.
fn ask(question: &str) -> Result<Option<Zeroizing<String>>, Failure> {
    let mut out = io::stdout().lock();
    out.write_all(question.as_bytes()).and_then(|()| out.flush()).context("writing to the terminal")?;
    let mut line = Zeroizing::new(Vec::with_capacity(PAGE));
    let read = io::stdin().lock().take(PAGE as u64).read_until(b'\n', &mut line).context("reading from the terminal")?;
    Ok((read > 0).then(|| Zeroizing::new(String::from_utf8_lossy(&line).into_owned())))
}

fn say(line: std::fmt::Arguments<'_>) -> Result<(), Failure> {
    Ok(writeln!(io::stdout(), "{line}").context("writing to the terminal")?)
}

/// Text from the server without control characters.
fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
