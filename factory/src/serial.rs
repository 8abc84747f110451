//! Serials, their accounts, and lists of serials. A list is checked completely before the first request.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};
use thiserror::Error;

use jarvis_provisioning::files::hexadecimal;

/// The longest serial, bytes. Serials in use have a dozen; a file name takes 255.
const SERIAL_LIMIT: usize = 64;

/// Size limit of a list, bytes: a million serials.
const LIST_LIMIT: u64 = 64 * 1024 * 1024;

/// Problems of a list that are shown. More would scroll the first ones away.
const PROBLEMS_SHOWN: usize = 20;

/// The required column of a list.
const COLUMN: &str = "serial";

/// A device's serial: 1 to 64 ASCII letters, digits, hyphens, underscores and dots, with a letter or digit at both ends
/// and no two dots in a row. It is therefore safe in paths, account names, spreadsheets and on terminals.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(String);

impl Serial {
    /// The serial as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity of the device until it is registered, which is also its access point's name, so that the label can be
    /// printed before the first start. It has the form of an identity that a device derives from its hardware address, and
    /// does not reveal the serial.
    pub fn node_id(&self) -> String {
        let digest = Sha256::digest([b"jarvis-provisioning node id ", self.0.as_bytes()].concat());
        format!("jarvis-{}", hexadecimal(&digest[..4]))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&[u8]> for Serial {
    type Error = SerialError;

    fn try_from(bytes: &[u8]) -> Result<Self, SerialError> {
        if bytes.is_empty() {
            return Err(SerialError::Empty);
        }
        if bytes.len() > SERIAL_LIMIT {
            return Err(SerialError::TooLong(bytes.len()));
        }
        let shown = || bytes.escape_ascii().to_string();
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let ends = [bytes.first(), bytes.last()].into_iter().flatten().all(u8::is_ascii_alphanumeric);
        match std::str::from_utf8(bytes) {
            Ok(text) if bytes.iter().all(plain) && ends && !text.contains("..") => Ok(Self(text.to_owned())),
            _ => Err(SerialError::Form(shown())),
        }
    }
}

impl FromStr for Serial {
    type Err = SerialError;

    fn from_str(text: &str) -> Result<Self, SerialError> {
        Self::try_from(text.as_bytes())
    }
}

/// Why a serial is invalid.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SerialError {
    /// Empty.
    #[error("the serial is empty")]
    Empty,
    /// Longer than the limit.
    #[error("the serial has {0} bytes; the limit is {SERIAL_LIMIT}")]
    TooLong(usize),
    /// Invalid characters; the text is escaped.
    #[error("`{0}` is not a serial: use letters, digits, `-`, `_` and `.`, with a letter or digit at both ends")]
    Form(String),
}

/// A template of account names: `{suffix}` is the part after the serial's last hyphen, `{serial}` the whole, both in lower
/// case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRule(String);

impl Default for AccountRule {
    fn default() -> Self {
        Self("azaion-jetson-{suffix}@azaion.com".into())
    }
}

impl FromStr for AccountRule {
    type Err = AccountRuleError;

