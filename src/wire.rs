//! Generated protobuf types ↔ domain types. Nothing else sees the generated ones.
//!
//! Decoding is strict where it matters: lengths, ranges and the choice of a oneof. Unknown fields are ignored, so that a
//! newer phone can talk to an older node. The shapes are those of `proto/jarvis/provisioning/v1`.

pub mod framing;

use prost::Message as _;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::{
    CommandCenterUrl, CreatedAt, Credentials, Failure, K2, Network, Passphrase, Security, Ssid, State, Status, TEXT_LIMIT,
};
use crate::fault::Fault;
use crate::link::{Endpoint, OUTBOUND_LIMIT};
use crate::secret::{SecretBytes, SecretText};
use crate::session::cpace::{SHARE, TAG};

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated from the .proto files, which hold the documentation; goes when prost generates it clean"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/jarvis.provisioning.v1.rs"));
}
use generated as pb;

/// The largest part of a scan's result in one message, encoded bytes; leaves room for the record around it.
const NETWORKS_LIMIT: usize = 400;

/// Starts a session: the phone's part of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// Names the run.
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

/// What the phone offers.
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

/// What the node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The version that both will speak.
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

/// Something said in clear because there is no session to say it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong.
    pub fault: Fault,
    /// When to try again, seconds; 0 if that is not known.
    pub retry_after: u32,
}

/// Everything that a node sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outbound {
    /// The answer to an [`Open`].
    Accept(Accept),
    /// A sealed [`Message`].
    Record(Record),
    /// No.
    Refusal(Refusal),
}

/// What the node says of itself in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its identity.
    pub node_id: String,
    /// Its advertised name.
    pub name: String,
    /// Its version.
    pub firmware_version: String,
    /// What kind of device it is.
    pub hardware: String,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// How provisioning stands.
    pub state: State,
    /// Whether it was provisioned before.
    pub previously_provisioned: bool,
    /// Protocol versions.
    pub versions: Vec<u32>,
}

/// How it stands, in clear: no name of a network and no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicStatus {
    /// The state.
    pub state: State,
    /// 0 to 100.
    pub progress: u8,
    /// With [`State::Error`].
    pub fault: Option<Fault>,
}

/// What an authenticated phone asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// For the networks in range.
    Scan {
        /// Even if a recent list is at hand.
        fresh: bool,
    },
    /// To store K2.
    K2(K2),
    /// To go online and register.
    Credentials(Box<Credentials>),
    /// How it stands.
    Status,
}

/// What the node tells an authenticated phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The counter of the request's record.
        to: u64,
        /// The answer.
        reply: Reply,
    },
    /// The state has changed.
    Changed(Told),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A part of the list.
    Networks {
        /// Strongest first.
        networks: Vec<Network>,
        /// Nothing follows.
        last: bool,
    },
    /// K2 is stored.
    K2Stored {
        /// Its name.
        kid: String,
    },
    /// The attempt has begun.
    Accepted {
        /// Its name.
        request_id: u64,
    },
    /// How it stands.
    Status(Told),
    /// No.
    Refused(Fault),
}

/// A status as it travels: what [`Status`] says, in a phone's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The state.
    pub state: State,
    /// 0 to 100.
    pub progress: u8,
    /// One sentence for people.
    pub message: String,
    /// Why the attempt failed.
    pub failure: Option<Failure>,
    /// The phone may send again at once.
    pub retryable: bool,
    /// The attempt.
    pub request_id: u64,
    /// The network.
    pub ssid: Option<Ssid>,
    /// No internet behind the network.
    pub limited_connectivity: bool,
}

impl From<&Status> for Told {
    fn from(status: &Status) -> Self {
        Self {
            state: status.state(),
            progress: status.progress(),
            message: status.failure.as_ref().map_or_else(|| status.message(), |failure| failure.fault.text().into()),
            failure: status.failure.clone(),
            retryable: status.retryable,
            request_id: status.request_id,
            ssid: status.ssid_bytes.clone(),
            limited_connectivity: status.limited_connectivity,
        }
    }
}

