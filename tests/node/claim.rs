//! The claim against real servers on this machine.

mod center;
mod errors;
mod file;
mod program;
mod server;
mod tls;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jarvis_http::client::{AddressPolicy, Client, Trust};
use jarvis_provisioning::claim::{Claimant, Device, Error, MacAddress, Request, RetryLimits};
use provisioning_core::domain::{CommandCenterUrl, ProvisionCode};

const CODE: &str = "ABCD1234EFGH5678";
const MAC: &str = "84:3A:5B:91:B6:61";

/// Limits that even an overloaded machine meets, without pauses.
const AMPLE: RetryLimits =
    RetryLimits { answer: Duration::from_mins(1), tries: 4, pause: Duration::ZERO, longest: Duration::from_mins(5) };

/// The limit for an event that never occurs.
const SHORT: Duration = Duration::from_millis(100);

fn claimant() -> Claimant {
    Claimant::new(Client::new(AddressPolicy::SIMULATION, Trust::System)).with_limits(AMPLE)
}

fn request(endpoint: &str, code: &str, folder: &Path) -> Request {
    Request {
        code: ProvisionCode::try_from(code).unwrap(),
        device: Device { mac_address: MacAddress::try_from(MAC).unwrap(), hostname: "osiriscare-appliance".into() },
        endpoint: CommandCenterUrl::try_from(endpoint).unwrap(),
        folder: folder.into(),
        again: false,
        clock: noon,
    }
}

/// 2026-01-04 15:30:01 UTC.
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_540_601)
}

fn config(folder: &Path) -> PathBuf {
    folder.join("config.yaml")
}

/// Makes a claim that must fail without leaving a configuration; returns the error's text.
async fn failure(claimant: &Claimant, request: &Request) -> String {
    let error = claimant.provision(request).await.expect_err("a claim that must fail");
    assert!(!config(&request.folder).exists());
    if let Error::Files(error) = &error {
        panic!("{error}");
    }
    error.to_string()
}

/// The value of a top-level key of a configuration, without quotes.
fn value(folder: &Path, key: &str) -> String {
    let file = std::fs::read_to_string(config(folder)).unwrap();
    let line = file.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {key} in {file}")).trim_matches('"').to_owned()
}
