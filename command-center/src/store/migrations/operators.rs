//! Operators who sign in with a name, and their sessions.

use super::Step;

/// Operators, the sessions of their browsers, and indexes for what an operator of one tenant sees first.
pub(super) const OPERATORS: Step = Step::Both(&[
    // An installer has a partner or a site, the others have neither. `totp_salt` is what the secret of the second factor is derived
    // from; codes of the time step `totp_step` and of earlier ones are not accepted.
    "CREATE TABLE operators (
        name TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        partner TEXT REFERENCES partners (slug),
        site_id TEXT REFERENCES sites (site_id),
        password_hash TEXT NOT NULL,
        totp_salt TEXT,
        totp_step BIGINT NOT NULL,
        created_at BIGINT NOT NULL
    )",
    "CREATE TABLE operator_sessions (
        token_hash TEXT PRIMARY KEY,
        operator TEXT NOT NULL REFERENCES operators (name),
        started_at BIGINT NOT NULL,
        used_at BIGINT NOT NULL
    )",
    "CREATE INDEX operator_sessions_operator ON operator_sessions (operator)",
    "CREATE INDEX operator_sessions_start ON operator_sessions (started_at)",
    "CREATE INDEX sites_partner ON sites (partner, created_at)",
    "CREATE INDEX provision_codes_partner ON provision_codes (partner, created_at, code_id)",
    "CREATE INDEX provision_codes_site ON provision_codes (site_id, created_at, code_id) WHERE site_id IS NOT NULL",
]);
