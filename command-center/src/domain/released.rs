//! What devices without a valid key get: those that were released from their site learn it.

use std::collections::HashMap;

use super::ending::Ending;
use crate::base::refusal::Refusal;
use crate::store::{Connection, Error, Row, values};

/// The keys that were issued to devices, hashed, with how they have ended, by the devices' addresses.
pub(super) struct IssuedKeys(HashMap<String, Vec<(String, Option<Ending>)>>);

impl IssuedKeys {
    /// From rows of `mac_address`, `key_hash`, `revoked_at` and `ending`.
    pub(super) fn read(rows: &[Row]) -> Result<Self, Error> {
        let mut keys = HashMap::<_, Vec<_>>::new();
        for row in rows {
            let ending = Ending::read(row.column(2)?, row.column(3)?);
            keys.entry(row.column(0)?).or_default().push((row.column(1)?, ending));
        }
        Ok(Self(keys))
    }

    /// The refusal for a device that shows no valid key; none, if no site has the device.
    pub(super) fn refusal(&self, mac_address: &str, key_hash: Option<&str>) -> Option<Refusal> {
        let keys = self.0.get(mac_address)?;
        let is_released = |(_, ending): &(String, Option<Ending>)| *ending == Some(Ending::Released);
        if keys.iter().any(|key| is_released(key) && Some(key.0.as_str()) == key_hash) {
            return Some(Refusal::ApplianceReleased);
        }
        (!keys.iter().all(is_released)).then_some(Refusal::WrongApplianceKey)
    }
}

/// The refusal for a key that is not this appliance's: another appliance must not learn whether this one exists.
pub(super) async fn refusal_for_foreign_key(connection: &mut Connection<'_>, key_hash: &str) -> Result<Refusal, Error> {
    let known = "SELECT revoked_at, ending FROM appliances WHERE key_hash = $1";
    let Some(row) = connection.row(known, values![key_hash]).await? else { return Ok(Refusal::WrongApplianceKey) };
    Ok(match Ending::read(row.column(0)?, row.column(1)?) {
        None => Refusal::ApplianceNotFound,
        Some(Ending::Released) => Refusal::ApplianceReleased,
        Some(Ending::Deactivated | Ending::Revoked) => Refusal::WrongApplianceKey,
    })
}
