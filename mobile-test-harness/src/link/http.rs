//! The sealed representation over HTTP: the same messages as over Bluetooth, in the bodies of requests.

use std::collections::VecDeque;
use std::time::Duration;

use provisioning_core::endpoint::{Endpoint, OUTBOUND_LIMIT, PROTOBUF, SESSION_HEADER};
use provisioning_core::fault::Fault;
use provisioning_core::wire::Outbound;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use tokio::time::{Instant, sleep_until};

use super::{ANSWER_LIMIT, Error, Traffic};

/// The path from which a phone fetches the node's messages since the last answer.
const EVENTS: &str = "/api/v1/events";

/// The largest body that a node sends, bytes: a queue full of the largest messages.
const BODY_LIMIT: usize = 64 * (OUTBOUND_LIMIT + 16);

/// The pause between requests for events when the node answers at once, so that the phone does not poll in a tight loop.
const EVENTS_PAUSE: Duration = Duration::from_millis(20);

/// A node on the same network, or in its access point.
#[derive(Debug)]
pub struct Http {
    client: Client,
    node: Url,
    session: Option<HeaderValue>,
    messages: VecDeque<Outbound>,
    traffic: Traffic,
}

impl Http {
    /// A link to the node at `node`. The first request connects.
    pub fn new(node: Url) -> Self {
        Self { client: client(), node, session: None, messages: VecDeque::new(), traffic: Traffic::default() }
    }

    /// The traffic so far.
    pub const fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Reads the public value of an endpoint.
    pub async fn read(&mut self, endpoint: Endpoint) -> Result<Vec<u8>, Error> {
        let request = self.request(Method::GET, endpoint.row().path);
        let response = self.send(request).await?;
        if response.status() != StatusCode::OK || !is_protobuf(&response) {
            return Err(Error::Status(response.status().as_u16()));
        }
        self.body(response).await
    }

    /// Posts a message; keeps the node's answers.
    pub async fn write(&mut self, endpoint: Endpoint, message: &[u8]) -> Result<(), Error> {
        let mut request = self.request(Method::POST, endpoint.row().path).header(CONTENT_TYPE, PROTOBUF);
        if let Some(session) = &self.session {
            request = request.header(SESSION_HEADER, session);
        }
        self.traffic.sent += message.len() as u64;
        let response = self.send(request.body(message.to_vec())).await?;
        if endpoint == Endpoint::Session {
            // The same name if the node still held the session, else a new one.
            self.session = response.headers().get(SESSION_HEADER).cloned();
        }
        self.take(response).await
    }

    /// The next message; requests events until one arrives, or until `until`.
    pub async fn receive(&mut self, until: Instant) -> Result<Option<Outbound>, Error> {
        loop {
            if let Some(message) = self.messages.pop_front() {
                return Ok(Some(message));
            }
            let requested = Instant::now();
            if requested >= until {
                return Ok(None);
            }
            let session = self.session.as_ref().ok_or(Error::Lost(None))?;
            let request = || self.request(Method::GET, EVENTS).header(SESSION_HEADER, session);
            let (first, second) = (request(), request());
            let response = match self.send(first).await {
                // A node closes an idle connection, such as one that was silent during a scan. The request and the close may
                // cross.
                Err(Error::Http(error)) if !error.is_connect() => {
                    tracing::debug!(%error, "requesting events again");
                    self.send(second).await?
                }
                result => result?,
            };
            self.take(response).await?;
            if self.messages.is_empty() {
                sleep_until(requested + EVENTS_PAUSE).await;
            }
        }
    }

    /// The node's address.
    pub(super) fn node(&self) -> Url {
        self.node.clone()
    }

    /// Changes the node's address. It is the same node, and may still hold the session.
    pub(super) fn move_to(&mut self, node: Url) {
        self.node = node;
        // Open connections lead to the old address.
        self.client = client();
    }

    /// Discards messages of a session that has ended.
    pub(super) fn forget_messages(&mut self) {
        self.messages.clear();
    }

    /// Ends the session, so that the next phone need not wait.
    pub async fn end_session(&mut self) {
        let Some(session) = self.session.take() else { return };
        let request = self.request(Method::DELETE, Endpoint::Session.row().path).header(SESSION_HEADER, session);
        if let Err(error) = self.send(request).await {
            // The node ends it after a while in any case.
            tracing::debug!(%error, "ending the session");
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.node.clone();
        url.set_path(path);
        self.client.request(method, url).header(ACCEPT, PROTOBUF)
    }

    async fn send(&mut self, request: RequestBuilder) -> Result<Response, Error> {
        self.traffic.round_trips += 1;
        request.send().await.map_err(|error| if error.is_timeout() { Error::Silent } else { Error::Http(error) })
    }

    /// Takes the messages of a response. A refusal of the protocol is a message, with any HTTP status.
    async fn take(&mut self, response: Response) -> Result<(), Error> {
        let status = response.status();
        if !is_protobuf(&response) {
            return match status {
                StatusCode::NO_CONTENT => Ok(()),
                // The node does not know the session: it has ended.
                StatusCode::UNAUTHORIZED | StatusCode::NOT_FOUND | StatusCode::GONE => Err(Error::Lost(None)),
                status => Err(Error::Status(status.as_u16())),
            };
        }
        let messages = Outbound::decode_list(&self.body(response).await?).map_err(Error::InvalidMessage)?;
        if messages.is_empty() && !status.is_success() {
            return Err(Error::Status(status.as_u16()));
        }
        self.messages.extend(messages);
        Ok(())
    }

    async fn body(&mut self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Error::Http)? {
            body.extend_from_slice(&chunk);
            if body.len() > BODY_LIMIT {
                return Err(Error::InvalidMessage(Fault::TooLarge));
            }
        }
        self.traffic.received += body.len() as u64;
        Ok(body)
    }
}

fn is_protobuf(response: &Response) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|content_type| content_type == PROTOBUF)
}

fn client() -> Client {
    crate::command_center::install_cryptography();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_LIMIT)
        .connect_timeout(Duration::from_secs(5))
        // Nodes use plain HTTP with sealed messages, so no certificates are needed.
        .tls_certs_only(std::iter::empty())
        .build()
        .expect("the configuration is constant and valid")
}
