//! The node's own files: JSON with a schema number.
//!
//! All values are checked again when they are read. Errors never contain the content of a file.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::files::hexadecimal;
use provisioning_core::domain::{
    CommandCenterUrl, Country, CreatedAt, Credentials, Enterprise, Failure, K2, Outcome, Pairing, Passphrase, ProvisionCode,
    Ssid, Step, UnixTime,
};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{FREE_GUESSES, Pending};
use provisioning_core::secret::{SecretBytes, SecretText};

/// The version of every format here.
const SCHEMA: u32 = 1;

/// A sealed file contains its kind, because an attacker can replace one Fernet token by another.
const PENDING_KIND: &str = "jarvis-provisioning/pending";
const K2_KIND: &str = "jarvis-provisioning/k2";

/// Characters of a passphrase that is read from a label and typed: without `0`, `o`, `1`, `l` and `i`.
const READABLE: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// Three groups of four: 59 bits, which WPA2 stretches.
const PASSPHRASE_GROUPS: [usize; 3] = [4; 3];

/// The content of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    schema: u32,
    /// Incremented by every write.
    pub(super) generation: u64,
    /// Pairing guesses since the last success.
    pub(super) attempts: u32,
    /// A factory reset has begun.
    pub(super) resetting: bool,
    outcome: Option<StoredOutcome>,
    /// The attempt that ended last: if its file still exists, it is not resumed.
    pub(super) concluded: Option<Concluded>,
    /// The hardware address that names the node, since its first start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mac_address: Option<String>,
    /// The SHA-256 of the API's token at the last factory reset, which has voided it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) void_token: Option<String>,
    /// The country that the node was enrolled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) country: Option<String>,
}

/// An attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Concluded {
    /// The attempt's random name.
    pub(super) attempt: String,
    /// Whether it ended with the marker.
    pub(super) provisioned: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StoredOutcome {
    request_id: u64,
    ssid: String,
    ssid_hex: Option<String>,
    progress: u8,
    fault: Option<u8>,
    registration_status: Option<u16>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    online: bool,
}

impl State {
    /// The state of a node that starts for the first time.
    pub(super) const fn new() -> Self {
        Self {
            schema: SCHEMA,
            generation: 0,
            attempts: 0,
            resetting: false,
            outcome: None,
            concluded: None,
            mac_address: None,
            void_token: None,
            country: None,
        }
    }

    /// The state of a node whose file is lost: all free guesses count as used, because an attacker may have used them.
    pub(super) fn lost() -> Self {
        Self { attempts: FREE_GUESSES, ..Self::new() }
    }

    /// A factory reset has begun: the last outcome is deleted.
    pub(super) fn begin_reset(&mut self) {
        self.resetting = true;
        self.country = None;
        self.concluded = None;
        self.set_outcome(None);
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let state: Self = json(content)?;
        check_schema(state.schema)?;
        state.outcome().map_err(|()| "contains an unknown outcome")?;
        Ok(state)
    }

    pub(super) fn content(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("the fields have only JSON types")
    }

    /// The outcome of the last attempt.
    pub(super) fn outcome(&self) -> Result<Option<Outcome>, ()> {
        let Some(StoredOutcome { request_id, ssid, ssid_hex, progress, fault, registration_status, online }) =
            self.outcome.clone()
        else {
            return Ok(None);
        };
        let ssid_bytes = ssid_hex.map(|digits| ssid_from(&digits)).transpose()?;
        let step = Step::from_progress(progress).ok_or(())?;
        let fault = fault.map(|number| Fault::from_number(number).ok_or(())).transpose()?;
        let failure = fault.map(|fault| Failure { fault, registration_status });
        Ok(Some(Outcome { request_id, ssid, ssid_bytes, step, failure, online }))
    }

