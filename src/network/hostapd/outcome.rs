//! The meaning of what `wpa_supplicant` reports while a network is joined. Pure: properties in, a verdict out.

use std::collections::HashMap;

use zbus::OwnedVariant;

use crate::network::nm::outcome::{Sighting, fault_before_key};
use crate::network::nm::supplicant::{Refusal, UNSPECIFIED};
use provisioning_core::fault::Fault;

/// Reasons of a disconnection (IEEE 802.11-2020, 9.4.1.7) after a key that does not match: the handshake was not completed in
/// time, or the former authentication is not valid, which older access points say.
const WRONG_KEY: [i32; 2] = [15, 2];
/// Refusals after which the supplicant does not succeed by itself. It tries every station of a network in turn.
const REFUSALS: u8 = 3;
/// The same of those that a wrong password causes at WPA3. One may be a lost frame.
const UNSPECIFIED_REFUSALS: u8 = 2;

/// Changed properties of the supplicant's interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Its state, such as `4way_handshake`.
    pub state: Option<String>,
    /// The status codes of authentication and association.
    pub statuses: Vec<u16>,
    /// The reason of the last disconnection; negative if the supplicant itself has disconnected.
    pub reason: Option<i32>,
}

impl Report {
    /// Reads changed properties.
    pub(super) fn read(mut changed: HashMap<String, OwnedVariant>) -> Self {
        let mut number = |name| changed.remove(name).and_then(|value| i32::try_from(value).ok());
        let statuses = [number("AuthStatusCode"), number("AssocStatusCode")];
        let reason = number("DisconnectReason");
        Self {
            state: changed.remove("State").and_then(|value| String::try_from(value).ok()),
            statuses: statuses.into_iter().flatten().filter_map(|code| code.try_into().ok()).collect(),
            reason,
        }
    }
}

/// The meaning of a report for the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It continues.
    Pending,
    /// The network has accepted the node.
    Joined,
    /// It has failed.
    Failed(Fault),
}

/// Follows one join.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tracker {
    sighting: Option<Sighting>,
    refusal: Refusal,
    refusals: u8,
    unspecified: u8,
    /// The handshake is under way.
    handshakes: bool,
    /// Handshakes that were not completed.
    broken: u8,
}

impl Tracker {
    /// Of a network, as far as it was seen.
    pub(super) fn new(sighting: Option<Sighting>) -> Self {
        Self { sighting, ..Self::default() }
    }

    /// Processes the next report.
    pub(super) fn observe(&mut self, report: &Report) -> Verdict {
        for status in report.statuses.iter().filter(|status| **status != 0) {
            self.refusal.observe(*status);
            self.refusals += 1;
            self.unspecified += u8::from(*status == UNSPECIFIED);
        }
        if self.handshakes && report.reason.is_some_and(|reason| WRONG_KEY.contains(&reason)) {
            return Verdict::Failed(Fault::WrongPassword);
        }
        match report.state.as_deref() {
            Some("completed") => return Verdict::Joined,
            Some("4way_handshake") => self.handshakes = true,
            Some("associated" | "group_handshake") | None => {}
            Some(_) if std::mem::take(&mut self.handshakes) => {
                self.broken += 1;
                // One may be a lost link. The supplicant sees no other sign of a wrong key at some access points.
                if self.broken > 1 {
                    return Verdict::Failed(Fault::ProbablyWrongPassword);
                }
            }
            Some(_) => {}
        }
        let is_sae = self.sighting.is_some_and(|sighting| sighting.sae);
        let is_over = self.refusals >= REFUSALS
            || is_sae && (self.refusal.wrong_password || self.unspecified >= UNSPECIFIED_REFUSALS)
            || self.refusal.full;
        match fault_before_key(self.refusal, self.sighting, false).filter(|_| is_over) {
            Some(fault) => Verdict::Failed(fault),
            None => Verdict::Pending,
        }
    }

