//! The password file of libpq: lines of `host:port:database:user:password`, in each of which the first four may be `*`.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Which password is looked for.
pub(super) struct Entry<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) name: &'a str,
    pub(super) user: &'a str,
}

/// The password in the file that `PGPASSFILE` names, else in `~/.pgpass`.
pub(super) fn find(wanted: &Entry<'_>, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let home = variable("HOME").map(|home| Path::new(&home).join(".pgpass"));
    let files = variable("PGPASSFILE").map(PathBuf::from).into_iter().chain(home);
    files.filter_map(|path| read(&path)).find_map(|text| text.lines().find_map(|line| password(line, wanted)))
}

fn read(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    // As libpq does: a file that others can read is not used.
    if file.metadata().ok()?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "ignoring a password file that others can read");
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    Some(text)
}

/// The password of a line, if the line is for this entry.
fn password(line: &str, wanted: &Entry<'_>) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for value in [wanted.host, &port, wanted.name, wanted.user] {
        let field;
        (field, rest) = split_field(rest)?;
        if field != "*" && unescape(field) != value {
            return None;
        }
    }
    Some(unescape(rest))
}

/// The text before the first colon that is not escaped, and the text behind it.
fn split_field(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    let end = text.find(|character| {
        let is_end = character == ':' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_end
    })?;
    Some((&text[..end], &text[end + 1..]))
}

/// Removes the backslashes that escape a character.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Entry<'_> = Entry { host: "db", port: 5432, name: "fleet", user: "jarvis" };

    #[test]
    fn a_line_gives_its_password_to_the_entry_that_it_names() {
        assert_eq!(password("db:5432:fleet:jarvis:secret", &WANTED).as_deref(), Some("secret"));
        assert_eq!(password("*:*:*:jarvis:a\\:b\\\\c", &WANTED).as_deref(), Some("a:b\\c"));
        for other in ["other:5432:fleet:jarvis:x", "db:1:fleet:jarvis:x", "db:5432:fleet:x", "#*:*:*:*:x", ""] {
            assert_eq!(password(other, &WANTED), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passwords");
        std::fs::write(&path, "# a comment\n*:*:*:*:secret\n").unwrap();
        let variable = |name: &str| (name == "PGPASSFILE").then(|| path.to_str().unwrap().to_owned());
        for (mode, expected) in [(0o644, None), (0o600, Some("secret"))] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(find(&WANTED, variable).as_deref(), expected);
        }
    }
}
