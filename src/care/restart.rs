//! The restart of the device, by systemd-logind.

use std::time::Duration;

use tokio::time::timeout;
use zbus::proxy::CacheProperties;

/// logind answers when it has decided; polkit may be started for that.
const LIMIT: Duration = Duration::from_secs(8);

/// The only call.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Logind {
    /// Nobody can answer a question of polkit, so `interactive` is false.
    fn reboot(&self, interactive: bool) -> zbus::Result<()>;
}

/// Restarts the device. Returns when the restart has begun.
pub(super) async fn device(bus: Option<&str>) -> zbus::Result<()> {
    let calling = async {
        let builder = match bus {
            Some(address) => zbus::connection::Builder::address(address),
            None => zbus::connection::Builder::system(),
        };
        let connection = builder.build().await?;
        LogindProxy::builder(&connection).cache_properties(CacheProperties::No).build().await?.reboot(false).await
    };
    timeout(LIMIT, calling).await.unwrap_or_else(|_| Err(zbus::Error::Failure("logind does not answer".into())))
}