    pub(super) fn set_outcome(&mut self, outcome: Option<&Outcome>) {
        self.outcome = outcome.map(|outcome| StoredOutcome {
            request_id: outcome.request_id,
            ssid: outcome.ssid.clone(),
            ssid_hex: outcome.ssid_bytes.as_ref().map(|ssid| hexadecimal(ssid.as_bytes())),
            progress: outcome.step.progress(),
            fault: outcome.failure.as_ref().map(|failure| failure.fault.number()),
            registration_status: outcome.failure.as_ref().and_then(|failure| failure.registration_status),
            online: outcome.online,
        });
    }
}

/// The content of `pairing.json`, which is printed on the label.
#[derive(Clone, Debug)]
pub struct Label {
    /// The pairing secrets.
    pub pairing: Pairing,
    /// The passphrase of the node's access point.
    pub passphrase: SecretText,
    /// The identity before registration, if the image contains one: so a label can be printed before the hardware address
    /// is known.
    pub node_id: Option<String>,
}

#[derive(Serialize)]
struct LabelOut<'a> {
    schema: u32,
    code: &'a str,
    secret: &'a str,
    access_point_passphrase: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<&'a str>,
}

#[derive(Deserialize)]
struct LabelIn {
    schema: u32,
    code: String,
    secret: String,
    access_point_passphrase: String,
    node_id: Option<String>,
}

/// The owner's file; missing values are random.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LabelGiven {
    #[serde(default = "schema")]
    schema: u32,
    code: Option<String>,
    secret: Option<String>,
    access_point_passphrase: Option<String>,
    node_id: Option<String>,
}

const fn schema() -> u32 {
    SCHEMA
}

impl Label {
    /// A random label, independent of all public values and of other labels.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; 16]);
        getrandom::fill(&mut *secret)?;
        let mut passphrase = Zeroizing::new(String::with_capacity(16));
        for group in PASSPHRASE_GROUPS {
            if !passphrase.is_empty() {
                passphrase.push('-');
            }
            for _ in 0..group {
                passphrase.push(char::from(READABLE[below(READABLE.len())?]));
            }
        }
        let code = SecretText::new(format!("{:06}", below(1_000_000)?));
        let pairing = Pairing { code, secret: SecretBytes::new(*secret) };
        Ok(Self { pairing, passphrase: SecretText::new(std::mem::take(&mut *passphrase)), node_id: None })
    }

    /// Parses the file; an error never quotes it.
    pub fn parse(content: &[u8]) -> Result<Self, String> {
        let LabelIn { schema, code, secret, access_point_passphrase, node_id } = json(content)?;
        check_schema(schema)?;
        Ok(Self {
            pairing: Pairing { code: code_from(code)?, secret: secret_from(secret)? },
            passphrase: passphrase_from(access_point_passphrase)?,
            node_id: node_id.map(node_id_from).transpose()?,
        })
    }

    /// The values of the owner's file, with random values for missing ones.
    pub(super) fn given(content: &[u8], random: Self) -> Result<Self, String> {
        let given: LabelGiven = json(content)?;
        check_schema(given.schema)?;
        Ok(Self {
            pairing: Pairing {
                code: given.code.map_or(Ok(random.pairing.code), code_from)?,
                secret: given.secret.map_or(Ok(random.pairing.secret), secret_from)?,
            },
            passphrase: given.access_point_passphrase.map_or(Ok(random.passphrase), passphrase_from)?,
            node_id: given.node_id.map(node_id_from).transpose()?,
        })
    }

    /// The file.
    pub fn content(&self) -> Zeroizing<Vec<u8>> {
        let secret = Zeroizing::new(hexadecimal(self.pairing.secret.expose()));
        write_json(&LabelOut {
            schema: SCHEMA,
            code: self.pairing.code.expose(),
            secret: &secret,
            access_point_passphrase: self.passphrase.expose(),
            node_id: self.node_id.as_deref(),
        })
    }
}

