//! Requests to network care, and their replies.

use alloc::borrow::ToOwned;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use prost::Message as _;

use super::{Reply, pb};
use crate::domain::{
    CareEvent, CareReply, CareRequest, CareStatus, EventLevel, EventPhase, Label, LayerReport, LayerVerdict, NewEvents,
    Passphrase, RecoveryState, SavedNetwork, Ssid, TEXT_LIMIT, is_free_of_controls,
};
use crate::fault::Fault;
use crate::secret::{SecretBlob, SecretText};

/// The largest part of a list in one message, encoded bytes.
const PART: usize = 400;
/// The longest id of an event that a phone may name, bytes.
const ID: usize = 64;
/// The longest text for people in a reply, bytes. A diagnosis has sixteen of them, and has to fit into one message.
const TEXT: usize = 200;

impl TryFrom<pb::CareRequest> for CareRequest {
    type Error = Fault;

    fn try_from(request: pb::CareRequest) -> Result<Self, Fault> {
        use pb::care_request::Kind;
        Ok(match request.kind.ok_or(Fault::Malformed)? {
            Kind::Status(pb::CareStatusRequest {}) => Self::Status,
            Kind::Saved(pb::SavedRequest {}) => Self::Saved,
            Kind::Join(ssid) => Self::Join(Ssid::try_from(ssid.as_slice())?),
            Kind::Forget(name) if is_profile_name(&name) => Self::Forget(name),
            Kind::Diagnose(pb::DiagnoseRequest {}) => Self::Diagnose,
            Kind::Hotspot(open) => Self::Hotspot(open),
            Kind::Recover(pb::RecoverRequest {}) => Self::Recover,
            Kind::Restart(pb::RestartRequest {}) => Self::Restart,
            Kind::Events(pb::EventsRequest { after }) if after.len() <= ID && is_free_of_controls(&after) => Self::Events(after),
            Kind::Connect(pb::ConnectRequest { ssid, passphrase, hidden }) => {
                // Moved first, so that it is erased in any case.
                let passphrase = Passphrase::try_from(passphrase)?;
                if !passphrase.is_printable() {
                    return Err(Fault::InvalidPassphrase);
                }
                Self::Connect { ssid: Ssid::try_from(ssid.as_slice())?, passphrase, hidden }
            }
            Kind::Label(pb::LabelRequest {}) => Self::Label,
            Kind::Reset(pb::ResetRequest {}) => Self::Reset,
            Kind::Forget(_) | Kind::Events(_) => return Err(Fault::InvalidField),
        })
    }
}

fn is_profile_name(name: &str) -> bool {
    (1..=TEXT_LIMIT).contains(&name.len()) && is_free_of_controls(name)
}

impl From<&CareRequest> for pb::CareRequest {
    fn from(request: &CareRequest) -> Self {
        use pb::care_request::Kind;
        let kind = match request {
            CareRequest::Status => Kind::Status(pb::CareStatusRequest {}),
            CareRequest::Saved => Kind::Saved(pb::SavedRequest {}),
            CareRequest::Join(ssid) => Kind::Join(ssid.as_bytes().to_vec()),
            CareRequest::Forget(name) => Kind::Forget(name.clone()),
            CareRequest::Diagnose => Kind::Diagnose(pb::DiagnoseRequest {}),
            CareRequest::Hotspot(open) => Kind::Hotspot(*open),
            CareRequest::Recover => Kind::Recover(pb::RecoverRequest {}),
            CareRequest::Restart => Kind::Restart(pb::RestartRequest {}),
            CareRequest::Events(after) => Kind::Events(pb::EventsRequest { after: after.clone() }),
            CareRequest::Connect { ssid, passphrase, hidden } => Kind::Connect(pb::ConnectRequest {
                ssid: ssid.as_bytes().to_vec(),
                passphrase: passphrase.expose().into(),
                hidden: *hidden,
            }),
            CareRequest::Label => Kind::Label(pb::LabelRequest {}),
            CareRequest::Reset => Kind::Reset(pb::ResetRequest {}),
        };
        Self { kind: Some(kind) }
    }
}

