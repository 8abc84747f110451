//! What a phone with a session asks of network care, and the answers.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use super::{Passphrase, Ssid};
use crate::secret::{SecretBlob, SecretText};

/// A request to network care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CareRequest {
    /// Describe the network.
    Status,
    /// List the saved networks.
    Saved,
    /// Join a saved network.
    Join(Ssid),
    /// Delete the saved network whose profile has this name.
    Forget(String),
    /// Find out what is wrong.
    Diagnose,
    /// Open the hotspot, or close it.
    Hotspot(bool),
    /// Start a recovery.
    Recover,
    /// Restart the program.
    Restart,
    /// List the events after the one with this id; the last ones if it is empty.
    Events(String),
    /// Join a network, and save it.
    Connect {
        /// Its name.
        ssid: Ssid,
        /// Its passphrase; empty for an open network, or for one that is saved.
        passphrase: Passphrase,
        /// It does not send its name.
        hidden: bool,
    },
    /// Show what the label shows.
    Label,
    /// Delete everything that the owner has given.
    Reset,
}

impl CareRequest {
    /// Whether the phone leaves the radio to network care with it: it changes what the radio does, or may, or it follows what
    /// network care does.
    pub const fn leaves_radio(&self) -> bool {
        match self {
            Self::Join(_)
            | Self::Connect { .. }
            | Self::Forget(_)
            | Self::Hotspot(_)
            | Self::Recover
            | Self::Reset
            | Self::Events(_) => true,
            Self::Status | Self::Saved | Self::Diagnose | Self::Restart | Self::Label => false,
        }
    }
}

/// An answer of network care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CareReply {
    /// It is done; a recovery or a restart has begun.
    Done,
    /// The network.
    Status(CareStatus),
    /// The saved networks.
    Saved(Vec<SavedNetwork>),
    /// The layers, from the bottom.
    Diagnosis(Vec<LayerReport>),
    /// The events.
    Events(NewEvents),
    /// The label.
    Label(Label),
}

/// What the label of a node shows for pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The name of the node.
    pub name: String,
    /// Six digits.
    pub code: SecretText,
    /// The text of the pairing QR code.
    pub pairing_qr: SecretText,
    /// The modules in a row of that code, and its rows; 0 if there is none.
    pub size: u32,
    /// The modules, row by row: a dark one is a 1, from the highest bit of each byte on.
    pub modules: SecretBlob,
}

/// The events after one that a phone has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewEvents {
    /// In their order.
    pub events: Vec<CareEvent>,
    /// The node no longer has the event that the phone has, so events between it and these can be lost.
    pub gap: bool,
}

/// Something that has happened to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CareEvent {
    /// Ids grow, as texts.
    pub id: String,
    /// How much it matters.
    pub level: EventLevel,
    /// One line for people.
    pub message: String,
    /// The action that it is about, and how far that is.
    pub action: Option<(String, EventPhase)>,
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventLevel {
    /// Nothing has to be done.
    Info,
    /// Something was achieved.
    Success,
    /// Something does not work, or will be lost.
    Warning,
    /// Something has failed.
    Error,
}

/// How far an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventPhase {
    /// It has begun.
    Started,
    /// It has succeeded.
    Completed,
    /// It has failed.
    Failed,
}

/// The state of the node's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CareStatus {
    /// The node is in a network.
    pub connected: bool,
    /// This one.
    pub ssid: Option<Ssid>,
    /// The node's address.
    pub address: Option<Ipv4Addr>,
    /// The internet is reachable, as far as known.
    pub internet: bool,
    /// The hotspot is open.
    pub hotspot: bool,
    /// Why the last operation has failed, for people; empty if it has not.
    pub last_error: String,
    /// Whether a recovery can start; none if the node is too old to say so.
    pub recovery: Option<RecoveryState>,
}

/// Whether a recovery can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecoveryState {
    /// It starts when the network is lost, or on request.
    Ready,
    /// The settings forbid it.
    Disabled,
    /// The last one ended a short time ago.
    Cooldown,
    /// One is in progress.
    InProgress,
}

/// A network that the node can join by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedNetwork {
    /// The name of its profile, by which it is forgotten.
    pub name: String,
    /// The node joins it without a request.
    pub autoconnect: bool,
    /// The node is in it.
    pub active: bool,
}

/// Whether a layer of the network works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerVerdict {
    /// It works.
    Ok,
    /// It does not.
    Failed,
    /// Something that it needs does not work.
    NotReached,
}

/// What was found out about a layer of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerReport {
    /// Its name for programs.
    pub layer: String,
    /// Whether it works.
    pub verdict: LayerVerdict,
    /// What was seen, for people.
    pub evidence: String,
    /// What to do, for people; empty if it works.
    pub advice: String,
}
