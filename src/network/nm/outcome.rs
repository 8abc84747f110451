//! The meaning of a device's states for an activation. Pure: numbers in, a verdict out.
//!
//! The device is watched because only it reports the reason: a failed active connection always reports that its device
//! disconnected.

use std::fmt;

use super::supplicant::{Refusal, UNSPECIFIED};
use super::values::{DeviceReason, DeviceState};
use provisioning_core::fault::Fault;

/// The kind of connection that is activated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The node joins a network.
    Station,
    /// The node opens its access point.
    AccessPoint,
}

/// The known properties of a network that is being joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) struct Sighting {
    /// One of its stations offers WPA3.
    pub sae: bool,
    /// None of its stations has a cipher that is younger than TKIP.
    pub outdated: bool,
    /// None of its stations has a key management that NetworkManager tells.
    pub odd: bool,
}

/// A change of a device's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub new: DeviceState,
    pub old: DeviceState,
    pub reason: DeviceReason,
}

/// The meaning of a change for the activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It continues.
    Pending,
    /// It is activated.
    Activated,
    /// It has ended.
    Ended(Ended),
    /// Another activation took the device; possibly ours, from an earlier one.
    Superseded,
}

/// The state of the key exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Key {
    /// NetworkManager has not received the key yet.
    #[default]
    Untried,
    /// The key is being tried.
    Tried,
    /// The network stopped answering during the key exchange; it may be out of range.
    Unanswered,
    /// The network refused the key.
    Refused,
    /// The network accepted the key: a later failure is a lost link.
    Taken,
}

/// Follows one activation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tracker {
    begun: bool,
    key: Key,
}

impl Tracker {
    /// Processes the next change. Changes before PREPARE belong to an earlier activation.
    pub(super) fn observe(&mut self, change: Change) -> Verdict {
        let Change { new, old, reason } = change;
        let ended = Verdict::Ended(Ended { new, old, reason, key: self.key });
        match new {
            DeviceState::Prepare => {
                // This state follows a second time with the key.
                let key = if self.begun && old == DeviceState::NeedAuth { Key::Tried } else { Key::Untried };
                *self = Self { begun: true, key };
                Verdict::Pending
            }
            DeviceState::Unmanaged | DeviceState::Unavailable => ended,
            _ if !self.begun => Verdict::Pending,
            DeviceState::Activated => Verdict::Activated,
            // Every secured activation passes this state once without a reason; a reason means that the key was refused. A
            // second time without a reason means that the network did not answer.
            DeviceState::NeedAuth => {
                match (self.key, reason) {
                    (Key::Taken, _) => {}
                    (_, DeviceReason::SupplicantDisconnect | DeviceReason::NoSecrets) => self.key = Key::Refused,
                    (Key::Tried, DeviceReason::None) => self.key = Key::Unanswered,
                    _ => {}
                }
                Verdict::Pending
            }
            DeviceState::IpConfig => {
                self.key = Key::Taken;
                Verdict::Pending
            }
            DeviceState::Deactivating | DeviceState::Disconnected if reason == DeviceReason::NewActivation => {
                self.begun = false;
                Verdict::Superseded
            }
            DeviceState::Failed | DeviceState::Deactivating | DeviceState::Disconnected => ended,
            _ => Verdict::Pending,
        }
    }
}

/// How an activation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    new: DeviceState,
    old: DeviceState,
    reason: DeviceReason,
    key: Key,
}

impl Ended {
    /// Whether the network stopped answering after it had started the exchange.
    pub(super) const fn is_silence(self) -> bool {
        matches!(self.key, Key::Unanswered)
    }

    /// Whether NetworkManager did not begin, because the profile has no secret that fits.
    pub(super) const fn lacks_secret(self) -> bool {
        matches!((self.reason, self.old), (DeviceReason::NoSecrets, DeviceState::NeedAuth | DeviceState::Prepare))
            && matches!(self.key, Key::Untried)
    }

    /// Whether the supplicant has failed, or did not react.
    pub(super) const fn is_supplicants(self) -> bool {
        matches!(self.reason, DeviceReason::SupplicantFailed | DeviceReason::SupplicantTimeout)
    }

