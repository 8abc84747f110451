//! Commands, and their reassembly from the values that a client writes.

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

use super::Code;
use crate::domain::{Passphrase, Ssid};

/// The largest command, bytes: with a name and a password whose characters are all escaped.
const LIMIT: usize = 1024;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// List the networks that were found.
    Networks,
    /// Join this network.
    Join {
        /// The number of the command; there is one for hidden networks.
        number: i64,
        /// Its name.
        ssid: Ssid,
        /// Its passphrase; empty for an open network.
        passphrase: Passphrase,
        /// It does not broadcast its name.
        hidden: bool,
    },
    /// Look for networks.
    Scan,
    /// Describe the network that the node is in.
    Connection,
}

/// A command that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number; -1 if it has none.
    pub number: i64,
    /// Why.
    pub code: Code,
}

impl Command {
    /// The number of the command.
    pub const fn number(&self) -> i64 {
        match self {
            Self::Networks => 0,
            Self::Join { number, .. } => *number,
            Self::Scan => 4,
            Self::Connection => 5,
        }
    }

    /// Parses a line.
    pub fn decode(line: &[u8]) -> Result<Self, Refused> {
        let mut command: Value = serde_json::from_slice(line).unwrap_or_default();
        let number = command.get("c").and_then(Value::as_i64).unwrap_or(-1);
        let refused = |code| Refused { number, code };
        match number {
            0 => Ok(Self::Networks),
            1 | 2 => {
                let parameters = command.get_mut("p").map(Value::take).unwrap_or_default();
                join(number, parameters).ok_or(refused(Code::InvalidParameter))
            }
            4 => Ok(Self::Scan),
            5 => Ok(Self::Connection),
            // To leave the network, and to open an access point of the client's: nobody may do that to the node.
            _ => Err(refused(Code::InvalidCommand)),
        }
    }
}

fn join(number: i64, mut parameters: Value) -> Option<Command> {
    let mut text = |name: &str| match parameters.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    // An open network may have no password at all.
    let passphrase: String = text("p").unwrap_or_default();
    let passphrase = Passphrase::try_from(passphrase).ok().filter(Passphrase::is_printable)?;
    let ssid = Ssid::try_from(text("e")?.as_bytes()).ok()?;
    // nymea's app says so here, others by the command.
    let hidden = number == 2 || parameters.get("h").and_then(Value::as_bool) == Some(true);
    Some(Command::Join { number, ssid, passphrase, hidden })
}

/// The command that a client is writing.
pub struct Text(Zeroizing<Vec<u8>>);

impl Default for Text {
    fn default() -> Self {
        // It never grows, so no copy of a password is left behind.
        Self(Zeroizing::new(Vec::with_capacity(LIMIT)))
    }
}

