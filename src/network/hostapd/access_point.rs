//! The node's access point: `hostapd` for the radio, `dnsmasq` for addresses and names.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use tracing::{info, warn};

use super::address;
use super::cause::Cause;
use super::children::{Child, Rights, Scratch};
use super::radio::Radio;
use super::text::AccessPoint;
use crate::network::nm::subnet::{self, OTHERS, PREFIX};
use provisioning_core::domain::{self, RadioUse, Ssid};
use provisioning_core::fault::chain;

/// Measured with NetworkManager: 3 s on a slow machine.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// `dnsmasq` only opens its sockets.
const SERVER_LIMIT: Duration = Duration::from_secs(10);

/// An open access point. Its programs end when this is dropped.
pub(super) struct Hotspot {
    pub name: String,
    pub interface: String,
    pub address: Ipv4Addr,
    hostapd: Child,
    dnsmasq: Child,
    _files: [Scratch; 2],
}

impl Hotspot {
    /// Waits until one of its programs ends; its name. May be cancelled.
    pub(super) async fn ended(&mut self) -> &'static str {
        tokio::select! {
            _ = self.hostapd.ended() => self.hostapd.program(),
            _ = self.dnsmasq.ended() => self.dnsmasq.program(),
        }
    }
}

impl Radio {
    /// Opens the access point, in place of any other use of the radio.
    pub(super) async fn open_hotspot(&mut self, name: &str) -> Result<(), Cause> {
        let ssid = Ssid::try_from(name).map_err(|_| Cause::Name)?;
        if self.hotspot.as_ref().is_some_and(|hotspot| hotspot.name == name) {
            return Ok(());
        }
        self.close_hotspot().await;
        let interface = self.usable()?;
        self.connect_alone(&interface).await?;
        self.leave().await;
        let opened = self.raise(name, &ssid, &interface).await;
        match opened {
            Ok(hotspot) => {
                let access_point = domain::AccessPoint { interface, address: hotspot.address, prefix: PREFIX };
                self.hotspot = Some(hotspot);
                self.report_use(RadioUse::AccessPoint(access_point));
                Ok(())
            }
            Err(cause) => {
                self.give_back(&interface).await;
                Err(cause)
            }
        }
    }

    async fn raise(&self, name: &str, ssid: &Ssid, interface: &str) -> Result<Hotspot, Cause> {
        let table = fs::read_to_string(&self.settings.routes).unwrap_or_default();
        let (usual, address) = (self.settings.address, subnet::choose(&table, interface, self.settings.address));
        if address != usual {
            info!(%usual, %address, "another network overlaps the access point's usual one");
        }
        let passphrase = self.settings.passphrase.as_ref();
        let Self { country, .. } = *self;
        let access_point = AccessPoint { interface, ssid, passphrase, channel: self.settings.channel, country, address };
        let folder = &self.settings.runtime;
        let files = [
            Scratch::write(folder, "hostapd.conf", &access_point.hostapd()?)?,
            Scratch::write(folder, "dnsmasq.conf", &access_point.dnsmasq())?,
        ];
        let [radio, server] = [&files[0], &files[1]].map(|file| file.path().to_string_lossy().into_owned());
        self.take_from_supplicant(interface).await?;
        let launcher = &self.settings.launcher;
        let hostapd = Child::start(launcher, "hostapd", Rights::Kept, &[&radio], "AP-ENABLED", OPEN_LIMIT).await?;
        address::add(interface, address, PREFIX)?;
        let server = format!("--conf-file={server}");
        let arguments = ["--keep-in-foreground", "--log-facility=-", &server];
        let dnsmasq = match Child::start(launcher, "dnsmasq", Rights::Dropped, &arguments, "started, version", SERVER_LIMIT).await
        {
            Ok(dnsmasq) => dnsmasq,
            Err(cause) => {
                hostapd.stop().await;
                return Err(cause);
            }
        };
        Ok(Hotspot { name: name.to_owned(), interface: interface.to_owned(), address, hostapd, dnsmasq, _files: files })
    }

    /// Closes the access point, if it is open, and gives the radio back to the supplicant.
    pub(super) async fn close_hotspot(&mut self) {
        self.stop_retrying();
        let Some(hotspot) = self.hotspot.take() else { return };
        self.report_use(RadioUse::Idle);
        let Hotspot { hostapd, dnsmasq, interface, .. } = hotspot;
        tokio::join!(dnsmasq.stop(), hostapd.stop());
        self.give_back(&interface).await;
    }

    async fn give_back(&self, interface: &str) {
        if let Err(cause) = self.delete_addresses(interface) {
            warn!("the access point's address stays: {}", chain(&cause));
        }
        // A later request tries it again.
        if let Err(cause) = self.give_to_supplicant(interface).await {
            warn!("the radio is not given back to the supplicant: {}", chain(&cause));
        }
    }
    /// Removes the addresses that an access point may have.
    pub(super) fn delete_addresses(&self, interface: &str) -> Result<(), Cause> {
        let mut addresses = std::iter::once(self.settings.address).chain(OTHERS);
        addresses.try_for_each(|address| address::delete(interface, address, PREFIX))
    }
}
