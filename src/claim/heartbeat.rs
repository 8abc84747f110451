//! The heartbeat of a claimed appliance, by which it learns that it was released from its site.

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};

use super::config::Access;
use super::{CONFIG, CONFIG_LIMIT, Error, NodeClaims, blocking};
use crate::files::{FileError, Folder};
use jarvis_http::client::{decode, is_exposed};

/// The path for heartbeats.
const HEARTBEAT: &str = "/api/provision/heartbeat";

/// What the server says about an appliance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its key is valid.
    Known,
    /// An operator has released it from its site: what it has of its owner is to be deleted.
    Released,
    /// Another answer, from which nothing follows. Other servers accept no heartbeats with a key.
    Other(StatusCode),
}

/// The body of a heartbeat.
#[derive(Serialize)]
struct HeartbeatBody<'a> {
    mac_address: &'a str,
    hostname: &'a str,
}

/// The fields of a refusal that are used here.
#[derive(Deserialize)]
struct Refusal {
    reason: Option<String>,
}

impl NodeClaims {
    /// Sends a heartbeat with the appliance's key, and returns what the server says; none if the device has claimed no code.
    ///
    /// A release deletes what the device has, so it is believed only of a server that has proved its identity with TLS, or of one
    /// on the device itself.
    pub async fn heartbeat(&self) -> Result<Option<Standing>, Error> {
        let folder = self.folder.clone();
        let read = move || match Folder::open(&folder) {
            Ok(folder) => Ok(folder.read(CONFIG, CONFIG_LIMIT)?),
            Err(error) if error.is_out_of_reach() => Ok(None),
            Err(error) => Err(error.into()),
        };
        let Some(content) = blocking(read).await? else { return Ok(None) };
        let Some(Access { endpoint, api_key }) = Access::read(&content) else {
            let path = self.folder.join(CONFIG);
            return Err(
                FileError::Malformed { path, what: "has no api_endpoint or api_key that this program can read".into() }.into()
            );
        };
        let body = HeartbeatBody { mac_address: self.device.mac_address.as_str(), hostname: &self.device.hostname };
        let answer = self.claimant.report(&endpoint, HEARTBEAT, &api_key, &body).await?;
        let is_released = || {
            let reason = decode(&answer.body).ok().and_then(|refusal: Refusal| refusal.reason);
            reason.as_deref() == Some("released")
        };
        Ok(Some(match answer.status {
            status if status.is_success() => Standing::Known,
            StatusCode::GONE if is_released() && !is_exposed(endpoint.url()) => Standing::Released,
            status => Standing::Other(status),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::domain::CommandCenterUrl;

    #[test]
    fn a_server_that_anybody_can_replace_releases_nothing() {
        for (endpoint, expected) in [
            ("https://center.example", true),
            ("https://10.0.0.2", true),
            ("http://127.0.0.1:7703", true),
            ("http://[::1]:7703", true),
            ("http://10.0.0.2", false),
            ("http://center.local:7703", false),
            ("http://localhost.example", false),
        ] {
            let url = CommandCenterUrl::try_from(endpoint).expect("a plain URL");
            assert_eq!(!is_exposed(url.url()), expected, "{endpoint}");
        }
    }
}
