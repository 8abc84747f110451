//! A URL that a parser would have to repair is neither used nor stored: other programs would read another host in it.
//!
//! The sealed protocol refuses it by name; the JSON API accepts it, and the attempt fails.

use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, DiskCommand};
use serde_json::json;

use crate::http::json::{provision, with};
use crate::http::support::Node;

const MENDED: [&str; 8] = [
    "http://127.0.\r\n0.1:18211",
    "\thttp://host ",
    "http:host",
    "http:\\\\host",
    "http://\u{24db}ocalhost",
    "file:///etc/passwd",
    "javascript:alert(1)",
    "not a url",
];

#[tokio::test]
async fn a_url_that_a_parser_repairs_is_neither_used_nor_stored() {
    for (field, fault) in [("command_center_url", Fault::InvalidUrl), ("config_service_url", Fault::InvalidConfigServiceUrl)] {
        for url in MENDED {
            let node = Node::start();
            node.post("/api/v1/provision", &with(provision(), field, json!(url))).await;
            let status = node.settled("ERROR").await;
            let error = status["error"].as_str().expect("the reason");
            assert!(error.ends_with(fault.text()), "{field} {url:?}: {error}");
            let is_of_attempt = |command: &Command| {
                matches!(
                    command,
                    Command::Disk(DiskCommand::SavePending { .. } | DiskCommand::SaveEnrollment { .. })
                        | Command::CommandCenter(_)
                )
            };
            assert!(!node.commands().iter().any(is_of_attempt), "{field} {url:?}: {:?}", node.commands());
        }
    }
}
