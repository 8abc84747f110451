//! The node's role on the simulated link.

use std::collections::HashMap;
use std::fs;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at};
use tracing::{debug, trace, warn};

use super::client::Client;
use crate::daemon::{Handle, PRESENCE, Stopping};
use crate::link::clients::{self, Characteristic, Protocol};
use provisioning_core::endpoint::{Endpoint, SERVICE};
use provisioning_core::espressif;
use provisioning_core::gatt::packets::{BadLength, FromNode, FromPhone, Packets};
use provisioning_core::gatt::peripheral::{Inbox, Reads, check_subscribe, check_write};
use provisioning_core::gatt::{AttError, MTU_MAXIMUM, MTU_MINIMUM, read_size, value_size};
use provisioning_core::machine::Link;
use provisioning_core::secret::SecretBlob;
use provisioning_core::wire::framing::frames;

/// A phone that reads no packet for this long counts as disconnected (Bluetooth Core 5.4, Vol 3, Part F, 3.3.3).
const TRANSACTION_LIMIT: Duration = Duration::from_secs(30);

/// The pause after a failed accept, whose usual cause is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the system holds until they are accepted.
const BACKLOG: u32 = 16;

/// The properties of the simulated radio.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The ATT MTU of every link, bytes; brought into 23 to 517.
    pub mtu: u16,
    /// Simultaneous links; further phones find no advertisement.
    pub connections: usize,
    /// The characteristics of Espressif's apps exist, too.
    pub espressif: bool,
    /// The characteristics of Improv exist, too.
    pub improv: bool,
    /// The characteristics of nymea's services exist, too.
    pub nymea: bool,
}

impl Default for Config {
    /// The MTU that current phones negotiate with `BlueZ`, and more links than one radio holds.
    fn default() -> Self {
        Self { mtu: MTU_MAXIMUM, connections: 8, espressif: false, improv: false, nymea: false }
    }
}

