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

impl Appliance {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => return list.run(operator).await,
            Self::Show { appliance_id } => {
                let (appliance, events) = operator.appliance(&appliance_id).await?;
                println!("{:#}", json!({ "appliance": appliance, "events": events }));
            }
            Self::Rename { appliance_id, name, consent } => {
                consent.ask(&format!("Rename {appliance_id} to {name:?}?"))?;
                acting.rename_appliance(&appliance_id, &name).await?;
            }
            Self::Deactivate { appliance_id, consent } => {
                consent.ask(&format!("Refuse the key of {appliance_id} until it is activated again?"))?;
                acting.change_appliance_key(&appliance_id, KeyChange::Deactivate).await?;
            }
            Self::Activate { appliance_id, consent } => {
                consent.ask(&format!("Accept the key of {appliance_id} again?"))?;
                acting.change_appliance_key(&appliance_id, KeyChange::Activate).await?;
            }
            Self::HandOver { appliance_id, consent } => {
                consent.ask(&format!("Refuse the key of {appliance_id}, and release it from its site?"))?;
                acting.change_appliance_key(&appliance_id, KeyChange::HandOver).await?;
            }
            Self::TakeBack { appliance_id, consent } => {
                consent.ask(&format!("Accept the key of {appliance_id} for its site again?"))?;
                acting.change_appliance_key(&appliance_id, KeyChange::TakeBack).await?;
            }
            Self::Revoke { appliance_id, consent } => {
                consent.ask(&format!("Revoke the key of {appliance_id} permanently?"))?;
                acting.change_appliance_key(&appliance_id, KeyChange::Revoke).await?;
            }
        }
        Ok(())
    }
}

impl Node {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => return list.run(operator).await,
            Self::Show { node_id } => {
                let (node, events) = operator.node(&node_id).await?;
                println!("{:#}", json!({ "node": node, "events": events }));
            }
            Self::Rename { node_id, name, consent } => {
                consent.ask(&format!("Rename {node_id} to {name:?}?"))?;
                acting.rename_node(&node_id, &name).await?;
            }
            Self::Deactivate { node_id, consent } => {
                consent.ask(&format!("Refuse the key of {node_id} until it is activated again?"))?;
                acting.change_node_key(&node_id, KeyChange::Deactivate).await?;
            }
            Self::Activate { node_id, consent } => {
                consent.ask(&format!("Accept the key of {node_id} again?"))?;
                acting.change_node_key(&node_id, KeyChange::Activate).await?;
            }
            Self::Revoke { node_id, consent } => {
                consent.ask(&format!("Revoke the key of {node_id} permanently?"))?;
                acting.change_node_key(&node_id, KeyChange::Revoke).await?;
            }
        }
        Ok(())
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
