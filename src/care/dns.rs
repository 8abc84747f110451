//! Whether names are resolved: real queries to the configured servers (RFC 1035).
//!
//! The system's resolver is not used: it hides which server has answered, it caches, and it has no limit of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use provisioning_core::care::diagnosis::Dns;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// The time for an answer; the query is sent twice in it, because UDP may lose it.
const LIMIT: Duration = Duration::from_secs(2);
const TRIES: u32 = 2;
/// How many servers are asked; resolvers use no more (resolv.conf(5), `MAXNS`).
const SERVERS: usize = 3;
/// The longest answer without extensions, bytes.
const ANSWER_LIMIT: usize = 512;
/// Never exists (RFC 6761, 6.4).
const NOWHERE: &str = "invalid";

const CLASS_INTERNET: u16 = 1;
const TYPE_ADDRESS: u16 = 1;
/// The flags of a query: recursion desired.
const QUERY: u16 = 0x0100;
/// In an answer: it is one, and the error code.
const IS_ANSWER: u16 = 0x8000;
const ERROR: u16 = 0x000f;

/// What a server has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Addresses(Vec<Ipv4Addr>),
    /// An error code, such as 3 for a name that does not exist.
    Error(u16),
}

/// Resolves a name with each server. The first server that answers decides; its addresses are returned too.
pub(super) async fn probe(servers: &[Ipv4Addr], port: u16, name: &str) -> (Dns, Vec<Ipv4Addr>) {
    if servers.is_empty() {
        return (Dns::NoServer, Vec::new());
    }
    let missing = missing_name();
    let asking = servers.iter().take(SERVERS).map(async |server| {
        let address = SocketAddr::from((*server, port));
        tokio::join!(ask(address, name), ask(address, &missing))
    });
    let answers = join_all(asking).await;
    for (server, answers) in servers.iter().zip(answers) {
        let server = server.to_string();
        match answers {
            (_, Some(Answer::Addresses(addresses))) if !addresses.is_empty() => {
                let lie = Dns::Lies { server, name: missing, address: addresses[0].to_string() };
                // What it says about the real name is still probed: behind it there may be a captive portal.
                return (lie, addresses);
            }
            (Some(Answer::Addresses(addresses)), _) if !addresses.is_empty() => {
                return (Dns::Resolves { server, name: name.into() }, addresses);
            }
            (Some(Answer::Addresses(_)), _) => return refuses(server, name, "no address"),
            (Some(Answer::Error(code)), _) => return refuses(server, name, error_name(code)),
            (None, _) => {}
        }
    }
    (Dns::Silent(servers.iter().take(SERVERS).map(ToString::to_string).collect()), Vec::new())
}

fn refuses(server: String, name: &str, error: &str) -> (Dns, Vec<Ipv4Addr>) {
    (Dns::Refuses { server, name: name.into(), error: error.into() }, Vec::new())
}

/// A name that does not exist, and that no server has in its cache.
fn missing_name() -> String {
    format!("{:016x}.{NOWHERE}", getrandom::u64().unwrap_or_default())
}

