//! Every operation of the API, from every side, with and without a session, for the node's name and for a foreign one.

use jarvis_provisioning::link::http::{Config, Operation, Secrets, operations};
use provisioning_core::endpoint::Method::{self, Delete, Get, Post};
use provisioning_core::endpoint::{PROTOBUF, SESSION_HEADER};
use provisioning_core::machine::{Command, DiskCommand};
use provisioning_core::session::{Opening, PhoneSecret};
use provisioning_core::wire::Request;

use getrandom::SysRng;
use rand_core::UnwrapErr;

use super::wrong_side::{Side, place};
use crate::care::api::{Caring, works};
use crate::http::json::{k2, provision};
use crate::http::sealed::Phone;
use crate::http::support::{NODE_ID, Node, Reply, config, connect_from, request_over};

/// Who may do something.
#[derive(Clone, Copy, Debug)]
enum Rule {
    /// Anybody, from every side.
    Public,
    /// Anybody, from every side and for every host name; answered with this status.
    Probe(u16),
    /// Anybody in the access point, while no phone has a session. It changes the node.
    InAccessPoint,
    /// Anybody, from every side; the node decides by the secret in the message.
    Handshake,
    /// Every caller that names an open link gets this status. The node decides by the seal of the message.
    OnLink(u16),
    /// Nobody: the path takes another kind of body.
    OtherKind,
    /// Anybody in the access point, who gets this status. It changes nothing without the text of the form and the code.
    Inside(u16),
    /// Callers with the token of network care; no cell of the table has it.
    Token,
}

use Rule::{Handshake, InAccessPoint, Inside, OnLink, OtherKind, Probe, Public, Token};

/// The rule of each operation: path, method, and whether the message is sealed.
const RULES: [(&str, Method, bool, Rule); 47] = [
    ("/api/v1/info", Get, false, Public),
    ("/api/v1/session", Post, false, OtherKind),
    ("/api/v1/session", Post, true, Handshake),
    ("/api/v1/session", Delete, false, OnLink(204)),
    ("/api/v1/scan-networks", Get, false, Public),
    ("/api/v1/scan-networks", Post, true, OnLink(200)),
    ("/api/v1/provision/k2", Post, false, InAccessPoint),
    ("/api/v1/provision/k2", Post, true, OnLink(200)),
    ("/api/v1/provision", Post, false, InAccessPoint),
    ("/api/v1/provision", Post, true, OnLink(200)),
    ("/api/v1/status", Get, false, Public),
    ("/api/v1/status", Post, true, OnLink(200)),
    ("/api/v1/factory-reset", Post, false, InAccessPoint),
    ("/api/v1/events", Get, false, OnLink(200)),
    ("/openapi.json", Get, false, Public),
    ("/docs", Get, false, Public),
    ("/", Get, false, Public),
    ("/page.js", Get, false, Public),
    ("/page.css", Get, false, Public),
    ("/care", Get, false, Public),
    ("/care.js", Get, false, Public),
    ("/care.css", Get, false, Public),
    ("/form", Get, false, Inside(200)),
    ("/form", Post, false, Inside(415)),
    ("/form/outcome", Get, false, Inside(200)),
    ("/generate_204", Get, false, Probe(204)),
    ("/hotspot-detect.html", Get, false, Probe(200)),
    ("/library/test/success.html", Get, false, Probe(200)),
    ("/success.txt", Get, false, Probe(200)),
    ("/api/provisioning/status", Get, false, Token),
    ("/api/provisioning/events", Get, false, Token),
    ("/api/provisioning/networks", Get, false, Token),
    ("/api/provisioning/networks/saved", Get, false, Token),
    ("/api/provisioning/network/connect", Post, false, Token),
    ("/api/provisioning/network/forget", Post, false, Token),
    ("/api/provisioning/network/diagnostics", Get, false, Token),
    ("/api/provisioning/network/test", Post, false, Token),
    ("/api/provisioning/hotspot/enable", Post, false, Token),
    ("/api/provisioning/hotspot/disable", Post, false, Token),
    ("/api/provisioning/restart", Post, false, Token),
    ("/api/provisioning/rollback", Post, false, Token),
    ("/api/provisioning/auth-code", Get, false, Token),
    ("/api/provisioning/auth-code/regenerate", Post, false, Token),
    ("/api/provisioning/recovery/trigger", Post, false, Token),
    ("/api/provisioning/factory-reset", Post, false, Token),
    ("/api/provisioning/label", Get, false, Token),
    ("/api/provisioning/authorize", Post, false, Token),
];

