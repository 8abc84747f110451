//! Resolution of names to permitted addresses.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::AddressPolicy;
use super::error::AddressRefused;

/// The addresses of a name, once they are known.
pub type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// A resolver of names.
pub trait Names: fmt::Debug + Send + Sync + 'static {
    /// Resolves a name.
    fn lookup(&self, name: &str) -> Lookup;
}

/// The names that the system knows: its files, its DNS servers and what else it is set up to ask.
#[derive(Clone, Copy, Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup(&self, name: &str) -> Lookup {
        let name = name.to_owned();
        // The port is not part of the question.
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// Whether an address is one of the node's own.
pub(super) type Own = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

/// What one connection may lead to. Every address that it lets through has been checked, and the connection is made
/// to such an address, not to a name that would be resolved again.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) policy: AddressPolicy,
    pub(super) own: Own,
    pub(super) names: Arc<dyn Names>,
    /// The connection uses TLS.
    pub(super) tls: bool,
}

impl Gate {
    /// Checks an address that the URL itself contains, which is not resolved.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), AddressRefused> {
        self.policy.check(address, self.tls, &*self.own).map_err(|why| AddressRefused { address, why })
    }

    /// The addresses of a name that may be connected to. If none of its addresses may be, the error is the first refusal.
    async fn admitted(&self, name: &str) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let mut admitted = Vec::new();
        let mut refused = None;
        for address in self.names.lookup(name).await? {
            match self.check(address) {
                // Port 0 is replaced by the URL's.
                Ok(()) => admitted.push(SocketAddr::new(address, 0)),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        match refused {
            Some(refusal) if admitted.is_empty() => Err(refusal.into()),
            _ if admitted.is_empty() => Err("the name has no address".into()),
            _ => Ok(admitted),
        }
    }
}

impl Resolve for Gate {
    fn resolve(&self, name: Name) -> Resolving {
        let gate = self.clone();
        Box::pin(async move {
            let admitted = gate.admitted(name.as_str()).await?;
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}
