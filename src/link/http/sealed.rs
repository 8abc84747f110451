//! The sealed representation: passes messages between a phone's requests and the loop without opening them.
//!
//! HTTP has no connection that lasts as long as a session, so the node gives each phone a random name for its link, in a
//! header. Outbound messages are queued until the phone's next request. The body of every response is an `OutboundList`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use jarvis_http::server::Wait;
use jarvis_http::server::admission::{Admission, Bounds, Peer, Slot, admit};
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::Reply;
use crate::daemon::Handle;
use provisioning_core::endpoint::{Endpoint, OUTBOUND_LIMIT, PROTOBUF, SESSION_HEADER};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Link;
use provisioning_core::wire::{Open, Outbound, Refusal};

/// Links at one time. One phone has the session; the others receive the fault `Busy`. A phone needs one; an app that was
/// restarted leaves further ones.
const LINKS: Bounds = Bounds { all: 16, per_peer: 4 };
/// Interval of the search for idle links.
const REAP: Duration = Duration::from_secs(10);
/// How long a request waits for an outbound message. Most are queued at once.
const HOLD: Duration = Duration::from_millis(250);
/// The same for an answer that waits until something is on disk: a guess, K2 or an attempt.
const HOLD_STORED: Duration = Duration::from_secs(5);
/// The largest body of a response, bytes; more waits for the next request. A phone accepts the size of 16 messages.
const ANSWER_LIMIT: usize = 15 * OUTBOUND_LIMIT;

/// A phone's name for its link: 128 random bits, in hexadecimal.
type Name = [u8; 32];

/// Who sends a request.
pub(super) struct Caller<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: Peer,
    /// Marks the time in which the answer waits for a message of the node.
    pub(super) wait: Option<&'a Wait>,
}

/// The links of the phones that speak the sealed representation.
pub(super) struct Phones {
    handle: Handle,
    idle: Duration,
    answer: Duration,
    table: Mutex<HashMap<Name, Arc<Phone>>>,
    /// A link was opened.
    opened: Notify,
}

struct Phone {
    link: Link,
    peer: Peer,
    outbox: tokio::sync::Mutex<Outbox>,
    last_request: Mutex<Instant>,
}

/// The messages for a phone.
struct Outbox {
    receiver: Receiver<Vec<u8>>,
    /// Taken from the receiver for a response that has not been made yet.
    taken: Vec<Vec<u8>>,
}

impl Outbox {
    /// The node has closed the link, and all messages were delivered.
    fn ended(&self) -> bool {
        self.receiver.is_closed() && self.receiver.is_empty() && self.taken.is_empty()
    }
}

impl Phones {
    pub(super) fn new(handle: Handle, idle: Duration, answer: Duration) -> Self {
        Self { handle, idle, answer, table: Mutex::default(), opened: Notify::new() }
    }

    /// Handles a message written to `session`, on the phone's link if it has one, else on a new one.
    pub(super) async fn open(&self, caller: &Caller<'_>, message: &[u8]) -> Reply {
        let (name, phone) = match self.find(caller.headers) {
            Some(known) => known,
            None => {
                // A message that can open no session gets no link.
                if let Err(fault) = check(message) {
                    return refusal(StatusCode::OK, fault);
                }
                match self.connect(caller.peer).await {
                    Ok(new) => new,
                    Err(reply) => return reply,
                }
            }
        };
        let mut reply = self.exchange(caller, name, &phone, Some((Endpoint::Session, message)), HOLD_STORED).await;
        let value = HeaderValue::from_bytes(&name).expect("hexadecimal digits");
        reply.headers_mut().insert(SESSION_HEADER, value);
        reply
    }

    /// Handles a message written to another endpoint, if there is one, and answers with the outbound messages.
    pub(super) async fn ask(&self, caller: &Caller<'_>, message: Option<(Endpoint, &[u8])>) -> Reply {
        match self.find(caller.headers) {
            Some((name, phone)) => {
                let is_stored = matches!(message, Some((Endpoint::K2 | Endpoint::Credentials, _)));
                self.exchange(caller, name, &phone, message, if is_stored { HOLD_STORED } else { HOLD }).await
            }
            None => unknown(),
        }
    }

    /// Closes the phone's link.
    pub(super) async fn close(&self, headers: &HeaderMap) -> Reply {
        let Some((name, phone)) = self.find(headers) else { return unknown() };
        self.table().remove(&name);
        self.hang_up(phone.link).await;
        let mut reply = Reply::default();
        *reply.status_mut() = StatusCode::NO_CONTENT;
        reply
    }

