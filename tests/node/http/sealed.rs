//! The sealed representation: a phone's session over HTTP.

use jarvis_provisioning::daemon::{Event, Handle};
use jarvis_provisioning::link::http::{Config, Limits, Secrets};
use provisioning_core::domain::{
    CommandCenterUrl, CreatedAt, Credentials, EapMethod, Enterprise, K2, Login, Passphrase, Ssid, State,
};
use provisioning_core::endpoint::{Endpoint, PROTOBUF, SESSION_HEADER};
use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, DiskCommand};
use provisioning_core::secret::{SecretBlob, SecretBytes, SecretText};
use provisioning_core::session::{Opening, PhoneSecret, Session};
use provisioning_core::wire::{Info, Message, Outbound, PublicStatus, Refusal, Reply as Answer, Request};

use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::time::timeout;

use crate::http::support::{CODE, NODE_ID, Node, PATIENCE, Reply, config, request, success};
use testing::journal::{K2_KEY, PASSWORD, TOKEN};

const SEALED: (&str, &str) = ("content-type", PROTOBUF);

/// A phone with a session.
pub(crate) struct Phone<'a> {
    node: &'a Node,
    pub(crate) name: String,
    session: Session,
    /// Messages of the node that the test has not consumed.
    said: Vec<Message>,
}