fn code_from(text: String) -> Result<SecretText, String> {
    let code = SecretText::new(text);
    let six_digits = code.expose().len() == 6 && code.expose().bytes().all(|digit| digit.is_ascii_digit());
    if six_digits { Ok(code) } else { Err("contains a `code` that is not a text of six digits".into()) }
}

fn secret_from(text: String) -> Result<SecretBytes<16>, String> {
    let text = Zeroizing::new(text);
    let bytes = bytes_from(&text).map(Zeroizing::new);
    let secret = bytes.ok().and_then(|bytes| SecretBytes::try_from(&bytes[..]).ok());
    secret.ok_or_else(|| "contains a `secret` that is not 32 hexadecimal digits".into())
}

fn passphrase_from(text: String) -> Result<SecretText, String> {
    let secret = SecretText::new(text);
    let fits = Passphrase::try_from(secret.expose().to_owned()).is_ok_and(|passphrase| passphrase.fits_wpa());
    if fits { Ok(secret) } else { Err("contains an `access_point_passphrase` that is not 8 to 63 plain characters".into()) }
}

/// Its last characters become part of the advertised name and of the access point's name, so they are limited.
fn node_id_from(text: String) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits { Ok(text) } else { Err("contains a `node_id` that is not 1 to 64 letters, digits and hyphens".into()) }
}

/// The sealed content of `pending.enc`: an attempt with its random name.
pub(super) struct StoredPending {
    pub(super) attempt: String,
    pub(super) pending: Pending,
}

#[derive(Serialize)]
struct PendingOut<'a> {
    kind: &'a str,
    schema: u32,
    attempt: &'a str,
    resumes: u32,
    request_id: u64,
    ssid_hex: &'a str,
    passphrase: &'a str,
    /// The login as it was sent, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise_hex: Option<&'a str>,
    hidden: bool,
    room: &'a str,
    command_center: &'a str,
    config_service: Option<&'a str>,
    household_id: &'a str,
    node_id: &'a str,
    token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    provision_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seen_frequency: Option<u32>,
}

#[derive(Deserialize)]
struct PendingIn {
    kind: String,
    schema: u32,
    attempt: String,
    resumes: u32,
    request_id: u64,
    ssid_hex: String,
    passphrase: String,
    enterprise_hex: Option<Zeroizing<String>>,
    hidden: bool,
    room: String,
    command_center: String,
    config_service: Option<String>,
    household_id: String,
    node_id: String,
    token: String,
    provision_code: Option<Zeroizing<String>>,
    time: Option<u64>,
    country: Option<String>,
    seen_frequency: Option<u32>,
}

