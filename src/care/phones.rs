//! The requests of phones with a session: the same operations as in the API, without its token.

use provisioning_core::care::diagnosis::{Finding, Verdict, diagnose};
use provisioning_core::care::recovery::Lock;
use provisioning_core::domain::{
    CareEvent, CareReply, CareRequest, CareStatus, EventLevel, EventPhase, Label, LayerReport, LayerVerdict, NewEvents,
    Passphrase, RecoveryState, SavedNetwork,
};
use provisioning_core::fault::Fault;
use provisioning_core::secret::{SecretBlob, SecretText};
use qrcode::{Color, QrCode};
use tokio::sync::mpsc;

use super::events::{Event, Events, Kind, Level, Phase};
use super::port::{self, Care, Error, Join, RecoveryStatus, Saved, Scope};
use crate::daemon::CareCall;
use crate::label::pairing_text;

/// Serves the requests, one after another, until the loop of provisioning has ended.
pub async fn serve(care: Care, mut calls: mpsc::Receiver<CareCall>) {
    while let Some(CareCall { request, reply }) = calls.recv().await {
        // The phone may have left.
        let _unread = reply.send(answer(&care, request).await.map_err(|error| fault(&error)));
    }
}

async fn answer(care: &Care, request: CareRequest) -> Result<CareReply, Error> {
    match request {
        CareRequest::Status => Ok(CareReply::Status(status(care))),
        CareRequest::Saved => Ok(CareReply::Saved(care.saved().await?.into_iter().map(saved).collect())),
        CareRequest::Diagnose => {
            let findings = diagnose(&care.diagnose().await?);
            Ok(CareReply::Diagnosis(findings.into_iter().map(layer).collect()))
        }
        CareRequest::Join(ssid) => {
            let passphrase = Passphrase::try_from(String::new()).map_err(Error::Failed)?;
            care.connect(Join { ssid, passphrase, hidden: false }).await.map(|()| CareReply::Done)
        }
        CareRequest::Connect { ssid, passphrase, hidden } => {
            care.connect(Join { ssid, passphrase, hidden }).await.map(|()| CareReply::Done)
        }
        CareRequest::Forget(name) => care.forget(name).await.map(|()| CareReply::Done),
        CareRequest::Hotspot(open) => care.hotspot(open).await.map(|()| CareReply::Done),
        CareRequest::Recover => care.recover().await.map(|()| CareReply::Done),
        CareRequest::Events(after) => Ok(CareReply::Events(events(care.events(), &after))),
        CareRequest::Restart => care.restart("requested by a phone".into(), Scope::Program).await.map(|()| CareReply::Done),
        CareRequest::Label => Ok(CareReply::Label(label(care.label().await?))),
        CareRequest::Reset => care.factory_reset().await.map(|()| CareReply::Done),
    }
}

fn status(care: &Care) -> CareStatus {
    let status = care.status();
    let network = &status.network;
    CareStatus {
        connected: network.connected,
        ssid: network.last_ssid.clone().filter(|_| network.connected),
        address: network.ipv4_address,
        internet: network.internet,
        hotspot: network.hotspot_open,
        last_error: network.last_error.clone().unwrap_or_default(),
        recovery: Some(recovery(&status.recovery)),
    }
}

const fn recovery(recovery: &RecoveryStatus) -> RecoveryState {
    match recovery.lock {
        _ if !recovery.enabled => RecoveryState::Disabled,
        Lock::None => RecoveryState::Ready,
        Lock::Cooldown => RecoveryState::Cooldown,
        Lock::Recovery => RecoveryState::InProgress,
    }
}

fn label(port::Label { name, pairing }: port::Label) -> Label {
    let pairing_qr = SecretText::new(pairing_text(&name, &pairing.secret));
    // Every name of a node fits; without the code there is still its text.
    let (width, colors) =
        QrCode::new(pairing_qr.expose()).map_or_else(|_| (0, Vec::new()), |code| (code.width(), code.into_colors()));
    let bit = |bits: u8, (place, color): (usize, &Color)| bits | color.select(0x80, 0) >> place;
    let modules = colors.chunks(8).map(|eight| eight.iter().enumerate().fold(0, bit)).collect();
    let size = u32::try_from(width).expect("a QR code has at most 177 modules in a row");
    Label { name, code: pairing.code, pairing_qr, size, modules: SecretBlob::new(modules) }
}

fn saved(Saved { name, autoconnect, active, .. }: Saved) -> SavedNetwork {
    SavedNetwork { name, autoconnect, active }
}

fn layer(Finding { layer, verdict, evidence, advice }: Finding) -> LayerReport {
    let verdict = match verdict {
        Verdict::Ok => LayerVerdict::Ok,
        Verdict::Failed => LayerVerdict::Failed,
        Verdict::NotReached => LayerVerdict::NotReached,
    };
    let advice = advice.map(std::borrow::Cow::into_owned).unwrap_or_default();
    LayerReport { layer: layer.name().into(), verdict, evidence, advice }
}

/// The events after one, as far as they are kept.
fn events(log: &Events, after: &str) -> NewEvents {
    let (happened, is_kept) = log.after(after);
    NewEvents { events: happened.iter().map(|happened| event(happened)).collect(), gap: !after.is_empty() && !is_kept }
}

fn event(Event { id, news, .. }: &Event) -> CareEvent {
    let level = match news.level {
        Level::Info => EventLevel::Info,
        Level::Success => EventLevel::Success,
        Level::Warning => EventLevel::Warning,
        Level::Error => EventLevel::Error,
    };
    let phase = |phase| match phase {
        Phase::Started => EventPhase::Started,
        Phase::Completed => EventPhase::Completed,
        Phase::Failed => EventPhase::Failed,
    };
    let action = match news.kind {
        Kind::Action(action, at) => Some((action.name().to_owned(), phase(at))),
        Kind::Status | Kind::System => None,
    };
    CareEvent { id: id.clone(), level, message: news.message.clone(), action }
}

/// What a phone is told.
const fn fault(error: &Error) -> Fault {
    match error {
        Error::Failed(fault) => *fault,
        Error::UnknownNetwork => Fault::NetworkNotFound,
        Error::NoInternet => Fault::CommandCenterUnreachable,
        // The same request can succeed later.
        Error::Provisioning | Error::Busy | Error::RecoveryInProgress | Error::RecoveryCooldown(_) | Error::Stopping => {
            Fault::InProgress
        }
        // The settings forbid it: as on a node that does not know the request.
        _ => Fault::Malformed,
    }
}
