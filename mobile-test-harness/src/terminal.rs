//! Terminal output: colours, signal bars and tables.

use std::fmt::Display;
use std::io::IsTerminal;

use provisioning_core::domain::{Network, Security};

/// Whether and how to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    coloured: bool,
}

/// The role of a text, from which its colour follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// A success.
    Good,
    /// A warning.
    Warning,
    /// A failure.
    Bad,
    /// A heading, or the subject of the line.
    Strong,
    /// A detail.
    Quiet,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` is set and not empty, or `TERM` is `dumb`.
    pub fn of(stream: &impl IsTerminal) -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self { coloured: stream.is_terminal() && !unwanted && !dumb }
    }

    /// No colours.
    pub const fn plain() -> Self {
        Self { coloured: false }
    }

    /// The text in its tone.
    pub fn paint(self, tone: Tone, text: impl Display) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "1;31",
            Tone::Strong => "1",
            Tone::Quiet => "2",
        };
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// The signal strength as four bars: `▂▄▆█` is the strongest.
pub fn bars(dbm: i8) -> &'static str {
    match dbm {
        -55.. => "▂▄▆█",
        -65..=-56 => "▂▄▆·",
        -75..=-66 => "▂▄··",
        -85..=-76 => "▂···",
        _ => "····",
    }
}

/// The name of a security protocol, as routers show it.
pub const fn security(security: Security) -> &'static str {
    match security {
        Security::Open => "open",
        Security::Wep => "WEP",
        Security::Wpa => "WPA",
        Security::Wpa2 => "WPA2",
        Security::Wpa2Wpa3 => "WPA2/WPA3",
        Security::Wpa3 => "WPA3",
        Security::Owe => "open, encrypted",
        Security::Enterprise => "enterprise",
    }
}

/// A received text without control characters, so that it cannot move the cursor or change colours.
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { '\u{fffd}' } else { character }).collect()
}

/// The networks as the lines of a table, in the given order.
pub fn networks(networks: &[Network], style: Style) -> Vec<String> {
    let names: Vec<String> = networks.iter().map(|network| printable(&network.ssid.to_string())).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("NETWORK".len());
    let heading = format!("{:<6}  {:>8}  {:<width$}  {}", "SIGNAL", "STRENGTH", "NETWORK", "SECURITY");
    let rows = networks.iter().zip(names).map(|(network, name)| {
        let tone = match network.signal {
            -65.. => Tone::Good,
            -75..=-66 => Tone::Warning,
            _ => Tone::Quiet,
        };
        let strength = format!("{} dBm", network.signal);
        format!(
            "{}    {strength:>8}  {name:<width$}  {}",
            style.paint(tone, bars(network.signal)),
            style.paint(Tone::Quiet, security(network.security)),
        )
    });
    std::iter::once(style.paint(Tone::Strong, heading)).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::domain::Ssid;

    fn network(ssid: &str, signal: i8) -> Network {
        Network { ssid: Ssid::try_from(ssid).expect("a short name"), signal, security: Security::Wpa2, frequency: 2437 }
    }

    #[test]
    fn stronger_signals_have_more_bars() {
        let shown = [0, -55, -56, -65, -66, -75, -76, -85, -86, -128].map(bars);
        assert_eq!(shown, ["▂▄▆█", "▂▄▆█", "▂▄▆·", "▂▄▆·", "▂▄··", "▂▄··", "▂···", "▂···", "····", "····"]);
    }

    #[test]
    fn a_table_is_aligned_whatever_the_names_are() {
        let lines = networks(&[network("Café ☕", -45), network("a", -101)], Style::plain());
        assert_eq!(
            lines,
            ["SIGNAL  STRENGTH  NETWORK  SECURITY", "▂▄▆█     -45 dBm  Café ☕   WPA2", "····    -101 dBm  a        WPA2",]
        );
    }

    #[test]
    fn a_name_from_the_air_cannot_write_to_the_terminal() {
        let lines = networks(&[network("\u{1b}[2Jgone\n", -45)], Style::plain());
        assert!(lines.iter().all(|line| !line.contains(['\u{1b}', '\n'])), "{lines:?}");
    }

    #[test]
    fn without_colours_a_text_is_as_it_was() {
        assert_eq!(Style::plain().paint(Tone::Bad, "no"), "no");
        assert_eq!(Style { coloured: true }.paint(Tone::Bad, "no"), "\u{1b}[1;31mno\u{1b}[0m");
    }
}