impl StoredPending {
    /// Gives the attempt a random name.
    pub(super) fn new(pending: &Pending) -> Result<Self, getrandom::Error> {
        let mut name = [0; 16];
        getrandom::fill(&mut name)?;
        Ok(Self { attempt: hexadecimal(&name), pending: pending.clone() })
    }

    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let stored: PendingIn = json(content)?;
        check_kind(&stored.kind, PENDING_KIND)?;
        check_schema(stored.schema)?;
        let token = SecretText::new(stored.token);
        let valid = |()| "contains an invalid value";
        let credentials = Credentials {
            request_id: stored.request_id,
            ssid: match stored.ssid_hex.as_str() {
                "" => None,
                digits => Some(ssid_from(digits).map_err(valid)?),
            },
            passphrase: Passphrase::try_from(stored.passphrase).map_err(|_| valid(()))?,
            enterprise: stored.enterprise_hex.map(|digits| enterprise_from(&digits).map_err(valid)).transpose()?,
            hidden: stored.hidden,
            room: stored.room,
            command_center: Some(stored.command_center.as_str())
                .filter(|url| !url.is_empty())
                .map(|url| CommandCenterUrl::try_from(url).map_err(|_| valid(())))
                .transpose()?,
            config_service: stored
                .config_service
                .filter(|url| !url.is_empty())
                .map(|url| CommandCenterUrl::try_from(url.as_str()).map_err(|_| valid(())))
                .transpose()?,
            household_id: stored.household_id,
            node_id: stored.node_id,
            token,
            provision_code: stored
                .provision_code
                .map(|code| ProvisionCode::try_from(code.as_str()).map_err(|_| valid(())))
                .transpose()?,
            time: stored.time.map(UnixTime),
            country: stored.country.map(|text| Country::try_from(text.as_str()).map_err(|_| valid(()))).transpose()?,
            seen_frequency: stored.seen_frequency.unwrap_or_default(),
        };
        Ok(Self { attempt: stored.attempt, pending: Pending { credentials, resumes: stored.resumes } })
    }

    pub(super) fn content(&self) -> Zeroizing<Vec<u8>> {
        let Pending { credentials, resumes } = &self.pending;
        let enterprise = credentials.enterprise.as_ref().map(|enterprise| Zeroizing::new(hexadecimal(&enterprise.encode())));
        write_json(&PendingOut {
            kind: PENDING_KIND,
            schema: SCHEMA,
            attempt: &self.attempt,
            resumes: *resumes,
            request_id: credentials.request_id,
            ssid_hex: &credentials.ssid.as_ref().map(|ssid| hexadecimal(ssid.as_bytes())).unwrap_or_default(),
            passphrase: credentials.passphrase.expose(),
            enterprise_hex: enterprise.as_ref().map(|digits| digits.as_str()),
            hidden: credentials.hidden,
            room: &credentials.room,
            command_center: credentials.command_center.as_ref().map(CommandCenterUrl::as_str).unwrap_or_default(),
            config_service: credentials.config_service.as_ref().map(CommandCenterUrl::as_str),
            household_id: &credentials.household_id,
            node_id: &credentials.node_id,
            token: credentials.token.expose(),
            provision_code: credentials.provision_code.as_ref().map(ProvisionCode::expose),
            time: credentials.time.map(|time| time.0),
            country: credentials.country.as_ref().map(Country::as_str),
            seen_frequency: Some(credentials.seen_frequency).filter(|frequency| *frequency != 0),
        })
    }
}

/// The sealed content of `k2_pending.enc`: a K2 that is being written to its two files.
#[derive(Serialize, Deserialize)]
struct StoredK2 {
    kind: String,
    schema: u32,
    key: String,
    kid: String,
    created_at: String,
}

/// The content of `k2_pending.enc`, before it is sealed.
pub(super) fn k2_content(k2: &K2) -> Zeroizing<Vec<u8>> {
    let mut stored = StoredK2 {
        kind: K2_KIND.into(),
        schema: SCHEMA,
        key: hexadecimal(k2.key.expose()),
        kid: k2.kid.clone(),
        created_at: k2.created_at.as_str().into(),
    };
    let content = write_json(&stored);
    zeroize::Zeroize::zeroize(&mut stored.key);
    content
}

/// Parses the opened content of `k2_pending.enc`.
pub(super) fn k2_parse(content: &[u8]) -> Result<K2, String> {
    let StoredK2 { kind, schema, key, kid, created_at } = json(content)?;
    check_kind(&kind, K2_KIND)?;
    check_schema(schema)?;
    let key = Zeroizing::new(key);
    let bytes = bytes_from(&key).map(Zeroizing::new);
    let key = bytes.ok().and_then(|bytes| SecretBytes::try_from(&bytes[..]).ok()).ok_or("contains a key that is not 32 bytes")?;
    let created_at = CreatedAt::try_from(created_at.as_str()).map_err(|_| "contains an invalid date")?;
    Ok(K2 { key, kid, created_at })
}

fn bytes_from(digits: &str) -> Result<Vec<u8>, ()> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(());
    }
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("two hexadecimal digits are a byte");
    Ok((0..digits.len()).step_by(2).map(byte).collect())
}

fn ssid_from(digits: &str) -> Result<Ssid, ()> {
    Ssid::try_from(&bytes_from(digits)?[..]).map_err(drop)
}