    /// Closes idle links; never ends. Without links it waits for one, so that an idle node sleeps.
    pub(super) async fn reap(&self) {
        loop {
            if self.table().is_empty() {
                self.opened.notified().await;
            }
            tokio::time::sleep(REAP.min(self.idle)).await;
            self.reap_at(Instant::now()).await;
        }
    }

    async fn reap_at(&self, now: Instant) {
        let mut ended = Vec::new();
        self.table().retain(|_, phone| {
            let idle = now.saturating_duration_since(phone.last_request()) >= self.idle;
            let closed = phone.outbox.try_lock().is_ok_and(|outbox| outbox.ended());
            if idle {
                ended.push(phone.link);
            }
            !idle && !closed
        });
        for link in ended {
            self.hang_up(link).await;
        }
    }

    async fn connect(&self, peer: Peer) -> Result<(Name, Arc<Phone>), Reply> {
        let opened = timeout(self.answer, self.handle.open()).await;
        let Ok(Ok((link, receiver))) = opened else {
            return Err(list(StatusCode::SERVICE_UNAVAILABLE, &[]));
        };
        let outbox = Outbox { receiver, taken: Vec::new() }.into();
        let phone = Arc::new(Phone { link, peer, outbox, last_request: Instant::now().into() });
        let name = name();
        let admission = {
            let mut table = self.table();
            let admission = self.admission(peer, &table);
            if let Admission::Evict((name, _)) = admission {
                table.remove(&name);
            }
            if admission != Admission::Full {
                table.insert(name, Arc::clone(&phone));
                self.opened.notify_one();
            }
            admission
        };
        match admission {
            Admission::Free => Ok((name, phone)),
            Admission::Evict((_, evicted)) => {
                self.hang_up(evicted).await;
                Ok((name, phone))
            }
            Admission::Full => {
                self.hang_up(link).await;
                Err(refusal(StatusCode::SERVICE_UNAVAILABLE, Fault::Busy))
            }
        }
    }

    /// The decision on a new link of a peer. The link that has the session is never evicted.
    fn admission(&self, peer: Peer, table: &HashMap<Name, Arc<Phone>>) -> Admission<(Name, Link)> {
        let session = self.handle.view().session;
        let slot = |(name, phone): (&Name, &Arc<Phone>)| Slot {
            id: (*name, phone.link),
            peer: phone.peer,
            silent_since: (session != Some(phone.link)).then(|| phone.last_request()),
        };
        admit(peer, LINKS, &table.iter().map(slot).collect::<Vec<_>>())
    }

    async fn exchange(
        &self,
        caller: &Caller<'_>,
        name: Name,
        phone: &Phone,
        message: Option<(Endpoint, &[u8])>,
        hold: Duration,
    ) -> Reply {
        phone.set_last_request(Instant::now());
        let handed = async {
            match message {
                Some((endpoint, message)) if message.len() > endpoint.row().limit => {
                    self.handle.invalid_message(phone.link, Fault::TooLarge).await
                }
                Some((endpoint, message)) => self.handle.received(phone.link, endpoint, message.to_vec()).await,
                None => self.handle.present(phone.link).await,
            }
        };
        if !matches!(timeout(self.answer, handed).await, Ok(Ok(()))) {
            return list(StatusCode::SERVICE_UNAVAILABLE, &[]);
        }
        let waiting = caller.wait.map(Wait::begin);
        let (messages, open) = phone.queued(hold).await;
        drop(waiting);
        if !open {
            self.table().remove(&name);
        }
        list(StatusCode::OK, &messages)
    }

    fn find(&self, headers: &HeaderMap) -> Option<(Name, Arc<Phone>)> {
        let name = Name::try_from(headers.get(SESSION_HEADER)?.as_bytes()).ok()?;
        let phone = self.table().get(&name).cloned()?;
        Some((name, phone))
    }

