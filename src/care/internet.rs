//! Whether the internet is there: a page with known content, as NetworkManager checks it.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use provisioning_core::care::diagnosis::Internet;
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

/// Connection and answer together.
const LIMIT: Duration = Duration::from_secs(3);
/// How much of an answer is read, bytes. The expected one has a few hundred.
const ANSWER_LIMIT: usize = 4096;
/// The beginning of the expected content, and the header that replaces it (NetworkManager.conf(5), "connectivity").
const CONTENT: &str = "NetworkManager is online";
const HEADER: (&str, &str) = ("x-networkmanager-status", "online");

/// The page that is fetched. Plain http, so that neither a wrong clock nor a captive portal fails on certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckUrl {
    host: String,
    port: u16,
    path: String,
}

/// An unusable address of the page.
#[derive(Debug, Error)]
#[error("{}", Self::EXPECTED)]
pub struct InvalidCheckUrl;

impl InvalidCheckUrl {
    /// The valid values.
    pub const EXPECTED: &str = "set it to an http URL with the name of a host, such as http://network-test.debian.org/nm";
}

impl Default for CheckUrl {
    /// The page that Debian runs for this purpose.
    fn default() -> Self {
        Self { host: "network-test.debian.org".into(), port: 80, path: "/nm".into() }
    }
}

impl TryFrom<&str> for CheckUrl {
    type Error = InvalidCheckUrl;

    fn try_from(text: &str) -> Result<Self, InvalidCheckUrl> {
        let url = Url::parse(text).map_err(|_| InvalidCheckUrl)?;
        match url.host() {
            Some(Host::Domain(host)) if url.scheme() == "http" => {
                Ok(Self { host: host.to_owned(), port: url.port().unwrap_or(80), path: url.path().to_owned() })
            }
            _ => Err(InvalidCheckUrl),
        }
    }
}

impl CheckUrl {
    /// The name that DNS must resolve.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

/// Fetches the page from the first address that answers.
pub(super) async fn probe(check: &CheckUrl, addresses: &[Ipv4Addr]) -> Internet {
    let by = format!("http://{}{}", check.host, check.path);
    if addresses.is_empty() {
        return Internet::Unchecked;
    }
    let addresses: Vec<_> = addresses.iter().map(|address| SocketAddr::from((*address, check.port))).collect();
    match timeout(LIMIT, fetch(check, &addresses)).await {
        Ok(Ok(answer)) if is_expected(&answer) => Internet::Reached(by),
        Ok(Ok(_)) => Internet::Portal(by),
        Ok(Err(error)) => Internet::Unreachable(by, error.to_string()),
        Err(_) => Internet::Unreachable(by, format!("no answer within {} s", LIMIT.as_secs())),
    }
}

async fn fetch(check: &CheckUrl, addresses: &[SocketAddr]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addresses).await?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", check.path, check.host);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::with_capacity(ANSWER_LIMIT);
    // The end of the connection may come later than the page, and would wake the processor once more.
    while answer.len() < ANSWER_LIMIT && !is_expected(&answer) {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    if answer.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

/// Whether an answer comes from the page: a captive portal answers with a page of its own, whatever its status is.
fn is_expected(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let mut lines = head.lines();
    let is_success = lines.next().and_then(|line| line.split(' ').nth(1)).is_some_and(|status| status.starts_with('2'));
    let has_header = lines
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| (name.trim().to_ascii_lowercase().as_str(), value.trim()) == HEADER);
    is_success && (has_header || body.starts_with(CONTENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_itself_is_expected() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\nServer: x\r\n\r\nNetworkManager is online\n", true),
            ("HTTP/1.1 204 No Content\r\nX-NetworkManager-Status: online\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\n\r\n<html>Sign in: NetworkManager is online</html>", false),
            ("HTTP/1.1 204 No Content\r\n\r\n", false),
            ("HTTP/1.1 302 Found\r\nLocation: http://portal\r\n\r\nNetworkManager is online", false),
            ("HTTP/1.1 200 OK\r\nNetworkManager is online", false),
            ("\u{0}\u{1}", false),
        ] {
            assert_eq!(is_expected(answer.as_bytes()), expected, "{answer:?}");
        }
    }

    #[test]
    fn the_page_is_named_by_a_plain_http_url() {
        let check = CheckUrl::try_from("http://check.example:8080/online?x#y").expect("a plain http URL");
        assert_eq!(check, CheckUrl { host: "check.example".into(), port: 8080, path: "/online".into() });
        for wrong in ["https://check.example/", "http://192.168.1.1/", "check.example", "http://", "ftp://x/"] {
            assert!(CheckUrl::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