    fn from_str(text: &str) -> Result<Self, AccountRuleError> {
        let fixed = text.replace("{suffix}", "").replace("{serial}", "");
        if fixed == text {
            return Err(AccountRuleError::Constant);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'+' | b'@');
        let (local, domain) = text.split_once('@').ok_or(AccountRuleError::Form)?;
        if !fixed.bytes().all(plain) || local.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(AccountRuleError::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AccountRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AccountRule {
    /// The account of a device: an e-mail address that receives no mail.
    pub fn account(&self, serial: &Serial) -> String {
        let serial = serial.as_str().to_lowercase();
        let suffix = serial.rsplit('-').next().unwrap_or_default();
        self.0.replace("{suffix}", suffix).replace("{serial}", &serial)
    }
}

/// Why a template of account names is invalid.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum AccountRuleError {
    /// All devices would share one account.
    #[error("the template gives all devices one account: add {{suffix}} or {{serial}}")]
    Constant,
    /// Not an e-mail address.
    #[error("the template is not an address of letters, digits, `-`, `_`, `.`, `+` and one `@`")]
    Form,
}

/// One device that gets an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its serial.
    pub serial: Serial,
    /// Its account.
    pub account: String,
    /// The file tree of its image.
    pub rootfs: PathBuf,
}

impl Device {
    /// The device of a serial. `{serial}` in the tree's path is replaced by the serial.
    pub fn new(serial: Serial, accounts: &AccountRule, rootfs: &str) -> Self {
        let account = accounts.account(&serial);
        let rootfs = rootfs.replace("{serial}", serial.as_str()).into();
        Self { serial, account, rootfs }
    }
}

/// A problem of a list: line number and description.
pub type Problem = (u64, String);

/// Why a list is unusable.
#[derive(Debug, Error)]
pub enum ListError {
    /// The file is unreadable.
    #[error("reading the list of serials {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Invalid or conflicting lines. No line was processed.
    #[error("{} is invalid, and nothing was sent:{}", path.display(), shown(problems))]
    Lines {
        /// The file.
        path: PathBuf,
        /// The problems.
        problems: Vec<Problem>,
    },
    /// All devices would share one tree.
    #[error("the list has several serials, but --rootfs-dir is a single tree: add {{serial}} to its path")]
    OneTree,
}

fn shown(problems: &[Problem]) -> String {
    let mut lines: Vec<_> = problems.iter().take(PROBLEMS_SHOWN).map(|(line, what)| format!("\n  line {line}: {what}")).collect();
    if let Some(more @ 1..) = problems.len().checked_sub(PROBLEMS_SHOWN) {
        lines.push(format!("\n  and {more} more"));
    }
    lines.concat()
}

/// Reads a list: CSV (RFC 4180) with a header line and a column `serial`. Other columns are ignored. Checks every line, and
/// the lines for conflicts.
pub fn read_list(path: &Path, accounts: &AccountRule, rootfs: &str) -> Result<Vec<Device>, ListError> {
    let read = || {
        let content = std::fs::File::open(path)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut std::io::Read::take(content, LIST_LIMIT + 1), &mut bytes)?;
        if bytes.len() as u64 > LIST_LIMIT { Err(std::io::Error::other("it is larger than 64 MiB")) } else { Ok(bytes) }
    };
    let content = read().map_err(|source| ListError::Read { path: path.into(), source })?;
    let serials = parse_list(&content).map_err(|problems| ListError::Lines { path: path.into(), problems })?;
    let mut problems = Vec::new();
    let mut seen = HashMap::new();
    let mut owners: HashMap<String, (u64, &Serial)> = HashMap::new();
    let mut devices = Vec::with_capacity(serials.len());
    for (line, serial) in &serials {
        let device = Device::new(serial.clone(), accounts, rootfs);
        if let Some(first) = seen.insert(serial, *line) {
            problems.push((*line, format!("{serial} is a duplicate of line {first}")));
        } else if let Some((first, other)) = owners.insert(device.account.clone(), (*line, serial)) {
            problems.push((*line, format!("{serial} and {other} on line {first} share the account {}", device.account)));
        }
        devices.push(device);
    }
    if !problems.is_empty() {
        return Err(ListError::Lines { path: path.into(), problems });
    }
    if devices.len() > 1 && !rootfs.contains("{serial}") {
        return Err(ListError::OneTree);
    }
    Ok(devices)
}

/// The serials of a list with their line numbers, or the problems by line.
fn parse_list(content: &[u8]) -> Result<Vec<(u64, Serial)>, Vec<Problem>> {
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(content);
    let headings = reader.byte_headers().map_err(|error| vec![(1, error.to_string())])?;
    let mut columns = headings.iter().enumerate().filter(|(_, name)| name.eq_ignore_ascii_case(COLUMN.as_bytes()));
    let (column, extra) = (columns.next(), columns.next());
    let Some((column, _)) = column else {
        return Err(vec![(1, format!("no column is named `{COLUMN}`: the first line names the columns"))]);
    };
    if extra.is_some() {
        return Err(vec![(1, format!("two columns are named `{COLUMN}`"))]);
    }
    let mut serials = Vec::new();
    let mut problems = Vec::new();
    let mut record = csv::ByteRecord::new();
    let mut lines = Lines { content, byte: 0, line: 1 };
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                problems.push((lines.at(reader.position().byte()), error.to_string()));
                break;
            }
        }
        let line = record.position().map_or(0, |position| lines.at(position.byte()));
        match record.get(column).map(Serial::try_from) {
            None => problems.push((line, format!("it has {} columns, and `{COLUMN}` is number {}", record.len(), column + 1))),
            Some(Err(error)) => problems.push((line, error.to_string())),
            Some(Ok(serial)) => serials.push((line, serial)),
        }
    }
    if serials.is_empty() && problems.is_empty() {
        problems.push((1, "there is no serial below the first line".into()));
    }
    if problems.is_empty() { Ok(serials) } else { Err(problems) }
}

