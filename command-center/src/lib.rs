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
//! Guarantees:
//!
//! - Every acknowledged change is on the disk and survives a power cut, except the heartbeats of the last seconds.
//! - A request whose answer was lost can be sent again and gets the same answer.
//! - A copy of the database reveals no token and no key: it has keyed hashes, and their key is stored elsewhere.

mod api;
mod base;
mod config;
mod domain;
mod server;
mod store;

pub use api::openapi;
pub use base::chain;
pub use base::clock::{Clock, Moment, parse_duration};
pub use base::qr::{qr_png, qr_text};
pub use base::secret::{Error as SecretError, SecretText, read_secret};
pub use config::{AddressError, BrokerAddress, Config, KeySource, MqttAccount, Patience, TlsFiles};
pub use domain::audit;
pub use domain::code::ProvisionCode;
pub use domain::fleet;
pub use domain::jwt::sign as sign_jwt;
pub use domain::opening::OpenError;
pub use domain::operator;
pub use domain::permissions;
pub use domain::sheet;
pub use server::tls::TlsError;
pub use server::{Server, StartError};
pub use store::{Database, DatabaseError};
