//! A button whose long press resets the node, and whose short press permits something for a minute.
//!
//! ```text
//!              pressed, stable              3 s                10 s
//! Released ───────────────────▶ Pressed ─────────▶ Warned ─────────▶ Spent
//!     ▲                            │                  │                │
//!     └────────── released, stable ┴──────────────────┴────────────────┘
//! ```
//!
//! A press that ends before three seconds is a short one; one that ends before ten seconds does nothing. A button that stays pressed resets the node once: the next press counts
//! after its release. A contact bounces, so a change counts after it has been stable for [`DEBOUNCE`].

use core::time::Duration;

/// A point in time: the time since an arbitrary, fixed moment. Monotonic.
pub type Instant = Duration;

/// How long a new level must last. Contacts of push buttons bounce for up to 20 ms.
pub const DEBOUNCE: Duration = Duration::from_millis(50);
/// How long a press lasts before the owner gets feedback.
pub const WARNING: Duration = Duration::from_secs(3);
/// How long a press lasts before it resets the node.
pub const RESET: Duration = Duration::from_secs(10);

/// How far a press is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Press {
    /// The button is released, or was pressed a short time ago.
    #[default]
    None,
    /// It has been held for three seconds: a release does nothing, and a longer press resets the node.
    Warned,
    /// It has been held for ten seconds: the node is to be reset. Lasts until the release.
    Reset,
}

impl Press {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "released",
            Self::Warned => "held",
            Self::Reset => "resetting",
        }
    }
}

/// A button.
///
/// Input: [`handle`](Self::handle) with each level that was read. Output: [`press`](Self::press), which may have another value
/// when the time of [`poll_timeout`](Self::poll_timeout) has come.
#[derive(Clone, Debug, Default)]
pub struct Button {
    /// The press, if the level that counts is that of a pressed button.
    held: Option<Held>,
    /// The other level was read, and is not stable yet: since when.
    changing: Option<Instant>,
    /// A short press has ended, and was not taken yet.
    clicked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    since: Instant,
    /// It has reset the node.
    spent: bool,
}

impl Button {
    /// A button that is released. Its level at the start must not be reported: a button that is stuck would reset the node at
    /// every start. It counts from its first change.
    pub const fn new() -> Self {
        Self { held: None, changing: None, clicked: false }
    }

    /// A level was read.
    pub fn handle(&mut self, is_pressed: bool, now: Instant) {
        self.settle(now);
        if is_pressed == self.held.is_some() {
            self.changing = None;
        } else {
            self.changing.get_or_insert(now);
        }
    }

    /// The button is gone, or its level is unknown: the press ends, and nothing happens.
    pub const fn lost(&mut self) {
        *self = Self::new();
    }

    /// How far the press is.
    pub fn press(&mut self, now: Instant) -> Press {
        self.settle(now);
        let is_stable = self.changing.is_none();
        let Some(held) = &mut self.held else { return Press::None };
        let length = now.saturating_sub(held.since);
        held.spent |= length >= RESET && is_stable;
        match held.spent {
            true => Press::Reset,
            false if length >= WARNING => Press::Warned,
            false => Press::None,
        }
    }

    /// Whether a short press has ended since the last call.
    pub fn take_click(&mut self, now: Instant) -> bool {
        self.settle(now);
        core::mem::take(&mut self.clicked)
    }

