//! Commands about devices.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use clap::{Args, Subcommand};
use command_center::operator::{Acting, KeyChange, Operator};
use serde_json::json;

use super::Failure;
use super::devices::{ListAppliances, ListNodes};

#[derive(Debug, Subcommand)]
pub(super) enum Appliance {
    /// List appliances, with their progress and when they were last seen.
    List(Box<ListAppliances>),
    /// Show one appliance and its history as JSON.
    Show {
        /// Its id from the list.
        appliance_id: String,
    },
    /// Give an appliance a display name, by which operators find it. The appliance does not learn it.
    Rename {
        /// Its id from the list.
        appliance_id: String,
        /// The name; an empty one removes it.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Refuse an appliance's key until it is activated again.
    Deactivate {
        /// Its id from the list.
        appliance_id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Accept the key of a deactivated appliance again.
    Activate {
        /// Its id from the list.
        appliance_id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Release an appliance from its site, so that a new owner can claim it. It learns this at its next heartbeat.
    HandOver {
        /// Its id from the list.
        appliance_id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Undo `hand-over`, unless the appliance has been claimed again.
    TakeBack {
        /// Its id from the list.
        appliance_id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Revoke an appliance's key permanently.
    Revoke {
        /// Its id from the list.
        appliance_id: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Node {
    /// List nodes, with when they were last seen.
    List(Box<ListNodes>),
    /// Show one node and its history as JSON.
    Show {
        /// Its id from the list.
        node_id: String,
    },
    /// Give a node a display name, by which operators find it. The node and its household do not learn it.
    Rename {
        /// Its id from the list.
        node_id: String,
        /// The name; an empty one removes it.
        name: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Refuse a node's key until it is activated again.
    Deactivate {
        /// Its id from the list.
        node_id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Accept the key of a deactivated node again.
    Activate {
        /// Its id from the list.
        node_id: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Revoke a node's key permanently.
    Revoke {
        /// Its id from the list.
        node_id: String,
        #[command(flatten)]
        consent: Consent,
    },
}

/// Asks before something is changed.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Consent {
    /// Do not ask for a confirmation. Without a terminal as standard input none is asked for.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Fails unless the operator confirms it.
    fn ask(self, question: &str) -> Result<(), Failure> {
        let input = io::stdin();
        if self.yes || !input.is_terminal() {
            return Ok(());
        }
        write!(io::stderr(), "{question} [y/N] ")?;
        let mut answer = String::new();
        input.lock().take(100).read_line(&mut answer)?;
        if is_yes(&answer) { Ok(()) } else { Err(Failure { code: 1, text: "nothing was changed".into() }) }
    }
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

/// What the operator is asked before the key of a device changes.
fn question(change: KeyChange, id: &str) -> String {
    match change {
        KeyChange::Deactivate => format!("Refuse the key of {id} until it is activated again?"),
        KeyChange::Activate => format!("Accept the key of {id} again?"),
        KeyChange::HandOver => format!("Refuse the key of {id}, and release it from its site?"),
        KeyChange::TakeBack => format!("Accept the key of {id} for its site again?"),
        KeyChange::Revoke => format!("Revoke the key of {id} permanently?"),
    }
}

impl Appliance {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        let (id, change, consent) = match self {
            Self::List(list) => return list.run(operator).await,
            Self::Show { appliance_id } => {
                let (appliance, events) = operator.appliance(&appliance_id).await?;
                println!("{:#}", json!({ "appliance": appliance, "events": events }));
                return Ok(());
            }
            Self::Rename { appliance_id, name, consent } => {
                consent.ask(&format!("Rename {appliance_id} to {name:?}?"))?;
                return Ok(acting.rename_appliance(&appliance_id, &name).await?);
            }
            Self::Deactivate { appliance_id, consent } => (appliance_id, KeyChange::Deactivate, consent),
            Self::Activate { appliance_id, consent } => (appliance_id, KeyChange::Activate, consent),
            Self::HandOver { appliance_id, consent } => (appliance_id, KeyChange::HandOver, consent),
            Self::TakeBack { appliance_id, consent } => (appliance_id, KeyChange::TakeBack, consent),
            Self::Revoke { appliance_id, consent } => (appliance_id, KeyChange::Revoke, consent),
        };
        consent.ask(&question(change, &id))?;
        Ok(acting.change_appliance_key(&id, change).await?)
    }
}

impl Node {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        let (id, change, consent) = match self {
            Self::List(list) => return list.run(operator).await,
            Self::Show { node_id } => {
                let (node, events) = operator.node(&node_id).await?;
                println!("{:#}", json!({ "node": node, "events": events }));
                return Ok(());
            }
            Self::Rename { node_id, name, consent } => {
                consent.ask(&format!("Rename {node_id} to {name:?}?"))?;
                return Ok(acting.rename_node(&node_id, &name).await?);
            }
            Self::Deactivate { node_id, consent } => (node_id, KeyChange::Deactivate, consent),
            Self::Activate { node_id, consent } => (node_id, KeyChange::Activate, consent),
            Self::Revoke { node_id, consent } => (node_id, KeyChange::Revoke, consent),
        };
        consent.ask(&question(change, &id))?;
        Ok(acting.change_node_key(&id, change).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_is_yes() {
        assert!(["y\n", "Y\r\n", " yes "].iter().all(|answer| is_yes(answer)));
        assert!(!["", "\n", "n\n", "yesterday\n", "no"].iter().any(|answer| is_yes(answer)));
    }
}