impl Open {
    /// Reads what was written to `session`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let pb::Open { session_id, share, offer } = decode(bytes)?;
        Ok(Self { session_id: array(&session_id)?, share: array(&share)?, offer })
    }

    /// What to write to `session`.
    pub fn encode(&self) -> Vec<u8> {
        pb::Open { session_id: self.session_id.to_vec(), share: self.share.to_vec(), offer: self.offer.clone() }.encode_to_vec()
    }
}

impl Offer {
    /// Reads the phone's offer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let offer: pb::Offer = decode(bytes)?;
        let secret = match offer.secret() {
            pb::PairingSecret::Code => SecretKind::Code,
            pb::PairingSecret::Qr => SecretKind::Qr,
            pb::PairingSecret::Unspecified => return Err(Fault::Malformed),
        };
        Ok(Self { secret, key: array(&offer.key)?, versions: offer.versions })
    }

    /// The bytes that both ends authenticate.
    pub fn encode(&self) -> Vec<u8> {
        let secret = match self.secret {
            SecretKind::Code => pb::PairingSecret::Code,
            SecretKind::Qr => pb::PairingSecret::Qr,
        };
        pb::Offer { versions: self.versions.clone(), secret: secret.into(), key: self.key.to_vec() }.encode_to_vec()
    }
}

impl Answer {
    /// Reads the node's answer.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let pb::Answer { version, key, node_id, versions, capabilities } = decode(bytes)?;
        Ok(Self { version, key: array(&key)?, node_id, versions, capabilities })
    }

    /// The bytes that both ends authenticate.
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
    /// Reads what was written to an endpoint other than `session`.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        decode::<pb::Record>(bytes).map(Self::from)
    }

    /// What to write to an endpoint other than `session`.
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
    /// Reads a message of the node.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        Self::try_from(decode::<pb::Outbound>(bytes)?)
    }

    /// What the node sends.
    pub fn encode(&self) -> Vec<u8> {
        pb::Outbound::from(self.clone()).encode_to_vec()
    }

    /// Reads the body of an HTTP answer.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, Fault> {
        decode::<pb::OutboundList>(bytes)?.outbound.into_iter().map(Self::try_from).collect()
    }

    /// The body of an HTTP answer, from encoded messages.
    pub fn encode_list(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        for message in messages {
            // A repeated field is each element under the field's key: field 1, length-delimited.
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
    /// Reads `info`.
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
        }
        .encode_to_vec()
    }
}

impl PublicStatus {
    /// Reads `status`.
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

impl Request {
    /// The endpoint that the request is written to.
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Scan { .. } => Endpoint::Scan,
            Self::K2(_) => Endpoint::K2,
            Self::Credentials(_) => Endpoint::Credentials,
            Self::Status => Endpoint::Status,
        }
    }

    /// Reads a request that arrived, opened, at `endpoint`; one that belongs to another endpoint is malformed.
    pub fn decode(endpoint: Endpoint, bytes: &[u8]) -> Result<Self, Fault> {
        use pb::request::Kind;
        let kind = decode::<pb::Request>(bytes)?.kind.ok_or(Fault::Malformed)?;
        let request = match kind {
            Kind::Scan(pb::ScanRequest { fresh }) => Self::Scan { fresh },
            Kind::Status(pb::StatusRequest {}) => Self::Status,
            Kind::K2(pb::K2 { key, kid, created_at }) => {
                let key = Zeroizing::new(key);
                Self::K2(K2 {
                    key: SecretBytes::try_from(key.as_slice()).map_err(|_| Fault::InvalidK2)?,
                    kid: text(kid).map_err(|_| Fault::InvalidK2)?,
                    created_at: CreatedAt::try_from(created_at.as_str()).map_err(|_| Fault::InvalidK2)?,
                })
            }
            Kind::Credentials(credentials) => Self::Credentials(Box::new(credentials.try_into()?)),
        };
        if request.endpoint() == endpoint { Ok(request) } else { Err(Fault::Malformed) }
    }

    /// The plaintext of the request's record.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        use pb::request::Kind;
        let kind = match self {
            Self::Scan { fresh } => Kind::Scan(pb::ScanRequest { fresh: *fresh }),
            Self::Status => Kind::Status(pb::StatusRequest {}),
            Self::K2(K2 { key, kid, created_at }) => {
                Kind::K2(pb::K2 { key: key.expose().to_vec(), kid: kid.clone(), created_at: created_at.as_str().into() })
            }
            Self::Credentials(credentials) => Kind::Credentials(credentials.as_ref().into()),
        };
        let request = pb::Request { kind: Some(kind) };
        let encoded = Zeroizing::new(request.encode_to_vec());
        erase(request);
        encoded
    }
}

