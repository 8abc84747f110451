//! The node's identity before registration, derived from its hardware.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The interfaces that the existing software uses, in its order.
const FAMILIAR: [&str; 3] = ["wlan0", "eth0", "en0"];

/// The hardware address, lower case with colons.
///
/// That of the first familiar interface; else that of another physical one, wireless before wired; else a locally
/// administered one derived from the machine's id, which is the same after restarts.
pub(crate) fn mac_address(sysfs: &Path, machine_id: &Path) -> String {
    let interfaces = sysfs.join("class/net");
    let familiar = FAMILIAR.iter().find_map(|name| address(&interfaces.join(name)));
    familiar.or_else(|| physical(&interfaces)).unwrap_or_else(|| made_up(machine_id))
}

/// The node's identity without registration: `jarvis-` and the last eight digits of the hardware address.
pub(crate) fn unregistered(mac_address: &str) -> String {
    let digits: Vec<char> = mac_address.chars().filter(|&character| character != ':').collect();
    format!("jarvis-{}", digits[digits.len().saturating_sub(8)..].iter().collect::<String>())
}

/// The kind of hardware, in the existing software's terms. `machine` is the kernel's name of the processor.
pub(crate) fn hardware(sysfs: &Path, machine: &str) -> String {
    let system = std::env::consts::OS;
    match system {
        "macos" => "macos".into(),
        // 64-bit systems report `aarch64`, which does not contain `arm`.
        "linux" if machine.contains("arm") => {
            let model = fs::read(sysfs.join("firmware/devicetree/base/model")).unwrap_or_default();
            let model = String::from_utf8_lossy(&model).to_lowercase();
            let known = [("zero", "pi-zero-w"), ("raspberry", "raspberry-pi")];
            known.iter().find(|(word, _)| model.contains(word)).map_or("arm-linux", |(_, name)| name).into()
        }
        _ => format!("{system}-{machine}"),
    }
}

fn address(interface: &Path) -> Option<String> {
    let address = fs::read_to_string(interface.join("address")).ok()?.trim().to_lowercase();
    (!address.is_empty()).then_some(address)
}

fn physical(interfaces: &Path) -> Option<String> {
    let mut names: Vec<_> =
        fs::read_dir(interfaces).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| interfaces.join(name).join("device").exists());
    names.sort_by_key(|name| (!name.starts_with("wl"), name.clone()));
    names.iter().find_map(|name| address(&interfaces.join(name)))
}

fn made_up(machine_id: &Path) -> String {
    let id = fs::read(machine_id).unwrap_or_default();
    // Hashed, because the machine's id must stay private.
    let digest = Sha256::digest([b"jarvis-provisioning hardware address ", id.trim_ascii()].concat());
    let mut bytes: [u8; 6] = digest[..6].try_into().expect("a digest has 32 bytes");
    // IEEE 802, 8.2: locally administered, unicast.
    bytes[0] = bytes[0] & 0xfc | 0x02;
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysfs(interfaces: &[(&str, &str)], model: Option<&str>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, address) in interfaces {
            let interface = folder.path().join("class/net").join(name);
            fs::create_dir_all(interface.join("device")).unwrap();
            fs::write(interface.join("address"), address).unwrap();
        }
        if let Some(model) = model {
            fs::create_dir_all(folder.path().join("firmware/devicetree/base")).unwrap();
            fs::write(folder.path().join("firmware/devicetree/base/model"), model).unwrap();
        }
        folder
    }

    fn mac(interfaces: &[(&str, &str)]) -> String {
        let folder = sysfs(interfaces, None);
        mac_address(folder.path(), Path::new("/nonexistent"))
    }

    #[test]
    fn wlan0_comes_before_eth0_and_both_before_any_other() {
        assert_eq!(mac(&[("eth0", "02:00:00:00:00:02\n"), ("wlan0", "B8:27:EB:5B:91:61\n")]), "b8:27:eb:5b:91:61");
        assert_eq!(mac(&[("eth0", "02:00:00:00:00:02\n"), ("wlp2s0", "02:00:00:00:00:03\n")]), "02:00:00:00:00:02");
    }

    #[test]
    fn an_unfamiliar_wireless_interface_comes_before_a_wired_one() {
        assert_eq!(mac(&[("enp1s0", "02:00:00:00:00:01\n"), ("wlp2s0", "02:00:00:00:00:02\n")]), "02:00:00:00:00:02");
    }

    #[test]
    fn without_an_interface_the_address_is_made_from_the_machine_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let id = folder.path().join("machine-id");
        fs::write(&id, "0123456789abcdef0123456789abcdef\n").unwrap();
        let made = mac_address(folder.path(), &id);
        assert_eq!(made, mac_address(folder.path(), &id));
        assert_ne!(made, mac_address(folder.path(), Path::new("/nonexistent")));
        assert_eq!(made.len(), 17);
        let first = u8::from_str_radix(&made[..2], 16).unwrap();
        assert_eq!(first & 3, 2, "locally administered, one station's");
    }

    #[test]
    fn an_unregistered_node_is_named_by_the_end_of_its_address() {
        assert_eq!(unregistered("b8:27:eb:5b:91:61"), "jarvis-eb5b9161");
    }

    #[test]
    fn hardware_is_named_as_the_apps_know_it() {
        for (machine, model, name) in [
            ("armv6l", Some("Raspberry Pi Zero W Rev 1.1\0"), "pi-zero-w"),
            ("armv7l", Some("Raspberry Pi 3 Model B\0"), "raspberry-pi"),
            ("armv7l", Some("Orange\0"), "arm-linux"),
            ("armv7l", None, "arm-linux"),
            ("aarch64", Some("Raspberry Pi 5\0"), "linux-aarch64"),
            ("x86_64", None, "linux-x86_64"),
        ] {
            let folder = sysfs(&[], model);
            assert_eq!(hardware(folder.path(), machine), name);
        }
    }
}
