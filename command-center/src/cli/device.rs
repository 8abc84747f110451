//! Commands about devices.

use clap::Subcommand;
use command_center::operator::{Acting, Operator};
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
    /// Revoke an appliance's key permanently.
    Revoke {
        /// Its id from the list.
        appliance_id: String,
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
    /// Revoke a node's key permanently.
    Revoke {
        /// Its id from the list.
        node_id: String,
    },
}

impl Appliance {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        match self {
            Self::List(list) => return list.run(operator).await,
            Self::Show { appliance_id } => {
                let (appliance, events) = operator.appliance(&appliance_id).await?;
                println!("{:#}", json!({ "appliance": appliance, "events": events }));
            }
            Self::Revoke { appliance_id } => acting.revoke_appliance(&appliance_id).await?,
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
            Self::Revoke { node_id } => acting.revoke_node(&node_id).await?,
        }
        Ok(())
    }
}
