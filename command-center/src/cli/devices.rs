//! Lists of devices: filters, orders and formats.

use std::io::{BufWriter, Write as _};
use std::time::Duration;

use clap::Args;
use command_center::fleet::{ApplianceEntry, Entry, Filter, NodeEntry, Order, Page, Query, State, csv_heading, csv_line};
use command_center::operator::{Operator, OperatorError};
use serde_json::json;

use super::output::{Listing, Table};
use super::{Failure, parse_time};

/// Filters and order that both kinds of devices have.
#[derive(Debug, Args)]
struct Common {
    /// Only devices in this state, as of the server's last comparison.
    #[arg(long, value_parser = parse_state, value_name = "online|silent|new|deactivated|released|revoked")]
    state: Option<State>,
    /// Only devices that were heard of within this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    seen_within: Option<Duration>,
    /// Only devices that were heard of, but not within this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    silent_for: Option<Duration>,
    /// The order.
    #[arg(long, value_parser = parse_order, default_value = "id", value_name = ORDERS)]
    order: Order,
    /// At most this many devices.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    format: DeviceFormat,
}

const ORDERS: &str = "newest|oldest|id|id-backwards|last-seen|longest-silent";

#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
struct DeviceFormat {
    /// Print a JSON array for programs instead of a table for people.
    #[arg(long)]
    json: bool,
    /// Print one JSON object per line.
    #[arg(long)]
    json_lines: bool,
    /// Print CSV for spreadsheets.
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Args)]
pub(super) struct ListAppliances {
    /// Only appliances whose id, display name, hardware address or host name begins with this.
    text: Option<String>,
    /// Only the appliances of this site.
    #[arg(long, value_name = "ID")]
    site: Option<String>,
    /// Only the appliances of this partner.
    #[arg(long, value_name = "SLUG")]
    partner: Option<String>,
    /// Only appliances that report this status.
    #[arg(long)]
    status: Option<String>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct ListNodes {
    /// Only nodes whose id, display name, name or room begins with this.
    text: Option<String>,
    /// Only the nodes of this household.
    #[arg(long, value_name = "ID")]
    household: Option<String>,
    /// Only nodes of this version.
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    common: Common,
}

fn parse_state(word: &str) -> Result<State, &'static str> {
    State::parse(word).ok_or("one of online, silent, new, deactivated, released, revoked")
}

fn parse_order(word: &str) -> Result<Order, &'static str> {
    Order::parse(word).ok_or("one of newest, oldest, id, id-backwards, last-seen, longest-silent")
}

impl ListAppliances {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Failure> {
        let Self { text, site, partner, status, common } = self;
        let filter = Filter { place: site, partner, status, text, ..Filter::default() };
        let row = |entry: &ApplianceEntry| {
            let progress = format!("{} %", entry.progress_percent);
            [
                Some(entry.appliance_id.clone()),
                entry.display_name.clone(),
                Some(entry.site.clone()),
                Some(entry.partner.clone()),
                entry.hostname.clone(),
                Some(entry.state.word().to_owned()),
                Some(entry.status.clone()),
                Some(progress),
                entry.last_seen.clone(),
            ]
        };
        let columns = ["APPLIANCE", "DISPLAY NAME", "SITE", "PARTNER", "HOST", "STATE", "STATUS", "PROGRESS", "LAST SEEN"];
        let mut output = Output::new(common.format, columns);
        let mut list = common.list(filter);
        while let Some(query) = list.next() {
            list.show(&mut output, operator.appliances(&query).await, row)?;
        }
        output.end::<ApplianceEntry>()
    }
}

impl ListNodes {
    pub(super) async fn run(self, operator: &Operator) -> Result<(), Failure> {
        let Self { text, household, version, common } = self;
        let filter = Filter { place: household, version, text, ..Filter::default() };
        let row = |entry: &NodeEntry| {
            let [room, name, version, seen] = entry.details().map(|text| text.map(str::to_owned));
            let state = Some(entry.state.word().to_owned());
            let (id, household) = (Some(entry.id().to_owned()), Some(entry.household().to_owned()));
            [id, entry.display_name.clone(), household, room, name, state, version, seen]
        };
        let columns = ["NODE", "DISPLAY NAME", "HOUSEHOLD", "ROOM", "NAME", "STATE", "VERSION", "LAST SEEN"];
        let mut output = Output::new(common.format, columns);
        let mut list = common.list(filter);
        while let Some(query) = list.next() {
            list.show(&mut output, operator.nodes(&query).await, row)?;
        }
        output.end::<NodeEntry>()
    }
}

impl Common {
    fn list(&self, filter: Filter) -> List {
        let Self { state, seen_within, silent_for, order, limit, .. } = *self;
        let filter = Filter { state, seen_within, silent_for, ..filter };
        List { query: Query { filter, order, ..Query::default() }, missing: limit.unwrap_or(usize::MAX) }
    }
}

/// The part of a list that has not been shown.
struct List {
    query: Query,
    /// How many devices may follow.
    missing: usize,
}

impl List {
    /// What to ask for next.
    fn next(&self) -> Option<Query> {
        (self.missing > 0).then(|| Query { limit: self.missing.min(Query::LARGEST), ..self.query.clone() })
    }

    fn show<E: Entry, const COLUMNS: usize>(
        &mut self,
        output: &mut Output,
        page: Result<Page<E>, OperatorError>,
        row: impl Fn(&E) -> [Option<String>; COLUMNS],
    ) -> Result<(), Failure> {
        let Page { entries, next } = page?;
        for entry in &entries {
            output.entry(entry, &row)?;
        }
        self.missing = if next.is_some() { self.missing - entries.len() } else { 0 };
        self.query.after = next;
        Ok(())
    }
}

/// Standard output in one of the formats.
enum Output {
    Listing(Listing),
    Lines { is_csv: bool, is_first: bool, output: BufWriter<std::io::StdoutLock<'static>> },
}

impl Output {
    fn new<const COLUMNS: usize>(format: DeviceFormat, columns: [&str; COLUMNS]) -> Self {
        if format.csv || format.json_lines {
            return Self::Lines { is_csv: format.csv, is_first: true, output: BufWriter::new(std::io::stdout().lock()) };
        }
        Self::Listing(Listing::new(format.json, Table::new(&columns)))
    }

    fn entry<E: Entry, const COLUMNS: usize>(
        &mut self,
        entry: &E,
        row: impl Fn(&E) -> [Option<String>; COLUMNS],
    ) -> Result<(), Failure> {
        match self {
            Self::Listing(listing) => listing.row(&json!(entry), &row(entry).each_ref().map(Option::as_deref))?,
            Self::Lines { is_csv: false, output, .. } => writeln!(output, "{}", json!(entry))?,
            Self::Lines { is_first, output, .. } => {
                if std::mem::take(is_first) {
                    output.write_all(csv_heading::<E>().as_bytes())?;
                }
                output.write_all(csv_line(entry).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Writes the rest.
    fn end<E: Entry>(self) -> Result<(), Failure> {
        match self {
            Self::Listing(listing) => listing.end()?,
            Self::Lines { is_csv, is_first, mut output } => {
                if is_csv && is_first {
                    output.write_all(csv_heading::<E>().as_bytes())?;
                }
                output.flush()?;
            }
        }
        Ok(())
    }
}