impl Reply {
    /// The replies that an answer of network care takes: one, or several for a list.
    pub fn of_care(answer: CareReply) -> Vec<Self> {
        match answer {
            CareReply::Done => vec![Self::Done],
            CareReply::Status(status) => vec![Self::CareStatus(status)],
            CareReply::Diagnosis(layers) => vec![Self::Diagnosis(layers)],
            CareReply::Label(label) => vec![Self::Label(label)],
            CareReply::Saved(networks) => {
                // A network whose name cannot be sent back to forget it is left out.
                let named = networks.into_iter().filter(|network| is_profile_name(&network.name));
                let parts = parts(named, |network| pb::SavedNetwork::from(network).encoded_len());
                parts.map(|(networks, last)| Self::Saved { networks, last }).collect()
            }
            CareReply::Events(NewEvents { events, gap }) => {
                let parts = parts(events, |event| pb::CareEvent::from(event).encoded_len());
                parts.map(|(events, last)| Self::Events { events, last, gap }).collect()
            }
        }
    }
}

/// The parts of a list, each small enough for one message, and whether each is the last one; at least one. `length` is that of
/// an entry.
fn parts<T>(entries: impl IntoIterator<Item = T>, length: impl Fn(&T) -> usize) -> impl Iterator<Item = (Vec<T>, bool)> {
    let mut parts: Vec<Vec<T>> = vec![Vec::new()];
    let mut size = 0;
    for entry in entries {
        let length = length(&entry) + 3;
        if size > 0 && size + length > PART {
            parts.push(Vec::new());
            size = 0;
        }
        size += length;
        parts.last_mut().expect("starts with one").push(entry);
    }
    let count = parts.len();
    parts.into_iter().enumerate().map(move |(index, part)| (part, index + 1 == count))
}

/// A text for people, cut to [`TEXT`].
fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}

impl From<&SavedNetwork> for pb::SavedNetwork {
    fn from(SavedNetwork { name, autoconnect, active }: &SavedNetwork) -> Self {
        Self { name: name.clone(), autoconnect: *autoconnect, active: *active }
    }
}

impl From<pb::SavedNetwork> for SavedNetwork {
    fn from(pb::SavedNetwork { name, autoconnect, active }: pb::SavedNetwork) -> Self {
        Self { name, autoconnect, active }
    }
}

impl From<&CareStatus> for pb::CareStatus {
    fn from(status: &CareStatus) -> Self {
        Self {
            connected: status.connected,
            ssid: status.ssid.as_ref().map(|ssid| ssid.as_bytes().to_vec()).unwrap_or_default(),
            address: status.address.map(|address| address.to_string()).unwrap_or_default(),
            internet: status.internet,
            hotspot: status.hotspot,
            last_error: cut(&status.last_error),
            recovery: status
                .recovery
                .map_or(pb::Recovery::Unspecified, |recovery| match recovery {
                    RecoveryState::Ready => pb::Recovery::Ready,
                    RecoveryState::Disabled => pb::Recovery::Disabled,
                    RecoveryState::Cooldown => pb::Recovery::Cooldown,
                    RecoveryState::InProgress => pb::Recovery::InProgress,
                })
                .into(),
        }
    }
}

impl From<pb::CareStatus> for CareStatus {
    /// An address that is none is left out, as is a name.
    fn from(status: pb::CareStatus) -> Self {
        let recovery = match status.recovery() {
            pb::Recovery::Unspecified => None,
            pb::Recovery::Ready => Some(RecoveryState::Ready),
            pb::Recovery::Disabled => Some(RecoveryState::Disabled),
            pb::Recovery::Cooldown => Some(RecoveryState::Cooldown),
            pb::Recovery::InProgress => Some(RecoveryState::InProgress),
        };
        Self {
            connected: status.connected,
            ssid: Ssid::try_from(status.ssid.as_slice()).ok(),
            address: status.address.parse().ok(),
            internet: status.internet,
            hotspot: status.hotspot,
            last_error: status.last_error,
            recovery,
        }
    }
}

