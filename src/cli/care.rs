//! A client of the running node's API at `/api/provisioning`, for the commands that use it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use jarvis_http::client::encode;
use jarvis_provisioning::config::Config;
use provisioning_core::fault::chain;
use provisioning_core::secret::SecretText;
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{Failure, Settings};

/// The help of every command that uses the API.
pub(super) const NEEDS: &str = "Needs a node that runs on this device, with network care enabled in its settings.";
/// The exit status if the node does not run, or without what the command needs.
pub(super) const ABSENT: u8 = 9;
/// The node is on this device.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longer than the node takes for a request, and than a stream of events is silent.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);
/// Largest answer, bytes: more than ten thousand networks have.
const ANSWER_SIZE: u64 = 16 << 20;
/// Longest line of a head or of an event, bytes.
const LINE_SIZE: u64 = 64 << 10;

/// Options of every command that uses the API.
#[derive(clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    settings: Settings,

    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// The API of the node on this device.
pub(super) struct Api {
    address: SocketAddr,
    token: Option<SecretText>,
}

/// The answer to a request, or why there is none.
type Asked = Result<Result<Value, Refused>, Failure>;

/// An answer other than 200.
pub(super) struct Refused {
    status: u16,
    body: Value,
}

impl Options {
    pub(super) fn api(&self) -> Result<Api, Failure> {
        Api::of(&self.settings.read()?)
    }

    /// Sends a request that has no result, and prints that it has succeeded.
    pub(super) fn perform(&self, path: &str, body: &impl Serialize, done: &str) -> Result<(), Failure> {
        self.ask(|api| api.post(path, body), |_| done.to_owned())
    }

    /// Sends a request, and prints its answer: as JSON, or as text.
    pub(super) fn ask(&self, request: impl FnOnce(&Api) -> Asked, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        let asked = || {
            let answer = request(&self.api()?)??;
            let shown = if self.json { answer.to_string() } else { text(&answer) };
            writeln!(io::stdout().lock(), "{shown}").map_err(anyhow::Error::from)?;
            Ok(())
        };
        self.report(asked())
    }

    /// Prints a failure as JSON, if that is the format of the output.
    pub(super) fn report(&self, result: Result<(), Failure>) -> Result<(), Failure> {
        report(self.json, result)
    }
}

/// Prints a failure as JSON, if that is the format of the output.
pub(super) fn report(json: bool, result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(Failure::Reported(status)) => Err(Failure::Reported(status)),
        Err(failure) if json => {
            let object = json!({ "ok": false, "error": chain(&failure) });
            writeln!(io::stdout().lock(), "{object}").map_err(anyhow::Error::from)?;
            Err(Failure::Reported(failure.status()))
        }
        result => result,
    }
}

impl Api {
    fn of(config: &Config) -> Result<Self, Failure> {
        // A node that listens at all addresses listens at the loopback.
        let address = config.listen.filter(|listen| !listen.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Ok(Self { address: SocketAddr::new(address, config.port), token: config.care.api_token()? })
    }

    pub(super) fn get(&self, path: &str) -> Asked {
        self.open("GET", path, "", b"")?.finish()
    }

    pub(super) fn post(&self, path: &str, body: &impl Serialize) -> Asked {
        // It may hold a password, so it is erased.
        let body = encode(body);
        self.open("POST", path, "", &body)?.finish()
    }

    /// Opens the stream of events, after the event with an id.
    pub(super) fn events(&self, follow: bool, last: Option<&str>) -> Result<Result<Answer, Refused>, Failure> {
        let path = if follow { "events" } else { "events?follow=false" };
        let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        self.open("GET", path, &last, b"")?.success()
    }

    fn open(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Result<Answer, Failure> {
        let absent = |source: io::Error| Failure::Absent { address: self.address, source };
        let lost = || format!("talking to the node at {}", self.address);
        let mut stream = TcpStream::connect_timeout(&self.address, CONNECT_LIMIT).map_err(absent)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).with_context(lost)?;
        let mut request = Zeroizing::new(format!(
            "{method} /api/provisioning/{path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}",
            self.address,
            body.len(),
        ));
        if let Some(token) = &self.token {
            request.push_str("authorization: Bearer ");
            request.push_str(token.expose());
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).and_then(|()| stream.write_all(body)).with_context(lost)?;
        Answer::read(stream).with_context(lost).map_err(Failure::Other)
    }
}

/// An answer whose body has not been read.
pub(super) struct Answer {
    status: u16,
    body: BufReader<TcpStream>,
}

impl Answer {
    fn read(stream: TcpStream) -> io::Result<Self> {
        let mut answer = Self { status: 0, body: BufReader::new(stream) };
        let head = answer.line()?.unwrap_or_default();
        answer.status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        // The connection ends with the body, so no header matters.
        while !answer.line()?.ok_or(io::ErrorKind::UnexpectedEof)?.is_empty() {}
        Ok(answer)
    }

