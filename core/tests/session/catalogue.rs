//! `web/client/catalogue.json`, the texts of the TypeScript client, has the faults of the core.

use provisioning_core::fault::Fault;
use serde_json::Value;

/// The languages beside English.
const TRANSLATIONS: [&str; 2] = ["de", "ar"];

#[test]
fn the_catalogue_of_the_web_client_has_every_fault() {
    let catalogue: Value = serde_json::from_str(include_str!("../../../web/client/catalogue.json")).expect("JSON");
    let rows = catalogue["faults"].as_array().expect("a list");
    assert_eq!(rows.len(), Fault::ALL.len());
    for (row, fault) in rows.iter().zip(Fault::ALL) {
        assert_eq!(row["name"], fault.name());
        assert_eq!(row["number"], fault.number(), "{row}");
        assert_eq!(row["retry"], fault.retryable(), "{row}");
        assert_eq!(row["en"], fault.text(), "{row}");
        for language in TRANSLATIONS {
            assert!(row[language].as_str().is_some_and(|text| !text.is_empty()), "{language} in {row}");
        }
    }
}
