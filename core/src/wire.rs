//! Conversion between generated protobuf types and domain types. The generated types are private to this module.
//!
//! Decoding checks lengths, ranges and the presence of a oneof. Unknown fields are ignored, so that a newer phone can talk
//! to an older node. The messages are defined in `proto/jarvis/provisioning/v1`.

pub mod espressif;
pub mod framing;
mod sealed;
mod upkeep;

use alloc::string::String;
use alloc::vec::Vec;

use prost::Message as _;

use crate::domain::{State, Status, TextField};
use crate::endpoint::OUTBOUND_LIMIT;
use crate::fault::Fault;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated from the .proto files, which hold the documentation; goes when prost generates it clean"
)]
mod generated {
    include!("wire/generated.rs");
}
use generated as pb;
pub use sealed::{Message, Reply, Request, StatusReport};

/// Bytes of a share.
pub const SHARE: usize = 32;
/// Bytes of a confirmation tag.
pub const TAG: usize = 64;

/// Starts a session: the phone's part of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Identifies the handshake.
    pub session_id: [u8; 16],
    /// Ya.
    pub share: [u8; SHARE],
    /// ADa: an encoded [`Offer`].
    pub offer: Vec<u8>,
}

/// Which pairing secret the phone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretKind {
    /// The six digits.
    Code,
    /// The 128 bits of the QR code.
    Qr,
}

/// The phone's offer in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Protocol versions.
    pub versions: Vec<u32>,
    /// The kind of pairing secret.
    pub secret: SecretKind,
    /// X25519.
    pub key: [u8; 32],
}

/// The node's part of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accept {
    /// Yb.
    pub share: [u8; SHARE],
    /// Tb.
    pub confirmation: [u8; TAG],
    /// ADb: an encoded [`Answer`].
    pub answer: Vec<u8>,
}

/// The node's answer in the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version that the session uses.
    pub version: u32,
    /// X25519.
    pub key: [u8; 32],
    /// As advertised.
    pub node_id: String,
    /// As advertised.
    pub versions: Vec<u32>,
    /// As advertised.
    pub capabilities: Vec<String>,
}

/// A sealed message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The nonce.
    pub counter: u64,
    /// Ciphertext and tag.
    pub sealed: Vec<u8>,
    /// Ta on the phone's first record, else empty.
    pub confirmation: Vec<u8>,
}

/// A fault, sent in clear because there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The fault.
    pub fault: Fault,
    /// When to try again, seconds; 0 if that is not known.
    pub retry_after: u32,
}

/// A message of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// The answer to an [`Open`].
    Accept(Accept),
    /// A sealed [`Message`].
    Record(Record),
    /// A refusal outside of a session.
    Refusal(Refusal),
}

/// The node's identity and capabilities, in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its identity.
    pub node_id: String,
    /// Its advertised name.
    pub name: String,
    /// Its version.
    pub firmware_version: String,
    /// Its hardware.
    pub hardware: String,
    /// Its capabilities.
    pub capabilities: Vec<String>,
    /// The state of provisioning.
    pub state: State,
    /// Whether it was provisioned before.
    pub previously_provisioned: bool,
    /// Protocol versions.
    pub versions: Vec<u32>,
    /// The country of its radio, as two letters; `00` if none is set, and empty if that is not known.
    pub country: String,
}

/// The status in clear: without the network's name and without text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicStatus {
    /// The state.
    pub state: State,
    /// 0 to 100.
    pub progress: u8,
    /// With [`State::Error`].
    pub fault: Option<Fault>,
}

impl Open {
    /// Parses a message that was written to `session`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let pb::Open { session_id, share, offer } = decode(bytes)?;
        Ok(Self { session_id: array(&session_id)?, share: array(&share)?, offer })
    }

    /// The message to write to `session`.
    pub fn encode(&self) -> Vec<u8> {
        pb::Open { session_id: self.session_id.to_vec(), share: self.share.to_vec(), offer: self.offer.clone() }.encode_to_vec()
    }
}

