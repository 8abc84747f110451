//! A timer that wakes the processor once.
//!
//! tokio keeps its timers in a wheel, in which a slot is the coarser the later it is due. A thread that sleeps for thirty
//! seconds wakes up three times: at the starts of two slots, in which the timer moves to a finer one, and at its time. On a
//! device that is idle all day, that would be most of what wakes it.

use std::io;
use std::time::Duration;

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// Waits for points in time, one at a time.
///
/// `tokio` has one safe way to wait for a file descriptor that is none of its own kinds: as if it were a pipe.
#[derive(Debug)]
pub struct Alarm(Option<Receiver>);

impl Alarm {
    /// An alarm of the kernel, for the current tokio runtime. It does not know a clock that tokio has paused.
    pub fn of_kernel() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(Some(Receiver::from_owned_fd_unchecked(timer)?)))
    }

    /// An alarm of tokio, for virtual time.
    pub const fn of_tokio() -> Self {
        Self(None)
    }

    /// Waits until then. Cancel safe.
    pub async fn until(&self, at: Instant) {
        if let Some(timer) = &self.0 {
            match expires(timer, at).await {
                Ok(()) => return,
                Err(error) => debug!(%error, "a timer of the kernel has failed"),
            }
        }
        sleep_until(at).await;
    }
}

async fn expires(timer: &Receiver, at: Instant) -> io::Result<()> {
    // Zero would disarm it.
    let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
    let it_value = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
    loop {
        timer.readable().await?;
        // The number of expirations. That of an earlier time, which was cancelled, is gone.
        match timer.try_read(&mut [0; 8]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            expired => return expired.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tokio::time::timeout;

    /// How often this thread has gone to sleep.
    fn sleeps() -> u32 {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("its figures");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|figure| figure.trim().parse().ok()).expect("a figure")
    }

    #[tokio::test]
    async fn an_alarm_rings_at_its_time_also_after_a_cancelled_one() {
        let alarm = Alarm::of_kernel().expect("a timer");
        let began = Instant::now();
        for milliseconds in [0, 30, 0, 60] {
            let at = began + Duration::from_millis(milliseconds);
            assert!(timeout(Duration::ZERO, alarm.until(began + Duration::from_hours(1))).await.is_err());
            alarm.until(at).await;
            assert!(Instant::now() >= at, "{milliseconds}");
        }
    }

    #[tokio::test]
    async fn an_alarm_wakes_its_thread_once() {
        let alarm = Alarm::of_kernel().expect("a timer");
        let mut fewest = u32::MAX;
        // The kernel may let a thread wait for memory.
        for _ in 0..5 {
            let before = sleeps();
            alarm.until(Instant::now() + Duration::from_millis(100)).await;
            fewest = fewest.min(sleeps() - before);
        }
        assert_eq!(fewest, 1);
    }
}