    /// The next line without its end; none at the end of the connection.
    pub(super) fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        (&mut self.body).take(LINE_SIZE).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            return if line.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        line.pop_if(|last| *last == b'\r');
        String::from_utf8(line).map(Some).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn success(self) -> Result<Result<Self, Refused>, Failure> {
        if self.status == 200 { Ok(Ok(self)) } else { Ok(Err(self.refused()?)) }
    }

    fn finish(self) -> Asked {
        match self.success()? {
            Ok(answer) => Ok(Ok(answer.object()?)),
            Err(refused) => Ok(Err(refused)),
        }
    }

    fn refused(self) -> Result<Refused, Failure> {
        Ok(Refused { status: self.status, body: self.object()? })
    }

    fn object(self) -> Result<Value, Failure> {
        serde_json::from_reader(self.body.take(ANSWER_SIZE))
            .map_err(|_| Failure::Other(anyhow!("the answer is not JSON: is another program listening at the port of the node?")))
    }
}

impl Refused {
    /// Every failure is 0 to 9, see the help.
    const fn exit_status(&self) -> u8 {
        match self.status {
            400 => 2,
            401 | 403 => 6,
            404 => ABSENT,
            409 | 503 => 7,
            _ => 1,
        }
    }

    fn text(&self) -> String {
        let text = |key: &str| self.body[key].as_str().map(super::terminal::printable);
        match (self.status, text("field"), text("reason"), text("error")) {
            (401, ..) => "the node requires its token: set MOONHUB_PROVISIONING_TOKEN, or run as a user who can read the \
                file of the setting care.token_file"
                .into(),
            (404, _, Some(reason), _) => reason,
            (404, ..) => "network care is not enabled: set `enabled = true` under [care] in the settings of the node, and \
                restart it"
                .into(),
            (_, Some(field), Some(reason), _) => format!("{field}: {reason}"),
            (_, None, Some(reason), _) => reason,
            (.., Some(error)) => cooldown(&error).unwrap_or(error),
            _ => format!("the node has answered with the status {}", self.status),
        }
    }
}

/// What a person is told about the cooldown of a recovery, whose end the API gives in milliseconds since 1970.
fn cooldown(error: &str) -> Option<String> {
    let until = error.strip_prefix("recovery is in cooldown until ")?.parse().ok().map(Duration::from_millis)?;
    let left = until.saturating_sub(super::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    Some(format!("a recovery has just ended: try again in {} s", left.as_secs() + 1))
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let text = refused.text();
        match refused.exit_status() {
            2 => Self::Usage(text),
            6 => Self::Credentials(anyhow!(text)),
            7 => Self::Server(anyhow!(text)),
            ABSENT => Self::Disabled(text),
            _ => Self::Other(anyhow!(text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: Value) -> (u8, String) {
        let refused = Refused { status, body };
        (refused.exit_status(), refused.text())
    }

    #[test]
    fn a_refusal_says_what_is_wrong_and_has_its_exit_status() {
        let invalid = json!({ "error": "invalid request body", "field": "ssid", "reason": "it is required" });
        assert_eq!(refused(400, invalid), (2, "ssid: it is required".into()));
        let failed = json!({ "error": "network operation failed", "reason": "The Wi-Fi password is wrong." });
        assert_eq!(refused(500, failed), (1, "The Wi-Fi password is wrong.".into()));
        let busy = json!({ "error": "recovery already in progress" });
        assert_eq!(refused(409, busy), (7, "recovery already in progress".into()));
        let cooldown = json!({ "error": "recovery is in cooldown until 1772323199123" });
        assert_eq!(refused(409, cooldown), (7, "a recovery has just ended: try again in 1 s".into()));
        assert!(refused(401, json!({})).1.contains("MOONHUB_PROVISIONING_TOKEN"));
        let (status, text) = refused(404, json!({ "detail": "Not Found" }));
        assert!(status == ABSENT && text.contains("[care]"), "{text}");
        assert_eq!(refused(502, Value::Null), (1, "the node has answered with the status 502".into()));
    }
}
