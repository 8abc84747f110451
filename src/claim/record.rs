//! The record of a completed claim.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Appliance, RECORD};
use crate::files::{FileError, Folder, hexadecimal};
use provisioning_core::domain::{ProvisionCode, TEXT_LIMIT};

/// Maximum size of a record with its three escaped texts, bytes.
const LIMIT: usize = 20 * TEXT_LIMIT;

/// `claimed.json`: if a code is sent again, as after a restart, the device recognizes that it has claimed it. The server
/// would refuse a second claim.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    schema: u32,
    /// SHA-256 of the code. A claimed code gives no access, and finding it from this takes at least 2⁶³ tries.
    code: String,
    appliance_id: String,
    site_id: String,
    brand_name: String,
}

/// The version of the format.
const SCHEMA: u32 = 1;

impl Record {
    pub(super) fn new(code: &ProvisionCode, appliance: &Appliance) -> Self {
        let Appliance { appliance_id, site_id, brand_name, config: _ } = appliance.clone();
        Self { schema: SCHEMA, code: digest(code), appliance_id, site_id, brand_name }
    }

    /// Reads the record; an unreadable one is set aside and counts as missing.
    pub(super) fn read(folder: &Folder) -> Result<Option<Self>, FileError> {
        folder.read_or_set_aside(RECORD, LIMIT, |content| match serde_json::from_slice::<Self>(content) {
            Ok(record) if record.schema == SCHEMA => Ok(record),
            Ok(record) => Err(format!("has schema {}, but this program supports only {SCHEMA}", record.schema)),
            Err(error) => Err(format!("is not a record of a claim: {error}")),
        })
    }

    pub(super) fn is_of(&self, code: &ProvisionCode) -> bool {
        self.code == digest(code)
    }

    pub(super) fn appliance(self, config: PathBuf) -> Appliance {
        let Self { appliance_id, site_id, brand_name, .. } = self;
        Appliance { appliance_id, site_id, brand_name, config }
    }

    pub(super) fn content(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts and numbers are JSON")
    }
}

fn digest(code: &ProvisionCode) -> String {
    hexadecimal(&Sha256::digest(code.expose()))
}
