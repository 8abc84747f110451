//! The schema, as the steps that lead to it.
//!
//! A step that has been released is never edited; a change is a further step. Steps run in one transaction, before the
//! server accepts requests. Times are milliseconds since 1970, hashes lower-case hexadecimal, flags the time they were set.

mod devices;
mod operators;

use super::{Connection, Error, values};

/// The statements that bring the schema from one version to the next.
enum Step {
    /// Those that both databases understand.
    Both(&'static [&'static str]),
    Each {
        sqlite: &'static [&'static str],
        postgres: &'static [&'static str],
    },
}

/// Each step, in the place of the version that it begins with.
const STEPS: &[Step] = &[
    Step::Both(&[
        // Values that all processes on the database must agree on.
        "CREATE TABLE server (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        // Permissions to register one node, once.
        "CREATE TABLE provisioning_tokens (
        token_hash TEXT PRIMARY KEY,
        node_id TEXT NOT NULL,
        household_id TEXT NOT NULL,
        room TEXT,
        name TEXT,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL
    )",
        "CREATE INDEX provisioning_tokens_node ON provisioning_tokens (node_id)",
        "CREATE INDEX provisioning_tokens_expiry ON provisioning_tokens (expires_at)",
        // Registered nodes. No column that a heartbeat changes is indexed, so that a heartbeat touches one page.
        "CREATE TABLE nodes (
        node_id TEXT PRIMARY KEY,
        household_id TEXT NOT NULL,
        room TEXT NOT NULL,
        name TEXT,
        user_name TEXT NOT NULL,
        voice_mode TEXT NOT NULL,
        adapter_hash TEXT,
        key_hash TEXT NOT NULL,
        token_hash TEXT,
        registered_at BIGINT NOT NULL,
        key_used_at BIGINT,
        deactivated_at BIGINT,
        last_seen BIGINT,
        version TEXT,
        git_sha TEXT,
        install_mode TEXT,
        is_busy BIGINT NOT NULL DEFAULT 0
    )",
        "CREATE INDEX nodes_household ON nodes (household_id)",
    ]),
    Step::Both(&[
        // Whose brand an appliance shows.
        "CREATE TABLE partners (
        slug TEXT PRIMARY KEY,
        brand_name TEXT NOT NULL,
        primary_color TEXT NOT NULL,
        logo_url TEXT,
        created_at BIGINT NOT NULL
    )",
        "INSERT INTO partners (slug, brand_name, primary_color, logo_url, created_at)
     VALUES ('default', 'Jarvis', '#2563EB', NULL, 0)",
        "CREATE TABLE sites (
        site_id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        partner TEXT NOT NULL REFERENCES partners (slug),
        created_at BIGINT NOT NULL
    )",
        // Permissions to become an appliance. The site of a code without one is made when it is claimed.
        "CREATE TABLE provision_codes (
        code_hash TEXT PRIMARY KEY,
        code_id TEXT NOT NULL UNIQUE,
        partner TEXT NOT NULL REFERENCES partners (slug),
        site_id TEXT REFERENCES sites (site_id),
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        revoked_at BIGINT,
        claimed_at BIGINT,
        claimed_by TEXT
    )",
        "CREATE INDEX provision_codes_order ON provision_codes (created_at, code_id)",
        // Appliances that claimed a code. No column that a heartbeat changes is indexed.
        "CREATE TABLE appliances (
        appliance_id TEXT PRIMARY KEY,
        site_id TEXT NOT NULL REFERENCES sites (site_id),
        code_hash TEXT NOT NULL UNIQUE REFERENCES provision_codes (code_hash),
        key_hash TEXT NOT NULL UNIQUE,
        mac_address TEXT NOT NULL,
        hardware_id TEXT,
        public_key TEXT,
        claimed_at BIGINT NOT NULL,
        key_used_at BIGINT,
        revoked_at BIGINT,
        hostname TEXT,
        ip_address TEXT,
        last_seen BIGINT,
        status TEXT NOT NULL,
        progress_percent BIGINT NOT NULL,
        message TEXT
    )",
        "CREATE INDEX appliances_address ON appliances (mac_address)",
        "CREATE INDEX appliances_site ON appliances (site_id)",
        // Wrong guesses since the beginning of a window.
        "CREATE TABLE guesses (source TEXT PRIMARY KEY, window_start BIGINT NOT NULL, wrong BIGINT NOT NULL)",
        "CREATE TABLE guess_totals (shard BIGINT PRIMARY KEY, window_start BIGINT NOT NULL, wrong BIGINT NOT NULL)",
    ]),
    Step::Both(&[
        // Accounts of the factory: people who administer, and devices that log in.
        "CREATE TABLE accounts (
        email TEXT PRIMARY KEY,
        role TEXT NOT NULL,
        password_hash TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        changed_at BIGINT NOT NULL
    )",
        // Names of the keys that bearer tokens are signed with; the keys themselves are derived from the server's secret. The
        // newest signs; the others are accepted until they end.
        "CREATE TABLE signing_keys (key_id TEXT PRIMARY KEY, created_at BIGINT NOT NULL, ends_at BIGINT)",
    ]),
    Step::Both(&[
        // For the page that shows the newest of everything.
        "CREATE INDEX nodes_order ON nodes (registered_at)",
        "CREATE INDEX appliances_order ON appliances (claimed_at)",
        "CREATE INDEX sites_order ON sites (created_at)",
    ]),
    Step::Both(&[
        // What the phone app sets for a household.
        "CREATE TABLE smart_homes (
        household_id TEXT PRIMARY KEY,
        device_manager TEXT NOT NULL,
        primary_node_id TEXT NOT NULL,
        use_external_devices BIGINT NOT NULL
    )",
    ]),
    Step::Both(&[
        // A settings key (K2) on its way to a node: one per node, sealed, and erased when the node has fetched it.
        "CREATE TABLE relayed_keys (
        node_id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL,
        sealed TEXT,
        acknowledged_at BIGINT,
        failure TEXT,
        expires_at BIGINT NOT NULL
    )",
        "CREATE INDEX relayed_keys_expiry ON relayed_keys (expires_at)",
        // Requests for the settings of a node, and their answers, which the node has encrypted with K2.
        "CREATE TABLE settings_requests (
        request_id TEXT PRIMARY KEY,
        node_id TEXT NOT NULL,
        include_values BIGINT NOT NULL,
        user_id TEXT,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        fulfilled_at BIGINT,
        snapshot_id TEXT,
        ciphertext TEXT,
        nonce TEXT,
        tag TEXT,
        schema_version BIGINT,
        commands_schema_version BIGINT,
        revision BIGINT
    )",
        "CREATE INDEX settings_requests_node ON settings_requests (node_id, created_at)",
        "CREATE INDEX settings_requests_expiry ON settings_requests (expires_at)",
        // Settings for a node, which the app has encrypted with K2.
        "CREATE TABLE config_pushes (
        push_id TEXT PRIMARY KEY,
        node_id TEXT NOT NULL,
        config_type TEXT NOT NULL,
        ciphertext TEXT NOT NULL,
        nonce TEXT NOT NULL,
        tag TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT NOT NULL,
        consumed_at BIGINT
    )",
        "CREATE INDEX config_pushes_node ON config_pushes (node_id, created_at)",
        "CREATE INDEX config_pushes_expiry ON config_pushes (expires_at)",
        // Factory resets that users have started.
        "CREATE TABLE node_resets (
        task_id TEXT PRIMARY KEY,
        node_id TEXT NOT NULL,
        token_hash TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL,
        error_message TEXT,
        created_at BIGINT NOT NULL,
        updated_at BIGINT NOT NULL,
        finished_at BIGINT,
        expires_at BIGINT NOT NULL
    )",
        "CREATE INDEX node_resets_node ON node_resets (node_id)",
        "CREATE INDEX node_resets_expiry ON node_resets (expires_at)",
    ]),
    // What heartbeats change, in a narrow table of its own: many rows share a page, and none of it is indexed but the number,
    // which never changes. A number is shorter than the names of devices, and stays with its row.
    Step::Each {
        sqlite: &[
            // Only a declared `INTEGER PRIMARY KEY` survives `VACUUM`, so the tables are made again.
            "CREATE TABLE numbered_nodes (
        number INTEGER PRIMARY KEY,
        node_id TEXT NOT NULL UNIQUE,
        household_id TEXT NOT NULL,
        room TEXT NOT NULL,
        name TEXT,
        user_name TEXT NOT NULL,
        voice_mode TEXT NOT NULL,
        adapter_hash TEXT,
        key_hash TEXT NOT NULL,
        token_hash TEXT,
        registered_at BIGINT NOT NULL,
        key_used_at BIGINT,
        deactivated_at BIGINT,
        version TEXT,
        git_sha TEXT,
        install_mode TEXT,
        is_busy BIGINT NOT NULL DEFAULT 0
    )",
            "INSERT INTO numbered_nodes
     SELECT rowid, node_id, household_id, room, name, user_name, voice_mode, adapter_hash, key_hash, token_hash, registered_at,
            key_used_at, deactivated_at, version, git_sha, install_mode, is_busy
       FROM nodes",
            "CREATE TABLE node_presence (number INTEGER PRIMARY KEY, last_seen BIGINT NOT NULL)",
            "INSERT INTO node_presence SELECT rowid, last_seen FROM nodes WHERE last_seen IS NOT NULL",
            "DROP TABLE nodes",
            "ALTER TABLE numbered_nodes RENAME TO nodes",
            "CREATE INDEX nodes_household ON nodes (household_id)",
            "CREATE INDEX nodes_order ON nodes (registered_at)",
            "CREATE TABLE numbered_appliances (
        number INTEGER PRIMARY KEY,
        appliance_id TEXT NOT NULL UNIQUE,
        site_id TEXT NOT NULL REFERENCES sites (site_id),
        code_hash TEXT NOT NULL UNIQUE REFERENCES provision_codes (code_hash),
        key_hash TEXT NOT NULL UNIQUE,
        mac_address TEXT NOT NULL,
        hardware_id TEXT,
        public_key TEXT,
        claimed_at BIGINT NOT NULL,
        key_used_at BIGINT,
        revoked_at BIGINT,
        hostname TEXT,
        ip_address TEXT,
        status TEXT NOT NULL,
        progress_percent BIGINT NOT NULL,
        message TEXT
    )",
            "INSERT INTO numbered_appliances
     SELECT rowid, appliance_id, site_id, code_hash, key_hash, mac_address, hardware_id, public_key, claimed_at, key_used_at,
            revoked_at, hostname, ip_address, status, progress_percent, message
       FROM appliances",
            "CREATE TABLE appliance_presence (number INTEGER PRIMARY KEY, last_seen BIGINT NOT NULL)",
            "INSERT INTO appliance_presence SELECT rowid, last_seen FROM appliances WHERE last_seen IS NOT NULL",
            "DROP TABLE appliances",
            "ALTER TABLE numbered_appliances RENAME TO appliances",
            "CREATE INDEX appliances_address ON appliances (mac_address)",
            "CREATE INDEX appliances_site ON appliances (site_id)",
            "CREATE INDEX appliances_order ON appliances (claimed_at)",
        ],
        postgres: &[
            // Half of each page is left for the next version of its rows, so that no index has to be changed (HOT).
            "ALTER TABLE nodes ADD COLUMN number BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE",
            "CREATE TABLE node_presence (number BIGINT PRIMARY KEY, last_seen BIGINT NOT NULL) WITH (fillfactor = 50)",
            "INSERT INTO node_presence SELECT number, last_seen FROM nodes WHERE last_seen IS NOT NULL",
            "ALTER TABLE nodes DROP COLUMN last_seen",
            "ALTER TABLE appliances ADD COLUMN number BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE",
            "CREATE TABLE appliance_presence (number BIGINT PRIMARY KEY, last_seen BIGINT NOT NULL) WITH (fillfactor = 50)",
            "INSERT INTO appliance_presence SELECT number, last_seen FROM appliances WHERE last_seen IS NOT NULL",
            "ALTER TABLE appliances DROP COLUMN last_seen",
        ],
    },
    // For lists of the fleet. Each order and each filter has an index, which ends with the number. Numbers rise with the age of
    // their rows. `silent_since` is 0 for a device that was never heard of, the largest number for one that is heard of, and
    // otherwise the time of its last heartbeat. `standing` puts all devices into one order: revoked, never heard of, silent,
    // heard of. See `domain::fleet`.
    Step::Each {
        sqlite: &[
            "ALTER TABLE appliances ADD COLUMN partner TEXT NOT NULL DEFAULT 'default'",
            "UPDATE appliances SET partner = (SELECT partner FROM sites WHERE sites.site_id = appliances.site_id)",
            "ALTER TABLE appliances ADD COLUMN silent_since BIGINT NOT NULL DEFAULT 0",
            "UPDATE appliances SET silent_since = appliance_presence.last_seen FROM appliance_presence WHERE appliance_presence.number = appliances.number",
            "ALTER TABLE appliances ADD COLUMN standing BIGINT GENERATED ALWAYS AS (
        CASE WHEN revoked_at IS NOT NULL THEN number - 4611686018427387904
             WHEN silent_since = 0 THEN number - 2305843009213693952
             WHEN silent_since = 9223372036854775807 THEN number + 2305843009213693952
             ELSE silent_since END) VIRTUAL",
            "CREATE INDEX appliances_standing ON appliances (standing)",
            "CREATE INDEX appliances_partner ON appliances (partner)",
            "CREATE INDEX appliances_status ON appliances (status)",
            "CREATE INDEX appliances_id ON appliances (lower(appliance_id))",
            "CREATE INDEX appliances_mac ON appliances (lower(mac_address))",
            "CREATE INDEX appliances_host ON appliances (lower(hostname))",
            "DROP INDEX appliances_order",
            "ALTER TABLE nodes ADD COLUMN silent_since BIGINT NOT NULL DEFAULT 0",
            "UPDATE nodes SET silent_since = node_presence.last_seen FROM node_presence WHERE node_presence.number = nodes.number",
            "ALTER TABLE nodes ADD COLUMN standing BIGINT GENERATED ALWAYS AS (
        CASE WHEN deactivated_at IS NOT NULL THEN number - 4611686018427387904
             WHEN silent_since = 0 THEN number - 2305843009213693952
             WHEN silent_since = 9223372036854775807 THEN number + 2305843009213693952
             ELSE silent_since END) VIRTUAL",
            "CREATE INDEX nodes_standing ON nodes (standing)",
            "CREATE INDEX nodes_version ON nodes (version)",
            "CREATE INDEX nodes_id ON nodes (lower(node_id))",
            "CREATE INDEX nodes_name ON nodes (lower(name))",
            "CREATE INDEX nodes_room ON nodes (lower(room))",
            "DROP INDEX nodes_order",
            // What has happened to devices. Numbers rise, so the oldest have the smallest.
            "CREATE TABLE device_events (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        device_id TEXT NOT NULL,
        at BIGINT NOT NULL,
        event TEXT NOT NULL,
        detail TEXT
    )",
            "CREATE INDEX device_events_device ON device_events (kind, device_id)",
        ],
        postgres: &[
            "ALTER TABLE appliances ADD COLUMN partner TEXT NOT NULL DEFAULT 'default'",
            "UPDATE appliances SET partner = sites.partner FROM sites
              WHERE sites.site_id = appliances.site_id AND sites.partner <> 'default'",
            "ALTER TABLE appliances ADD COLUMN silent_since BIGINT NOT NULL DEFAULT 0",
            "UPDATE appliances SET silent_since = appliance_presence.last_seen FROM appliance_presence WHERE appliance_presence.number = appliances.number",
            "ALTER TABLE appliances ADD COLUMN standing BIGINT GENERATED ALWAYS AS (
        CASE WHEN revoked_at IS NOT NULL THEN number - 4611686018427387904
             WHEN silent_since = 0 THEN number - 2305843009213693952
             WHEN silent_since = 9223372036854775807 THEN number + 2305843009213693952
             ELSE silent_since END) STORED",
            "CREATE INDEX appliances_standing ON appliances (standing, number)",
            "CREATE INDEX appliances_partner ON appliances (partner, number)",
            "CREATE INDEX appliances_status ON appliances (status, number)",
            "DROP INDEX appliances_site",
            "CREATE INDEX appliances_site ON appliances (site_id, number)",
            // In the order of the bytes, so that a range of texts has all that begin with the same letters.
            "CREATE INDEX appliances_id ON appliances (lower(appliance_id COLLATE \"C\"), number)",
            "CREATE INDEX appliances_mac ON appliances (lower(mac_address COLLATE \"C\"), number)",
            "CREATE INDEX appliances_host ON appliances (lower(hostname COLLATE \"C\"), number)",
            "DROP INDEX appliances_order",
            "ALTER TABLE nodes ADD COLUMN silent_since BIGINT NOT NULL DEFAULT 0",
            "UPDATE nodes SET silent_since = node_presence.last_seen FROM node_presence WHERE node_presence.number = nodes.number",
            "ALTER TABLE nodes ADD COLUMN standing BIGINT GENERATED ALWAYS AS (
        CASE WHEN deactivated_at IS NOT NULL THEN number - 4611686018427387904
             WHEN silent_since = 0 THEN number - 2305843009213693952
             WHEN silent_since = 9223372036854775807 THEN number + 2305843009213693952
             ELSE silent_since END) STORED",
            "CREATE INDEX nodes_standing ON nodes (standing, number)",
            "CREATE INDEX nodes_version ON nodes (version, number)",
            "DROP INDEX nodes_household",
            "CREATE INDEX nodes_household ON nodes (household_id, number)",
            "CREATE INDEX nodes_id ON nodes (lower(node_id COLLATE \"C\"), number)",
            "CREATE INDEX nodes_name ON nodes (lower(name COLLATE \"C\"), number)",
            "CREATE INDEX nodes_room ON nodes (lower(room COLLATE \"C\"), number)",
            "DROP INDEX nodes_order",
            "CREATE TABLE device_events (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        kind TEXT NOT NULL,
        device_id TEXT NOT NULL,
        at BIGINT NOT NULL,
        event TEXT NOT NULL,
        detail TEXT
    )",
            "CREATE INDEX device_events_device ON device_events (kind, device_id, number)",
        ],
    },
    // What operators have done. Numbers rise, so the oldest have the smallest.
    Step::Each {
        sqlite: &["CREATE TABLE audit (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        place TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT
    )"],
        postgres: &["CREATE TABLE audit (
        number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        at BIGINT NOT NULL,
        actor TEXT NOT NULL,
        place TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT
    )"],
    },
    devices::DISPLAY_NAMES,
    devices::ENDINGS,
    operators::OPERATORS,
];

