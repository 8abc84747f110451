//! When `BlueZ` is tried again.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use provisioning_core::backoff::{Backoff, Jitter};

/// Pauses between tries to reach `BlueZ`; each try starts it. An operator who turns a switch waits at most the longest.
const USUAL: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(8), Jitter::None);

/// The pause of a provisioned node, which awaits no phone, after [`TRIES`]. Each try wakes the processor, on a device without
/// Bluetooth for ever.
const RARE: Duration = Duration::from_mins(30);

/// Two minutes: longer than `BlueZ` needs at a boot, or for a restart.
const TRIES: u32 = 20;

/// Pauses after so many tries have failed. The long pause of a provisioned node ends when it awaits a phone again.
pub(super) async fn pause<V>(mut views: watch::Receiver<V>, awaits_phone: impl Fn(&V) -> bool, failed: u32) {
    let is_rare = failed > TRIES && !awaits_phone(&views.borrow());
    let awaited = async { views.wait_for(awaits_phone).await.map(drop) };
    tokio::select! {
        () = sleep(if is_rare { RARE } else { USUAL.nominal(failed) }) => {}
        Ok(()) = awaited, if is_rare => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn a_provisioned_node_without_bluetooth_sleeps_until_it_awaits_a_phone() {
        let (awaits, views) = watch::channel(true);
        let slept = async |failed: u32| {
            let began = Instant::now();
            pause(views.clone(), |awaits| *awaits, failed).await;
            began.elapsed()
        };
        let longest = USUAL.nominal(u32::MAX);
        assert_eq!([slept(1).await, slept(TRIES + 1).await], [USUAL.nominal(1), longest]);
        awaits.send_replace(false);
        assert_eq!([slept(TRIES).await, slept(TRIES + 1).await], [longest, RARE]);
        let (slept_then, ()) = tokio::join!(slept(TRIES + 1), async { _ = awaits.send_replace(true) });
        assert_eq!(slept_then, Duration::ZERO, "it was reset");
        awaits.send_replace(false);
        drop(awaits);
        assert_eq!(slept(TRIES + 1).await, RARE, "the loop has ended");
    }
}
