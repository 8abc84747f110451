//! The rules: who may register and claim, what a heartbeat changes, what operators do.

pub(crate) mod accounts;
pub mod audit;
pub(crate) mod batch;
pub(crate) mod caller;
pub(crate) mod claims;
pub(crate) mod code;
pub(crate) mod config_pushes;
pub(crate) mod ending;
pub mod fleet;
pub(crate) mod guesses;
pub(crate) mod health;
pub(crate) mod heartbeats;
pub(crate) mod history;
pub(crate) mod jwks;
pub(crate) mod jwt;
pub(crate) mod key_relay;
pub(crate) mod nodes;
pub(crate) mod notices;
pub(crate) mod opening;
pub mod operator;
pub(crate) mod operators;
pub mod permissions;
pub(crate) mod registration;
pub(crate) mod released;
pub(crate) mod resets;
pub(crate) mod retention;
pub(crate) mod sessions;
pub(crate) mod settings_requests;
pub mod sheet;
pub(crate) mod smart_home;
pub(crate) mod totp;

use crate::base::chain;
use crate::base::refusal::Refusal;
use crate::store;

/// Maps an error of the store to a refusal for the client, and logs the cause.
pub(crate) fn refuse(error: store::Error) -> Refusal {
    match error {
        store::Error::Refused(refusal) => refusal,
        error if error.is_fault_of_ours() => {
            tracing::error!(error = %chain(&error), "database statement failed");
            Refusal::Internal
        }
        error => {
            tracing::warn!(error = %chain(&error), "database unavailable");
            Refusal::Unavailable
        }
    }
}