/// Overwrites the secrets of a message that was encoded.
fn erase(request: pb::Request) {
    use pb::request::Kind;
    match request.kind {
        Some(Kind::K2(mut k2)) => k2.key.zeroize(),
        Some(Kind::Credentials(mut credentials)) => {
            credentials.passphrase.zeroize();
            credentials.provisioning_token.zeroize();
        }
        Some(Kind::Scan(_) | Kind::Status(_)) | None => {}
    }
}

impl TryFrom<pb::Credentials> for Credentials {
    type Error = Fault;

    fn try_from(credentials: pb::Credentials) -> Result<Self, Fault> {
        // Both secrets are in types that erase them before anything is refused.
        let token = SecretText::new(credentials.provisioning_token);
        let passphrase = Passphrase::try_from(credentials.passphrase)?;
        if !passphrase.is_empty() && !passphrase.fits_wpa() {
            return Err(Fault::InvalidPassphrase);
        }
        if credentials.node_id.is_empty() || token.expose().is_empty() || token.expose().len() > TEXT_LIMIT {
            return Err(Fault::InvalidField);
        }
        Ok(Self {
            request_id: credentials.request_id,
            ssid: Ssid::try_from(credentials.ssid.as_slice())?,
            passphrase,
            hidden: credentials.hidden,
            room: text(credentials.room)?,
            command_center: CommandCenterUrl::try_from(credentials.command_center_url.as_str())?,
            config_service: Some(text(credentials.config_service_url)?).filter(|url| !url.is_empty()),
            household_id: text(credentials.household_id)?,
            node_id: text(credentials.node_id)?,
            token,
        })
    }
}

impl From<&Credentials> for pb::Credentials {
    fn from(credentials: &Credentials) -> Self {
        Self {
            request_id: credentials.request_id,
            ssid: credentials.ssid.as_bytes().to_vec(),
            passphrase: credentials.passphrase.expose().into(),
            hidden: credentials.hidden,
            room: credentials.room.clone(),
            command_center_url: credentials.command_center.as_str().into(),
            config_service_url: credentials.config_service.clone().unwrap_or_default(),
            household_id: credentials.household_id.clone(),
            node_id: credentials.node_id.clone(),
            provisioning_token: credentials.token.expose().into(),
        }
    }
}

impl Message {
    /// Reads the plaintext of a node's record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        use pb::message::Kind;
        Ok(match decode::<pb::Message>(bytes)?.kind.ok_or(Fault::Malformed)? {
            Kind::Reply(pb::Reply { to, kind }) => Self::Reply { to, reply: kind.ok_or(Fault::Malformed)?.try_into()? },
            Kind::Event(pb::Event { kind }) => {
                let pb::event::Kind::Status(status) = kind.ok_or(Fault::Malformed)?;
                Self::Changed(status.try_into()?)
            }
        })
    }

    /// The plaintext of a node's record.
    pub fn encode(&self) -> Vec<u8> {
        use pb::message::Kind;
        let kind = match self {
            Self::Reply { to, reply } => Kind::Reply(pb::Reply { to: *to, kind: Some(reply.into()) }),
            Self::Changed(told) => Kind::Event(pb::Event { kind: Some(pb::event::Kind::Status(told.into())) }),
        };
        pb::Message { kind: Some(kind) }.encode_to_vec()
    }
}