impl<'a> Phone<'a> {
    pub(crate) async fn connect(node: &'a Node) -> Self {
        let (opening, reply) = open(node, CODE, &[]).await;
        let name = reply.header(SESSION_HEADER).expect("a name for the session").to_owned();
        assert!(name.len() == 32 && name.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let accept = match outbound(&reply).as_slice() {
            [Outbound::Accept(accept)] => accept.clone(),
            other => panic!("one answer to the handshake, not {other:?}"),
        };
        Self { node, name, session: opening.read(&accept).expect("the same code"), said: Vec::new() }
    }

    /// Whether the node has this code.
    pub(crate) async fn opens_with(node: &Node, code: &str) -> bool {
        let (opening, reply) = open(node, code, &[]).await;
        // One phone at a time has a handshake.
        let link = reply.header(SESSION_HEADER).expect("a name for the session");
        request(node.api, "DELETE", "/api/v1/session", &[(SESSION_HEADER, link)], b"").await;
        match outbound(&reply).as_slice() {
            [Outbound::Accept(accept)] => opening.read(accept).is_ok(),
            other => panic!("one answer to the handshake, not {other:?}"),
        }
    }

    pub(crate) async fn ask(&mut self, request: &Request) -> Reply {
        let endpoint = request.endpoint();
        let record = self.session.seal(endpoint, &request.encode()).encode();
        let reply = self.post(endpoint.row().path, &record).await;
        self.read(&reply);
        reply
    }

    async fn post(&self, path: &str, body: &[u8]) -> Reply {
        request(self.node.api, "POST", path, &[SEALED, (SESSION_HEADER, &self.name)], body).await
    }

    async fn events(&mut self) {
        let reply = request(self.node.api, "GET", "/api/v1/events", &[(SESSION_HEADER, &self.name)], b"").await;
        self.read(&reply);
    }

    fn read(&mut self, reply: &Reply) {
        assert_eq!((reply.status, reply.header("content-type")), (200, Some(PROTOBUF)));
        for outbound in outbound(reply) {
            let Outbound::Record(record) = outbound else { panic!("a sealed answer, not {outbound:?}") };
            let plaintext = self.session.open(Endpoint::Status, &record).expect("sealed by the node, in order");
            self.said.push(Message::decode(&plaintext).expect("a message"));
        }
    }

    /// Polls for messages until one matches.
    async fn hear<T>(&mut self, mut fits: impl FnMut(&Message) -> Option<T>) -> T {
        for _ in 0..100 {
            if let Some(found) = self.said.iter().find_map(&mut fits) {
                return found;
            }
            self.events().await;
        }
        panic!("no such message: {:?}", self.said)
    }
}

pub(crate) async fn open(node: &Node, code: &str, more: &[(&str, &str)]) -> (Opening, Reply) {
    let secret = PhoneSecret::Code(SecretText::new(code.into()));
    let (opening, open) = Opening::new(NODE_ID, &secret, &mut UnwrapErr(SysRng));
    let headers = [&[SEALED], more].concat();
    let reply = request(node.api, "POST", "/api/v1/session", &headers, &open.encode()).await;
    (opening, reply)
}

fn outbound(reply: &Reply) -> Vec<Outbound> {
    Outbound::decode_list(&reply.body).expect("a list of messages")
}

pub(crate) fn credentials() -> Credentials {
    Credentials {
        request_id: 77,
        ssid: Some(Ssid::try_from("HomeNetwork").expect("a valid name")),
        passphrase: Passphrase::try_from(PASSWORD.to_owned()).expect("a valid passphrase"),
        hidden: false,
        room: "kitchen".into(),
        command_center: Some(CommandCenterUrl::try_from("http://192.168.1.50:7703").expect("a plain URL")),
        config_service: None,
        household_id: "h1".into(),
        node_id: "0e8c1f5a".into(),
        token: SecretText::new(TOKEN.into()),
        provision_code: None,
        time: None,
        country: None,
        seen_frequency: 0,
        enterprise: None,
    }
}

fn refusal(fault: Fault) -> Vec<Outbound> {
    vec![Outbound::Refusal(Refusal { fault, retry_after: 0 })]
}

#[tokio::test]
async fn info_and_status_are_read_in_either_representation() {
    let node = Node::start();
    let accept = [("accept", "application/json;q=0.5, application/x-protobuf")];
    let info = request(node.api, "GET", "/api/v1/info", &accept, b"").await;
    assert_eq!(info.header("content-type"), Some(PROTOBUF));
    let info = Info::decode(&info.body).expect("an info");
    assert_eq!((info.node_id.as_str(), info.state, info.versions), (NODE_ID, State::ApMode, vec![1]));
    let status = request(node.api, "GET", "/api/v1/status", &accept, b"").await;
    let expected = PublicStatus { state: State::ApMode, progress: 0, fault: None };
    assert_eq!(PublicStatus::decode(&status.body), Ok(expected));
    let plain = request(node.api, "GET", "/api/v1/status", &[("accept", "application/json, */*")], b"").await;
    assert_eq!(plain.header("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_login_with_the_largest_certificate_is_accepted() {
    let node = Node::with(Config { secrets: Secrets::Nowhere, ..config() }, Box::new(|command| Some(success(command))));
    let mut phone = Phone::connect(&node).await;
    let secret = |text: &str| SecretText::new(text.into());
    // The outlines of a PKCS#12 and of a certificate.
    let pkcs12 = [&[0x30, 0x82, 0x1f, 0xfc, 2, 1, 3, 0x30][..], &[7; 8192 - 8]].concat();
    let pem = "-----BEGIN CERTIFICATE-----\nMAcwADAAAwEA\n-----END CERTIFICATE-----\n";
    let login = Login {
        method: EapMethod::Tls,
        identity: "anna".into(),
        anonymous_identity: String::new(),
        password: secret(""),
        certificate: SecretBlob::new(pkcs12),
        certificate_password: secret("it opens the key"),
        authority: format!("{pem:>4096}").into_bytes(),
        domain: "office.example".into(),
        accept_unverified_server: false,
    };
    let enterprise = Some(Box::new(Enterprise::try_from(login).expect("a valid login")));
    let passphrase = Passphrase::try_from(String::new()).expect("none");
    phone.ask(&Request::Credentials(Box::new(Credentials { enterprise, passphrase, ..credentials() }))).await;
    phone
        .hear(|message| matches!(message, Message::Reply { reply: Answer::Accepted { request_id: 77 }, .. }).then_some(()))
        .await;
}

#[tokio::test]
async fn a_phone_provisions_a_node_over_one_session() {
    let node = Node::with(Config { secrets: Secrets::Nowhere, ..config() }, Box::new(|command| Some(success(command))));
    let mut phone = Phone::connect(&node).await;

    phone.ask(&Request::Scan { fresh: false, country: None }).await;
    let networks = phone
        .hear(|message| match message {
            Message::Reply { to: 0, reply: Answer::Networks { networks, last: true } } => Some(networks.len()),
            _ => None,
        })
        .await;
    assert_eq!(networks, 3);

    let k2 = K2 {
        key: SecretBytes::new(K2_KEY),
        kid: "k2-202602-abc123".into(),
        created_at: CreatedAt::try_from("2026-02-01").expect("a date"),
    };
    phone.ask(&Request::K2(k2)).await;
    let stored = Message::Reply { to: 1, reply: Answer::K2Stored { kid: "k2-202602-abc123".into() } };
    phone.hear(|message| (*message == stored).then_some(())).await;

    phone.ask(&Request::Credentials(Box::new(credentials()))).await;
    phone
        .hear(|message| match message {
            Message::Changed(status) if status.state == State::Provisioned && status.request_id == 77 => Some(()),
            _ => None,
        })
        .await;

    phone.ask(&Request::Status).await;
    let status = phone
        .hear(|message| match message {
            Message::Reply { to: 3, reply: Answer::Status(status) } => Some(status.clone()),
            _ => None,
        })
        .await;
    assert_eq!((status.state, status.progress), (State::Provisioned, 100));
}

#[tokio::test]
async fn most_answers_come_with_their_request() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Status).await;
    assert!(matches!(phone.said.as_slice(), [Message::Reply { to: 0, reply: Answer::Status(_) }]), "{:?}", phone.said);
}

#[tokio::test]
async fn an_attempt_is_accepted_in_the_answer_to_its_request() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Credentials(Box::new(credentials()))).await;
    let accepted = Message::Reply { to: 0, reply: Answer::Accepted { request_id: 77 } };
    assert_eq!(phone.said.first(), Some(&accepted));
}

