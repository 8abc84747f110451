//! Users' tokens that the auth service signs with RS256.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use command_center::{KeySource, SecretText, sign_jwt};
use reqwest::{Method, StatusCode};
use ring::rand::SystemRandom;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::support::{Center, is_there};

/// A private key of the auth service.
struct Signer {
    id: &'static str,
    pair: RsaKeyPair,
}

impl Signer {
    /// None without OpenSSL.
    fn new(id: &'static str) -> Option<Self> {
        let made = Command::new("openssl").args(["genpkey", "-quiet", "-algorithm", "RSA"]).output();
        let made = made.ok().filter(|made| made.status.success());
        if !is_there("OpenSSL (Debian: openssl)", made.is_some()) {
            return None;
        }
        let key = PrivatePkcs8KeyDer::from_pem_slice(&made?.stdout).unwrap();
        Some(Self { id, pair: RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap() })
    }

    fn public(&self) -> Value {
        let RsaPublicKeyComponents { n, e } = RsaPublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        let number = |number| BASE64_URL_SAFE_NO_PAD.encode(number);
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id, "n": number(n), "e": number(e) })
    }

    /// A token with this header, whatever it says.
    fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({ "alg": "RS256", "typ": "JWT", "kid": self.id }), claims)
    }
}

fn set(signers: &[&Signer]) -> String {
    json!({ "keys": signers.iter().map(|signer| signer.public()).collect::<Vec<_>>() }).to_string()
}

/// The claims of a member of the household `home`, good for an hour.
fn claims(center: &Center) -> Value {
    let expiry = center.clock.now().after(Duration::from_hours(1)).seconds();
    json!({ "sub": "7", "exp": expiry, "households": ["home"] })
}

/// Lists the nodes of a household with a token.
async fn list(center: &Center, token: &str) -> (StatusCode, Value) {
    center.get("/api/v0/admin/nodes?household_id=home", &[("authorization", &format!("Bearer {token}"))]).await
}

/// A center that reads the keys from a file.
async fn with_file(keys: &str) -> Center {
    let mut center = Center::on_sqlite().await;
    let file = center.place().join("jwks.json");
    std::fs::write(&file, keys).unwrap();
    center.config.user_keys = Some(KeySource::File(file));
    center.restart().await;
    center
}

/// The auth service: what it publishes, and how often it was asked.
#[derive(Clone, Default)]
struct Service(Arc<(Mutex<Option<String>>, AtomicUsize)>);

impl Service {
    fn publish(&self, keys: Option<String>) {
        *self.0.0.lock().unwrap() = keys;
    }

