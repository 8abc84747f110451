//! The operator's command line.

mod device;
mod devices;
mod operators;
mod output;
mod qr;
mod serve;

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use command_center::audit::{Actor, AuditEntry};
use command_center::operator::{Acting, CODES_AT_ONCE, CodeState, NewCodes, Operator, OperatorError, Partner};
use command_center::{Config, Database, DatabaseError, OpenError, StartError, parse_duration};
use jarvis_program::Completions;
use serde_json::json;

use device::{Appliance, Node};
use operators::OperatorCommand;
use output::{Listing, Table};
pub(crate) use serve::LogFormat;
use serve::Serve;

const EXAMPLES: &str = "\
Examples:
  Try it on this machine; the port is printed on the first line:
    ADMIN_API_KEY=an-example-key jarvis-command-center serve --listen 127.0.0.1:0 --database sqlite:/tmp/center.db

  Authorize a node to register (the answer contains the token that the phone sends to the node):
    curl -H 'X-API-Key: an-example-key' -H 'Content-Type: application/json' \\
         -d '{\"household_id\": \"home\"}' http://127.0.0.1:7703/api/v0/provisioning/token

  Create ten codes for the appliances of a site, with QR codes to print, while a server uses the same database:
    jarvis-command-center --database sqlite:/tmp/center.db code create --site 'North Clinic' --count 10 --qr ./labels

  List them with their state:
    jarvis-command-center --database sqlite:/tmp/center.db code list

Exit codes:
  0  done
  1  failed, for the reason on standard error
  2  wrong arguments or configuration
  3  the database cannot be used
  4  the address cannot be listened on";

/// The server that Jarvis nodes register with, and the operator's tools for its database.
#[derive(Debug, Parser)]
#[command(name = "jarvis-command-center", version, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// `sqlite:PATH`, created if missing, or `postgres://USER@HOST/NAME`.
    #[arg(
        long,
        global = true,
        value_name = "DATABASE",
        env = "JARVIS_COMMAND_CENTER_DATABASE",
        hide_env_values = true,
        default_value = "sqlite:command-center.db"
    )]
    database: DatabaseArgument,
    /// The server's secret, created at the first start [default: the SQLite file's path with `.secret` added].
    #[arg(long, global = true, value_name = "FILE", env = "JARVIS_COMMAND_CENTER_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// A database address that is checked after the arguments are parsed, because the parser's errors would print its password.
#[derive(Clone, Debug)]
struct DatabaseArgument(Result<Database, DatabaseError>);

