//! Opening the node's own access point.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use super::Settings;
use super::cause::Cause;
use super::device::Device;
use super::profile::{AccessPoint, Plan, new_uuid};
use super::radio::{Caller, Held, Radio};
use super::subnet;
use super::supplicant::{self, Refusal};
use super::survey::boot_seconds;
use provisioning_core::domain::Ssid;

/// Measured: 3 s on a slow machine, 6 s during a scan.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// The supplicant answers within milliseconds.
const SUPPLICANT_LIMIT: Duration = Duration::from_secs(1);
/// The helper is started by the connection; this takes a slow board some hundred milliseconds.
const HELPER_LIMIT: Duration = Duration::from_secs(5);
/// The ports of NetworkManager's server for access points: DNS and DHCP.
const PORTS: [u16; 2] = [53, 67];

impl Radio {
    pub(super) async fn open_access_point(&mut self, name: &str, caller: &mut Caller) -> Result<(), Cause> {
        let ssid = Ssid::try_from(name).map_err(|_| Cause::Name)?;
        let device = self.ready(caller).await?;
        self.catch_up();
        if let Some(Held { plan: Plan::AccessPoint(open), lost: None, .. }) = &self.held
            && open.ssid == ssid
        {
            return Ok(());
        }
        self.remember(&device).await;
        let access_point = AccessPoint {
            uuid: new_uuid()?,
            ssid,
            passphrase: self.settings.passphrase.clone(),
            address: self.address(&device.interface),
            channel: self.settings.channel,
            interface: device.interface.clone(),
        };
        self.raise(access_point, &device, caller).await
    }

    /// The node's address in an access point at that interface.
    pub(super) fn address(&self, interface: &str) -> Ipv4Addr {
        let table = fs::read_to_string(&self.settings.routes).unwrap_or_default();
        let (usual, chosen) = (self.settings.address, subnet::choose(&table, interface, self.settings.address));
        if chosen != usual {
            info!(%usual, %chosen, "another network overlaps the access point's usual one");
        }
        chosen
    }

    /// Activates it, with the DNS server's file in place, because the server reads it only when it starts.
    pub(super) async fn raise(&mut self, access_point: AccessPoint, device: &Device, caller: &mut Caller) -> Result<(), Cause> {
        if !device.can_be_access_point {
            return Err(Cause::NoAccessPointMode(device.interface.clone()));
        }
        let address = access_point.address;
        // Removes the old file before the new one of the same name is written.
        self.dns = None;
        let dns = DnsFile::write(&self.settings, address)
            .await
            .inspect_err(|error| {
                let directory = self.settings.dns_directory.display();
                warn!(%error, %directory, "names will not resolve to the node in the access point");
            })
            .ok();
        self.end_scan(device).await;
        match self.activate(Plan::AccessPoint(access_point), device, None, caller, OPEN_LIMIT).await {
            Ok(()) => {
                self.dns = dns;
                Ok(())
            }
            Err(Cause::Ended { ended, .. }) if ended.is_shared_failure() => match taken_port(address) {
                Some(port) => Err(Cause::PortTaken { port, ended }),
                None => {
                    let (mode, refusal) = (super::outcome::Mode::AccessPoint, Refusal::default());
                    Err(Cause::Ended { ended, mode, sighting: None, refusal })
                }
            },
            Err(cause) => Err(cause),
        }
    }

    /// Aborts a running scan. NetworkManager scans whenever the radio is idle, for example after a failed join; the supplicant
    /// opens no access point until the scan has ended, which it looks at once a second, and an open one receives nothing
    /// meanwhile. Not aborted as long as no list is known, because some drivers cannot scan as access points later.
    pub(super) async fn end_scan(&self, device: &Device) {
        if self.networks.is_empty() && self.list.is_empty(boot_seconds()) {
            return;
        }
        let ending = async { supplicant::abort_scan(self.bus()?, device).await };
        match timeout(SUPPLICANT_LIMIT, ending).await {
            Ok(Ok(())) => debug!("aborted a scan"),
            // No scan was running, the driver cannot abort it, or another program replaces wpa_supplicant.
            Ok(Err(cause)) => debug!("no scan was aborted: {}", provisioning_core::fault::chain(&cause)),
            Err(_) => debug!("the supplicant does not answer"),
        }
    }
}

/// The file that makes every name resolve to the node. Removed on drop, because the DNS servers of all shared connections
/// of the machine read it.
pub(in crate::network) enum DnsFile {
    /// Written by this process.
    Own(PathBuf),
    /// Written by the package's helper, which removes it when this connection ends.
    Helpers { _connection: UnixStream },
}

