//! Enterprise networks: the profile, the files of its certificates, and what a failed login is told by.

use zbus::Connection;

use super::fake::{AccessPoint, Play};
use super::{Lab, PASSPHRASE, fault, journal, passphrase, ssid, within};
use jarvis_provisioning::network::{Error, Network};
use provisioning_core::domain::{EapMethod, Enterprise, Login};
use provisioning_core::fault::Fault;
use provisioning_core::machine::Joined;
use provisioning_core::secret::{SecretBlob, SecretText};

const SUPPLICANT: &str = "fi.w1.wpa_supplicant1";
const PASSWORD: &str = "a password of one user";
/// The outlines of a certificate and of a PKCS#12.
const DER: [u8; 9] = [0x30, 7, 0x30, 0, 0x30, 0, 3, 1, 0];
const PKCS12: [u8; 7] = [0x30, 5, 2, 1, 3, 0x30, 0];

fn with_password() -> Login {
    Login {
        method: EapMethod::PeapMschapv2,
        identity: "anna@office.example".into(),
        anonymous_identity: "anonymous@office.example".into(),
        password: SecretText::new(PASSWORD.into()),
        certificate: SecretBlob::default(),
        certificate_password: SecretText::new(String::new()),
        authority: DER.to_vec(),
        domain: "office.example".into(),
        accept_unverified_server: false,
    }
}

fn with_certificate() -> Login {
    Login {
        method: EapMethod::Tls,
        password: SecretText::new(String::new()),
        certificate: SecretBlob::new(PKCS12.to_vec()),
        certificate_password: SecretText::new(PASSWORD.into()),
        ..with_password()
    }
}

/// A node in range of an office.
async fn office() -> Option<Lab> {
    let lab = Lab::start().await?;
    lab.fake.world().in_the_air.push(AccessPoint::new("Office", 0x288));
    Some(lab)
}

async fn log_in(lab: &Lab, login: Login) -> Result<Joined, Error> {
    let enterprise = Enterprise::try_from(login).expect("a valid login");
    within(lab.network.join_enterprise(&ssid("Office"), &enterprise, false)).await
}

#[tokio::test]
async fn a_login_is_in_the_profile_and_its_certificates_are_files_until_it_is_forgotten() {
    let Some(lab) = office().await else { return };
    log_in(&lab, with_certificate()).await.expect("a good login");
    within(lab.network.keep()).await.expect("it is joined");
    let uuid = {
        let world = lab.fake.world();
        let profile = world.profiles.values().next().expect("the kept network");
        for (section, name, value) in [
            ("802-11-wireless-security", "key-mgmt", "wpa-eap"),
            ("802-1x", "identity", "anna@office.example"),
            ("802-1x", "domain-suffix-match", "office.example"),
            ("802-1x", "private-key-password", PASSWORD),
        ] {
            assert_eq!(profile.text(section, name).as_deref(), Some(value), "{section}.{name}");
        }
        assert!(!profile.has("802-11-wireless-security", "psk") && profile.has("802-1x", "ca-cert"));
        profile.text("connection", "uuid").expect("a UUID")
    };
    assert_eq!(lab.certificates(), [format!("{uuid}-authority.pem"), format!("{uuid}-identity.p12")]);
    within(lab.network.forget()).await.expect("NetworkManager is there");
    assert_eq!(lab.certificates(), [""; 0]);
}

#[tokio::test]
async fn the_certificates_of_a_network_that_is_not_kept_are_removed() {
    let Some(lab) = office().await else { return };
    log_in(&lab, with_certificate()).await.expect("a good login");
    assert_eq!(lab.certificates().len(), 2);
    within(lab.network.restore()).await.expect("there is nothing to return to");
    assert_eq!(lab.certificates(), [""; 0]);
}

#[tokio::test]
async fn certificates_without_a_profile_are_removed_at_the_start() {
    let Some(lab) = office().await else { return };
    log_in(&lab, with_certificate()).await.expect("a good login");
    within(lab.network.keep()).await.expect("it is joined");
    lab.network.prepare(None).await;
    assert_eq!(lab.certificates().len(), 2, "their profile is there");
    lab.fake.world().profiles.clear();
    lab.network.prepare(None).await;
    assert_eq!(lab.certificates(), [""; 0]);
}