/// A server's answer; none if there was none in time.
async fn ask(server: SocketAddr, name: &str) -> Option<Answer> {
    let id = u16::try_from(getrandom::u32().unwrap_or_default() >> 16).expect("the upper half");
    let query = encode(id, name)?;
    let asking = async {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        // The kernel discards packets from other addresses.
        socket.connect(server).await?;
        for _ in 0..TRIES {
            socket.send(&query).await?;
            if let Ok(answer) = timeout(LIMIT / TRIES, receive(&socket, &query)).await {
                return answer;
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    };
    asking.await.ok()
}

/// Receives until a packet answers the query.
async fn receive(socket: &UdpSocket, query: &[u8]) -> io::Result<Answer> {
    let mut buffer = [0; ANSWER_LIMIT];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = decode(&buffer[..length], query) {
            return Ok(answer);
        }
    }
}

/// A query for the addresses of a name; none if it is no name.
fn encode(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut query = Vec::with_capacity(name.len() + 18);
    for field in [id, QUERY, 1, 0, 0, 0] {
        query.extend(field.to_be_bytes());
    }
    for label in name.trim_end_matches('.').split('.') {
        query.push(u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?);
        query.extend(label.as_bytes());
    }
    query.push(0);
    for field in [TYPE_ADDRESS, CLASS_INTERNET] {
        query.extend(field.to_be_bytes());
    }
    Some(query)
}

/// The answer to a query in a packet; none if the packet is none, or is malformed.
fn decode(packet: &[u8], query: &[u8]) -> Option<Answer> {
    let (mut reader, asked) = (Reader(packet), Reader(query).skip(12)?);
    let (id, flags) = (reader.number()?, reader.number()?);
    let questions = reader.number()?;
    let answers = reader.number()?;
    reader = reader.skip(4)?;
    if id.to_be_bytes() != query[..2] || flags & IS_ANSWER == 0 || questions != 1 {
        return None;
    }
    // Some servers change the case of the question.
    if !reader.take(asked.0.len())?.eq_ignore_ascii_case(asked.0) {
        return None;
    }
    if flags & ERROR != 0 {
        return Some(Answer::Error(flags & ERROR));
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        reader.name()?;
        let (kind, class) = (reader.number()?, reader.number()?);
        reader = reader.skip(4)?;
        let length = reader.number()?;
        let data = reader.take(length.into())?;
        // Others are aliases, whose addresses follow.
        if let (TYPE_ADDRESS, CLASS_INTERNET, Ok(address)) = (kind, class, <[u8; 4]>::try_from(data)) {
            addresses.push(address.into());
        }
    }
    Some(Answer::Addresses(addresses))
}

/// The unread part of a packet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn skip(mut self, length: usize) -> Option<Self> {
        self.take(length)?;
        Some(self)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    /// Passes over a name: labels up to an empty one, or up to a reference to an earlier name.
    fn name(&mut self) -> Option<()> {
        loop {
            match self.take(1)?[0] {
                0 => return Some(()),
                length @ 1..=63 => {
                    self.take(length.into())?;
                }
                0xc0.. => {
                    self.take(1)?;
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}

/// The name of an error code.
const fn error_name(code: u16) -> &'static str {
    match code {
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => "an unknown error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a query with these records: a reference to the question's name, type, and data.
    fn answer(query: &[u8], flags: u16, records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut packet = query.to_vec();
        packet[2..4].copy_from_slice(&flags.to_be_bytes());
        packet[7] = u8::try_from(records.len()).expect("few");
        for (kind, data) in records {
            packet.extend([0xc0, 12]);
            packet.extend(kind.to_be_bytes());
            packet.extend([0, 1, 0, 0, 0, 60, 0, u8::try_from(data.len()).expect("short")]);
            packet.extend(*data);
        }
        packet
    }

    #[test]
    fn a_query_has_the_bytes_of_the_standard() {
        let query = encode(0x1234, "check.example.").expect("a name");
        assert_eq!(query, b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\x05check\x07example\0\0\x01\0\x01");
        for wrong in ["", "a..b", &"a".repeat(64)] {
            assert_eq!(encode(1, wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn addresses_are_read_behind_aliases() {
        let query = encode(7, "check.example").expect("a name");
        let packet =
            answer(&query, 0x8180, &[(5, b"\x01a\xc0\x0c"), (1, &[203, 0, 113, 1]), (28, &[0; 16]), (1, &[203, 0, 113, 2])]);
        let expected = [1, 2].map(|last| Ipv4Addr::new(203, 0, 113, last)).to_vec();
        assert_eq!(decode(&packet, &query), Some(Answer::Addresses(expected)));
        assert_eq!(decode(&answer(&query, 0x8183, &[]), &query), Some(Answer::Error(3)));
        assert_eq!(decode(&answer(&query, 0x8180, &[]), &query), Some(Answer::Addresses(vec![])));
    }

    #[test]
    fn a_packet_for_another_query_is_no_answer() {
        let query = encode(7, "check.example").expect("a name");
        for other in [encode(8, "check.example"), encode(7, "check.invalid")] {
            assert_eq!(decode(&answer(&other.expect("a name"), 0x8180, &[]), &query), None);
        }
        assert_eq!(decode(&query, &query), None, "the query itself");
        assert!(decode(&answer(&encode(7, "CHECK.Example").expect("a name"), 0x8180, &[]), &query).is_some());
    }

    #[test]
    fn a_packet_that_ends_anywhere_or_has_any_changed_byte_is_harmless() {
        let query = encode(7, "check.example").expect("a name");
        let packet = answer(&query, 0x8180, &[(5, b"\x01a\xc0\x0c"), (1, &[203, 0, 113, 1])]);
        for end in 0..packet.len() {
            assert_eq!(decode(&packet[..end], &query), None);
        }
        for index in 0..packet.len() {
            for byte in 0..=255 {
                let mut changed = packet.clone();
                changed[index] = byte;
                // Only that it ends.
                let _any = decode(&changed, &query);
            }
        }
    }
}
