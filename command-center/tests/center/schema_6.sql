-- The schema of version 6, and what its server stored: devices that were heard of, and devices that were not yet.
CREATE TABLE schema_version (version BIGINT NOT NULL);
INSERT INTO schema_version VALUES (6);
CREATE TABLE server (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE provisioning_tokens (
    token_hash TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    household_id TEXT NOT NULL,
    room TEXT,
    name TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX provisioning_tokens_node ON provisioning_tokens (node_id);
CREATE INDEX provisioning_tokens_expiry ON provisioning_tokens (expires_at);
CREATE TABLE nodes (
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
);
CREATE INDEX nodes_household ON nodes (household_id);
CREATE TABLE partners (
    slug TEXT PRIMARY KEY,
    brand_name TEXT NOT NULL,
    primary_color TEXT NOT NULL,
    logo_url TEXT,
    created_at BIGINT NOT NULL
);
INSERT INTO partners (slug, brand_name, primary_color, logo_url, created_at)
VALUES ('default', 'Jarvis', '#2563EB', NULL, 0);
CREATE TABLE sites (
    site_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    partner TEXT NOT NULL REFERENCES partners (slug),
    created_at BIGINT NOT NULL
);
CREATE TABLE provision_codes (
    code_hash TEXT PRIMARY KEY,
    code_id TEXT NOT NULL UNIQUE,
    partner TEXT NOT NULL REFERENCES partners (slug),
    site_id TEXT REFERENCES sites (site_id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT,
    claimed_at BIGINT,
    claimed_by TEXT
);
CREATE INDEX provision_codes_order ON provision_codes (created_at, code_id);
CREATE TABLE appliances (
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
);
CREATE INDEX appliances_address ON appliances (mac_address);
CREATE INDEX appliances_site ON appliances (site_id);
CREATE TABLE guesses (source TEXT PRIMARY KEY, window_start BIGINT NOT NULL, wrong BIGINT NOT NULL);
CREATE TABLE guess_totals (shard BIGINT PRIMARY KEY, window_start BIGINT NOT NULL, wrong BIGINT NOT NULL);
CREATE TABLE accounts (
    email TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE TABLE signing_keys (key_id TEXT PRIMARY KEY, created_at BIGINT NOT NULL, ends_at BIGINT);
CREATE INDEX nodes_order ON nodes (registered_at);
CREATE INDEX appliances_order ON appliances (claimed_at);
CREATE INDEX sites_order ON sites (created_at);
CREATE TABLE smart_homes (
    household_id TEXT PRIMARY KEY,
    device_manager TEXT NOT NULL,
    primary_node_id TEXT NOT NULL,
    use_external_devices BIGINT NOT NULL
);
CREATE TABLE relayed_keys (
    node_id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL,
    sealed TEXT,
    acknowledged_at BIGINT,
    failure TEXT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX relayed_keys_expiry ON relayed_keys (expires_at);
CREATE TABLE settings_requests (
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
);
CREATE INDEX settings_requests_node ON settings_requests (node_id, created_at);
CREATE INDEX settings_requests_expiry ON settings_requests (expires_at);
CREATE TABLE config_pushes (
    push_id TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    config_type TEXT NOT NULL,
    ciphertext TEXT NOT NULL,
    nonce TEXT NOT NULL,
    tag TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT
);
CREATE INDEX config_pushes_node ON config_pushes (node_id, created_at);
CREATE INDEX config_pushes_expiry ON config_pushes (expires_at);
CREATE TABLE node_resets (
    task_id TEXT PRIMARY KEY,
    node_id TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    error_message TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    finished_at BIGINT,
    expires_at BIGINT NOT NULL
);
CREATE INDEX node_resets_node ON node_resets (node_id);
CREATE INDEX node_resets_expiry ON node_resets (expires_at);
INSERT INTO nodes (node_id, household_id, room, user_name, voice_mode, key_hash, registered_at, key_used_at, last_seen, version) VALUES
    ('gone', 'home', 'attic', 'default', 'brief', '', 0, NULL, NULL, NULL),
    ('heard-of', 'home', 'kitchen', 'default', 'brief', '056c59f6b4a053a4d32702523e8d0bcb6eb3c6ee351729e416835244bf1ddeca', 1, 1, 1767540000000, '1.2.3'),
    ('silent', 'home', 'hall', 'default', 'brief', '9cf6d516ac9c09b9e1600003bb607ef16e9699f2b21bfb5e8f7adce6b76681a7', 2, NULL, NULL, NULL);
DELETE FROM nodes WHERE node_id = 'gone';
INSERT INTO sites VALUES ('clinic', 'Clinic', 'default', 0);
INSERT INTO provision_codes (code_hash, code_id, partner, site_id, created_at, expires_at, claimed_at, claimed_by) VALUES
    ('1', '1', 'default', 'clinic', 0, 0, 0, ''), ('2', '2', 'default', 'clinic', 0, 0, 0, '');
INSERT INTO appliances (appliance_id, site_id, code_hash, key_hash, mac_address, claimed_at, key_used_at, hostname, last_seen,
                        status, progress_percent) VALUES
    ('heard-of', 'clinic', '1', '5cd9074c4276388a4fbf87e87df901c3613e73d94e36de927d13628bb134f2ed', '02:00:00:00:00:01', 0, 0, 'box', 1767540000000, 'active', 100),
    ('silent', 'clinic', '2', '2e757520d13c08f1ab8ac9118925f795c741f827df7ecc79f7baf756b6694ae0', '02:00:00:00:00:02', 0, NULL, NULL, NULL, 'claimed', 0);
