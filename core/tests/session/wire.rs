//! Frozen bytes of every kind of message. If one differs, the code is wrong: phones in the field speak these.

use std::collections::BTreeMap;

use provisioning_core::domain::{
    CareEvent, CareReply, CareRequest, CareStatus, CommandCenterUrl, Country, CreatedAt, Credentials, EapMethod, Enterprise,
    EventLevel, EventPhase, Failure, K2, Label, LayerReport, LayerVerdict, Login, Network, NewEvents, Passphrase, ProvisionCode,
    RecoveryState, SavedNetwork, Security, Ssid, State, UnixTime,
};
use provisioning_core::endpoint::Endpoint;
use provisioning_core::fault::Fault;
use provisioning_core::secret::{SecretBlob, SecretBytes, SecretText};
use provisioning_core::wire::{
    Accept, Answer, Info, Message, Offer, Open, Outbound, PublicStatus, Record, Refusal, Reply, Request, SecretKind, StatusReport,
};

use crate::support::{NODE_ID, bytes};

const REQUEST_ID: u64 = 0x0123_4567_89ab_cdef;

fn frozen() -> BTreeMap<String, String> {
    serde_json::from_str(include_str!("../../../tests/vectors/wire.json")).expect("names and hexadecimal digits")
}

fn capabilities() -> Vec<String> {
    vec!["voice".into(), "speaker".into()]
}

fn offer() -> Offer {
    Offer { versions: vec![1], secret: SecretKind::Code, key: [0x11; 32] }
}

fn answer() -> Answer {
    Answer { version: 1, key: [0x11; 32], node_id: NODE_ID.into(), versions: vec![1], capabilities: capabilities() }
}

fn record() -> Record {
    Record { counter: 7, sealed: b"sealed".to_vec(), confirmation: Vec::new() }
}

fn ssid() -> Ssid {
    Ssid::try_from("Café ☕").unwrap()
}

fn networks() -> Vec<Network> {
    vec![
        Network { ssid: ssid(), signal: -41, security: Security::Wpa2, frequency: 5180 },
        Network { ssid: Ssid::try_from(&b"\x00\xff:\\"[..]).unwrap(), signal: -87, security: Security::Open, frequency: 0 },
    ]
}

fn failed() -> StatusReport {
    StatusReport {
        state: State::Error,
        progress: 35,
        message: Fault::WrongPassword.text().into(),
        failure: Some(Failure { fault: Fault::WrongPassword, registration_status: None }),
        retryable: true,
        request_id: REQUEST_ID,
        ssid: Some(ssid()),
        limited_connectivity: false,
        appliance_id: None,
        next_url: None,
    }
}

fn joining() -> StatusReport {
    StatusReport {
        state: State::Connecting,
        message: "Connecting to Café ☕...".into(),
        failure: None,
        retryable: false,
        ..failed()
    }
}

fn k2() -> Request {
    Request::K2(K2 {
        key: SecretBytes::new(std::array::from_fn(|index| u8::try_from(index).unwrap())),
        kid: "k2-2026".into(),
        created_at: CreatedAt::try_from("2026-03-01T12:00:00+00:00").unwrap(),
    })
}

fn credentials() -> Request {
    Request::Credentials(Box::new(plain()))
}

fn with_a_code() -> Request {
    let provision_code = Some(ProvisionCode::try_from("abcd-1234-efgh-5678").unwrap());
    Request::Credentials(Box::new(Credentials { provision_code, ..plain() }))
}

fn with_a_time() -> Request {
    Request::Credentials(Box::new(Credentials { time: Some(UnixTime(1_800_000_000)), ..plain() }))
}

fn with_a_country() -> Request {
    Request::Credentials(Box::new(Credentials { country: Some(germany()), seen_frequency: 2467, ..plain() }))
}

