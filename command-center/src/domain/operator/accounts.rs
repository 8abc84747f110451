//! Operators who sign in with a name: their roles, passwords and second factors.

use serde::Serialize;
use zeroize::Zeroizing;

use super::{Acting, Operator, OperatorError};
use crate::base::secret::{SecretText, random_text};
use crate::domain::accounts::Passwords;
use crate::domain::audit::ADMINISTRATOR;
use crate::domain::operators::{Change, ChangeOperator, Known, ListOperators};
use crate::domain::permissions::Role;
use crate::domain::totp::TotpSecret;

/// The shortest password of an operator, in characters.
const SHORTEST_PASSWORD: usize = 12;

/// The longest, in characters.
const LONGEST_PASSWORD: usize = 1024;

/// An operator in a list.
#[derive(Clone, Debug, Serialize)]
pub struct OperatorEntry {
    /// The name to sign in with.
    pub name: String,
    /// `viewer`, `installer` or `administrator`.
    pub role: &'static str,
    /// The partner of an installer, by its slug.
    pub partner: Option<String>,
    /// The site of an installer, by its id.
    pub site_id: Option<String>,
    /// Whether a code of an authenticator app is needed to sign in.
    pub totp: bool,
    /// When the operator was added.
    pub created_at: String,
}

impl From<Known> for OperatorEntry {
    fn from(Known { name, role, totp_salt, created_at, .. }: Known) -> Self {
        let (partner, site_id) = role.columns();
        Self { name, role: role.word(), partner, site_id, totp: totp_salt.is_some(), created_at: created_at.zoned() }
    }
}

impl Operator {
    /// All operators who sign in with a name.
    pub async fn operators(&self) -> Result<Vec<OperatorEntry>, OperatorError> {
        Ok(self.store.read(ListOperators).await?.into_iter().map(OperatorEntry::from).collect())
    }
}

impl Acting<'_> {
    /// Adds an operator.
    pub async fn add_operator(&self, name: &str, role: Role, password: SecretText) -> Result<(), OperatorError> {
        let is_name = !name.is_empty() && name.chars().nth(64).is_none() && !name.chars().any(char::is_control);
        if !is_name || name.trim() != name {
            return Err(OperatorError::Invalid("the name of an operator has 1 to 64 characters, without control characters"));
        }
        // Records of the audit with this name are those of the administrator's key.
        if name == ADMINISTRATOR {
            return Err(OperatorError::Invalid("this name is the one of the administrator's key"));
        }
        let password_hash = self.hash(password).await?;
        self.change_operator(name, Change::Add { role, password_hash }).await
    }

    /// Changes what an operator may do, and ends the operator's sessions.
    pub async fn set_role(&self, name: &str, role: Role) -> Result<(), OperatorError> {
        self.change_operator(name, Change::SetRole(role)).await
    }

    /// Sets the password of an operator, and ends the operator's sessions.
    pub async fn set_password(&self, name: &str, password: SecretText) -> Result<(), OperatorError> {
        let password_hash = self.hash(password).await?;
        self.change_operator(name, Change::SetPassword { password_hash }).await
    }

    /// Gives an operator a new second factor, without which there is no sign-in from then on; the URI to scan with an
    /// authenticator app. Ends the operator's sessions.
    pub async fn set_totp(&self, name: &str) -> Result<Zeroizing<String>, OperatorError> {
        let salt = random_text().map_err(OperatorError::Random)?.expose().to_owned();
        let uri = TotpSecret::derive(&self.operator.secret, name, &salt).uri(name);
        self.change_operator(name, Change::SetTotp { salt: Some(salt) }).await?;
        Ok(uri)
    }

    /// Removes the second factor of an operator, and ends the operator's sessions.
    pub async fn remove_totp(&self, name: &str) -> Result<(), OperatorError> {
        self.change_operator(name, Change::SetTotp { salt: None }).await
    }

    /// Removes an operator, whose sessions end.
    pub async fn remove_operator(&self, name: &str) -> Result<(), OperatorError> {
        self.change_operator(name, Change::Remove).await
    }

    async fn change_operator(&self, name: &str, change: Change) -> Result<(), OperatorError> {
        let change = ChangeOperator { name: name.to_owned(), change, actor: self.actor.clone(), now: self.now() };
        self.write(change).await?
    }

    async fn hash(&self, password: SecretText) -> Result<String, OperatorError> {
        if !(SHORTEST_PASSWORD..=LONGEST_PASSWORD).contains(&password.expose().chars().count()) {
            return Err(OperatorError::Invalid("the password of an operator has 12 to 1024 characters"));
        }
        Passwords::new(&self.operator.secret).hash(password).await.map_err(|_| OperatorError::Hash)
    }
}
