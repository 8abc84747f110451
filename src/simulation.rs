//! A network without a radio, for development, demonstrations and tests.
//!
//! Four networks can be joined, like those of the existing simulator: the protected ones accept any passphrase that their
//! security has room for. One network checks its passphrase, and an enterprise network the login; the others fail with the fault in
//! their name, so that a developer can see every outcome. An open network refuses a passphrase, as NetworkManager does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::network::{Error, Inspection, Maintenance, Network, StoredNetwork};
use provisioning_core::care::diagnosis::{Address, Association, Radio};
use provisioning_core::care::recovery::Sighted;
use provisioning_core::domain::{self, EapMethod, Enterprise, Passphrase, Security, Ssid};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;

/// The passphrase of [`GUARDED`], and the password of [`USER`].
pub const PASSWORD: &str = "correct horse battery";

/// The network that checks its passphrase.
pub const GUARDED: &str = "Lighthouse";

/// The enterprise network. It accepts [`USER`] with [`PASSWORD`], and no certificate.
pub const OFFICE: &str = "Office";

/// The user of [`OFFICE`].
pub const USER: &str = "anna@office.example";

/// The networks of the existing simulator, in its order: name, dBm, protection.
const FREE: [(&str, i8, Security); 4] = [
    ("HomeNetwork", -45, Security::Wpa2),
    ("Neighbor_5G", -72, Security::Wpa2),
    ("CoffeeShop_Free", -80, Security::Open),
    ("IoT_Network", -55, Security::Wpa3),
];

/// The faults of the networks that cannot be joined; each network is named for its fault.
const FAILING: [Fault; 10] = [
    Fault::WrongPassword,
    Fault::ProbablyWrongPassword,
    Fault::NetworkNotFound,
    Fault::UnsupportedSecurity,
    Fault::AssociationFailed,
    Fault::NoAddress,
    Fault::RadioBlocked,
    Fault::AdapterGone,
    Fault::NetworkTimeout,
    Fault::NetworkUnavailable,
];

/// WPA2 has no longer key: 64 hexadecimal digits.
const KEY_LIMIT: usize = 64;

/// A network without internet access.
const LIMITED: &str = "Sim-NoInternet";

/// The simulated radio. Every operation completes immediately.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedNetwork;

fn failing(fault: Fault) -> String {
    format!("Sim-{}", fault.name())
}

fn network(ssid: &str, signal: i8, security: Security) -> domain::Network {
    let ssid = Ssid::try_from(ssid).expect("the names above are short");
    domain::Network { ssid, signal, security, frequency: 2437 }
}

