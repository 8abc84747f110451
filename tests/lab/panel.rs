//! The panel of the packaged service: its object on the system bus, a light, and a button, within the sandbox.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::air::{must, run, until};
use crate::device::forget_networks;
use crate::units::{Unit, clean, install};

const OBJECT: [&str; 3] = ["org.jarvis.Provisioning1", "/org/jarvis/Provisioning1", "org.jarvis.Provisioning1"];
const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// The name of the keyboard, and the place in which it is plugged.
const KEYBOARD: &str = "jarvis keyboard";

/// What a keyboard says about itself (HID 1.11, B.1): keys in eight bytes, and lights in one.
const DESCRIPTOR: [u8; 63] = [
    0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0x05, 0x07, 0x19, 0xe0, 0x29, 0xe7, 0x15, 0x00, 0x25, 0x01, 0x75, 0x01, 0x95, 0x08, 0x81,
    0x02, 0x95, 0x01, 0x75, 0x08, 0x81, 0x01, 0x95, 0x05, 0x75, 0x01, 0x05, 0x08, 0x19, 0x01, 0x29, 0x05, 0x91, 0x02, 0x95, 0x01,
    0x75, 0x03, 0x91, 0x01, 0x95, 0x06, 0x75, 0x08, 0x15, 0x00, 0x25, 0x65, 0x05, 0x07, 0x19, 0x00, 0x29, 0x65, 0x81, 0x00, 0xc0,
];

/// The usage of the key R, and its code as an input event.
const USAGE: u8 = 0x15;
const KEY_R: u16 = 19;

/// A keyboard that this process simulates. It is unplugged when this is dropped.
struct Keyboard(File);

impl Keyboard {
    fn plug() -> Self {
        for module in ["uhid", "hid-generic", "evdev"] {
            // Some may be a part of the kernel.
            run("modprobe", &[module]);
        }
        let mut device = OpenOptions::new().read(true).write(true).open("/dev/uhid").expect("the kernel has uhid");
        // `UHID_CREATE2` of `linux/uhid.h`: name, place and number of 128, 64 and 64 bytes, sizes and numbers, the descriptor.
        let mut create = vec![0; 4 + 256];
        create[0] = 11;
        create[4..4 + KEYBOARD.len()].copy_from_slice(KEYBOARD.as_bytes());
        create.extend(u16::try_from(DESCRIPTOR.len()).expect("a short text").to_ne_bytes());
        create.extend(3_u16.to_ne_bytes());
        create.extend([0x1209_u32, 1, 0, 0].map(u32::to_ne_bytes).concat());
        create.extend(DESCRIPTOR);
        device.write_all(&create).expect("a valid keyboard");
        Self(device)
    }

    /// Presses the key R, or releases it.
    fn press(&mut self, is_pressed: bool) {
        // `UHID_INPUT2`: a size, and a report.
        let mut input = 12_u32.to_ne_bytes().to_vec();
        input.extend(8_u16.to_ne_bytes());
        input.extend([0, 0, if is_pressed { USAGE } else { 0 }, 0, 0, 0, 0, 0]);
        self.0.write_all(&input).expect("it is plugged in");
    }

    /// Its input device.
    fn device() -> Option<PathBuf> {
        let entries = fs::read_dir("/sys/class/input").expect("the kernel has input devices").flatten();
        let mut events = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("event"));
        let is_ours = |path: &Path| fs::read_to_string(path.join("device/name")).is_ok_and(|name| name.trim() == KEYBOARD);
        events.find(|entry| is_ours(&entry.path())).map(|entry| Path::new("/dev/input").join(entry.file_name()))
    }

    /// Its light for capital letters: the name in `/sys/class/leds`.
    fn light() -> Option<String> {
        let entries = fs::read_dir("/sys/class/leds").ok()?.flatten();
        let mut names = entries.filter(|entry| {
            let name = fs::read_to_string(entry.path().join("device/name"));
            name.is_ok_and(|name| name.trim() == KEYBOARD)
        });
        names.find_map(|entry| entry.file_name().into_string().ok().filter(|name| name.ends_with("capslock")))
    }
}