impl DnsFile {
    async fn write(settings: &Settings, address: Ipv4Addr) -> io::Result<Self> {
        match timeout(HELPER_LIMIT, Self::from_helper(settings, address)).await? {
            // Without the helper only root can write the file.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Self::by_itself(settings, address)
            }
            answer => answer,
        }
    }

    /// The helper reads the address, writes the file, and answers with a line.
    async fn from_helper(settings: &Settings, address: Ipv4Addr) -> io::Result<Self> {
        let mut connection = UnixStream::connect(&settings.dns_helper).await?;
        connection.write_all(format!("{address}\n").as_bytes()).await?;
        if connection.read(&mut [0; 16]).await? == 0 {
            return Err(io::Error::other("the helper did not write the file: see the journal of jarvis-provision-names@"));
        }
        Ok(Self::Helpers { _connection: connection })
    }

    fn by_itself(settings: &Settings, address: Ipv4Addr) -> io::Result<Self> {
        let path = Self::path(settings);
        fs::write(&path, format!("# Made by jarvis-provision while its access point is open.\n{}", Self::options(address)))?;
        Ok(Self::Own(path))
    }

    /// The options of the DNS server (dnsmasq(8)). A time to live of zero prevents caching: in the home network the same names
    /// resolve to other addresses. Other types than A are refused at once; the server would ask the node's own resolver for
    /// them, which may not answer, and phones would wait.
    pub(in crate::network) fn options(address: Ipv4Addr) -> String {
        format!("address=/#/{address}\nlocal-ttl=0\nno-resolv\n")
    }

    /// Removes the file of an earlier run.
    pub(super) fn remove_leftover(settings: &Settings) {
        remove(&Self::path(settings));
    }

    fn path(settings: &Settings) -> PathBuf {
        settings.dns_directory.join("jarvis-provisioning.conf")
    }
}

impl Drop for DnsFile {
    fn drop(&mut self) {
        if let Self::Own(path) = self {
            remove(path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        // In a read-only folder, as the packaged service sees this one, the kernel refuses before it looks for the file.
        && path.symlink_metadata().is_ok()
    {
        warn!(%error, path = %path.display(), "a file could not be removed");
    }
}

/// The port of NetworkManager's server that another program uses, if any.
fn taken_port(address: Ipv4Addr) -> Option<u16> {
    let tables =
        ["udp", "udp6", "tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default());
    PORTS.into_iter().find(|port| tables.iter().any(|table| has_socket(table, address, *port)))
}

/// Whether a socket in one of the kernel's tables is bound to the port, at the address or at all addresses.
/// proc(5): the second field is the local address in hexadecimal, an IPv4 address in the machine's byte order.
fn has_socket(table: &str, address: Ipv4Addr, port: u16) -> bool {
    let address = format!("{:08X}", u32::from_ne_bytes(address.octets()));
    let local = |line: &str| {
        let (bound, at) = line.split_whitespace().nth(1)?.split_once(':')?;
        Some((bound == address || bound.bytes().all(|digit| digit == b'0')) && u16::from_str_radix(at, 16) == Ok(port))
    };
    table.lines().skip(1).any(|line| local(line).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);

    #[test]
    fn a_socket_at_every_address_or_at_ours_takes_the_port_and_another_one_does_not() {
        let table =
            |local: &str| format!("  sl  local_address rem_address   st\n   7: {local} 00000000:0000 07 00000000:00000000\n");
        assert!(has_socket(&table("00000000:0035"), ADDRESS, 53));
        assert!(has_socket(&table("00000000000000000000000000000000:0035"), ADDRESS, 53));
        assert!(!has_socket(&table("00000000:0035"), ADDRESS, 67));
        let local = |address: Ipv4Addr| format!("{:08X}:0035", u32::from_ne_bytes(address.octets()));
        assert!(has_socket(&table(&local(ADDRESS)), ADDRESS, 53));
        assert!(!has_socket(&table(&local(Ipv4Addr::new(127, 0, 0, 53))), ADDRESS, 53));
        assert!(!has_socket("", ADDRESS, 53));
    }

    fn settings(directory: &Path) -> Settings {
        Settings { dns_directory: directory.into(), dns_helper: directory.join("names"), ..Settings::default() }
    }

    #[tokio::test]
    async fn the_dns_file_is_there_as_long_as_the_access_point() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let file = DnsFile::write(&settings(directory.path()), ADDRESS).await.expect("a writable folder");
        let text = fs::read_to_string(directory.path().join("jarvis-provisioning.conf")).expect("the file");
        assert!(text.contains("address=/#/192.168.4.1\n"));
        drop(file);
        assert_eq!(fs::read_dir(directory.path()).expect("the folder").count(), 0);
    }

    #[test]
    fn the_helper_writes_the_same_options() {
        let helper = include_str!("../../../packaging/jarvis-provision-names");
        let written = format!("printf '{}'", DnsFile::options(ADDRESS).replace(&ADDRESS.to_string(), "%s").replace('\n', "\\n"));
        assert!(helper.contains(&written), "{written}");
    }

    #[tokio::test]
    async fn the_helper_is_told_the_address_and_the_end() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let settings = settings(directory.path());
        let helper = UnixListener::bind(&settings.dns_helper).expect("a socket");
        let serve = async {
            let (mut connection, _) = helper.accept().await.expect("a connection");
            let mut received = [0; 64];
            let length = connection.read(&mut received).await.expect("the address");
            connection.write_all(b"written\n").await.expect("the answer can be sent");
            (connection, received[..length].to_vec())
        };
        let (file, (mut connection, received)) = tokio::join!(DnsFile::write(&settings, ADDRESS), serve);
        assert_eq!(received, b"192.168.4.1\n");
        assert!(!directory.path().join("jarvis-provisioning.conf").exists(), "the helper writes the file");
        drop(file.expect("the helper has answered"));
        assert_eq!(connection.read(&mut [0; 1]).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn a_helper_that_ends_without_an_answer_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary folder");
        let settings = settings(directory.path());
        let helper = UnixListener::bind(&settings.dns_helper).expect("a socket");
        let serve = async { drop(helper.accept().await.expect("a connection")) };
        let (file, ()) = tokio::join!(DnsFile::write(&settings, ADDRESS), serve);
        assert!(file.is_err());
    }
}
