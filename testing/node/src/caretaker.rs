//! A scripted caretaker, and what it says.

use std::net::Ipv4Addr;
use std::time::Duration;

use jarvis_provisioning::care::port::{Error, NetworkStatus, RecoveryStatus, Request, Saved, Seen, Status};
use provisioning_core::care::condition::Mode;
use provisioning_core::care::diagnosis::{Address, Association, Clock, CommandCenter, Dns, Evidence, Gateway, Internet, Radio};
use provisioning_core::care::recovery::{Lock, Outcome};
use provisioning_core::domain::{Security, Ssid};

use crate::scripted::NODE_ID;

/// A caretaker that succeeds.
pub fn works(request: Request) {
    match request {
        Request::Scan(reply) => reply
            .send(Ok(vec![seen("HomeNetwork", 75, Security::Wpa2, true), seen("CoffeeShop_Free", 16, Security::Open, false)])),
        Request::Saved(reply) => reply.send(Ok(vec![
            Saved { name: "HomeNetwork".into(), uuid: Some("b3f0".into()), autoconnect: true, active: true },
            Saved { name: "Attic".into(), uuid: None, autoconnect: false, active: false },
        ])),
        Request::Diagnose(reply) => reply.send(Ok(Box::new(evidence()))),
        Request::Connect(_, reply)
        | Request::Forget(_, reply)
        | Request::Hotspot { reply, .. }
        | Request::Recover(reply)
        | Request::Restart { reply, .. }
        | Request::Rollback { reply, .. } => reply.send(Ok(())),
    }
}

/// A caretaker that fails.
pub fn fails(error: Error) -> impl FnMut(Request) + Send + 'static {
    move |request| match request {
        Request::Scan(reply) => reply.send(Err(error.clone())),
        Request::Saved(reply) => reply.send(Err(error.clone())),
        Request::Diagnose(reply) => reply.send(Err(error.clone())),
        Request::Connect(_, reply)
        | Request::Forget(_, reply)
        | Request::Hotspot { reply, .. }
        | Request::Recover(reply)
        | Request::Restart { reply, .. }
        | Request::Rollback { reply, .. } => reply.send(Err(error.clone())),
    }
}

/// A network in range.
pub fn seen(ssid: impl AsRef<[u8]>, signal: u8, security: Security, in_use: bool) -> Seen {
    Seen { ssid: Ssid::try_from(ssid.as_ref()).expect("1 to 32 bytes"), signal, security, in_use }
}

/// A node in a network that works.
pub fn status() -> Status {
    Status {
        mode: Mode::Ready,
        hostname: "kitchen".into(),
        network: NetworkStatus {
            provisioned: true,
            connected: true,
            last_ssid: Ssid::try_from("HomeNetwork").ok(),
            hotspot_ssid: NODE_ID.into(),
            hotspot_profile: "jarvis-hotspot".into(),
            interface: "wlan0".into(),
            hotspot_open: false,
            active_connection: Some("HomeNetwork".into()),
            ipv4_address: Some(Ipv4Addr::new(192, 168, 1, 7)),
            gateway: Some(Ipv4Addr::new(192, 168, 1, 1)),
            internet: true,
            last_error: None,
        },
        recovery: RecoveryStatus {
            enabled: true,
            threshold: 3,
            cooldown: Duration::from_mins(2),
            bad_checks: 0,
            last_attempt: None,
            last_recovered: None,
            outcome: Outcome::Idle,
            cooldown_until: None,
            lock: Lock::None,
            last_reason: None,
        },
        restart_pending: false,
        last_restart_reason: None,
        network_manager: true,
    }
}

/// Everything works.
pub fn evidence() -> Evidence {
    Evidence {
        radio: Radio::Ready("wlan0".into()),
        association: Association::Joined { network: "HomeNetwork".into(), signal: Some(75) },
        address: Address::Assigned("192.168.1.7".into()),
        gateway: Gateway::Answers("192.168.1.1".into(), "accepts connections"),
        dns: Dns::Resolves { server: "192.168.1.1".into(), name: "check.example".into() },
        internet: Internet::Reached("http://check.example/".into()),
        clock: Clock { synchronized: Some(true), behind_release: None },
        command_center: CommandCenter::Healthy("https://center.example".into()),
        command_center_is_near: false,
    }
}

/// Nothing is connected.
pub fn disconnected() -> Evidence {
    Evidence {
        association: Association::None,
        address: Address::None,
        gateway: Gateway::None,
        dns: Dns::NoServer,
        internet: Internet::Unchecked,
        ..evidence()
    }
}
