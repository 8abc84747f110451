//! The state of provisioning as users see it: the states, percentages and texts of the existing phone apps.

use alloc::format;
use alloc::string::String;

use super::Ssid;
use crate::fault::Fault;

/// The states that a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for a phone.
    ApMode,
    /// Joining the network.
    Connecting,
    /// Registering with the command center.
    Registering,
    /// The node is provisioned.
    Provisioned,
    /// The last attempt failed; another one may start.
    Error,
    /// The node is in a network, and has no command center. It waits for a phone that enrolls it.
    Online,
}

impl State {
    /// The name in the JSON API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ApMode => "AP_MODE",
            Self::Connecting => "CONNECTING",
            Self::Registering => "REGISTERING",
            Self::Provisioned => "PROVISIONED",
            Self::Error => "ERROR",
            Self::Online => "ONLINE",
        }
    }
}

/// The progress of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// No attempt is in progress.
    Waiting,
    /// The pending attempt is being stored.
    Saving,
    /// The pending attempt is stored; the network is next.
    Saved,
    /// Joining.
    Joining,
    /// Joined.
    Joined,
    /// Joined and stored, without a command center to register with.
    Online,
    /// Registering.
    Registering,
    /// Claiming the provision code.
    Claiming,
    /// Storing what the command center returned.
    Finalizing,
    /// Everything is stored.
    Done,
}

impl Step {
    /// The state that belongs to the step.
    pub const fn state(self) -> State {
        match self {
            Self::Waiting => State::ApMode,
            Self::Saving | Self::Saved | Self::Joining | Self::Joined => State::Connecting,
            Self::Registering | Self::Claiming | Self::Finalizing => State::Registering,
            Self::Online => State::Online,
            Self::Done => State::Provisioned,
        }
    }

    /// The percentage that the apps show.
    pub const fn progress(self) -> u8 {
        match self {
            Self::Waiting => 0,
            Self::Saving => 10,
            Self::Saved => 20,
            Self::Joining => 35,
            Self::Joined => 50,
            Self::Online => 60,
            Self::Registering => 70,
            Self::Claiming => 80,
            Self::Finalizing => 90,
            Self::Done => 100,
        }
    }

    /// The text that the apps show.
    pub fn message(self, ssid: &str) -> String {
        match self {
            Self::Waiting => "Waiting for mobile app connection...".into(),
            Self::Saving => "Saving configuration...".into(),
            Self::Saved => format!("Saving credentials for {ssid}..."),
            Self::Joining => format!("Connecting to {ssid}..."),
            Self::Joined => format!("Connected to {ssid}"),
            Self::Online => "Online, and not enrolled with a command center".into(),
            Self::Registering => "Registering with command center...".into(),
            Self::Claiming => "Claiming the provision code...".into(),
            Self::Finalizing => "Finalizing...".into(),
            Self::Done => "Provisioning complete! You can now start the main Jarvis service.".into(),
        }
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The fault for the phone.
    pub fault: Fault,
    /// The HTTP status of the command center's refusal, if it refused.
    pub registration_status: Option<u16>,
}

impl From<Fault> for Failure {
    /// A failure without an answer of the command center.
    fn from(fault: Fault) -> Self {
        Self { fault, registration_status: None }
    }
}

/// A snapshot for readers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own; goes when two of them exclude each other")]
pub struct Status {
    /// The last step of the attempt; unchanged after a failure.
    pub step: Step,
    /// Set after a failure.
    pub failure: Option<Failure>,
    /// The attempt's number; 0 if none, or if it did not come sealed.
    pub request_id: u64,
    /// The attempt's network, as the phone named it.
    pub ssid: Option<String>,
    /// The network's name in bytes, if it is a valid one.
    pub ssid_bytes: Option<Ssid>,
    /// After a failure: the phone may send again at once.
    pub retryable: bool,
    /// After a failure: the access point is open again.
    pub access_point_restored: bool,
    /// The node joined, but a portal or a router keeps it from the internet.
    pub limited_connectivity: bool,
    /// The node waits for its clock to be set: by its time, the command center's certificate is not valid yet.
    pub waits_for_time: bool,
    /// The identity of the appliance that the node has become by the attempt's provision code.
    pub appliance_id: Option<String>,
}

impl Status {
    /// No attempt was made yet.
    pub const fn waiting() -> Self {
        Self {
            step: Step::Waiting,
            failure: None,
            request_id: 0,
            ssid: None,
            ssid_bytes: None,
            retryable: false,
            access_point_restored: false,
            limited_connectivity: false,
            waits_for_time: false,
            appliance_id: None,
        }
    }

    /// The state that a user sees.
    pub const fn state(&self) -> State {
        if self.failure.is_some() { State::Error } else { self.step.state() }
    }

    /// 0 to 100.
    pub const fn progress(&self) -> u8 {
        self.step.progress()
    }

    /// The line that the apps show.
    pub fn message(&self) -> String {
        self.message_about(self.ssid.as_deref().unwrap_or("the present connection"))
    }

    /// The line that the apps show, for readers without a session.
    pub fn public_message(&self) -> String {
        self.message_about(self.public_ssid())
    }

    /// The network, for readers without a session: a name that came sealed is left out.
    pub fn public_ssid(&self) -> &str {
        if self.request_id == 0 { self.ssid.as_deref().unwrap_or_default() } else { "the network" }
    }

    fn message_about(&self, ssid: &str) -> String {
        match self.failure {
            Some(_) => "Provisioning failed".into(),
            None if self.waits_for_time => "Waiting for the device's clock to be set...".into(),
            None => self.step.message(ssid),
        }
    }
}

/// The outcome of an attempt, stored on disk for later requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The attempt; 0 if the phone gave it no number.
    pub request_id: u64,
    /// The network, as the phone named it.
    pub ssid: String,
    /// The network's name in bytes, if it is a valid one.
    pub ssid_bytes: Option<Ssid>,
    /// The last step.
    pub step: Step,
    /// Why it failed; none after a success.
    pub failure: Option<Failure>,
    /// The node is not enrolled, and keeps a network that this attempt or an earlier one has joined.
    pub online: bool,
}

impl From<Outcome> for Status {
    fn from(Outcome { request_id, ssid, ssid_bytes, step, failure, online: _ }: Outcome) -> Self {
        Self { step, retryable: failure.is_some(), failure, request_id, ssid: Some(ssid), ssid_bytes, ..Self::waiting() }
    }
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 10] = [
        Self::Waiting,
        Self::Saving,
        Self::Saved,
        Self::Joining,
        Self::Joined,
        Self::Online,
        Self::Registering,
        Self::Claiming,
        Self::Finalizing,
        Self::Done,
    ];

    /// The step of that percentage.
    pub fn from_progress(progress: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.progress() == progress)
    }
}