impl From<&Label> for pb::Label {
    fn from(Label { name, code, pairing_qr, size, modules }: &Label) -> Self {
        Self {
            name: name.clone(),
            code: code.expose().into(),
            pairing_qr: pairing_qr.expose().into(),
            size: *size,
            modules: modules.expose().to_vec(),
        }
    }
}

impl From<pb::Label> for Label {
    fn from(pb::Label { name, code, pairing_qr, size, modules }: pb::Label) -> Self {
        Self {
            name,
            code: SecretText::new(code),
            pairing_qr: SecretText::new(pairing_qr),
            size,
            modules: SecretBlob::new(modules),
        }
    }
}

impl From<&LayerReport> for pb::Layer {
    fn from(report: &LayerReport) -> Self {
        let verdict = match report.verdict {
            LayerVerdict::Ok => pb::Verdict::Ok,
            LayerVerdict::Failed => pb::Verdict::Failed,
            LayerVerdict::NotReached => pb::Verdict::NotReached,
        };
        Self { name: report.layer.clone(), verdict: verdict.into(), evidence: cut(&report.evidence), advice: cut(&report.advice) }
    }
}

impl TryFrom<pb::Layer> for LayerReport {
    type Error = Fault;

    fn try_from(layer: pb::Layer) -> Result<Self, Fault> {
        let verdict = match layer.verdict() {
            pb::Verdict::Ok => LayerVerdict::Ok,
            pb::Verdict::Failed => LayerVerdict::Failed,
            pb::Verdict::NotReached => LayerVerdict::NotReached,
            pb::Verdict::Unspecified => return Err(Fault::Malformed),
        };
        Ok(Self { layer: layer.name, verdict, evidence: layer.evidence, advice: layer.advice })
    }
}

impl From<&CareEvent> for pb::CareEvent {
    fn from(CareEvent { id, level, message, action }: &CareEvent) -> Self {
        let level = match level {
            EventLevel::Info => pb::Level::Info,
            EventLevel::Success => pb::Level::Success,
            EventLevel::Warning => pb::Level::Warning,
            EventLevel::Error => pb::Level::Error,
        };
        let phase = |(_, phase): &(String, EventPhase)| match phase {
            EventPhase::Started => pb::Phase::Started,
            EventPhase::Completed => pb::Phase::Completed,
            EventPhase::Failed => pb::Phase::Failed,
        };
        Self {
            id: id.clone(),
            level: level.into(),
            message: cut(message),
            action: action.as_ref().map(|(name, _)| name.clone()).unwrap_or_default(),
            phase: action.as_ref().map_or(pb::Phase::Unspecified, phase).into(),
        }
    }
}

impl TryFrom<pb::CareEvent> for CareEvent {
    type Error = Fault;

    fn try_from(event: pb::CareEvent) -> Result<Self, Fault> {
        let level = match event.level() {
            pb::Level::Info => EventLevel::Info,
            pb::Level::Success => EventLevel::Success,
            pb::Level::Warning => EventLevel::Warning,
            pb::Level::Error => EventLevel::Error,
            pb::Level::Unspecified => return Err(Fault::Malformed),
        };
        let phase = match event.phase() {
            pb::Phase::Unspecified => None,
            pb::Phase::Started => Some(EventPhase::Started),
            pb::Phase::Completed => Some(EventPhase::Completed),
            pb::Phase::Failed => Some(EventPhase::Failed),
        };
        Ok(Self { id: event.id, level, message: event.message, action: phase.map(|phase| (event.action, phase)) })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::endpoint::OUTBOUND_LIMIT;
    use crate::wire::Message;

    /// The record and the message around a reply.
    const AROUND: usize = 64;

    #[test]
    fn a_long_list_of_saved_networks_is_cut_and_arrives_whole() {
        let saved =
            |index: usize| SavedNetwork { name: "n".repeat(1 + index * 5), autoconnect: index.is_multiple_of(2), active: false };
        let networks: Vec<_> = (0..100).map(saved).collect();
        let parts = Reply::of_care(CareReply::Saved(networks.clone()));
        let mut arrived = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let message = Message::Reply { to: 3, reply: part.clone() }.encode();
            assert!(message.len() + AROUND <= OUTBOUND_LIMIT);
            let Ok(Message::Reply { reply: Reply::Saved { networks, last }, .. }) = Message::decode(&message) else {
                panic!("a part of the list")
            };
            assert_eq!(last, index + 1 == parts.len());
            arrived.extend(networks);
        }
        assert_eq!(arrived, networks);
        assert_eq!(Reply::of_care(CareReply::Saved(Vec::new())), [Reply::Saved { networks: Vec::new(), last: true }]);
    }