    /// The fault for the phone. `sighting` is none if the network was not seen within the last minute.
    pub(super) fn fault(self, mode: Mode, sighting: Option<Sighting>, refusal: Refusal) -> Fault {
        use DeviceReason as Reason;
        match (self.reason, mode) {
            (reason, _) if reason.is_gone() => Fault::AdapterGone,
            (Reason::Sleeping | Reason::NetworkingOff, _) => Fault::RadioBlocked,
            _ if matches!(self.new, DeviceState::Unavailable) => Fault::RadioBlocked,
            _ if matches!(self.new, DeviceState::Unmanaged) => Fault::AdapterGone,
            (_, Mode::AccessPoint) => Fault::NetworkUnavailable,
            // NetworkManager requests another key whenever a link is lost early.
            (Reason::NoSecrets, _) if matches!(self.key, Key::Taken) => Fault::AssociationFailed,
            (Reason::NoSecrets, _) if self.is_silence() => Fault::ProbablyWrongPassword,
            (Reason::NoSecrets, _) => Fault::WrongPassword,
            _ if matches!(self.key, Key::Refused) => Fault::WrongPassword,
            _ if matches!(self.key, Key::Taken) => self.fault_after_association(),
            _ => fault_before_key(refusal, sighting, self.reason == Reason::SsidNotFound).unwrap_or_else(|| match self.reason {
                Reason::SupplicantConfigFailed => Fault::UnsupportedSecurity,
                _ => self.fault_after_association(),
            }),
        }
    }

    /// The fault of a failure that does not come from the association.
    const fn fault_after_association(self) -> Fault {
        use DeviceReason as Reason;
        match self.reason {
            Reason::IpAddressDuplicate => Fault::AddressConflict,
            Reason::IpConfigExpired | Reason::DhcpStartFailed | Reason::DhcpError | Reason::DhcpFailed => Fault::NoAddress,
            Reason::IpConfigUnavailable if matches!(self.old, DeviceState::IpConfig | DeviceState::IpCheck) => Fault::NoAddress,
            _ => Fault::AssociationFailed,
        }
    }

    /// Whether NetworkManager's DHCP or DNS server for the access point could not start.
    pub(super) const fn is_shared_failure(self) -> bool {
        matches!(self.reason, DeviceReason::IpConfigUnavailable | DeviceReason::SharedStartFailed | DeviceReason::SharedFailed)
    }
}

