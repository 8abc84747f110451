//! CSV, RFC 4180.

use super::Entry;

/// The first line of a table: the names of its columns.
pub fn csv_heading<E: Entry>() -> String {
    line(E::COLUMNS.iter().copied())
}

/// The line of an entry.
pub fn csv_line<E: Entry>(entry: &E) -> String {
    let values = entry.values();
    line(values.iter().map(|value| value.as_deref().unwrap_or_default()))
}

fn line<'f>(fields: impl Iterator<Item = &'f str>) -> String {
    let mut line = fields.map(field).collect::<Vec<_>>().join(",");
    line.push_str("\r\n");
    line
}

/// A field. Spreadsheets calculate what begins like a formula, and a device chooses its own host name: an apostrophe makes it a
/// text.
fn field(text: &str) -> String {
    let begins_formula = text.trim_start_matches(' ').starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let text = if begins_formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(line(["a", "", "b,c", "d\"e", "f\ng"].into_iter()), "a,,\"b,c\",\"d\"\"e\",\"f\ng\"\r\n");
    }

    #[test]
    fn no_field_is_a_formula() {
        for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "＝1"] {
            let field = field(formula);
            assert!(field.starts_with('\'') || field.starts_with("\"'"), "{field}");
        }
        assert_eq!(field("a=1"), "a=1");
    }
}
