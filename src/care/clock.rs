//! The node's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jarvis_http::client::RELEASE;
use provisioning_core::care::diagnosis::Clock;
use tokio::time::timeout;
use tracing::debug;
use zbus::proxy::CacheProperties;

/// `systemd-timedated` is started by the call, which takes a second on a slow device.
const LIMIT: Duration = Duration::from_secs(3);

/// The only property that is read.
#[zbus::proxy(
    interface = "org.freedesktop.timedate1",
    default_service = "org.freedesktop.timedate1",
    default_path = "/org/freedesktop/timedate1"
)]
trait TimeDate {
    #[zbus(property, name = "NTPSynchronized")]
    fn ntp_synchronized(&self) -> zbus::Result<bool>;
}

/// Compares the clock with the release, and asks systemd whether it is synchronized.
pub(super) async fn probe(bus: Option<&str>, now: SystemTime) -> Clock {
    let synchronized = match timeout(LIMIT, synchronized(bus)).await {
        Ok(Ok(synchronized)) => Some(synchronized),
        Ok(Err(error)) => {
            debug!(%error, "it is unknown whether the clock is synchronized");
            None
        }
        Err(_) => None,
    };
    Clock { synchronized, behind_release: behind(now, RELEASE.0) }
}

async fn synchronized(bus: Option<&str>) -> zbus::Result<bool> {
    let builder = match bus {
        Some(address) => zbus::connection::Builder::address(address),
        None => zbus::connection::Builder::system(),
    };
    let connection = builder.build().await?;
    let proxy = TimeDateProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?;
    proxy.ntp_synchronized().await
}

/// Seconds by which a time is before the release.
fn behind(now: SystemTime, release: u64) -> Option<u64> {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    release.checked_sub(now).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_in_1970_or_before_is_behind_the_release() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(behind(at(0), 1000), Some(1000));
        assert_eq!(behind(UNIX_EPOCH - Duration::from_secs(5), 1000), Some(1000));
        assert_eq!(behind(at(999), 1000), Some(1));
        assert_eq!([behind(at(1000), 1000), behind(at(u32::MAX.into()), 1000)], [None, None]);
    }
}
