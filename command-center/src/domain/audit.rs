//! The audit: which actions operators have taken, when, and from where.
//!
//! An action is recorded in its own transaction, so neither exists without the other. What changes nothing, such as revoking a
//! second time, is not recorded. Users are no operators: what they do with the nodes of their households is not recorded.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::retention::{Retention, delete_oldest};
use crate::base::clock::Moment;
use crate::store::{Connection, Error, Operation, Row, values};

/// Records are kept for five years, and some hundred megabytes of them.
pub(crate) static RETENTION: Retention =
    Retention { delete: delete_oldest!("audit"), kept: Duration::from_hours(5 * 366 * 24), most: 1_000_000 };

/// Who takes an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// An operator who has signed in; `administrator` for everybody who has the administrator's key; otherwise a user of the machine.
    pub name: String,
    /// An IP address, or `command line`.
    pub place: String,
}

/// The name of everybody who has the administrator's key.
pub(crate) const ADMINISTRATOR: &str = "administrator";

impl Actor {
    /// Everybody who has the administrator's key.
    pub(crate) fn administrator(network: IpAddr) -> Self {
        Self { name: ADMINISTRATOR.into(), place: network.to_string() }
    }

    /// The user of this machine who runs the program, by the name with which they have logged in if `sudo` tells it.
    pub fn at_the_command_line() -> Self {
        Self { name: user(|name| std::env::var(name).ok()), place: "command line".into() }
    }
}

/// The user who runs the program; `variable` looks up a variable of the environment.
fn user(variable: impl Fn(&str) -> Option<String>) -> String {
    let is_name = |text: &String| !text.is_empty() && text.len() <= 64 && !text.chars().any(char::is_control);
    let uid = || format!("user {}", rustix::process::getuid().as_raw());
    ["SUDO_USER", "USER"].into_iter().filter_map(variable).find(is_name).unwrap_or_else(uid)
}

/// What an operator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    AddPartner,
    CreateCodes,
    RevokeCode,
    RevokeAppliance,
    RevokeNode,
    CreateToken,
    CreateNode,
    ChangeNode,
    ResetNode,
    DeactivateAppliance,
    DeactivateNode,
    ActivateAppliance,
    ActivateNode,
    HandOver,
    TakeBack,
    RenameAppliance,
    RenameNode,
    RotateKeys,
    AddOperator,
    SetRole,
    SetPassword,
    SetTotp,
    RemoveTotp,
    RemoveOperator,
    SignIn,
    RefuseSignIn,
    SignOut,
}

impl Action {
    const fn words(self) -> &'static str {
        match self {
            Self::AddPartner => "partner added",
            Self::CreateCodes => "codes created",
            Self::RevokeCode => "code revoked",
            Self::RevokeAppliance => "appliance revoked",
            Self::RevokeNode => "node revoked",
            Self::CreateToken => "token created",
            Self::CreateNode => "node created",
            Self::ChangeNode => "node changed",
            Self::ResetNode => "node reset started",
            Self::DeactivateAppliance => "appliance deactivated",
            Self::DeactivateNode => "node deactivated",
            Self::ActivateAppliance => "appliance activated",
            Self::ActivateNode => "node activated",
            Self::HandOver => "appliance handed over",
            Self::TakeBack => "appliance taken back",
            Self::RenameAppliance => "appliance renamed",
            Self::RenameNode => "node renamed",
            Self::RotateKeys => "signing key rotated",
            Self::AddOperator => "operator added",
            Self::SetRole => "role changed",
            Self::SetPassword => "password changed",
            Self::SetTotp => "second factor set",
            Self::RemoveTotp => "second factor removed",
            Self::RemoveOperator => "operator removed",
            Self::SignIn => "signed in",
            Self::RefuseSignIn => "sign-in refused",
            Self::SignOut => "signed out",
        }
    }
}

/// An action in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Rises with the age of the list, and is never used twice.
    pub number: i64,
    /// When.
    pub at: String,
    /// Who: an operator who has signed in; `administrator` for the administrator's key; otherwise a user of the machine.
    pub actor: String,
    /// From where: an IP address, or `command line`.
    pub place: String,
    /// What: `code revoked` and the like.
    pub action: String,
    /// The id of what it was done to.
    pub subject: String,
    /// More about it.
    pub detail: Option<String>,
}

/// Records an action, in its transaction.
pub(crate) async fn record(
    connection: &mut Connection<'_>,
    actor: &Actor,
    action: Action,
    subject: &str,
    detail: Option<String>,
    now: Moment,
) -> Result<(), Error> {
    let insert = "INSERT INTO audit (at, actor, place, action, subject, detail) VALUES ($1, $2, $3, $4, $5, $6)";
    let values = values![now, &actor.name, &actor.place, action.words(), subject, &detail];
    connection.execute(insert, values).await?;
    Ok(())
}

/// Reads records, the newest first.
pub(crate) struct ReadAudit {
    /// Only older ones than that of this number.
    pub(crate) before: Option<i64>,
    pub(crate) limit: i64,
}

impl Operation for ReadAudit {
    type Answer = Vec<AuditEntry>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<AuditEntry>, Error> {
        let list = "SELECT number, at, actor, place, action, subject, detail FROM audit
                     WHERE number < $1 ORDER BY number DESC LIMIT $2";
        let entry = |row: &Row| {
            Ok(AuditEntry {
                number: row.column(0)?,
                at: Moment(row.column(1)?).zoned(),
                actor: row.column(2)?,
                place: row.column(3)?,
                action: row.column(4)?,
                subject: row.column(5)?,
                detail: row.column(6)?,
            })
        };
        let rows = connection.rows(list, values![self.before.unwrap_or(i64::MAX), self.limit]).await?;
        rows.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_user_is_known_by_the_name_of_the_login() {
        let user = |given: &[(&str, &str)]| {
            super::user(|name| given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(user(&[("SUDO_USER", "kim"), ("USER", "root")]), "kim");
        assert_eq!(user(&[("USER", "root")]), "root");
        assert_eq!(user(&[("USER", "a\u{1b}[2J")]), format!("user {}", rustix::process::getuid().as_raw()));
    }
}