/// Migrates the schema to the latest version. The caller holds the lock that excludes other processes.
pub(super) async fn run(connection: &mut Connection<'_>) -> Result<(), Error> {
    let known = i64::try_from(STEPS.len()).expect("a handful of steps");
    connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)", &[]).await?;
    let found = if let Some(row) = connection.row("SELECT version FROM schema_version", &[]).await? {
        row.column::<i64>(0)?
    } else {
        connection.execute("INSERT INTO schema_version (version) VALUES (0)", &[]).await?;
        0
    };
    let Ok(done) = usize::try_from(found) else { return Err(Error::Schema { found, known }) };
    let Some(missing) = STEPS.get(done..) else { return Err(Error::Schema { found, known }) };
    for step in missing {
        let statements = match (step, &connection) {
            (Step::Both(statements), _)
            | (Step::Each { sqlite: statements, .. }, Connection::Sqlite(_))
            | (Step::Each { postgres: statements, .. }, Connection::Postgres(_)) => *statements,
        };
        for statement in statements {
            connection.execute(statement, &[]).await?;
        }
    }
    if !missing.is_empty() {
        connection.execute("UPDATE schema_version SET version = $1", values![known]).await?;
        tracing::info!(from = found, to = known, "migrated the database schema");
    }
    Ok(())
}
