//! The API of network care at `/api/provisioning/`, for the web client of the existing system.
//!
//! | file | content |
//! |---|---|
//! | `guard` | who may do what |
//! | `requests` | the bodies of requests |
//! | `schema` | the bodies of answers |
//! | `events` | the stream of events |
//!
//! An error is `{"error":…}`, in the words of the existing system where it has them. Further keys say more: `field` and
//! `reason` of invalid input, `reason` of a failure.

mod events;
mod guard;
mod requests;
mod schema;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Either;
use hyper::StatusCode;
use hyper::body::{Body, Bytes};
use hyper::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use serde::Serialize;
use tokio::time::timeout;

use super::body::{self, Unread};
use super::host::is_foreign;
use super::json::json;
use super::{Answered, Arrival, Config, Reply};
use crate::care::port::{self, Error, Scope};
use crate::daemon::Handle;
pub(super) use events::{EventStream, READERS};
use guard::{Caller, Guard};
use provisioning_core::domain::Ssid;
use provisioning_core::endpoint::Method;
use provisioning_core::machine::{Answer, LocalRequest};
use provisioning_core::secret::SecretText;
use requests::Invalid;
use schema::{Diagnostics, Done, PairingCode, SavedNetwork, SeenNetwork, Status};

/// Network care, and who may use it.
#[derive(Clone, Debug)]
pub struct Care {
    /// The way to the caretaker.
    pub port: port::Care,
    /// The token that a caller has to present. Without one, the API answers on the loopback and in the access point only.
    pub token: Option<Token>,
}

/// The token of the API.
#[derive(Clone, Debug)]
pub struct Token {
    /// What callers present.
    pub secret: SecretText,
    /// A factory reset has made it void: no caller is admitted, and streams of events end.
    pub is_void: Arc<AtomicBool>,
}

impl From<SecretText> for Token {
    /// A token that no reset makes void.
    fn from(secret: SecretText) -> Self {
        Self { secret, is_void: Arc::default() }
    }
}

impl Token {
    fn is_void(&self) -> bool {
        self.is_void.load(Ordering::Relaxed)
    }
}

/// What the API does at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Status,
    Events,
    Networks,
    Saved,
    Connect,
    Forget,
    Diagnostics,
    Test,
    EnableHotspot,
    DisableHotspot,
    Restart,
    Rollback,
    PairingCode,
    RenewPairingCode,
    Recover,
    FactoryReset,
    Label,
    /// Not of network care: answered by [`authorize`].
    Authorize,
}

/// The operations by their paths.
pub(super) const OPERATIONS: [(&str, Operation); 18] = [
    ("/api/provisioning/status", Operation::Status),
    ("/api/provisioning/events", Operation::Events),
    ("/api/provisioning/networks", Operation::Networks),
    ("/api/provisioning/networks/saved", Operation::Saved),
    ("/api/provisioning/network/connect", Operation::Connect),
    ("/api/provisioning/network/forget", Operation::Forget),
    ("/api/provisioning/network/diagnostics", Operation::Diagnostics),
    ("/api/provisioning/network/test", Operation::Test),
    ("/api/provisioning/hotspot/enable", Operation::EnableHotspot),
    ("/api/provisioning/hotspot/disable", Operation::DisableHotspot),
    ("/api/provisioning/restart", Operation::Restart),
    ("/api/provisioning/rollback", Operation::Rollback),
    ("/api/provisioning/auth-code", Operation::PairingCode),
    ("/api/provisioning/auth-code/regenerate", Operation::RenewPairingCode),
    ("/api/provisioning/recovery/trigger", Operation::Recover),
    ("/api/provisioning/factory-reset", Operation::FactoryReset),
    ("/api/provisioning/label", Operation::Label),
    ("/api/provisioning/authorize", Operation::Authorize),
];

impl Operation {
    /// The methods that it has: one.
    pub(super) const fn methods(self) -> &'static [Method] {
        match self {
            Self::Status | Self::Events | Self::Networks | Self::Saved | Self::Diagnostics | Self::PairingCode | Self::Label => {
                &[Method::Get]
            }
            _ => &[Method::Post],
        }
    }

    /// How long the caller waits. The operation itself is not stopped then. The times are those of the existing system.
    const fn limit(self) -> Duration {
        Duration::from_secs(match self {
            Self::Connect | Self::Recover | Self::FactoryReset => 60,
            Self::Networks | Self::EnableHotspot | Self::DisableHotspot | Self::Rollback => 30,
            Self::Diagnostics | Self::Test => 15,
            _ => 10,
        })
    }

    /// What the existing system says if it fails.
    const fn failure(self) -> &'static str {
        match self {
            Self::Networks
            | Self::Saved
            | Self::Connect
            | Self::Forget
            | Self::Diagnostics
            | Self::Test
            | Self::EnableHotspot
            | Self::DisableHotspot
            | Self::Rollback => "network operation failed",
            _ => "operation failed",
        }
    }

    /// Whether it shows or changes the pairing secrets.
    const fn is_about_pairing(self) -> bool {
        matches!(self, Self::PairingCode | Self::RenewPairingCode | Self::Label)
    }
}

