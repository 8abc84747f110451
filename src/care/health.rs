//! The caretaker's check every 30 seconds, beyond what NetworkManager knows: whether the router answers, and whether the
//! internet is there.
//!
//! NetworkManager checks the internet only if its configuration names a page, and Debian's names none. Then the page of the
//! settings is fetched here.
//!
//! A device runs for years, some on a battery, so a check wakes the processor as rarely as possible: while the page answers at
//! the address that DNS has given a short time ago, router and DNS server work as well, and are not asked.

use std::net::Ipv4Addr;
use std::time::Duration;

use provisioning_core::care::diagnosis::{self, Dns, Gateway};
use provisioning_core::care::recovery::Internet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Settings, dns, gateway, internet};
use crate::network::Inspection;

/// Limit of the page at its last address. A slower page is fetched again, with everything around it.
const QUICK_LIMIT: Duration = Duration::from_secs(1);
/// Limit of everything together, shorter than the five seconds that recovery waits for a check.
const LIMIT: Duration = Duration::from_millis(4500);
/// Fetches before DNS is asked again: five minutes, so that a DNS server that fails or lies is noticed.
const FETCHES: u32 = 10;

/// The check, and what it remembers of the one before.
#[derive(Debug)]
pub struct Health {
    probes: Settings,
    /// An address at which the page has answered, and how often it may still be used.
    page: Option<(Ipv4Addr, u32)>,
}

/// What a check has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The router answers, or there is none.
    pub router_answers: bool,
    /// What is known about the internet.
    pub internet: Internet,
}

impl Health {
    /// A check with these probes.
    pub const fn new(probes: Settings) -> Self {
        Self { probes, page: None }
    }

    /// Checks a connection that has an address. Ends within five seconds.
    pub async fn check(&mut self, seen: &Inspection) -> Found {
        let until = Instant::now() + LIMIT;
        let is_unknown = seen.internet == Internet::Unknown;
        if is_unknown && self.page_answers().await {
            return Found { router_answers: true, internet: Internet::Full };
        }
        let router = async {
            let Some(address) = seen.gateway else { return true };
            let left = until.saturating_duration_since(Instant::now());
            let probed = gateway::probe(address, &self.probes.gateway_ports, &self.probes.neighbours, left.min(gateway::LIMIT));
            !matches!(probed.await, Gateway::Silent(_))
        };
        let page = async { if is_unknown { fetch(&self.probes, seen, until).await } else { (seen.internet, None) } };
        let (router_answers, (internet, page)) = tokio::join!(router, page);
        self.page = page.map(|address| (address, FETCHES));
        Found { router_answers, internet }
    }

    /// Whether the page answers at its last address.
    async fn page_answers(&mut self) -> bool {
        let Some((address, fetches)) = self.page.take().filter(|(_, fetches)| *fetches > 0) else { return false };
        let probed = timeout(QUICK_LIMIT, internet::probe(&self.probes.check, &[address])).await;
        let answers = matches!(probed, Ok(diagnosis::Internet::Reached(_)));
        if answers {
            self.page = Some((address, fetches - 1));
        }
        answers
    }
}

/// Asks DNS for the page's address, and fetches it. Returns the address, too, if it answers there.
async fn fetch(probes: &Settings, seen: &Inspection, until: Instant) -> (Internet, Option<Ipv4Addr>) {
    if seen.servers.is_empty() {
        // DNS over IPv6 is not probed.
        return (if seen.has_ipv6 { Internet::Unknown } else { Internet::None }, None);
    }
    let (dns, addresses) = dns::probe(&seen.servers, probes.dns_port, probes.check.host()).await;
    let page = timeout_at(until, internet::probe(&probes.check, &addresses)).await;
    match (page, dns) {
        (Ok(diagnosis::Internet::Reached(_)), _) => (Internet::Full, addresses.first().copied()),
        (Ok(diagnosis::Internet::Portal(_)), _) => (Internet::Portal, None),
        (_, Dns::Lies { .. }) => (Internet::Forged, None),
        _ => (Internet::None, None),
    }
}
