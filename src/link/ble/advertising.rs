//! Which advertisements are in the air, and what is done next to have those that are wanted.
//!
//! `BlueZ` and the controller have room for a few: `BlueZ` for five, of which other programs use some, and a controller without
//! extended advertising may offer one. So the order is fixed: the node's own comes first, and one further down is left out if
//! there is no room. It also leaves the air to make room for one before it.

use tracing::{debug, warn};

use super::clients::{IMPROV_ADVERTISEMENT, NYMEA_ADVERTISEMENT};
use super::{ADVERTISEMENT, Error};
use provisioning_core::fault::chain;

/// An advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instance {
    /// The node's own, with its name.
    Own,
    /// Improv's.
    Improv,
    /// That of nymea's service.
    Nymea,
}

/// How many there are.
const COUNT: usize = 3;

impl Instance {
    /// In the order in which they get room.
    pub(super) const ALL: [Self; COUNT] = [Self::Own, Self::Improv, Self::Nymea];

    /// Its object.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Own => ADVERTISEMENT,
            Self::Improv => IMPROV_ADVERTISEMENT,
            Self::Nymea => NYMEA_ADVERTISEMENT,
        }
    }
}

/// The state of an advertisement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Visible {
    #[default]
    No,
    /// A request to `BlueZ` is pending.
    Changing,
    Yes,
    /// There was no room for it.
    LeftOut,
}

/// A request to `BlueZ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Advertise(Instance),
    Hide(Instance),
}

/// The advertisements.
#[derive(Debug, Default)]
pub(super) struct Advertisements {
    visible: [Visible; COUNT],
    /// There was no room before, and it was logged.
    reported: bool,
}

impl Advertisements {
    /// The next request, which is then pending; none if nothing is to be done, or while one is pending.
    pub(super) fn next(&mut self, wanted: impl Fn(Instance) -> bool) -> Option<Change> {
        let change = self.due(wanted)?;
        let (Change::Advertise(instance) | Change::Hide(instance)) = change;
        self.visible[instance as usize] = Visible::Changing;
        Some(change)
    }

    fn due(&self, wanted: impl Fn(Instance) -> bool) -> Option<Change> {
        if self.visible.contains(&Visible::Changing) {
            return None;
        }
        if let Some(surplus) = Instance::ALL.into_iter().find(|instance| self.shows(*instance) && !wanted(*instance)) {
            return Some(Change::Hide(surplus));
        }
        let missing =
            Instance::ALL.into_iter().find(|instance| wanted(*instance) && self.visible[*instance as usize] == Visible::No)?;
        // One that comes after it may take the room that it needs.
        let after = Instance::ALL.into_iter().skip(missing as usize + 1).find(|instance| self.shows(*instance));
        Some(after.map_or(Change::Advertise(missing), Change::Hide))
    }

    /// Whether an advertisement is in the air, as far as known.
    pub(super) fn shows(&self, instance: Instance) -> bool {
        self.visible[instance as usize] == Visible::Yes
    }

    /// A request has succeeded.
    pub(super) fn done(&mut self, change: Change) {
        match change {
            Change::Advertise(instance) => self.visible[instance as usize] = Visible::Yes,
            Change::Hide(instance) => {
                self.visible[instance as usize] = Visible::No;
                self.retry();
            }
        }
    }

    /// There was no room for an advertisement; the error says why. It is logged once as a warning, not at every try.
    pub(super) fn left_out(&mut self, instance: Instance, error: &Error) {
        self.visible[instance as usize] = Visible::LeftOut;
        let text = chain(error);
        if std::mem::replace(&mut self.reported, true) {
            debug!(?instance, "still not advertised: {text}");
        } else {
            warn!(?instance, "not advertised, and tried again: {text}");
        }
    }

    /// There may be room now.
    pub(super) fn retry(&mut self) {
        for visible in &mut self.visible {
            if *visible == Visible::LeftOut {
                *visible = Visible::No;
            }
        }
    }

    /// `BlueZ` has stopped an advertisement by itself.
    pub(super) fn released(&mut self, path: &str) {
        for instance in Instance::ALL.into_iter().filter(|instance| instance.path() == path) {
            if self.shows(instance) {
                self.visible[instance as usize] = Visible::No;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Change::{Advertise, Hide};
    use Instance::{Improv, Own};

    /// Makes requests until nothing is to be done; `room` is how many advertisements `BlueZ` takes.
    fn settle(advertisements: &mut Advertisements, room: usize, wanted: &[Instance]) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(change) = advertisements.next(|instance| wanted.contains(&instance)) {
            assert_eq!(advertisements.next(|instance| wanted.contains(&instance)), None, "one request at a time");
            let shown = Instance::ALL.into_iter().filter(|instance| advertisements.shows(*instance)).count();
            match change {
                Advertise(instance) if shown >= room => advertisements.left_out(instance, &Error::BusLost),
                change => advertisements.done(change),
            }
            changes.push(change);
        }
        changes
    }

    #[test]
    fn the_nodes_own_advertisement_comes_first_and_leaves_last() {
        let mut advertisements = Advertisements::default();
        assert_eq!(settle(&mut advertisements, 2, &[Own, Improv]), [Advertise(Own), Advertise(Improv)]);
        assert_eq!(settle(&mut advertisements, 2, &[Own, Improv]), []);
        assert_eq!(settle(&mut advertisements, 2, &[Own]), [Hide(Improv)]);
        assert_eq!(settle(&mut advertisements, 2, &[]), [Hide(Own)]);
    }

    #[test]
    fn without_room_only_the_nodes_own_is_there_and_the_other_one_is_tried_later() {
        let mut advertisements = Advertisements::default();
        assert_eq!(settle(&mut advertisements, 1, &[Own, Improv]), [Advertise(Own), Advertise(Improv)]);
        assert!(advertisements.shows(Own) && !advertisements.shows(Improv));
        assert_eq!(settle(&mut advertisements, 1, &[Own, Improv]), []);
        advertisements.retry();
        assert_eq!(settle(&mut advertisements, 2, &[Own, Improv]), [Advertise(Improv)]);
        assert!(advertisements.shows(Improv));
    }

    #[test]
    fn one_that_bluez_has_released_gets_its_room_back() {
        let mut advertisements = Advertisements::default();
        settle(&mut advertisements, 2, &[Own, Improv]);
        advertisements.released(Own.path());
        let expected = [Hide(Improv), Advertise(Own), Advertise(Improv)];
        assert_eq!(settle(&mut advertisements, 1, &[Own, Improv]), expected);
        assert!(advertisements.shows(Own) && !advertisements.shows(Improv));
        advertisements.released("/elsewhere");
        assert!(advertisements.shows(Own));
    }
}