impl Network for SimulatedNetwork {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        let mut networks: Vec<_> = FREE.map(|(ssid, signal, security)| network(ssid, signal, security)).into();
        networks.push(network(GUARDED, -51, Security::Wpa2));
        networks.push(network(LIMITED, -60, Security::Open));
        networks.push(network(OFFICE, -65, Security::Enterprise));
        networks.extend((-90_i8..).zip(FAILING).map(|(signal, fault)| network(&failing(fault), signal, Security::Wpa2)));
        Ok(networks)
    }

    async fn join(&self, ssid: &Ssid, passphrase: &Passphrase, _hidden: bool) -> Result<Joined, Error> {
        let name = ssid.to_string();
        let refuse = |fault| Err(Error::new("joining the simulated network", fault));
        let joined = |limited_connectivity| Ok(Joined { limited_connectivity });
        let is_free = |wanted| FREE.iter().any(|(free, _, security)| *free == name && *security == wanted);
        let is_open = name == LIMITED || is_free(Security::Open);
        match name.as_str() {
            _ if is_free(Security::Wpa2) && passphrase.expose().len() > KEY_LIMIT => refuse(Fault::InvalidPassphrase),
            _ if is_open && !passphrase.is_empty() => refuse(Fault::WrongPassword),
            GUARDED if passphrase.expose() == PASSWORD => joined(false),
            GUARDED => refuse(Fault::WrongPassword),
            LIMITED => joined(true),
            OFFICE => refuse(Fault::UnsupportedSecurity),
            name if FREE.iter().any(|(free, ..)| *free == name) => joined(false),
            name => refuse(FAILING.into_iter().find(|fault| failing(*fault) == name).unwrap_or(Fault::NetworkNotFound)),
        }
    }

    async fn join_enterprise(&self, ssid: &Ssid, enterprise: &Enterprise, _hidden: bool) -> Result<Joined, Error> {
        let login = enterprise.login();
        let is_seen = self.scan().await?.iter().any(|network| network.ssid == *ssid);
        let fault = match ssid.to_string().as_str() {
            OFFICE if login.method == EapMethod::Tls => Fault::CertificateRefused,
            OFFICE if login.identity == USER && login.password.expose() == PASSWORD => {
                return Ok(Joined { limited_connectivity: false });
            }
            OFFICE => Fault::LoginRefused,
            _ if is_seen => Fault::NotEnterprise,
            _ => Fault::NetworkNotFound,
        };
        Err(Error::new("joining the simulated enterprise network", fault))
    }

    async fn keep(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn restore(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn open_access_point(&self, _name: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        Ok(())
    }
}

/// A simulated radio with a memory: for network care, whose requests have effects that other requests see. Clones share it.
///
/// It begins in the first of the networks, as after provisioning.
#[derive(Clone, Debug, Default)]
pub struct SimulatedHome(Arc<Mutex<Home>>);

#[derive(Debug)]
struct Home {
    /// The network that the node is in.
    joined: Option<Ssid>,
    /// The stored networks; the one that was used last comes first.
    stored: Vec<Ssid>,
    hotspot: bool,
}

impl Default for Home {
    fn default() -> Self {
        let home = Ssid::try_from(FREE[0].0).expect("the names above are short");
        Self { joined: Some(home.clone()), stored: vec![home], hotspot: false }
    }
}

impl Home {
    fn join(&mut self, ssid: &Ssid) {
        self.joined = Some(ssid.clone());
        self.hotspot = false;
    }

    fn store(&mut self, ssid: &Ssid) {
        self.stored.retain(|stored| stored != ssid);
        self.stored.insert(0, ssid.clone());
    }
}

impl SimulatedHome {
    fn home(&self) -> MutexGuard<'_, Home> {
        // Every change is complete before anything can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Network for SimulatedHome {
    async fn scan(&self) -> Result<Vec<domain::Network>, Error> {
        SimulatedNetwork.scan().await
    }

    async fn join(&self, ssid: &Ssid, passphrase: &Passphrase, hidden: bool) -> Result<Joined, Error> {
        let joined = SimulatedNetwork.join(ssid, passphrase, hidden).await?;
        self.home().join(ssid);
        Ok(joined)
    }

    async fn join_enterprise(&self, ssid: &Ssid, enterprise: &Enterprise, hidden: bool) -> Result<Joined, Error> {
        let joined = SimulatedNetwork.join_enterprise(ssid, enterprise, hidden).await?;
        self.home().join(ssid);
        Ok(joined)
    }

    async fn keep(&self) -> Result<(), Error> {
        let mut home = self.home();
        if let Some(joined) = home.joined.clone() {
            home.store(&joined);
        }
        Ok(())
    }

    async fn restore(&self) -> Result<(), Error> {
        let mut home = self.home();
        home.joined = home.stored.first().cloned();
        Ok(())
    }

    async fn open_access_point(&self, _name: &str) -> Result<(), Error> {
        let mut home = self.home();
        (home.joined, home.hotspot) = (None, true);
        Ok(())
    }

    async fn forget(&self) -> Result<(), Error> {
        let mut home = self.home();
        home.stored.clear();
        home.joined = None;
        Ok(())
    }
}

impl Maintenance for SimulatedHome {
    async fn inspect(&self) -> Inspection {
        let home = self.home();
        let mut seen = Inspection::unconnected(Radio::Simulated);
        if let Some(joined) = &home.joined {
            seen.association = Association::Joined { network: joined.to_string(), signal: Some(75) };
            seen.address = Address::Assigned("127.0.0.1/8".into());
            seen.joined = Some(joined.clone());
        }
        seen.phones = home.hotspot.then_some(0);
        seen
    }

    async fn in_range(&self) -> Result<Sighted, Error> {
        Ok(Sighted { networks: self.home().stored.clone(), hears: Some(true) })
    }

    async fn join_stored(&self, network: Option<&Ssid>) -> Result<(), Error> {
        let mut home = self.home();
        let found = home.stored.iter().find(|stored| network.is_none_or(|network| network == *stored)).cloned();
        let found = found.ok_or_else(|| Error::new("joining a simulated network", Fault::NetworkNotFound))?;
        home.join(&found);
        home.store(&found);
        Ok(())
    }

    async fn close_access_point(&self) -> Result<(), Error> {
        let mut home = self.home();
        if home.hotspot {
            // NetworkManager joins a stored network by itself.
            (home.hotspot, home.joined) = (false, home.stored.first().cloned());
        }
        Ok(())
    }

    async fn restart_radio(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn stored(&self) -> Result<Vec<StoredNetwork>, Error> {
        let home = self.home();
        let network = |ssid: &Ssid| StoredNetwork {
            name: ssid.to_string(),
            ssid: ssid.clone(),
            uuid: format!("simulated-{ssid}"),
            autoconnect: true,
            active: home.joined.as_ref() == Some(ssid),
        };
        Ok(home.stored.iter().map(network).collect())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let mut home = self.home();
        let before = home.stored.len();
        home.stored.retain(|stored| stored.to_string() != name);
        if home.stored.len() == before {
            return Err(Error::new("deleting a simulated network", Fault::NetworkNotFound));
        }
        home.joined.take_if(|joined| joined.to_string() == name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::domain::Login;
    use provisioning_core::secret::{SecretBlob, SecretText};

    async fn join(ssid: &str, passphrase: &str) -> Result<Joined, Fault> {
        let ssid = Ssid::try_from(ssid).expect("a short name");
        let passphrase = Passphrase::try_from(passphrase.to_owned()).expect("a short passphrase");
        SimulatedNetwork.join(&ssid, &passphrase, false).await.map_err(|error| error.fault)
    }

    #[tokio::test]
    async fn the_existing_simulators_networks_come_first_and_accept_any_password() {
        let networks = SimulatedNetwork.scan().await.expect("a simulated scan");
        for (network, (ssid, signal, security)) in networks.iter().zip(FREE) {
            assert_eq!((network.ssid.to_string().as_str(), network.signal), (ssid, signal));
            assert!(join(ssid, if security == Security::Open { "" } else { "x" }).await.is_ok());
        }
    }

    #[tokio::test]
    async fn every_failure_has_a_network_named_for_it() {
        let networks = SimulatedNetwork.scan().await.expect("a simulated scan");
        for fault in FAILING {
            assert!(networks.iter().any(|network| network.ssid.to_string() == failing(fault)));
            assert_eq!(join(&failing(fault), "12345678").await, Err(fault));
        }
    }

    #[tokio::test]
    async fn a_guarded_network_checks_its_password_and_an_unknown_one_is_not_found() {
        assert_eq!(join(GUARDED, "12345678").await, Err(Fault::WrongPassword));
        assert!(join(GUARDED, PASSWORD).await.is_ok());
        assert_eq!(join("homenetwork", "12345678").await, Err(Fault::NetworkNotFound));
    }

    #[tokio::test]
    async fn an_enterprise_network_checks_the_login_and_takes_no_passphrase() {
        let login = |identity: &str, password: &str| Login {
            method: EapMethod::PeapMschapv2,
            identity: identity.into(),
            anonymous_identity: String::new(),
            password: SecretText::new(password.into()),
            certificate: SecretBlob::default(),
            certificate_password: SecretText::new(String::new()),
            authority: Vec::new(),
            domain: "office.example".into(),
            accept_unverified_server: false,
        };
        let join_with = async |ssid: &str, login: Login| {
            let enterprise = Enterprise::try_from(login).expect("a valid login");
            let ssid = Ssid::try_from(ssid).expect("a short name");
            let home = SimulatedHome::default();
            let joined = home.join_enterprise(&ssid, &enterprise, false).await;
            assert_eq!(home.inspect().await.joined == Some(ssid), joined.is_ok());
            joined.map(drop).map_err(|error| error.fault)
        };
        assert_eq!(join_with(OFFICE, login(USER, PASSWORD)).await, Ok(()));
        assert_eq!(join_with(OFFICE, login(USER, "12345678")).await, Err(Fault::LoginRefused));
        assert_eq!(join_with(OFFICE, login("somebody", PASSWORD)).await, Err(Fault::LoginRefused));
        assert_eq!(join_with(GUARDED, login(USER, PASSWORD)).await, Err(Fault::NotEnterprise));
        assert_eq!(join_with("office", login(USER, PASSWORD)).await, Err(Fault::NetworkNotFound));
        assert_eq!(join(OFFICE, PASSWORD).await, Err(Fault::UnsupportedSecurity));
    }

    #[test]
    fn the_quick_start_has_the_networks_and_the_password() {
        let document = include_str!("../docs/phone-quickstart.md");
        for name in FREE.map(|(name, ..)| name).into_iter().chain([GUARDED, LIMITED, PASSWORD, OFFICE, USER]) {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[tokio::test]
    async fn a_simulated_home_remembers_what_was_done_to_it() {
        let home = SimulatedHome::default();
        let joined = async || home.inspect().await.joined.map(|ssid| ssid.to_string());
        assert_eq!(joined().await.as_deref(), Some("HomeNetwork"));
        home.open_access_point("jarvis-5b91b661").await.expect("a simulated radio");
        assert_eq!((joined().await, home.inspect().await.phones), (None, Some(0)));
        home.close_access_point().await.expect("a simulated radio");
        assert_eq!(joined().await.as_deref(), Some("HomeNetwork"));
        let guarded = Ssid::try_from(GUARDED).expect("a short name");
        let passphrase = Passphrase::try_from(PASSWORD.to_owned()).expect("a short passphrase");
        home.join(&guarded, &passphrase, false).await.expect("its passphrase");
        home.keep().await.expect("it is joined");
        let stored = home.stored().await.expect("a list");
        assert!(stored[0].active && stored[0].ssid == guarded && stored.len() == 2);
        home.delete(GUARDED).await.expect("it is stored");
        assert_eq!(joined().await, None);
        assert_eq!(home.delete(GUARDED).await.map_err(|error| error.fault), Err(Fault::NetworkNotFound));
        home.join_stored(None).await.expect("the other one");
        assert_eq!(joined().await.as_deref(), Some("HomeNetwork"));
    }
}
