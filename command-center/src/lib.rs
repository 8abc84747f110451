//! The command center: the server that nodes register with and report to.
//!
//! It is one program on one database. [`Server::start`] runs it inside another program, such as a test:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use command_center::{Config, Server};
//!
//! let server = Server::start(Config::new("127.0.0.1:0".parse()?, "sqlite:/tmp/center.db".parse()?)).await?;
//! println!("http://{}", server.address());
//! server.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What it promises:
//!
//! - What it has acknowledged is on the disk, and survives a power cut; of heartbeats the last seconds may be lost.
//! - A request whose answer was lost can be sent again, and is answered the same.
//! - Whoever copies the database learns no token and no key: it holds keyed hashes, and the key to them is elsewhere.

mod accounts;
mod api;
mod batch;
mod claims;
mod clock;
mod code;
mod config;
mod guesses;
mod heartbeats;
mod html;
mod jwt;
mod metrics;
pub mod operator;
mod patient;
mod qr;
mod refusal;
mod secret;
mod server;
mod store;
mod tls;

pub use api::openapi;
pub use clock::{Clock, Moment};
pub use code::ProvisionCode;
pub use config::{Config, MqttAccount, Patience};
pub use jwt::sign as sign_jwt;
pub use qr::qr_png;
pub use secret::{Error as SecretError, SecretText, read_secret};
pub use server::{Server, StartError};
pub use store::{Database, DatabaseError};
pub use tls::{TlsError, TlsFiles};

/// An error and its causes, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
