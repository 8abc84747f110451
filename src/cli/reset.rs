//! `jarvis-provision reset`.

use std::io::{BufRead, IsTerminal, Write};

use jarvis_provisioning::claim;
use jarvis_provisioning::link::http::cleared_name;

use super::{Failure, Settings, lock, open_store, paths};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Do not ask for confirmation.
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
    let cleared = store.reset(claim::forget)?;
    for item in cleared.items {
        println!("cleared {}", cleared_name(item));
    }
    eprintln!("{name} is reset, and its node id is {}. The label remains valid.", cleared.node_id);
    Ok(())
}

fn confirmed(name: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage("no terminal for the confirmation: use --yes to reset without it".into()));
    }
    eprint!("Delete Wi-Fi, keys and registration of {name}? This cannot be undone. [y/N] ");
    std::io::stderr().flush().map_err(anyhow::Error::from)?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(anyhow::Error::from)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
