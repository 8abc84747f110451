//! The panel of the packaged service: its object on the system bus, a light, and a button, within the sandbox.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::air::{must, run, until};
use crate::device::forget_networks;
use crate::units::{Unit, clean, install};

const OBJECT: [&str; 3] = ["org.jarvis.Provisioning1", "/org/jarvis/Provisioning1", "org.jarvis.Provisioning1"];
const STRANGER: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Where drop-ins of the unit are.
const DROP_IN: &str = "/etc/systemd/system/jarvis-provision.service.d";

/// A node that has it is provisioned.
const MARKER: &str = "/var/lib/jarvis/.provisioned";

/// How long a press has to be, as docs/settings.md says.
const FEEDBACK: Duration = Duration::from_secs(3);
const RESET: Duration = Duration::from_secs(10);

/// The name of the keyboard.
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

/// Plugs a device in on USB that this process simulates, and whose drivers are these modules.
fn plug(name: &str, [vendor, product]: [u32; 2], descriptor: &[u8], modules: &[&str]) -> File {
    for module in [&["uhid"], modules].concat() {
        // Some may be a part of the kernel.
        run("modprobe", &[module]);
    }
    let mut device = OpenOptions::new().read(true).write(true).open("/dev/uhid").expect("the kernel has uhid");
    // `UHID_CREATE2` of `linux/uhid.h`: name, place and number of 128, 64 and 64 bytes, sizes and numbers, the descriptor.
    let mut create = vec![0; 4 + 256];
    create[0] = 11;
    create[4..4 + name.len()].copy_from_slice(name.as_bytes());
    create.extend(u16::try_from(descriptor.len()).expect("a short text").to_ne_bytes());
    create.extend(3_u16.to_ne_bytes());
    create.extend([vendor, product, 0, 0].map(u32::to_ne_bytes).concat());
    create.extend(descriptor);
    device.write_all(&create).expect("a valid device");
    device
}

/// A keyboard that this process simulates. It is unplugged when this is dropped.
struct Keyboard(File);

