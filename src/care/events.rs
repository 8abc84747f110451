//! The events of network care, in their order, for any number of readers.
//!
//! A [`Reader`] has a position in the log and no queue of its own, so that it costs the same whether events come or not. It
//! gets every event after its position exactly once. If it falls behind by more than [`KEPT`] events, some are lost, and it
//! ends with [`Behind`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::sync::watch;

use super::port::Status;

/// How many events are kept for readers that are late or that return.
pub const KEPT: usize = 64;
/// How many of them a new reader gets first: as many as in the existing system.
pub const REPLAYED: usize = 25;

/// The last second that an id can name: the end of the year 9999, seconds since 1970.
const LAST_SECOND: u64 = 253_402_300_799;
/// Ids in a second: six digits of base 36.
const IDS_PER_SECOND: u32 = 36_u32.pow(6);

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `YYYYMMDDHHMMSS-xxxxxx`: the second in UTC, and a number in base 36. Ids grow in the order of the events, as texts; if
    /// the clock is set back, they keep the second of the last one. After a restart of the node they grow as far as the
    /// clock does.
    pub id: String,
    /// When it happened, by the node's clock.
    pub at: SystemTime,
    /// What happened.
    pub news: News,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// What it is about.
    pub kind: Kind,
    /// How much it matters.
    pub level: Level,
    /// One line for people. It can contain names of networks, and so any character.
    pub message: String,
    /// The state of the node after it, if it has changed.
    pub status: Option<Arc<Status>>,
    /// Further values for programs. No secrets: every reader gets them.
    pub details: Vec<(&'static str, Detail)>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The state of the network.
    Status,
    /// An action, and how far it is.
    Action(Action, Phase),
    /// The node itself.
    System,
}

/// An action that events report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The node joins a network.
    Connect,
    /// The node forgets a network.
    Forget,
    /// The hotspot opens.
    EnableHotspot,
    /// The hotspot closes.
    DisableHotspot,
    /// The node or its software restarts.
    Restart,
    /// A factory reset.
    FactoryReset,
    /// A recovery starts.
    RecoveryStart,
    /// A recovery has ended in a network or in the hotspot.
    RecoveryComplete,
    /// A recovery has failed.
    RecoveryFailed,
}

impl Action {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "network.connect",
            Self::Forget => "network.forget",
            Self::EnableHotspot => "hotspot.enable",
            Self::DisableHotspot => "hotspot.disable",
            Self::Restart => "system.restart",
            Self::FactoryReset => "factory.reset",
            Self::RecoveryStart => "recovery.start",
            Self::RecoveryComplete => "recovery.complete",
            Self::RecoveryFailed => "recovery.failed",
        }
    }
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has begun.
    Started,
    /// It has succeeded.
    Completed,
    /// It has failed.
    Failed,
}

impl Phase {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing has to be done.
    Info,
    /// Something was achieved.
    Success,
    /// Something does not work, or will be lost.
    Warning,
    /// Something has failed.
    Error,
}

impl Level {
    /// The name for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Success => "success",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A value among an event's details.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Detail {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Detail {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Detail {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl News {
    /// News without status and details.
    pub fn new(kind: Kind, level: Level, message: impl Into<String>) -> Self {
        Self { kind, level, message: message.into(), status: None, details: Vec::new() }
    }

    /// News of an action.
    pub fn action(action: Action, phase: Phase, level: Level, message: impl Into<String>) -> Self {
        Self::new(Kind::Action(action, phase), level, message)
    }

    /// The same with the state of the node after it.
    #[must_use]
    pub fn with_status(self, status: Arc<Status>) -> Self {
        Self { status: Some(status), ..self }
    }

    /// The same with a detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Detail>) -> Self {
        self.details.push((name, value.into()));
        self
    }
}

/// The log of events; clones share it.
#[derive(Clone, Debug)]
pub struct Events(Arc<Log>);

#[derive(Debug)]
struct Log {
    clock: fn() -> SystemTime,
    kept: Mutex<Kept>,
    /// The number of the last event. Sent after the event is kept.
    last: watch::Sender<u64>,
}

/// The last events. Events are numbered from 1.
#[derive(Debug, Default)]
struct Kept {
    last: u64,
    events: VecDeque<Arc<Event>>,
    /// The second and the number of the last id.
    id: Option<(u64, u32)>,
}

