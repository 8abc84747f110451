//! `jarvis-command-center`: arguments and environment → configuration → [`Server`]; exit codes.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use command_center::{Config, Database, MqttAccount, SecretText, Server, StartError, read_secret};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  Try it on this machine; the port is printed on the first line:
    ADMIN_API_KEY=try-me jarvis-command-center serve --listen 127.0.0.1:0 --database sqlite:/tmp/center.db

  Let a node in (the answer has the token that the phone gives to the node):
    curl -H 'X-API-Key: try-me' -H 'Content-Type: application/json' \\
         -d '{\"household_id\": \"home\"}' http://127.0.0.1:7703/api/v0/provisioning/token

Exit codes:
  0  done
  1  failed for a reason that is not listed here
  2  wrong arguments or configuration
  3  the database cannot be used
  4  the address cannot be listened on";

/// The server that Jarvis nodes register with.
#[derive(Debug, Parser)]
#[command(name = "jarvis-command-center", version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    ///
    /// The first line on standard output is a JSON object with the address, such as {"listening":"127.0.0.1:7703"}; the
    /// log goes to standard error.
    #[command(after_help = SERVE_HELP)]
    Serve(Box<Serve>),
}

const SERVE_HELP: &str = "\
Environment:
  ADMIN_API_KEY                                the administrator's key, if there is no --admin-key-file
  JARVIS_JWT_SECRET                            what users' bearer tokens are signed with (HS256), if there is no --jwt-secret-file
  JARVIS_MQTT_USERNAME, JARVIS_MQTT_PASSWORD   the account at the message broker that nodes are told
  RUST_LOG                                     what is logged, such as `debug` or `command_center=debug` [default: info]

Secrets are never taken from the command line, where every user of the machine can read them.";

#[derive(Debug, Args)]
struct Serve {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", env = "JARVIS_COMMAND_CENTER_LISTEN", default_value = "127.0.0.1:7703")]
    listen: SocketAddr,
    /// `sqlite:PATH`, made if it is not there, or `postgres://USER@HOST/NAME`.
    #[arg(
        long,
        value_name = "DATABASE",
        env = "JARVIS_COMMAND_CENTER_DATABASE",
        hide_env_values = true,
        default_value = "sqlite:command-center.db"
    )]
    database: Database,
    /// The server's own secret, made at the first start [default: beside the SQLite file, with `.secret` added].
    #[arg(long, value_name = "FILE", env = "JARVIS_COMMAND_CENTER_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// A file with the administrator's key.
    #[arg(long, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// A file with the secret that users' bearer tokens are signed with.
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<PathBuf>,
    /// How the log is written [default: human on a terminal, else json].
    #[arg(long, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Human,
    Json,
}

/// A failure that ends the program, with the code it ends with.
struct Failure {
    code: u8,
    text: String,
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
            StartError::Config(_) | StartError::Secret(_) | StartError::ForeignSecret => 2,
            StartError::Database(_) => 3,
            StartError::Listen { .. } => 4,
        };
        Self { code, text: command_center::chain(&error) }
    }
}

fn main() -> ExitCode {
    let Command::Serve(arguments) = Arguments::parse().command;
    start_log(arguments.log);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(Failure::other(&error))),
    };
    end(runtime.block_on(serve(*arguments)))
}

fn end(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            tracing::error!("{text}");
            ExitCode::from(code)
        }
    }
}

fn start_log(format: Option<LogFormat>) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    match format.unwrap_or(if terminal { LogFormat::Human } else { LogFormat::Json }) {
        LogFormat::Human => log.with_ansi(terminal).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

async fn serve(arguments: Serve) -> Result<(), Failure> {
    // Taken over before the address is announced, so that whoever reads it may send a signal at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| Failure::other(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| Failure::other(&error))?;
    let server = Server::start(configure(arguments)?).await?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", json!({ "listening": server.address().to_string() }))
        .and_then(|()| output.flush())
        .map_err(|error| Failure::other(&error))?;
    drop(output);
    tracing::info!(address = %server.address(), "listening");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    server.stop().await;
    Ok(())
}

fn configure(arguments: Serve) -> Result<Config, Failure> {
    let mut config = Config::new(arguments.listen, arguments.database);
    config.secret_file = arguments.secret_file;
    config.admin_key = secret(arguments.admin_key_file, "ADMIN_API_KEY")?;
    config.jwt_secret = secret(arguments.jwt_secret_file, "JARVIS_JWT_SECRET")?;
    let password = secret(None, "JARVIS_MQTT_PASSWORD")?;
    if let (Ok(username), Some(password)) = (std::env::var("JARVIS_MQTT_USERNAME"), password) {
        config.mqtt = Some(MqttAccount { username, password });
    }
    if config.admin_key.is_none() && config.jwt_secret.is_none() {
        tracing::warn!("neither an administrator's key nor a JWT secret is set: nobody can let a node in");
    }
    Ok(config)
}

/// A secret from a file, or from the environment.
fn secret(file: Option<PathBuf>, variable: &str) -> Result<Option<SecretText>, Failure> {
    match file {
        Some(path) => read_secret(&path).map(Some).map_err(|error| Failure::config(command_center::chain(&error))),
        None => match std::env::var(variable) {
            Ok(text) if !text.trim().is_empty() => Ok(Some(SecretText::new(text.trim().to_owned()))),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(Failure::config(format!("{variable} is not UTF-8"))),
        },
    }
}