    fn requests(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    fn answer(&self) -> Result<String, axum::http::StatusCode> {
        self.0.1.fetch_add(1, Ordering::SeqCst);
        self.0.0.lock().unwrap().clone().ok_or(axum::http::StatusCode::SERVICE_UNAVAILABLE)
    }

    /// A center that reads the keys from this service.
    async fn center(&self) -> Center {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/.well-known/jwks.json", listener.local_addr().unwrap());
        let service = self.clone();
        let routes = axum::Router::new().route("/.well-known/jwks.json", get(async move || service.answer()));
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let mut center = Center::on_sqlite().await;
        center.config.user_keys = Some(url.parse().unwrap());
        center.restart().await;
        center
    }
}

const INVALID: &str = "Invalid token";

fn refused(text: &str) -> (StatusCode, Value) {
    (StatusCode::UNAUTHORIZED, json!({ "detail": text }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_service_has_signed_names_its_user() {
    let Some(signer) = Signer::new("first") else { return };
    let center = with_file(&set(&[&signer])).await;
    let claims = claims(&center);
    let token = signer.sign(&claims);
    assert_eq!(list(&center, &token).await.0, StatusCode::OK);
    // The only key is the one that is meant.
    assert_eq!(list(&center, &signer.sign_as(&json!({ "alg": "RS256" }), &claims)).await.0, StatusCode::OK);
    let elsewhere = center.get("/api/v0/admin/nodes?household_id=other", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(elsewhere.0, StatusCode::FORBIDDEN);
    // Both kinds of tokens are accepted beside each other.
    let secret = center.get("/api/v0/admin/nodes", &[("authorization", &center.bearer(&["home"]))]).await;
    assert_eq!(secret.0, StatusCode::OK);
    center.clock.advance(Duration::from_hours(1));
    assert_eq!(list(&center, &token).await, refused("Token has expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_cannot_choose_how_it_is_verified() {
    let (Some(signer), Some(other)) = (Signer::new("first"), Signer::new("first")) else { return };
    let keys = set(&[&signer]);
    let center = with_file(&keys).await;
    let claims = claims(&center);
    // Public keys in every form that a library could take for the secret of HS256.
    let components = RsaPublicKeyComponents::<Vec<u8>>::from(signer.pair.public_key());
    let public = signer.public();
    let mut forged = Vec::new();
    for secret in [keys.as_str(), &public.to_string(), public["n"].as_str().unwrap(), public["e"].as_str().unwrap(), ""] {
        forged.push(sign_jwt(&claims, &SecretText::new(secret.to_owned())));
    }
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE", "", "RS512", "PS256", "ES256", "HS384", "hs256"] {
        let header = part(&json!({ "alg": algorithm, "kid": "first" }));
        forged.push(format!("{header}.{}.", part(&claims)));
        forged.push(signer.sign_as(&json!({ "alg": algorithm, "kid": "first" }), &claims));
    }
    // Signed with another key of the same name, with a header for the secret, with a name that the service does not have.
    forged.push(other.sign(&claims));
    forged.push(signer.sign_as(&json!({ "alg": "HS256", "kid": "first" }), &claims));
    forged.push(signer.sign_as(&json!({ "alg": "RS256", "kid": "second" }), &claims));
    // The key that a token brings along is not used.
    forged.push(other.sign_as(&json!({ "alg": "RS256", "jwk": other.public(), "jku": "http://127.0.0.1:1" }), &claims));
    // RSA of the text with an empty signature, and with the modulus as signature.
    let header = part(&json!({ "alg": "RS256", "kid": "first" }));
    forged.push(format!("{header}.{}.", part(&claims)));
    forged.push(format!("{header}.{}.{}", part(&claims), BASE64_URL_SAFE_NO_PAD.encode(&components.n)));
    for token in forged {
        assert_eq!(list(&center, &token).await, refused(INVALID), "{token}");
    }
    assert_eq!(list(&center, &signer.sign(&claims)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_found_and_unknown_ones_do_not_ask_again() {
    let (Some(first), Some(second)) = (Signer::new("first"), Signer::new("second")) else { return };
    let service = Service::default();
    service.publish(Some(set(&[&first])));
    let center = service.center().await;
    let claims = claims(&center);
    assert_eq!(list(&center, &first.sign(&claims)).await.0, StatusCode::OK);
    assert_eq!(service.requests(), 1);
    service.publish(Some(set(&[&first, &second])));
    for index in 0..50 {
        let unknown = second.sign_as(&json!({ "alg": "RS256", "kid": format!("unknown-{index}") }), &claims);
        assert_eq!(list(&center, &unknown).await, refused(INVALID));
    }
    assert_eq!(service.requests(), 1, "it was asked a moment ago");
    center.clock.advance(Duration::from_secs(15));
    assert_eq!(list(&center, &second.sign(&claims)).await.0, StatusCode::OK);
    assert_eq!(list(&center, &first.sign(&claims)).await.0, StatusCode::OK);
    assert_eq!(service.requests(), 2);
    // What the service withdraws ends when the keys are read again.
    service.publish(Some(set(&[&second])));
    center.clock.advance(Duration::from_mins(10));
    assert_eq!(list(&center, &first.sign(&claims)).await, refused(INVALID));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_told_when_the_keys_cannot_be_read() {
    let Some(signer) = Signer::new("first") else { return };
    let service = Service::default();
    let center = service.center().await;
    let claims = claims(&center);
    let request = center.request(Method::GET, "/api/v0/admin/nodes").bearer_auth(signer.sign(&claims));
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    for nonsense in ["", "{}", "[1]", "<html>"] {
        service.publish(Some(nonsense.into()));
        center.clock.advance(Duration::from_secs(15));
        assert_eq!(list(&center, &signer.sign(&claims)).await.0, StatusCode::SERVICE_UNAVAILABLE, "{nonsense}");
    }
    service.publish(Some(set(&[&signer])));
    center.clock.advance(Duration::from_secs(15));
    assert_eq!(list(&center, &signer.sign(&claims)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_a_token_that_names_rs256_is_refused() {
    let Some(signer) = Signer::new("first") else { return };
    let center = Center::on_sqlite().await;
    assert_eq!(list(&center, &signer.sign(&claims(&center))).await, refused(INVALID));
}
