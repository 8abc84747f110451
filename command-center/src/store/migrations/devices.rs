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
