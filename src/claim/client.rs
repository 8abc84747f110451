//! The exchange with the server.

use std::time::Duration;

use jarvis_http::client::{self, Client, Request as HttpRequest, RetryAfter, encode};
use reqwest::header::{HeaderValue, USER_AGENT};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use tokio::time::Instant;

use super::answer::{self, Answer, Grant, Refused};
use super::{ClaimId, Error, RefusalReason, Request};
use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::domain::{CommandCenterUrl, UnixTime};
use provisioning_core::fault::chain;
use provisioning_core::secret::SecretText;

/// Identifies appliances in the servers' logs.
const AGENT: HeaderValue = HeaderValue::from_static("OsirisCare-Appliance/1.0");

/// The path for claims.
const CLAIM: &str = "/api/partners/claim";

/// The path for an appliance's progress reports.
const STATUS: &str = "/api/provision/status";

/// Maximum size of an answer, bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Limit of a report: nobody waits for its answer.
const STATUS_LIMIT: Duration = Duration::from_secs(10);

/// A device that claims codes.
#[derive(Clone, Debug)]
pub struct Claimant {
    client: Client,
    limits: RetryLimits,
}

/// Limits of requests and retries. A request is retried after a lost connection or a temporary failure, but not after a
/// server's decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryLimits {
    /// Time limit of one request with its answer.
    pub answer: Duration,
    /// Maximum number of requests per claim.
    pub tries: u32,
    /// The longest pause after the first try; it doubles with each try. Pauses are random, so that appliances that lost
    /// the same server do not all retry at the same time.
    pub pause: Duration,
    /// The limit of a pause, and of the time in which a pause may begin.
    pub longest: Duration,
}

impl Default for RetryLimits {
    /// Each try has 45 seconds, as in the existing software. A person waits at the screen: a refused connection is
    /// reported after some seconds, a server that does not answer after a minute and a half.
    fn default() -> Self {
        Self { answer: Duration::from_secs(45), tries: 4, pause: Duration::from_secs(2), longest: Duration::from_mins(1) }
    }
}

/// The body of a claim.
#[derive(Serialize)]
struct ClaimBody<'a> {
    provision_code: &'a str,
    mac_address: &'a str,
    hostname: &'a str,
    /// Servers without support for claim ids ignore it.
    claim_id: &'a str,
}

/// The body of a progress report.
#[derive(Serialize)]
struct ProgressBody<'a> {
    appliance_id: &'a str,
    status: &'a str,
    progress_percent: u32,
    message: &'a str,
}

impl Claimant {
    /// A device that sends its requests with that client.
    pub fn new(client: Client) -> Self {
        Self { client, limits: RetryLimits::default() }
    }

    /// Replaces the limits.
    #[must_use]
    pub fn with_limits(self, limits: RetryLimits) -> Self {
        Self { limits, ..self }
    }

    /// A claimant that knows a time that has passed, for judging certificates.
    #[must_use]
    pub fn at_or_after(&self, passed: Option<UnixTime>) -> Self {
        Self { client: self.client.clone().at_or_after(passed), limits: self.limits }
    }

