//! A node in this process: the real loop and the real machine. A test scripts the results of the commands.

use std::time::Duration;

use jarvis_provisioning::daemon::{Daemon, Execute, Handle, View};
use provisioning_core::domain::{CareReply, Identity, Network, Pairing, Registration, Security, Ssid};
use provisioning_core::machine::{
    AccessPointPolicy, Boot, CareCommand, Cleared, ClearedItem, Command, CommandCenterCommand, Config, DiskCommand, Done, Joined,
    Machine, OpId, RadioCommand,
};
use provisioning_core::secret::{SecretBytes, SecretText};
use testing::journal::{CODE, NODE_KEY, QR_SECRET};
use tokio::sync::mpsc;

/// The identity of a node that has not registered.
pub const NODE_ID: &str = "jarvis-5b91b661";

/// The pairing code after a renewal.
pub const NEW_CODE: &str = "730164";

/// The settings of the machine.
pub fn config(access_point: AccessPointPolicy) -> Config {
    Config {
        firmware_version: "1.0.0".into(),
        capabilities: vec!["voice".into(), "speaker".into()],
        access_point,
        answer_leaves: Duration::ZERO,
        linger: None,
        network_care: false,
        improv: false,
        nymea: false,
        page: String::new(),
        next_url: None,
    }
}

/// The disk of a new node.
pub fn boot() -> Boot {
    Boot {
        identity: Identity {
            node_id: NODE_ID.into(),
            unregistered: NODE_ID.into(),
            hardware: "linux-aarch64".into(),
            mac_address: "d8:3a:dd:5b:91:b6".into(),
        },
        pairing: Pairing { code: SecretText::new(CODE.into()), secret: SecretBytes::new(QR_SECRET) },
        guesses: 0,
        provisioned: false,
        command_center: None,
        pending: None,
        outcome: None,
        resetting: false,
        country: String::new(),
    }
}

/// The snapshot of a new node.
pub fn view() -> View {
    View::from(&Machine::new(config(AccessPointPolicy::Never), boot(), Duration::ZERO))
}

/// A network in range.
pub fn network(ssid: impl AsRef<[u8]>, signal: i8, security: Security) -> Network {
    Network { ssid: Ssid::try_from(ssid.as_ref()).expect("1 to 32 bytes"), signal, security, frequency: 2412 }
}

/// The result of a command that succeeds.
pub fn success(command: &Command) -> Done {
    match command {
        Command::Disk(command) => match command {
            DiskCommand::SaveGuesses { op, .. }
            | DiskCommand::SaveK2 { op, .. }
            | DiskCommand::SavePending { op, .. }
            | DiskCommand::SaveEnrollment { op, .. }
            | DiskCommand::MarkProvisioned { op }
            | DiskCommand::SaveOutcome { op, .. }
            | DiskCommand::BeginReset { op } => op.done(Ok(())),
            DiskCommand::RenewPairing { op } => {
                op.done(Ok(Pairing { code: SecretText::new(NEW_CODE.into()), secret: SecretBytes::new([0x5c; 16]) }))
            }
            DiskCommand::FinishReset { op } => op.done(Ok(Cleared {
                items: vec![ClearedItem::ProvisioningMarker, ClearedItem::K2, ClearedItem::WifiCredentials],
                node_id: NODE_ID.into(),
            })),
        },
        Command::Radio(command) => match command {
            RadioCommand::Scan { op, .. } => op.done(Ok(vec![
                network("HomeNetwork", -45, Security::Wpa2),
                network("CoffeeShop_Free", -80, Security::Open),
                network(b"caf\xe9", -60, Security::Wpa3),
            ])),
            RadioCommand::Join { op, .. } => op.done(Ok(Joined { limited_connectivity: false })),
            RadioCommand::KeepNetwork { op }
            | RadioCommand::RestoreNetwork { op }
            | RadioCommand::OpenAccessPoint { op, .. }
            | RadioCommand::ForgetNetworks { op } => op.done(Ok(())),
        },
        Command::CommandCenter(command) => match command {
            CommandCenterCommand::Register { op, node_id, .. } => op.done(Ok(Registration {
                node_id: node_id.clone(),
                node_key: SecretText::new(NODE_KEY.into()),
                household_id: None,
            })),
            CommandCenterCommand::Claim { op, .. } => op.done(Ok("appliance".into())),
            CommandCenterCommand::CheckHealth { op, .. } => op.done(true),
            CommandCenterCommand::ConfirmKey { op, .. } => op.done(true),
        },
        Command::Care(CareCommand::Serve { op, .. }) => op.done(Ok(CareReply::Done)),
    }
}

/// Executors in a test: `script` returns the result of a command, or none if the command does not end by itself.
pub struct Scripted<F> {
    script: F,
    results: mpsc::UnboundedSender<Done>,
}

impl<F: FnMut(&Command) -> Option<Done>> Scripted<F> {
    /// A node with these executors, its handle, and a sender for results that the script has kept back.
    pub fn node(config: Config, boot: Boot, script: F) -> (Daemon<Self>, Handle, mpsc::UnboundedSender<Done>) {
        let (results, receiver) = mpsc::unbounded_channel();
        let (daemon, handle) = Daemon::with_executors(config, boot, Self { script, results: results.clone() }, receiver);
        (daemon, handle, results)
    }
}

impl<F: FnMut(&Command) -> Option<Done>> Execute for Scripted<F> {
    fn carry_out(&mut self, command: Command) {
        if let Some(done) = (self.script)(&command) {
            // The receiver is dropped when the loop has ended.
            let _ended = self.results.send(done);
        }
    }

    fn cancel(&mut self, _: OpId) {}

    fn ended(&mut self, _: OpId) {}
}
