//! Text for a terminal.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, anyhow};
use zeroize::Zeroizing;

use super::{Failure, variable};
pub(super) use provisioning_core::domain::printable;

/// Longest line of a password, bytes: more than any password has.
const LINE_LIMIT: u64 = 1024;

/// Whether output may have colours.
pub(super) fn is_coloured(out: &impl IsTerminal) -> bool {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    out.is_terminal() && !is_set("NO_COLOR") && variable("TERM").as_deref() != Some("dumb")
}

/// A text in a colour, by its code of ECMA-48.
pub(super) fn colour(text: &str, code: &str, is_coloured: bool) -> String {
    if is_coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Lines of a table. The columns are as wide as their longest value.
pub(super) fn table<const N: usize>(titles: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let values = rows.iter().map(|row| row[column].chars().count());
        values.chain([titles[column].chars().count()]).max().unwrap_or_default()
    };
    let line = |row: [&str; N]| {
        let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<0$}", width(column)));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let lines = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    [line(titles)].into_iter().chain(lines).collect::<Vec<_>>().join("\n")
}

/// Reads a password from a terminal without showing it.
pub(super) fn prompt_password(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let typed = jarvis_program::prompt(prompt).context("prompting for the password")?;
    typed.ok_or_else(|| Failure::Other(anyhow!("interrupted")))
}

/// Reads a password from a line of standard input.
pub(super) fn read_password() -> Result<Zeroizing<String>, Failure> {
    // One allocation, so that no copy of the password remains in freed memory.
    let mut line = Zeroizing::new(String::with_capacity(2048));
    io::Read::take(io::stdin().lock(), LINE_LIMIT).read_line(&mut line).context("reading the password")?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_network_controls_no_terminal() {
        assert_eq!(printable("Caf\u{e9} \u{1f4f6}"), "Caf\u{e9} \u{1f4f6}");
        assert_eq!(printable("a\x1b[2J\r\n\u{202e}b"), "a\\u{1b}[2J\\u{d}\\u{a}\\u{202e}b");
    }

    #[test]
    fn a_table_has_columns_as_wide_as_their_values() {
        let rows = [["a long name".to_owned(), "1".to_owned()], ["b".to_owned(), "22".to_owned()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME         N\na long name  1\nb            22");
        assert_eq!(table(["NAME", "N"], &[]), "NAME  N");
    }
}
