//! The listeners in the node's access point.
//!
//! An address says nothing about the network that a packet came from: Linux takes packets for any of its addresses on every
//! interface. A socket that is bound to the access point's interface gets what arrived there and nothing else, and for this
//! the kernel prefers it to the listener at all addresses.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jarvis_http::server::{self, BACKLOG, Plain};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Entrance, InAccessPoint, Inside, Link, Port, until};
use provisioning_core::domain::AccessPoint;

/// Pause until listening is tried again, such as at an interface that has disappeared.
const RETRY: Duration = Duration::from_secs(1);

/// Serves in the access point while it is open.
pub(super) struct Server {
    place: InAccessPoint,
    link: Arc<Link>,
    limits: server::Limits,
    /// The server in the access point that is open.
    serving: Option<Serving>,
    /// Listening failed, and the journal has the reason.
    is_failing: bool,
    /// Servers, also those that are completing their last answers.
    tasks: JoinSet<()>,
}

struct Serving {
    access_point: AccessPoint,
    /// Dropped to stop it.
    _open: watch::Sender<bool>,
}

impl Server {
    /// Listens at once if the access point is open.
    pub(super) fn new(place: InAccessPoint, link: Arc<Link>, limits: server::Limits) -> Self {
        let mut server = Self { place, link, limits, serving: None, is_failing: false, tasks: JoinSet::new() };
        server.follow();
        server
    }

    /// Follows the access point until `stopped` is true, then lets requests under way end.
    pub(super) async fn run(mut self, stopped: watch::Receiver<bool>) {
        tokio::select! {
            () = until(stopped) => {}
            () = self.follow_changes() => {}
        }
        self.serving = None;
        while self.tasks.join_next().await.is_some() {}
    }

    async fn follow_changes(&mut self) {
        loop {
            let is_missing = self.place.radio.borrow().access_point().is_some() && self.serving.is_none();
            let changed = self.place.radio.changed();
            let changed = if is_missing { timeout(RETRY, changed).await.unwrap_or(Ok(())) } else { changed.await };
            if changed.is_err() {
                // The use of the radio never changes.
                return std::future::pending().await;
            }
            while self.tasks.try_join_next().is_some() {}
            self.follow();
        }
    }

    fn follow(&mut self) {
        let wanted = self.place.radio.borrow_and_update().access_point().cloned();
        if self.serving.as_ref().map(|serving| &serving.access_point) == wanted.as_ref() {
            return;
        }
        self.serving = None;
        let Some(access_point) = wanted else { return };
        match self.listen(&access_point) {
            Ok(listeners) => {
                debug!(interface = access_point.interface, "listening in the access point");
                let (open, closed) = watch::channel(false);
                let (limits, link) = (self.limits, Arc::clone(&self.link));
                self.tasks.spawn(server::serve(listeners, Arc::new(Plain), limits, link, until(closed)));
                self.serving = Some(Serving { access_point, _open: open });
                self.is_failing = false;
            }
            Err(error) if self.is_failing => debug!(%error, "listening in the access point failed again"),
            Err(error) => {
                self.is_failing = true;
                let interface = access_point.interface;
                warn!(
                    %error,
                    interface,
                    "the JSON API refuses secrets, because the node cannot listen at the access point's interface; Linux \
                     before 5.7 requires CAP_NET_RAW for this"
                );
            }
        }
    }

    fn listen(&self, access_point: &AccessPoint) -> io::Result<Vec<server::Listener<Entrance>>> {
        let inside = Inside { access_point: access_point.clone(), apps: Arc::default() };
        let entrance = |port, socket| server::Listener { id: Entrance { port, inside: Some(inside.clone()) }, socket };
        let mut listeners = vec![entrance(Port::Api, bind(access_point, self.place.api)?)];
        if let Some(port) = self.place.captive {
            match bind(access_point, port) {
                Ok(socket) => listeners.push(entrance(Port::Captive { api: self.place.api }, socket)),
                Err(error) => {
                    warn!(%error, port, "phones may leave the access point, because captive-portal probes are not answered");
                }
            }
        }
        Ok(listeners)
    }
}

/// Listens at the access point's interface and address.
fn bind(access_point: &AccessPoint, port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind_device(Some(access_point.interface.as_bytes()))?;
    // NetworkManager assigns the address while the access point opens. A phone that returns at once must not reach the other
    // listener, because it would keep its connection there.
    rustix::net::sockopt::set_ip_freebind(&socket, true)?;
    socket.bind((access_point.address, port).into())?;
    socket.listen(BACKLOG)
}