impl Reply {
    /// The parts of a scan's result, each small enough for one message; at least one, the last one marked.
    pub fn networks(networks: &[Network]) -> Vec<Self> {
        let mut parts: Vec<Vec<Network>> = vec![Vec::new()];
        let mut size = 0;
        for network in networks {
            let length = pb::Network::from(network).encoded_len() + 2;
            if size + length > NETWORKS_LIMIT {
                parts.push(Vec::new());
                size = 0;
            }
            size += length;
            parts.last_mut().expect("starts with one").push(network.clone());
        }
        let count = parts.len();
        parts.into_iter().enumerate().map(|(index, networks)| Self::Networks { networks, last: index + 1 == count }).collect()
    }
}

impl TryFrom<pb::reply::Kind> for Reply {
    type Error = Fault;

    fn try_from(kind: pb::reply::Kind) -> Result<Self, Fault> {
        use pb::reply::Kind;
        Ok(match kind {
            Kind::Networks(pb::Networks { networks, last }) => {
                Self::Networks { networks: networks.into_iter().map(Network::try_from).collect::<Result<_, _>>()?, last }
            }
            Kind::K2Stored(pb::K2Stored { kid }) => Self::K2Stored { kid },
            Kind::Accepted(pb::Accepted { request_id }) => Self::Accepted { request_id },
            Kind::Status(status) => Self::Status(status.try_into()?),
            Kind::Refused(fault) => Self::Refused(fault_from(fault).ok_or(Fault::Malformed)?),
        })
    }
}

impl From<&Reply> for pb::reply::Kind {
    fn from(reply: &Reply) -> Self {
        match reply {
            Reply::Networks { networks, last } => {
                Self::Networks(pb::Networks { networks: networks.iter().map(pb::Network::from).collect(), last: *last })
            }
            Reply::K2Stored { kid } => Self::K2Stored(pb::K2Stored { kid: kid.clone() }),
            Reply::Accepted { request_id } => Self::Accepted(pb::Accepted { request_id: *request_id }),
            Reply::Status(told) => Self::Status(told.into()),
            Reply::Refused(fault) => Self::Refused(fault.number().into()),
        }
    }
}

impl TryFrom<pb::Network> for Network {
    type Error = Fault;

    fn try_from(network: pb::Network) -> Result<Self, Fault> {
        Ok(Self {
            security: match network.security() {
                pb::Security::Open => Security::Open,
                pb::Security::Wep => Security::Wep,
                pb::Security::Wpa => Security::Wpa,
                pb::Security::Wpa2 => Security::Wpa2,
                pb::Security::Wpa2Wpa3 => Security::Wpa2Wpa3,
                pb::Security::Wpa3 => Security::Wpa3,
                pb::Security::Owe => Security::Owe,
                pb::Security::Enterprise => Security::Enterprise,
                pb::Security::Unspecified => return Err(Fault::Malformed),
            },
            ssid: Ssid::try_from(network.ssid.as_slice())?,
            signal: i8::try_from(network.signal_dbm).map_err(|_| Fault::Malformed)?,
            frequency: network.frequency,
        })
    }
}

impl From<&Network> for pb::Network {
    fn from(network: &Network) -> Self {
        let security = match network.security {
            Security::Open => pb::Security::Open,
            Security::Wep => pb::Security::Wep,
            Security::Wpa => pb::Security::Wpa,
            Security::Wpa2 => pb::Security::Wpa2,
            Security::Wpa2Wpa3 => pb::Security::Wpa2Wpa3,
            Security::Wpa3 => pb::Security::Wpa3,
            Security::Owe => pb::Security::Owe,
            Security::Enterprise => pb::Security::Enterprise,
        };
        Self {
            ssid: network.ssid.as_bytes().to_vec(),
            signal_dbm: network.signal.into(),
            security: security.into(),
            frequency: network.frequency,
        }
    }
}

