//! Why a server refuses a claim.

use std::fmt;

/// A server's refusal of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRefusal {
    /// The reason.
    pub reason: RefusalReason,
    /// The server's message, such as `Provision code expired`.
    pub words: String,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// The code does not exist, or was revoked.
    Invalid,
    /// The code has expired.
    Expired,
    /// A device has claimed the code; possibly this one, if an answer was lost.
    AlreadyClaimed,
    /// Any other reason, such as an unknown partner or too many requests.
    Other,
}

impl ServerRefusal {
    /// Parses the message: servers report the reason in no other way, and their messages agree only in parts.
    pub(super) fn new(words: String) -> Self {
        let lower = words.to_ascii_lowercase();
        let reason = if lower.ends_with("already claimed") {
            RefusalReason::AlreadyClaimed
        } else if lower.ends_with("expired") {
            RefusalReason::Expired
        } else if lower.starts_with("invalid provision code") || lower.ends_with("revoked") {
            RefusalReason::Invalid
        } else {
            RefusalReason::Other
        };
        Self { reason, words }
    }
}

impl fmt::Display for ServerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_refusal_has_its_reason() {
        for (words, reason) in [
            ("Invalid provision code", RefusalReason::Invalid),
            ("Provision code is revoked", RefusalReason::Invalid),
            ("Provision code already revoked", RefusalReason::Invalid),
            ("Provision code expired", RefusalReason::Expired),
            ("Provision code is expired", RefusalReason::Expired),
            ("Code already claimed", RefusalReason::AlreadyClaimed),
            ("Provision code already claimed", RefusalReason::AlreadyClaimed),
            ("Partner not found", RefusalReason::Other),
            ("", RefusalReason::Other),
        ] {
            assert_eq!(ServerRefusal::new(words.into()).reason, reason, "{words}");
        }
    }
}
