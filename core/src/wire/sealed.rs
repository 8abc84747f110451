//! The plaintext of sealed records: requests, replies and events.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use prost::Message as _;
use zeroize::{Zeroize, Zeroizing};

use super::{decode, fault_from, pb, state, state_from, text};
use crate::domain::{
    CareEvent, CareRequest, CareStatus, CommandCenterUrl, Country, CreatedAt, Credentials, EapMethod, Enterprise, Failure, K2,
    Label, LayerReport, Login, Network, Passphrase, ProvisionCode, SavedNetwork, Security, Ssid, State, Status, TextField,
    UnixTime,
};
use crate::endpoint::Endpoint;
use crate::fault::Fault;
use crate::secret::{SecretBlob, SecretBytes, SecretText};

/// The largest part of a scan's result in one message, encoded bytes; leaves room for the record around it.
const NETWORKS_LIMIT: usize = 400;

/// A request of an authenticated phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// List the networks in range.
    Scan {
        /// Scan again even if the node has a recent list.
        fresh: bool,
        /// The country that the node is in, if the phone knows it.
        country: Option<Country>,
    },
    /// Store K2.
    K2(K2),
    /// Join a network and register.
    Credentials(Box<Credentials>),
    /// Query the status.
    Status,
    /// End the attempt in progress.
    Cancel {
        /// The attempt.
        request_id: u64,
    },
    /// A request to network care.
    Care(CareRequest),
    /// Permit clients that have no secret to give the node its network, for a minute.
    Authorize,
}

/// A message of the node to an authenticated phone.
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
    Changed(StatusReport),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A part of the list of networks.
    Networks {
        /// Strongest first.
        networks: Vec<Network>,
        /// Whether this is the last part.
        last: bool,
    },
    /// K2 is stored.
    K2Stored {
        /// Its key id.
        kid: String,
    },
    /// The attempt has started.
    Accepted {
        /// Its id.
        request_id: u64,
    },
    /// The status.
    Status(StatusReport),
    /// The request is refused.
    Refused(Fault),
    /// Network care has done it.
    Done,
    /// The state of the network.
    CareStatus(CareStatus),
    /// A part of the list of saved networks.
    Saved {
        /// Some of them.
        networks: Vec<SavedNetwork>,
        /// Whether this is the last part.
        last: bool,
    },
    /// What works, and what does not.
    Diagnosis(Vec<LayerReport>),
    /// A part of the list of events.
    Events {
        /// Some of them, in their order.
        events: Vec<CareEvent>,
        /// Whether this is the last part.
        last: bool,
        /// Events before the first part can be lost.
        gap: bool,
    },
    /// The label.
    Label(Label),
}

/// A [`Status`] in the form in which it is sent to phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
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
    /// The appliance that the provision code has made the node part of.
    pub appliance_id: Option<String>,
    /// Where the owner continues after a success.
    pub next_url: Option<CommandCenterUrl>,
}

impl From<&Status> for StatusReport {
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
            appliance_id: status.appliance_id.clone(),
            next_url: None,
        }
    }
}

impl Request {
    /// The endpoint that the request is written to.
    pub const fn endpoint(&self) -> Endpoint {
        match self {
            Self::Scan { .. } => Endpoint::Scan,
            Self::K2(_) => Endpoint::K2,
            Self::Credentials(_) | Self::Cancel { .. } | Self::Care(_) | Self::Authorize => Endpoint::Credentials,
            Self::Status => Endpoint::Status,
        }
    }

    /// Parses the plaintext of a request that was written to `endpoint`; a request of another endpoint is malformed.
    pub fn decode(endpoint: Endpoint, bytes: &[u8]) -> Result<Self, Fault> {
        let request = Self::decode_any(bytes)?;
        if request.endpoint() == endpoint { Ok(request) } else { Err(Fault::Malformed) }
    }

