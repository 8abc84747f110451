//! The kernel's radio switches (rfkill).

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use tracing::info;

use super::Error;

/// Where the kernel lists its switches.
pub(super) const SWITCHES: &str = "/sys/class/rfkill";

/// Where the kernel takes changes. Its attributes in `/sys` are read-only in the sandbox of a service.
const DEVICE: &str = "/dev/rfkill";

/// `struct rfkill_event` of `linux/rfkill.h`, version 1: sets the soft block of every switch of a type.
const UNBLOCK_BLUETOOTH: [u8; 8] = {
    const TYPE_BLUETOOTH: u8 = 2;
    const OPERATION_CHANGE_ALL: u8 = 3;
    // A 32-bit index, which this operation ignores; type, operation, soft, hard.
    [0, 0, 0, 0, TYPE_BLUETOOTH, OPERATION_CHANGE_ALL, 0, 0]
};

/// Lifts every soft block of Bluetooth. A hard block is an error, because only a person can lift it.
pub(super) fn lift(switches: &Path) -> Result<(), Error> {
    lift_in(switches, Path::new(DEVICE))
}

fn lift_in(switches: &Path, device: &Path) -> Result<(), Error> {
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
            OpenOptions::new()
                .write(true)
                .open(device)
                .and_then(|mut device| device.write_all(&UNBLOCK_BLUETOOTH))
                .map_err(Error::SoftBlocked)?;
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

    #[test]
    fn a_soft_block_of_bluetooth_is_lifted_and_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = folder.path().join("device");
        fs::write(&device, "").expect("a file in place of the device");
        let switches = folder.path().join("switches");
        fs::create_dir(&switches).expect("a folder for the switches");
        switch(&switches, "rfkill0", "wlan", "1", "0");
        lift_in(&switches, &device).expect("nothing to lift");
        assert!(fs::read(&device).expect("the device").is_empty());
        switch(&switches, "rfkill1", "bluetooth", "1", "0");
        lift_in(&switches, &device).expect("lifting");
        assert_eq!(fs::read(&device).expect("the device"), [0, 0, 0, 0, 2, 3, 0, 0]);
    }

    #[test]
    fn a_block_that_cannot_be_lifted_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        switch(folder.path(), "rfkill0", "bluetooth", "1", "0");
        assert!(matches!(lift_in(folder.path(), &folder.path().join("none")), Err(Error::SoftBlocked(_))));
    }

    #[test]
    fn a_hard_block_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        switch(folder.path(), "rfkill0", "bluetooth", "0", "1");
        assert!(matches!(lift_in(folder.path(), Path::new("/dev/null")), Err(Error::HardBlocked)));
    }

    #[test]
    fn without_switches_nothing_is_blocked() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(lift_in(&folder.path().join("none"), Path::new("/dev/null")).is_ok());
    }
}
