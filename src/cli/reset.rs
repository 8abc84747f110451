//! `jarvis-provision reset`.
//!
//! The machine of `run` resets the node, without links and without a command center.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context;
use jarvis_provisioning::command_center::NoCommandCenter;
use jarvis_provisioning::daemon::{Daemon, Handle};
use jarvis_provisioning::link::http::cleared_name;
use jarvis_provisioning::network::Network;
use jarvis_provisioning::simulation::SimulatedNetwork;
use jarvis_provisioning::store::{self, Store};
use provisioning_core::fault::chain;
use provisioning_core::machine::{AccessPointPolicy, Answer, Boot, Config, LocalRequest};

use super::backend::Backend;
use super::run::machine_config;
use super::{Failure, Settings, lock, open_store, paths};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,

    /// Reset a simulated node, whose networks NetworkManager does not know.
    #[arg(long)]
    simulate: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut config = arguments.settings.read()?;
    config.simulate |= arguments.simulate;
    let token = config.care.api_token()?;
    let store = match open_store(&config) {
        Ok(store) => Some(store),
        Err(Failure::Files(lost @ store::Error::KeyLost { .. })) => {
            eprintln!("jarvis-provision: {}", chain(&lost));
            None
        }
        Err(failure) => return Err(failure),
    };
    let _lock = lock(&paths(&config))?;
    let name = match &store {
        Some(store) => store.load()?.identity.name(),
        None => "this node".into(),
    };
    if !arguments.yes && !confirmed(&name)? {
        eprintln!("Nothing was changed.");
        return Ok(());
    }
    let mut store = match store {
        Some(store) => {
            store.begin_reset()?;
            store
        }
        None => {
            Store::begin_reset_without_key(&paths(&config))?;
            open_store(&config)?
        }
    };
    if let Some(token) = token {
        store.revocable_token(&token)?;
    }
    let boot = store.load()?;
    let machine = Config { access_point: AccessPointPolicy::Never, ..machine_config(&config) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    let (answer, handle) = runtime.block_on(async {
        if config.simulate {
            reset(machine, boot, SimulatedNetwork, store).await
        } else {
            reset(machine, boot, Backend::start(&config, None), store).await
        }
    });
    match answer {
        Some(Answer::Reset(items)) => {
            for item in items {
                println!("cleared {}", cleared_name(item));
            }
            let node_id = &handle.view().identity.node_id;
            eprintln!("{name} is reset, and its node id is {node_id}. The label remains valid.");
            Ok(())
        }
        Some(Answer::ResetIncomplete(fault)) => Err(Failure::ResetIncomplete(fault)),
        other => Err(Failure::Other(anyhow::anyhow!("the reset has ended without a result: {other:?}"))),
    }
}

/// Completes a reset that has begun; none if the loop has ended before.
async fn reset(machine: Config, boot: Boot, network: impl Network, store: Store) -> (Option<Answer>, Handle) {
    let (daemon, handle) = Daemon::new(machine, boot, network, NoCommandCenter, store);
    let answer = tokio::select! {
        answer = handle.ask_locally(LocalRequest::Reset) => answer.ok(),
        _ = daemon.run(std::future::pending()) => None,
    };
    (answer, handle)
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
