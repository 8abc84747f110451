//! The messages of Espressif's provisioning, from and to the types of the core.
//!
//! The field that names a message's kind and the message itself must agree, so that no message is taken for another.

use alloc::string::String;
use alloc::vec::Vec;

use prost::Message as _;
use zeroize::{Zeroize, Zeroizing};

use super::decode;
use crate::domain::{Network, Passphrase, Security, Ssid};
use crate::fault::Fault;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated from the .proto file, which holds the documentation; goes when prost generates it clean"
)]
mod generated {
    include!("espressif/generated.rs");
}
use generated as pb;

/// Bytes of a proof.
pub const PROOF: usize = 64;
/// The number of the security scheme with SRP-6a and AES-256-GCM.
const SECURITY: u32 = 2;
/// The largest part of a list of networks in one answer, bytes: it is an attribute of 512 bytes when it is sealed.
const ENTRIES_LIMIT: usize = 480;

/// A message written to `prov-session`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The client's user name and its share, A.
    Hello {
        /// I.
        user_name: Vec<u8>,
        /// A, as it was sent.
        public_key: Vec<u8>,
    },
    /// M1.
    Proof([u8; PROOF]),
}

/// A message written to `prov-scan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanRequest {
    /// Scan, and answer when the list is there.
    Start,
    /// How many networks were found?
    State,
    /// A part of the list.
    Range {
        /// The first one.
        start: usize,
        /// How many at most.
        count: usize,
    },
}

/// A message written to `prov-config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigRequest {
    /// Query the state of the station.
    State,
    /// The network to join.
    Set(Result<(Ssid, Passphrase), Fault>),
    /// Join it.
    Apply,
}

/// A message written to `prov-ctrl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRequest {
    /// Take another network after a failure.
    Reset,
    /// Take another network after a success.
    Again,
}

/// The status of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// It is done.
    Success = 0,
    /// Another client has the session, or no guess is taken at this time.
    TooManySessions = 3,
    /// A value is invalid, or something must come first.
    InvalidArgument = 4,
    /// It failed.
    InternalError = 5,
}

/// The state of the station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Station {
    /// In this network.
    Connected(Option<Ssid>),
    /// An attempt is in progress.
    Connecting,
    /// Not connected, for a reason that has no number here.
    Disconnected,
    /// The network refused the passphrase.
    WrongPassword,
    /// The network is not in range.
    NotFound,
}

impl Handshake {
    /// Parses a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        use pb::handshake_request::Payload;
        let pb::SessionRequest { security: SECURITY, scheme: Some(pb::session_request::Scheme::Security2(request)) } =
            decode(bytes)?
        else {
            return Err(Fault::Malformed);
        };
        match (request.kind, request.payload) {
            (0, Some(Payload::Hello(pb::Hello { user_name, public_key }))) => Ok(Self::Hello { user_name, public_key }),
            (2, Some(Payload::Proof(pb::Proof { proof }))) => super::array(&proof).map(Self::Proof),
            _ => Err(Fault::Malformed),
        }
    }
}

/// The answer to [`Handshake::Hello`]: B and the salt, both empty unless the status is a success.
pub fn challenge(status: Status, public_key: &[u8], salt: &[u8]) -> Vec<u8> {
    let challenge = pb::Challenge { status: status as u32, public_key: public_key.to_vec(), salt: salt.to_vec() };
    handshake(1, pb::handshake_answer::Payload::Challenge(challenge))
}

/// The answer to [`Handshake::Proof`]: M2 and the first nonce.
pub fn verified(proof: &[u8; PROOF], nonce: &[u8]) -> Vec<u8> {
    let verified = pb::Verified { status: Status::Success as u32, proof: proof.to_vec(), nonce: nonce.to_vec() };
    handshake(3, pb::handshake_answer::Payload::Verified(verified))
}

fn handshake(kind: u32, payload: pb::handshake_answer::Payload) -> Vec<u8> {
    let answer = pb::HandshakeAnswer { kind, payload: Some(payload) };
    pb::SessionAnswer { security: SECURITY, scheme: Some(pb::session_answer::Scheme::Security2(answer)) }.encode_to_vec()
}

impl ScanRequest {
    /// Parses a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        use pb::scan_request::Payload;
        let pb::ScanRequest { kind, payload } = decode(bytes)?;
        match (kind, payload) {
            (0, Some(Payload::Start(_))) => Ok(Self::Start),
            (2, Some(Payload::State(_))) => Ok(Self::State),
            (4, Some(Payload::Range(pb::Range { start, count }))) => {
                let number = |number| usize::try_from(number).map_err(|_| Fault::Malformed);
                Ok(Self::Range { start: number(start)?, count: number(count)? })
            }
            _ => Err(Fault::Malformed),
        }
    }
}

