//! `jarvis-provision networks`.

use serde_json::Value;

use super::Failure;
use super::care::{NEEDS, Options};
use super::terminal::{printable, table};

#[derive(clap::Args)]
#[command(after_help = NEEDS)]
pub(super) struct Arguments {
    #[command(flatten)]
    options: Options,

    /// List the networks that the node can join by itself, in place of those in range.
    #[arg(long)]
    saved: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let path = if arguments.saved { "networks/saved" } else { "networks" };
    arguments.options.ask(|api| api.get(path), if arguments.saved { saved } else { seen })
}

fn seen(answer: &Value) -> String {
    let mut networks: Vec<&Value> = list(answer).collect();
    networks.sort_by_key(|network| std::cmp::Reverse((network["inUse"].as_bool(), network["signal"].as_u64())));
    let row = |network: &Value| {
        let signal = network["signal"].as_u64().map(|percent| format!("{percent} %")).unwrap_or_default();
        [text(network, "ssid"), signal, text(network, "security"), mark(network, "inUse")]
    };
    shown(["NETWORK", "SIGNAL", "SECURITY", "IN USE"], networks.into_iter().map(row), "No networks are in range.")
}

fn saved(answer: &Value) -> String {
    let row = |network: &Value| [text(network, "name"), mark(network, "autoconnect"), mark(network, "active")];
    shown(["NETWORK", "AUTOMATIC", "ACTIVE"], list(answer).map(row), "No networks are saved.")
}

fn shown<const N: usize>(titles: [&str; N], rows: impl Iterator<Item = [String; N]>, none: &str) -> String {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() { none.to_owned() } else { table(titles, &rows) }
}

fn list(answer: &Value) -> impl Iterator<Item = &Value> {
    answer["networks"].as_array().into_iter().flatten()
}

fn text(network: &Value, key: &str) -> String {
    printable(network[key].as_str().unwrap_or_default())
}

fn mark(network: &Value, key: &str) -> String {
    if network[key] == Value::Bool(true) { "yes" } else { "" }.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_network_in_use_comes_first_and_then_the_strongest() {
        let network =
            |ssid: &str, signal: u8, in_use: bool| json!({ "ssid": ssid, "signal": signal, "security": "WPA2", "inUse": in_use });
        let answer =
            json!({ "networks": [network("weak", 5, false), network("evil\x1b[2J", 90, false), network("home", 60, true)] });
        let expected = "\
NETWORK        SIGNAL  SECURITY  IN USE
home           60 %    WPA2      yes
evil\\u{1b}[2J  90 %    WPA2
weak           5 %     WPA2";
        assert_eq!(seen(&answer), expected);
        assert_eq!(seen(&json!({ "networks": [] })), "No networks are in range.");
    }

    #[test]
    fn saved_networks_have_their_names() {
        let answer = json!({ "networks": [{ "name": "home", "type": "802-11-wireless", "autoconnect": true, "active": false }] });
        assert_eq!(saved(&answer), "NETWORK  AUTOMATIC  ACTIVE\nhome     yes");
        assert_eq!(saved(&json!({ "networks": [] })), "No networks are saved.");
    }
}
