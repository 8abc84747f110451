//! The operator's command line.

mod code;
mod device;
mod devices;
mod operators;
mod output;
mod qr;
mod serve;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use command_center::audit::{Actor, AuditEntry};
use command_center::operator::{Operator, OperatorError, Partner};
use command_center::{Config, Database, DatabaseError, OpenError, StartError, parse_duration};
use jarvis_program::Completions;
use serde_json::json;

use code::Code;
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

  Create ten codes for the appliances of a site, with labels to print, while a server uses the same database:
    jarvis-command-center --database sqlite:/tmp/center.db code create --site 'North Clinic' --count 10 --pdf labels.pdf

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
        Command::Code(command) => command.run(operator, &acting).await,
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

async fn list_partners(operator: &Operator, format: Format) -> Result<(), Failure> {
    let mut listing = Listing::new(format.json, Table::new(&["SLUG", "NAME", "COLOUR", "LOGO"]));
    for partner in operator.partners().await? {
        let Partner { slug, brand_name, primary_color, logo_url } = &partner;
        listing.row(&json!(partner), &[Some(slug), Some(brand_name), Some(primary_color), logo_url.as_deref()])?;
    }
    listing.end()?;
    Ok(())
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