#[tokio::test]
async fn a_wrong_code_is_reported_as_such() {
    let node = Node::start();
    let (_, reply) = open(&node, "000000", &[]).await;
    let name = reply.header(SESSION_HEADER).expect("a name");
    let record = provisioning_core::wire::Record { counter: 0, sealed: vec![0; 20], confirmation: vec![0; 64] };
    let headers = [SEALED, (SESSION_HEADER, name)];
    let reply = request(node.api, "POST", "/api/v1/status", &headers, &record.encode()).await;
    assert_eq!(outbound(&reply), refusal(Fault::WrongCode));
}

#[tokio::test]
async fn a_second_phone_is_refused_as_busy() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Status).await;
    let (_, reply) = open(&node, CODE, &[]).await;
    assert_eq!((reply.status, outbound(&reply)), (200, refusal(Fault::Busy)));
    let guesses = node.commands().into_iter().filter_map(|command| match command {
        Command::Disk(DiskCommand::SaveGuesses { made, .. }) => Some(made),
        _ => None,
    });
    assert_eq!(guesses.collect::<Vec<_>>(), [1, 0]);
}

#[tokio::test]
async fn a_new_handshake_under_the_same_name_keeps_the_link() {
    let node = Node::start();
    let phone = Phone::connect(&node).await;
    let (opening, reply) = open(&node, CODE, &[(SESSION_HEADER, &phone.name)]).await;
    assert_eq!(reply.header(SESSION_HEADER), Some(phone.name.as_str()));
    let answers = outbound(&reply);
    let [Outbound::Accept(accept)] = answers.as_slice() else { panic!("an answer, not {answers:?}") };
    assert!(opening.read(accept).is_ok());
}

#[tokio::test]
async fn without_a_session_no_message_reaches_the_loop() {
    let node = Node::start();
    let unknown = "0123456789abcdef0123456789abcdef";
    for (method, path) in [
        ("POST", "/api/v1/scan-networks"),
        ("POST", "/api/v1/provision/k2"),
        ("POST", "/api/v1/provision"),
        ("POST", "/api/v1/status"),
        ("GET", "/api/v1/events"),
        ("DELETE", "/api/v1/session"),
    ] {
        for headers in [&[SEALED][..], &[SEALED, (SESSION_HEADER, unknown)], &[SEALED, (SESSION_HEADER, "x")]] {
            let reply = request(node.api, method, path, headers, b"").await;
            assert_eq!((reply.status, reply.header("content-type")), (401, Some(PROTOBUF)), "{method} {path}");
            assert_eq!(outbound(&reply), refusal(Fault::NotAuthenticated));
        }
    }
}

#[tokio::test]
async fn an_unsealed_message_changes_nothing() {
    let node = Node::start();
    let (_, reply) = open(&node, CODE, &[]).await;
    let name = reply.header(SESSION_HEADER).expect("a name");
    let plain = Request::Credentials(Box::new(credentials())).encode();
    for endpoint in [Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status] {
        let reply =
            request(node.api, "POST", endpoint.row().path, &[SEALED, (SESSION_HEADER, name)], &plain[..100.min(plain.len())])
                .await;
        let answers = outbound(&reply);
        assert!(matches!(answers.as_slice(), [Outbound::Refusal(_)]), "{endpoint:?} {answers:?}");
    }
    assert!(
        node.commands()
            .iter()
            .all(|command| !matches!(command, Command::Disk(DiskCommand::SaveK2 { .. } | DiskCommand::SavePending { .. })))
    );
}

#[tokio::test]
async fn another_content_type_is_not_a_sealed_message() {
    let node = Node::start();
    let phone = Phone::connect(&node).await;
    for (path, status) in [
        ("/api/v1/scan-networks", 415),
        ("/api/v1/status", 415),
        ("/api/v1/provision", 422),
        ("/api/v1/provision/k2", 422),
        ("/api/v1/session", 415),
    ] {
        let headers = [("content-type", "application/octet-stream"), (SESSION_HEADER, phone.name.as_str())];
        assert_eq!(request(node.api, "POST", path, &headers, b"x").await.status, status, "{path}");
    }
    assert_eq!(request(node.api, "POST", "/api/v1/info", &[SEALED], b"x").await.status, 405);
}

