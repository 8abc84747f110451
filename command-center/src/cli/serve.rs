//! `serve`: arguments and environment → configuration → server.

use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use command_center::{BrokerAddress, Config, KeySource, MqttAccount, SecretText, Server, TlsFiles, read_secret};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

pub(super) const ENVIRONMENT: &str = "\
Environment:
  ADMIN_API_KEY                                the administrator's key, unless --admin-key-file is given
  JARVIS_JWT_SECRET                            the key of users' bearer tokens (HS256), unless --jwt-secret-file is given
  JARVIS_MQTT_USERNAME, JARVIS_MQTT_PASSWORD   the account at the message broker that is sent to nodes
  RUST_LOG                                     the log filter, such as `debug` or `command_center=debug` [default: info]

Secrets are not accepted on the command line, because every user of the machine can read it.";

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The address to listen on; port 0 chooses a free port.
    #[arg(long, value_name = "ADDRESS", env = "JARVIS_COMMAND_CENTER_LISTEN", default_value = "127.0.0.1:7703")]
    listen: SocketAddr,
    /// A file with the administrator's key.
    #[arg(long, value_name = "FILE")]
    admin_key_file: Option<PathBuf>,
    /// A file with the secret that users' bearer tokens are signed with.
    #[arg(long, value_name = "FILE")]
    jwt_secret_file: Option<PathBuf>,
    /// The public keys of the auth service, for users' bearer tokens that are signed with RS256: a JSON Web Key Set in a
    /// file, or at an https URL (http on this machine or a private network).
    #[arg(long, value_name = "FILE|URL", env = "JARVIS_JWKS")]
    jwks: Option<KeySource>,
    /// The message broker that notifies nodes of pending keys, requests and resets: `mqtt://HOST:PORT`, or `mqtts://…`.
    #[arg(long, value_name = "URL", env = "JARVIS_MQTT_BROKER")]
    mqtt_broker: Option<BrokerAddress>,
    /// The server's certificate chain in PEM; reloaded on SIGHUP.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// The URL of this server for clients, such as `https://center.example`; sent to claimed appliances
    /// [default: the host of their request].
    #[arg(long, value_name = "URL", env = "JARVIS_COMMAND_CENTER_PUBLIC_URL")]
    public_url: Option<String>,
    /// A further name under which clients reach this server; may be given several times. With a public URL, requests for
    /// other names are refused.
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,
    /// A proxy whose X-Forwarded-For is trusted; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    trusted_proxy: Vec<IpAddr>,
    /// The format of the log [default: human on a terminal, else json].
    #[arg(long, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text lines.
    Human,
    /// One JSON object per line.
    Json,
    /// Warnings and errors only, as text lines.
    Quiet,
}

impl Serve {
    pub(super) fn log(&self) -> LogFormat {
        let by_output = if std::io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json };
        self.log.unwrap_or(by_output)
    }

    pub(super) async fn run(self, mut config: Config) -> Result<(), Failure> {
        // Installed first: a request to reload that comes early does not end the program.
        let mut hang_up = signal(SignalKind::hangup())?;
        self.configure(&mut config)?;
        let server = Server::start(config).await?;
        // Until here these signals end the program at once, also while it reads a secret from a pipe that nobody writes to.
        // Installed before the address is printed, so that a parent process may send a signal as soon as it has read it.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut output = std::io::stdout().lock();
        writeln!(output, "{}", json!({ "listening": server.address().to_string() })).and_then(|()| output.flush())?;
        drop(output);
        tracing::info!(address = %server.address(), "listening");
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => match server.reload_certificate() {
                    Ok(()) => tracing::info!("reloaded the certificate"),
                    Err(error) => {
                        let error = command_center::chain(&error);
                        tracing::error!(error, "reloading the certificate failed; the current one stays in use");
                    }
                },
            }
        }
        tracing::info!("stopping");
        server.stop().await;
        Ok(())
    }

    fn configure(self, config: &mut Config) -> Result<(), Failure> {
        config.listen = self.listen;
        config.admin_key = secret(self.admin_key_file, "ADMIN_API_KEY")?;
        config.jwt_secret = secret(self.jwt_secret_file, "JARVIS_JWT_SECRET")?;
        config.user_keys = self.jwks;
        config.broker = self.mqtt_broker;
        config.tls = self.tls_certificate.zip(self.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
        config.public_url = self.public_url;
        config.host_names = self.host_name;
        config.trusted_proxies = self.trusted_proxy;
        let password = secret(None, "JARVIS_MQTT_PASSWORD")?;
        if let (Ok(username), Some(password)) = (std::env::var("JARVIS_MQTT_USERNAME"), password) {
            config.mqtt = Some(MqttAccount { username, password });
        }
        if config.admin_key.is_none() && config.jwt_secret.is_none() && config.user_keys.is_none() {
            tracing::warn!("no administrator key, JWT secret or JWKS is set: no client can authorize a registration");
        }
        Ok(())
    }
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
