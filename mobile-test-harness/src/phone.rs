//! The operations of a phone on a node.

use std::collections::VecDeque;
use std::time::Duration;

use getrandom::SysRng;
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::domain::{CareReply, CareRequest, Country, Credentials, K2, Network, NewEvents, State};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::session::{AcceptError, Opening, PhoneSecret, Session};
use provisioning_core::wire::{Info, Message, Outbound, PublicStatus, Refusal, Reply, Request, StatusReport};
use rand_core::{Rng, UnwrapErr};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use crate::link::{self, Link, Target, Traffic};

/// Longer than a node takes for its slowest answer, that to a scan.
const REPLY_LIMIT: Duration = Duration::from_secs(40);

/// Longer than network care takes for its slowest answer, that to a join.
const CARE_LIMIT: Duration = Duration::from_mins(3);

/// Pauses between tries to connect again. Short, because a person is waiting.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2), Jitter::None);

/// Why an operation failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The link failed.
    #[error(transparent)]
    Link(#[from] link::Error),
    /// The node refused outside of a session, or ended the session.
    #[error("{}", .0.fault)]
    Refused(Refusal),
    /// The node refused within the session.
    #[error("{0}")]
    Failed(Fault),
    /// The node could not prove that it knows the pairing secret.
    #[error("{0}")]
    NotAccepted(#[from] AcceptError),
    /// The answer does not match the request.
    #[error("the device's answer does not match the request")]
    Unexpected,
    /// There is no session.
    #[error("there is no session")]
    NoSession,
    /// No message arrived in time.
    #[error("the device did not answer in time")]
    TimedOut,
    /// The node does not know the attempt: it restarted before the attempt was stored.
    #[error("the device does not know the attempt; send it again")]
    Forgotten,
    /// The node's software is older than the request to cancel.
    #[error("the device's software cannot cancel an attempt; it continues")]
    CannotCancel,
}

impl Error {
    /// The fault that the node reported.
    pub const fn fault(&self) -> Option<Fault> {
        match self {
            Self::Refused(refusal) => Some(refusal.fault),
            Self::Failed(fault) => Some(*fault),
            Self::NotAccepted(AcceptError::WrongSecret) => Some(Fault::WrongCode),
            _ => None,
        }
    }

    /// Whether a retry on a new link can succeed.
    fn passes(&self) -> bool {
        match self {
            Self::Link(link::Error::InvalidMessage(_) | link::Error::Refused(_)) => false,
            Self::Link(link::Error::Wifi(error)) => error.passes(),
            // Mismatch: the node was registered, and so has another node id, after the phone read its info.
            Self::Link(_) | Self::TimedOut | Self::NotAccepted(AcceptError::Mismatch) => true,
            Self::Refused(refusal) => matches!(refusal.fault, Fault::Busy | Fault::NotAuthenticated | Fault::StorageFailed),
            _ => false,
        }
    }
}

/// An event to show while an attempt is followed.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// The node has accepted the attempt.
    Accepted,
    /// The node has sent its status.
    Status(&'a StatusReport),
    /// The link was lost; the phone reconnects.
    Lost,
    /// The phone has reconnected, in a new session.
    Back,
}

/// A phone that is connected to a node.
pub struct Phone {
    target: Target,
    link: Link,
    /// The node's info, read on this link, until a session has used it.
    info: Option<Info>,
    secret: Option<PhoneSecret>,
    session: Option<Session>,
    /// Changes of state that arrived while the phone waited for a reply.
    changes: VecDeque<StatusReport>,
}

impl std::fmt::Debug for Phone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Phone").field("target", &self.target).field("session", &self.session.is_some()).finish_non_exhaustive()
    }
}

impl Phone {
    /// Connects to a node.
    pub async fn connect(target: &Target) -> Result<Self, Error> {
        let link = Link::connect(target).await?;
        Ok(Self { target: target.clone(), link, info: None, secret: None, session: None, changes: VecDeque::new() })
    }

    /// Connects, and retries for as long as `patience`.
    pub async fn connect_within(target: &Target, patience: Duration) -> Result<Self, Error> {
        let until = Instant::now() + patience;
        let mut failed = 1;
        loop {
            let pause = RETRIES.nominal(failed);
            match Self::connect(target).await {
                Err(error) if error.passes() && Instant::now() + pause < until => {
                    debug!(%error, "connecting again");
                    sleep(pause).await;
                    failed += 1;
                }
                result => return result,
            }
        }
    }

    /// The name that the node advertises, or that its access point has; none over HTTP.
    pub fn name(&self) -> Option<&str> {
        self.link.name()
    }

    /// The traffic of all links so far.
    pub fn traffic(&self) -> Traffic {
        self.link.traffic()
    }