impl Offer {
    /// Parses the phone's offer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let offer: pb::Offer = decode(bytes)?;
        let secret = match offer.secret() {
            pb::PairingSecret::Code => SecretKind::Code,
            pb::PairingSecret::Qr => SecretKind::Qr,
            pb::PairingSecret::Unspecified => return Err(Fault::Malformed),
        };
        Ok(Self { secret, key: array(&offer.key)?, versions: offer.versions })
    }

    /// The bytes that both sides authenticate.
    pub fn encode(&self) -> Vec<u8> {
        let secret = match self.secret {
            SecretKind::Code => pb::PairingSecret::Code,
            SecretKind::Qr => pb::PairingSecret::Qr,
        };
        pb::Offer { versions: self.versions.clone(), secret: secret.into(), key: self.key.to_vec() }.encode_to_vec()
    }
}

impl Answer {
    /// Parses the node's answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let pb::Answer { version, key, node_id, versions, capabilities } = decode(bytes)?;
        Ok(Self { version, key: array(&key)?, node_id, versions, capabilities })
    }

    /// The bytes that both sides authenticate.
    pub fn encode(&self) -> Vec<u8> {
        pb::Answer {
            version: self.version,
            key: self.key.to_vec(),
            node_id: self.node_id.clone(),
            versions: self.versions.clone(),
            capabilities: self.capabilities.clone(),
        }
        .encode_to_vec()
    }
}

impl Record {
    /// Parses a message that was written to an endpoint other than `session`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        decode::<pb::Record>(bytes).map(Self::from)
    }

    /// The message to write to an endpoint other than `session`.
    pub fn encode(&self) -> Vec<u8> {
        pb::Record::from(self.clone()).encode_to_vec()
    }
}

impl From<pb::Record> for Record {
    fn from(pb::Record { counter, sealed, confirmation }: pb::Record) -> Self {
        Self { counter, sealed, confirmation }
    }
}

impl From<Record> for pb::Record {
    fn from(Record { counter, sealed, confirmation }: Record) -> Self {
        Self { counter, sealed, confirmation }
    }
}

impl Outbound {
    /// Parses a message of the node.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        Self::try_from(decode::<pb::Outbound>(bytes)?)
    }

    /// The message to send.
    pub fn encode(&self) -> Vec<u8> {
        pb::Outbound::from(self.clone()).encode_to_vec()
    }

    /// Parses the body of an HTTP response.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, Fault> {
        decode::<pb::OutboundList>(bytes)?.outbound.into_iter().map(Self::try_from).collect()
    }

    /// The body of an HTTP response, from encoded messages.
    pub fn encode_list(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for message in messages {
            // A repeated field is encoded as each element under the field's key: field 1, length-delimited.
            prost::encoding::bytes::encode(1, message, &mut body);
        }
        body
    }
}

impl TryFrom<pb::Outbound> for Outbound {
    type Error = Fault;

    fn try_from(outbound: pb::Outbound) -> Result<Self, Fault> {
        use pb::outbound::Kind;
        Ok(match outbound.kind.ok_or(Fault::Malformed)? {
            Kind::Accept(pb::Accept { share, confirmation, answer }) => {
                Self::Accept(Accept { share: array(&share)?, confirmation: array(&confirmation)?, answer })
            }
            Kind::Record(record) => Self::Record(record.into()),
            Kind::Refusal(refusal) => Self::Refusal(Refusal {
                fault: fault_from(refusal.fault).ok_or(Fault::Malformed)?,
                retry_after: refusal.retry_after_seconds,
            }),
        })
    }
}

