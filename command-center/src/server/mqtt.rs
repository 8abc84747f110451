//! Publishes notices for nodes: as much of MQTT 3.1.1 as one message needs.
//!
//! Each message has a connection of its own, and is acknowledged by the broker (`QoS` 1): notices are rare, and a connection that
//! is kept would have to be watched.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jarvis_http::client::Trust;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::config::{BrokerAddress, MqttAccount};
use crate::domain::notices;

/// For the whole exchange: the user's request waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// After how many seconds of silence the broker may close the connection: more than [`LIMIT`].
const KEEP_ALIVE: u16 = 10;

/// The identifier of the only message of a connection.
const MESSAGE: [u8; 2] = [0, 1];

/// A message broker.
#[derive(Debug)]
pub(super) struct Broker {
    address: BrokerAddress,
    account: Option<MqttAccount>,
}

impl Broker {
    pub(super) const fn new(address: BrokerAddress, account: Option<MqttAccount>) -> Self {
        Self { address, account }
    }

    async fn try_publish(&self, topic: &str, payload: &str) -> Result<(), Error> {
        let BrokerAddress { host, port, tls } = &self.address;
        let stream = TcpStream::connect((host.as_str(), *port)).await?;
        if !tls {
            return self.exchange(stream, topic, payload).await;
        }
        let roots = tokio::task::spawn_blocking(|| Trust::System.authorities()).await.map_err(Error::other)?;
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::other)?
            .with_root_certificates(roots.map_err(Error::other)?)
            .with_no_client_auth();
        let name = ServerName::try_from(host.clone()).map_err(Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        self.exchange(stream, topic, payload).await
    }

    async fn exchange(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin, topic: &str, payload: &str) -> Result<(), Error> {
        stream.write_all(&self.connect()?).await?;
        // MQTT 3.1.1 §3.2: the second byte of the answer's content is the return code.
        let mut accepted = [0; 4];
        stream.read_exact(&mut accepted).await?;
        match accepted {
            [0x20, 2, _, 0] => {}
            [0x20, 2, _, 4 | 5] => return Err(Error::new(ErrorKind::PermissionDenied, "the broker refuses the account")),
            _ => return Err(Error::new(ErrorKind::InvalidData, "the broker refuses the connection")),
        }
        stream.write_all(&publication(topic, payload)?).await?;
        let mut acknowledged = [0; 4];
        stream.read_exact(&mut acknowledged).await?;
        if acknowledged != [0x40, 2, MESSAGE[0], MESSAGE[1]] {
            return Err(Error::new(ErrorKind::InvalidData, "the broker does not acknowledge the message"));
        }
        // §3.14: DISCONNECT. The message is safe, so it does not matter whether this arrives.
        drop(stream.write_all(&[0xe0, 0]).await);
        drop(stream.shutdown().await);
        Ok(())
    }

    /// §3.1: a clean session without a will.
    fn connect(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut flags = 0b10;
        let mut content = Zeroizing::new(Vec::with_capacity(256));
        write_text(&mut content, "MQTT")?;
        content.push(4);
        if self.account.is_some() {
            flags |= 0b1100_0000;
        }
        content.push(flags);
        content.extend(KEEP_ALIVE.to_be_bytes());
        write_text(&mut content, &format!("command-center-{}", Uuid::new_v4().simple()))?;
        if let Some(MqttAccount { username, password }) = &self.account {
            write_text(&mut content, username)?;
            write_text(&mut content, password.expose())?;
        }
        packet(0x10, &content)
    }
}

impl notices::Broker for Broker {
    fn publish(&self, topic: String, payload: String) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            let publishing = tokio::time::timeout(LIMIT, self.try_publish(&topic, &payload));
            let published = publishing.await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
            if let Err(error) = &published {
                tracing::warn!(topic, error = %crate::base::chain(error), "publishing a notice failed");
            }
            published.is_ok()
        })
    }
}

/// §3.3: a message that the broker acknowledges and does not retain.
fn publication(topic: &str, payload: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut content = Vec::new();
    write_text(&mut content, topic)?;
    content.extend(MESSAGE);
    content.extend(payload.as_bytes());
    packet(0x32, &content)
}

/// §1.5.3: a text with its length before it.
fn write_text(content: &mut Vec<u8>, text: &str) -> Result<(), Error> {
    let length = u16::try_from(text.len()).map_err(|_| too_long())?;
    content.extend(length.to_be_bytes());
    content.extend(text.as_bytes());
    Ok(())
}

/// §2.2: the length of the content in groups of seven bits, of which two are enough here.
fn packet(kind: u8, content: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let length = u16::try_from(content.len()).ok().filter(|length| *length < 1 << 14).ok_or_else(too_long)?;
    let mut packet = Zeroizing::new(Vec::with_capacity(3 + content.len()));
    packet.push(kind);
    let [high, low] = (length << 1).to_be_bytes();
    match high {
        0 => packet.push(low >> 1),
        high => packet.extend([0x80 | low >> 1, high]),
    }
    packet.extend(content);
    Ok(packet)
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidInput, "the message is too long")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_packet_has_one_or_two_bytes() {
        let head = |length: usize| packet(0x32, &vec![7; length]).map(|packet| packet[1..packet.len() - length].to_vec());
        assert_eq!(head(0).unwrap(), [0]);
        assert_eq!(head(127).unwrap(), [127]);
        // §2.2.3, table 2.4.
        assert_eq!(head(128).unwrap(), [0x80, 0x01]);
        assert_eq!(head(16_383).unwrap(), [0xff, 0x7f]);
        assert!(head(16_384).is_err());
    }

    #[test]
    fn debug_shows_no_password() {
        let account = MqttAccount { username: "node".into(), password: crate::base::secret::SecretText::new("hunter2".into()) };
        let broker = Broker::new("mqtt://127.0.0.1".parse().unwrap(), Some(account));
        assert!(!format!("{broker:?}").contains("hunter2"));
    }
}