    /// Parses the plaintext of a request, whatever its endpoint is.
    pub fn decode_any(bytes: &[u8]) -> Result<Self, Fault> {
        use pb::request::Kind;
        let kind = decode::<pb::Request>(bytes)?.kind.ok_or(Fault::Malformed)?;
        Ok(match kind {
            Kind::Scan(pb::ScanRequest { fresh, country }) => Self::Scan { fresh, country: Country::parse(&country)? },
            Kind::Status(pb::StatusRequest {}) => Self::Status,
            Kind::Cancel(pb::CancelRequest { request_id }) => Self::Cancel { request_id },
            Kind::K2(pb::K2 { key, kid, created_at }) => {
                let key = Zeroizing::new(key);
                Self::K2(K2 {
                    key: SecretBytes::try_from(key.as_slice()).map_err(|_| Fault::InvalidK2)?,
                    kid: text(TextField::Kid, kid)?,
                    created_at: CreatedAt::try_from(created_at.as_str()).map_err(|_| Fault::InvalidK2)?,
                })
            }
            Kind::Credentials(credentials) => Self::Credentials(Box::new(credentials.try_into()?)),
            Kind::Care(request) => Self::Care(request.try_into()?),
            Kind::Authorize(pb::AuthorizeRequest {}) => Self::Authorize,
        })
    }

    /// The plaintext of the request's record.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        use pb::request::Kind;
        let kind = match self {
            Self::Scan { fresh, country } => {
                Kind::Scan(pb::ScanRequest { fresh: *fresh, country: country.map(Country::into_string).unwrap_or_default() })
            }
            Self::Status => Kind::Status(pb::StatusRequest {}),
            Self::Cancel { request_id } => Kind::Cancel(pb::CancelRequest { request_id: *request_id }),
            Self::K2(K2 { key, kid, created_at }) => {
                Kind::K2(pb::K2 { key: key.expose().to_vec(), kid: kid.clone(), created_at: created_at.as_str().into() })
            }
            Self::Credentials(credentials) => Kind::Credentials(credentials.as_ref().into()),
            Self::Care(request) => Kind::Care(request.into()),
            Self::Authorize => Kind::Authorize(pb::AuthorizeRequest {}),
        };
        let request = pb::Request { kind: Some(kind) };
        let encoded = Zeroizing::new(request.encode_to_vec());
        erase(request);
        encoded
    }
}

/// Overwrites the secrets of an encoded message.
fn erase(request: pb::Request) {
    use pb::request::Kind;
    match request.kind {
        Some(Kind::K2(mut k2)) => k2.key.zeroize(),
        Some(Kind::Credentials(mut credentials)) => {
            credentials.passphrase.zeroize();
            credentials.provisioning_token.zeroize();
            credentials.provision_code.zeroize();
            if let Some(mut login) = credentials.enterprise {
                login.password.zeroize();
                login.certificate.zeroize();
                login.certificate_password.zeroize();
            }
        }
        Some(Kind::Care(pb::CareRequest { kind: Some(pb::care_request::Kind::Connect(mut connect)) })) => {
            connect.passphrase.zeroize();
        }
        Some(Kind::Scan(_) | Kind::Status(_) | Kind::Cancel(_) | Kind::Care(_) | Kind::Authorize(_)) | None => {}
    }
}

impl TryFrom<pb::Credentials> for Credentials {
    type Error = Fault;

