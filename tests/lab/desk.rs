//! A computer at the phone's place, with a separate NetworkManager that is connected to the home's network.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use tempfile::TempDir;
use tokio::process::Command;

use crate::air::until;
use crate::place::{PASSWORD, Running, SSID, start, there};

/// Gives NetworkManager a separate `/sys`, and paths that do not collide with those of the node's instance.
const NETWORK_MANAGER: &str = r#"
set -e
mount -o remount,ro /sys
for folder in /run/NetworkManager /var/lib/NetworkManager /etc/NetworkManager/system-connections; do
    mount -t tmpfs none "$folder"
done
wpa_supplicant -u &
echo starting
exec NetworkManager --no-daemon --config="$1/network.conf" --config-dir="$1/none" --system-config-dir="$1/none" \
    --pid-file="$1/pid" --state-file="$1/state"
"#;

const SETTINGS: &str = "
[main]
plugins=keyfile
dhcp=internal
dns=none
[device]
wifi.scan-rand-mac-address=no
[connection]
wifi.cloned-mac-address=preserve
[keyfile]
unmanaged-devices=except:interface-name:wlan2
";

/// The computer.
pub(crate) struct Desk {
    files: TempDir,
    _programs: [Running; 2],
}

impl Desk {
    /// Starts it, and joins the home's network.
    pub(crate) async fn at_home() -> Self {
        let files = TempDir::new().expect("a temporary folder");
        let folder = files.path();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("our own folder");
        fs::create_dir(folder.join("none")).expect("our own folder");
        fs::write(folder.join("network.conf"), SETTINGS).expect("its settings can be written");
        let policy =
            r#"<policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>"#;
        let bus = format!(
            "<busconfig><type>system</type><listen>unix:path={0}/bus</listen><auth>EXTERNAL</auth>{policy}</busconfig>",
            folder.display()
        );
        fs::write(folder.join("bus.conf"), bus).expect("its settings can be written");
        let mut bus = Command::new("dbus-daemon");
        bus.arg(format!("--config-file={}/bus.conf", folder.display())).args(["--nofork", "--print-address"]);
        bus.stdin(Stdio::null()).kill_on_drop(true);
        let bus = start(bus, "phone-bus", "unix:").await.0;
        let mut manager = there("phone", "sh");
        manager.args(["-c", NETWORK_MANAGER, "sh"]).arg(folder).env("DBUS_SYSTEM_BUS_ADDRESS", address(folder));
        let manager = start(manager, "phone-network-manager", "starting").await.0;
        let desk = Self { files, _programs: [bus, manager] };
        until("its NetworkManager is there", async || desk.nmcli(&["general"]).await.status.success()).await;
        until("its radio is ready", async || desk.device_state().await.contains("disconnected")).await;
        let profile = ["connection", "add", "type", "wifi", "con-name", "home", "ssid", SSID, "wifi-sec.key-mgmt", "wpa-psk"];
        let added = desk.nmcli(&[&profile[..], &["wifi-sec.psk", PASSWORD]].concat()).await;
        assert!(added.status.success(), "{added:?}");
        // Under load a first handshake may exceed the time limit of the home's access point.
        until("it joins", async || desk.nmcli(&["connection", "up", "home"]).await.status.success()).await;
        desk.is_back_home().await;
        desk
    }

    /// The phone's program, run on this computer.
    pub(crate) fn phone(&self) -> Command {
        let mut phone = there("phone", "jarvis-phone");
        phone
            .env("DBUS_SYSTEM_BUS_ADDRESS", address(self.files.path()))
            .env("RUST_LOG", "debug,zbus=info,hyper=info,reqwest=info");
        phone
    }

    /// Asserts that it is in the home's network, and has no other profile.
    pub(crate) async fn is_back_home(&self) {
        until("the computer is in its network", async || self.device_state().await.contains("connected:home")).await;
        let profiles = self.nmcli(&["--terse", "--fields", "NAME,TYPE", "connection", "show"]).await.stdout;
        let profiles = String::from_utf8_lossy(&profiles).into_owned();
        let wireless: Vec<_> = profiles.lines().filter(|line| line.ends_with(":802-11-wireless")).collect();
        assert_eq!(wireless, ["home:802-11-wireless"]);
    }

    async fn device_state(&self) -> String {
        let states = self.nmcli(&["--terse", "--fields", "DEVICE,STATE,CONNECTION", "device"]).await.stdout;
        let states = String::from_utf8_lossy(&states).into_owned();
        states.lines().find(|line| line.starts_with("wlan2:")).unwrap_or_default().to_owned()
    }

    async fn nmcli(&self, arguments: &[&str]) -> Output {
        let mut nmcli = there("phone", "nmcli");
        nmcli.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", address(self.files.path()));
        nmcli.output().await.expect("nmcli can be started")
    }
}

fn address(folder: &std::path::Path) -> String {
    format!("unix:path={}/bus", folder.display())
}
