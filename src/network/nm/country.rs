//! The country of the radio, and what else only root may set at the supplicant.
//!
//! The supplicant passes the country on to the kernel, which then allows the country's channels. Some systems, such as Raspberry
//! Pi OS, block the radio until there is a country.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::{debug, info};

use super::cause::Cause;
use super::device::Device;
use super::radio::{Caller, Radio};
use super::supplicant::{Change, IWD};
use provisioning_core::domain::Country;
use provisioning_core::fault::chain;

/// The helper is started by the connection; this takes a slow board some hundred milliseconds.
pub(in crate::network) const HELPER_LIMIT: Duration = Duration::from_secs(5);

/// `struct rfkill_event` of `linux/rfkill.h`, version 1: lifts the soft block of every Wi-Fi switch.
const UNBLOCK_WIFI: [u8; 8] = {
    const TYPE_WLAN: u8 = 1;
    const OPERATION_CHANGE_ALL: u8 = 3;
    // A 32-bit index, which this operation ignores; type, operation, soft, hard.
    [0, 0, 0, 0, TYPE_WLAN, OPERATION_CHANGE_ALL, 0, 0]
};

impl Radio {
    /// Sets the country. Lifts the soft block of a radio without a country, once: the owner may switch it off again.
    pub(super) async fn set_country(&mut self, country: Country, caller: &mut Caller) -> Result<(), Cause> {
        self.present(caller).await?;
        let is_blocked = matches!(self.usable_device().await, Err(Cause::SoftBlocked { needs_country: true }));
        self.country = Some(country);
        if is_blocked && !std::mem::replace(&mut self.has_lifted, true) {
            lift(&self.settings.switches).map_err(Cause::Lift)?;
            info!(%country, "the radio was switched off without a country: it has one, and is switched on");
            self.is_lifting = true;
        }
        let ready = self.ready(caller).await;
        self.is_lifting = false;
        let device = ready?;
        if self.in_country != Some(country) && self.change_supplicant(&device, Change::Country(country)).await {
            info!(%country, "the radio's country is set");
            self.in_country = Some(country);
        }
        Ok(())
    }

    /// Sets what the supplicant does not keep. A radio that is off stays off: its owner may have switched it off.
    pub(super) async fn prepare(&mut self, country: Option<Country>, caller: &mut Caller) -> Result<(), Cause> {
        let device = self.ready(caller).await?;
        self.sweep_certificates().await;
        self.country = country;
        self.change_supplicant(&device, Change::BothElements).await;
        if let Some(country) = country
            && self.change_supplicant(&device, Change::Country(country)).await
        {
            self.in_country = Some(country);
        }
        Ok(())
    }

    /// Whether the radio can be expected to use a channel, MHz.
    pub(super) async fn may_use(&mut self, frequency: u32, caller: &mut Caller) -> Result<bool, Cause> {
        let device = self.ready(caller).await?;
        Ok(may_use(frequency, device.has_5_ghz))
    }

    /// Whether a radio that is off may be off for want of a country. With one, its owner has switched it off.
    pub(super) fn needs_country(&self) -> bool {
        self.country.is_none() && (self.settings.country)().is_none_or(|country| country == "00")
    }

    /// Changes a setting of the supplicant: the package's helper does, or this program if it is root. A failure is logged: a
    /// join may work without the change.
    pub(super) async fn change_supplicant(&self, device: &Device, change: Change) -> bool {
        let changing = async {
            match timeout(HELPER_LIMIT, ask_helper(&self.settings.radio_helper, &change.request(&device.interface))).await {
                Ok(Err(error)) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    change.make(self.bus()?, device).await
                }
                Ok(asked) => asked.map_err(Cause::Helper),
                Err(_) => Err(Cause::Late { call: "the helper of jarvis-provision", after: HELPER_LIMIT }),
            }
        };
        match changing.await {
            Ok(()) => true,
            Err(cause) => {
                debug!(?change, "the supplicant was not changed: {}", chain(&cause));
                false
            }
        }
    }

    /// Whether NetworkManager drives the radio with iwd, which has other settings and other failures.
    pub(super) async fn has_iwd(&self) -> Result<bool, Cause> {
        let bus = self.bus()?;
        Ok(bus.has(IWD).await? && !bus.has(super::supplicant::SERVICE).await?)
    }
}

/// Whether a radio can be expected to use a channel, MHz. Channels that need a country or a search for radar may be unused for
/// that reason, so they count as unusable.
pub(in crate::network) const fn may_use(frequency: u32, has_5_ghz: bool) -> bool {
    match frequency {
        // Channels 12 to 14, which not every country has; channels 52 to 144, with radar; 6 GHz.
        2467..=2484 | 5250..=5730 | 5925.. => false,
        5000..=5924 => has_5_ghz,
        _ => true,
    }
}

/// Switches every Wi-Fi radio on.
pub(in crate::network) fn lift(switches: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(switches)?.write_all(&UNBLOCK_WIFI)
}

/// Sends a line to the package's helper, and waits until it has done it. Without the helper, the error is of the kind
/// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::ConnectionRefused`].
pub(in crate::network) async fn ask_helper(socket: &Path, request: &str) -> io::Result<()> {
    let mut connection = UnixStream::connect(socket).await?;
    connection.write_all(request.as_bytes()).await?;
    if connection.read(&mut [0; 16]).await? == 0 {
        return Err(io::Error::other("the helper has failed: see the journal of jarvis-provision-radio@"));
    }
    Ok(())
}