impl Keyboard {
    fn plug() -> Self {
        Self(plug(KEYBOARD, [0x1209, 1], &DESCRIPTOR, &["hid-generic", "evdev"]))
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

/// A GPIO chip: a CP2112 of Silicon Labs, whose driver asks for the levels of its lines. Debian's kernels have no `gpio-sim`.
/// It is unplugged when the process ends.
struct Chip {
    /// The levels of its eight lines.
    lines: Arc<AtomicU8>,
    /// How often its driver has asked for them.
    asked: Arc<AtomicU32>,
}

impl Chip {
    /// Its ids on USB, and the line of the button, which a pull-up holds high.
    const IDS: [u32; 2] = [0x10c4, 0xea90];
    const LINE: u8 = 3;

    /// The report of the levels.
    const LEVELS: u8 = 3;

    /// One feature report; its driver does not look.
    const DESCRIPTOR: [u8; 20] =
        [0x06, 0, 0xff, 0x09, 1, 0xa1, 1, 0x09, 1, 0x15, 0, 0x25, 0x7f, 0x75, 8, 0x95, 63, 0xb1, 2, 0xc0];

    fn plug() -> Self {
        let chip = Self { lines: Arc::new(AtomicU8::new(1 << Self::LINE)), asked: Arc::default() };
        let mut device = plug("jarvis chip", Self::IDS, &Self::DESCRIPTOR, &["hid-cp2112"]);
        let (lines, asked) = (chip.lines.clone(), chip.asked.clone());
        std::thread::spawn(move || {
            // `struct uhid_event`; the kernel gives one for each read.
            let mut event = [0; 4380];
            while device.read(&mut event).is_ok() {
                let id = &event[4..8];
                let reply = match event[0] {
                    // `UHID_GET_REPORT`: an error, a size, and a report.
                    9 => {
                        let number = event[8];
                        let report = Self::report(number, lines.load(Ordering::SeqCst));
                        asked.fetch_add(u32::from(number == Self::LEVELS), Ordering::SeqCst);
                        let size = u16::try_from(report.len()).expect("a short report");
                        let error: u16 = if report.is_empty() { 5 } else { 0 };
                        [&10_u32.to_ne_bytes(), id, &error.to_ne_bytes(), &size.to_ne_bytes(), &report].concat()
                    }
                    // `UHID_SET_REPORT`: no error.
                    13 => [&14_u32.to_ne_bytes(), id, &[0, 0]].concat(),
                    _ => continue,
                };
                device.write_all(&reply).expect("it is plugged in");
            }
        });
        chip
    }

    /// Waits until a program is told of changes. The driver asks for the levels then, again and again.
    async fn until_watched(&self) {
        until("the button is watched", async || self.asked.load(Ordering::SeqCst) > 1).await;
    }

    /// A report that its driver asks for (Silicon Labs AN495); empty for others.
    fn report(number: u8, levels: u8) -> Vec<u8> {
        match number {
            // All lines are inputs.
            0x02 => vec![number, 0, 0, 0, 0],
            Self::LEVELS => vec![number, levels],
            // Part and version.
            0x05 => vec![number, 0x0c, 2],
            // The clock of its SMBus is 100 kHz.
            0x06 => vec![number, 0, 1, 0x86, 0xa0, 2, 0, 0, 0, 0, 0, 0, 0, 0],
            // Nothing can be programmed.
            0x20 => vec![number, 0],
            _ => Vec::new(),
        }
    }

    /// Connects the button's line to the ground, or leaves it to its pull-up.
    fn press(&self, is_pressed: bool) {
        self.lines.store(u8::from(!is_pressed) << Self::LINE, Ordering::SeqCst);
    }

    /// Its character device.
    fn device() -> Option<PathBuf> {
        let [vendor, product] = Self::IDS;
        let place = format!(":{vendor:04X}:{product:04X}.");
        let mut chips = fs::read_dir("/sys/bus/gpio/devices").ok()?.flatten();
        let is_ours = |path: &Path| path.canonicalize().is_ok_and(|path| path.display().to_string().contains(&place));
        chips.find(|entry| is_ours(&entry.path())).map(|entry| Path::new("/dev").join(entry.file_name()))
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

    let settings = format!("[led]\nname = \"{light}\"\n[[button]]\ninput = \"{device}\"\nkey = {KEY_R}\n");
    let permitted = format!(
        "ExecStartPre=-+/usr/lib/jarvis-provisioning/devices {light} {device}\nReadWritePaths=-/sys/class/leds/{light}\n\
         BindPaths=-{device}\nDeviceAllow={device} r\n"
    );
    let unit = provisioned_with(&settings, &permitted);
    must("systemd-analyze", &["security", "--threshold=15", "--no-pager", "jarvis-provision.service"]);

    until("the object is there", async || property("Provisioned") == "b true").await;
    let (works, output) = stranger_calls("Diagnose");
    assert!(works && output.contains("association"), "{output}");
    let (works, output) = stranger_calls("Reset");
    assert!(!works && output.contains("denied"), "{output}");
    let described = must("busctl", &["introspect", OBJECT[0], OBJECT[1]]);
    assert!(described.contains(".LastOutcome") && described.contains(".Reset"), "{described}");
    until("the service has the light", async || !triggers().contains("[kbd-capslock]")).await;

    hold(|is_pressed| keyboard.press(is_pressed)).await;

    drop(unit);
    until("the light shows what it showed before", async || triggers().contains("[kbd-capslock]")).await;
    clean_up();
}

#[tokio::test]
async fn a_long_press_of_a_button_at_a_gpio_chip_resets_the_node() {
    forget_networks();
    clean("jarvis-provisioning");
    let chip = Chip::plug();
    until("the chip is there", async || Chip::device().is_some_and(|device| device.exists())).await;
    let device = Chip::device().expect("it was there").display().to_string();
    let settings = format!("[[button]]\ngpio = \"{device}\"\nline = {}\n", Chip::LINE);
    let permitted =
        format!("ExecStartPre=-+/usr/lib/jarvis-provisioning/devices {device}\nBindPaths=-{device}\nDeviceAllow={device} rw\n");
    let unit = provisioned_with(&settings, &permitted);
    until("the object is there", async || property("Provisioned") == "b true").await;
    chip.until_watched().await;
    hold(|is_pressed| chip.press(is_pressed)).await;
    drop(unit);
    clean_up();
}

/// Starts the packaged service on a node that the existing software has provisioned, with settings, and with devices that
/// its unit permits.
fn provisioned_with(settings: &str, permitted: &str) -> Unit {
    // As docs/settings.md says.
    fs::create_dir_all("/etc/jarvis").expect("root may");
    let packaged = include_str!("../../packaging/provision.toml");
    let settings = format!("{packaged}\n[access_point]\nopen = \"never\"\n[care]\nenabled = true\n{settings}");
    fs::write("/etc/jarvis/provision.toml", settings).expect("root may");
    fs::create_dir_all(DROP_IN).expect("root may");
    fs::write(format!("{DROP_IN}/panel.conf"), format!("[Service]\n{permitted}")).expect("root may");
    fs::create_dir_all("/var/lib/jarvis").expect("root may");
    fs::write(MARKER, "").expect("root may");
    install(&["jarvis-provisioning"]);
    Unit::started("jarvis-provision.service")
}

/// Holds a button for a short and for a long time.
async fn hold(mut press: impl FnMut(bool)) {
    let is_provisioned = || Path::new(MARKER).exists();
    let began = Instant::now();
    press(true);
    until("the owner gets feedback", async || property("Button") == "s \"held\"").await;
    assert!(began.elapsed() >= FEEDBACK, "{:?}", began.elapsed());
    press(false);
    until("the press has ended", async || property("Button") == "s \"released\"").await;
    assert!(is_provisioned(), "a press that ends early does nothing");
    let began = Instant::now();
    press(true);
    until("the node is reset", async || !is_provisioned() && property("Provisioned") == "b false").await;
    assert!(began.elapsed() >= RESET, "{:?}", began.elapsed());
    until("the reset has ended", async || property("Button") == "s \"released\"").await;
    press(false);
}

fn clean_up() {
    fs::remove_file(format!("{DROP_IN}/panel.conf")).expect("root may");
    must("systemctl", &["daemon-reload"]);
    clean("jarvis-provisioning");
}
