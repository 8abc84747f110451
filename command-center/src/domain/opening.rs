//! Opens the database of a configuration, and the secret that belongs to it.

use std::sync::Arc;

use crate::base::chain;
use crate::base::secret::{self, Purpose, ServerSecret};
use crate::config::Config;
use crate::store::{Connection, Error, Operation, Store, values};

/// Why the database and its secret cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration cannot work.
    #[error("{0}")]
    Config(&'static str),
    /// The server's own secret cannot be used.
    #[error("opening the server's secret")]
    Secret(#[source] secret::Error),
    /// The secret is not the one that the data were written with.
    #[error("the secret file does not belong to this database: keys and codes in it could not be checked")]
    ForeignSecret,
    /// The database cannot be used.
    #[error("opening the database: {0}")]
    Database(String),
}

/// Opens the database of a configuration, and the secret that belongs to it.
pub(crate) async fn open(config: &Config) -> Result<(Arc<Store>, ServerSecret), OpenError> {
    let path = config.secret_path().ok_or(OpenError::Config("a shared database needs a secret file"))?;
    let secret = ServerSecret::open(&path).map_err(OpenError::Secret)?;
    let store = Store::open(&config.database).await.map_err(|error| database(&error))?;
    if !store.write(CheckFingerprint(secret.hash(Purpose::Fingerprint, &[]))).await.map_err(|error| database(&error))? {
        return Err(OpenError::ForeignSecret);
    }
    Ok((Arc::new(store), secret))
}

fn database(error: &Error) -> OpenError {
    OpenError::Database(chain(error))
}

/// Stores the fingerprint of the secret in a new database; checks the one of an existing database.
struct CheckFingerprint(String);

impl Operation for CheckFingerprint {
    type Answer = bool;

    async fn run(&self, connection: &mut Connection<'_>) -> Result<bool, Error> {
        let leave = "INSERT INTO server (name, value) VALUES ('fingerprint', $1) ON CONFLICT (name) DO NOTHING";
        connection.execute(leave, values![&self.0]).await?;
        let found = connection.row("SELECT 1 FROM server WHERE name = 'fingerprint' AND value = $1", values![&self.0]).await?;
        Ok(found.is_some())
    }
}