    /// When [`press`](Self::press) may change although no level is read.
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.settle(now);
        let stable = self.changing.map(|since| since + DEBOUNCE);
        let limits = self.held.map(|held| [held.since + WARNING, held.since + RESET]);
        limits.into_iter().flatten().chain(stable).filter(|at| *at > now).min()
    }

    /// A level that was stable for long enough counts, from its beginning.
    fn settle(&mut self, now: Instant) {
        if let Some(since) = self.changing.take_if(|since| *since + DEBOUNCE <= now) {
            self.clicked |= self.held.is_some_and(|held| since.saturating_sub(held.since) < WARNING);
            self.held = if self.held.is_some() { None } else { Some(Held { since, spent: false }) };
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const fn ms(milliseconds: u64) -> Instant {
        Duration::from_millis(milliseconds)
    }

    /// The presses and their times, in milliseconds, for levels at those times, until `end`. Polls as a loop does: after each
    /// level and at each timeout.
    fn presses(levels: &[(u64, bool)], end: u64) -> Vec<(u64, Press)> {
        let mut button = Button::new();
        let mut seen = Vec::new();
        let mut now = Duration::ZERO;
        let mut last = Press::None;
        let mut levels = levels.iter().peekable();
        loop {
            let press = button.press(now);
            if press != last {
                seen.push((u64::try_from(now.as_millis()).expect("a short time"), press));
                last = press;
            }
            let timeout = button.poll_timeout(now);
            let level = levels.peek().map(|(at, _)| ms(*at));
            match timeout.into_iter().chain(level).min() {
                Some(at) if at <= ms(end) => now = at,
                _ => return seen,
            }
            if level == Some(now) {
                let (_, is_pressed) = levels.next().expect("it was there");
                button.handle(*is_pressed, now);
            }
        }
    }

    #[test]
    fn a_press_warns_after_three_seconds_and_resets_after_ten() {
        let seen = presses(&[(100, true)], 3_600_000);
        assert_eq!(seen, [(3_100, Press::Warned), (10_100, Press::Reset)]);
    }

    #[test]
    fn a_press_that_ends_early_does_nothing() {
        assert_eq!(presses(&[(0, true), (2_900, false)], 60_000), []);
        let seen = presses(&[(0, true), (9_990, false)], 60_000);
        assert_eq!(seen, [(3_000, Press::Warned), (10_040, Press::None)]);
        let short: Vec<_> = (0..100).map(|index| (index * 200, index % 2 == 0)).collect();
        assert_eq!(presses(&short, 60_000), [], "a hundred short presses are no long one");
    }

    #[test]
    fn a_button_that_bounces_is_neither_pressed_twice_nor_released() {
        let bouncing = [(0, true), (5, false), (9, true), (5_000, false), (5_030, true), (10_050, false), (10_060, true)];
        let seen = presses(&bouncing, 60_000);
        assert_eq!(seen, [(3_009, Press::Warned), (10_009, Press::Reset)]);
        assert_eq!(presses(&[(0, true), (49, false), (20_000, true), (20_010, false)], 60_000), [], "noise is no press");
    }

    #[test]
    fn a_stuck_button_resets_once_and_works_again_after_its_release() {
        let seen = presses(&[(0, true), (100_000, false), (100_001, true), (200_000, false), (201_000, true)], 300_000);
        let expected = [
            (3_000, Press::Warned),
            (10_000, Press::Reset),
            (200_050, Press::None),
            (204_000, Press::Warned),
            (211_000, Press::Reset),
        ];
        assert_eq!(seen, expected);
    }

    /// The short presses for levels at those times, in milliseconds, until `end`.
    fn clicks(levels: &[(u64, bool)], end: u64) -> usize {
        let mut button = Button::new();
        let mut levels = levels.iter().peekable();
        let mut clicks = 0;
        for now in 0..=end {
            if let Some((_, is_pressed)) = levels.next_if(|(at, _)| *at == now) {
                button.handle(*is_pressed, ms(now));
            }
            clicks += usize::from(button.take_click(ms(now)));
        }
        clicks
    }

    #[test]
    fn a_short_press_counts_once_when_it_ends() {
        assert_eq!(clicks(&[(0, true), (100, false)], 149), 0, "it may still bounce");
        assert_eq!(clicks(&[(0, true), (100, false)], 10_000), 1);
        assert_eq!(clicks(&[(0, true), (5, false), (9, true), (400, false), (410, true), (420, false)], 10_000), 1);
        assert_eq!(clicks(&[(0, true), (2_999, false), (4_000, true), (4_100, false)], 10_000), 2);
    }

    #[test]
    fn noise_and_long_presses_are_no_short_ones() {
        assert_eq!(clicks(&[(0, true), (49, false)], 10_000), 0);
        assert_eq!(clicks(&[(0, true), (3_000, false)], 10_000), 0, "its owner was warned");
        assert_eq!(clicks(&[(0, true), (12_000, false)], 20_000), 0);
        assert_eq!(clicks(&[(0, true)], 20_000), 0, "it is stuck");
        let mut button = Button::new();
        button.handle(true, ms(0));
        button.press(ms(60));
        button.lost();
        assert!(!button.take_click(ms(200)), "its device is gone");
    }

    #[test]
    fn a_button_that_vanishes_while_it_is_held_resets_nothing() {
        let mut button = Button::new();
        button.handle(true, ms(0));
        assert_eq!(button.press(ms(4_000)), Press::Warned);
        button.lost();
        assert_eq!((button.press(ms(20_000)), button.poll_timeout(ms(20_000))), (Press::None, None));
    }

    #[test]
    fn a_release_that_is_read_late_resets_nothing() {
        let mut button = Button::new();
        button.handle(true, ms(0));
        // The program was stopped meanwhile.
        button.handle(false, ms(12_000));
        assert_eq!(button.press(ms(12_000)), Press::Warned);
        assert_eq!(button.press(ms(12_050)), Press::None);
    }

    #[test]
    fn a_button_that_is_left_alone_needs_no_timer() {
        let mut button = Button::new();
        assert_eq!(button.poll_timeout(ms(5)), None);
        button.handle(false, ms(5));
        assert_eq!(button.poll_timeout(ms(5)), None);
    }
}
