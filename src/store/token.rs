//! The token of the API of network care, which a factory reset makes void.
//!
//! The token is in the operator's settings, which this program does not write, so its hash is stored instead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::files::hexadecimal;
use provisioning_core::secret::SecretText;

/// The hash of the token, and whether it is void.
#[derive(Debug)]
pub(super) struct Token {
    digest: String,
    is_void: Arc<AtomicBool>,
}

impl Token {
    /// The token of the settings; `void` is the digest of the one that the last reset has voided.
    pub(super) fn new(token: &SecretText, void: Option<&str>) -> Self {
        // Other files of the node use the same hash, so the purpose is a part of what is hashed.
        let digest = Sha256::digest([b"jarvis-provisioning token of network care ", token.expose().as_bytes()].concat());
        let digest = hexadecimal(&digest);
        let is_void = Arc::new(AtomicBool::new(void == Some(digest.as_str())));
        Self { digest, is_void }
    }

    pub(super) fn digest(&self) -> String {
        self.digest.clone()
    }

    pub(super) fn is_void(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_void)
    }

    pub(super) fn make_void(&self) {
        self.is_void.store(true, Ordering::Relaxed);
    }
}