    /// Claims a code; retries within the limits.
    pub(super) async fn claim(&self, request: &Request, claim_id: &ClaimId) -> Result<Grant, Error> {
        let body = ClaimBody {
            provision_code: request.code.expose(),
            mac_address: request.device.mac_address.as_str(),
            hostname: &request.device.hostname,
            claim_id: claim_id.digits.expose(),
        };
        let since = Instant::now();
        let mut tries = 1;
        loop {
            let refused = match self.post(&request.endpoint, CLAIM, None, &body, self.limits.answer).await {
                Ok(answer) => match answer::read(&answer, &request.endpoint) {
                    Ok(grant) => return Ok(grant),
                    Err(refused) => refused,
                },
                Err(error) => not_answered(&error),
            };
            let Refused { error, is_passing, retry_after } = refused;
            if !is_passing || tries >= self.limits.tries || since.elapsed() > self.limits.longest {
                // A server without support for claim ids does not repeat its answer: the code is claimed, and the answer lost.
                if (tries > 1 || claim_id.is_old)
                    && matches!(&error, Error::Refused(refusal) if refusal.reason == RefusalReason::AlreadyClaimed)
                {
                    tracing::warn!("this device may have claimed the code itself, and lost the answer: request another code");
                }
                return Err(error);
            }
            let pause = self.backoff().pause_after_answer(tries, random(), retry_after);
            tracing::warn!(%error, pause = ?pause, "asking again");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    /// Acknowledges to the server that its key is stored; the server then refuses the claim to every device. If the
    /// acknowledgement is lost, the first use of the key has the same effect.
    pub(super) async fn acknowledge(&self, endpoint: &CommandCenterUrl, appliance_id: &str, api_key: &SecretText) {
        let message = "The configuration is stored.";
        let progress = ProgressBody { appliance_id, status: "configuring", progress_percent: 100, message };
        for tries in 1..=self.limits.tries {
            match self.post(endpoint, STATUS, Some(api_key), &progress, self.limits.answer.min(STATUS_LIMIT)).await {
                Ok(answer) if answer.status.is_success() => return,
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                    return tracing::debug!("the server does not support progress reports");
                }
                Ok(answer) => {
                    return tracing::warn!(status = answer.status.as_u16(), "the server refused the progress report");
                }
                Err(error) => tracing::debug!(error = chain(&error), "reporting to the server that the configuration is stored"),
            }
            if tries < self.limits.tries {
                tokio::time::sleep(self.backoff().pause(tries, random())).await;
            }
        }
        tracing::warn!(
            "could not report to the server that the configuration is stored; the agent's first request will report it"
        );
    }

    /// Sends a report of an appliance once; the answer may have any status.
    pub(super) async fn report(
        &self,
        endpoint: &CommandCenterUrl,
        path: &str,
        api_key: &SecretText,
        body: &impl Serialize,
    ) -> Result<Answer, Error> {
        let sent = self.post(endpoint, path, Some(api_key), body, self.limits.answer.min(STATUS_LIMIT)).await;
        sent.map_err(|error| not_answered(&error).error)
    }

    async fn post(
        &self,
        endpoint: &CommandCenterUrl,
        path: &str,
        key: Option<&SecretText>,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<Answer, client::Error> {
        let mut request =
            HttpRequest::json(Method::POST, endpoint.join(path), encode(body), limit).with_header(USER_AGENT, AGENT);
        if let Some(key) = key {
            request = request.with_bearer(key);
        }
        let response = self.client.send(request).await?;
        let (status, retry_after) = (response.status(), response.retry_after().and_then(RetryAfter::by_server_clock));
        Ok(Answer { status, retry_after, body: response.body(ANSWER_LIMIT).await? })
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(self.limits.pause, self.limits.longest, Jitter::Full)
    }
}

/// Random bits for a pause. If the system returns no random number, the pause is the longest one.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

/// Maps a failure of the request to an error of the claim.
fn not_answered(error: &client::Error) -> Refused {
    use client::Error as Cause;
    tracing::debug!(error = chain(error), "claiming a code");
    let (shown, is_passing) = match error {
        _ if error.is_timeout() => (Error::TimedOut, true),
        Cause::Unreachable(_) => (Error::Unreachable(error.root()), true),
        Cause::NotHttp(_) | Cause::TooLarge { .. } | Cause::Stopped(_) => (Error::Unexpected(error.to_string()), false),
        // The cause is the device's own clock or files, which only the outer error names.
        Cause::NotYetValid(_) | Cause::NoAuthorities | Cause::Authorities { .. } => (Error::Unreachable(chain(error)), false),
        _ => (Error::Unreachable(error.root()), false),
    };
    Refused { error: shown, is_passing, retry_after: None }
}
