//! Reads the public keys of the auth service from a file or a URL.

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use jarvis_http::client::{AddressPolicy, Client, Request, Trust};
use url::Url;

use crate::base::chain;
use crate::config::KeySource;
use crate::domain::jwks::Source;

/// For the whole exchange: a request with a token waits for it.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest set of keys, in bytes; one key is less than a kilobyte.
const LARGEST: usize = 64 * 1024;

/// Where a configuration says that the keys are.
pub(super) fn source(source: KeySource) -> Box<dyn Source> {
    match source {
        KeySource::File(path) => Box::new(File(path)),
        // The operator has named the server: it may be on this machine. Without TLS it must be near, because somebody who
        // could exchange the keys on the way could sign for every user.
        KeySource::Url(url) => Box::new(Service { client: Client::new(AddressPolicy::SIMULATION, Trust::System), url }),
    }
}

#[derive(Debug)]
struct File(PathBuf);

impl Source for File {
    fn read(&self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + '_>> {
        Box::pin(async {
            match tokio::fs::read(&self.0).await {
                Ok(text) => Some(text),
                Err(error) => {
                    tracing::warn!(path = %self.0.display(), %error, "reading the keys of the auth service failed");
                    None
                }
            }
        })
    }
}

#[derive(Debug)]
struct Service {
    client: Client,
    url: Url,
}

impl Source for Service {
    fn read(&self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + '_>> {
        Box::pin(async {
            let failed = |error: &str| tracing::warn!(error, "requesting the keys of the auth service failed");
            let response = match self.client.send(Request::get(self.url.clone(), LIMIT)).await {
                Ok(response) if response.status().is_success() => response,
                Ok(response) => {
                    failed(response.status().as_str());
                    return None;
                }
                Err(error) => {
                    failed(&chain(&error));
                    return None;
                }
            };
            match response.body(LARGEST).await {
                Ok(body) => Some(body.to_vec()),
                Err(error) => {
                    failed(&chain(&error));
                    None
                }
            }
        })
    }
}
