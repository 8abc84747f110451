//! The commands of the machine, and their results.
//!
//! There is one family of commands for each executor: the disk, the radio and the command center. A command carries an
//! [`Op`] of its [`Kind`], and a result is made from that `Op`, so a result of another kind than the command's does not
//! compile:
//!
//! ```compile_fail
//! # use provisioning_core::machine::{Done, Joined, Op, command::kind};
//! fn wrong(op: Op<kind::Save>, joined: Joined) -> Done {
//!     op.done(Ok(joined))
//! }
//! ```

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::time::Duration;

use crate::domain::{
    CareReply, CareRequest, CommandCenterUrl, Country, Credentials, Enterprise, K2, Network, Outcome, Pairing, Passphrase,
    ProvisionCode, Registration, Ssid, UnixTime,
};
use crate::fault::Fault;
use crate::secret::SecretText;

/// Longer than the disk takes to store or delete a few files, also if other writes come first.
pub const DISK_LIMIT: Duration = Duration::from_mins(1);
/// Longer than the adapter takes for any change of the radio, also if a scan comes first.
pub const RADIO_LIMIT: Duration = Duration::from_mins(3);
/// Longer than the client of the command center takes for a check of its health, or of the node's key.
const HEALTH_LIMIT: Duration = Duration::from_mins(1);

/// Longer than network care takes for any request.
const CARE_LIMIT: Duration = Duration::from_mins(4);

/// The number of a command; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(u64);

/// A command in progress, whose result is of the kind `K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<K> {
    id: OpId,
    kind: PhantomData<K>,
}

impl<K: Kind> Op<K> {
    pub(super) const fn new(number: u64) -> Self {
        Self { id: OpId(number), kind: PhantomData }
    }

    /// The command's number.
    pub const fn id(self) -> OpId {
        self.id
    }

    /// The command has ended with this result.
    pub fn done(self, result: K::Result) -> Done {
        K::done(self, result)
    }

    /// The command has no result: its executor has ended without one, or the command is overdue.
    pub fn lost(self) -> Done {
        K::done(self, K::lost())
    }
}

const fn limit_of<K: Kind>(_: Op<K>) -> Option<Duration> {
    K::LIMIT
}

/// A kind of command: what its result is.
pub trait Kind: Sized {
    /// The result.
    type Result;

    /// When a command without a result counts as lost, from its start. None if the stage that waits for it has a limit.
    const LIMIT: Option<Duration>;

    /// The result of a lost command: a failure, so that everything that waits for it ends.
    fn lost() -> Self::Result;

    /// Pairs a command with its result.
    fn done(op: Op<Self>, result: Self::Result) -> Done;
}

macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident => $done:ident($result:ty), lost: $lost:expr, limit: $limit:expr;)*) => {
        /// The kinds of commands.
        pub mod kind {
            $(
                $(#[$meta])*
                #[derive(Clone, Copy, Debug, PartialEq, Eq)]
                pub enum $kind {}
            )*
        }

        /// A command that has ended, and its result.
        #[derive(Clone, Debug)]
        pub enum Done {
            $(
                #[doc = concat!("The result of a [`kind::", stringify!($kind), "`].")]
                $done(Op<kind::$kind>, $result),
            )*
        }

        impl Done {
            /// The command's number.
            pub const fn id(&self) -> OpId {
                match self {
                    $(Self::$done(op, _) => op.id,)*
                }
            }
        }

        $(
            impl Kind for kind::$kind {
                type Result = $result;

                const LIMIT: Option<Duration> = $limit;

                fn lost() -> Self::Result {
                    $lost
                }

                fn done(op: Op<Self>, result: Self::Result) -> Done {
                    Done::$done(op, result)
                }
            }
        )*
    };
}

