//! Accounts with a password, and the keys that sign their bearer tokens.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::audit::{self, Action, Actor};
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

/// The memory of one computation, allocated by the first that needs it and reused by later ones: an allocator would keep
/// it for each of the many threads that may hash.
type Memory = Vec<Block>;

/// Hashes passwords with Argon2id, mixed with a pepper that is not in the database.
#[derive(Debug)]
pub(crate) struct Passwords {
    shared: Arc<Shared>,
    turns: Arc<Semaphore>,
}

/// What the threads that hash share.
struct Shared {
    pepper: Zeroizing<[u8; 32]>,
    /// The memory that no computation uses; [`AT_ONCE`] pieces at most, because a turn is needed to take one.
    unused: Mutex<Vec<Memory>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared(..)")
    }
}

impl Passwords {
    pub(crate) fn new(secret: &ServerSecret) -> Self {
        let pepper = secret.derive(Purpose::PasswordPepper, &[]);
        let shared = Arc::new(Shared { pepper, unused: Mutex::new(Vec::new()) });
        Self { shared, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// What the database keeps of a password.
    pub(crate) async fn hash(&self, password: SecretText) -> Result<String, Refusal> {
        self.work(move |pepper, memory| hash(pepper, password.expose(), memory)).await?.ok_or(Refusal::Internal)
    }

    /// Whether a password has this hash. Without a hash the same time passes, and the answer is no.
    pub(crate) async fn verify(&self, password: SecretText, stored: Option<String>) -> Result<bool, Refusal> {
        self.work(move |pepper, memory| {
            let password = password.expose();
            if let Some(Ok(stored)) = stored.as_deref().map(PasswordHash::new) {
                return is_hash_of(pepper, password, &stored, memory).unwrap_or(false);
            }
            drop(hash(pepper, password, memory));
            false
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce(&[u8], &mut Memory) -> T + Send + 'static) -> Result<T, Refusal> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.ok().and_then(Result::ok).ok_or(Refusal::Unavailable)?;
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            let mut memory = shared.unused.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let done = work(&*shared.pepper, &mut memory);
            shared.unused.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
            // Held to here: a client that disconnects ends its request, but not this computation.
            drop(turn);
            done
        });
        done.await.map_err(|_| Refusal::Internal)
    }
}

/// Argon2id of a password with new salt, as the text that the database keeps.
fn hash(pepper: &[u8], password: &str, memory: &mut Memory) -> Option<String> {
    let (salt, params) = (Salt::generate(), Params::default());
    let hash = Some(compute(pepper, password, &salt, params.clone(), Params::DEFAULT_OUTPUT_LEN, memory)?);
    let (algorithm, version) = (Algorithm::Argon2id.ident(), Some(Version::V0x13.into()));
    let params = ParamsString::try_from(params).ok()?;
    Some(PasswordHash { algorithm, version, params, salt: Some(salt), hash }.to_string())
}

/// Whether a stored hash is the password's; none if it is not one of this server's.
fn is_hash_of(pepper: &[u8], password: &str, stored: &PasswordHash, memory: &mut Memory) -> Option<bool> {
    let (salt, hash) = (stored.salt.as_ref()?, stored.hash.as_ref()?);
    let is_known = stored.algorithm == Algorithm::Argon2id.ident() && stored.version == Some(Version::V0x13.into());
    let params = Params::try_from(stored).ok().filter(|_| is_known)?;
    // Compared in constant time.
    Some(compute(pepper, password, salt, params, hash.len(), memory)? == *hash)
}

fn compute(pepper: &[u8], password: &str, salt: &[u8], params: Params, length: usize, memory: &mut Memory) -> Option<Output> {
    memory.resize(params.block_count(), Block::new());
    let argon2 = Argon2::new_with_secret(pepper, Algorithm::Argon2id, Version::V0x13, params).ok()?;
    let mut output = Zeroizing::new(vec![0; length]);
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut output, memory).ok()?;
    Output::new(&output).ok()
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
    pub(crate) actor: Actor,
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
        let key = SigningKey { now: self.now }.run(connection).await?;
        let at_once = self.grace.is_zero().then(|| "issued tokens are invalid at once".to_owned());
        audit::record(connection, &self.actor, Action::RotateKeys, &key, at_once, self.now).await?;
        Ok(key)
    }
}
