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
use provisioning_core::domain::CommandCenterUrl;
use provisioning_core::fault::chain;
use provisioning_core::secret::SecretText;

/// What the servers' logs know appliances by.
const AGENT: HeaderValue = HeaderValue::from_static("OsirisCare-Appliance/1.0");

/// Where codes are claimed.
const CLAIM: &str = "/api/partners/claim";

/// Where an appliance reports its progress.
const STATUS: &str = "/api/provision/status";

/// The longest answer that is read, bytes.
const ANSWER_LIMIT: usize = 64 * 1024;

/// How long a server may take to acknowledge a status. Its answer decides nothing.
const STATUS_LIMIT: Duration = Duration::from_secs(10);

/// A device that claims codes.
#[derive(Clone, Debug)]
pub struct Claimant {
    client: Client,
    patience: Patience,
}

/// How long things may take, and what is tried again: nothing that a server has decided, but what got lost on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For one request and its answer.
    pub answer: Duration,
    /// Requests for one claim.
    pub tries: u32,
    /// The longest pause after the first try; it doubles with each. The pauses are random, so that appliances that lost
    /// the same server do not come back together.
    pub pause: Duration,
    /// No pause is longer, and none begins when the claim has taken longer than that.
    pub longest: Duration,
}

impl Default for Patience {
    /// Each try has 45 seconds, as appliances always allowed. A person waits at the screen: a refused connection is
    /// reported after some seconds, a silent server after a minute and a half.
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
    /// Servers that do not know it ignore it.
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
        Self { client, patience: Patience::default() }
    }

    /// With other limits and another number of tries.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Claims a code, as often as it takes within the limits.
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
            let refused = match self.post(&request.endpoint, CLAIM, None, &body, self.patience.answer).await {
                Ok(answer) => match answer::read(&answer, &request.endpoint) {
                    Ok(grant) => return Ok(grant),
                    Err(refused) => refused,
                },
                Err(error) => not_answered(&error),
            };
            let Refused { error, is_passing, retry_after } = refused;
            if !is_passing || tries >= self.patience.tries || since.elapsed() > self.patience.longest {
                // A server that gives the same device no second answer leaves the code claimed and its answer lost.
                if (tries > 1 || claim_id.is_old)
                    && matches!(&error, Error::Refused(refusal) if refusal.reason == RefusalReason::AlreadyClaimed)
                {
                    tracing::warn!("this device may have claimed the code itself, and missed the answer: ask for another code");
                }
                return Err(error);
            }
            let pause = self.backoff().pause_after_answer(tries, random(), retry_after);
            tracing::warn!(%error, pause = ?pause, "asking again");
            tokio::time::sleep(pause).await;
            tries += 1;
        }
    }

    /// Acknowledges to the server that its key is stored; it then answers the claim to no device. A server that misses the
    /// acknowledgement learns the same when the key is first used.
    pub(super) async fn acknowledge(&self, endpoint: &CommandCenterUrl, appliance_id: &str, api_key: &SecretText) {
        let message = "The configuration is stored.";
        let progress = ProgressBody { appliance_id, status: "configuring", progress_percent: 100, message };
        for tries in 1..=self.patience.tries {
            match self.post(endpoint, STATUS, Some(api_key), &progress, self.patience.answer.min(STATUS_LIMIT)).await {
                Ok(answer) if answer.status.is_success() => return,
                Ok(answer) if answer.status == StatusCode::NOT_FOUND => {
                    return tracing::debug!("the server does not want to know how far its appliances are");
                }
                Ok(answer) => {
                    return tracing::warn!(status = answer.status.as_u16(), "the server does not take note of its appliance");
                }
                Err(error) => tracing::debug!(error = chain(&error), "telling the server that the configuration is stored"),
            }
            if tries < self.patience.tries {
                tokio::time::sleep(self.backoff().pause(tries, random())).await;
            }
        }
        tracing::warn!("the server could not be told that the configuration is stored; it learns so when the agent starts");
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
        Backoff::new(self.patience.pause, self.patience.longest, Jitter::Full)
    }
}

/// Random bits for a pause. Without a random number the pause is the longest one.
fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

/// What a failure of the exchange means for the claim.
fn not_answered(error: &client::Error) -> Refused {
    use client::Error as Cause;
    tracing::debug!(error = chain(error), "claiming a code");
    let (shown, is_passing) = match error {
        _ if error.is_timeout() => (Error::TimedOut, true),
        Cause::Unreachable(_) => (Error::Unreachable(error.root()), true),
        Cause::NotHttp(_) | Cause::TooLarge { .. } | Cause::Stopped(_) => (Error::Unexpected(error.to_string()), false),
        // The device's own clock or files, which the deepest cause does not name.
        Cause::NotYetValid(_) | Cause::NoAuthorities | Cause::Authorities { .. } => (Error::Unreachable(chain(error)), false),
        _ => (Error::Unreachable(error.root()), false),
    };
    Refused { error: shown, is_passing, retry_after: None }
}
