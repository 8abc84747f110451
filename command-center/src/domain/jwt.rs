//! Bearer tokens: JSON Web Tokens (RFC 7519, RFC 7515) signed with HS256 or, by the auth service, RS256. They are checked here
//! because only two algorithms and four claims are wanted, and everything else is to be refused.
//!
//! Each algorithm has keys of its own kind: a token that names HS256 is checked with the shared secret alone, and one that names
//! RS256 with the public keys alone. So a public key is never used as a secret (RFC 8725 §2.1).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

use super::jwks::PublicKey;
use crate::base::clock::Moment;
use crate::base::secret::SecretText;

/// The user that a token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// The user's id, the claim `sub`.
    pub(crate) id: String,
    /// The households that the user belongs to: the claims `households` (a list) and `household_id` (one).
    pub(crate) households: Vec<String>,
}

impl User {
    /// Whether the user belongs to the household.
    pub(crate) fn is_member(&self, household: &str) -> bool {
        self.households.iter().any(|own| own == household)
    }
}

/// Why a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It was good until a moment that has passed.
    Expired,
    /// Anything else.
    Invalid,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Times {
    exp: f64,
    #[serde(default)]
    nbf: Option<f64>,
}

#[derive(Deserialize)]
struct UserClaims {
    sub: String,
    #[serde(default)]
    households: Vec<String>,
    #[serde(default)]
    household_id: Option<String>,
}

impl UserClaims {
    fn user(self) -> User {
        User { id: self.sub, households: self.households.into_iter().chain(self.household_id).collect() }
    }
}

/// A token that is longer carries more than the claims this server knows.
const LONGEST: usize = 8 * 1024;

/// Which key a token says that it was signed with. Nothing is verified yet.
pub(crate) fn key_id(token: &str) -> Option<String> {
    header(token)?.kid
}

/// What a user's token says that it was signed with. Nothing is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    /// With the secret that is shared with the auth service.
    WithSecret,
    /// With the private key of this name; without a name there must be one key only.
    WithKey(Option<String>),
}

impl Signed {
    /// None for every other algorithm, `none` included.
    pub(crate) fn of(token: &str) -> Option<Self> {
        let Header { alg, kid } = header(token)?;
        match alg.as_str() {
            "HS256" => Some(Self::WithSecret),
            "RS256" => Some(Self::WithKey(kid)),
            _ => None,
        }
    }
}

fn header(token: &str) -> Option<Header> {
    if token.len() > LONGEST {
        return None;
    }
    serde_json::from_slice(&decode(token.split_once('.')?.0).ok()?).ok()
}

/// Checks signature, algorithm and times of a token, in this order, and reads its claims.
pub(crate) fn verify<C: DeserializeOwned>(token: &str, key: &[u8], now: Moment) -> Result<C, Fault> {
    verify_with(token, "HS256", now, |signed, signature| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.update(signed);
        mac.verify_slice(signature).is_ok()
    })
}

fn verify_with<C: DeserializeOwned>(
    token: &str,
    algorithm: &str,
    now: Moment,
    is_signed: impl FnOnce(&[u8], &[u8]) -> bool,
) -> Result<C, Fault> {
    if token.len() > LONGEST {
        return Err(Fault::Invalid);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Invalid)?;
    let (header, claims) = signed.split_once('.').ok_or(Fault::Invalid)?;
    if !is_signed(signed.as_bytes(), &decode(signature)?) {
        return Err(Fault::Invalid);
    }
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Fault::Invalid)?;
    // RFC 8725 §3.1: the verifier, not the token, says which algorithm it is.
    if header.alg != algorithm {
        return Err(Fault::Invalid);
    }
    let claims = decode(claims)?;
    let times: Times = serde_json::from_slice(&claims).map_err(|_| Fault::Invalid)?;
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact in 53 bits")]
    let now = now.seconds() as f64;
    if times.nbf.is_some_and(|from| now < from) {
        return Err(Fault::Invalid);
    }
    if now >= times.exp {
        return Err(Fault::Expired);
    }
    serde_json::from_slice(&claims).map_err(|_| Fault::Invalid)
}

/// Checks a user's token, which the auth service signed with the shared secret.
pub(crate) fn verify_user(token: &str, secret: &SecretText, now: Moment) -> Result<User, Fault> {
    verify(token, secret.expose().as_bytes(), now).map(UserClaims::user)
}

/// Checks a user's token, which the auth service signed with its private key.
pub(crate) fn verify_user_by_key(token: &str, key: &PublicKey, now: Moment) -> Result<User, Fault> {
    verify_with(token, "RS256", now, |signed, signature| key.has_signed(signed, signature)).map(UserClaims::user)
}

fn decode(text: &str) -> Result<Vec<u8>, Fault> {
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| Fault::Invalid)
}

/// Signs claims as the auth service does, for the holder of its secret.
pub fn sign(claims: &serde_json::Value, secret: &SecretText) -> String {
    sign_with(claims, secret.expose().as_bytes(), None)
}

/// Signs claims, with the name of the key in the header.
pub(crate) fn sign_with(claims: &serde_json::Value, key: &[u8], key_id: Option<&str>) -> String {
    let mut header = serde_json::json!({ "alg": "HS256", "typ": "JWT" });
    if let Some(key_id) = key_id {
        header["kid"] = key_id.into();
    }
    let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    let signed = format!("{header}.{claims}");
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(signed.as_bytes());
    let signature = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Moment = Moment(1_000_000);

    fn secret() -> SecretText {
        SecretText::new("a secret of the auth service".into())
    }

    #[test]
    fn a_signed_token_names_its_user_and_households() {
        let token = sign(&json!({"sub": "7", "exp": 1001, "households": ["a"], "household_id": "b"}), &secret());
        let user = verify_user(&token, &secret(), NOW).unwrap();
        assert_eq!(user, User { id: "7".into(), households: vec!["a".into(), "b".into()] });
    }

    #[test]
    fn a_token_ends_with_its_last_second() {
        let token = sign(&json!({"sub": "7", "exp": 1000}), &secret());
        assert_eq!(verify_user(&token, &secret(), Moment(999_999)).unwrap().id, "7");
        assert_eq!(verify_user(&token, &secret(), NOW), Err(Fault::Expired));
    }

    #[test]
    fn a_token_of_another_secret_is_refused_even_when_expired() {
        let token = sign(&json!({"sub": "7", "exp": 1}), &SecretText::new("another".into()));
        assert_eq!(verify_user(&token, &secret(), NOW), Err(Fault::Invalid));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let token = sign(&json!({"sub": "7", "exp": 2000}), &secret());
        for index in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert!(verify_user(&String::from_utf8(changed).unwrap(), &secret(), NOW).is_err(), "byte {index}");
        }
    }

    #[test]
    fn a_token_without_expiry_or_with_another_algorithm_is_refused() {
        let endless = sign(&json!({"sub": "7"}), &secret());
        assert_eq!(verify_user(&endless, &secret(), NOW), Err(Fault::Invalid));
        let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"sub": "7", "exp": 2000}).to_string());
        let header = BASE64_URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
        assert_eq!(verify_user(&format!("{header}.{claims}."), &secret(), NOW), Err(Fault::Invalid));
    }
}
