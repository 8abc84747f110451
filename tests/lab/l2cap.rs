//! The kernel's socket for the Attribute Protocol.
//!
//! No crate in use constructs an address of a Bluetooth socket without unsafe code, which this repository forbids. So `socat`
//! opens the socket. It relays packets to a Unix socket of the same type, which keeps their boundaries.

use std::io;
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{UnixDatagram, UnixListener};
use tokio::process::{Child, Command};

/// `AF_BLUETOOTH` of the kernel's `socket.h`.
const BLUETOOTH: u8 = 31;
/// `BTPROTO_L2CAP` of its `bluetooth.h`.
const L2CAP: u8 = 0;
/// `SOCK_SEQPACKET`.
const PACKETS: u8 = 5;

/// A connection to the Attribute Protocol's channel of a peer.
pub(crate) struct Channel {
    socket: UnixDatagram,
    /// Killed on drop, which closes the kernel's socket.
    _socat: Child,
}

impl Channel {
    /// Connects an adapter to a device, both given by their public address.
    pub(crate) async fn connect(adapter: &str, device: &str) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("packets");
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        bind(&listener, &SocketAddrUnix::new(&path)?)?;
        listen(&listener, 1)?;
        let listener = UnixListener::from_std(listener.into())?;
        let (adapter, device) = (address(adapter), address(device));
        // It connects to the second address after the first.
        let mut socat = Command::new("socat")
            .arg(format!("SOCKET-CONNECT:{BLUETOOTH}:{L2CAP}:{device},type={PACKETS},bind={adapter}"))
            .arg(format!("UNIX-CONNECT:{},type={PACKETS}", path.display()))
            .kill_on_drop(true)
            .spawn()?;
        let socket = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            ended = socat.wait() => return Err(io::Error::other(format!("socat ended with {}", ended?))),
        };
        let socket = UnixDatagram::from_std(OwnedFd::from(socket.into_std()?).into())?;
        Ok(Self { socket, _socat: socat })
    }

    pub(crate) async fn send(&self, packet: &[u8]) -> io::Result<usize> {
        self.socket.send(packet).await
    }

    /// Receives a packet; returns its length, 0 if the connection has ended.
    pub(crate) async fn recv(&self, packet: &mut [u8]) -> io::Result<usize> {
        self.socket.recv(packet).await
    }
}

/// A `sockaddr_l2` after its family, as `socat` reads it: no PSM, the address, the channel, LE with a public address.
fn address(text: &str) -> String {
    let address: String = text.split(':').rev().collect();
    format!("x0000{address}04000100")
}
