//! The figures of a benchmark, and its report.

use std::io::Write as _;

/// The samples of one figure.
pub(super) struct Samples {
    name: &'static str,
    samples: Vec<f64>,
}

impl Samples {
    pub(super) const fn of(name: &'static str) -> Self {
        Self { name, samples: Vec::new() }
    }

    pub(super) fn add(&mut self, sample: f64) {
        eprintln!("{}: {sample:.2}", self.name);
        self.samples.push(sample);
    }

    pub(super) fn median(&self) -> f64 {
        let sorted = self.sorted();
        f64::midpoint(sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2])
    }

    fn sorted(&self) -> Vec<f64> {
        assert!(!self.samples.is_empty(), "a figure has its rounds");
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The number of rounds.
    pub(super) const fn count(&self) -> usize {
        self.samples.len()
    }

    /// The 90th percentile, by the nearest rank.
    fn ninetieth(&self) -> f64 {
        let sorted = self.sorted();
        sorted[(sorted.len() * 9).div_ceil(10) - 1]
    }

    fn all(&self) -> String {
        self.samples.iter().map(|sample| format!("{sample:.2}")).collect::<Vec<_>>().join(" ")
    }
}

/// The report, and the missed targets.
#[derive(Default)]
pub(super) struct Table {
    text: String,
    missed: Vec<String>,
}

impl Table {
    pub(super) fn figure(&mut self, samples: &Samples, unit: &str) {
        let (median, ninetieth) = (samples.median(), samples.ninetieth());
        self.row(&format!("{:<62} {median:>8.2} {unit:<4} 90 %: {ninetieth:.2} ({})", samples.name, samples.all()));
    }

    pub(super) fn target(&mut self, name: &str, value: f64, limit: f64) {
        let met = value <= limit;
        self.row(&format!("{name:<62} {value:>8.2}      (at most {limit:.2}: {})", if met { "met" } else { "MISSED" }));
        if !met {
            self.missed.push(name.to_owned());
        }
    }

    /// A figure that is measured once.
    pub(super) fn once(&mut self, name: &str, value: f64, unit: &str) {
        self.row(&format!("{name:<62} {value:>8.2} {unit}"));
    }

    /// A figure without a target.
    pub(super) fn line(&mut self, name: &str, value: &str) {
        self.row(&format!("{name:<62} {value:>8}"));
    }

    /// Adds a row, which the log has even if a later figure cannot be measured.
    pub(super) fn row(&mut self, row: &str) {
        eprintln!("{row}");
        self.text.push_str(row);
        self.text.push('\n');
    }

    /// Notes that something is not as it must be.
    pub(super) fn miss(&mut self, what: String) {
        self.missed.push(what);
    }

    /// Writes it to the file that `tests/lab/bench` prints.
    pub(super) fn end(self) {
        let mut figures = std::fs::File::options().create(true).append(true).open("/lab/bench").expect("the laboratory's folder");
        figures.write_all(self.text.as_bytes()).expect("the figures can be written");
        assert!(self.missed.is_empty(), "missed: {}", self.missed.join(", "));
    }
}