/// The reader has not read for more than [`KEPT`] events, and the next one is no longer kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{missed} events were lost, because they were read too slowly")]
pub struct Behind {
    /// The number of events that are lost.
    pub missed: u64,
}

/// A position in the log.
#[derive(Debug)]
pub struct Reader {
    log: Arc<Log>,
    /// The number of the next event.
    next: u64,
    last: watch::Receiver<u64>,
}

impl Events {
    /// An empty log, whose events have the times of this clock.
    pub fn new(clock: fn() -> SystemTime) -> Self {
        Self(Arc::new(Log { clock, kept: Mutex::default(), last: watch::Sender::new(0) }))
    }

    /// Adds an event. Never waits.
    pub fn publish(&self, news: News) -> Arc<Event> {
        let at = self.now();
        let (event, last) = self.0.kept().add(at, news);
        // Publishers that overlap can arrive here out of order; readers look into the log anyway.
        self.0.last.send_if_modified(|sent| {
            let is_new = *sent < last;
            *sent = last.max(*sent);
            is_new
        });
        event
    }

    /// The time of the log's clock.
    pub fn now(&self) -> SystemTime {
        (self.0.clock)()
    }

    /// A new reader. It gets the last [`REPLAYED`] events first.
    pub fn read(&self) -> Reader {
        let last = self.0.last.subscribe();
        let next = self.0.kept().replay();
        Reader { log: Arc::clone(&self.0), next, last }
    }

    /// A reader that has read before, up to the event with an id. It gets every later event that is kept. If the id is not
    /// from this log, it is a new reader.
    pub fn resume(&self, id: &str) -> Reader {
        let reader = self.read();
        let next = self.0.kept().after(id).unwrap_or(reader.next);
        Reader { next, ..reader }
    }

    /// The events after the one with an id, as far as they are kept; the last [`REPLAYED`] without such an id in this log.
    /// Also whether that event is kept: otherwise events between it and these can be lost.
    pub fn after(&self, id: &str) -> (Vec<Arc<Event>>, bool) {
        let kept = self.0.kept();
        let is_kept = kept.events.binary_search_by(|event| event.id.as_str().cmp(id)).is_ok();
        let next = kept.after(id).filter(|_| !id.is_empty()).unwrap_or_else(|| kept.replay());
        let events = (next..).map_while(|number| kept.at(number).ok().flatten()).collect();
        (events, is_kept)
    }
}

impl Log {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Every change of the log is complete before anything can panic.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, at: SystemTime, news: News) -> (Arc<Event>, u64) {
        let id = next_id(self.id, at);
        let event = Arc::new(Event { id: text(id), at, news });
        self.id = Some(id);
        self.last += 1;
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Arc::clone(&event));
        (event, self.last)
    }

    /// The number of the first event that is kept.
    fn first(&self) -> u64 {
        self.last - self.events.len() as u64 + 1
    }

    /// The number of the event at a place.
    fn number(&self, index: usize) -> u64 {
        self.first() + index as u64
    }

    fn replay(&self) -> u64 {
        self.number(self.events.len().saturating_sub(REPLAYED))
    }

    /// The number of the event after the one with an id; none if no such event was in this log.
    fn after(&self, id: &str) -> Option<u64> {
        let newest = self.events.back()?;
        (id <= newest.id.as_str()).then(|| self.number(self.events.partition_point(|event| event.id.as_str() <= id)))
    }

    fn at(&self, number: u64) -> Result<Option<Arc<Event>>, Behind> {
        match number.checked_sub(self.first()) {
            None => Err(Behind { missed: self.first() - number }),
            Some(index) => Ok(usize::try_from(index).ok().and_then(|index| self.events.get(index)).cloned()),
        }
    }
}

impl Reader {
    /// The next event; waits for it. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Arc<Event>, Behind> {
        loop {
            // Seen before the log is read, so that an event that is added meanwhile ends the wait.
            self.last.mark_unchanged();
            let event = self.log.kept().at(self.next)?;
            if let Some(event) = event {
                self.next += 1;
                return Ok(event);
            }
            // The sender lives as long as the log, which this reader shares.
            let _never_closed = self.last.changed().await;
        }
    }
}

/// The id after another one at a time.
fn next_id(last: Option<(u64, u32)>, at: SystemTime) -> (u64, u32) {
    let now = at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).min(LAST_SECOND);
    match last {
        Some((second, number)) if second >= now => {
            if number + 1 < IDS_PER_SECOND {
                (second, number + 1)
            } else {
                (second + 1, 0)
            }
        }
        _ => (now, 0),
    }
}