kinds! {
    /// A write to the disk.
    Save => Saved(Result<(), Fault>), lost: Err(Fault::StorageFailed), limit: Some(DISK_LIMIT);
    /// New pairing secrets.
    Renew => Renewed(Result<Pairing, Fault>), lost: Err(Fault::StorageFailed), limit: Some(DISK_LIMIT);
    /// The last step of a factory reset.
    Reset => Reset(Result<Cleared, Fault>), lost: Err(Fault::StorageFailed), limit: Some(DISK_LIMIT);
    /// A scan.
    Scan => Scanned(Result<Vec<Network>, Fault>), lost: Err(Fault::ScanFailed), limit: None;
    /// A join.
    Join => Joined(Result<Joined, Fault>), lost: Err(Fault::NetworkUnavailable), limit: None;
    /// Any other change of what the radio does or will do.
    Switch => Switched(Result<(), Fault>), lost: Err(Fault::NetworkUnavailable), limit: Some(RADIO_LIMIT);
    /// A registration.
    Register => Registered(Result<Registration, Refused>), lost: Err(Refused::from(Fault::CommandCenterUnreachable)), limit: None;
    /// The claim of a provision code: the identity of the appliance.
    Claim => Claimed(Result<String, Fault>), lost: Err(Fault::CommandCenterUnreachable), limit: None;
    /// A check of the command center's health.
    CheckHealth => Health(bool), lost: false, limit: Some(HEALTH_LIMIT);
    /// A request to network care.
    Care => Cared(Result<CareReply, Fault>), lost: Err(Fault::NetworkUnavailable), limit: Some(CARE_LIMIT);
    /// The first use of the node's key.
    ConfirmKey => KeyConfirmed(bool), lost: false, limit: Some(HEALTH_LIMIT);
}

/// Something that takes time or can fail. Each command has exactly one result, unless it is cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// For the disk.
    Disk(DiskCommand),
    /// For the radio.
    Radio(RadioCommand),
    /// For the command center.
    CommandCenter(CommandCenterCommand),
    /// For network care.
    Care(CareCommand),
}