    fn try_from(credentials: pb::Credentials) -> Result<Self, Fault> {
        // Move the secrets into types that erase them before returning an error.
        let provision_code = Zeroizing::new(credentials.provision_code);
        let token = SecretText::new(credentials.provisioning_token);
        let login = credentials.enterprise.map(|enterprise| Login::try_from(*enterprise));
        let passphrase = Passphrase::try_from(credentials.passphrase)?;
        if !passphrase.is_printable() {
            return Err(Fault::InvalidPassphrase);
        }
        // 0 is an attempt that did not come sealed, whose network is not secret.
        if credentials.request_id == 0 {
            return Err(Fault::InvalidField);
        }
        TextField::Token.check(token.expose())?;
        let enterprise = login.transpose()?.map(Enterprise::try_from).transpose()?.map(Box::new);
        if enterprise.is_some() && !passphrase.is_empty() {
            return Err(Fault::InvalidEnterprise);
        }
        Ok(Self {
            request_id: credentials.request_id,
            ssid: match credentials.ssid.as_slice() {
                [] if passphrase.is_empty() && enterprise.is_none() => None,
                ssid => Some(Ssid::try_from(ssid)?),
            },
            passphrase,
            enterprise,
            hidden: credentials.hidden,
            room: text(TextField::Room, credentials.room)?,
            command_center: Some(CommandCenterUrl::try_from(credentials.command_center_url.as_str())?),
            config_service: match credentials.config_service_url.as_str() {
                "" => None,
                url => Some(CommandCenterUrl::try_from(url).map_err(|_| Fault::InvalidConfigServiceUrl)?),
            },
            household_id: text(TextField::HouseholdId, credentials.household_id)?,
            node_id: text(TextField::NodeId, credentials.node_id)?,
            token,
            provision_code: match provision_code.as_str() {
                "" => None,
                code => Some(ProvisionCode::try_from(code).map_err(|_| Fault::InvalidProvisionCode)?),
            },
            time: Some(UnixTime(credentials.time)).filter(|time| time.0 != 0),
            country: Country::parse(&credentials.country)?,
            seen_frequency: credentials.seen_frequency,
        })
    }
}

impl From<&Credentials> for pb::Credentials {
    fn from(credentials: &Credentials) -> Self {
        Self {
            request_id: credentials.request_id,
            ssid: credentials.ssid.as_ref().map(|ssid| ssid.as_bytes().to_vec()).unwrap_or_default(),
            passphrase: credentials.passphrase.expose().into(),
            hidden: credentials.hidden,
            room: credentials.room.clone(),
            command_center_url: credentials.command_center.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default(),
            config_service_url: credentials.config_service.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default(),
            household_id: credentials.household_id.clone(),
            node_id: credentials.node_id.clone(),
            provisioning_token: credentials.token.expose().into(),
            provision_code: credentials.provision_code.as_ref().map(|code| code.expose().to_owned()).unwrap_or_default(),
            time: credentials.time.map_or(0, |time| time.0),
            country: credentials.country.map(Country::into_string).unwrap_or_default(),
            seen_frequency: credentials.seen_frequency,
            enterprise: credentials.enterprise.as_deref().map(|enterprise| Box::new(enterprise.into())),
        }
    }
}

impl TryFrom<pb::Enterprise> for Login {
    type Error = Fault;

    fn try_from(enterprise: pb::Enterprise) -> Result<Self, Fault> {
        let method = enterprise.method();
        // The secrets are moved before the method is judged, so that they are erased in any case.
        let login = Self {
            method: EapMethod::PeapMschapv2,
            identity: enterprise.identity,
            anonymous_identity: enterprise.anonymous_identity,
            password: SecretText::new(enterprise.password),
            certificate: SecretBlob::new(enterprise.certificate),
            certificate_password: SecretText::new(enterprise.certificate_password),
            authority: enterprise.authority,
            domain: enterprise.domain,
            accept_unverified_server: enterprise.accept_unverified_server,
        };
        let method = match method {
            pb::EapMethod::PeapMschapv2 => EapMethod::PeapMschapv2,
            pb::EapMethod::TtlsPap => EapMethod::TtlsPap,
            pb::EapMethod::Tls => EapMethod::Tls,
            pb::EapMethod::Unspecified => return Err(Fault::InvalidEnterprise),
        };
        Ok(Self { method, ..login })
    }
}

impl From<&Enterprise> for pb::Enterprise {
    fn from(enterprise: &Enterprise) -> Self {
        let login = enterprise.login();
        let method = match login.method {
            EapMethod::PeapMschapv2 => pb::EapMethod::PeapMschapv2,
            EapMethod::TtlsPap => pb::EapMethod::TtlsPap,
            EapMethod::Tls => pb::EapMethod::Tls,
        };
        Self {
            method: method.into(),
            identity: login.identity.clone(),
            anonymous_identity: login.anonymous_identity.clone(),
            password: login.password.expose().into(),
            certificate: login.certificate.expose().to_vec(),
            certificate_password: login.certificate_password.expose().into(),
            authority: login.authority.clone(),
            domain: login.domain.clone(),
            accept_unverified_server: login.accept_unverified_server,
        }
    }
}