/// The answer to [`ScanRequest::Start`].
pub fn scan_started(status: Status) -> Vec<u8> {
    scan(1, status, pb::scan_answer::Payload::Started(pb::Empty {}))
}

/// The answer to [`ScanRequest::State`].
pub fn scan_finished(networks: usize) -> Vec<u8> {
    let count = u32::try_from(networks).unwrap_or(u32::MAX);
    scan(3, Status::Success, pb::scan_answer::Payload::Finished(pb::Finished { finished: true, count }))
}

/// The answer to [`ScanRequest::Range`]: as many of these networks as one answer has room for.
pub fn scan_entries(networks: &[Network]) -> Vec<u8> {
    let mut left = ENTRIES_LIMIT;
    let fitting = networks.iter().map(entry).take_while(|entry| {
        let length = entry.encoded_len() + 2;
        let fits = length <= left;
        left = left.saturating_sub(length);
        fits
    });
    let entries = pb::Entries { entries: fitting.collect() };
    scan(5, Status::Success, pb::scan_answer::Payload::Entries(entries))
}

fn scan(kind: u32, status: Status, payload: pb::scan_answer::Payload) -> Vec<u8> {
    pb::ScanAnswer { kind, status: status as u32, payload: Some(payload) }.encode_to_vec()
}

fn entry(network: &Network) -> pb::Entry {
    let security = match network.security {
        Security::Open | Security::Owe => 0,
        Security::Wep => 1,
        Security::Wpa => 2,
        Security::Wpa2 => 3,
        Security::Enterprise => 5,
        Security::Wpa3 => 6,
        Security::Wpa2Wpa3 => 7,
    };
    let channel = channel(network.frequency);
    pb::Entry { ssid: network.ssid.as_bytes().to_vec(), channel, signal: network.signal.into(), security }
}

/// The channel of a frequency in MHz (IEEE 802.11-2020, 17.3.8.4.2 and annex E); 0 if unknown.
fn channel(frequency: u32) -> u32 {
    match frequency {
        2484 => 14,
        2407..2484 => (frequency - 2407) / 5,
        5000..5950 => (frequency - 5000) / 5,
        5950..7130 => (frequency - 5950) / 5,
        _ => 0,
    }
}

impl ConfigRequest {
    /// Parses a message. A network whose values are invalid is a message nevertheless: its answer says so.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        use pb::config_request::Payload;
        let pb::ConfigRequest { kind, payload } = decode(bytes)?;
        match (kind, payload) {
            (0, Some(Payload::State(_))) => Ok(Self::State),
            (2, Some(Payload::Set(set))) => Ok(Self::Set(network(set))),
            (4, Some(Payload::Apply(_))) => Ok(Self::Apply),
            (_, Some(Payload::Set(mut set))) => {
                set.passphrase.zeroize();
                Err(Fault::Malformed)
            }
            _ => Err(Fault::Malformed),
        }
    }
}

fn network(pb::Set { ssid, passphrase }: pb::Set) -> Result<(Ssid, Passphrase), Fault> {
    let passphrase = String::from_utf8(passphrase).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        Fault::InvalidPassphrase
    })?;
    let passphrase = Passphrase::try_from(passphrase)?;
    if passphrase.is_printable() { Ok((Ssid::try_from(ssid.as_slice())?, passphrase)) } else { Err(Fault::InvalidPassphrase) }
}

/// The answer to [`ConfigRequest::State`].
pub fn station(station: &Station) -> Vec<u8> {
    use pb::station::Detail;
    let (state, detail) = match station {
        Station::Connected(ssid) => {
            let ssid = ssid.as_ref().map(|ssid| ssid.as_bytes().to_vec()).unwrap_or_default();
            (0, Some(Detail::Connected(pb::Connected { ssid })))
        }
        Station::Connecting => (1, None),
        Station::Disconnected => (2, None),
        Station::WrongPassword => (3, Some(Detail::Reason(0))),
        Station::NotFound => (3, Some(Detail::Reason(1))),
    };
    config(1, pb::config_answer::Payload::State(pb::Station { status: 0, state, detail }))
}

/// The answer to [`ConfigRequest::Set`].
pub fn set(status: Status) -> Vec<u8> {
    config(3, pb::config_answer::Payload::Set(pb::Status { status: status as u32 }))
}

/// The answer to [`ConfigRequest::Apply`].
pub fn applied(status: Status) -> Vec<u8> {
    config(5, pb::config_answer::Payload::Applied(pb::Status { status: status as u32 }))
}

