//! `jarvis-provision reset`.

use std::io::{BufRead, IsTerminal, Write};

use jarvis_provisioning::link::http::cleared_name;

use super::{Failure, Settings, lock, open_store, paths};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.settings.read()?;
    let store = open_store(&config)?;
    let _lock = lock(&paths(&config))?;
    let name = store.load()?.identity.name();
    if !arguments.yes && !confirmed(&name)? {
        eprintln!("Nothing was changed.");
        return Ok(());
    }
    let cleared = store.reset()?;
    for item in cleared.items {
        println!("cleared {}", cleared_name(item));
    }
    eprintln!("{name} has forgotten its owner, and is now {}. The label stays valid.", cleared.node_id);
    Ok(())
}

fn confirmed(name: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("there is no terminal to ask on: say --yes to reset without being asked".into()));
    }
    eprint!("Forget Wi-Fi, keys and registration of {name}? This cannot be undone. [y/N] ");
    std::io::stderr().flush().map_err(anyhow::Error::from)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(anyhow::Error::from)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
