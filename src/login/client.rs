//! The client of the admin API, and of a loader's login.
//!
//! Passwords and the operator's credentials go to the server that the operator named, over TLS unless the operator wrote
//! `http://`. Redirects are not followed, proxies of the environment are not used, and no answer's text is ever shown.

use std::error::Error as StdError;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jarvis_http::client::{self, Pool, Request, RetryAfter, Trust, decode, encode, is_exposed};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, StatusCode};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use provisioning_core::backoff::{Backoff, Jitter};
use provisioning_core::secret::SecretText;

/// The role of every account.
const ROLE: &str = "CompanionPC";

/// A token file or key larger than this is something else, bytes.
const CREDENTIAL_LIMIT: u64 = 64 * 1024;

/// The longest answer to a login that is read, bytes: a token has a few hundred.
const ANSWER_LIMIT: usize = 16 * 1024;

/// Pauses after failures. The longest also holds if the server asks for a longer one: an operator is waiting. Half of
/// each is random, so that clients that failed together do not retry together.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_mins(1), Jitter::Half);

/// How often a server may answer 429 to one request before that counts as a failure. A limit of one request per minute
/// needs fewer, even with eight jobs.
const RATE_LIMITED_TRIES: u32 = 30;

/// The address of an API: `http://` or `https://`, a host, and perhaps a path. One slash at the end is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiUrl(Url);

impl FromStr for ApiUrl {
    type Err = ApiUrlError;

    fn from_str(text: &str) -> Result<Self, ApiUrlError> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let url = Url::parse(text).map_err(|_| ApiUrlError::Form)?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(ApiUrlError::Form);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(ApiUrlError::Credentials);
        }
        Ok(Self(url))
    }
}

impl fmt::Display for ApiUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl ApiUrl {
    fn join(&self, path: &str) -> Url {
        Url::parse(&format!("{self}{path}")).expect("a path makes a longer URL of a plain one")
    }
}

/// A text that is not the address of an API.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum ApiUrlError {
    /// Not a plain web address.
    #[error("it is not of the form https://host[:port][/path]")]
    Form,
    /// Every user of this machine could read a password in it.
    #[error("it has a user name or password in it: use --admin-token-file or --client-cert")]
    Credentials,
}

/// The operator's credentials for the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// A file with a bearer token.
    pub token: Option<PathBuf>,
    /// PEM files with a certificate and its chain, and with its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A PEM file with the only trusted authorities; the system's without it.
    pub authorities: Option<PathBuf>,
}

/// A client that cannot be made of what the operator gave.
#[derive(Debug, Error)]
pub enum SetupError {
    /// A file that cannot be used.
    #[error("reading {what} {}", path.display())]
    File {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The authorities.
    #[error("reading the certificate authorities")]
    Authorities(#[source] client::Error),
    /// The certificate does not go with the key.
    #[error("using the client's certificate {}", path.display())]
    Certificate {
        /// The certificate.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// The limits of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many requests are in progress at once.
    pub jobs: usize,
    /// How often a request is sent before it counts as failed.
    pub tries: u32,
    /// How long one try may take.
    pub answer: Duration,
}

impl Default for Limits {
    /// Eight requests use a server well without looking like an attack. Five tries take about eight seconds of pauses,
    /// which is a server's restart. An account is made within a second, or something is wrong.
    fn default() -> Self {
        Self { jobs: 8, tries: 5, answer: Duration::from_secs(30) }
    }
}

/// Why a request failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The server rejects the operator's credentials, so all requests of the batch would fail.
    #[error("the server answered {0} to the operator's credentials")]
    Unauthorized(StatusCode),
    /// A final answer.
    #[error("the server answered {status} to {method} {path}")]
    Answer {
        /// What it answered.
        status: StatusCode,
        /// To which method.
        method: Method,
        /// And which path.
        path: &'static str,
    },
    /// All tries failed.
    #[error("{tries} tries failed")]
    Exhausted {
        /// How many.
        tries: u32,
        /// The last.
        #[source]
        last: Try,
    },
    /// The run ends.
    #[error("the run was stopped")]
    Stopped,
}

/// Why one try failed.
#[derive(Debug, Error)]
pub enum Try {
    /// The server failed, or limits the rate of requests.
    #[error("the server answered {0}")]
    Status(StatusCode),
    /// No answer.
    #[error("no answer from the server")]
    Exchange(#[source] client::Error),
    /// No answer in time.
    #[error("no answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// The result of creating an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was made.
    Created,
    /// There is one of that name. `perhaps_ours`: an earlier try had no clear answer, and may have made it.
    Exists {
        /// See above.
        perhaps_ours: bool,
    },
}

/// The result of a login.
#[derive(Debug)]
pub enum Login {
    /// The password is right. The token, if the server gives it away.
    Accepted(Option<SecretText>),
    /// The password is wrong, or there is no such account.
    Rejected(StatusCode),
    /// The server knows no logins.
    Unknown,
}

#[derive(Serialize)]
struct NewAccount<'a> {
    email: &'a str,
    password: &'a str,
    role: &'a str,
}

#[derive(Serialize)]
struct Password<'a> {
    email: &'a str,
    password: &'a str,
}

/// What a login may answer; the names that servers use for the token.
#[derive(Deserialize)]
struct Token {
    #[serde(alias = "access_token", alias = "accessToken", alias = "jwt")]
    token: Option<String>,
}

/// A client of one server. Clones share connections, pauses and the number of requests.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
}

