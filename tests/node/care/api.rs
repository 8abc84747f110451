//! The API of network care over real HTTP, with a scripted caretaker and the real machine behind it.

mod answers;
mod guard;
mod hostile;
mod mistakes;
mod readers;
mod stream;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jarvis_provisioning::care::events::{Events, Kind, Level, News};
use jarvis_provisioning::care::port::{Care, Ends, Join, Request, Status};
use jarvis_provisioning::link::http::{self, Config};
use provisioning_core::secret::SecretText;
use rand_core::TryRng as _;
use testing::http::request;
use testing::random::Random;
pub(crate) use testing_node::caretaker::works;
use testing_node::caretaker::{disconnected, evidence, fails, seen, status};
use testing_node::scripted::{boot, success};
use tokio::sync::watch;

use crate::http::support::{Node, Place, Reply, config};

/// The time of the node's clock, milliseconds since 1970: 2026-02-28 23:59:59.123.
pub(crate) const NOW: u64 = 1_772_323_199_123;

/// A node with network care.
pub(crate) struct Caring {
    pub(crate) node: Node,
    pub(crate) status: watch::Sender<Arc<Status>>,
    pub(crate) events: Events,
    /// A factory reset has made the token void.
    pub(crate) is_void: Arc<AtomicBool>,
}

impl Caring {
    /// On the loopback, without a token.
    pub(crate) fn start(caretaker: impl FnMut(Request) + Send + 'static) -> Self {
        Self::at(Place::default(), &config(), None, caretaker)
    }

    pub(crate) fn at(
        place: Place,
        config: &Config,
        token: Option<&str>,
        mut caretaker: impl FnMut(Request) + Send + 'static,
    ) -> Self {
        let events = Events::new(|| UNIX_EPOCH + Duration::from_millis(NOW));
        let token = token.map(|token| http::Token::from(SecretText::new(token.into())));
        let is_void = token.as_ref().map(|token| Arc::clone(&token.is_void)).unwrap_or_default();
        let mut ends = None;
        let node = Node::running(place, boot(), Box::new(|command| Some(success(command))), |handle| {
            let (port, end) = Care::channel(status(), events.clone(), handle.clone());
            ends = Some(end);
            Config { care: Some(http::Care { port, token }), ..*config }
        });
        let Ends { mut requests, status, .. } = ends.expect("set while the node started");
        tokio::spawn(async move {
            while let Some(request) = requests.recv().await {
                caretaker(request);
            }
        });
        Self { node, status, events, is_void }
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        request(self.node.api, "GET", &format!("/api/provisioning/{path}"), &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        request(self.node.api, "POST", &format!("/api/provisioning/{path}"), &[], body.as_ref()).await
    }

    pub(crate) fn publish(&self, message: impl Into<String>) -> String {
        self.events.publish(News::new(Kind::System, Level::Info, message)).id.clone()
    }
}

/// A caretaker that succeeds, and the networks that it was told to join.
pub(crate) fn joins() -> (Arc<Mutex<Vec<Join>>>, impl FnMut(Request) + Send + 'static) {
    let joins = Arc::<Mutex<Vec<Join>>>::default();
    let told = Arc::clone(&joins);
    let caretaker = move |request| {
        if let Request::Connect(join, _) = &request {
            told.lock().expect("no test panics with the lock").push(join.clone());
        }
        works(request);
    };
    (joins, caretaker)
}

/// A number below a limit.
pub(crate) fn below(random: &mut Random, limit: usize) -> usize {
    let Ok(number) = random.try_next_u64();
    usize::try_from(number % limit as u64).expect("below a usize")
}

pub(crate) fn time(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}