/// A row is a command: its name, its kind, and its data beside the [`Op`].
macro_rules! commands {
    ($($(#[$meta:meta])* $family:ident($commands:ident) {
        $($(#[$about:meta])* $command:ident: $kind:ident { $($(#[$about_field:meta])* $field:ident: $type:ty,)* })*
    })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub enum $commands {
                $(
                    $(#[$about])*
                    $command {
                        /// The command.
                        op: Op<kind::$kind>,
                        $($(#[$about_field])* $field: $type,)*
                    },
                )*
            }

            impl $commands {
                /// The command's number.
                pub const fn id(&self) -> OpId {
                    match self {
                        $(Self::$command { op, .. } => op.id,)*
                    }
                }

                /// The command's name, for the log.
                pub const fn name(&self) -> &'static str {
                    match self {
                        $(Self::$command { .. } => stringify!($command),)*
                    }
                }

                /// The command has no result: its executor has ended without one, or the command is overdue.
                pub fn lost(&self) -> Done {
                    match self {
                        $(Self::$command { op, .. } => op.lost(),)*
                    }
                }

                const fn limit(&self) -> Option<Duration> {
                    match self {
                        $(Self::$command { op, .. } => limit_of(*op),)*
                    }
                }
            }

            impl From<$commands> for Command {
                fn from(command: $commands) -> Self {
                    Self::$family(command)
                }
            }
        )*

        impl Command {
            /// The command's number.
            pub const fn id(&self) -> OpId {
                match self {
                    $(Self::$family(command) => command.id(),)*
                }
            }

            /// The command's name, for the log.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$family(command) => command.name(),)*
                }
            }

            /// The command has no result: its executor has ended without one, or the command is overdue.
            pub fn lost(&self) -> Done {
                match self {
                    $(Self::$family(command) => command.lost(),)*
                }
            }

            /// When the command counts as lost, from its start.
            pub(super) const fn limit(&self) -> Option<Duration> {
                match self {
                    $(Self::$family(command) => command.limit(),)*
                }
            }
        }
    };
}

commands! {
    /// A change on the disk. It is carried out in the order of the commands, even if it is cancelled, and ends only when what
    /// it wrote survives a power cut.
    Disk(DiskCommand) {
        /// Store the number of guesses since the last success.
        SaveGuesses: Save {
            /// How many.
            made: u32,
        }
        /// Store K2.
        SaveK2: Save {
            /// The key.
            k2: K2,
        }
        /// Store the intention, so that it is resumed after a restart. Fails if the configuration file could not be written in
        /// the end.
        SavePending: Save {
            /// The intention.
            pending: Box<Pending>,
        }
        /// Store configuration and credentials.
        SaveEnrollment: Save {
            /// What the phone sent.
            credentials: Box<Credentials>,
            /// What the command center returned.
            registration: Registration,
        }
        /// Store that the node is provisioned; delete the intention and the last outcome.
        MarkProvisioned: Save {}
        /// Store how an attempt ended; delete the intention.
        SaveOutcome: Save {
            /// How it ended.
            outcome: Outcome,
        }
        /// Replace the pairing secrets by new ones.
        RenewPairing: Renew {}
        /// Store that a factory reset has begun, so that it is resumed after a restart.
        BeginReset: Save {}
        /// Delete what the owner gave; then delete the record that a reset has begun.
        FinishReset: Reset {}
    }

    /// A use of the radio. The commands are carried out one after another, in their order.
    Radio(RadioCommand) {
        /// Scan for networks.
        Scan: Scan {
            /// The country that the node is in, if a phone has sent it.
            country: Option<Country>,
        }
        /// Join a network without storing it.
        Join: Join {
            /// Its name.
            ssid: Ssid,
            /// Its passphrase.
            passphrase: Passphrase,
            /// The login to an enterprise network; then the passphrase is empty.
            enterprise: Option<Box<Enterprise>>,
            /// It does not broadcast its name.
            hidden: bool,
            /// The country that the node is in, if a phone has sent it.
            country: Option<Country>,
            /// The channel on which the phone sees the network, MHz; 0 if it does not know it.
            seen_frequency: u32,
        }
        /// Keep the joined network over a restart.
        KeepNetwork: Switch {}
        /// Leave what was joined and go back to the previous network.
        RestoreNetwork: Switch {}
        /// Open the access point, in place of what the radio did before.
        OpenAccessPoint: Switch {
            /// Its SSID.
            name: String,
        }
        /// Delete the network profiles that this program made. Ends only when their deletion survives a power cut.
        ForgetNetworks: Switch {}
    }

    /// A request to the command center. The order of these does not matter.
    CommandCenter(CommandCenterCommand) {
        /// Register: one try.
        Register: Register {
            /// Where.
            command_center: CommandCenterUrl,
            /// The node's identity.
            node_id: String,
            /// Proof that the owner authorized the registration.
            token: SecretText,
            /// The room that the node is in.
            room: String,
            /// A time that has passed, by the phone's clock.
            time: Option<UnixTime>,
        }
        /// Claim a provision code and store the result. The same code, claimed again by this node, has the same result.
        Claim: Claim {
            /// Where.
            command_center: CommandCenterUrl,
            /// What the phone sent.
            code: ProvisionCode,
            /// A time that has passed, by the phone's clock.
            time: Option<UnixTime>,
        }
        /// Check the health of the command center.
        CheckHealth: CheckHealth {
            /// Where.
            command_center: CommandCenterUrl,
        }
        /// Use the node's key once, after which the command center no longer repeats the registration's answer.
        ConfirmKey: ConfirmKey {
            /// Where.
            command_center: CommandCenterUrl,
            /// What the command center returned.
            registration: Registration,
            /// A time that has passed, by the phone's clock.
            time: Option<UnixTime>,
        }
    }

    /// A request to network care.
    Care(CareCommand) {
        /// Carry out the request of a phone.
        Serve: Care {
            /// The request.
            request: CareRequest,
        }
    }
}

/// A joined network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joined {
    /// A portal or a router keeps the node from the internet.
    pub limited_connectivity: bool,
}

/// A registration that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The fault to report to the phone.
    pub fault: Fault,
    /// The command center's HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// How long the command center asks the node to wait before it retries.
    pub retry_after: Option<Duration>,
}

impl From<Fault> for Refused {
    /// There was no answer.
    fn from(fault: Fault) -> Self {
        Self { fault, status: None, retry_after: None }
    }
}

/// A factory reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// What was cleared.
    pub items: Vec<ClearedItem>,
    /// The node's identity without registration.
    pub node_id: String,
}

/// An item that a factory reset clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearedItem {
    /// The marker of a provisioned node.
    ProvisioningMarker,
    /// K2 and its metadata.
    K2,
    /// The credentials of the joined network.
    WifiCredentials,
    /// The database of the node's normal operation.
    NodeDatabase,
    /// The key of that database.
    DatabaseKey,
    /// The node's identity and key in its configuration.
    ConfigurationCredentials,
    /// The configuration that a provision code was exchanged for.
    ApplianceConfiguration,
}

/// An attempt that is stored before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// What the phone sent.
    pub credentials: Credentials,
    /// How often it was resumed after a restart.
    pub resumes: u32,
}