fn enterprise_from(digits: &str) -> Result<Box<Enterprise>, ()> {
    let bytes = Zeroizing::new(bytes_from(digits)?);
    Enterprise::decode(&bytes).map(Box::new).map_err(drop)
}

/// A uniformly random number below `limit`.
fn below(limit: usize) -> Result<usize, getrandom::Error> {
    let limit = u32::try_from(limit).expect("the limits here are small");
    // Numbers of the last, incomplete multiple of the limit below 2^32 are rejected: they would make low results likelier.
    let fair = u32::MAX - u32::MAX % limit;
    loop {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes)?;
        let number = u32::from_ne_bytes(bytes);
        if number < fair {
            return Ok(usize::try_from(number % limit).expect("a usize has 32 bits at least"));
        }
    }
}

/// Parses JSON; the error contains the position and no content.
pub(super) fn json<'a, T: Deserialize<'a>>(content: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(content).map_err(|failure| {
        let what = if failure.is_data() { "contains JSON of another form than expected" } else { "is not complete JSON" };
        format!("{what} (line {}, column {})", failure.line(), failure.column())
    })
}

/// Writes JSON with secrets without leaving copies in freed memory.
fn write_json(value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    /// More than the longest of these records: each text field is bounded, and a character takes at most six bytes.
    const CAPACITY: usize = 48 * 1024;
    let mut content = Zeroizing::new(Vec::with_capacity(CAPACITY));
    serde_json::to_writer_pretty(&mut *content, value).expect("the fields have only JSON types");
    content
}

fn check_schema(schema: u32) -> Result<(), String> {
    if schema == SCHEMA { Ok(()) } else { Err(format!("has schema {schema}, but this program supports only {SCHEMA}")) }
}

