//! The kernel's radio switches (rfkill).

use std::fs;
use std::io;
use std::path::Path;

use tracing::info;

use super::Error;

/// Where the kernel lists its switches.
const SWITCHES: &str = "/sys/class/rfkill";

/// Lifts every soft block of Bluetooth. A hard block is an error, because only a person can lift it.
pub(super) fn lift() -> Result<(), Error> {
    lift_in(Path::new(SWITCHES))
}

fn lift_in(switches: &Path) -> Result<(), Error> {
    let switches = match fs::read_dir(switches) {
        Ok(switches) => switches,
        // A kernel without switches blocks nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::SoftBlocked(error)),
    };
    for switch in switches.flatten() {
        let path = switch.path();
        // A switch can vanish with its adapter at any time; it then blocks nothing.
        let reads =
            |attribute: &str| fs::read_to_string(path.join(attribute)).map(|text| text.trim().to_owned()).unwrap_or_default();
        if reads("type") != "bluetooth" {
            continue;
        }
        if reads("hard") == "1" {
            return Err(Error::HardBlocked);
        }
        if reads("soft") == "1" {
            fs::write(path.join("soft"), "0").map_err(Error::SoftBlocked)?;
            info!(switch = reads("name"), "Bluetooth unblocked");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn switch(folder: &Path, name: &str, kind: &str, soft: &str, hard: &str) {
        let path = folder.join(name);
        fs::create_dir(&path).expect("a folder for the switch");
        for (attribute, value) in [("name", name), ("type", kind), ("soft", soft), ("hard", hard)] {
            fs::write(path.join(attribute), format!("{value}\n")).expect("an attribute");
        }
    }

    fn soft(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name).join("soft")).expect("the attribute").trim().to_owned()
    }

    #[test]
    fn a_soft_block_of_bluetooth_is_lifted_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        switch(folder.path(), "rfkill0", "wlan", "1", "0");
        switch(folder.path(), "rfkill1", "bluetooth", "1", "0");
        lift_in(folder.path()).expect("lifting");
        assert_eq!((soft(folder.path(), "rfkill0").as_str(), soft(folder.path(), "rfkill1").as_str()), ("1", "0"));
    }

    #[test]
    fn a_hard_block_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        switch(folder.path(), "rfkill0", "bluetooth", "0", "1");
        assert!(matches!(lift_in(folder.path()), Err(Error::HardBlocked)));
    }

    #[test]
    fn without_switches_nothing_is_blocked() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(lift_in(&folder.path().join("none")).is_ok());
    }
}