fn property(name: &str) -> String {
    let output = run("busctl", &[&["get-property"], &OBJECT[..], &[name]].concat());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Calls a method as a user who is no administrator; returns whether it works, and the output.
fn stranger_calls(member: &str) -> (bool, String) {
    let output = run(STRANGER[0], &[&STRANGER[1..], &["busctl", "call"], &OBJECT[..], &[member]].concat());
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test]
async fn the_packaged_service_shows_its_state_and_a_long_press_resets_it() {
    forget_networks();
    clean("jarvis-provisioning");
    let mut keyboard = Keyboard::plug();
    until("the keyboard is there", async || Keyboard::device().is_some() && Keyboard::light().is_some()).await;
    let device = Keyboard::device().expect("it was there").display().to_string();
    let light = Keyboard::light().expect("it was there");
    let folder = Path::new("/sys/class/leds").join(&light);
    let triggers = || fs::read_to_string(folder.join("trigger")).expect("a light has triggers");
    assert!(triggers().contains("[kbd-capslock]"), "{}", triggers());

    // As docs/settings.md says.
    fs::create_dir_all("/etc/jarvis").expect("root may");
    let packaged = include_str!("../../packaging/provision.toml");
    let settings = format!(
        "{packaged}\n[access_point]\nopen = \"never\"\n[care]\nenabled = true\n[led]\nname = \"{light}\"\n[[button]]\ninput = \"{device}\"\nkey = {KEY_R}\n"
    );
    fs::write("/etc/jarvis/provision.toml", settings).expect("root may");
    let drop_in = Path::new("/etc/systemd/system/jarvis-provision.service.d");
    fs::create_dir_all(drop_in).expect("root may");
    let permitted = format!(
        "[Service]\nExecStartPre=-+/usr/lib/jarvis-provisioning/devices {light} {device}\nReadWritePaths=-/sys/class/leds/{light}\n\
         BindPaths=-{device}\nDeviceAllow={device} r\n"
    );
    fs::write(drop_in.join("panel.conf"), permitted).expect("root may");
    // A node that the existing software has provisioned.
    fs::create_dir_all("/var/lib/jarvis").expect("root may");
    let marker = Path::new("/var/lib/jarvis/.provisioned");
    fs::write(marker, "").expect("root may");
    install(&["jarvis-provisioning"]);
    let unit = Unit::started("jarvis-provision.service");
    must("systemd-analyze", &["security", "--threshold=15", "--no-pager", "jarvis-provision.service"]);

    until("the object is there", async || property("Provisioned") == "b true").await;
    let (works, output) = stranger_calls("Diagnose");
    assert!(works && output.contains("association"), "{output}");
    let (works, output) = stranger_calls("Reset");
    assert!(!works && output.contains("denied"), "{output}");
    let described = must("busctl", &["introspect", OBJECT[0], OBJECT[1]]);
    assert!(described.contains(".LastOutcome") && described.contains(".Reset"), "{described}");
    until("the service has the light", async || !triggers().contains("[kbd-capslock]")).await;

    keyboard.press(true);
    until("the owner gets feedback", async || property("Button") == "s \"held\"").await;
    keyboard.press(false);
    until("the press has ended", async || property("Button") == "s \"released\"").await;
    assert!(marker.exists(), "a press that ends early does nothing");
    keyboard.press(true);
    until("the node is reset", async || !marker.exists() && property("Provisioned") == "b false").await;
    until("the reset has ended", async || property("Button") == "s \"released\"").await;
    keyboard.press(false);

    drop(unit);
    until("the light shows what it showed before", async || triggers().contains("[kbd-capslock]")).await;
    fs::remove_file(drop_in.join("panel.conf")).expect("root may");
    must("systemctl", &["daemon-reload"]);
    clean("jarvis-provisioning");
}