fn check_kind(kind: &str, expected: &str) -> Result<(), String> {
    if kind == expected { Ok(()) } else { Err("contains the content of another file".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::domain::{EapMethod, Login};
    use provisioning_core::secret::SecretBlob;

    #[test]
    fn an_attempt_is_read_with_and_without_what_is_optional() {
        let code = ProvisionCode::try_from("ABCD1234EFGH5678").unwrap();
        let home = Ssid::try_from("home").unwrap();
        for (provision_code, time, ssid) in [(None, None, Some(home)), (Some(code), Some(UnixTime(1_800_000_000)), None)] {
            let country = time.map(|_| Country::try_from("DE").unwrap());
            let credentials = Credentials {
                request_id: 7,
                ssid,
                passphrase: Passphrase::try_from("correct horse".to_owned()).unwrap(),
                enterprise: time.map(|_| Box::new(Enterprise::try_from(largest_login()).unwrap())),
                hidden: false,
                room: "kitchen".into(),
                command_center: CommandCenterUrl::try_from("https://center.example").ok(),
                config_service: None,
                household_id: "home".into(),
                node_id: "node".into(),
                token: SecretText::new("token".into()),
                provision_code,
                time,
                country,
                seen_frequency: if country.is_some() { 2467 } else { 0 },
            };
            let pending = Pending { credentials, resumes: 1 };
            let content = StoredPending::new(&pending).unwrap().content();
            assert!(content.len() < 32 * 1024, "a sealed one is a third longer: {}", content.len());
            let is_named = std::str::from_utf8(&content).unwrap().contains("provision_code");
            assert_eq!(is_named, pending.credentials.provision_code.is_some());
            assert_eq!(StoredPending::parse(&content).unwrap().pending, pending);
        }
    }

    /// A login with a PKCS#12 and an authority of the largest size.
    fn largest_login() -> Login {
        let authority =
            format!("{}{}", " ".repeat(4096 - 68), "-----BEGIN CERTIFICATE-----\nMAcwADAAAwEA\n-----END CERTIFICATE-----\n");
        let certificate = [&[0x30, 0x82, 0x1f, 0xfc, 2, 1, 3, 0x30][..], &[0; 8192 - 8]].concat();
        Login {
            method: EapMethod::Tls,
            identity: "anna".into(),
            anonymous_identity: String::new(),
            password: SecretText::new(String::new()),
            certificate: SecretBlob::new(certificate),
            certificate_password: SecretText::new("opens it".into()),
            authority: authority.into_bytes(),
            domain: "office.example".into(),
            accept_unverified_server: false,
        }
    }

    #[test]
    fn two_labels_have_nothing_in_common() {
        let labels = [Label::random().unwrap(), Label::random().unwrap()];
        assert_ne!(labels[0].pairing.secret, labels[1].pairing.secret);
        assert_ne!(labels[0].passphrase, labels[1].passphrase);
    }

    #[test]
    fn a_label_can_be_typed() {
        for _ in 0..200 {
            let label = Label::random().unwrap();
            let passphrase = label.passphrase.expose();
            assert!(label.pairing.code.expose().bytes().all(|digit| digit.is_ascii_digit()));
            assert_eq!(label.pairing.code.expose().len(), 6);
            assert_eq!(passphrase.len(), 14);
            assert!(passphrase.bytes().all(|byte| byte == b'-' || READABLE.contains(&byte)));
        }
    }

    #[test]
    fn random_numbers_are_below_their_limit_and_reach_it() {
        let mut seen = [false; 7];
        while seen.contains(&false) {
            seen[below(7).unwrap()] = true;
        }
    }

    #[test]
    fn a_label_reads_back() {
        for node_id in [None, Some("jarvis-5b91b661".to_owned())] {
            let label = Label { node_id, ..Label::random().unwrap() };
            let read = Label::parse(&label.content()).unwrap();
            assert_eq!((read.pairing, read.passphrase, read.node_id), (label.pairing, label.passphrase, label.node_id));
        }
    }

    #[test]
    fn values_missing_in_the_owners_file_are_random() {
        let random = Label::random().unwrap();
        let given = Label::given(br#"{"code": "012345"}"#, random.clone()).unwrap();
        assert_eq!(given.pairing.code.expose(), "012345");
        assert_eq!((given.pairing.secret, given.passphrase), (random.pairing.secret, random.passphrase));
    }

    #[test]
    fn an_owners_file_with_a_mistake_is_refused_without_showing_its_content() {
        for wrong in [
            r#"{"code": "12345"}"#,
            r#"{"code": 123456}"#,
            r#"{"code": "12345six"}"#,
            r#"{"secret": "abc"}"#,
            r#"{"secret": "zz345678123456781234567812345678"}"#,
            r#"{"access_point_passphrase": "short12"}"#,
            r#"{"pin": "123456"}"#,
            r#"{"node_id": "jarvis/12345"}"#,
            r#"{"schema": 2}"#,
            r#"{"code": "123456""#,
            "",
        ] {
            let error = Label::given(wrong.as_bytes(), Label::random().unwrap()).unwrap_err();
            assert!(!["12345", "abc", "short"].iter().any(|content| error.contains(content)), "{error}");
        }
    }

    #[test]
    fn one_sealed_record_is_not_taken_for_another() {
        let k2 = K2 {
            key: SecretBytes::new([7; 32]),
            kid: "kid".into(),
            created_at: CreatedAt::try_from("2026-02-01T13:00:00+00:00").unwrap(),
        };
        assert_eq!(k2_parse(&k2_content(&k2)).unwrap(), k2);
        assert!(StoredPending::parse(&k2_content(&k2)).is_err());
    }

    #[test]
    fn a_lost_state_is_locked() {
        assert!(State::lost().attempts >= FREE_GUESSES);
    }

    #[test]
    fn a_state_of_another_schema_is_not_read() {
        let content = String::from_utf8(State::new().content()).unwrap();
        assert!(State::parse(content.as_bytes()).is_ok());
        assert!(State::parse(content.replace("\"schema\": 1", "\"schema\": 2").as_bytes()).is_err());
    }
}
