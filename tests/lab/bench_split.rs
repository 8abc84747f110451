//! Where the time of an attempt goes: the node's part by its own log, NetworkManager's by the states of its device in the journal.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::table::{Samples, Table};
use crate::air::run;
use crate::place::log;

/// What this program does by itself in an attempt.
const OURS: [&str; 6] = [
    "    ours: storing the attempt",
    "    ours: from there to NetworkManager's call",
    "    ours: from ACTIVATED to the registration",
    "    ours: storing the enrollment",
    "    ours: storing the network",
    "    ours: storing the success",
];
/// What others do in it.
const THEIRS: [&str; 6] = [
    "    theirs: Bluetooth, both ways",
    "    theirs: NetworkManager, call to PREPARE",
    "    theirs: association",
    "    theirs: DHCP",
    "    theirs: IP_CHECK",
    "    theirs: command center",
];
/// What is known of an attempt by `nmcli` and `curl`.
const BY_HAND: [&str; 5] =
    ["    `nmcli` to PREPARE", "    association", "    DHCP", "    IP_CHECK", "    the end of `nmcli`, and `curl`"];

/// The logs from a moment on.
pub(super) struct Watch {
    began: SystemTime,
    /// What was in the node's log before, bytes.
    logged: u64,
}

/// A line, and when it was logged, seconds from the beginning.
type Line = (f64, String);

impl Watch {
    #[expect(clippy::disallowed_methods, reason = "the logs have the wall clock's time in them")]
    pub(super) fn begin() -> Self {
        Self { began: SystemTime::now(), logged: fs::metadata(log("node")).map_or(0, |file| file.len()) }
    }

    /// Seconds since the beginning.
    pub(super) fn seconds(&self) -> f64 {
        self.began.elapsed().expect("the clock is not set meanwhile").as_secs_f64()
    }

    fn node(&self) -> Vec<Line> {
        let mut text = String::new();
        let mut file = fs::File::open(log("node")).expect("the node has logged");
        file.seek(SeekFrom::Start(self.logged)).expect("a file");
        file.read_to_string(&mut text).expect("text");
        text.lines().filter_map(|line| Some((self.since(of_day(line)?), line.to_owned()))).collect()
    }

    /// Seconds from the beginning to a time, seconds of its day.
    fn since(&self, of_day: f64) -> f64 {
        const DAY: f64 = 86_400.0;
        let began = self.began.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        (of_day - began).rem_euclid(DAY)
    }

    fn journal(&self, unit: &str) -> Vec<Line> {
        let began = self.began.duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let since = format!("--since=@{}", began.floor());
        let output = run("journalctl", &["--no-pager", "--output=short-unix", &since, "--unit", unit]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = |line: &str| Some((line.split(' ').next()?.parse::<f64>().ok()? - began, line.to_owned()));
        text.lines().filter_map(line).filter(|(at, _)| *at >= 0.0).collect()
    }

    /// When NetworkManager's device was in `PREPARE` for the first time, and last in `IP_CONFIG`, `IP_CHECK` and `ACTIVATED`.
    fn states(&self) -> Option<[f64; 4]> {
        let lines = self.journal("NetworkManager");
        let change = |state: &str| format!("(wlan0): state change: {state}");
        let of = |line: &str, state: &str| line.contains(&change("")) && line.contains(&format!(" -> {state} ("));
        let last = |state: &str| lines.iter().rev().find(|(_, line)| of(line, state)).map(|(at, _)| *at);
        let prepare = lines.iter().find(|(_, line)| of(line, "prepare")).map(|(at, _)| *at)?;
        Some([prepare, last("ip-config")?, last("ip-check")?, last("activated")?])
    }

    /// What the supplicant has logged up to a time, seconds from the beginning.
    pub(super) fn supplicant(&self, until: f64) -> String {
        let lines = self.journal("wpa_supplicant").into_iter().filter(|(at, _)| *at <= until);
        lines.map(|(at, line)| format!("  {at:.2} {line}\n")).collect()
    }
}

/// The time in a line of the node's log, seconds of the day.
fn of_day(line: &str) -> Option<f64> {
    let time = line.get(11..26)?;
    let [hours, minutes, seconds] = <[&str; 3]>::try_from(time.split(':').collect::<Vec<_>>()).ok()?;
    let [hours, minutes, seconds] = [hours, minutes, seconds].map(|part| part.parse::<f64>().ok());
    Some(hours?.mul_add(3600.0, minutes?.mul_add(60.0, seconds?)))
}

/// When a command of the node has started and ended.
fn command(lines: &[Line], name: &str) -> Option<(f64, f64)> {
    let start = lines.iter().position(|(_, line)| line.contains("a command starts") && line.contains(&format!("\"{name}\"")))?;
    let (began, line) = &lines[start];
    let op = line.split_whitespace().find(|word| word.starts_with("op="))?;
    let end = lines[start..].iter().find(|(_, line)| line.contains("a command has ended") && line.ends_with(op))?;
    Some((*began, end.0))
}

/// The samples of every part.
pub(super) struct Parts {
    ours: [Samples; 6],
    theirs: [Samples; 6],
    by_hand: [Samples; 5],
    /// The sum of ours.
    all_ours: Samples,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self {
            ours: OURS.map(Samples::of),
            theirs: THEIRS.map(Samples::of),
            by_hand: BY_HAND.map(Samples::of),
            all_ours: Samples::of("  ours, altogether"),
        }
    }

    /// Adds an attempt of the node, whose outcome came to the phone at that time. Panics if the logs do not show it.
    pub(super) fn add(&mut self, watch: &Watch, told: f64) {
        let lines = watch.node();
        let of = |name| command(&lines, name).unwrap_or_else(|| panic!("the node's log has no {name}"));
        let [attempt, registration, enrollment, keeping, success] =
            ["SavePending", "Register", "SaveEnrollment", "KeepNetwork", "MarkProvisioned"].map(of);
        let call = lines.iter().find(|(_, line)| line.contains("calling AddAndActivateConnection2")).expect("it joins").0;
        let [prepare, config, check, activated] = watch.states().expect("NetworkManager's journal has the states");
        let took = |(began, ended): (f64, f64)| ended - began;
        let ours = [took(attempt), call - attempt.1, registration.0 - activated, took(enrollment), took(keeping), took(success)];
        let link = attempt.0 + told - success.1;
        let theirs = [link, prepare - call, config - prepare, check - config, activated - check, took(registration)];
        self.all_ours.add(ours.iter().sum());
        for (samples, part) in self.ours.iter_mut().chain(&mut self.theirs).zip(ours.into_iter().chain(theirs)) {
            samples.add(part);
        }
    }

    /// Adds an attempt by `nmcli` and `curl` that has ended at that time.
    pub(super) fn add_by_hand(&mut self, watch: &Watch, ended: f64) {
        let [prepare, config, check, activated] = watch.states().expect("NetworkManager's journal has the states");
        let parts = [prepare, config - prepare, check - config, activated - check, ended - activated];
        for (samples, part) in self.by_hand.iter_mut().zip(parts) {
            samples.add(part);
        }
    }

    /// The rows of the node's attempts.
    pub(super) fn rows(&self, table: &mut Table, limit: Duration) {
        table.figure(&self.all_ours, "s");
        table.target("  s", self.all_ours.median(), limit.as_secs_f64());
        for samples in self.ours.iter().chain(&self.theirs) {
            table.figure(samples, "s");
        }
    }

    /// The rows of those by hand.
    pub(super) fn rows_by_hand(&self, table: &mut Table) {
        for samples in &self.by_hand {
            table.figure(samples, "s");
        }
    }
}