impl Text {
    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.0.zeroize();
    }

    /// Takes a value; returns the command if it is complete.
    pub fn push(&mut self, value: &[u8]) -> Option<Result<Command, Refused>> {
        if self.0.len() + value.len() > LIMIT {
            self.clear();
            return Some(Err(Refused { number: -1, code: Code::InvalidCommand }));
        }
        self.0.extend_from_slice(value);
        self.0.ends_with(b"\n").then(|| {
            let command = Command::decode(&self.0);
            self.clear();
            command
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    const HOME: &str = r#"{"c":1,"p":{"e":"home","p":"correct horse"}}"#;

    fn home(number: i64, hidden: bool) -> Command {
        Command::Join {
            number,
            ssid: Ssid::try_from("home").expect("short"),
            passphrase: Passphrase::try_from(String::from("correct horse")).expect("short"),
            hidden,
        }
    }

    #[test]
    fn every_command_is_read() {
        for (text, command) in [
            (r#"{"c":0}"#, Command::Networks),
            (HOME, home(1, false)),
            (r#"{"p":{"p":"correct horse","e":"home"},"c":2}"#, home(2, true)),
            (r#"{"c":1,"p":{"e":"home","p":"correct horse","h":true}}"#, home(1, true)),
            (r#"{"c":1,"p":{"e":"h\u006fme","p":"correct\u0020horse","x":[1]},"y":null}"#, home(1, false)),
            (r#"{"c":4,"p":{}}"#, Command::Scan),
            (r#" { "c" : 5 } "#, Command::Connection),
        ] {
            assert_eq!(Command::decode(text.as_bytes()), Ok(command), "{text}");
        }
        let open = Command::decode(br#"{"c":1,"p":{"e":"cafe"}}"#).expect("an open network");
        assert!(matches!(open, Command::Join { passphrase, .. } if passphrase.is_empty()));
    }

    #[test]
    fn what_is_no_command_has_a_code() {
        let long = "a".repeat(200);
        for (text, number, code) in [
            ("", -1, Code::InvalidCommand),
            ("{}", -1, Code::InvalidCommand),
            ("[0]", -1, Code::InvalidCommand),
            (r#"{"c":0}{"c":0}"#, -1, Code::InvalidCommand),
            (r#"{"c":"0"}"#, -1, Code::InvalidCommand),
            (r#"{"c":0.5}"#, -1, Code::InvalidCommand),
            (r#"{"c":3}"#, 3, Code::InvalidCommand),
            (r#"{"c":6,"p":{"e":"mine","p":"password"}}"#, 6, Code::InvalidCommand),
            (r#"{"c":7}"#, 7, Code::InvalidCommand),
            (r#"{"c":1}"#, 1, Code::InvalidParameter),
            (r#"{"c":1,"p":[]}"#, 1, Code::InvalidParameter),
            (r#"{"c":1,"p":{"p":"correct horse"}}"#, 1, Code::InvalidParameter),
            (r#"{"c":2,"p":{"e":7,"p":"correct horse"}}"#, 2, Code::InvalidParameter),
            (r#"{"c":1,"p":{"e":"","p":"correct horse"}}"#, 1, Code::InvalidParameter),
            (r#"{"c":1,"p":{"e":"home","p":"new\nline"}}"#, 1, Code::InvalidParameter),
            (&format!(r#"{{"c":1,"p":{{"e":"{}","p":""}}}}"#, &long[..33]), 1, Code::InvalidParameter),
            (&format!(r#"{{"c":1,"p":{{"e":"home","p":"{long}"}}}}"#), 1, Code::InvalidParameter),
        ] {
            assert_eq!(Command::decode(text.as_bytes()), Err(Refused { number, code }), "{text}");
        }
        assert!(Command::decode(&[0xff, b'{']).is_err(), "no text");
    }

    #[test]
    fn a_command_that_is_cut_is_none() {
        for length in 0..HOME.len() {
            assert!(Command::decode(&HOME.as_bytes()[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn a_command_is_whole_however_it_was_cut() {
        let line = format!("{HOME}\n");
        for size in 1..=line.len() {
            let mut text = Text::default();
            for _ in 0..2 {
                let commands: Vec<_> = line.as_bytes().chunks(size).filter_map(|value| text.push(value)).collect();
                assert_eq!(commands, [Ok(home(1, false))], "values of {size} bytes");
            }
        }
    }

    #[test]
    fn a_command_that_is_too_long_is_refused_and_the_next_one_is_read() {
        let mut text = Text::default();
        assert_eq!(text.push(&[b' '; 1000]), None);
        assert_eq!(text.push(&[b' '; 25]), Some(Err(Refused { number: -1, code: Code::InvalidCommand })));
        assert_eq!(text.push(b"{\"c\":4}\n"), Some(Ok(Command::Scan)));
        assert_eq!(text.push(b"{\"c\":"), None);
        text.clear();
        assert_eq!(text.push(b"{\"c\":4}\n"), Some(Ok(Command::Scan)));
    }

    #[test]
    fn the_longest_network_fits_however_it_is_escaped() {
        let escaped = |length| r"\u0061".repeat(length);
        let mut text = Text::default();
        let line = format!("{{\"c\":1,\"p\":{{\"e\":\"{}\",\"p\":\"{}\"}}}}\n", escaped(32), escaped(128));
        assert!(line.len() <= LIMIT);
        assert!(text.push(line.as_bytes()).expect("a line").is_ok());
    }
}
