//! The public keys of the auth service: a JSON Web Key Set (RFC 7517), read from a file or a URL.
//!
//! The keys are read at the first use, again when they are older than [`FRESH`], and when a token names an unknown key,
//! because the service may have a new one; but at most once per [`PAUSE`], whatever tokens are sent. If they cannot be
//! read, the last ones stay in use until they are [`OLDEST`].

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use serde_json::Value;

use crate::base::clock::Moment;
use crate::base::refusal::Refusal;

/// After this time the keys are read again.
const FRESH: Duration = Duration::from_mins(10);

/// After this time keys that could not be read again are not used, so that a key that was withdrawn ends.
const OLDEST: Duration = Duration::from_hours(1);

/// Between two readings.
const PAUSE: Duration = Duration::from_secs(15);

/// How many keys are taken from a set; a service that changes its key has two.
const MOST: usize = 16;

/// A public key that tokens are checked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    id: Option<String>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl PublicKey {
    /// Whether the holder of the private key has signed the text, by RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518 §3.3). A key
    /// of less than 2048 bits has signed nothing.
    pub(crate) fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let components = RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent };
        components.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature).is_ok()
    }
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Key {
    kty: String,
    #[serde(rename = "use", default)]
    usage: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    n: String,
    e: String,
}

/// The keys of a set that sign tokens with RS256; `None` if the text is no set. Other keys are left out (RFC 7517 §5).
pub(crate) fn parse(text: &[u8]) -> Option<Vec<PublicKey>> {
    let Set { keys } = serde_json::from_slice(text).ok()?;
    let usable = |key: Value| {
        let Key { kty, usage, alg, kid, n, e } = serde_json::from_value(key).ok()?;
        let is_meant = kty == "RSA" && usage.is_none_or(|usage| usage == "sig") && alg.is_none_or(|alg| alg == "RS256");
        let number = |text: String| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        is_meant.then_some(PublicKey { id: kid, modulus: number(n)?, exponent: number(e)? })
    };
    Some(keys.into_iter().filter_map(usable).take(MOST).collect())
}

/// Where the keys are read.
pub(crate) trait Source: Debug + Send + Sync {
    /// Reads the set; `None` if it cannot be read. The cause of a failure is logged.
    fn read(&self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + '_>>;
}

/// The keys of the auth service.
#[derive(Debug)]
pub(crate) struct UserKeys {
    source: Option<Box<dyn Source>>,
    known: Mutex<Known>,
    /// Held while they are read, so that many requests read them once.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    keys: Arc<[PublicKey]>,
    read_at: Option<Moment>,
    tried_at: Option<Moment>,
}

impl Known {
    /// Whether `moment` is less than `age` ago. A moment in the future was set by a clock that was wrong.
    fn is_within(moment: Option<Moment>, age: Duration, now: Moment) -> bool {
        moment.is_some_and(|moment| moment > now.before(age) && moment <= now)
    }

