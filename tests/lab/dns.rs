//! DNS messages (RFC 1035, 4), as a resolver without mDNS sends and reads them.

use std::net::Ipv4Addr;

/// The type of an address record, and of a pointer.
pub(crate) const A: u8 = 1;
pub(crate) const PTR: u8 = 12;

/// The address and the port of mDNS (RFC 6762, 3).
pub(crate) const MDNS: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);

/// A query for the records of a type. mDNS wants no recursion (RFC 6762, 18.6).
pub(crate) fn question(name: &str, kind: u8, recursion: bool) -> Vec<u8> {
    let mut question = vec![0x12, 0x34, u8::from(recursion), 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split_terminator('.') {
        question.push(u8::try_from(label.len()).expect("a short label"));
        question.extend(label.as_bytes());
    }
    // The end of the name, the type, and the internet's class.
    question.extend([0, 0, kind, 0, 1]);
    question
}

/// The first address in the answers to a query; none if there is none, or if the message is damaged.
pub(crate) fn address(message: &[u8]) -> Option<Ipv4Addr> {
    let count = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let mut at = 12;
    for _ in 0..count(4)? {
        at = after_name(message, at)? + 4;
    }
    for _ in 0..count(6)? {
        at = after_name(message, at)?;
        let [kind, length] = [count(at)?, count(at + 8)?];
        at += 10;
        let content = message.get(at..at + usize::from(length))?;
        if kind == u16::from(A) {
            return Some(Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?));
        }
        at += usize::from(length);
    }
    None
}

/// Where a name ends: with an empty label, or with a pointer.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}
