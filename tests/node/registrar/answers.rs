//! Answers of a command center, and failures of the connection.

use std::process::Command;
use std::time::Duration;

use jarvis_provisioning::command_center::Limits;
use provisioning_core::domain::Registration;
use provisioning_core::fault::Fault;
use provisioning_core::machine::Refused;
use provisioning_core::secret::SecretText;
use testing::server::{Act, Server, answer};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpSocket};

use crate::registrar::server::registered;
use crate::registrar::{
    AMPLE, NODE_KEY, SHORT, TOKEN, client, failed, fault, register, register_once, registrar, url, with_status, without_status,
};

/// Maximum size of an answer, bytes.
const LIMIT: usize = 64 * 1024;

async fn fault_of(server: &Server) -> Refused {
    fault(&client(), &server.url()).await.0
}

#[tokio::test]
async fn created_and_ok_both_register() {
    for status in ["201 Created", "200 OK"] {
        let server = Server::answering(answer(status, &registered())).await;
        let (outcome, _) = register(&client(), &server.url()).await;
        let node_key = SecretText::new(NODE_KEY.into());
        assert_eq!(outcome, Ok(Registration { node_id: "node-1".into(), node_key, household_id: None }), "{status}");
    }
}

#[tokio::test]
async fn the_request_is_json_without_authentication() {
    let server = Server::answering(answer("201 Created", &registered())).await;
    assert!(register(&client(), &format!("{}/center/", server.url())).await.0.is_ok());
    let requests = server.requests();
    let [request] = requests.as_slice() else { panic!("one request: {requests:?}") };
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /center/api/v0/nodes/register HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    for header in ["authorization", "x-api-key", "cookie", "referer"] {
        assert!(!head.to_ascii_lowercase().contains(header), "{head}");
    }
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(body, serde_json::json!({ "node_id": "node-1", "provisioning_token": TOKEN, "room": "kitchen" }));
}