impl From<String> for DatabaseArgument {
    fn from(text: String) -> Self {
        Self(text.parse())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    ///
    /// The first line on standard output is a JSON object with the address, such as {"listening":"127.0.0.1:7703"}; the
    /// log goes to standard error.
    #[command(after_help = serve::ENVIRONMENT)]
    Serve(Box<Serve>),
    /// Manage provision codes, which installers enter on appliances.
    #[command(subcommand)]
    Code(Code),
    /// Manage partners, whose brands appliances show.
    #[command(subcommand)]
    Partner(PartnerCommand),
    /// Manage appliances: devices that have claimed a code.
    #[command(subcommand)]
    Appliance(Appliance),
    /// Manage nodes: devices that have registered.
    #[command(subcommand)]
    Node(Node),
    /// Manage operators, who sign in on the page with a name and a password.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Copy a SQLite database to a new file, also while servers use it. The secret file is not copied: store it elsewhere.
    Backup {
        /// The new file.
        file: PathBuf,
    },
    /// Print the OpenAPI document of the HTTP API.
    Openapi,
    /// Manage the signing keys of accounts' bearer tokens.
    #[command(subcommand)]
    Key(Key),
    /// List what operators have done, the newest first: who, when, and from where.
    Audit {
        /// At most this many actions.
        #[arg(long, value_name = "NUMBER", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        format: Format,
    },
    /// Write a completion script for a shell to standard output.
    Completions(Completions),
    /// Write the manual pages to a folder.
    #[command(hide = true)]
    Manual {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum Code {
    /// Create codes. They are shown once, because the database stores hashes only.
    Create(CreateCode),
    /// List codes, oldest first.
    List {
        /// Only codes in this state.
        #[arg(long, value_parser = parse_state, value_name = "pending|claimed|expired|revoked")]
        state: Option<CodeState>,
        #[command(flatten)]
        format: Format,
    },
    /// Revoke a code that has not been claimed.
    Revoke {
        /// The code or, better, its id from the list, which cannot be used to claim if this command line is seen;
        /// `-` reads it from standard input.
        code: String,
    },
}

#[derive(Debug, Args)]
struct CreateCode {
    /// The site whose appliances claim the codes; without it each code creates a site.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The partner whose brand the appliances show.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    partner: String,
    /// How long the codes are valid: a number with s, m, h, d or w.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_time)]
    expires_in: Duration,
    /// The number of codes.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Write each code as a QR code to DIR/ID.png, readable by the owner only.
    #[arg(long, value_name = "DIR")]
    qr: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum PartnerCommand {
    /// Add a partner.
    Add {
        /// Its name in commands: lower-case letters, digits and dashes.
        slug: String,
        /// Its display name [default: the slug].
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The colour of its brand.
        #[arg(long, value_name = "#RRGGBB", default_value = "#2563EB")]
        color: String,
        /// Where its logo is.
        #[arg(long, value_name = "https://…")]
        logo_url: Option<String>,
    },
    /// List partners.
    List {
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Create a new key. Issued tokens stay valid until they expire, after at most eight hours.
    Rotate {
        /// Invalidate issued tokens: use it after a key or the server's memory has leaked.
        #[arg(long)]
        at_once: bool,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Format {
    /// Print a JSON array for programs instead of a table for people.
    #[arg(long)]
    json: bool,
}

/// A failure that ends the program, with the code it ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    fn config(text: String) -> Self {
        Self { code: 2, text }
    }

    fn other(error: &dyn std::error::Error) -> Self {
        Self { code: 1, text: command_center::chain(error) }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = match error {
            StartError::Open(error) => return error.into(),
            StartError::Tls(_) => 2,
            StartError::Listen { .. } => 4,
        };
        Self { code, text: command_center::chain(&error) }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let code = match error {
            OpenError::Config(_) | OpenError::Secret(_) | OpenError::ForeignSecret => 2,
            OpenError::Database(_) => 3,
        };
        Self { code, text: command_center::chain(&error) }
    }
}

impl From<OperatorError> for Failure {
    fn from(error: OperatorError) -> Self {
        let code = match error {
            OperatorError::Database(_) => 3,
            OperatorError::Invalid(_) => 2,
            _ => 1,
        };
        Self { code, text: command_center::chain(&error) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::other(&error)
    }
}

impl Arguments {
    /// Runs the command.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let invalid = |error: DatabaseError| Failure::config(format!("invalid value for '--database <DATABASE>': {error}"));
        let mut config = Config::new(([127, 0, 0, 1], 0).into(), self.database.0.map_err(invalid)?);
        config.secret_file = self.secret_file;
        let command = match self.command {
            Command::Serve(serve) => return serve.run(config).await,
            Command::Openapi => {
                print!("{}", command_center::openapi());
                return Ok(());
            }
            Command::Completions(completions) => {
                completions.write::<Self>();
                return Ok(());
            }
            Command::Manual { folder } => return Ok(clap_mangen::generate_to(Self::command(), folder)?),
            command => command,
        };
        let operator = Operator::open(&config).await?;
        let outcome = operate(&operator, command).await;
        operator.close().await;
        outcome
    }

    /// How the log is to be written.
    pub(crate) fn log(&self) -> LogFormat {
        match &self.command {
            Command::Serve(serve) => serve.log(),
            // The operator reads what goes wrong on the same terminal as the answer.
            _ => LogFormat::Quiet,
        }
    }
}

async fn operate(operator: &Operator, command: Command) -> Result<(), Failure> {
    let acting = operator.acting(Actor::at_the_command_line());
    match command {
        // Done before a database is opened for the operator.
        Command::Serve(_) | Command::Openapi | Command::Completions(_) | Command::Manual { .. } => Ok(()),
        Command::Code(Code::Create(create)) => create_codes(&acting, create).await,
        Command::Code(Code::List { state, format }) => list_codes(operator, state, format).await,
        Command::Code(Code::Revoke { code }) => {
            let code = if code == "-" { standard_input()? } else { code };
            acting.revoke_code(&code).await?;
            Ok(())
        }
        Command::Partner(PartnerCommand::Add { slug, name, color, logo_url }) => {
            let brand_name = name.unwrap_or_else(|| slug.clone());
            acting.add_partner(Partner { slug, brand_name, primary_color: color, logo_url }).await?;
            Ok(())
        }
        Command::Partner(PartnerCommand::List { format }) => list_partners(operator, format).await,
        Command::Appliance(command) => command.run(operator, &acting).await,
        Command::Node(command) => command.run(operator, &acting).await,
        Command::Operator(command) => command.run(operator, &acting).await,
        Command::Backup { file } => {
            operator.backup(&file).await?;
            Ok(())
        }
        Command::Key(Key::Rotate { at_once }) => {
            println!("{}", acting.rotate_keys(at_once).await?);
            Ok(())
        }
        Command::Audit { limit, format } => list_actions(operator, limit, format).await,
    }
}

async fn list_actions(operator: &Operator, limit: usize, format: Format) -> Result<(), Failure> {
    let mut listing = Listing::new(format.json, Table::new(&["WHEN", "ACTION", "OF", "DETAIL", "BY", "FROM"]));
    let (mut left, mut before) = (limit, None);
    while left > 0 {
        let page = operator.audit(before, left).await?;
        for entry in &page {
            let AuditEntry { at, actor, place, action, subject, detail, .. } = entry;
            let row = [Some(at.as_str()), Some(action), Some(subject), detail.as_deref(), Some(actor), Some(place)];
            listing.row(&json!(entry), &row)?;
        }
        let Some(last) = page.last() else { break };
        (left, before) = (left - page.len(), Some(last.number));
    }
    Ok(listing.end()?)
}

async fn create_codes(acting: &Acting<'_>, create: CreateCode) -> Result<(), Failure> {
    let CreateCode { site, partner, expires_in, count, qr, format } = create;
    if let Some(folder) = &qr {
        // Found out before the codes are made, which could not be shown again.
        std::fs::create_dir_all(folder)?;
    }
    let count = count as usize;
    let show_progress = count > CODES_AT_ONCE && std::io::stderr().is_terminal();
    let progress = |verb: &str, done: usize| {
        if show_progress {
            let end = if done == count { "\n" } else { "" };
            // Progress that cannot be shown is no reason to stop.
            drop(write!(std::io::stderr(), "\r{verb} {done} of {count}{end}"));
        }
    };
    let wanted = NewCodes { site: site.clone(), partner: partner.clone(), expires_in, count };
    let codes = acting.create_codes(&wanted, |done| progress("made", done)).await?;
    let mut listing = Listing::new(format.json, Table::new(&["CODE", "ID", "SITE", "PARTNER", "EXPIRES"]));
    for (done, new) in codes.iter().enumerate() {
        let image = qr.as_ref().map(|folder| qr::write(folder, &new.id, &new.code.uri())).transpose()?;
        if image.is_some() && (done + 1) % CODES_AT_ONCE == 0 {
            progress("drew", done + 1);
        }
        let expires_at = new.expires_at.zoned();
        let grouped = new.code.grouped();
        let row = [Some(grouped.as_str()), Some(&new.id), site.as_deref(), Some(&partner), Some(&expires_at)];
        listing.row(
            &json!({
                "code": new.code.expose(),
                "id": new.id,
                "uri": new.code.uri(),
                "site": site,
                "partner": partner,
                "expires_at": expires_at,
                "qr": image.map(|path| path.display().to_string()),
            }),
            &row,
        )?;
    }
    listing.end()?;
    Ok(())
}

async fn list_codes(operator: &Operator, state: Option<CodeState>, format: Format) -> Result<(), Failure> {
    let columns = ["ID", "STATE", "SITE", "PARTNER", "EXPIRES", "APPLIANCE"];
    let mut listing = Listing::new(format.json, Table::new(&columns));
    let mut page = operator.codes(None).await?;
    while !page.is_empty() {
        for entry in page.iter().filter(|entry| state.is_none_or(|state| entry.state == state)) {
            let value = json!(entry);
            let word = value["state"].as_str();
            let (id, site, appliance) = (Some(entry.id.as_str()), entry.site.as_deref(), entry.appliance_id.as_deref());
            let row = [id, word, site, Some(&entry.partner), Some(&entry.expires_at), appliance];
            listing.row(&value, &row)?;
        }
        page = operator.codes(page.last()).await?;
    }
    listing.end()?;
    Ok(())
}

async fn list_partners(operator: &Operator, format: Format) -> Result<(), Failure> {
    let mut listing = Listing::new(format.json, Table::new(&["SLUG", "NAME", "COLOUR", "LOGO"]));
    for partner in operator.partners().await? {
        let Partner { slug, brand_name, primary_color, logo_url } = &partner;
        listing.row(&json!(partner), &[Some(slug), Some(brand_name), Some(primary_color), logo_url.as_deref()])?;
    }
    listing.end()?;
    Ok(())
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().take(1024).read_to_string(&mut text)?;
    Ok(text)
}

fn parse_state(text: &str) -> Result<CodeState, String> {
    serde_json::from_value(json!(text)).map_err(|_| "one of pending, claimed, expired, revoked".to_owned())
}

fn parse_time(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or("a number with s, m, h, d or w, at most ten years, such as `30d`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