fn config(kind: u32, payload: pb::config_answer::Payload) -> Vec<u8> {
    pb::ConfigAnswer { kind, payload: Some(payload) }.encode_to_vec()
}

impl ControlRequest {
    /// Parses a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        use pb::control_request::Payload;
        let pb::ControlRequest { kind, payload } = decode(bytes)?;
        match (kind, payload) {
            (1, Some(Payload::Reset(_))) => Ok(Self::Reset),
            (3, Some(Payload::Again(_))) => Ok(Self::Again),
            _ => Err(Fault::Malformed),
        }
    }

    /// Its answer.
    pub fn answer(self, status: Status) -> Vec<u8> {
        use pb::control_answer::Payload;
        let (kind, payload) = match self {
            Self::Reset => (2, Payload::Reset(pb::Empty {})),
            Self::Again => (4, Payload::Again(pb::Empty {})),
        };
        pb::ControlAnswer { kind, status: status as u32, payload: Some(payload) }.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn a_message_whose_kind_and_content_differ_is_refused() {
        let hello = pb::handshake_request::Payload::Hello(pb::Hello::default());
        let session = |security, kind, payload| {
            let scheme = pb::session_request::Scheme::Security2(pb::HandshakeRequest { kind, payload });
            Handshake::decode(&pb::SessionRequest { security, scheme: Some(scheme) }.encode_to_vec())
        };
        assert!(session(2, 0, Some(hello.clone())).is_ok());
        for (security, kind, payload) in [(1, 0, Some(hello.clone())), (2, 2, Some(hello.clone())), (2, 0, None), (0, 0, None)] {
            assert_eq!(session(security, kind, payload), Err(Fault::Malformed), "{security} {kind}");
        }
        let other = pb::session_request::Scheme::Security1(vec![]);
        assert!(Handshake::decode(&pb::SessionRequest { security: 2, scheme: Some(other) }.encode_to_vec()).is_err());
        let range = Some(pb::scan_request::Payload::Range(pb::Range { start: 0, count: 4 }));
        assert!(ScanRequest::decode(&pb::ScanRequest { kind: 0, payload: range }.encode_to_vec()).is_err());
        let set = Some(pb::config_request::Payload::Set(pb::Set::default()));
        assert!(ConfigRequest::decode(&pb::ConfigRequest { kind: 4, payload: set }.encode_to_vec()).is_err());
        assert!(ControlRequest::decode(&[]).is_err() && ConfigRequest::decode(&[]).is_err() && ScanRequest::decode(&[]).is_err());
    }

    #[test]
    fn a_passphrase_is_bounded_and_judged_when_the_networks_security_is_known() {
        let set = |passphrase: &[u8]| {
            let payload = pb::config_request::Payload::Set(pb::Set { ssid: b"home".to_vec(), passphrase: passphrase.to_vec() });
            ConfigRequest::decode(&pb::ConfigRequest { kind: 2, payload: Some(payload) }.encode_to_vec())
        };
        for taken in ["", "short", "Gr\u{fc}\u{df}e-vom-Haus", &"a".repeat(100)] {
            assert!(matches!(set(taken.as_bytes()), Ok(ConfigRequest::Set(Ok(_)))), "{taken}");
        }
        for refused in [&b"with\0zero"[..], b"two\nlines", b"\xff\xfe not UTF-8", &[b'a'; 129]] {
            assert!(matches!(set(refused), Ok(ConfigRequest::Set(Err(Fault::InvalidPassphrase)))), "{refused:?}");
        }
    }

    #[test]
    fn a_list_of_long_names_is_cut_by_whole_networks() {
        let network = |letter| Network {
            ssid: Ssid::try_from(&[letter; 32][..]).expect("32 bytes"),
            signal: -70,
            security: Security::Wpa2Wpa3,
            frequency: 5955,
        };
        let networks: Vec<_> = (0..20).map(network).collect();
        let answer = scan_entries(&networks);
        assert!(answer.len() <= 496, "{}", answer.len());
        let pb::ScanAnswer { payload: Some(pb::scan_answer::Payload::Entries(entries)), .. } =
            decode(&answer).expect("an answer")
        else {
            panic!("entries")
        };
        // Apps ask for four.
        assert!(entries.entries.len() >= 4);
        assert!(entries.entries.iter().zip(&networks).all(|(entry, network)| entry.ssid == network.ssid.as_bytes()));
    }

    #[test]
    fn channels_have_their_numbers() {
        for (frequency, expected) in
            [(2412, 1), (2472, 13), (2484, 14), (5180, 36), (5825, 165), (5955, 1), (0, 0), (u32::MAX, 0)]
        {
            assert_eq!(channel(frequency), expected, "{frequency}");
        }
    }
}
