//! The records of operators who sign in with a name.

use super::audit::{self, Action, Actor};
use super::operator::OperatorError;
use super::permissions::{Role, Tenant};
use super::sessions::end_all;
use crate::base::clock::Moment;
use crate::store::{Connection, Error, Operation, Row, values};

/// What the database knows of an operator.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) password_hash: String,
    /// What the secret of the second factor is derived from; none, if there is no second factor.
    pub(crate) totp_salt: Option<String>,
    /// The time step of the last code that was accepted.
    pub(crate) totp_step: i64,
    pub(crate) created_at: Moment,
}

impl Known {
    /// From the columns of [`KNOWN`]. An operator whose role this server does not know is none.
    fn from_row(row: &Row) -> Result<Option<Self>, Error> {
        let role = Role::read(&row.column::<String>(1)?, row.column(2)?, row.column(3)?);
        let Some(role) = role else { return Ok(None) };
        Ok(Some(Self {
            name: row.column(0)?,
            role,
            password_hash: row.column(4)?,
            totp_salt: row.column(5)?,
            totp_step: row.column(6)?,
            created_at: Moment(row.column(7)?),
        }))
    }
}

/// The columns of [`Known::from_row`].
macro_rules! known {
    ($rest:literal) => {
        concat!("SELECT name, role, partner, site_id, password_hash, totp_salt, totp_step, created_at FROM operators ", $rest)
    };
}

/// The operator of this name.
pub(crate) async fn find(connection: &mut Connection<'_>, name: &str) -> Result<Option<Known>, Error> {
    let Some(row) = connection.row(known!("WHERE name = $1"), values![name]).await? else { return Ok(None) };
    Known::from_row(&row)
}

/// The operator of a name.
pub(crate) struct FindOperator {
    pub(crate) name: String,
}

impl Operation for FindOperator {
    type Answer = Option<Known>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Option<Known>, Error> {
        find(connection, &self.name).await
    }
}

/// All operators, by name.
pub(crate) struct ListOperators;

impl Operation for ListOperators {
    type Answer = Vec<Known>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Vec<Known>, Error> {
        let rows = connection.rows(known!("ORDER BY name"), &[]).await?;
        rows.iter().filter_map(|row| Known::from_row(row).transpose()).collect()
    }
}

/// Whether there is any operator.
pub(crate) struct AnyOperator;

impl Operation for AnyOperator {
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, Error> {
        Ok(connection.row("SELECT 1 FROM operators LIMIT 1", &[]).await?.is_some())
    }
}

/// What is done to the record of an operator. Every change ends the operator's sessions.
pub(crate) enum Change {
    Add {
        role: Role,
        password_hash: String,
    },
    SetRole(Role),
    SetPassword {
        password_hash: String,
    },
    /// None removes the second factor.
    SetTotp {
        salt: Option<String>,
    },
    Remove,
}

/// Changes the record of an operator.
pub(crate) struct ChangeOperator {
    pub(crate) name: String,
    pub(crate) change: Change,
    pub(crate) actor: Actor,
    pub(crate) now: Moment,
}

impl Operation for ChangeOperator {
    type Answer = Result<(), OperatorError>;

    fn subject(&self) -> Option<&str> {
        Some(&self.name)
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let Self { name, change, actor, now } = self;
        if let Change::Add { role, .. } | Change::SetRole(role) = change
            && let Err(error) = check_tenant(connection, role).await?
        {
            return Ok(Err(error));
        }
        // An operator whose name is to be added again keeps them.
        if !matches!(change, Change::Add { .. }) {
            end_all(connection, name).await?;
        }
        let (changed, action, detail) = match change {
            Change::Add { role, password_hash } => {
                let add = "INSERT INTO operators (name, role, partner, site_id, password_hash, totp_step, created_at)
                           VALUES ($1, $2, $3, $4, $5, 0, $6) ON CONFLICT (name) DO NOTHING";
                let (partner, site) = role.columns();
                let added = values![name, role.word(), &partner, &site, password_hash, *now];
                if connection.execute(add, added).await? == 0 {
                    return Ok(Err(OperatorError::OperatorExists));
                }
                (1, Action::AddOperator, Some(role.to_string()))
            }
            Change::SetRole(role) => {
                let set = "UPDATE operators SET role = $2, partner = $3, site_id = $4 WHERE name = $1";
                let (partner, site) = role.columns();
                let changed = connection.execute(set, values![name, role.word(), &partner, &site]).await?;
                (changed, Action::SetRole, Some(role.to_string()))
            }
            Change::SetPassword { password_hash } => {
                let set = "UPDATE operators SET password_hash = $2 WHERE name = $1";
                (connection.execute(set, values![name, password_hash]).await?, Action::SetPassword, None)
            }
            Change::SetTotp { salt } => {
                let set = "UPDATE operators SET totp_salt = $2, totp_step = 0 WHERE name = $1";
                let action = if salt.is_some() { Action::SetTotp } else { Action::RemoveTotp };
                (connection.execute(set, values![name, salt]).await?, action, None)
            }
            Change::Remove => {
                let remove = "DELETE FROM operators WHERE name = $1";
                (connection.execute(remove, values![name]).await?, Action::RemoveOperator, None)
            }
        };
        if changed == 0 {
            return Ok(Err(OperatorError::UnknownOperator));
        }
        audit::record(connection, actor, action, name, detail, *now).await?;
        Ok(Ok(()))
    }
}

/// Whether the tenant of a role exists.
async fn check_tenant(connection: &mut Connection<'_>, role: &Role) -> Result<Result<(), OperatorError>, Error> {
    let Role::Installer(tenant) = role else { return Ok(Ok(())) };
    Ok(match tenant {
        Tenant::Partner(slug) => {
            let found = connection.row("SELECT 1 FROM partners WHERE slug = $1", values![slug]).await?;
            found.map(|_| ()).ok_or_else(|| OperatorError::UnknownPartner(slug.clone()))
        }
        Tenant::Site(id) => {
            let found = connection.row("SELECT 1 FROM sites WHERE site_id = $1", values![id]).await?;
            found.map(|_| ()).ok_or(OperatorError::UnknownSite)
        }
    })
}

/// Records a sign-in that was refused, if there is an operator of this name: what is typed as another name may be a password.
pub(crate) struct RecordFailure {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) now: Moment,
}

impl Operation for RecordFailure {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        if find(connection, &self.name).await?.is_none() {
            return Ok(());
        }
        let actor = Actor { name: "unknown".into(), place: self.place.clone() };
        audit::record(connection, &actor, Action::RefuseSignIn, &self.name, None, self.now).await
    }
}
