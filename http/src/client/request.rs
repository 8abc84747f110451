//! One request and its answer.

use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::error::Error;
use super::retry_after::RetryAfter;
use provisioning_core::secret::SecretText;

/// A request. Clones share the body.
#[derive(Clone)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
    limit: Duration,
}

impl Request {
    /// A request without a body. `limit` is for the whole exchange, from making the connection to the end of the body.
    pub fn get(url: Url, limit: Duration) -> Self {
        Self { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new(), limit }
    }

    /// A request with a JSON body, such as [`encode`](super::encode) makes. It is erased when it has been sent; the
    /// buffers of HTTP and TLS are not, and are freed with the connection.
    pub fn json(method: Method, url: Url, body: Zeroizing<Vec<u8>>, limit: Duration) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { method, url, headers, body: Bytes::from_owner(body), limit }
    }

    /// With a header, in place of one of that name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// With a bearer token, which must be printable ASCII.
    #[must_use]
    pub fn with_bearer(self, token: &SecretText) -> Self {
        let bearer = Zeroizing::new(format!("Bearer {}", token.expose()));
        let mut value = HeaderValue::from_str(&bearer).expect("a token is printable ASCII");
        value.set_sensitive(true);
        self.with_header(AUTHORIZATION, value)
    }

    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// Sends the request with a client that is ready within the limit too.
    pub(super) async fn send_over(self, client: impl Future<Output = Result<reqwest::Client, Error>>) -> Result<Response, Error> {
        let Self { method, url, headers, body, limit } = self;
        let deadline = Instant::now() + limit;
        let exchange = async {
            let mut request = client.await?.request(method, url).headers(headers);
            if !body.is_empty() {
                request = request.body(body);
            }
            request.send().await.map_err(Error::exchange)
        };
        let response = timeout_at(deadline, exchange).await.unwrap_or(Err(Error::TimedOut(limit)))?;
        Ok(Response { inner: response, limit, deadline })
    }
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
    limit: Duration,
    deadline: Instant,
}

impl Response {
    /// The status.
    pub fn status(&self) -> StatusCode {
        self.inner.status()
    }

    /// When a server that is overloaded or failed wants the request again. `Retry-After` in other answers is ignored.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        let status = self.status();
        let is_passing = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
        if is_passing { RetryAfter::parse(self.inner.headers()) } else { None }
    }

    /// The body, up to that many bytes. The buffer never grows, so no part of a secret is left in memory that is not
    /// erased.
    pub async fn body(self, most: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Self { mut inner, limit, deadline } = self;
        let status = inner.status();
        let reading = async {
            let mut body = Zeroizing::new(Vec::with_capacity(most));
            while let Some(chunk) = inner.chunk().await.map_err(Error::exchange)? {
                if body.len() + chunk.len() > most {
                    return Err(Error::TooLarge { status, limit: most });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        };
        timeout_at(deadline, reading).await.unwrap_or(Err(Error::TimedOut(limit)))
    }
}
