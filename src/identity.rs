//! The node's identity before registration, derived from its hardware.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The interfaces that the existing software uses, in its order.
const FAMILIAR: [&str; 3] = ["wlan0", "eth0", "en0"];

/// What drivers report that do not know the address yet.
const UNKNOWN: &str = "00:00:00:00:00:00";

/// The hardware address that names the node, lower case with colons. The store keeps the first one, because interfaces come
/// and go.
///
/// Familiar interfaces come first; then other physical ones, wireless before wired. An address that is permanent is preferred:
/// NetworkManager gives an idle Wi-Fi interface a random one. Without an interface it is a locally administered one derived
/// from the machine's id, which is the same after restarts.
pub(crate) fn mac_address(sysfs: &Path, machine_id: &Path) -> String {
    let interfaces = sysfs.join("class/net");
    let names: Vec<_> = FAMILIAR.map(str::to_owned).into_iter().chain(physical(&interfaces)).collect();
    let permanent = names.iter().find_map(|name| permanent(&interfaces.join(name)));
    let any = || names.iter().find_map(|name| address(&interfaces.join(name), "address"));
    permanent.or_else(any).unwrap_or_else(|| made_up(machine_id))
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

/// The address that an interface has from its manufacturer, if the kernel tells it.
fn permanent(interface: &Path) -> Option<String> {
    let of_radio = || address(interface, "phy80211/macaddress");
    // NET_ADDR_PERM of the kernel's netdevice.h. Kernels before 3.6 do not tell.
    let assigned = fs::read_to_string(interface.join("addr_assign_type")).unwrap_or_default();
    let is_permanent = matches!(assigned.trim(), "" | "0");
    of_radio().or_else(|| address(interface, "address").filter(|_| is_permanent))
}

fn address(interface: &Path, file: &str) -> Option<String> {
    let address = fs::read_to_string(interface.join(file)).ok()?.trim().to_lowercase();
    (!address.is_empty() && address != UNKNOWN).then_some(address)
}

/// The physical interfaces.
fn physical(interfaces: &Path) -> Vec<String> {
    let entries = fs::read_dir(interfaces).into_iter().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.retain(|name| interfaces.join(name).join("device").exists());
    names.sort_by_key(|name| (!name.starts_with("wl"), name.clone()));
    names
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
    fn the_permanent_address_of_a_radio_is_used_while_the_interface_has_a_random_one() {
        let folder = sysfs(&[("wlan0", "5a:11:22:33:44:55"), ("eth0", "b8:27:eb:00:00:02")], None);
        let (wlan0, eth0) = (folder.path().join("class/net/wlan0"), folder.path().join("class/net/eth0"));
        fs::write(wlan0.join("addr_assign_type"), "3\n").unwrap();
        fs::write(eth0.join("addr_assign_type"), "0\n").unwrap();
        let found = || mac_address(folder.path(), Path::new("/nonexistent"));
        assert_eq!(found(), "b8:27:eb:00:00:02");
        fs::create_dir(wlan0.join("phy80211")).unwrap();
        fs::write(wlan0.join("phy80211/macaddress"), "00:00:00:00:00:00\n").unwrap();
        assert_eq!(found(), "b8:27:eb:00:00:02");
        fs::write(wlan0.join("phy80211/macaddress"), "B8:27:EB:5B:91:61\n").unwrap();
        assert_eq!(found(), "b8:27:eb:5b:91:61");
    }

    #[test]
    fn a_random_address_is_better_than_none() {
        let folder = sysfs(&[("wlan0", "5a:11:22:33:44:55")], None);
        fs::write(folder.path().join("class/net/wlan0/addr_assign_type"), "3\n").unwrap();
        assert_eq!(mac_address(folder.path(), Path::new("/nonexistent")), "5a:11:22:33:44:55");
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
