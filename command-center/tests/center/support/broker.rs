//! A message broker that accepts everything and shows what was published.

use std::time::Duration;

use command_center::BrokerAddress;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Limit of a wait; reached only by a failing test.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Broker {
    address: BrokerAddress,
    published: mpsc::UnboundedReceiver<(String, Value)>,
    serving: JoinHandle<()>,
}

impl Broker {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (publish, published) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let message = serve(stream).await;
                if publish.send(message).is_err() {
                    break;
                }
            }
        });
        Self { address: format!("mqtt://127.0.0.1:{port}").parse().unwrap(), published, serving }
    }

    pub(crate) fn address(&self) -> BrokerAddress {
        self.address.clone()
    }

    /// The topic and the content of the next message.
    pub(crate) async fn next(&mut self) -> (String, Value) {
        tokio::time::timeout(PATIENCE, self.published.recv()).await.expect("a message in time").expect("a running broker")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One connection with one message.
async fn serve(mut stream: TcpStream) -> (String, Value) {
    let (kind, connect) = packet(&mut stream).await;
    assert_eq!((kind, &connect[..7]), (0x10, &b"\0\x04MQTT\x04"[..]));
    stream.write_all(&[0x20, 2, 0, 0]).await.unwrap();
    let (kind, content) = packet(&mut stream).await;
    assert_eq!(kind, 0x32, "to be acknowledged, and not to be retained");
    let length = usize::from(u16::from_be_bytes([content[0], content[1]]));
    let (topic, rest) = content[2..].split_at(length);
    stream.write_all(&[0x40, 2, rest[0], rest[1]]).await.unwrap();
    let (kind, _) = packet(&mut stream).await;
    assert_eq!(kind, 0xe0, "a client that has finished says so");
    (String::from_utf8(topic.to_vec()).unwrap(), serde_json::from_slice(&rest[2..]).unwrap())
}

async fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let kind = stream.read_u8().await.unwrap();
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let byte = stream.read_u8().await.unwrap();
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).await.unwrap();
    (kind, content)
}