/// Why the socket could not be opened.
#[derive(Debug, Error)]
pub enum Error {
    /// The path holds a file that is not a socket.
    #[error("`{}` exists and is not a socket", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Another process listens there.
    #[error("another process listens on `{}`", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("opening the socket `{}`", path.display())]
    Open {
        /// The path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A socket that phones of the same user can connect to; its file is removed on drop.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    /// Device and inode, so that only the file created here is removed.
    file: (u64, u64),
}

impl Listener {
    /// Listens at `path`, for the user alone (0600). The socket of a process that has ended is replaced; any other file at
    /// that path stays, and is an error.
    ///
    /// Must be called within a runtime.
    pub fn bind(path: &Path) -> Result<Self, Error> {
        let open = |source| Error::Open { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(Error::NotASocket { path: path.to_owned() }),
            Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(open)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(open(error)),
                Ok(_) => return Err(Error::InUse { path: path.to_owned() }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(open(error)),
        }
        let socket = UnixSocket::new_stream().map_err(open)?;
        socket.bind(path).map_err(open)?;
        // Connections are possible only after `listen`, so the mode is set before.
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(open)?;
        let file = fs::symlink_metadata(path).map_err(open)?;
        let socket = socket.listen(BACKLOG).map_err(open)?;
        Ok(Self { socket, path: path.to_owned(), file: (file.dev(), file.ino()) })
    }

    /// Where phones connect.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let own = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.file);
        if own && let Err(error) = fs::remove_file(&self.path) {
            warn!(path = %self.path.display(), %error, "removing the socket failed");
        }
    }
}

/// Serves phones until `shutdown` is ready; then ends every link and removes the socket's file.
pub async fn serve(listener: Listener, config: Config, handle: Handle, shutdown: impl Future<Output = ()>) {
    let mut shutdown = std::pin::pin!(shutdown);
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.socket.accept() => match accepted {
                Ok((stream, _)) => {
                    let vacant = connections.len() < config.connections;
                    let (handle, stopped) = (handle.clone(), stopped.clone());
                    if vacant {
                        connections.spawn(connection(stream, config, handle, stopped));
                    } else {
                        debug!("refusing a phone: all links are in use");
                        refuse(stream).await;
                    }
                }
                Err(error) => {
                    warn!(%error, "accepting a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(stop);
    while connections.join_next().await.is_some() {}
}

/// Answers that the node does not advertise. The buffer of a new stream has room for it, so this does not block.
async fn refuse(mut stream: UnixStream) {
    if let Err(error) = stream.write_all(&FromNode::NotAdvertising.encode()).await {
        trace!(%error, "refusing a phone");
    }
}

/// Why a link has ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the phone has disconnected")]
    Disconnected,
    #[error("the node has closed the link")]
    ByNode,
    #[error("the phone has stopped reading")]
    Stuck,
    #[error(transparent)]
    BadLength(#[from] BadLength),
    #[error(transparent)]
    Stopping(#[from] Stopping),
    #[error("reading or writing")]
    Io(#[from] io::Error),
}

async fn connection(stream: UnixStream, config: Config, handle: Handle, mut stopped: watch::Receiver<()>) {
    if !*handle.advertising().borrow() {
        return refuse(stream).await;
    }
    let mtu = config.mtu.clamp(MTU_MINIMUM, MTU_MAXIMUM);
    let mut connection = Connection {
        stream,
        mtu,
        handle: handle.clone(),
        packets: Packets::default(),
        opened: None,
        config,
        app: None,
        app_answers: HashMap::new(),
        improv: Client::new(Protocol::Improv),
        nymea: Client::new(Protocol::Nymea),
        reads: Reads::default(),
        inbox: Inbox::default(),
    };
    let ended = tokio::select! {
        Err(ended) = connection.run() => ended,
        // Nothing is sent: the sender is dropped when the server ends.
        _ = stopped.changed() => Ended::Stopping(Stopping),
    };
    debug!(reason = %ended, "link ended");
    let phones = connection.opened.into_iter().chain(connection.app).map(|(link, _)| link);
    for link in phones.chain(connection.improv.into_link()).chain(connection.nymea.into_link()) {
        if handle.closed(link).await.is_err() {
            debug!("the daemon ended before the link");
        }
    }
}

/// One phone.
struct Connection {
    stream: UnixStream,
    mtu: u16,
    handle: Handle,
    packets: Packets,
    /// The link to the daemon's loop: from the subscription on, because messages of the node could not be delivered before.
    opened: Option<(Link, mpsc::Receiver<Vec<u8>>)>,
    config: Config,
    /// The link of an app of Espressif's, from its first message on.
    app: Option<(Link, mpsc::Receiver<Vec<u8>>)>,
    /// The answers that it has not read, or read in parts.
    app_answers: HashMap<espressif::Endpoint, Vec<u8>>,
    improv: Client,
    nymea: Client,
    reads: Reads<()>,
    inbox: Inbox,
}

impl Connection {
    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        let name = self.handle.view().info.name.clone();
        self.send(&FromNode::Advertisement { name, service: SERVICE }).await?;
        self.send(&FromNode::Mtu(self.mtu)).await?;
        let mut bytes = [0; 1024];
        let mut presence = interval_at(Instant::now() + PRESENCE, PRESENCE);
        loop {
            while let Some(packet) = self.packets.take()? {
                self.answer(&packet).await?;
            }
            let outbound = received(&mut self.opened);
            tokio::select! {
                read = self.stream.read(&mut bytes) => match read? {
                    0 => return Err(Ended::Disconnected),
                    count => self.packets.push(&bytes[..count]),
                },
                message = outbound => self.notify(&message.ok_or(Ended::ByNode)?).await?,
                notice = self.improv.message() => self.tell(Protocol::Improv, &notice.ok_or(Ended::ByNode)?).await?,
                notice = self.nymea.message() => self.tell(Protocol::Nymea, &notice.ok_or(Ended::ByNode)?).await?,
                _ = presence.tick() => for (link, _) in self.opened.iter().chain(&self.app) {
                    self.handle.present(*link).await?;
                },
            }
        }
    }

    /// Handles one request. The next one is read after the loop has taken this one, so a phone that writes faster waits for
    /// its acknowledgements.
    async fn answer(&mut self, packet: &[u8]) -> Result<(), Ended> {
        match FromPhone::decode(packet) {
            Ok(FromPhone::Write { characteristic, value }) if self.app_endpoint(characteristic).is_some() => {
                let endpoint = self.app_endpoint(characteristic).expect("checked by the guard");
                let answer = self.app_written(endpoint, value).await?.map_or_else(FromNode::Error, |()| FromNode::Written);
                self.send(&answer).await
            }
            Ok(FromPhone::Write { characteristic, value }) if self.characteristic(characteristic).is_some() => {
                let Some(characteristic) = self.characteristic(characteristic).filter(|found| found.is_written()) else {
                    return self.send(&FromNode::Error(AttError::WriteNotPermitted)).await;
                };
                self.send(&FromNode::Written).await?;
                let (handle, room) = (self.handle.clone(), value_size(self.mtu));
                let link = self.client(characteristic.protocol()).link(&handle, room).await?;
                Ok(clients::written(&handle, link, characteristic, SecretBlob::new(value), room).await?)
            }
            Ok(FromPhone::Subscribe { characteristic }) if self.characteristic(characteristic).is_some() => {
                let Some(characteristic) = self.characteristic(characteristic).filter(|found| found.notifies()) else {
                    return self.send(&FromNode::Error(AttError::NotSupported)).await;
                };
                let (handle, room) = (self.handle.clone(), value_size(self.mtu));
                let client = self.client(characteristic.protocol());
                client.subscribe(characteristic);
                client.link(&handle, room).await?;
                self.send(&FromNode::Written).await
            }
            Ok(FromPhone::Read { characteristic, offset }) => {
                let answer = self.read(characteristic, offset.into()).map_or_else(FromNode::Error, FromNode::Value);
                self.send(&answer).await
            }
            Ok(FromPhone::Write { characteristic, value }) => match self.writable(characteristic, &value) {
                Ok((endpoint, link)) => {
                    self.send(&FromNode::Written).await?;
                    self.written(endpoint, link, &value).await
                }
                Err(error) => self.send(&FromNode::Error(error)).await,
            },
            Ok(FromPhone::WriteCommand { characteristic, value }) => match self.writable(characteristic, &value) {
                Ok((endpoint, link)) => self.written(endpoint, link, &value).await,
                Err(error) => {
                    debug!(%error, "ignoring a value");
                    Ok(())
                }
            },
            Ok(FromPhone::Subscribe { characteristic }) => match endpoint(characteristic).and_then(check_subscribe) {
                Ok(()) => {
                    if self.opened.is_none() {
                        self.opened = Some(self.handle.open().await?);
                    }
                    self.send(&FromNode::Written).await
                }
                Err(error) => self.send(&FromNode::Error(error)).await,
            },
            Err(error) => self.send(&FromNode::Error(error)).await,
        }
    }

    fn read(&mut self, characteristic: u128, offset: usize) -> Result<Vec<u8>, AttError> {
        if let Some(app) = self.app_endpoint(characteristic) {
            let answer = self.app_answers.get(&app).map(Vec::as_slice).unwrap_or_default();
            let rest = answer.get(offset..).ok_or(AttError::InvalidOffset)?;
            return Ok(rest[..rest.len().min(read_size(self.mtu))].to_vec());
        }
        if let Some(characteristic) = self.characteristic(characteristic) {
            let view = self.handle.view();
            let value = self.client(characteristic.protocol()).value(characteristic, &view).ok_or(AttError::ReadNotPermitted)?;
            let rest = value.get(offset..).ok_or(AttError::InvalidOffset)?;
            return Ok(rest[..rest.len().min(read_size(self.mtu))].to_vec());
        }
        let view = self.handle.view();
        let rest = self.reads.read((), endpoint(characteristic)?, offset, &view.info, &view.status)?;
        Ok(rest[..rest.len().min(read_size(self.mtu))].to_vec())
    }

    fn app_endpoint(&self, characteristic: u128) -> Option<espressif::Endpoint> {
        espressif::Endpoint::from_uuid(characteristic).filter(|_| self.config.espressif)
    }

    fn characteristic(&self, characteristic: u128) -> Option<Characteristic> {
        Characteristic::from_uuid(characteristic).filter(|found| match found.protocol() {
            Protocol::Improv => self.config.improv,
            Protocol::Nymea => self.config.nymea,
        })
    }

    const fn client(&mut self, protocol: Protocol) -> &mut Client {
        match protocol {
            Protocol::Improv => &mut self.improv,
            Protocol::Nymea => &mut self.nymea,
        }
    }

    /// Tells a client without a session what it has subscribed to.
    async fn tell(&mut self, protocol: Protocol, message: &[u8]) -> Result<(), Ended> {
        for notification in self.client(protocol).notifications(message) {
            self.send(&notification).await?;
        }
        Ok(())
    }

    /// A message of an app of Espressif's, in one value as after a long write. Its answer can be read when this returns.
    async fn app_written(&mut self, endpoint: espressif::Endpoint, message: Vec<u8>) -> Result<Result<(), AttError>, Ended> {
        if message.len() > endpoint.row().limit {
            return Ok(Err(AttError::InvalidLength));
        }
        if self.app.as_ref().is_none_or(|(_, answers)| answers.is_closed() && answers.is_empty()) {
            self.app = Some(self.handle.open().await?);
        }
        let Some((link, answers)) = &mut self.app else { return Ok(Err(AttError::InvalidPdu)) };
        self.handle.espressif(*link, endpoint, message).await?;
        // The machine answers every message within its limits.
        let answer = answers.recv().await.unwrap_or_default();
        let refused = answer.is_empty();
        self.app_answers.insert(endpoint, answer);
        Ok(if refused { Err(AttError::InvalidPdu) } else { Ok(()) })
    }

    fn writable(&self, characteristic: u128, value: &[u8]) -> Result<(Endpoint, Link), AttError> {
        let endpoint = endpoint(characteristic)?;
        check_write(endpoint, 0, value.len(), value_size(self.mtu))?;
        let (link, _) = self.opened.as_ref().ok_or(AttError::NotSubscribed)?;
        Ok((endpoint, *link))
    }

    async fn written(&mut self, endpoint: Endpoint, link: Link, value: &[u8]) -> Result<(), Ended> {
        match self.inbox.push(endpoint, value) {
            Ok(None) => {}
            Ok(Some(message)) => self.handle.received(link, endpoint, message).await?,
            Err(error) => {
                debug!(link = link.0, ?endpoint, %error, "invalid frame");
                self.handle.invalid_message(link, error.fault()).await?;
            }
        }
        Ok(())
    }

    async fn notify(&mut self, message: &[u8]) -> Result<(), Ended> {
        let characteristic = Endpoint::Status.row().uuid;
        for value in frames(message, value_size(self.mtu)) {
            self.send(&FromNode::Notification { characteristic, value }).await?;
        }
        Ok(())
    }

    async fn send(&mut self, packet: &FromNode) -> Result<(), Ended> {
        tokio::time::timeout(TRANSACTION_LIMIT, self.stream.write_all(&packet.encode())).await.map_err(|_| Ended::Stuck)??;
        Ok(())
    }
}

/// The next message to a link; never without one.
pub(super) async fn received(link: &mut Option<(Link, mpsc::Receiver<Vec<u8>>)>) -> Option<Vec<u8>> {
    match link {
        Some((_, outbound)) => outbound.recv().await,
        None => std::future::pending().await,
    }
}

fn endpoint(characteristic: u128) -> Result<Endpoint, AttError> {
    Endpoint::from_uuid(characteristic).ok_or(AttError::InvalidHandle)
}