/// The state of the API.
pub(super) struct Api {
    care: port::Care,
    guard: Guard,
    readers: events::Readers,
    /// The networks of the last scan whose names are not UTF-8. Clients send such a name back as the scan has shown it.
    unprintable: Mutex<Vec<Ssid>>,
}

/// Why there is no result.
enum Failed {
    /// The caretaker has refused or failed.
    Care(Error),
    /// It did not answer in time.
    Late,
    /// The request is invalid.
    Invalid(Invalid),
    /// The body was not read.
    Unread(Unread),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Care(error)
    }
}

impl From<Invalid> for Failed {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<Unread> for Failed {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

/// Authorizes the node for clients without a secret: for the callers that network care has, whether it is enabled or not.
pub(super) async fn authorize<B>(handle: &Handle, config: &Config, arrival: &Arrival, head: &Parts, body: B) -> Reply
where
    B: Body<Data = Bytes> + Unpin,
{
    let operation = Operation::Authorize;
    let token = config.care.as_ref().and_then(|care| care.token.clone());
    if is_foreign(&head.headers) {
        return error(StatusCode::FORBIDDEN, "requests from another site are not accepted");
    }
    if let Err(refused) = Guard::new(token).admit(operation, arrival, &head.headers) {
        return refused.into();
    }
    if head.method != hyper::Method::POST {
        return method_not_allowed(operation);
    }
    if let Err(unread) = body::read(body, config.limits.body).await {
        return failure(operation, unread.into());
    }
    match timeout(config.limits.answer, handle.ask_locally(LocalRequest::Authorize)).await {
        Ok(Ok(Answer::Authorized)) => answer(&Done { ok: true }),
        Ok(Ok(Answer::Refused(fault))) => failure(operation, Error::Failed(fault).into()),
        Ok(Ok(_)) => {
            let reason = "there is nothing to authorize: set `enabled = true` under [improv] or [nymea] in the settings of the node, and restart it";
            json(StatusCode::NOT_FOUND, &schema::Failure { error: "not found", field: None, reason: Some(reason) })
        }
        Ok(Err(_)) => failure(operation, Error::Stopping.into()),
        Err(_) => failure(operation, Failed::Late),
    }
}

impl Api {
    pub(super) fn new(Care { port, token }: Care) -> Self {
        let readers = events::Readers::new(port.events().clone(), token.clone());
        Self { care: port, guard: Guard::new(token), readers, unprintable: Mutex::default() }
    }

    /// Answers a request that is addressed to the node.
    pub(super) async fn answer<B>(
        &self,
        operation: Operation,
        arrival: &Arrival,
        head: &Parts,
        body: B,
        body_limit: Duration,
    ) -> Answered
    where
        B: Body<Data = Bytes> + Unpin,
    {
        // A browser sends the requests of a page from another site with the rights of this device. For reading, too: a scan
        // takes the radio, and a stream takes a place.
        if is_foreign(&head.headers) {
            return Either::Left(error(StatusCode::FORBIDDEN, "requests from another site are not accepted"));
        }
        let caller = match self.guard.admit(operation, arrival, &head.headers) {
            Ok(caller) => caller,
            Err(refused) => return Either::Left(refused.into()),
        };
        if operation.methods().iter().all(|method| method.as_str() != head.method.as_str()) {
            return Either::Left(method_not_allowed(operation));
        }
        if operation == Operation::Events {
            return self.readers.answer(head);
        }
        let answered = async {
            // The body of a request without fields is read as well: the connection can be used again after it.
            let body = body::read(body, body_limit).await?;
            timeout(operation.limit(), self.perform(operation, caller, &body)).await.unwrap_or(Err(Failed::Late))
        };
        Either::Left(answered.await.unwrap_or_else(|failed| failure(operation, failed)))
    }