    fn find(&self, id: Option<&str>) -> Option<&PublicKey> {
        match (id, &*self.keys) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

impl UserKeys {
    /// Keys from a source; without one there are none.
    pub(crate) fn new(source: Option<Box<dyn Source>>) -> Self {
        Self { source, known: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The key of this name, or the only one. `None` if the service has no such key.
    pub(crate) async fn key(&self, id: Option<&str>, now: Moment) -> Result<Option<PublicKey>, Refusal> {
        let Some(source) = &self.source else { return Ok(None) };
        let mut known = self.known();
        if !is_sufficient(&known, id, now) {
            let _turn = self.reading.lock().await;
            known = self.known();
            // Another request may have read them meanwhile.
            if !is_sufficient(&known, id, now) && !Known::is_within(known.tried_at, PAUSE, now) {
                known = self.read(source.as_ref(), now).await;
            }
        }
        if !Known::is_within(known.read_at, OLDEST, now) {
            return Err(Refusal::NoUserKeys);
        }
        Ok(known.find(id).cloned())
    }

    async fn read(&self, source: &dyn Source, now: Moment) -> Known {
        let mut known = Known { tried_at: Some(now), ..self.known() };
        if let Some(text) = source.read().await {
            match parse(&text) {
                Some(keys) => {
                    tracing::debug!(count = keys.len(), "read the keys of the auth service");
                    (known.keys, known.read_at) = (keys.into(), Some(now));
                }
                None => tracing::warn!("the keys of the auth service are no JSON Web Key Set"),
            }
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&known);
        known
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn is_sufficient(known: &Known, id: Option<&str>, now: Moment) -> bool {
    Known::is_within(known.read_at, FRESH, now) && known.find(id).is_some()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    const NOW: Moment = Moment(1_767_540_600_000);

    /// A service whose keys can be exchanged, and which counts how often they are read.
    #[derive(Clone, Debug, Default)]
    struct Service(Arc<(Mutex<Option<Value>>, AtomicUsize)>);

    impl Service {
        fn set(&self, ids: Option<&[&str]>) {
            let key = |id: &&str| json!({ "kty": "RSA", "kid": id, "n": "AQAB", "e": "AQAB" });
            let keys = ids.map(|ids| json!({ "keys": ids.iter().map(key).collect::<Vec<_>>() }));
            *self.0.0.lock().unwrap() = keys;
        }

        fn reads(&self) -> usize {
            self.0.1.load(Ordering::SeqCst)
        }
    }

    impl Source for Service {
        fn read(&self) -> Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send + '_>> {
            self.0.1.fetch_add(1, Ordering::SeqCst);
            let text = self.0.0.lock().unwrap().as_ref().map(|set| set.to_string().into_bytes());
            Box::pin(async { text })
        }
    }

    fn service() -> (Service, UserKeys) {
        let service = Service::default();
        (service.clone(), UserKeys::new(Some(Box::new(service))))
    }

    #[tokio::test]
    async fn an_unknown_key_is_looked_up_once_per_pause() {
        let (service, keys) = service();
        service.set(Some(&["first"]));
        assert!(keys.key(Some("first"), NOW).await.unwrap().is_some());
        service.set(Some(&["first", "second"]));
        for _ in 0..100 {
            assert_eq!(keys.key(Some("second"), NOW).await.unwrap(), None);
        }
        assert_eq!(service.reads(), 1);
        assert!(keys.key(Some("second"), NOW.after(PAUSE)).await.unwrap().is_some());
        assert!(keys.key(Some("first"), NOW.after(PAUSE)).await.unwrap().is_some());
        assert_eq!(service.reads(), 2);
    }

    #[tokio::test]
    async fn a_withdrawn_key_ends_when_the_keys_are_read_again() {
        let (service, keys) = service();
        service.set(Some(&["first"]));
        assert!(keys.key(Some("first"), NOW).await.unwrap().is_some());
        service.set(Some(&[]));
        assert_eq!(keys.key(Some("first"), NOW.after(FRESH)).await.unwrap(), None);
    }

    #[tokio::test]
    async fn keys_that_cannot_be_read_again_are_used_for_an_hour() {
        let (service, keys) = service();
        service.set(Some(&["first"]));
        assert!(keys.key(Some("first"), NOW).await.unwrap().is_some());
        service.set(None);
        let almost = NOW.after(OLDEST.saturating_sub(Duration::from_millis(1)));
        assert!(keys.key(Some("first"), almost).await.unwrap().is_some());
        assert_eq!(keys.key(Some("first"), NOW.after(OLDEST)).await, Err(Refusal::NoUserKeys));
    }

    #[tokio::test]
    async fn a_token_without_a_key_id_needs_a_service_with_one_key() {
        let (service, keys) = service();
        service.set(Some(&["first"]));
        assert!(keys.key(None, NOW).await.unwrap().is_some());
        service.set(Some(&["first", "second"]));
        assert_eq!(keys.key(None, NOW.after(FRESH)).await.unwrap(), None);
    }

    #[test]
    fn only_rsa_keys_for_signatures_are_taken() {
        let set = json!({ "keys": [
            { "kty": "RSA", "kid": "right", "use": "sig", "alg": "RS256", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "encrypts", "use": "enc", "n": "AQAB", "e": "AQAB" },
            { "kty": "RSA", "kid": "other", "alg": "PS256", "n": "AQAB", "e": "AQAB" },
            { "kty": "oct", "kid": "secret", "k": "AQAB" },
            { "kty": "EC", "kid": "curve", "crv": "P-256", "x": "AQAB", "y": "AQAB" },
            "nonsense",
        ] });
        let ids = parse(set.to_string().as_bytes()).unwrap().into_iter().map(|key| key.id.unwrap());
        assert_eq!(ids.collect::<Vec<_>>(), ["right"]);
        assert!(parse(b"{}").is_none() && parse(b"[]").is_none());
    }

    #[test]
    fn a_short_key_has_signed_nothing() {
        let key = PublicKey { id: None, modulus: vec![0xff; 128], exponent: vec![1, 0, 1] };
        assert!(!key.has_signed(b"text", &[0; 128]));
    }
}