#[tokio::test]
async fn each_status_has_its_fault() {
    for (status, fault) in [
        ("401 Unauthorized", Fault::TokenRejected),
        ("400 Bad Request", Fault::CommandCenterRefused),
        ("403 Forbidden", Fault::CommandCenterRefused),
        ("404 Not Found", Fault::CommandCenterRefused),
        ("409 Conflict", Fault::CommandCenterRefused),
        ("422 Unprocessable Entity", Fault::CommandCenterRefused),
        ("304 Not Modified", Fault::CommandCenterRefused),
        ("429 Too Many Requests", Fault::CommandCenterFailed),
        ("500 Internal Server Error", Fault::CommandCenterFailed),
        ("502 Bad Gateway", Fault::CommandCenterFailed),
        ("503 Service Unavailable", Fault::CommandCenterFailed),
        ("204 No Content", Fault::CommandCenterAnswer),
        ("202 Accepted", Fault::CommandCenterAnswer),
    ] {
        // The command center may repeat the request in its answer.
        let server = Server::answering(answer(status, &format!(r#"{{"detail":"{TOKEN} {NODE_KEY}"}}"#))).await;
        let number = status[..3].parse().unwrap();
        assert_eq!(fault_of(&server).await, with_status(fault, number), "{status}");
        assert_eq!(server.requests().len(), 1, "one try is one request: {status}");
    }
}

#[tokio::test]
async fn a_failing_command_center_sets_the_time_of_the_retry() {
    for status in ["429 Too Many Requests", "503 Service Unavailable"] {
        let server = Server::answering(format!("HTTP/1.1 {status}\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n")).await;
        assert_eq!(fault_of(&server).await.retry_after, Some(Duration::from_secs(17)));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::answering(answer("201 Created", &registered())).await;
    for status in [301, 302, 303, 307, 308] {
        let redirect = format!("HTTP/1.1 {status} Moved\r\nlocation: {}/\r\ncontent-length: 0\r\n\r\n", other.url());
        let server = Server::answering(redirect).await;
        assert_eq!(fault_of(&server).await, with_status(Fault::CommandCenterRefused, status));
    }
    assert!(other.requests().is_empty());
}

#[tokio::test]
async fn an_answer_without_credentials_is_refused() {
    for body in ["", "hello", "<html>Welcome to the hotel</html>", "[]", "{}", r#"{"node_id":"","node_key":""}"#] {
        let server = Server::answering(answer("201 Created", body)).await;
        assert_eq!(fault_of(&server).await, with_status(Fault::CommandCenterAnswer, 201), "{body}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_http_are_refused() {
    for banner in [&b"SSH-2.0-OpenSSH_9.2\r\n"[..], b"\x15\x03\x01\x00\x02\x02\x46", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n"]
    {
        let server = Server::answering(banner).await;
        assert_eq!(fault_of(&server).await, without_status(Fault::CommandCenterAnswer), "{banner:?}");
    }
}

#[tokio::test]
async fn the_limit_of_an_answer_is_inclusive() {
    let body = registered();
    let padded = |length: usize| format!("{body}{}", " ".repeat(length - body.len()));
    let server = Server::answering(answer("201 Created", &padded(LIMIT))).await;
    assert!(register(&client(), &server.url()).await.0.is_ok());
    let server = Server::answering(answer("201 Created", &padded(LIMIT + 1))).await;
    assert_eq!(fault_of(&server).await, with_status(Fault::CommandCenterAnswer, 201));
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_the_limit() {
    let heads: [(&str, &[u8]); 3] = [
        ("content-length: 99999999999\r\n\r\n", b"                "),
        ("connection: close\r\n\r\n", b"                "),
        ("transfer-encoding: chunked\r\n\r\n", b"10\r\n                \r\n"),
    ];
    for (head, flood) in heads {
        let server = Server::acting([Act::Flood(format!("HTTP/1.1 201 Created\r\n{head}").into(), flood)]).await;
        assert_eq!(fault_of(&server).await, with_status(Fault::CommandCenterAnswer, 201), "{head}");
    }
}

#[tokio::test]
async fn endless_headers_are_cut() {
    for flood in [&b"x: 0123456789abcdef\r\n"[..], b"xxxxxxxxxxxxxxxx"] {
        let server = Server::acting([Act::Flood("HTTP/1.1 201 Created\r\n".into(), flood)]).await;
        assert_eq!(fault_of(&server).await, without_status(Fault::CommandCenterAnswer));
    }
}

/// The command center may have registered the node, so the fault must be retryable.
#[tokio::test]
async fn a_connection_lost_within_the_answer_is_retryable() {
    let body = registered();
    for part in [
        String::new(),
        "HTTP/1.1 201 Cre".into(),
        "HTTP/1.1 201 Created\r\ncontent-le".into(),
        answer("201 Created", &body).strip_suffix('}').unwrap().into(),
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n10\r\n{\"node_id\"".into(),
    ] {
        let server = Server::answering(part.clone()).await;
        assert_eq!(fault_of(&server).await, without_status(Fault::CommandCenterUnreachable), "{part}");
        assert_eq!(server.requests().len(), 1, "one try is one request: {part}");
    }
}

#[tokio::test]
async fn a_stalled_answer_ends_at_the_limit() {
    for part in ["", "HTTP/1.1 201 Created\r\n", "HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{"] {
        let server = Server::acting([Act::SendAndHold(part.into())]).await;
        let registrar = registrar().with_limits(Limits { register: SHORT, ..AMPLE });
        let (refused, line) = failed(register_once(&registrar, &server.url()).await);
        assert_eq!(refused, without_status(Fault::CommandCenterUnreachable), "{part}");
        assert!(line.contains("no answer within 0.1 s"), "{line}");
    }
}

#[tokio::test]
async fn establishing_a_connection_has_its_own_limit() {
    // The server accepts the connection and sends nothing, so the TLS handshake does not complete.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client().with_connect_limit(SHORT);
    let (refused, line) = fault(&client, &format!("https://{}", listener.local_addr().unwrap())).await;
    assert_eq!(refused, without_status(Fault::CommandCenterUnreachable));
    assert!(!line.contains("no answer within"), "{line}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (refused, line) = fault(&client(), &format!("http://{}", socket.local_addr().unwrap())).await;
    assert_eq!(refused, without_status(Fault::CommandCenterUnreachable));
    assert!(line.contains("Connection refused"), "the cause is logged: {line}");
}

#[tokio::test]
async fn an_abandoned_try_closes_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let command_center = url(&format!("http://{}", listener.local_addr().unwrap()));
    let task =
        tokio::spawn(
            async move { registrar().register(&command_center, "node-1", &SecretText::new(TOKEN.into()), "kitchen").await },
        );
    let (mut stream, _) = listener.accept().await.unwrap();
    assert_ne!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    task.abort();
    // Data in transit may arrive first; then the connection ends, closed or reset.
    while let Ok(1..) = stream.read(&mut [0; 1024]).await {}
}

/// Runs another test of this module with a proxy in the environment that does not exist.
#[test]
fn proxies_of_the_environment_are_not_used() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "registrar::answers::created_and_ok_both_register"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        child.env(name, "http://127.0.0.1:1");
    }
    let output = child.env_remove("no_proxy").env_remove("NO_PROXY").output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
}