#[tokio::test]
async fn a_failed_login_ends_at_once_and_is_told_by_its_reason() {
    let Some(lab) = office().await else { return };
    let supplicant = zbus::connection::Builder::address(lab.bus.address().as_str()).name(SUPPLICANT);
    let supplicant: Connection = supplicant.build().await.expect("the bus takes clients");
    let server = "remote certificate verification";
    for (login, signals, expected) in [
        (with_password(), &[(server, "success"), ("completion", "failure")][..], Fault::LoginRefused),
        (with_certificate(), &[(server, "success"), ("remote TLS alert", "unknown CA")], Fault::CertificateRefused),
        (with_password(), &[(server, "certificate has expired"), ("completion", "failure")], Fault::ServerExpired),
        (with_certificate(), &[(server, "certificate is not yet valid")], Fault::ServerNotYetValid),
        (with_password(), &[(server, "unable to get local issuer certificate")], Fault::ServerUntrusted),
        (with_password(), &[(server, "Domain suffix mismatch")], Fault::ServerNameMismatch),
    ] {
        lab.fake.world().plays.push_back(Play::secured(&[]));
        let joining = log_in(&lab, login);
        let telling = async {
            lab.fake.until("the login is under way", |world| world.state == 50 && world.active.is_some()).await;
            // The first one is of an earlier login.
            for signal in [("completion", "failure"), ("started", "")].iter().chain(signals) {
                let interface = format!("{SUPPLICANT}.Interface");
                let path = "/fi/w1/wpa_supplicant1/Interfaces/0";
                supplicant.emit_signal(None::<&str>, path, interface, "EAP", signal).await.expect("the bus takes signals");
            }
        };
        let (joined, ()) = tokio::join!(joining, telling);
        assert_eq!(joined.as_ref().err().map(|error| error.fault), Some(expected), "{signals:?}");
        let journal = journal(joined);
        assert!(!journal.contains(PASSWORD) && !journal.contains("anna"), "{journal}");
        assert!(lab.fake.world().profiles.is_empty(), "{signals:?}");
        assert_eq!(lab.certificates(), [""; 0], "{signals:?}");
    }
}

#[tokio::test]
async fn a_login_that_networkmanager_does_not_begin_or_no_server_answers_is_told() {
    let Some(lab) = office().await else { return };
    let locked = Play { sequence: vec![(40, 0), (50, 0), (60, 0), (120, 7), (30, 0)], before_answer: false };
    lab.fake.world().plays.push_back(locked);
    assert_eq!(fault(log_in(&lab, with_certificate()).await), Some(Fault::InvalidCertificate));
    lab.fake.world().plays.push_back(Play::secured(&[(120, 7), (30, 0)]));
    assert_eq!(fault(log_in(&lab, with_password()).await), Some(Fault::AssociationFailed));
    assert_eq!(lab.certificates(), [""; 0]);
}

#[tokio::test]
async fn a_login_is_not_sent_to_a_network_that_takes_none() {
    let Some(lab) = Lab::start().await else { return };
    lab.fake.world().in_the_air.extend([AccessPoint::wpa2("Office"), AccessPoint::new("Cafe", 0)]);
    assert_eq!(fault(log_in(&lab, with_password()).await), Some(Fault::NotEnterprise));
    let enterprise = Enterprise::try_from(with_password()).expect("a valid login");
    let open = within(lab.network.join_enterprise(&ssid("Cafe"), &enterprise, false)).await;
    assert_eq!(fault(open), Some(Fault::NotEnterprise));
    assert_eq!(lab.fake.world().script.calls_of("AddAndActivateConnection2"), 0);
    assert_eq!(lab.certificates(), [""; 0]);
}

#[tokio::test]
async fn an_enterprise_network_is_not_joined_with_a_passphrase() {
    let Some(lab) = office().await else { return };
    let joined = within(lab.network.join(&ssid("Office"), &passphrase(PASSPHRASE), false)).await;
    assert_eq!(fault(joined), Some(Fault::UnsupportedSecurity));
}
