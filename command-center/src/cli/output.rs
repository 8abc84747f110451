//! Lists: a table for people, a JSON array for programs.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use serde_json::Value;

/// Rows under their headings, in columns as wide as their widest text.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    fn row(&mut self, columns: &[Option<&str>]) {
        self.rows.push(columns.iter().map(|text| text.map_or_else(|| "-".to_owned(), printable)).collect());
    }

    fn lines(&self) -> impl Iterator<Item = String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = (0..columns).map(width).collect::<Vec<_>>();
        self.rows.iter().map(move |row| {
            let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
    }
}

/// A text without control characters: texts of devices must not move the cursor or change the title of a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// A list on standard output: the array is written as its elements come, the table when all its widths are known.
pub(super) struct Listing {
    json: bool,
    table: Table,
    output: BufWriter<StdoutLock<'static>>,
    is_first: bool,
}

impl Listing {
    pub(super) fn new(json: bool, table: Table) -> Self {
        Self { json, table, output: BufWriter::new(io::stdout().lock()), is_first: true }
    }

    /// One entry, in both forms.
    pub(super) fn row(&mut self, value: &Value, columns: &[Option<&str>]) -> io::Result<()> {
        if self.json {
            let before = if self.is_first { "[" } else { "," };
            self.is_first = false;
            return write!(self.output, "{before}\n  {value}");
        }
        self.table.row(columns);
        Ok(())
    }

    /// Writes the rest.
    pub(super) fn end(mut self) -> io::Result<()> {
        if self.json {
            let end = if self.is_first { "[]" } else { "\n]" };
            writeln!(self.output, "{end}")?;
        } else {
            for line in self.table.lines() {
                writeln!(self.output, "{line}")?;
            }
        }
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let mut table = Table::new(&["ID", "SITE"]);
        table.row(&[Some("é1"), Some("North Clinic")]);
        table.row(&[Some("long"), None]);
        assert_eq!(table.lines().collect::<Vec<_>>(), ["ID    SITE", "é1    North Clinic", "long  -"]);
    }

    #[test]
    fn a_device_cannot_write_to_the_terminal() {
        let mut table = Table::new(&["HOST"]);
        table.row(&[Some("\u{1b}]0;owned\u{7}")]);
        assert_eq!(table.lines().last().as_deref(), Some("\u{fffd}]0;owned\u{fffd}"));
    }
}