    /// Reads the node's info. It is public, and not authenticated before a session is open.
    pub async fn info(&mut self) -> Result<Info, Error> {
        let info = Info::decode(&self.link.read(Endpoint::Info).await?).map_err(link::Error::InvalidMessage)?;
        self.info = Some(info.clone());
        Ok(info)
    }

    /// Reads the node's public status.
    pub async fn public_status(&mut self) -> Result<PublicStatus, Error> {
        Ok(PublicStatus::decode(&self.link.read(Endpoint::Status).await?).map_err(link::Error::InvalidMessage)?)
    }

    /// Opens a session. A wrong code is detected here, by the phone; the node has counted the guess. The phone's own proof is
    /// sent with its first request.
    pub async fn open_session(&mut self, secret: &PhoneSecret) -> Result<(), Error> {
        match self.try_to_open_session(secret).await {
            // The node was registered, and so has another node id, after its info was read.
            Err(Error::NotAccepted(AcceptError::Mismatch)) => self.try_to_open_session(secret).await,
            result => result,
        }
    }

    async fn try_to_open_session(&mut self, secret: &PhoneSecret) -> Result<(), Error> {
        self.session = None;
        self.changes.clear();
        if self.info.is_none() {
            self.info().await?;
        }
        // The info may be outdated at the next session, so it is used once.
        let node_id = self.info.take().expect("it was read").node_id;
        let (opening, open) = Opening::new(&node_id, secret, &mut UnwrapErr(SysRng));
        self.link.write(Endpoint::Session, &open.encode()).await?;
        let until = Instant::now() + REPLY_LIMIT;
        let accept = loop {
            match self.link.receive(until).await?.ok_or(Error::TimedOut)? {
                Outbound::Accept(accept) => break accept,
                Outbound::Refusal(refusal) => return Err(Error::Refused(refusal)),
                Outbound::Record(_) => debug!("record of an earlier session on this link"),
            }
        };
        self.session = Some(opening.read(&accept)?);
        self.secret = Some(secret.clone());
        Ok(())
    }

    /// The networks in range of the node, strongest first. With `fresh`, the node scans even if it has a recent list.
    pub async fn scan(&mut self, fresh: bool) -> Result<Vec<Network>, Error> {
        self.scan_in(None, fresh).await
    }

    /// The same, with the country that the node is in: without one, the radio of some nodes is off.
    pub async fn scan_in(&mut self, country: Option<Country>, fresh: bool) -> Result<Vec<Network>, Error> {
        let to = self.request(&Request::Scan { fresh, country }).await?;
        let mut found = Vec::new();
        loop {
            match self.reply(to).await? {
                Reply::Networks { networks, last } => {
                    found.extend(networks);
                    if last {
                        return Ok(found);
                    }
                }
                _ => return Err(Error::Unexpected),
            }
        }
    }

    /// Sends K2. The node has stored it when this returns, so its write needs no acknowledgement.
    pub async fn send_k2(&mut self, k2: K2) -> Result<(), Error> {
        let expected = k2.kid.clone();
        let (endpoint, to, record) = self.seal(&Request::K2(k2))?;
        self.link.send(endpoint, &record).await?;
        match self.reply(to).await? {
            Reply::K2Stored { kid } if kid == expected => Ok(()),
            _ => Err(Error::Unexpected),
        }
    }

    /// Sends credentials. The attempt has started when this returns; [`follow`](Self::follow) reports its progress.
    pub async fn send_credentials(&mut self, credentials: &Credentials) -> Result<(), Error> {
        let to = self.request(&Request::Credentials(Box::new(credentials.clone()))).await?;
        match self.reply(to).await? {
            Reply::Accepted { request_id } if request_id == credentials.request_id => {
                // What arrived before is about an earlier attempt.
                self.changes.clear();
                Ok(())
            }
            _ => Err(Error::Unexpected),
        }
    }

    /// Sends a request to network care, and waits for its answer.
    pub async fn care(&mut self, request: CareRequest) -> Result<CareReply, Error> {
        let to = self.request(&Request::Care(request)).await?;
        let until = Instant::now() + CARE_LIMIT;
        let mut listed = Vec::new();
        let mut happened = Vec::new();
        loop {
            match self.reply_until(to, until).await? {
                Reply::Done => return Ok(CareReply::Done),
                Reply::CareStatus(status) => return Ok(CareReply::Status(status)),
                Reply::Diagnosis(layers) => return Ok(CareReply::Diagnosis(layers)),
                Reply::Label(label) => return Ok(CareReply::Label(label)),
                Reply::Saved { networks, last } => {
                    listed.extend(networks);
                    if last {
                        return Ok(CareReply::Saved(listed));
                    }
                }
                Reply::Events { events, last, gap } => {
                    happened.extend(events);
                    if last {
                        return Ok(CareReply::Events(NewEvents { events: happened, gap }));
                    }
                }
                _ => return Err(Error::Unexpected),
            }
        }
    }