    async fn perform(&self, operation: Operation, caller: Caller, body: &[u8]) -> Result<Reply, Failed> {
        let care = &self.care;
        match operation {
            Operation::Status => Ok(answer(&schema::InStatus { status: Status::from(&*care.status()) })),
            Operation::Networks => {
                let seen = care.scan().await?;
                self.remember(&seen);
                Ok(answer(&schema::InNetworks { networks: seen.iter().map(SeenNetwork::from).collect() }))
            }
            Operation::Saved => {
                let saved = care.saved().await?;
                Ok(answer(&schema::InNetworks { networks: saved.iter().map(SavedNetwork::from).collect() }))
            }
            Operation::Connect => done(care.connect(requests::join(body, &self.unprintable())?)).await,
            Operation::Forget => done(care.forget(requests::name(body)?)).await,
            Operation::Diagnostics => {
                let diagnostics = Diagnostics::from(&care.diagnose().await?);
                Ok(answer(&schema::InDiagnostics { diagnostics }))
            }
            Operation::Test => {
                let diagnostics = Diagnostics::from(&care.diagnose().await?);
                Ok(answer(&schema::Tested { connected: diagnostics.internet_reachable(), diagnostics }))
            }
            Operation::EnableHotspot => done(care.hotspot(true)).await,
            Operation::DisableHotspot => done(care.hotspot(false)).await,
            Operation::Restart => {
                let (reason, scope): (String, Scope) = requests::restart(body)?;
                done(care.restart(reason, scope)).await
            }
            Operation::Rollback => done(care.rollback(requests::reason(body)?)).await,
            Operation::PairingCode => Ok(secret(&PairingCode::from(&care.pairing_code().await?))),
            Operation::RenewPairingCode => {
                let renewed = care.renew_pairing_code().await?;
                Ok(secret(&PairingCode::renewed(&renewed)))
            }
            Operation::Label => Ok(secret(&schema::Label::from(&care.label().await?))),
            Operation::Recover => done(care.recover()).await,
            Operation::FactoryReset => match caller {
                Caller::Owner => done(care.factory_reset()).await,
                Caller::Phone => done(care.factory_reset_in_clear()).await,
            },
            Operation::Events | Operation::Authorize => unreachable!("answered elsewhere"),
        }
    }

    fn remember(&self, seen: &[port::Seen]) {
        let names = seen.iter().map(|seen| &seen.ssid).filter(|ssid| std::str::from_utf8(ssid.as_bytes()).is_err());
        *self.unprintable.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = names.cloned().collect();
    }

    fn unprintable(&self) -> Vec<Ssid> {
        self.unprintable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }
}

/// Waits for an operation without a result.
async fn done(operation: impl Future<Output = Result<(), Error>>) -> Result<Reply, Failed> {
    operation.await?;
    Ok(answer(&Done { ok: true }))
}

fn answer(body: &impl Serialize) -> Reply {
    json(StatusCode::OK, body)
}

/// An answer that no cache stores.
fn secret(body: &impl Serialize) -> Reply {
    let mut reply = answer(body);
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// An error in the envelope of the existing system.
fn error(status: StatusCode, text: &str) -> Reply {
    json(status, &schema::Failure { error: text, field: None, reason: None })
}

fn failure(operation: Operation, failed: Failed) -> Reply {
    let because =
        |status, error: &str, field, reason: &str| json(status, &schema::Failure { error, field, reason: Some(reason) });
    match failed {
        Failed::Care(error @ (Error::NoInternet | Error::RestartRefused | Error::Failed(_))) => {
            because(StatusCode::INTERNAL_SERVER_ERROR, operation.failure(), None, &error.to_string())
        }
        Failed::Care(Error::UnknownNetwork) => failure(operation, Invalid::of("name", Error::UnknownNetwork.to_string()).into()),
        Failed::Care(refused) => {
            let status = match refused {
                Error::RestartForbidden => StatusCode::FORBIDDEN,
                Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::CONFLICT,
            };
            error(status, &refused.to_string())
        }
        Failed::Late => {
            let reason = format!("there is no result after {} s; it may still come", operation.limit().as_secs());
            because(StatusCode::INTERNAL_SERVER_ERROR, operation.failure(), None, &reason)
        }
        Failed::Invalid(Invalid { field, reason }) => because(StatusCode::BAD_REQUEST, "invalid request body", field, &reason),
        Failed::Unread(unread) => unread.answer(error),
    }
}

fn method_not_allowed(operation: Operation) -> Reply {
    let mut reply = error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    let [method] = operation.methods() else { unreachable!("an operation has one method") };
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(method.as_str()));
    reply
}
