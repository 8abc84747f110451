//! What operators change about devices.

use super::Step;

/// What operators call devices.
pub(super) const DISPLAY_NAMES: Step = Step::Each {
    sqlite: &[
        "ALTER TABLE appliances ADD COLUMN display_name TEXT",
        "CREATE INDEX appliances_display_name ON appliances (lower(display_name))",
        "ALTER TABLE nodes ADD COLUMN display_name TEXT",
        "CREATE INDEX nodes_display_name ON nodes (lower(display_name))",
    ],
    postgres: &[
        "ALTER TABLE appliances ADD COLUMN display_name TEXT",
        "CREATE INDEX appliances_display_name ON appliances (lower(display_name COLLATE \"C\"), number)",
        "ALTER TABLE nodes ADD COLUMN display_name TEXT",
        "CREATE INDEX nodes_display_name ON nodes (lower(display_name COLLATE \"C\"), number)",
    ],
};

/// Adds the column `standing` to a table, whose column `$ended` has the time when a key ended.
macro_rules! add_standing {
    ($table:literal, $ended:literal, $storage:literal) => {
        concat!(
            "ALTER TABLE ",
            $table,
            " ADD COLUMN standing BIGINT GENERATED ALWAYS AS (
        CASE WHEN ",
            $ended,
            " IS NOT NULL THEN number - 4611686018427387904 - ending * 2305843009213693952
             WHEN silent_since = 0 THEN number - 2305843009213693952
             WHEN silent_since = 9223372036854775807 THEN number + 2305843009213693952
             ELSE silent_since END) ",
            $storage
        )
    };
}

/// How a key ended: 0 for good, 1 until it is activated again, 2 because the appliance was released from its site. Keys that have ended
/// before this step have for good. Each ending has a range of its own in `standing`.
pub(super) const ENDINGS: Step = Step::Each {
    sqlite: &[
        "ALTER TABLE appliances ADD COLUMN ending BIGINT NOT NULL DEFAULT 0",
        "DROP INDEX appliances_standing",
        "ALTER TABLE appliances DROP COLUMN standing",
        add_standing!("appliances", "revoked_at", "VIRTUAL"),
        "CREATE INDEX appliances_standing ON appliances (standing)",
        "ALTER TABLE nodes ADD COLUMN ending BIGINT NOT NULL DEFAULT 0",
        "DROP INDEX nodes_standing",
        "ALTER TABLE nodes DROP COLUMN standing",
        add_standing!("nodes", "deactivated_at", "VIRTUAL"),
        "CREATE INDEX nodes_standing ON nodes (standing)",
    ],
    postgres: &[
        "ALTER TABLE appliances ADD COLUMN ending BIGINT NOT NULL DEFAULT 0",
        // The index is dropped with its column.
        "ALTER TABLE appliances DROP COLUMN standing",
        add_standing!("appliances", "revoked_at", "STORED"),
        "CREATE INDEX appliances_standing ON appliances (standing, number)",
        "ALTER TABLE nodes ADD COLUMN ending BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE nodes DROP COLUMN standing",
        add_standing!("nodes", "deactivated_at", "STORED"),
        "CREATE INDEX nodes_standing ON nodes (standing, number)",
    ],
};