    /// Queries the node's status.
    pub async fn status(&mut self) -> Result<StatusReport, Error> {
        let to = self.request(&Request::Status).await?;
        match self.reply(to).await? {
            Reply::Status(status) => Ok(status),
            _ => Err(Error::Unexpected),
        }
    }

    /// The next change of state; waits until `until`.
    pub async fn next_change(&mut self, until: Instant) -> Result<StatusReport, Error> {
        loop {
            if let Some(status) = self.changes.pop_front() {
                return Ok(status);
            }
            match self.message(until).await? {
                Message::Changed(status) => return Ok(status),
                Message::Reply { to, .. } => debug!(to, "ignoring a reply to an earlier request"),
            }
        }
    }

    /// Follows an attempt until the node is provisioned or reports a failure, for as long as `patience`.
    ///
    /// After a lost link the phone reconnects, opens a new session with the same secret, and queries the status.
    pub async fn follow(
        &mut self,
        request_id: u64,
        patience: Duration,
        mut show: impl FnMut(Progress<'_>),
    ) -> Result<StatusReport, Error> {
        let until = Instant::now() + patience;
        loop {
            let status = match self.next_change(until).await {
                Ok(status) => status,
                Err(error) if error.passes() && Instant::now() < until => {
                    info!(%error, "reconnecting");
                    show(Progress::Lost);
                    let status = self.restore_session(until).await?;
                    show(Progress::Back);
                    if status.request_id != request_id {
                        return Err(Error::Forgotten);
                    }
                    status
                }
                Err(error) => return Err(error),
            };
            if status.request_id != request_id {
                continue;
            }
            show(Progress::Status(&status));
            if is_end(&status) {
                return Ok(status);
            }
        }
    }

    /// Sends credentials and follows the attempt to its end, across lost links and restarts of the node.
    ///
    /// The credentials may be sent more than once; the node recognizes them by their `request_id`.
    pub async fn bring_online(
        &mut self,
        credentials: &Credentials,
        patience: Duration,
        show: impl FnMut(Progress<'_>),
    ) -> Result<StatusReport, Error> {
        self.bring_online_unless(credentials, patience, std::future::pending(), show).await
    }

    /// The same, but cancels the attempt as soon as `cancelled` is ready, and returns the outcome of that.
    pub async fn bring_online_unless(
        &mut self,
        credentials: &Credentials,
        patience: Duration,
        cancelled: impl Future<Output = ()>,
        mut show: impl FnMut(Progress<'_>),
    ) -> Result<StatusReport, Error> {
        let until = Instant::now() + patience;
        let request_id = credentials.request_id;
        let mut cancelled = std::pin::pin!(cancelled);
        let mut is_repeated = false;
        loop {
            // Not interrupted: a message that is half written would break the link.
            let sent = self.send_credentials(credentials).await;
            tokio::select! {
                result = self.after_sending(sent, request_id, until, is_repeated, &mut show) => match result? {
                    Some(status) => return Ok(status),
                    None => is_repeated = true,
                },
                () = &mut cancelled => return self.cancel(request_id, until.saturating_duration_since(Instant::now())).await,
            }
        }
    }

    /// Follows the attempt to its outcome; none if the credentials have to be sent again.
    async fn after_sending(
        &mut self,
        sent: Result<(), Error>,
        request_id: u64,
        until: Instant,
        is_repeated: bool,
        mut show: impl FnMut(Progress<'_>),
    ) -> Result<Option<StatusReport>, Error> {
        match sent {
            Ok(()) => {
                show(Progress::Accepted);
                match self.follow(request_id, until.saturating_duration_since(Instant::now()), show).await {
                    Err(Error::Forgotten) if Instant::now() < until => Ok(None),
                    result => result.map(Some),
                }
            }
            Err(error) if error.passes() && Instant::now() < until => {
                info!(%error, "reconnecting");
                show(Progress::Lost);
                // A status with this id may be of an attempt that is not on disk yet, or of an earlier one with the same
                // id: only `accepted` is a promise.
                self.restore_session(until).await?;
                show(Progress::Back);
                Ok(None)
            }
            // The attempt has ended, and its outcome is being stored.
            Err(Error::Failed(Fault::InProgress)) if is_repeated && Instant::now() < until => {
                sleep(RETRIES.nominal(1)).await;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Cancels an attempt and returns its outcome: [`Fault::Cancelled`], or another one if it was too late. Connects again
    /// if the link is lost, for as long as `patience`.
    pub async fn cancel(&mut self, request_id: u64, patience: Duration) -> Result<StatusReport, Error> {
        let until = Instant::now() + patience;
        loop {
            match self.send_cancel(request_id).await {
                Ok(status) if is_end(&status) => return Ok(status),
                Ok(_) => return self.follow(request_id, until.saturating_duration_since(Instant::now()), |_| {}).await,
                Err(Error::Failed(Fault::Malformed)) => return Err(Error::CannotCancel),
                Err(error) if (error.passes() || self.session.is_none()) && Instant::now() < until => {
                    info!(%error, "reconnecting");
                    self.restore_session(until).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn send_cancel(&mut self, request_id: u64) -> Result<StatusReport, Error> {
        let to = self.request(&Request::Cancel { request_id }).await?;
        match self.reply(to).await? {
            Reply::Status(status) => Ok(status),
            _ => Err(Error::Unexpected),
        }
    }

    /// Ends the session and the link.
    pub async fn leave(self) {
        self.link.close().await;
    }

    /// Opens a new link and a new session, with the secret of the last one; returns the node's status.
    async fn restore_session(&mut self, until: Instant) -> Result<StatusReport, Error> {
        let secret = self.secret.clone().ok_or(Error::NoSession)?;
        let mut failed = 0;
        loop {
            let error = match timeout_at(until, self.connect_again(&secret)).await {
                Ok(Ok(status)) => return Ok(status),
                Ok(Err(error)) if error.passes() => error,
                Ok(Err(error)) => return Err(error),
                Err(_) => Error::TimedOut,
            };
            failed += 1;
            let pause = RETRIES.nominal(failed);
            if Instant::now() + pause >= until {
                return Err(error);
            }
            debug!(%error, "reconnecting again");
            sleep(pause).await;
        }
    }

    async fn connect_again(&mut self, secret: &PhoneSecret) -> Result<StatusReport, Error> {
        self.link.reconnect(&self.target).await?;
        self.info = None;
        self.open_session(secret).await?;
        self.status().await
    }

    /// Seals a request and writes it; returns the counter that identifies its replies.
    async fn request(&mut self, request: &Request) -> Result<u64, Error> {
        let (endpoint, to, record) = self.seal(request)?;
        self.link.write(endpoint, &record).await?;
        Ok(to)
    }

    /// Seals a request; returns where it is written, and the counter that identifies its replies.
    fn seal(&mut self, request: &Request) -> Result<(Endpoint, u64, Vec<u8>), Error> {
        let session = self.session.as_mut().ok_or(Error::NoSession)?;
        let record = session.seal(request.endpoint(), &request.encode());
        Ok((request.endpoint(), record.counter, record.encode()))
    }

    /// The next reply to the request of that counter.
    async fn reply(&mut self, to: u64) -> Result<Reply, Error> {
        self.reply_until(to, Instant::now() + REPLY_LIMIT).await
    }

    async fn reply_until(&mut self, to: u64, until: Instant) -> Result<Reply, Error> {
        loop {
            match self.message(until).await? {
                Message::Changed(status) => self.changes.push_back(status),
                Message::Reply { to: answered, reply: Reply::Refused(fault) } if answered == to => {
                    return Err(Error::Failed(fault));
                }
                Message::Reply { to: answered, reply } if answered == to => return Ok(reply),
                Message::Reply { to, .. } => debug!(to, "ignoring a reply to an earlier request"),
            }
        }
    }

    async fn message(&mut self, until: Instant) -> Result<Message, Error> {
        let session = self.session.as_mut().ok_or(Error::NoSession)?;
        match self.link.receive(until).await?.ok_or(Error::TimedOut)? {
            Outbound::Record(record) => {
                let not_authentic = Refusal { fault: Fault::NotAuthenticated, retry_after: 0 };
                let plaintext = session.open(Endpoint::Status, &record).map_err(|_| Error::Refused(not_authentic))?;
                Ok(Message::decode(&plaintext).map_err(link::Error::InvalidMessage)?)
            }
            Outbound::Refusal(refusal) => Err(Error::Refused(refusal)),
            Outbound::Accept(_) => Err(Error::Unexpected),
        }
    }
}

/// Whether the attempt has ended.
const fn is_end(status: &StatusReport) -> bool {
    matches!(status.state, State::Provisioned | State::Online | State::Error)
}

/// A new id for an attempt, which the node includes in every status of that attempt.
pub fn new_request_id() -> u64 {
    // 53 bits, because scripts may parse it from JSON as a double; zero denotes an attempt without an id.
    (UnwrapErr(SysRng).next_u64() >> 11).max(1)
}