struct Shared {
    url: ApiUrl,
    pool: Pool,
    token: Option<HeaderValue>,
    limits: Limits,
    slots: Semaphore,
    /// No request is sent before this time, which the server has set.
    pause: Mutex<Instant>,
    stop: watch::Sender<bool>,
    clock: fn() -> SystemTime,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("url", &self.shared.url).field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl Api {
    /// A client for a server. Reads the credentials; blocks on the disk. `clock` is read if `Retry-After` contains a date.
    pub fn new(url: ApiUrl, credentials: &Credentials, limits: Limits, clock: fn() -> SystemTime) -> Result<Self, SetupError> {
        let token = credentials.token.as_deref().map(read_token).transpose()?;
        let tls = tls(url.0.scheme() == "https", credentials)?;
        if is_exposed(&url.0) {
            tracing::warn!(%url, "passwords are sent without TLS: every machine on the path can read them");
        }
        let slots = Semaphore::new(limits.jobs);
        let shared = Shared {
            url,
            pool: Pool::new(tls, limits.jobs),
            token,
            limits,
            slots,
            pause: Mutex::new(Instant::now()),
            stop: watch::Sender::new(false),
            clock,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The server.
    pub fn url(&self) -> &ApiUrl {
        &self.shared.url
    }

    /// The limits of requests.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Sends no more requests. Those in progress are completed.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// Whether nothing more is sent.
    pub fn is_stopped(&self) -> bool {
        *self.shared.stop.borrow()
    }

    /// Makes an account.
    pub async fn create(&self, email: &str, password: &SecretText) -> Result<Creation, Error> {
        let body = encode(&NewAccount { email, password: password.expose(), role: ROLE });
        let call = Call { method: Method::POST, path: "/users", operator: true };
        let (answer, unclear) = self.call(&call, body).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => Ok(Creation::Created),
            StatusCode::CONFLICT => Ok(Creation::Exists { perhaps_ours: unclear }),
            status => Err(call.answer(status)),
        }
    }

    /// Replaces an account's password.
    pub async fn set_password(&self, email: &str, password: &SecretText) -> Result<(), Error> {
        let body = encode(&Password { email, password: password.expose() });
        let call = Call { method: Method::PATCH, path: "/users/password", operator: true };
        match self.call(&call, body).await?.0.status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            status => Err(call.answer(status)),
        }
    }

    /// Logs in, as the device itself will.
    pub async fn login(&self, email: &str, password: &SecretText) -> Result<Login, Error> {
        let body = encode(&Password { email, password: password.expose() });
        let call = Call { method: Method::POST, path: "/login", operator: false };
        let (answer, _) = self.call(&call, body).await?;
        match answer.status {
            StatusCode::OK | StatusCode::CREATED => {}
            status @ (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Ok(Login::Rejected(status));
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => return Ok(Login::Unknown),
            status => return Err(call.answer(status)),
        }
        let token = decode(&answer.body).ok().and_then(|Token { token }| token).map(SecretText::new);
        // It becomes a line of a file and a part of a header.
        let token =
            token.filter(|token| !token.expose().is_empty() && token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
        Ok(Login::Accepted(token))
    }

    /// Sends a request until it has a final answer. Also returns whether a try before the last may have had an effect.
    async fn call(&self, call: &Call, body: Zeroizing<Vec<u8>>) -> Result<(Answer, bool), Error> {
        let shared = &*self.shared;
        let mut request = Request::json(call.method.clone(), shared.url.join(call.path), body, shared.limits.answer);
        if let Some(token) = shared.token.as_ref().filter(|_| call.operator) {
            request = request.with_header(AUTHORIZATION, token.clone());
        }
        let mut unclear = false;
        let (mut tries, mut limited) = (0, 0);
        loop {
            let failure = match self.exchange(request.clone()).await? {
                Ok(answer) => match answer.status {
                    status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) if call.operator => {
                        return Err(Error::Unauthorized(status));
                    }
                    status @ (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) => {
                        let retry_after = answer.retry_after.map(|after| after.by_clock((shared.clock)()));
                        if let Some(pause) = retry_after {
                            self.pause_for(pause);
                        }
                        if status == StatusCode::TOO_MANY_REQUESTS && limited < RATE_LIMITED_TRIES {
                            limited += 1;
                            if retry_after.is_none() {
                                self.pause_for(pause(limited.min(7)));
                            }
                            continue;
                        }
                        // A request over a rate limit had no effect; one to an overloaded server may have had.
                        unclear |= status == StatusCode::SERVICE_UNAVAILABLE;
                        Try::Status(status)
                    }
                    status if status.is_server_error() => {
                        unclear = true;
                        Try::Status(status)
                    }
                    _ => return Ok((answer, unclear)),
                },
                Err(failure) => {
                    // A connection that was never made carried nothing.
                    unclear |= !matches!(&failure, Try::Exchange(error) if error.is_before_request());
                    failure
                }
            };
            tries += 1;
            tracing::debug!(method = %call.method, path = call.path, tries, %failure, "a try failed");
            if tries >= shared.limits.tries {
                return Err(Error::Exhausted { tries, last: failure });
            }
            self.wait(Instant::now() + pause(tries)).await?;
        }
    }

    /// One try: when the server's pause is over and there are not too many others.
    async fn exchange(&self, request: Request) -> Result<Result<Answer, Try>, Error> {
        let shared = &*self.shared;
        let slot = loop {
            let slot = shared.slots.acquire().await.expect("the semaphore is never closed");
            let until = *shared.pause.lock().unwrap_or_else(PoisonError::into_inner);
            if until <= Instant::now() {
                break slot;
            }
            drop(slot);
            self.wait(until).await?;
        };
        if self.is_stopped() {
            return Err(Error::Stopped);
        }
        let answered = async { Answer::read(shared.pool.send(request).await?).await }.await;
        drop(slot);
        Ok(answered.map_err(|error| match error {
            client::Error::TimedOut(limit) => Try::TimedOut(limit),
            error => Try::Exchange(error),
        }))
    }

    /// Sends no request for that time, within the limit.
    fn pause_for(&self, pause: Duration) {
        let mut until = self.shared.pause.lock().unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + RETRIES.limited(pause));
    }

    async fn wait(&self, until: Instant) -> Result<(), Error> {
        let mut stop = self.shared.stop.subscribe();
        tokio::select! {
            () = tokio::time::sleep_until(until) => Ok(()),
            _ = stop.wait_for(|stop| *stop) => Err(Error::Stopped),
        }
    }
}

/// The answer to a request.
struct Answer {
    status: StatusCode,
    retry_after: Option<RetryAfter>,
    /// Empty if it was too long or broke off.
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    /// Reads an answer to its end, so that the connection can be used again.
    async fn read(response: client::Response) -> Result<Self, client::Error> {
        let (status, retry_after) = (response.status(), response.retry_after());
        let body = match response.body(ANSWER_LIMIT).await {
            Err(error @ client::Error::TimedOut(_)) => return Err(error),
            body => body.unwrap_or_default(),
        };
        Ok(Self { status, retry_after, body })
    }
}

/// An operation of the API.
struct Call {
    method: Method,
    path: &'static str,
    /// The operator sends it, not a device.
    operator: bool,
}

impl Call {
    fn answer(&self, status: StatusCode) -> Error {
        Error::Answer { status, method: self.method.clone(), path: self.path }
    }
}

/// The pause after that many tries. Without a random number it is the longest one.
fn pause(tries: u32) -> Duration {
    RETRIES.pause(tries, getrandom::u32().unwrap_or(u32::MAX))
}

fn read_token(path: &Path) -> Result<HeaderValue, SetupError> {
    let file = |source| SetupError::File { what: "the token in", path: path.into(), source };
    let content = read_credential(path).map_err(|error| file(error.into()))?;
    let token = content.trim_ascii();
    if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) {
        return Err(file("it does not hold one token".into()));
    }
    let header = Zeroizing::new([b"Bearer ", token].concat());
    let mut header = HeaderValue::from_bytes(&header).expect("visible characters are a header");
    header.set_sensitive(true);
    Ok(header)
}

