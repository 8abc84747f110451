//! Networks on the home's radio that are more than one, or other than a home's.

use std::fmt::Write as _;
use std::fs;

use tempfile::TempDir;

use crate::air::{must, run};
use crate::place::{Running, silence, start, there};

/// Several networks on the home's radio, and nothing behind them.
pub(crate) struct Street {
    _files: TempDir,
    _access_point: Running,
    dhcp: Option<Running>,
}

impl Street {
    /// Where the control interfaces of its access points are.
    pub(crate) const CONTROL: &str = "/run/street";

    /// Opens networks with addresses: their names, and the lines of their protection for hostapd.
    pub(crate) async fn open(networks: &[(&str, &str)]) -> Self {
        let mut street = Self::silent(networks).await;
        let ranges: Vec<_> =
            (0..networks.len()).map(|index| format!("--dhcp-range=10.20.{index}.10,10.20.{index}.250,1h")).collect();
        street.serve(&ranges);
        street
    }

    /// Opens networks without a DHCP server.
    pub(crate) async fn silent(networks: &[(&str, &str)]) -> Self {
        let files = TempDir::new().expect("a temporary folder");
        silence("home", "wlan1");
        run("ip", &["-n", "home", "addr", "flush", "dev", "wlan1"]);
        let mut text = String::from("interface=wlan1\ndriver=nl80211\nhw_mode=g\nchannel=1\nwmm_enabled=1\n");
        _ = writeln!(text, "ctrl_interface={}", Self::CONTROL);
        for (index, (name, protection)) in networks.iter().enumerate() {
            if index > 0 {
                _ = writeln!(text, "bss={}\nctrl_interface={}", Self::device(index), Self::CONTROL);
            }
            _ = write!(text, "ssid={name}\n{protection}");
        }
        let file = files.path().join("hostapd.conf");
        fs::write(&file, text).expect("its settings can be written");
        let mut command = there("home", "hostapd");
        command.arg(&file);
        let access_point = start(command, "hostapd", "AP-ENABLED").await.0;
        for index in 0..networks.len() {
            must("ip", &["-n", "home", "addr", "add", &format!("10.20.{index}.1/24"), "dev", &Self::device(index)]);
        }
        Self { _files: files, _access_point: access_point, dhcp: None }
    }

    /// The home's interface in the network of that number.
    pub(crate) fn device(index: usize) -> String {
        if index == 0 { "wlan1".to_owned() } else { format!("street{index}") }
    }

    /// The hardware address of an access point.
    pub(crate) fn station(index: usize) -> String {
        let shown = must("ip", &["-n", "home", "-oneline", "link", "show", "dev", &Self::device(index)]);
        shown.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("an address").to_owned()
    }

    /// Starts a DHCP server with these ranges and options, in place of an earlier one.
    pub(crate) fn serve(&mut self, options: &[String]) {
        self.dhcp = None;
        let mut command = there("home", "dnsmasq");
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--bind-dynamic", "--dhcp-authoritative"]);
        command.args(["--except-interface=lo", "--except-interface=lab1"]);
        command.args(["--dhcp-leasefile=/dev/null", "--no-ping", "--log-dhcp", "--log-facility=-"]).args(options);
        self.dhcp = Some(Running::quiet(command, "dnsmasq"));
    }
}

/// A network that sends beacons and does not answer: for protections that no access point here has. A scan may miss it, because
/// it looks at a channel for less time than there is between two beacons.
pub(crate) struct Beacons;

impl Beacons {
    /// Sends them with that name; `tail`: the elements after those that every network has.
    pub(crate) fn of(name: &str, tail: &[u8]) -> Self {
        let there = ["netns", "exec", "home"];
        silence("home", "wlan1");
        let address = must("ip", &[&there[..], &["cat", "/sys/class/net/wlan1/address"]].concat()).trim().replace(':', "");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // IEEE 802.11-2020, 9.3.3.2: a beacon every 100 time units; a network with an access point and encryption; its name, rates
        // and channel.
        let named = [&[0, u8::try_from(name.len()).expect("a short name")][..], name.as_bytes()].concat();
        let fixed = [0, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0x11, 0x04];
        let head = format!("80000000ffffffffffff{address}{address}0000{}", hex(&fixed))
            + &hex(&[&named[..], &[1, 4, 0x82, 0x84, 0x8b, 0x96, 3, 1, 1]].concat());
        must("ip", &[&there[..], &["iw", "dev", "wlan1", "set", "type", "__ap"]].concat());
        must("ip", &["-n", "home", "link", "set", "wlan1", "up"]);
        let tail = hex(tail);
        let mut starting = [&there[..], &["iw", "dev", "wlan1", "ap", "start", name, "2412", "100", "1", "head", &head]].concat();
        if !tail.is_empty() {
            starting.extend(["tail", &tail]);
        }
        must("ip", &starting);
        Self
    }
}

impl Drop for Beacons {
    fn drop(&mut self) {
        for arguments in [&["ap", "stop"][..], &["set", "type", "managed"]] {
            silence("home", "wlan1");
            run("ip", &[&["netns", "exec", "home", "iw", "dev", "wlan1"], arguments].concat());
        }
    }
}
