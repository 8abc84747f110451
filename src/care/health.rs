//! The caretaker's check every 30 seconds, beyond what NetworkManager knows: whether the router answers, and whether the
//! internet is there.
//!
//! NetworkManager checks the internet only if its configuration names a page, and Debian's names none. Then the page of the
//! settings is fetched here.
//!
//! A device runs for years, some on a battery, so a check wakes the processor as rarely as possible. Once everything has
//! worked, it is one connection: by turns to the router, which answers with one packet, and to the page at the address that DNS
//! has given a short time ago. A page that answers shows that router and DNS server work as well.

use std::net::Ipv4Addr;
use std::time::Duration;

use provisioning_core::care::diagnosis::{self, Dns, Gateway};
use provisioning_core::care::recovery::Internet;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Settings, dns, gateway, internet};
use crate::network::Inspection;

/// Limit of a check that is one connection. If there is no answer, everything is checked.
const QUICK_LIMIT: Duration = Duration::from_secs(1);
/// Limit of everything together, shorter than the five seconds that recovery waits for a check.
const LIMIT: Duration = Duration::from_millis(4500);
/// Checks of one connection before DNS is asked again: five minutes, so that a DNS server that fails or lies is noticed.
const QUICK_CHECKS: u32 = 10;

/// The check, and what it remembers of the one before.
#[derive(Debug)]
pub struct Health {
    probes: Settings,
    worked: Option<Worked>,
}

/// A connection in which everything has worked.
#[derive(Debug)]
struct Worked {
    seen: Inspection,
    /// An address at which the page has answered.
    page: Ipv4Addr,
    /// How many checks may still be one connection.
    checks: u32,
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
        Self { probes, worked: None }
    }

    /// Has the next check check everything.
    pub fn forget(&mut self) {
        self.worked = None;
    }

    /// Checks a connection that has an address. Ends within five seconds.
    pub async fn check(&mut self, seen: &Inspection) -> Found {
        let until = Instant::now() + LIMIT;
        let is_unknown = seen.internet == Internet::Unknown;
        if is_unknown && self.still_works(seen).await {
            return Found { router_answers: true, internet: Internet::Full };
        }
        let router = async { self.router_answers(seen, until.saturating_duration_since(Instant::now())).await };
        let page = async { if is_unknown { fetch(&self.probes, seen, until).await } else { (seen.internet, None) } };
        let (router_answers, (internet, page)) = tokio::join!(router, page);
        // A page that answers is behind the router.
        let router_answers = router_answers || page.is_some();
        self.worked = page.map(|page| Worked { seen: seen.clone(), page, checks: QUICK_CHECKS });
        Found { router_answers, internet }
    }

    /// Whether everything has worked in this connection, and the router or the page answers, whose turn it is.
    async fn still_works(&mut self, seen: &Inspection) -> bool {
        let is_this = |worked: &Worked| worked.checks > 0 && worked.seen == *seen;
        let Some(worked) = self.worked.take().filter(is_this) else { return false };
        let answers = if worked.checks.is_multiple_of(2) {
            self.router_answers(seen, QUICK_LIMIT).await
        } else {
            let probed = timeout(QUICK_LIMIT, internet::probe(&self.probes.check, &[worked.page])).await;
            matches!(probed, Ok(diagnosis::Internet::Reached(_)))
        };
        if answers {
            self.worked = Some(Worked { checks: worked.checks - 1, ..worked });
        }
        answers
    }

    /// Whether the router answers, or there is none.
    async fn router_answers(&self, seen: &Inspection, limit: Duration) -> bool {
        let Some(address) = seen.gateway else { return true };
        let limit = limit.min(gateway::LIMIT);
        let probed = gateway::probe(address, &self.probes.gateway_ports, &self.probes.neighbours, limit).await;
        !matches!(probed, Gateway::Silent(_))
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