#[tokio::test]
async fn a_closed_session_is_over() {
    let node = Node::start();
    let mut phone = Phone::connect(&node).await;
    phone.ask(&Request::Status).await;
    let headers = [(SESSION_HEADER, phone.name.as_str())];
    assert_eq!(request(node.api, "DELETE", "/api/v1/session", &headers, b"").await.status, 204);
    assert_eq!(request(node.api, "GET", "/api/v1/events", &headers, b"").await.status, 401);
    Phone::connect(&node).await;
}

#[tokio::test]
async fn a_message_over_its_endpoints_limit_is_refused_as_too_large() {
    let node = Node::start();
    let phone = Phone::connect(&node).await;
    for endpoint in [Endpoint::Scan, Endpoint::K2, Endpoint::Credentials, Endpoint::Status] {
        let row = endpoint.row();
        let reply = phone.post(row.path, &vec![0; row.limit + 1]).await;
        assert_eq!((reply.status, outbound(&reply)), (200, refusal(Fault::TooLarge)), "{endpoint:?}");
    }
    assert_eq!(phone.post(Endpoint::Status.row().path, &vec![0; 65 * 1024]).await.status, 413);
}

#[tokio::test]
async fn a_link_that_the_node_closes_delivers_its_messages_and_is_then_unknown() {
    let idle = Node::start();
    let view = idle.handle.view();
    let (handle, mut ends) = Handle::channel(8, (*view).clone());
    let node = Node::serving(config(), handle);
    let last = Outbound::Refusal(Refusal { fault: Fault::Locked, retry_after: 60 });
    let bytes = last.encode();
    let closing = tokio::spawn(async move {
        let Some(Event::Opened { outbound, .. }) = ends.events.recv().await else { panic!("a link") };
        outbound.send(bytes).await.expect("the server holds the other end");
    });
    let (_, reply) = open(&node, CODE, &[]).await;
    closing.await.expect("the link was opened and closed");
    assert_eq!(outbound(&reply), [last]);
    let headers = [(SESSION_HEADER, reply.header(SESSION_HEADER).expect("a name"))];
    assert_eq!(request(node.api, "GET", "/api/v1/events", &headers, b"").await.status, 401);
}

#[tokio::test]
async fn a_poll_for_events_reports_that_the_phone_is_present() {
    let (handle, mut ends) = Handle::channel(8, (*Node::start().handle.view()).clone());
    let node = Node::serving(config(), handle);
    let polled = tokio::spawn(async move {
        let Some(Event::Opened { link, outbound }) = ends.events.recv().await else { panic!("a link") };
        outbound.send(Outbound::Refusal(Refusal { fault: Fault::Busy, retry_after: 0 }).encode()).await.expect("a reader");
        assert!(matches!(ends.events.recv().await, Some(Event::Received { .. })));
        assert!(matches!(ends.events.recv().await, Some(Event::Present { link: present }) if present == link));
        outbound
    });
    let (_, reply) = open(&node, CODE, &[]).await;
    let headers = [(SESSION_HEADER, reply.header(SESSION_HEADER).expect("a name"))];
    assert_eq!(request(node.api, "GET", "/api/v1/events", &headers, b"").await.status, 200);
    polled.await.expect("the poll was reported");
}

#[tokio::test]
async fn a_session_cannot_be_opened_while_the_loop_hangs_and_the_link_is_not_lost() {
    let idle = Node::start();
    let view = idle.handle.view();
    let (handle, ends) = Handle::channel(1, (*view).clone());
    let limits = Limits { answer: Duration::from_millis(100), ..Limits::default() };
    let node = Node::serving(Config { limits, ..config() }, handle);
    let (_, reply) = open(&node, CODE, &[]).await;
    assert_eq!((reply.status, reply.header("content-type")), (503, Some(PROTOBUF)));
    drop(ends);
}

#[tokio::test]
async fn a_link_without_requests_is_closed_towards_the_loop() {
    let idle = Node::start();
    let view = idle.handle.view();
    let (handle, mut ends) = Handle::channel(8, (*view).clone());
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let node = Node::serving(Config { limits, ..config() }, handle);
    let opened = tokio::spawn(async move {
        let Some(Event::Opened { link, outbound }) = ends.events.recv().await else { panic!("a link") };
        outbound.send(Outbound::Refusal(Refusal { fault: Fault::Busy, retry_after: 0 }).encode()).await.expect("a reader");
        loop {
            let event = timeout(PATIENCE, ends.events.recv()).await.expect("an event in time");
            if let Event::Closed { link: closed } = event.expect("the server is there") {
                return assert_eq!(closed, link);
            }
        }
    });
    open(&node, CODE, &[]).await;
    opened.await.expect("the link is closed");
}
