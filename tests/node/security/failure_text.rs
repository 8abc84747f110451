//! The existing phone app shows only `error`, so that text has the reason.

use provisioning_core::fault::Fault;
use provisioning_core::machine::{Command, CommandCenterCommand, RadioCommand, Refused};

use crate::http::json::provision;
use crate::http::support::{Node, config, success};

/// The `error` of an attempt that fails with this fault.
async fn error(fault: Fault, in_join: bool) -> String {
    let world = move |command: &Command| {
        Some(match command {
            Command::Radio(RadioCommand::Join { op, .. }) if in_join => op.done(Err(fault)),
            Command::CommandCenter(CommandCenterCommand::Register { op, .. }) if !in_join => {
                op.done(Err(Refused { fault, status: Some(401), retry_after: None }))
            }
            command => success(command),
        })
    };
    let node = Node::with(config(), Box::new(world));
    node.post("/api/v1/provision", &provision()).await;
    let status = node.settled("ERROR").await;
    status["error"].as_str().expect("a text").to_owned()
}

#[tokio::test]
async fn a_failed_join_names_the_network_and_the_reason() {
    for fault in [Fault::WrongPassword, Fault::NetworkNotFound] {
        assert_eq!(error(fault, true).await, format!("Failed to connect to HomeNetwork: {fault}"));
    }
}

#[tokio::test]
async fn a_failed_registration_names_the_reason() {
    assert_eq!(
        error(Fault::TokenRejected, false).await,
        format!("Failed to register with command center: {}", Fault::TokenRejected)
    );
}

#[tokio::test]
async fn texts_that_the_existing_software_has_are_kept() {
    assert_eq!(error(Fault::CommandCenterAnswer, false).await, "Command center did not return node credentials");
}
