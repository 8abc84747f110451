//! A light of the device, driven through `/sys/class/leds`.
//!
//! The kernel blinks by itself with its trigger `timer`, if it has it and the program may set the times. Otherwise the program
//! switches the light. When the program ends, the light has its previous trigger and brightness again.

use std::fs;
use std::future::{Future, pending};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::{Changes, Panel, Shown};
use provisioning_core::panel::light::{Indication, Pattern};

/// Where the kernel lists its lights.
pub const LIGHTS: &str = "/sys/class/leds";

/// Shows the state of the node until `shutdown` is ready, or until the loop of provisioning has ended. `folder` is that of the
/// light, in [`LIGHTS`].
pub async fn serve(panel: Panel, folder: PathBuf, shutdown: impl Future<Output = ()>) {
    let light = match Light::take(&folder) {
        Ok(light) => light,
        Err(error) => {
            warn!(%error, "the light {} cannot be used: see \"Light and buttons\" in docs/settings.md", folder.display());
            return;
        }
    };
    info!("the light {} shows the node's state", folder.display());
    tokio::select! {
        () = shutdown => {}
        () = follow(&panel, &light) => {}
    }
    light.give_back();
}

async fn follow(panel: &Panel, light: &Light) {
    let mut changes = panel.shown();
    loop {
        let shown = indication(changes.last());
        tokio::select! {
            ended = other_than(shown, &mut changes) => if ended.is_none() {
                return;
            },
            () = light.show(shown.pattern()) => {}
        }
    }
}

/// Waits until the light has to show something else; none when the program is ending.
async fn other_than(shown: Indication, changes: &mut Changes) -> Option<()> {
    while indication(changes.next().await?) == shown {}
    Some(())
}

/// What the light shows.
pub fn indication(shown: &Shown) -> Indication {
    Indication::of(shown.state, shown.is_provisioned, shown.connectivity, shown.press, shown.is_identifying)
}

/// A light, and what it did before.
struct Light {
    folder: PathBuf,
    trigger: String,
    brightness: String,
    full: String,
}

impl Light {
    fn take(folder: &Path) -> io::Result<Self> {
        let read = |name: &str| fs::read_to_string(folder.join(name)).map(|text| text.trim().to_owned());
        let trigger = active(&read("trigger")?).to_owned();
        let (brightness, full) = (read("brightness")?, read("max_brightness")?);
        let light = Self { folder: folder.to_owned(), trigger, brightness, full };
        // Fails here, and not at the first change, if it may not be changed.
        light.write("trigger", "none")?;
        Ok(light)
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        fs::OpenOptions::new().write(true).truncate(true).open(self.folder.join(name))?.write_all(value.as_bytes())
    }

    /// Shows a pattern for as long as this is polled.
    async fn show(&self, pattern: Pattern) {
        if pattern.is_steady() {
            if let Err(error) = self.steady() {
                debug!(%error, "the light cannot be changed");
            }
        } else if let Err(error) = self.blink_by_itself(pattern) {
            debug!(%error, "the kernel does not blink the light");
            self.blink(pattern).await;
        }
        pending::<()>().await;
    }

    fn steady(&self) -> io::Result<()> {
        self.write("trigger", "none")?;
        self.write("brightness", &self.full)
    }

    fn blink_by_itself(&self, Pattern { on, off }: Pattern) -> io::Result<()> {
        self.write("trigger", "timer")?;
        let times = self.write("delay_on", &on.as_millis().to_string());
        times.and_then(|()| self.write("delay_off", &off.as_millis().to_string()))
    }

    /// Does not end.
    async fn blink(&self, Pattern { on, off }: Pattern) {
        // An error has no remedy at the next change that it does not have now.
        let _unchanged = self.write("trigger", "none");
        loop {
            let _unchanged = self.write("brightness", &self.full);
            sleep(on).await;
            let _unchanged = self.write("brightness", "0");
            sleep(off).await;
        }
    }

    fn give_back(&self) {
        let trigger = self.write("trigger", &self.trigger);
        let restored = match self.trigger.as_str() {
            "none" => trigger.and_then(|()| self.write("brightness", &self.brightness)),
            _ => trigger,
        };
        if let Err(error) = restored {
            warn!(%error, "the light does not show again what it showed before");
        }
    }
}

/// The active one of the kernel's list of triggers, in which it is in brackets.
fn active(triggers: &str) -> &str {
    let active = triggers.split_whitespace().find_map(|name| name.strip_prefix('[')?.strip_suffix(']'));
    active.unwrap_or("none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_active_trigger_is_the_one_in_brackets() {
        assert_eq!(active("none rfkill-any [mmc0] timer heartbeat\n"), "mmc0");
        assert_eq!(active("[none] timer"), "none");
        assert_eq!(active(""), "none");
    }
}