/// One cell of the table.
#[derive(Clone, Copy, Debug)]
struct Cell {
    operation: Operation,
    side: Side,
    paired: bool,
    host: &'static str,
}

impl Cell {
    /// The expected status, and whether the node is changed.
    fn expected(&self, rule: Rule) -> (u16, bool) {
        let is_own = self.host == NODE_ID;
        match rule {
            Probe(status) => (status, false),
            _ if !is_own => (403, false),
            Public | Handshake => (200, false),
            InAccessPoint if self.side == Side::AccessPoint => (200, !self.paired),
            Inside(status) if self.side == Side::AccessPoint => (status, false),
            InAccessPoint | Inside(_) => (403, false),
            OnLink(status) => (if self.paired { status } else { 401 }, false),
            OtherKind => (415, false),
            Token => (401, false),
        }
    }

    async fn ask(&self, node: &Node, link: Option<&str>) -> Reply {
        let Operation { path, method, sealed } = self.operation;
        let kind = if sealed { PROTOBUF } else { "application/json" };
        let mut headers = vec![("host", self.host), ("content-type", kind)];
        headers.extend(link.map(|link| (SESSION_HEADER, link)));
        let body = match (path, sealed) {
            (_, true) => opening(),
            ("/api/v1/provision", _) => provision().to_string().into_bytes(),
            ("/api/v1/provision/k2", _) => k2().to_string().into_bytes(),
            _ => Vec::new(),
        };
        let stream = connect_from(self.side.from(), self.side.to(node)).await;
        request_over(stream, method.as_str(), path, &headers, if method == Post { &body } else { b"" }).await
    }
}

/// The first message of a handshake, with a wrong secret.
fn opening() -> Vec<u8> {
    let secret = PhoneSecret::Qr(provisioning_core::secret::SecretBytes::new([9; 16]));
    Opening::new(NODE_ID, &secret, &mut UnwrapErr(SysRng)).1.encode()
}

/// A node with network care and a token.
fn node() -> Node {
    let config = Config { secrets: Secrets::InAccessPoint, ..config() };
    Caring::at(place(), &config, Some("token-of-network-care"), works).node
}

fn has_changed(node: &Node) -> bool {
    let changes = |command: &Command| {
        matches!(
            command,
            Command::Disk(
                DiskCommand::SaveK2 { .. }
                    | DiskCommand::SavePending { .. }
                    | DiskCommand::RenewPairing { .. }
                    | DiskCommand::BeginReset { .. }
            )
        )
    };
    node.commands().iter().any(changes)
}

#[test]
fn every_operation_has_one_rule() {
    let ruled: Vec<_> = RULES.iter().map(|(path, method, sealed, _)| (*path, *method, *sealed)).collect();
    let answered: Vec<_> = operations().map(|Operation { path, method, sealed }| (path, method, sealed)).collect();
    assert_eq!(ruled, answered, "add a rule for the operation, and think about who may use it");
}

#[tokio::test]
async fn every_operation_follows_its_rule_from_every_side() {
    for (path, method, sealed, rule) in RULES {
        let operation = Operation { path, method, sealed };
        for side in Side::ALL {
            for paired in [false, true] {
                for host in [NODE_ID, "evil.example"] {
                    let cell = Cell { operation, side, paired, host };
                    let node = node();
                    let reply = if paired {
                        let mut phone = Phone::connect(&node).await;
                        phone.ask(&Request::Status).await;
                        cell.ask(&node, Some(&phone.name)).await
                    } else {
                        cell.ask(&node, None).await
                    };
                    assert_eq!((reply.status, has_changed(&node)), cell.expected(rule), "{cell:?}");
                }
            }
        }
    }
}