    async fn hang_up(&self, link: Link) {
        // If the loop has stopped, all links have ended.
        let _stopping = timeout(self.answer, self.handle.closed(link)).await;
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<Name, Arc<Phone>>> {
        // Each use leaves the table whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Phone {
    /// The queued messages, waiting at most `hold` for the first, and whether more can follow. If the phone's connection
    /// ends meanwhile, the messages stay queued for the next request.
    async fn queued(&self, hold: Duration) -> (Vec<Vec<u8>>, bool) {
        let until = Instant::now() + hold;
        let Ok(mut outbox) = timeout_at(until, self.outbox.lock()).await else { return (Vec::new(), true) };
        let Outbox { receiver, taken } = &mut *outbox;
        if taken.is_empty() {
            match timeout_at(until, receiver.recv()).await {
                Err(_) => return (Vec::new(), true),
                Ok(None) => return (Vec::new(), false),
                Ok(Some(message)) => taken.push(message),
            }
            // The loop may be about to queue further messages.
            tokio::task::yield_now().await;
        }
        let mut size = taken.iter().map(Vec::len).sum::<usize>();
        while size < ANSWER_LIMIT - OUTBOUND_LIMIT {
            let Ok(message) = receiver.try_recv() else { break };
            size += message.len();
            taken.push(message);
        }
        (std::mem::take(taken), !outbox.ended())
    }

    fn last_request(&self) -> Instant {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_last_request(&self, now: Instant) {
        *self.last_request.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// A response of one protobuf message, such as the public status.
pub(super) fn protobuf(status: StatusCode, body: Vec<u8>) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

fn list(status: StatusCode, messages: &[Vec<u8>]) -> Reply {
    protobuf(status, Outbound::encode_list(messages))
}

fn refusal(status: StatusCode, fault: Fault) -> Reply {
    list(status, &[Outbound::Refusal(Refusal { fault, retry_after: 0 }).encode()])
}

/// Whether a message can be the first of a link.
fn check(message: &[u8]) -> Result<(), Fault> {
    if message.len() > Endpoint::Session.row().limit {
        return Err(Fault::TooLarge);
    }
    Open::decode(message).map(drop)
}

/// There is no link of that name.
fn unknown() -> Reply {
    refusal(StatusCode::UNAUTHORIZED, Fault::NotAuthenticated)
}

fn name() -> Name {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).expect("the system's random source does not fail once it has started");
    let mut name = [0; 32];
    for (pair, byte) in name.chunks_exact_mut(2).zip(bits) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    name
}

/// 128 random bits, in hexadecimal.
pub(super) fn random_text() -> String {
    name().iter().map(|digit| char::from(*digit)).collect()
}

const fn digit(value: u8) -> u8 {
    b"0123456789abcdef"[value as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::{Ends, Event, View};
    use provisioning_core::domain::{Identity, State, Status};
    use provisioning_core::wire::Info;

    fn phones() -> (Arc<Phones>, Ends) {
        let view = View {
            info: Info {
                node_id: String::new(),
                name: String::new(),
                firmware_version: String::new(),
                hardware: String::new(),
                capabilities: Vec::new(),
                state: State::ApMode,
                previously_provisioned: false,
                versions: Vec::new(),
                country: String::new(),
            },
            identity: Identity {
                node_id: String::new(),
                unregistered: String::new(),
                hardware: String::new(),
                mac_address: String::new(),
            },
            status: Status::waiting(),
            next_url: None,
            networks: Vec::new(),
            session: None,
            needs_radio: true,
            improv: None,
            nymea: None,
            is_identifying: false,
        };
        let (handle, ends) = Handle::channel(64, view);
        (Arc::new(Phones::new(handle, Duration::from_secs(90), Duration::from_secs(5))), ends)
    }

    fn peer(number: u8) -> Peer {
        Peer::of([192, 168, 4, number].into())
    }

    fn closed(ends: &mut Ends) -> Vec<Link> {
        std::iter::from_fn(|| ends.events.try_recv().ok())
            .filter_map(|event| if let Event::Closed { link } = event { Some(link) } else { None })
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_without_a_request_for_90_seconds_is_ended() {
        let (phones, mut ends) = phones();
        let (_, phone) = phones.connect(peer(1)).await.expect("room");
        let start = Instant::now();
        phones.reap_at(start + Duration::from_secs(89)).await;
        assert_eq!(closed(&mut ends), []);
        phones.reap_at(start + Duration::from_secs(90)).await;
        assert_eq!(closed(&mut ends), [phone.link]);
        assert!(phones.table().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_opens_after_hours_without_one_is_ended_too() {
        let (phones, mut ends) = phones();
        let reaping = tokio::spawn({
            let phones = Arc::clone(&phones);
            async move { phones.reap().await }
        });
        tokio::time::sleep(Duration::from_hours(1)).await;
        for _ in 0..2 {
            let (_, phone) = phones.connect(peer(1)).await.expect("room");
            tokio::time::sleep(Duration::from_secs(101)).await;
            assert_eq!(closed(&mut ends), [phone.link]);
        }
        reaping.abort();
    }

    /// Opens links of a peer, one after another; returns them, and those that were closed for them.
    async fn connect(phones: &Phones, ends: &mut Ends, number: u8, links: usize) -> (Vec<Link>, Vec<Link>) {
        let (mut opened, mut replaced) = (Vec::new(), Vec::new());
        for _ in 0..links {
            let (_, phone) = phones.connect(peer(number)).await.expect("room");
            opened.push(phone.link);
            replaced.extend(closed(ends));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        (opened, replaced)
    }

    /// A link that has the session.
    async fn paired(phones: &Phones, ends: &mut Ends) -> Link {
        let (opened, _) = connect(phones, ends, 1, 1).await;
        ends.view.send_modify(|view| Arc::make_mut(view).session = Some(opened[0]));
        opened[0]
    }

    fn has_link(phones: &Phones, link: Link) -> bool {
        phones.table().values().any(|phone| phone.link == link)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_replaces_its_own_links_and_never_the_one_with_the_session() {
        let (phones, mut ends) = phones();
        let paired = paired(&phones, &mut ends).await;
        let (opened, replaced) = connect(&phones, &mut ends, 1, 20).await;
        assert_eq!(replaced, opened[..17]);
        assert!(has_link(&phones, paired) && phones.table().len() == LINKS.per_peer);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_replace_their_own_links_and_never_the_one_with_the_session() {
        let (phones, mut ends) = phones();
        let paired = paired(&phones, &mut ends).await;
        tokio::time::advance(Duration::from_mins(1)).await;
        for number in 2..100 {
            connect(&phones, &mut ends, number, 2).await;
            assert!(has_link(&phones, paired) && phones.table().len() <= LINKS.all);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_phone_that_waits_for_the_session_loses_no_link_by_a_crowd_of_one_peer() {
        let (phones, mut ends) = phones();
        let (waiting, _) = connect(&phones, &mut ends, 1, 1).await;
        for number in 2..6 {
            connect(&phones, &mut ends, number, 50).await;
        }
        assert!(has_link(&phones, waiting[0]) && phones.table().len() == LINKS.all);
    }

    #[test]
    fn junk_gets_no_link() {
        assert_eq!(check(b""), Err(Fault::Malformed));
        assert_eq!(check(&[0xff; 100]), Err(Fault::Malformed));
        assert_eq!(check(&[0; 1000]), Err(Fault::TooLarge));
        assert_eq!(check(&Open { session_id: [1; 16], share: [2; 32], offer: Vec::new() }.encode()), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_the_node_closed_is_forgotten() {
        let (phones, mut ends) = phones();
        phones.connect(peer(1)).await.expect("room");
        drop(ends.events.recv().await);
        phones.reap_at(Instant::now()).await;
        assert!(phones.table().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn messages_queued_while_a_connection_ended_go_to_the_next() {
        let (phones, mut ends) = phones();
        let (_, phone) = phones.connect(peer(1)).await.expect("room");
        let Some(Event::Opened { outbound, .. }) = ends.events.recv().await else { panic!("a link") };
        outbound.try_send(vec![1]).expect("room in the queue");
        {
            let mut messages = std::pin::pin!(phone.queued(HOLD));
            // Polled once, and dropped: as when the peer of a request goes.
            assert!(std::future::poll_fn(|context| std::task::Poll::Ready(messages.as_mut().poll(context).is_pending())).await);
        }
        assert_eq!(phone.queued(HOLD).await, (vec![vec![1]], true));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_holds_no_more_than_a_phone_takes() {
        let (phones, mut ends) = phones();
        let (_, phone) = phones.connect(peer(1)).await.expect("room");
        let Some(Event::Opened { outbound, .. }) = ends.events.recv().await else { panic!("a link") };
        let message = Outbound::Refusal(Refusal { fault: Fault::Busy, retry_after: 0 }).encode();
        for _ in 0..40 {
            outbound.try_send([message.clone(), vec![0; 4000]].concat()).expect("room in the queue");
        }
        let mut all = 0;
        while all < 40 {
            let (messages, open) = phone.queued(HOLD).await;
            assert!(open && !messages.is_empty());
            assert!(Outbound::encode_list(&messages).len() <= 16 * OUTBOUND_LIMIT);
            all += messages.len();
        }
    }
}