fn text((second, mut number): (u64, u32)) -> String {
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize];
        number /= 36;
    }
    let (year, month, day) = date(second / 86_400);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    let digits = std::str::from_utf8(&digits).expect("digits and letters are ASCII");
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}-{digits}")
}

/// Year, month and day of a day since 1970 in the Gregorian calendar.
fn date(day: u64) -> (u64, u64, u64) {
    const fn is_leap(year: u64) -> bool {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    }
    // 400 years have 146,097 days.
    let (mut year, mut day) = (1970 + 400 * (day / 146_097), day % 146_097);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let mut month = 1;
    for length in [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn news(number: usize) -> News {
        News::new(Kind::System, Level::Info, number.to_string())
    }

    fn clock() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_772_323_199)
    }

    fn log_of(count: usize) -> Events {
        let events = Events::new(clock);
        for number in 0..count {
            events.publish(news(number));
        }
        events
    }

    /// The messages that a reader gets without waiting.
    async fn waiting(reader: &mut Reader) -> Vec<usize> {
        let mut messages = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::ZERO, reader.next()).await {
            messages.push(event.expect("not behind").news.message.parse().expect("a number"));
        }
        messages
    }

    #[test]
    fn an_id_is_the_second_in_utc_and_a_number() {
        let second = |second| text((second, 35));
        assert_eq!(second(0), "19700101000000-00000z");
        assert_eq!(second(951_782_400), "20000229000000-00000z");
        assert_eq!(second(1_772_323_199), "20260228235959-00000z");
        assert_eq!(second(1_772_323_200), "20260301000000-00000z");
        assert_eq!(text((LAST_SECOND, IDS_PER_SECOND - 1)), "99991231235959-zzzzzz");
    }

    #[test]
    fn ids_grow_when_the_clock_is_set_back() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let mut last = None;
        let mut ids = Vec::new();
        for seconds in [5, 5, 315_360_000, 1, 1, 315_360_000, 315_360_001] {
            last = Some(next_id(last, at(seconds)));
            ids.extend(last.map(text));
        }
        assert!(ids.is_sorted_by(|earlier, later| earlier < later), "{ids:?}");
        assert_eq!(next_id(Some((5, IDS_PER_SECOND - 1)), at(5)), (6, 0));
        assert_eq!(next_id(None, UNIX_EPOCH - Duration::from_secs(1)), (0, 0));
    }

    #[tokio::test]
    async fn a_new_reader_gets_the_last_25_and_then_every_event() {
        let events = log_of(40);
        let mut reader = events.read();
        assert_eq!(waiting(&mut reader).await, (15..40).collect::<Vec<_>>());
        events.publish(news(40));
        assert_eq!(waiting(&mut reader).await, [40]);
        assert_eq!(waiting(&mut log_of(0).read()).await, Vec::<usize>::new());
    }

    #[tokio::test]
    async fn a_reader_that_returns_gets_what_it_has_missed() {
        let events = log_of(3);
        let third = events.publish(news(3)).id.clone();
        for number in 4..40 {
            events.publish(news(number));
        }
        assert_eq!(waiting(&mut events.resume(&third)).await, (4..40).collect::<Vec<_>>());
        let newest = events.publish(news(40)).id.clone();
        assert_eq!(waiting(&mut events.resume(&newest)).await, Vec::<usize>::new());
    }

    #[tokio::test]
    async fn an_id_that_is_not_in_the_log_gives_what_is_kept_or_the_last_25() {
        let events = log_of(100);
        assert_eq!(waiting(&mut events.resume("19991231000000-000000")).await, (36..100).collect::<Vec<_>>());
        for unknown in ["29991231000000-000000", "x"] {
            assert_eq!(waiting(&mut events.resume(unknown)).await, (75..100).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn a_slow_reader_learns_how_many_events_it_has_lost() {
        let events = log_of(0);
        let mut reader = events.read();
        for number in 0..KEPT + 3 {
            events.publish(news(number));
        }
        assert_eq!(reader.next().await, Err(Behind { missed: 3 }));
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_event() {
        let events = log_of(1);
        let mut reader = events.read();
        assert_eq!(waiting(&mut reader).await, [0]);
        let publish = async { events.publish(news(1)) };
        let (read, published) = tokio::join!(reader.next(), publish);
        assert_eq!(read, Ok(published));
    }
}