impl From<Outbound> for pb::Outbound {
    fn from(outbound: Outbound) -> Self {
        use pb::outbound::Kind;
        let kind = match outbound {
            Outbound::Accept(Accept { share, confirmation, answer }) => {
                Kind::Accept(pb::Accept { share: share.to_vec(), confirmation: confirmation.to_vec(), answer })
            }
            Outbound::Record(record) => Kind::Record(record.into()),
            Outbound::Refusal(Refusal { fault, retry_after }) => {
                Kind::Refusal(pb::Refusal { fault: fault.number().into(), retry_after_seconds: retry_after })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl Info {
    /// Parses the value of `info`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let info: pb::Info = decode(bytes)?;
        Ok(Self {
            state: state_from(info.state)?,
            node_id: info.node_id,
            name: info.name,
            firmware_version: info.firmware_version,
            hardware: info.hardware,
            capabilities: info.capabilities,
            previously_provisioned: info.previously_provisioned,
            versions: info.versions,
            country: info.country,
        })
    }

    /// The value of `info`.
    pub fn encode(&self) -> Vec<u8> {
        pb::Info {
            node_id: self.node_id.clone(),
            name: self.name.clone(),
            firmware_version: self.firmware_version.clone(),
            hardware: self.hardware.clone(),
            capabilities: self.capabilities.clone(),
            state: state(self.state).into(),
            previously_provisioned: self.previously_provisioned,
            versions: self.versions.clone(),
            country: self.country.clone(),
        }
        .encode_to_vec()
    }
}

impl PublicStatus {
    /// Parses the value of `status`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let status: pb::PublicStatus = decode(bytes)?;
        Ok(Self {
            state: state_from(status.state)?,
            progress: u8::try_from(status.progress_percent).map_err(|_| Fault::Malformed)?,
            fault: fault_from(status.fault),
        })
    }

    /// The value of `status`.
    pub fn encode(&self) -> Vec<u8> {
        pb::PublicStatus {
            state: state(self.state).into(),
            progress_percent: self.progress.into(),
            fault: self.fault.map_or(0, |fault| fault.number().into()),
        }
        .encode_to_vec()
    }
}

impl From<&Status> for PublicStatus {
    fn from(status: &Status) -> Self {
        Self { state: status.state(), progress: status.progress(), fault: status.failure.as_ref().map(|failure| failure.fault) }
    }
}

const fn state(state: State) -> pb::State {
    match state {
        State::ApMode => pb::State::ApMode,
        State::Connecting => pb::State::Connecting,
        State::Registering => pb::State::Registering,
        State::Provisioned => pb::State::Provisioned,
        State::Error => pb::State::Error,
        State::Online => pb::State::Online,
    }
}

fn state_from(number: i32) -> Result<State, Fault> {
    Ok(match pb::State::try_from(number).map_err(|_| Fault::Malformed)? {
        pb::State::ApMode => State::ApMode,
        pb::State::Connecting => State::Connecting,
        pb::State::Registering => State::Registering,
        pb::State::Provisioned => State::Provisioned,
        pb::State::Error => State::Error,
        pb::State::Online => State::Online,
        pb::State::Unspecified => return Err(Fault::Malformed),
    })
}

fn fault_from(number: i32) -> Option<Fault> {
    Fault::from_number(u8::try_from(number).ok()?)
}

fn decode<T: prost::Message + Default>(bytes: &[u8]) -> Result<T, Fault> {
    if bytes.len() > 16 * OUTBOUND_LIMIT {
        return Err(Fault::TooLarge);
    }
    T::decode(bytes).map_err(|_| Fault::Malformed)
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed)
}

fn text(field: TextField, text: String) -> Result<String, Fault> {
    field.check(&text).map(|()| text)
}

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;
    use alloc::{format, vec};

    use super::*;

    #[test]
    fn every_fault_has_its_number_in_the_proto() {
        for fault in Fault::ALL {
            let name = pb::Fault::try_from(i32::from(fault.number())).map(|fault| fault.as_str_name());
            let expected = fault.name().chars().fold("FAULT".to_owned(), |name, letter| {
                if letter.is_uppercase() { format!("{name}_{letter}") } else { format!("{name}{}", letter.to_ascii_uppercase()) }
            });
            assert_eq!(name, Ok(expected.as_str()));
        }
    }

    #[test]
    fn a_list_of_outbounds_reads_back() {
        let refusal = Outbound::Refusal(Refusal { fault: Fault::Locked, retry_after: 60 });
        let body = Outbound::encode_list(&[refusal.encode(), refusal.encode()]);
        assert_eq!(Outbound::decode_list(&body), Ok(vec![refusal.clone(), refusal]));
    }
}
