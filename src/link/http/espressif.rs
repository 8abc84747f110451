//! The transport of Espressif's apps in the access point: a message is posted to the path of its endpoint, and its answer is the
//! body of the response. A cookie, `session=N`, names the app's link.
//!
//! The messages of the session are sealed, and those before are a handshake that needs no secrecy, so an access point without
//! encryption serves them, too. They are served in the access point alone, where these apps look for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, COOKIE, HeaderValue, SET_COOKIE};
use hyper::{HeaderMap, Response, StatusCode};
use jarvis_http::server::Wait;
use jarvis_http::server::admission::{Admission, Bounds, Slot, admit};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

use super::Reply;
use super::sealed::Caller;
use crate::daemon::Handle;
use provisioning_core::espressif::{Endpoint, version};
use provisioning_core::machine::Link;
use provisioning_core::wire::espressif::Handshake;

/// Links at one time. One app has the session; the others are told that it is taken.
const LINKS: Bounds = Bounds { all: 4, per_peer: 2 };
/// Longer than the machine lets an app wait for anything.
const ANSWER: Duration = Duration::from_secs(25);

/// The links of Espressif's apps.
pub(super) struct Apps {
    handle: Handle,
    idle: Duration,
    table: Mutex<Vec<Arc<App>>>,
}

struct App {
    /// The number in the cookie.
    name: u32,
    link: Link,
    peer: jarvis_http::server::admission::Peer,
    /// One message at a time: each has one answer.
    answers: tokio::sync::Mutex<Receiver<Vec<u8>>>,
    last_request: Mutex<Instant>,
}

impl Apps {
    pub(super) const fn new(handle: Handle, idle: Duration) -> Self {
        Self { handle, idle, table: Mutex::new(Vec::new()) }
    }

    /// Answers a message. An empty answer of the machine, and every failure, is a response of status 500, as of Espressif's
    /// devices.
    pub(super) async fn answer(&self, endpoint: Endpoint, caller: &Caller<'_>, message: &[u8]) -> Reply {
        if endpoint == Endpoint::Version {
            return reply(version(&self.handle.view().info.firmware_version).into_bytes());
        }
        let is_hello = endpoint == Endpoint::Session && matches!(Handshake::decode(message), Ok(Handshake::Hello { .. }));
        let app = match self.find(caller) {
            Some(app) => app,
            // Only a hello can be the first message of a link.
            None if is_hello => match self.connect(caller).await {
                Some(app) => app,
                None => return failure(StatusCode::SERVICE_UNAVAILABLE),
            },
            None => return failure(StatusCode::INTERNAL_SERVER_ERROR),
        };
        let mut reply = self.exchange(&app, endpoint, message, caller.wait).await;
        if endpoint == Endpoint::Session {
            let cookie = HeaderValue::try_from(format!("session={}", app.name)).expect("digits");
            reply.headers_mut().insert(SET_COOKIE, cookie);
        }
        reply
    }

    async fn exchange(&self, app: &App, endpoint: Endpoint, message: &[u8], wait: Option<&Wait>) -> Reply {
        let Ok(mut answers) = timeout(ANSWER, app.answers.lock()).await else {
            return failure(StatusCode::SERVICE_UNAVAILABLE);
        };
        *app.last_request.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        let waiting = wait.map(Wait::begin);
        let answer = async {
            self.handle.espressif(app.link, endpoint, message.to_vec()).await.ok()?;
            answers.recv().await
        };
        let answer = timeout(ANSWER, answer).await;
        drop(waiting);
        match answer {
            Ok(Some(answer)) if answer.is_empty() => failure(StatusCode::INTERNAL_SERVER_ERROR),
            Ok(Some(answer)) => reply(answer),
            // A late answer would be taken for that of the next message.
            Ok(None) | Err(_) => {
                self.table().retain(|known| known.link != app.link);
                self.hang_up(app.link).await;
                failure(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }

    /// The link that the cookie names, for the peer that has opened it.
    fn find(&self, caller: &Caller<'_>) -> Option<Arc<App>> {
        let name = cookie(caller.headers)?;
        let mut table = self.table();
        // The node has closed the links of apps that were silent for too long.
        table.retain(|app| app.answers.try_lock().map_or(true, |answers| !answers.is_closed() || !answers.is_empty()));
        table.iter().find(|app| app.name == name && app.peer == caller.peer).cloned()
    }

    async fn connect(&self, caller: &Caller<'_>) -> Option<Arc<App>> {
        let (link, answers) = self.handle.open().await.ok()?;
        let now = Instant::now();
        let app = Arc::new(App { name: number(), link, peer: caller.peer, answers: answers.into(), last_request: now.into() });
        let mut ended = Vec::new();
        {
            let mut table = self.table();
            table.retain(|app| {
                let is_idle = now.saturating_duration_since(app.last_request()) >= self.idle;
                ended.extend(is_idle.then_some(app.link));
                !is_idle
            });
            let session = self.handle.view().session;
            let slot = |app: &Arc<App>| Slot {
                id: app.link,
                peer: app.peer,
                silent_since: (session != Some(app.link)).then(|| app.last_request()),
            };
            match admit(caller.peer, LINKS, &table.iter().map(slot).collect::<Vec<_>>()) {
                Admission::Free => table.push(Arc::clone(&app)),
                Admission::Evict(evicted) => {
                    table.retain(|app| app.link != evicted);
                    table.push(Arc::clone(&app));
                    ended.push(evicted);
                }
                Admission::Full => ended.push(link),
            }
        }
        let is_admitted = !ended.contains(&link);
        for link in ended {
            self.hang_up(link).await;
        }
        is_admitted.then_some(app)
    }

    async fn hang_up(&self, link: Link) {
        // If the loop has stopped, all links have ended.
        let _stopping = self.handle.closed(link).await;
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Vec<Arc<App>>> {
        // Each use leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl App {
    fn last_request(&self) -> Instant {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The number of the link, from the cookie of Espressif's apps.
fn cookie(headers: &HeaderMap) -> Option<u32> {
    let mut pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix("session=")?.parse().ok())
}

fn number() -> u32 {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes).expect("the system's random source does not fail once it has started");
    u32::from_be_bytes(bytes)
}

fn reply(body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Bytes::from(body).into());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn failure(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}