fn read_credential(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::File::open(path)?;
    let found = file.metadata()?;
    // A pipe from a password store is no file that others could read.
    if found.is_file() && found.mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others can read these credentials: run `chmod 600` on the file");
    }
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(CREDENTIAL_LIMIT).expect("it is small") + 1));
    file.take(CREDENTIAL_LIMIT + 1).read_to_end(&mut content)?;
    if content.len() as u64 > CREDENTIAL_LIMIT {
        return Err(std::io::Error::other("it is too large"));
    }
    Ok(content)
}

fn tls(used: bool, credentials: &Credentials) -> Result<ClientConfig, SetupError> {
    let trust = credentials.authorities.clone().map_or(Trust::System, Trust::Only);
    let roots = if used { trust.authorities().map_err(SetupError::Authorities)? } else { rustls::RootCertStore::empty() };
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots);
    let Some((certificate, key)) = &credentials.certificate else { return Ok(builder.with_no_client_auth()) };
    let file = |what, path: &Path| {
        let path = path.to_owned();
        move |source| SetupError::File { what, path, source }
    };
    let chain = || -> Result<Vec<_>, Box<dyn StdError + Send + Sync>> {
        let content = std::fs::read(certificate)?;
        let chain = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() { Err("it has no certificate".into()) } else { Ok(chain) }
    };
    let chain = chain().map_err(file("the client's certificate", certificate))?;
    let key = read_credential(key)
        .map_err(Box::<dyn StdError + Send + Sync>::from)
        .and_then(|content| Ok(PrivateKeyDer::from_pem_slice(&content)?))
        .map_err(file("the client's key", key))?;
    builder.with_client_auth_cert(chain, key).map_err(|source| SetupError::Certificate { path: certificate.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_loses_one_slash_at_its_end() {
        for (text, users) in [
            ("https://admin.test", "https://admin.test/users"),
            ("https://admin.test/", "https://admin.test/users"),
            ("http://10.0.0.1:8000/admin/", "http://10.0.0.1:8000/admin/users"),
        ] {
            assert_eq!(text.parse::<ApiUrl>().unwrap().join("/users").as_str(), users);
        }
    }

    #[test]
    fn an_address_with_credentials_or_without_a_host_is_refused() {
        assert_eq!("https://a:b@admin.test".parse::<ApiUrl>(), Err(ApiUrlError::Credentials));
        for wrong in ["admin.test", "ftp://admin.test", "https://", "https://x/?y", "https://x/#y", "file:///etc/passwd"] {
            assert_eq!(wrong.parse::<ApiUrl>(), Err(ApiUrlError::Form), "{wrong}");
        }
    }

    #[test]
    fn only_plain_http_to_others_is_exposed() {
        for (text, exposed) in [
            ("http://admin.test", true),
            ("http://10.0.0.1", true),
            ("https://admin.test", false),
            ("http://127.0.0.1:1", false),
            ("http://[::1]", false),
            ("http://localhost", false),
        ] {
            assert_eq!(is_exposed(&text.parse::<ApiUrl>().unwrap().0), exposed, "{text}");
        }
    }

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        assert!((1..40).all(|tries| pause(tries) <= RETRIES.longest()));
        assert!(pause(1) >= RETRIES.nominal(1) / 2 && pause(1) <= RETRIES.nominal(1));
        assert!(pause(40) >= RETRIES.longest() / 2);
    }

    #[test]
    fn a_token_is_one_word_and_is_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for wrong in ["", "\n", "two words", "\u{e9}"] {
            std::fs::write(file.path(), wrong).unwrap();
            assert!(read_token(file.path()).is_err(), "{wrong:?}");
        }
        std::fs::write(file.path(), "canary.of.a-token\r\n").unwrap();
        let header = read_token(file.path()).unwrap();
        assert_eq!(header.as_bytes(), b"Bearer canary.of.a-token");
        assert!(!format!("{header:?}").contains("canary"));
    }
}