/// The lines of a list as an editor counts them, with any line ending.
struct Lines<'a> {
    content: &'a [u8],
    byte: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of a record that begins at that byte, after the end of the line before and after empty lines.
    fn at(&mut self, byte: u64) -> u64 {
        let byte = usize::try_from(byte).unwrap_or(usize::MAX).clamp(self.byte, self.content.len());
        let ends = self.content[byte..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let passed = &self.content[self.byte..byte + ends];
        self.line += passed.split(|&byte| byte == b'\n').skip(1).count() as u64;
        self.byte = byte + ends;
        self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(serial: &str) -> String {
        AccountRule::default().account(&serial.parse().unwrap())
    }

    #[test]
    fn the_account_is_named_by_what_follows_the_last_hyphen_in_lower_case() {
        assert_eq!(account("AZJN-0042"), "azaion-jetson-0042@azaion.com");
        assert_eq!(account("A-B-00AF"), "azaion-jetson-00af@azaion.com");
        assert_eq!(account("0042"), "azaion-jetson-0042@azaion.com");
    }

    #[test]
    fn a_rule_must_tell_devices_apart_and_be_an_address() {
        assert_eq!("all@x.com".parse::<AccountRule>(), Err(AccountRuleError::Constant));
        for wrong in ["{serial}", "{serial}@", "@{serial}", "a@{serial}@b", "a b{serial}@x", "{serial}{other}@x", "{serial}\n@x"]
        {
            assert_eq!(wrong.parse::<AccountRule>(), Err(AccountRuleError::Form), "{wrong}");
        }
        let rule: AccountRule = "node+{serial}@x.org".parse().unwrap();
        assert_eq!(rule.account(&"AZJN-0042".parse().unwrap()), "node+azjn-0042@x.org");
    }

    #[test]
    fn what_is_dangerous_somewhere_is_no_serial() {
        let long = "A".repeat(300);
        for wrong in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\0b",
            "a\nb",
            "a\rb",
            "a\u{1b}[2J",
            "=1+1",
            "+1",
            "-1",
            "@x",
            "a-",
            "a..b",
            "a b",
            "é",
            "a'b",
            "a\"b",
            "$(id)",
            "{serial}",
            &long,
        ] {
            assert!(wrong.parse::<Serial>().is_err(), "{wrong:?}");
        }
        for right in ["AZJN-0042", "0", "a.b_c-d"] {
            assert!(right.parse::<Serial>().is_ok(), "{right}");
        }
    }

    #[test]
    fn a_problem_is_shown_without_control_characters() {
        let error = "a\u{1b}[2J".parse::<Serial>().unwrap_err().to_string();
        assert!(error.contains("\\x1b") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn a_list_may_come_from_a_spreadsheet() {
        let list = "\u{feff}Station,Serial\r\n1,AZJN-0001\r\n2,\"AZJN-0002\"\r\n\r\n3, AZJN-0003 \r\n";
        let serials: Vec<_> = parse_list(list.as_bytes()).unwrap().into_iter().map(|(line, serial)| (line, serial.0)).collect();
        assert_eq!(serials, [(2, "AZJN-0001".into()), (3, "AZJN-0002".into()), (5, "AZJN-0003".into())]);
    }

    #[test]
    fn every_bad_line_of_a_list_is_named() {
        let list = "station,serial\n1,AZJN-0001\n2\n3,=cmd()\n4,\n5,AZJN-0002\n6,a/../b\n7,a\0b\n";
        let lines: Vec<u64> = parse_list(list.as_bytes()).unwrap_err().into_iter().map(|(line, _)| line).collect();
        assert_eq!(lines, [3, 4, 5, 7, 8]);
    }

    #[test]
    fn a_list_without_the_column_or_without_serials_is_refused() {
        for wrong in ["", "serial\n", "AZJN-0001\nAZJN-0002\n", "serial,serial\na,b\n", "\0\u{1}\u{2}"] {
            assert!(parse_list(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn serials_that_repeat_or_share_an_account_are_refused_together() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "serial\nAZJN-0001\nOTHER-0001\nAZJN-0001\nazjn-0001\n").unwrap();
        let error = read_list(file.path(), &AccountRule::default(), "{serial}").unwrap_err().to_string();
        for line in ["line 3", "line 4", "line 5"] {
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn several_serials_are_never_written_into_one_tree() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "serial\nAZJN-0001\nAZJN-0002\n").unwrap();
        assert!(matches!(read_list(file.path(), &AccountRule::default(), "rootfs"), Err(ListError::OneTree)));
        let devices = read_list(file.path(), &AccountRule::default(), "images/{serial}/rootfs").unwrap();
        assert_eq!(devices[1].rootfs, Path::new("images/AZJN-0002/rootfs"));
    }

    #[test]
    fn the_name_on_the_air_is_fixed_by_the_serial_and_hides_it() {
        let [one, two] = ["AZJN-0042", "AZJN-0043"].map(|serial| serial.parse::<Serial>().unwrap().node_id());
        assert_ne!(one, two);
        assert_eq!(one, "AZJN-0042".parse::<Serial>().unwrap().node_id());
        assert_eq!((one.len(), one.contains("0042")), (15, false));
    }
}
