//! Accounts with a password, and the keys that sign their bearer tokens.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::base::clock::Moment;
use crate::base::refusal::Refusal;
use crate::base::secret::{Purpose, SecretText, ServerSecret};
use crate::store::{Connection, Error, Operation, values};

/// The lifetime of a bearer token: a working day at the factory, and short enough to limit the use of a stolen image.
pub(crate) const TOKEN_LIFE: Duration = Duration::from_hours(8);

/// The role whose accounts may manage accounts.
pub(crate) const ADMINISTRATOR_ROLE: &str = "ApiAdmin";

/// How many passwords are hashed at once. Each takes a core and 19 MiB for some tens of milliseconds.
const AT_ONCE: usize = 2;

/// How long a request waits for its turn before it is refused with `Retry-After`.
const TURN: Duration = Duration::from_secs(5);

/// Hashes passwords with Argon2id, mixed with a pepper that is not in the database.
#[derive(Debug)]
pub(crate) struct Passwords {
    pepper: Arc<Zeroizing<[u8; 32]>>,
    turns: Semaphore,
}

impl Passwords {
    pub(crate) fn new(secret: &ServerSecret) -> Self {
        Self { pepper: Arc::new(secret.derive(Purpose::PasswordPepper, &[])), turns: Semaphore::new(AT_ONCE) }
    }

    /// What the database keeps of a password.
    pub(crate) async fn hash(&self, password: SecretText) -> Result<String, Refusal> {
        self.work(move |argon2| argon2.hash_password(password.expose().as_bytes()).map(|hash| hash.to_string()).ok())
            .await?
            .ok_or(Refusal::Internal)
    }

    /// Whether a password has this hash. Without a hash the same time passes, and the answer is no.
    pub(crate) async fn verify(&self, password: SecretText, hash: Option<String>) -> Result<bool, Refusal> {
        self.work(move |argon2| {
            let password = password.expose().as_bytes();
            if let Some(Ok(hash)) = hash.as_deref().map(PasswordHash::new) {
                return argon2.verify_password(password, &hash).is_ok();
            }
            drop(argon2.hash_password(password));
            false
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&Argon2<'_>) -> T + Send + 'static) -> Result<T, Refusal> {
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await.map_err(|_| Refusal::Unavailable)?;
        let pepper = Arc::clone(&self.pepper);
        let done = tokio::task::spawn_blocking(move || {
            let argon2 = Argon2::new_with_secret(&**pepper, Algorithm::Argon2id, Version::V0x13, Params::default());
            work(&argon2.expect("32 bytes are a secret of a length that Argon2 takes"))
        });
        let done = done.await.map_err(|_| Refusal::Internal);
        drop(turn);
        done
    }
}

/// The holder of a bearer token that this server signed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Account {
    /// The name.
    #[serde(rename = "sub")]
    pub(crate) email: String,
    pub(crate) role: String,
}

pub(crate) struct CreateAccount {
    pub(crate) account: Account,
    pub(crate) password_hash: String,
    pub(crate) now: Moment,
}

impl Operation for CreateAccount {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let create = "INSERT INTO accounts (email, role, password_hash, created_at, changed_at) VALUES ($1, $2, $3, $4, $4)
                      ON CONFLICT (email) DO NOTHING";
        let values = values![&self.account.email, &self.account.role, &self.password_hash, self.now];
        match connection.execute(create, values).await? {
            0 => Err(Refusal::UserExists.into()),
            _ => Ok(()),
        }
    }
}

pub(crate) struct SetPassword {
    pub(crate) email: String,
    pub(crate) password_hash: String,
    pub(crate) now: Moment,
}

impl Operation for SetPassword {
    type Answer = ();

    async fn run(&self, connection: &mut Connection<'_>) -> Result<(), Error> {
        let set = "UPDATE accounts SET password_hash = $2, changed_at = $3 WHERE email = $1";
        match connection.execute(set, values![&self.email, &self.password_hash, self.now]).await? {
            0 => Err(Refusal::UserNotFound.into()),
            _ => Ok(()),
        }
    }
}

pub(crate) struct FindAccount {
    pub(crate) email: String,
}

impl Operation for FindAccount {
    /// The account and its password's hash.
    type Answer = Option<(Account, String)>;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<Self::Answer, Error> {
        let find = "SELECT email, role, password_hash FROM accounts WHERE email = $1";
        let Some(row) = connection.row(find, values![&self.email]).await? else { return Ok(None) };
        Ok(Some((Account { email: row.column(0)?, role: row.column(1)? }, row.column(2)?)))
    }
}

/// The name of the key that signs; makes the first.
pub(crate) struct SigningKey {
    pub(crate) now: Moment,
}

impl Operation for SigningKey {
    type Answer = String;

    fn subject(&self) -> Option<&str> {
        Some("signing keys")
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<String, Error> {
        let newest = "SELECT key_id FROM signing_keys WHERE ends_at IS NULL ORDER BY created_at DESC, key_id LIMIT 1";
        if let Some(row) = connection.row(newest, &[]).await? {
            return row.column(0);
        }
        let key_id = Uuid::new_v4().to_string();
        let make = "INSERT INTO signing_keys (key_id, created_at) VALUES ($1, $2)";
        connection.execute(make, values![&key_id, self.now]).await?;
        Ok(key_id)
    }
}

/// Whether tokens of a key are accepted.
pub(crate) struct IsAccepted {
    pub(crate) key_id: String,
    pub(crate) now: Moment,
}

impl Operation for IsAccepted {
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, Error> {
        let look = "SELECT 1 FROM signing_keys WHERE key_id = $1 AND (ends_at IS NULL OR ends_at > $2)";
        Ok(connection.row(look, values![&self.key_id, self.now]).await?.is_some())
    }
}

/// Makes a new signing key. The old ones are accepted for `grace` more.
pub(crate) struct RotateKeys {
    pub(crate) grace: Duration,
    pub(crate) now: Moment,
}

impl Operation for RotateKeys {
    /// The name of the new key.
    type Answer = String;

    fn subject(&self) -> Option<&str> {
        Some("signing keys")
    }

    async fn run(&self, connection: &mut Connection<'_>) -> Result<String, Error> {
        let end = "UPDATE signing_keys SET ends_at = $1 WHERE ends_at IS NULL OR ends_at > $1";
        connection.execute(end, values![self.now.after(self.grace)]).await?;
        SigningKey { now: self.now }.run(connection).await
    }
}
