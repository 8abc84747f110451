//! Secrets that are typed at a terminal.

use std::io::{self, BufRead, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Prompts at the terminal, and reads a line without showing it; none if it was interrupted.
pub fn prompt(text: &str) -> io::Result<Option<Zeroizing<String>>> {
    let mut output = io::stderr();
    // Before the prompt: a fast answer is hidden as well.
    let silent = NoEcho::new()?;
    write!(output, "{text}").and_then(|()| output.flush())?;
    let line = line(&mut io::stdin().lock());
    drop(silent);
    writeln!(output)?;
    line
}

/// Disables the echo of the terminal until it is dropped.
struct NoEcho {
    before: Termios,
}

impl NoEcho {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // Without ISIG an interrupt is read as a character, so the echo is restored before the program ends.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for NoEcho {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before) {
            tracing::warn!(%error, "restoring the terminal's echo failed; run `stty echo`");
        }
    }
}

/// Reads one line from a terminal without line editing; none if it was interrupted.
fn line(input: &mut impl BufRead) -> io::Result<Option<Zeroizing<String>>> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const BACKSPACE: u8 = 8;
    const KILL: u8 = 21;
    const DELETE: u8 = 127;
    let mut typed = Zeroizing::new(Vec::with_capacity(256));
    for byte in input.bytes() {
        match byte? {
            INTERRUPT => return Ok(None),
            END | b'\r' | b'\n' => break,
            KILL => typed.clear(),
            BACKSPACE | DELETE => {
                // The continuation bytes of a UTF-8 character start with the bits 10.
                while typed.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => typed.push(byte),
        }
    }
    let text = std::str::from_utf8(&typed).map_err(io::Error::other)?;
    Ok(Some(Zeroizing::new(text.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(bytes: &[u8]) -> Option<String> {
        line(&mut &*bytes).expect("UTF-8").map(|secret| secret.to_string())
    }

    #[test]
    fn a_typed_line_ends_at_its_end() {
        assert_eq!(typed(b"correct horse\nmore").as_deref(), Some("correct horse"));
        assert_eq!(typed(b"correct horse").as_deref(), Some("correct horse"));
    }

    #[test]
    fn a_typed_line_can_be_corrected() {
        assert_eq!(typed("caf\u{e9}\u{7f}e\n".as_bytes()).as_deref(), Some("cafe"));
        assert_eq!(typed(b"wrong\x15right\n").as_deref(), Some("right"));
        assert_eq!(typed(b"\x7f\x7fa\n").as_deref(), Some("a"));
    }

    #[test]
    fn an_interrupted_line_is_none() {
        assert_eq!(typed(b"half a pass\x03"), None);
    }
}