impl TryFrom<pb::Status> for Told {
    type Error = Fault;

    fn try_from(status: pb::Status) -> Result<Self, Fault> {
        let registration_status = u16::try_from(status.registration_status).ok().filter(|status| *status != 0);
        Ok(Self {
            state: state_from(status.state)?,
            progress: u8::try_from(status.progress_percent).map_err(|_| Fault::Malformed)?,
            message: status.message,
            failure: fault_from(status.fault).map(|fault| Failure { fault, registration_status }),
            retryable: status.retryable,
            request_id: status.request_id,
            ssid: Ssid::try_from(status.ssid.as_slice()).ok(),
            limited_connectivity: status.limited_connectivity,
        })
    }
}

impl From<&Told> for pb::Status {
    fn from(told: &Told) -> Self {
        Self {
            state: state(told.state).into(),
            progress_percent: told.progress.into(),
            message: told.message.clone(),
            fault: told.failure.as_ref().map_or(0, |failure| failure.fault.number().into()),
            retryable: told.retryable,
            request_id: told.request_id,
            ssid: told.ssid.as_ref().map(|ssid| ssid.as_bytes().to_vec()).unwrap_or_default(),
            registration_status: told.failure.as_ref().and_then(|failure| failure.registration_status).unwrap_or_default().into(),
            limited_connectivity: told.limited_connectivity,
        }
    }
}

const fn state(state: State) -> pb::State {
    match state {
        State::ApMode => pb::State::ApMode,
        State::Connecting => pb::State::Connecting,
        State::Registering => pb::State::Registering,
        State::Provisioned => pb::State::Provisioned,
        State::Error => pb::State::Error,
    }
}

fn state_from(number: i32) -> Result<State, Fault> {
    Ok(match pb::State::try_from(number).map_err(|_| Fault::Malformed)? {
        pb::State::ApMode => State::ApMode,
        pb::State::Connecting => State::Connecting,
        pb::State::Registering => State::Registering,
        pb::State::Provisioned => State::Provisioned,
        pb::State::Error => State::Error,
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

fn text(text: String) -> Result<String, Fault> {
    if text.len() <= TEXT_LIMIT { Ok(text) } else { Err(Fault::InvalidField) }
}

#[cfg(test)]
mod tests {
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
    fn a_list_of_networks_is_cut_and_arrives_whole() {
        let networks: Vec<Network> = (0..60_u8)
            .map(|index| Network {
                ssid: Ssid::try_from(&[index; 32][..]).expect("32 bytes"),
                signal: -40,
                security: Security::Wpa2,
                frequency: 2412,
            })
            .collect();
        let parts = Reply::networks(&networks);
        let mut arrived = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let message = Message::Reply { to: 3, reply: part.clone() }.encode();
            assert!(message.len() <= NETWORKS_LIMIT + 16);
            let Ok(Message::Reply { to: 3, reply: Reply::Networks { networks, last } }) = Message::decode(&message) else {
                panic!("a part of the list")
            };
            assert_eq!(last, index + 1 == parts.len());
            arrived.extend(networks);
        }
        assert_eq!(arrived, networks);
    }

    #[test]
    fn an_empty_list_is_one_last_part() {
        assert_eq!(Reply::networks(&[]), [Reply::Networks { networks: Vec::new(), last: true }]);
    }

    #[test]
    fn a_list_of_outbounds_reads_back() {
        let refusal = Outbound::Refusal(Refusal { fault: Fault::Locked, retry_after: 60 });
        let body = Outbound::encode_list(&[refusal.encode(), refusal.encode()]);
        assert_eq!(Outbound::decode_list(&body), Ok(vec![refusal.clone(), refusal]));
    }
}