/// A login as bytes, for the node's own records.
impl Enterprise {
    /// The same bytes as in [`Request::Credentials`].
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut message = pb::Enterprise::from(self);
        let encoded = Zeroizing::new(message.encode_to_vec());
        message.password.zeroize();
        message.certificate.zeroize();
        message.certificate_password.zeroize();
        encoded
    }

    /// Checks the login again.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        Login::try_from(decode::<pb::Enterprise>(bytes)?)?.try_into()
    }
}

impl Message {
    /// Parses the plaintext of a node's record.
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
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        use pb::message::Kind;
        let kind = match self {
            Self::Reply { to, reply } => Kind::Reply(pb::Reply { to: *to, kind: Some(reply.into()) }),
            Self::Changed(report) => Kind::Event(pb::Event { kind: Some(pb::event::Kind::Status(report.into())) }),
        };
        let message = pb::Message { kind: Some(kind) };
        let encoded = Zeroizing::new(message.encode_to_vec());
        if let Some(Kind::Reply(pb::Reply { kind: Some(pb::reply::Kind::Label(mut label)), .. })) = message.kind {
            label.code.zeroize();
            label.pairing_qr.zeroize();
            label.modules.zeroize();
        }
        encoded
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
            Kind::Done(pb::Done {}) => Self::Done,
            Kind::CareStatus(status) => Self::CareStatus(status.into()),
            Kind::Saved(pb::SavedNetworks { networks, last }) => {
                Self::Saved { networks: networks.into_iter().map(SavedNetwork::from).collect(), last }
            }
            Kind::Diagnosis(pb::Diagnosis { layers }) => {
                Self::Diagnosis(layers.into_iter().map(LayerReport::try_from).collect::<Result<_, _>>()?)
            }
            Kind::Events(pb::CareEvents { events, last, gap }) => {
                let events = events.into_iter().map(CareEvent::try_from).collect::<Result<_, _>>()?;
                Self::Events { events, last, gap }
            }
            Kind::Label(label) => Self::Label(label.into()),
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
            Reply::Status(report) => Self::Status(report.into()),
            Reply::Refused(fault) => Self::Refused(fault.number().into()),
            Reply::Done => Self::Done(pb::Done {}),
            Reply::CareStatus(status) => Self::CareStatus(status.into()),
            Reply::Saved { networks, last } => {
                Self::Saved(pb::SavedNetworks { networks: networks.iter().map(pb::SavedNetwork::from).collect(), last: *last })
            }
            Reply::Diagnosis(layers) => Self::Diagnosis(pb::Diagnosis { layers: layers.iter().map(pb::Layer::from).collect() }),
            Reply::Events { events, last, gap } => {
                let events = events.iter().map(pb::CareEvent::from).collect();
                Self::Events(pb::CareEvents { events, last: *last, gap: *gap })
            }
            Reply::Label(label) => Self::Label(label.into()),
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

impl TryFrom<pb::Status> for StatusReport {
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
            appliance_id: Some(status.appliance_id).filter(|id| !id.is_empty()),
            next_url: CommandCenterUrl::try_from(status.next_url.as_str()).ok(),
        })
    }
}

impl From<&StatusReport> for pb::Status {
    fn from(report: &StatusReport) -> Self {
        Self {
            state: state(report.state).into(),
            progress_percent: report.progress.into(),
            message: report.message.clone(),
            fault: report.failure.as_ref().map_or(0, |failure| failure.fault.number().into()),
            retryable: report.retryable,
            request_id: report.request_id,
            ssid: report.ssid.as_ref().map(|ssid| ssid.as_bytes().to_vec()).unwrap_or_default(),
            registration_status: report
                .failure
                .as_ref()
                .and_then(|failure| failure.registration_status)
                .unwrap_or_default()
                .into(),
            limited_connectivity: report.limited_connectivity,
            appliance_id: report.appliance_id.clone().unwrap_or_default(),
            next_url: report.next_url.as_ref().map(|url| url.as_str().to_owned()).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