    /// The fault if the time is over.
    pub(super) fn late(self) -> Fault {
        if self.handshakes || self.broken > 0 {
            return Fault::ProbablyWrongPassword;
        }
        fault_before_key(self.refusal, self.sighting, self.refusals == 0).unwrap_or(Fault::AssociationFailed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Option<Sighting> = Some(Sighting { sae: false, outdated: false, odd: false });
    const SAE: Option<Sighting> = Some(Sighting { sae: true, outdated: false, odd: false });

    fn state(text: &str) -> Report {
        Report { state: Some(text.into()), ..Report::default() }
    }

    fn status(code: u16) -> Report {
        Report { statuses: vec![code], ..Report::default() }
    }

    fn dropped(reason: i32) -> Report {
        Report { reason: Some(reason), ..state("disconnected") }
    }

    fn end(sighting: Option<Sighting>, reports: &[Report]) -> Result<Verdict, Fault> {
        let mut tracker = Tracker::new(sighting);
        let verdicts = reports.iter().map(|report| tracker.observe(report));
        verdicts.filter(|verdict| *verdict != Verdict::Pending).last().ok_or_else(|| tracker.late())
    }

    #[test]
    fn a_right_password_ends_completed() {
        let states =
            ["scanning", "authenticating", "associating", "associated", "4way_handshake", "group_handshake", "completed"];
        assert_eq!(end(SEEN, &states.map(state)), Ok(Verdict::Joined));
        let again = [state("4way_handshake"), dropped(-3), state("scanning"), state("completed")];
        assert_eq!(end(SEEN, &again), Ok(Verdict::Joined), "a lost link is retried by the supplicant");
    }

    #[test]
    fn a_wrong_password_is_told_by_the_reason_or_by_a_second_broken_handshake() {
        for reason in WRONG_KEY {
            let seen = [state("4way_handshake"), dropped(reason)];
            assert_eq!(end(SEEN, &seen), Ok(Verdict::Failed(Fault::WrongPassword)), "{reason}");
        }
        let silent = [state("4way_handshake"), dropped(3), state("associated"), state("4way_handshake"), state("scanning")];
        assert_eq!(end(SEEN, &silent), Ok(Verdict::Failed(Fault::ProbablyWrongPassword)));
        assert_eq!(end(SEEN, &silent[..2]), Err(Fault::ProbablyWrongPassword), "and then nothing");
        assert_eq!(end(SEEN, &[dropped(15), dropped(2)]), Err(Fault::AssociationFailed), "no handshake had begun");
    }

    #[test]
    fn refusals_have_the_faults_that_networkmanagers_have() {
        for (statuses, sighting, fault) in [
            (&[15][..], SAE, Fault::WrongPassword),
            (&[1, 1], SAE, Fault::ProbablyWrongPassword),
            (&[77, 77, 77], SAE, Fault::Wpa3Failed),
            (&[17], SEEN, Fault::RouterFull),
            (&[1, 1, 1], SEEN, Fault::RouterRefused),
        ] {
            let reports: Vec<_> = statuses.iter().copied().map(status).collect();
            assert_eq!(end(sighting, &reports), Ok(Verdict::Failed(fault)), "{statuses:?}");
        }
        assert_eq!(end(SEEN, &[status(0), status(0), status(0)]), Err(Fault::AssociationFailed), "zero is a success");
        assert_eq!(end(SEEN, &[status(1)]), Err(Fault::RouterRefused), "and then nothing");
        assert_eq!(end(None, &[]), Err(Fault::NetworkNotFound));
        assert_eq!(end(SAE, &[]), Err(Fault::ProbablyWrongPassword));
    }

    #[test]
    fn properties_are_read_and_strange_ones_passed_over() {
        let owned = |value: zbus::Variant<'_>| value.try_into_owned().expect("no file descriptors");
        let changed = HashMap::from([
            ("State".to_owned(), owned("4way_handshake".into())),
            ("DisconnectReason".to_owned(), owned((-3_i32).into())),
            ("AuthStatusCode".to_owned(), owned(15_i32.into())),
            ("AssocStatusCode".to_owned(), owned((-1_i32).into())),
            ("Scanning".to_owned(), owned(true.into())),
        ]);
        let expected = Report { state: Some("4way_handshake".into()), statuses: vec![15], reason: Some(-3) };
        assert_eq!(Report::read(changed), expected);
        assert_eq!(Report::read(HashMap::from([("State".to_owned(), owned(7_u32.into()))])), Report::default());
    }
}