/// The fault of a network that let the node not come as far as its key; none if nothing is known. `is_missing`: the supplicant
/// has not associated with it within its time.
pub(in crate::network) const fn fault_before_key(
    refusal: Refusal,
    sighting: Option<Sighting>,
    is_missing: bool,
) -> Option<Fault> {
    Some(match (refusal, sighting) {
        (Refusal { full: true, .. }, _) => Fault::RouterFull,
        (_, Some(Sighting { outdated: true, .. })) => Fault::OutdatedSecurity,
        (Refusal { wrong_password: true, .. }, Some(Sighting { sae: true, .. })) => Fault::WrongPassword,
        // hostapd refuses a wrong password and an unknown element with the same status.
        (Refusal { status: Some(UNSPECIFIED), .. }, Some(Sighting { sae: true, .. })) => Fault::ProbablyWrongPassword,
        (Refusal { status: Some(_), .. }, Some(Sighting { sae: true, .. })) => Fault::Wpa3Failed,
        (Refusal { status: Some(_), .. }, _) => Fault::RouterRefused,
        (_, Some(Sighting { odd: true, .. })) => Fault::UnsupportedSecurity,
        (_, None) if is_missing => Fault::NetworkNotFound,
        // Without a status, a refusal by SAE looks like a missing answer.
        (_, Some(Sighting { sae: true, .. })) if is_missing => Fault::ProbablyWrongPassword,
        _ => return None,
    })
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the device went from {} to {}, reason {}", self.old, self.new, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Option<Sighting> = Some(Sighting { sae: false, outdated: false, odd: false });
    const SEEN_SAE: Option<Sighting> = Some(Sighting { sae: true, outdated: false, odd: false });
    const TKIP: Option<Sighting> = Some(Sighting { sae: false, outdated: true, odd: false });
    const ODD: Option<Sighting> = Some(Sighting { sae: false, outdated: false, odd: true });

    /// The fault after a sequence of states and reasons; none if the activation does not end.
    fn fault_after(mode: Mode, sighting: Option<Sighting>, sequence: &[(u32, u32)]) -> Option<Fault> {
        fault_with(Refusal::default(), mode, sighting, sequence)
    }

    /// The same, with what the supplicant has told beside NetworkManager.
    fn fault_with(refusal: Refusal, mode: Mode, sighting: Option<Sighting>, sequence: &[(u32, u32)]) -> Option<Fault> {
        let mut tracker = Tracker::default();
        let mut old = DeviceState::Disconnected;
        for &(new, reason) in sequence {
            let change = Change { new: new.into(), old, reason: reason.into() };
            old = change.new;
            // The first end counts: DISCONNECTED after FAILED says nothing new.
            if let Verdict::Ended(ended) = tracker.observe(change) {
                return Some(ended.fault(mode, sighting, refusal));
            }
        }
        None
    }

    fn activated(sequence: &[(u32, u32)]) -> bool {
        let mut tracker = Tracker::default();
        let mut old = DeviceState::Disconnected;
        sequence.iter().any(|&(new, reason)| {
            let change = Change { new: new.into(), old, reason: reason.into() };
            old = change.new;
            tracker.observe(change) == Verdict::Activated
        })
    }

    /// The usual beginning of a secured activation, then the rest.
    fn secured(rest: &[(u32, u32)]) -> Vec<(u32, u32)> {
        [&[(40, 0), (50, 0), (60, 0), (40, 0), (50, 0)], rest].concat()
    }

    #[test]
    fn a_good_passphrase_ends_activated() {
        assert!(activated(&secured(&[(70, 0), (80, 0), (90, 0), (100, 0)])));
    }

    #[test]
    fn a_join_over_the_running_access_point_ends_activated() {
        let replaced = [&[(110, 60), (30, 60)], &secured(&[(70, 0), (80, 0), (90, 0), (100, 0)])[..]].concat();
        assert!(activated(&replaced));
    }

    #[test]
    fn every_measured_failure_has_its_fault() {
        use Mode::{AccessPoint, Station};
        let wrong = [(60, 8), (120, 7), (30, 0)];
        let missing = [(120, 53), (30, 0)];
        let table = [
            ("wrong password, WPA2", Station, SEEN, secured(&wrong), Fault::WrongPassword),
            ("wrong password, WPA2, of a mixed network", Station, SEEN_SAE, secured(&wrong), Fault::WrongPassword),
            ("wrong password, WPA3 only", Station, SEEN_SAE, secured(&missing), Fault::ProbablyWrongPassword),
            ("wrong password, WPA2/WPA3", Station, SEEN_SAE, secured(&missing), Fault::ProbablyWrongPassword),
            ("name not there", Station, None, secured(&missing), Fault::NetworkNotFound),
            ("timer eaten by scanning", Station, SEEN, secured(&missing), Fault::AssociationFailed),
            (
                "passphrase of 5 characters",
                Station,
                SEEN,
                vec![(40, 0), (50, 0), (60, 0), (120, 7), (30, 0)],
                Fault::WrongPassword,
            ),
            (
                "link lost while DHCP was in progress",
                Station,
                SEEN,
                secured(&[(70, 0), (60, 8), (120, 7), (30, 0)]),
                Fault::AssociationFailed,
            ),
            (
                "silence while the key is tried",
                Station,
                SEEN,
                secured(&[(60, 0), (120, 7), (30, 0)]),
                Fault::ProbablyWrongPassword,
            ),
            ("no DHCP", Station, SEEN, secured(&[(70, 0), (120, 5), (30, 0)]), Fault::NoAddress),
            ("no DHCP, 1.22", Station, SEEN, secured(&[(70, 0), (120, 17), (30, 0)]), Fault::NoAddress),
            ("address taken", Station, SEEN, secured(&[(70, 0), (120, 64)]), Fault::AddressConflict),
            ("supplicant gone", Station, SEEN, secured(&[(120, 10)]), Fault::AssociationFailed),
            ("supplicant slow", Station, SEEN, secured(&[(120, 11)]), Fault::AssociationFailed),
            ("supplicant disconnected", Station, SEEN, secured(&[(120, 8)]), Fault::AssociationFailed),
            ("supplicant refuses", Station, SEEN, secured(&[(120, 9)]), Fault::UnsupportedSecurity),
            ("unplugged", Station, SEEN, secured(&[(10, 36)]), Fault::AdapterGone),
            ("unmanaged", Station, SEEN, secured(&[(110, 3), (10, 3)]), Fault::AdapterGone),
            ("unmanaged, newer", Station, SEEN, secured(&[(110, 72)]), Fault::AdapterGone),
            ("blocked on the way", Station, SEEN, secured(&[(20, 0)]), Fault::RadioBlocked),
            ("blocked before the beginning", Station, SEEN, vec![(20, 0)], Fault::RadioBlocked),
            ("asleep", Station, SEEN, secured(&[(110, 37)]), Fault::RadioBlocked),
            ("networking off", Station, SEEN, secured(&[(110, 78)]), Fault::RadioBlocked),
            ("an unknown reason", Station, SEEN, secured(&[(120, 4711)]), Fault::AssociationFailed),
            (
                "port 53 taken, 1.52",
                AccessPoint,
                None,
                secured(&[(70, 0), (80, 0), (120, 5), (30, 0)]),
                Fault::NetworkUnavailable,
            ),
            ("owner gone", AccessPoint, None, secured(&[(100, 0), (110, 38), (30, 38)]), Fault::NetworkUnavailable),
        ];
        for (case, mode, sighting, sequence, fault) in table {
            assert_eq!(fault_after(mode, sighting, &sequence), Some(fault), "{case}");
        }
    }

    #[test]
    fn what_the_supplicant_tells_names_the_cause() {
        let missing = secured(&[(120, 53), (30, 0)]);
        let told = |statuses: &[u16]| {
            let mut refusal = Refusal::default();
            for status in statuses {
                refusal.observe(*status);
            }
            refusal
        };
        for (statuses, sighting, fault) in [
            (&[][..], SEEN, Fault::AssociationFailed),
            (&[17], SEEN, Fault::RouterFull),
            (&[1, 17, 1], SEEN_SAE, Fault::RouterFull),
            (&[1], SEEN, Fault::RouterRefused),
            (&[0], SEEN, Fault::AssociationFailed),
            (&[15], SEEN_SAE, Fault::WrongPassword),
            (&[1], SEEN_SAE, Fault::ProbablyWrongPassword),
            (&[77], SEEN_SAE, Fault::Wpa3Failed),
            (&[], SEEN_SAE, Fault::ProbablyWrongPassword),
            (&[], TKIP, Fault::OutdatedSecurity),
            (&[], ODD, Fault::UnsupportedSecurity),
            (&[], None, Fault::NetworkNotFound),
        ] {
            assert_eq!(fault_with(told(statuses), Mode::Station, sighting, &missing), Some(fault), "{statuses:?} {sighting:?}");
        }
        let wrong = secured(&[(60, 8), (120, 7), (30, 0)]);
        assert_eq!(fault_with(told(&[17]), Mode::Station, SEEN, &wrong), Some(Fault::WrongPassword), "the key was tried later");
        let silent = secured(&[(70, 0), (120, 5), (30, 0)]);
        assert_eq!(fault_with(told(&[1]), Mode::Station, SEEN_SAE, &silent), Some(Fault::NoAddress), "the network let it in");
    }

    #[test]
    fn an_access_point_without_its_dns_server_fails_after_it_was_activated() {
        let mut tracker = Tracker::default();
        let step = |tracker: &mut Tracker, new: u32, old: u32, reason: u32| {
            tracker.observe(Change { new: new.into(), old: old.into(), reason: reason.into() })
        };
        step(&mut tracker, 40, 30, 0);
        assert_eq!(step(&mut tracker, 100, 90, 0), Verdict::Activated);
        let Verdict::Ended(ended) = step(&mut tracker, 120, 100, 5) else { panic!("FAILED is an end") };
        assert!(ended.is_shared_failure());
    }

    #[test]
    fn what_an_earlier_activation_leaves_behind_is_not_ours() {
        assert_eq!(fault_after(Mode::Station, SEEN, &[(120, 53), (30, 0), (40, 0), (50, 0)]), None);
    }

    #[test]
    fn an_activation_that_another_replaces_is_superseded_and_can_begin_again() {
        let mut tracker = Tracker::default();
        let observe = |tracker: &mut Tracker, new: u32, reason: u32| {
            tracker.observe(Change { new: new.into(), old: DeviceState::Config, reason: reason.into() })
        };
        observe(&mut tracker, 40, 0);
        assert_eq!(observe(&mut tracker, 110, 60), Verdict::Superseded);
        assert_eq!(observe(&mut tracker, 30, 60), Verdict::Pending);
        observe(&mut tracker, 40, 0);
        assert_eq!(observe(&mut tracker, 100, 0), Verdict::Activated);
    }

    #[test]
    fn an_unknown_state_is_passed_over() {
        assert_eq!(fault_after(Mode::Station, SEEN, &secured(&[(75, 0), (130, 0)])), None);
    }
}