/// Credentials with logins to enterprise networks, each with its name.
fn with_logins() -> [(&'static str, Request); 4] {
    /// The outlines of a certificate (RFC 5280, 4.1) and of a PKCS#12 (RFC 7292, 4).
    const CERTIFICATE: [u8; 9] = [0x30, 7, 0x30, 0, 0x30, 0, 3, 1, 0];
    const PKCS12: [u8; 7] = [0x30, 5, 2, 1, 3, 0x30, 0];
    let secret = |text: &str| SecretText::new(text.into());
    let login = Login {
        method: EapMethod::PeapMschapv2,
        identity: "anna@example.org".into(),
        anonymous_identity: "anonymous@example.org".into(),
        password: secret("s3cret"),
        certificate: SecretBlob::default(),
        certificate_password: secret(""),
        authority: Vec::new(),
        domain: String::new(),
        accept_unverified_server: false,
    };
    let passphrase = Passphrase::try_from(String::new()).unwrap();
    let request = |login: Login| {
        let enterprise = Some(Box::new(Enterprise::try_from(login).unwrap()));
        Request::Credentials(Box::new(Credentials { passphrase: passphrase.clone(), enterprise, ..plain() }))
    };
    let (authority, domain) = (CERTIFICATE.to_vec(), "radius.example.org".into());
    let private = Login { authority: authority.clone(), domain, ..login.clone() };
    let public = Login { method: EapMethod::TtlsPap, domain: "example.org".into(), ..login.clone() };
    let certificate = Login {
        method: EapMethod::Tls,
        password: secret(""),
        certificate: SecretBlob::new(PKCS12.to_vec()),
        certificate_password: secret("opens it"),
        authority,
        ..login.clone()
    };
    [
        ("credentials request with a password", request(private)),
        ("credentials request with a password and a public authority", request(public)),
        ("credentials request with a certificate", request(certificate)),
        ("credentials request with a password for any server", request(Login { accept_unverified_server: true, ..login })),
    ]
}

fn germany() -> Country {
    Country::try_from("DE").unwrap()
}

fn without_a_network() -> Request {
    let passphrase = Passphrase::try_from(String::new()).unwrap();
    Request::Credentials(Box::new(Credentials { ssid: None, passphrase, ..plain() }))
}

fn plain() -> Credentials {
    Credentials {
        request_id: REQUEST_ID,
        ssid: Some(ssid()),
        passphrase: Passphrase::try_from("correct horse battery".to_owned()).unwrap(),
        hidden: false,
        room: "kitchen".into(),
        command_center: CommandCenterUrl::try_from("https://center.example:7703").ok(),
        config_service: None,
        household_id: "h-1".into(),
        node_id: "0e8c1f5a-94d1-4d6f-9c39-2f5a7e0b1c2d".into(),
        token: SecretText::new("token-of-the-vectors".into()),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

/// The requests to network care, by what they are for.
fn care_requests() -> [(&'static str, CareRequest); 15] {
    let connect = |passphrase: &str, hidden| CareRequest::Connect {
        ssid: ssid(),
        passphrase: Passphrase::try_from(passphrase.to_owned()).unwrap(),
        hidden,
    };
    [
        ("for the status", CareRequest::Status),
        ("for the saved networks", CareRequest::Saved),
        ("to join", CareRequest::Join(ssid())),
        ("to forget", CareRequest::Forget("Café ☕".into())),
        ("to diagnose", CareRequest::Diagnose),
        ("to open the hotspot", CareRequest::Hotspot(true)),
        ("to close the hotspot", CareRequest::Hotspot(false)),
        ("to recover", CareRequest::Recover),
        ("to restart", CareRequest::Restart),
        ("for the last events", CareRequest::Events(String::new())),
        ("for events", CareRequest::Events("20260301120000-00000a".into())),
        ("to connect", connect("correct horse", true)),
        ("to connect to an open network", connect("", false)),
        ("for the label", CareRequest::Label),
        ("to reset", CareRequest::Reset),
    ]
}

/// The answers of network care.
fn care_replies() -> [(&'static str, u64, CareReply); 8] {
    let status = CareStatus {
        connected: true,
        ssid: Some(ssid()),
        address: Some("192.168.1.7".parse().unwrap()),
        internet: true,
        ..CareStatus::default()
    };
    let hotspot = CareStatus { hotspot: true, last_error: "x".into(), ..CareStatus::default() };
    let recovering = CareStatus { recovery: Some(RecoveryState::InProgress), ..CareStatus::default() };
    let label = Label {
        name: "jarvis-5b91b661".into(),
        code: SecretText::new("071934".into()),
        pairing_qr: SecretText::new("JARVIS:1:jarvis-5b91b661:00112233445566778899AABBCCDDEEFF".into()),
        size: 3,
        modules: SecretBlob::new(vec![0b1010_1100, 0b1000_0000]),
    };
    let saved = |name: &str, used| SavedNetwork { name: name.into(), autoconnect: used, active: used };
    let layer = |layer: &str, verdict, evidence: &str, advice: &str| LayerReport {
        layer: layer.into(),
        verdict,
        evidence: evidence.into(),
        advice: advice.into(),
    };
    let layers = vec![
        layer("radio", LayerVerdict::Ok, "wlan0 is ready", ""),
        layer("association", LayerVerdict::Failed, "not connected", "Join a network."),
        layer("address", LayerVerdict::NotReached, "not reached", ""),
    ];
    let event = |id: &str, level, message: &str, action| CareEvent { id: id.into(), level, message: message.into(), action };
    let connect = |phase| Some(("network.connect".to_owned(), phase));
    let events = vec![
        event("20260301120000-00000b", EventLevel::Info, "Connecting to WiFi Café ☕", connect(EventPhase::Started)),
        event("20260301120001-000000", EventLevel::Error, "The Wi-Fi password is wrong.", connect(EventPhase::Failed)),
        event("20260301120002-000000", EventLevel::Success, "x", connect(EventPhase::Completed)),
        event("20260301120003-000000", EventLevel::Warning, "", None),
    ];
    [
        ("done reply", 8, CareReply::Done),
        ("care status reply", 9, CareReply::Status(status)),
        ("care status with a hotspot reply", 10, CareReply::Status(hotspot)),
        ("saved reply", 11, CareReply::Saved(vec![saved("Café ☕", true), saved("Attic", false)])),
        ("diagnosis reply", 12, CareReply::Diagnosis(layers)),
        ("events reply", 13, CareReply::Events(NewEvents { events, gap: true })),
        ("care status of a recovery reply", 14, CareReply::Status(recovering)),
        ("label reply", 15, CareReply::Label(label)),
    ]
}

/// Every message of the frozen file, as this crate encodes it.
fn encoded() -> BTreeMap<String, Vec<u8>> {
    let reply = |to, reply| Message::Reply { to, reply }.encode().to_vec();
    let accept = Accept { share: [0x22; 32], confirmation: [0x33; 64], answer: answer().encode() };
    let refusal = |fault, retry_after| Outbound::Refusal(Refusal { fault, retry_after }).encode();
    let everything = StatusReport {
        state: State::Error,
        progress: 70,
        message: "x".into(),
        failure: Some(Failure { fault: Fault::CommandCenterRefused, registration_status: Some(422) }),
        retryable: true,
        request_id: 9,
        ssid: Some(Ssid::try_from(&[0xff][..]).unwrap()),
        limited_connectivity: true,
        appliance_id: None,
        next_url: None,
    };
    let next_url = CommandCenterUrl::try_from("https://home.example/devices").ok();
    let done = StatusReport { state: State::Provisioned, progress: 100, next_url, ..joining() };
    let appliance = StatusReport { appliance_id: Some("clinic-1-84:3A:5B:91:B6:61".into()), ..joining() };
    let info = Info {
        node_id: NODE_ID.into(),
        name: NODE_ID.into(),
        firmware_version: "1.0.0".into(),
        hardware: "linux-aarch64".into(),
        capabilities: capabilities(),
        state: State::ApMode,
        previously_provisioned: true,
        versions: vec![1],
        country: String::new(),
    };
    let abroad = Info { country: "DE".into(), ..info.clone() };
    let open = Open { session_id: [0x44; 16], share: [0x22; 32], offer: offer().encode() };
    let asked = care_requests().map(|(name, request)| (format!("care request {name}"), Request::Care(request).encode().to_vec()));
    let logins = with_logins().map(|(name, request)| (name.to_owned(), request.encode().to_vec()));
    let answered = care_replies().map(|(name, to, answer)| (name.to_owned(), reply(to, Reply::of_care(answer).remove(0))));
    let list = Outbound::encode_list(&[refusal(Fault::Busy, 0), Outbound::Record(record()).encode()]);
    [
        ("offer with the code", offer().encode()),
        ("offer with the QR secret", Offer { versions: vec![1, 2], secret: SecretKind::Qr, key: [0x11; 32] }.encode()),
        ("open", open.encode()),
        ("answer", answer().encode()),
        ("accept", Outbound::Accept(accept).encode()),
        ("record", record().encode()),
        ("first record", Record { counter: 0, confirmation: vec![0x33; 64], ..record() }.encode()),
        ("record outbound", Outbound::Record(record()).encode()),
        ("refusal", refusal(Fault::Busy, 0)),
        ("refusal with a time", refusal(Fault::Locked, 60)),
        ("list of outbounds", list),
        ("info", info.encode()),
        ("info with a country", abroad.encode()),
        ("public status", PublicStatus { state: State::ApMode, progress: 0, fault: None }.encode()),
        (
            "public status after a failure",
            PublicStatus { state: State::Error, progress: 35, fault: Some(Fault::WrongPassword) }.encode(),
        ),
        ("scan request", Request::Scan { fresh: false, country: None }.encode().to_vec()),
        ("fresh scan request", Request::Scan { fresh: true, country: None }.encode().to_vec()),
        ("scan request with a country", Request::Scan { fresh: false, country: Some(germany()) }.encode().to_vec()),
        ("K2 request", k2().encode().to_vec()),
        ("credentials request", credentials().encode().to_vec()),
        ("credentials request with a provision code", with_a_code().encode().to_vec()),
        ("credentials request with a time", with_a_time().encode().to_vec()),
        ("credentials request with a country", with_a_country().encode().to_vec()),
        ("credentials request without a network", without_a_network().encode().to_vec()),
        ("status request", Request::Status.encode().to_vec()),
        ("cancel request", Request::Cancel { request_id: REQUEST_ID }.encode().to_vec()),
        ("networks reply", reply(3, Reply::Networks { networks: networks(), last: true })),
        ("empty networks reply", reply(0, Reply::Networks { networks: Vec::new(), last: true })),
        ("K2 stored reply", reply(4, Reply::K2Stored { kid: "k2-2026".into() })),
        ("accepted reply", reply(5, Reply::Accepted { request_id: REQUEST_ID })),
        ("status reply", reply(6, Reply::Status(failed()))),
        ("refused reply", reply(7, Reply::Refused(Fault::Malformed))),
        ("event", Message::Changed(joining()).encode().to_vec()),
        ("event with everything", Message::Changed(everything).encode().to_vec()),
        ("event of an appliance", Message::Changed(appliance).encode().to_vec()),
        ("event with a next page", Message::Changed(done).encode().to_vec()),
    ]
    .map(|(name, message)| (name.to_owned(), message))
    .into_iter()
    .chain(asked)
    .chain(logins)
    .chain(answered)
    .collect()
}

/// Each message after it was parsed and encoded again.
fn again(name: &str, message: &[u8]) -> Result<Vec<u8>, Fault> {
    Ok(match name {
        name if name.starts_with("offer") => Offer::decode(message)?.encode(),
        "open" => Open::decode(message)?.encode(),
        "answer" => Answer::decode(message)?.encode(),
        "record" | "first record" => Record::decode(message)?.encode(),
        "accept" | "record outbound" | "refusal" | "refusal with a time" => Outbound::decode(message)?.encode(),
        "list of outbounds" => {
            let messages: Vec<Vec<u8>> = Outbound::decode_list(message)?.iter().map(Outbound::encode).collect();
            Outbound::encode_list(&messages)
        }
        "info" | "info with a country" => Info::decode(message)?.encode(),
        name if name.starts_with("public status") => PublicStatus::decode(message)?.encode(),
        "scan request" | "fresh scan request" | "scan request with a country" => {
            Request::decode(Endpoint::Scan, message)?.encode().to_vec()
        }
        "K2 request" => Request::decode(Endpoint::K2, message)?.encode().to_vec(),
        name if name.starts_with("care request") => Request::decode(Endpoint::Credentials, message)?.encode().to_vec(),
        "cancel request" => Request::decode(Endpoint::Credentials, message)?.encode().to_vec(),
        name if name.starts_with("credentials request") => Request::decode(Endpoint::Credentials, message)?.encode().to_vec(),
        "status request" => Request::decode(Endpoint::Status, message)?.encode().to_vec(),
        _ => Message::decode(message)?.encode().to_vec(),
    })
}

#[test]
fn every_message_has_its_frozen_bytes() {
    let encoded = encoded();
    let frozen = frozen();
    assert_eq!(encoded.keys().collect::<Vec<_>>(), frozen.keys().collect::<Vec<_>>());
    for (name, hexadecimal) in frozen {
        assert_eq!(encoded[&name], bytes(&hexadecimal), "{name}");
    }
}

#[test]
fn every_frozen_message_reads_back() {
    for (name, hexadecimal) in frozen() {
        let message = bytes(&hexadecimal);
        assert_eq!(again(&name, &message).as_ref(), Ok(&message), "{name}");
    }
}

#[test]
fn every_truncation_is_refused_or_is_a_shorter_message() {
    for (name, hexadecimal) in frozen() {
        let message = bytes(&hexadecimal);
        for length in 0..message.len() {
            // Proto3 omits empty fields, so a message cut between two fields can be valid. Then it must be a
            // complete one: parsing and encoding it yields the same bytes.
            if let Ok(rewritten) = again(&name, &message[..length]) {
                assert_eq!(rewritten, message[..length], "{name} cut at {length}");
            }
        }
    }
}

#[test]
fn every_request_belongs_to_one_endpoint() {
    let others = [
        Request::Scan { fresh: true, country: None },
        k2(),
        credentials(),
        Request::Status,
        Request::Cancel { request_id: REQUEST_ID },
    ];
    let care = care_requests().map(|(_, request)| Request::Care(request));
    for request in others.iter().chain(&care) {
        for endpoint in [Endpoint::Info, Endpoint::Session, Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status]
        {
            let read = Request::decode(endpoint, &request.encode());
            if endpoint == request.endpoint() {
                assert_eq!(read.as_ref(), Ok(request));
            } else {
                assert_eq!(read, Err(Fault::Malformed));
            }
        }
    }
}

#[test]
fn unknown_fields_of_a_newer_phone_are_ignored() {
    // Field 15, a varint of 1.
    let newer = [&Request::Status.encode()[..], &[0x78, 1]].concat();
    assert_eq!(Request::decode(Endpoint::Status, &newer), Ok(Request::Status));
}

/// Credentials as another client encodes them, with one text replaced by a text of the same length.
fn credentials_with(text: &str, replacement: &str) -> Vec<u8> {
    assert_eq!(text.len(), replacement.len());
    let request = Credentials { config_service: CommandCenterUrl::try_from("http://config.example:7700").ok(), ..plain() };
    let request = Request::Credentials(Box::new(request)).encode();
    let start = request.windows(text.len()).position(|bytes| bytes == text.as_bytes()).expect("a text of the request");
    [&request[..start], replacement.as_bytes(), &request[start + text.len()..]].concat()
}

#[test]
fn both_urls_of_sealed_credentials_obey_one_rule() {
    for (text, replacement) in [
        ("https://center.example:7703", "https:center.example:7703//"),
        ("https://center.example:7703", "https://center\r\n.exam:7703/"),
        ("http://config.example:7700", "file:///etc/passwd/////////"),
        ("http://config.example:7700", "javascript:alert(1)+1+1+1+"),
        ("http://config.example:7700", "not a url not a url not a "),
    ] {
        let request = credentials_with(text, &replacement[..text.len()]);
        let fault = if text.starts_with("https") { Fault::InvalidUrl } else { Fault::InvalidConfigServiceUrl };
        assert_eq!(Request::decode(Endpoint::Credentials, &request), Err(fault), "{replacement:?}");
    }
}

#[test]
fn a_text_that_breaks_its_fields_grammar_is_refused_by_its_name() {
    for (text, replacement, fault) in [
        ("kitchen", "kit\nhen", Fault::InvalidRoom),
        ("h-1", "h\r1", Fault::InvalidHouseholdId),
        ("0e8c1f5a-94d1", "aa:bb:cc:dd:e", Fault::InvalidNodeId),
        ("0e8c1f5a-94d1", "0e8c1f5a\0 \x1b11", Fault::InvalidNodeId),
        ("token-of", "token\0of", Fault::InvalidToken),
    ] {
        let request = credentials_with(text, replacement);
        assert_eq!(Request::decode(Endpoint::Credentials, &request), Err(fault), "{replacement:?}");
    }
    for kid in ["", "k2\r\n", "\u{1b}[2J"] {
        let Request::K2(k2) = k2() else { panic!("a settings key") };
        let request = Request::K2(K2 { kid: kid.into(), ..k2 }).encode();
        assert_eq!(Request::decode(Endpoint::K2, &request), Err(Fault::InvalidKid), "{kid:?}");
    }
}

#[test]
fn a_passphrase_without_a_network_is_refused() {
    let request = Request::Credentials(Box::new(Credentials { ssid: None, ..plain() })).encode();
    assert_eq!(Request::decode(Endpoint::Credentials, &request), Err(Fault::InvalidSsid));
}

#[test]
fn a_login_is_refused_beside_a_passphrase_and_without_a_network() {
    let [(_, Request::Credentials(login)), ..] = with_logins() else { panic!("credentials") };
    let refused =
        |credentials: Credentials| Request::decode(Endpoint::Credentials, &Request::Credentials(Box::new(credentials)).encode());
    assert_eq!(refused(Credentials { enterprise: login.enterprise.clone(), ..plain() }), Err(Fault::InvalidEnterprise));
    assert_eq!(refused(Credentials { ssid: None, ..*login }), Err(Fault::InvalidSsid));
}

#[test]
fn a_code_that_cannot_be_one_is_refused_by_its_name() {
    // A second field 11: of two the later one counts.
    let mut request = credentials().encode().to_vec();
    let field = [&[0x5a, 7][..], b"ABCD123"].concat();
    request.extend(&field);
    // The length of the message that the first field holds.
    let length = u16::from(request[1] & 0x7f) | u16::from(request[2]) << 7;
    let length = length + u16::try_from(field.len()).unwrap();
    request[1] = u8::try_from(length & 0x7f).unwrap() | 0x80;
    request[2] = u8::try_from(length >> 7).unwrap();
    assert_eq!(Request::decode(Endpoint::Credentials, &request), Err(Fault::InvalidProvisionCode));
}
