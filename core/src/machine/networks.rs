//! The list of networks in range, and the scan that renews it.

use alloc::vec::Vec;
use core::time::Duration;

use super::command::{Op, RadioCommand, kind};
use super::{Asker, Instant, Link, Machine, Output};
use crate::domain::{Country, Network};
use crate::fault::Fault;
use crate::wire::Reply;

/// A phone waits for a scan at most this long.
const LIMIT: Duration = Duration::from_secs(30);
/// A phone that does not ask for a fresh list gets one of this age.
const RECENT: Duration = Duration::from_secs(10);
/// A local caller gets the last list at once; a scan follows if that list is older than this.
const LOCAL_RECENT: Duration = Duration::from_secs(30);

/// The last list, and the scan in progress.
#[derive(Default)]
pub(super) struct Networks {
    list: Option<(Vec<Network>, Instant)>,
    scan: Option<Scan>,
}

struct Scan {
    op: Op<kind::Scan>,
    /// The country that it was started with.
    country: Option<Country>,
    until: Instant,
    waiting: Vec<Asker>,
}

impl Networks {
    /// In the order of the adapter.
    pub(super) fn list(&self) -> &[Network] {
        self.list.as_ref().map_or(&[], |(networks, _)| networks)
    }

    pub(super) const fn is_scanning(&self) -> bool {
        self.scan.is_some()
    }

    /// The first scan has not ended.
    pub(super) const fn is_first_scan(&self) -> bool {
        self.list.is_none() && self.scan.is_some()
    }

    pub(super) fn until(&self) -> Option<Instant> {
        self.scan.as_ref().map(|scan| scan.until)
    }

    /// The link has ended: its requests need no answer.
    pub(super) fn forget(&mut self, link: Link) {
        if let Some(scan) = &mut self.scan {
            scan.waiting.retain(|asker| !asker.is_on(link));
        }
    }

    /// There was a scan.
    pub(super) const fn is_known(&self) -> bool {
        self.list.is_some()
    }

    fn is_younger(&self, age: Duration, now: Instant) -> bool {
        self.list.as_ref().is_some_and(|(_, at)| *at + age > now)
    }
}

impl Machine {
    /// A phone asks for the list.
    pub(super) fn phone_scans(&mut self, link: Link, to: u64, fresh: bool, country: Option<Country>, now: Instant) {
        // Other channels may be allowed in another country.
        let fresh = self.is_in(country) || fresh;
        // While an attempt has the radio, the last list is the best available.
        if !self.activity.is_idle() || self.networks.is_younger(RECENT, now) && !fresh {
            self.send_networks(to);
        } else {
            self.scan(Some(Asker::Phone { link, to }), now);
        }
    }

    /// An app or a client asks for the list; returns whether it is recent, or the best available. Otherwise it waits for a scan.
    pub(super) fn scan_is_recent(&mut self, asker: Asker, now: Instant) -> bool {
        if !self.activity.is_idle() || self.networks.is_younger(RECENT, now) {
            return true;
        }
        self.scan(Some(asker), now);
        false
    }

    /// A phone has sent the country. Returns whether it is another one than before.
    pub(super) fn is_in(&mut self, country: Option<Country>) -> bool {
        let is_new = country.is_some() && self.country != country;
        self.country = country.or(self.country);
        is_new
    }

    /// Scans for the local callers to come, unless the list is recent.
    pub(super) fn refresh_networks(&mut self, now: Instant) {
        if !self.networks.is_younger(LOCAL_RECENT, now) && self.activity.is_idle() {
            self.scan(None, now);
        }
    }

    /// Scans, unless a scan is in progress. `asker` waits for the result.
    pub(super) fn scan(&mut self, asker: Option<Asker>, now: Instant) {
        if self.networks.scan.is_none() {
            let op = self.outbox.op();
            self.outbox.start(RadioCommand::Scan { op, country: self.country });
            self.networks.scan = Some(Scan { op, country: self.country, until: now + LIMIT, waiting: Vec::new() });
        }
        if let Some(scan) = &mut self.networks.scan {
            scan.waiting.extend(asker);
        }
    }

    pub(super) fn scanned(&mut self, op: Op<kind::Scan>, result: Result<Vec<Network>, Fault>, now: Instant) {
        let Some(scan) = self.networks.scan.take_if(|scan| scan.op == op) else { return };
        if result == Err(Fault::CountryMissing) && scan.country != self.country {
            // A phone has sent the country meanwhile.
            self.scan(None, now);
            if let Some(again) = &mut self.networks.scan {
                again.waiting = scan.waiting;
            }
            return;
        }
        self.scan_ended(scan, result, now);
    }

    pub(super) fn scan_timed_out(&mut self, now: Instant) {
        if let Some(scan) = self.networks.scan.take_if(|scan| scan.until <= now) {
            self.outbox.push(Output::Cancel { op: scan.op.id() });
            self.scan_ended(scan, Err(Fault::ScanFailed), now);
        }
    }

    fn scan_ended(&mut self, scan: Scan, result: Result<Vec<Network>, Fault>, now: Instant) {
        let result = result.map(|networks| self.networks.list = Some((networks, now)));
        for asker in scan.waiting {
            let (link, to) = match asker {
                Asker::Phone { link, to } => (link, to),
                Asker::App(link) => {
                    self.app_scanned(link, result);
                    continue;
                }
                Asker::Improv(link) => {
                    self.improv_scanned(link, result);
                    continue;
                }
                Asker::Nymea(link) => {
                    self.nymea_scanned(link, result);
                    continue;
                }
                Asker::Local(_) => continue,
            };
            if self.established() != Some(link) {
                continue;
            }
            match result {
                Ok(()) => self.send_networks(to),
                Err(fault) => self.reply(to, Reply::Refused(fault)),
            }
        }
    }

    /// Sends the list.
    fn send_networks(&mut self, to: u64) {
        for part in Reply::networks(&self.listed_networks()) {
            self.reply(to, part);
        }
    }

    /// The list: one entry per SSID and security, strongest first.
    pub(super) fn listed_networks(&self) -> Vec<Network> {
        let mut networks = self.networks().to_vec();
        networks.sort_by(|a, b| (&a.ssid, a.security, -i16::from(a.signal)).cmp(&(&b.ssid, b.security, -i16::from(b.signal))));
        networks.dedup_by(|b, a| a.ssid == b.ssid && a.security == b.security);
        networks.sort_by_key(|network| -i16::from(network.signal));
        networks
    }
}