    #[test]
    fn a_long_list_of_events_is_cut_and_arrives_whole() {
        let event = |index: usize| CareEvent {
            id: format!("20260301120000-{index:06}"),
            level: EventLevel::Warning,
            message: "é".repeat(index * 5),
            action: (index > 20).then(|| ("network.connect".into(), EventPhase::Failed)),
        };
        let events: Vec<_> = (0..64).map(event).collect();
        let parts = Reply::of_care(CareReply::Events(NewEvents { events: events.clone(), gap: true }));
        let mut arrived = Vec::new();
        for (index, part) in parts.iter().enumerate() {
            let message = Message::Reply { to: 3, reply: part.clone() }.encode();
            assert!(message.len() + AROUND <= OUTBOUND_LIMIT);
            let Ok(Message::Reply { reply: Reply::Events { events, last, gap }, .. }) = Message::decode(&message) else {
                panic!("a part of the list")
            };
            assert_eq!((last, gap), (index + 1 == parts.len(), true));
            arrived.extend(events);
        }
        let shown = |event: CareEvent| CareEvent { message: cut(&event.message), ..event };
        assert_eq!(arrived, events.into_iter().map(shown).collect::<Vec<_>>());
        let none = Reply::of_care(CareReply::Events(NewEvents::default()));
        assert_eq!(none, [Reply::Events { events: Vec::new(), last: true, gap: false }]);
    }

    #[test]
    fn an_id_that_is_none_is_refused() {
        for after in ["a\nb", &"0".repeat(65)] {
            let kind = Some(pb::care_request::Kind::Events(pb::EventsRequest { after: after.into() }));
            assert_eq!(CareRequest::try_from(pb::CareRequest { kind }), Err(Fault::InvalidField), "{after:?}");
        }
    }

    #[test]
    fn a_diagnosis_with_long_texts_fits_into_one_message() {
        let report = LayerReport {
            layer: "command_center".into(),
            verdict: LayerVerdict::Failed,
            evidence: "é".repeat(5_000),
            advice: "é".repeat(5_000),
        };
        let parts = Reply::of_care(CareReply::Diagnosis(vec![report; 8]));
        let message = Message::Reply { to: u64::MAX, reply: parts[0].clone() }.encode();
        assert!(parts.len() == 1 && message.len() + AROUND <= OUTBOUND_LIMIT, "{}", message.len());
        let Ok(Message::Reply { reply: Reply::Diagnosis(layers), .. }) = Message::decode(&message) else { panic!("a diagnosis") };
        assert_eq!(layers[7].advice, "é".repeat(100));
    }

    #[test]
    fn a_name_that_is_no_profile_of_a_network_is_refused() {
        for name in ["", "a\nb", &"n".repeat(513)] {
            let kind = Some(pb::care_request::Kind::Forget(name.into()));
            assert_eq!(CareRequest::try_from(pb::CareRequest { kind }), Err(Fault::InvalidField), "{name:?}");
        }
        assert_eq!(CareRequest::try_from(pb::CareRequest { kind: None }), Err(Fault::Malformed));
    }
}
