//! Enterprise networks, with hostapd's own server for logins, and with either backend of the node. The radio is used without a phone:
//! what a phone is told follows from the fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jarvis_provisioning::network::hostapd::{self, Hostapd};
use jarvis_provisioning::network::nm::{NetworkManager, Settings};
use jarvis_provisioning::network::{Maintenance, Network};
use provisioning_core::domain::{Credentials, EapMethod, Enterprise, Login, Passphrase, Ssid, State};
use provisioning_core::fault::{Fault, chain};
use provisioning_core::secret::{SecretBlob, SecretText};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::air::{Controllers, PATIENCE, connect, must, until};
use crate::device::{Device, active_network, credentials, forget_networks, until_in_network};
use crate::hostapd::Bare;
use crate::place::{Home, PASSWORD, Settings as HomeSettings};
use crate::street::Street;
use crate::units::{Unit, clean, configure, install};

/// The network, and the name of its server.
const OFFICE: &str = "Office";
const SERVER: &str = "radius.office.example";
/// An access point of the same office whose server has an old certificate.
const OLD_OFFICE: &str = "Old Office";

const USER: &str = "anna@office.example";
const USER_PASSWORD: &str = "a password of one user";
const KEY_PASSWORD: &str = "it opens the key";

/// A day, seconds.
const DAY: u64 = 24 * 60 * 60;

/// Another time in this machine, until it is dropped.
struct Clock {
    was: u64,
    began: Instant,
}

impl Clock {
    fn now() -> u64 {
        must("date", &["+%s"]).trim().parse().expect("seconds since 1970")
    }

    fn set(seconds: u64) -> Self {
        let clock = Self { was: Self::now(), began: Instant::now() };
        must("date", &["-s", &format!("@{seconds}")]);
        clock
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        must("date", &["-s", &format!("@{}", self.was + self.began.elapsed().as_secs())]);
    }
}

/// An authority, and the certificates that it has given.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { folder: TempDir::new().expect("a temporary folder") };
        let (key, certificate) = (authority.path("ca.key"), authority.path("ca.pem"));
        let files = ["-keyout", &key, "-out", &certificate, "-days", "3650", "-subj", "/CN=Authority of the office"];
        must("openssl", &[&["req", "-x509", "-nodes"], &NEW_KEY[..], &files].concat());
        authority
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a name in ASCII").to_owned()
    }

    /// Gives a certificate, `NAME.pem`, and its key, `NAME.key`.
    fn give(&self, name: &str, subject: &str, extensions: &str, days: &str) {
        let [key, request, certificate, text] = ["key", "csr", "pem", "ext"].map(|end| self.path(&format!("{name}.{end}")));
        fs::write(&text, extensions).expect("a file");
        let files = ["-nodes", "-keyout", &key, "-out", &request, "-subj", subject];
        must("openssl", &[&["req"], &NEW_KEY[..], &files].concat());
        let (ca, ca_key) = (self.path("ca.pem"), self.path("ca.key"));
        let by = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
        must("openssl", &[&by[..], &["-out", &certificate, "-days", days, "-extfile", &text]].concat());
    }

    fn give_server(&self, name: &str, days: &str) {
        let extensions = format!("subjectAltName=DNS:{SERVER}\nextendedKeyUsage=serverAuth\n");
        self.give(name, &format!("/CN={SERVER}"), &extensions, days);
    }

    /// The certificate and the key of a device.
    fn pkcs12(&self) -> Vec<u8> {
        self.give("device", "/CN=device", "extendedKeyUsage=clientAuth\n", "365");
        let [key, certificate, both] = ["device.key", "device.pem", "device.p12"].map(|name| self.path(name));
        let password = format!("pass:{KEY_PASSWORD}");
        let files = ["-inkey", &key, "-in", &certificate, "-out", &both, "-passout", &password];
        must("openssl", &[&["pkcs12", "-export"], &files[..]].concat());
        fs::read(both).expect("the file")
    }

    fn pem(&self) -> Vec<u8> {
        fs::read(self.path("ca.pem")).expect("the file")
    }

    fn der(&self) -> Vec<u8> {
        let (pem, der) = (self.path("ca.pem"), self.path("ca.der"));
        must("openssl", &["x509", "-in", &pem, "-outform", "DER", "-out", &der]);
        fs::read(der).expect("the file")
    }

    /// The lines of a network for hostapd whose server has that certificate.
    fn network(&self, server: &str) -> String {
        let users = self.path("users");
        fs::write(&users, format!("* PEAP,TTLS,TLS\n\"{USER}\" MSCHAPV2,TTLS-PAP \"{USER_PASSWORD}\" [2]\n")).expect("a file");
        let [ca, certificate, key] = ["ca.pem", &format!("{server}.pem"), &format!("{server}.key")].map(|name| self.path(name));
        format!(
            "wpa=2\nrsn_pairwise=CCMP\nwpa_key_mgmt=WPA-EAP\nieee8021x=1\neap_server=1\neap_user_file={users}\n\
             ca_cert={ca}\nserver_cert={certificate}\nprivate_key={key}\n"
        )
    }
}

/// Keys that an emulated processor makes in no time.
const NEW_KEY: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

fn with_password(authority: &Authority) -> Login {
    Login {
        method: EapMethod::PeapMschapv2,
        identity: USER.into(),
        anonymous_identity: "anonymous@office.example".into(),
        password: SecretText::new(USER_PASSWORD.into()),
        certificate: SecretBlob::default(),
        certificate_password: SecretText::new(String::new()),
        authority: authority.pem(),
        domain: "office.example".into(),
        accept_unverified_server: false,
    }
}

fn with_certificate(authority: &Authority, of: &Authority) -> Login {
    Login {
        method: EapMethod::Tls,
        anonymous_identity: String::new(),
        password: SecretText::new(String::new()),
        certificate: SecretBlob::new(of.pkcs12()),
        certificate_password: SecretText::new(KEY_PASSWORD.into()),
        ..with_password(authority)
    }
}

/// A login to any server.
fn to_anyone(authority: &Authority) -> Login {
    Login { authority: Vec::new(), domain: String::new(), accept_unverified_server: true, ..with_password(authority) }
}

/// The node's radio.
struct Node<N> {
    radio: N,
    folder: TempDir,
}

impl Node<NetworkManager> {
    fn start() -> Self {
        forget_networks();
        let folder = TempDir::new().expect("a temporary folder");
        let certificates = folder.path().join("certificates");
        let settings = Settings { interface: Some("wlan0".into()), certificates, ..Settings::default() };
        Self { radio: NetworkManager::start(settings), folder }
    }
}

impl Node<Hostapd> {
    /// In a guest without `NetworkManager`.
    fn start_alone() -> Self {
        forget_networks();
        Self::start_in(TempDir::new().expect("a temporary folder"))
    }

    fn start_in(folder: TempDir) -> Self {
        let settings = hostapd::Settings {
            interface: Some("wlan0".into()),
            profiles: folder.path().into(),
            runtime: folder.path().join("run"),
            ..hostapd::Settings::default()
        };
        Self { radio: Hostapd::start(settings), folder }
    }

    /// The same after its program has started again.
    async fn restarted(self) -> Self {
        let Self { radio, folder } = self;
        drop(radio);
        let node = Self::start_in(folder);
        node.radio.prepare(None).await;
        node
    }
}

impl<N: Network> Node<N> {
    /// Joins a network. Returns the fault, if there is one.
    async fn try_to_join(&self, name: &str, login: Login) -> Option<Fault> {
        let began = Instant::now();
        let enterprise = Enterprise::try_from(login).expect("a valid login");
        let joined = self.radio.join_enterprise(&Ssid::try_from(name).expect("a short name"), &enterprise, false).await;
        let cause = joined.as_ref().err().map(|error| chain(error));
        println!("{name}: {:.1} s; {cause:?}", began.elapsed().as_secs_f32());
        joined.err().map(|error| error.fault)
    }

    /// The same, and leaves it.
    async fn join(&self, name: &str, login: Login) -> Option<Fault> {
        let fault = self.try_to_join(name, login).await;
        self.radio.restore().await.expect("there is nothing to return to");
        assert_eq!(self.certificates(), 0, "certificates go with their profile");
        fault
    }

    fn certificates(&self) -> usize {
        fs::read_dir(self.folder.path().join("certificates")).map_or(0, Iterator::count)
    }
}

/// The files below a folder that have certificates, keys or passwords of a login.
fn left_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let has_secret = |path: &PathBuf| {
        let content = fs::read(path).unwrap_or_default();
        let has = |text: &str| content.windows(text.len()).any(|bytes| bytes == text.as_bytes());
        has(USER_PASSWORD) || has(KEY_PASSWORD) || has("CERTIFICATE-----") || path.extension().is_some_and(|end| end == "p12")
    };
    entries.map(|entry| entry.path()).filter(has_secret).collect()
}

/// Joins with every method, and stores the last one. Returns the network.
async fn join_with_every_method(node: &Node<impl Network>) -> Street {
    let authority = Authority::new();
    authority.give_server("server", "365");
    let street = Street::open(&[(OFFICE, &authority.network("server"))]).await;
    let scanned = node.radio.scan().await.expect("a scan");
    println!("{scanned:?}");
    assert_eq!(node.join(OFFICE, with_password(&authority)).await, None);
    let ttls = Login { method: EapMethod::TtlsPap, authority: authority.der(), ..with_password(&authority) };
    assert_eq!(node.join(OFFICE, ttls).await, None);
    assert_eq!(node.join(OFFICE, to_anyone(&authority)).await, None);
    assert_eq!(node.try_to_join(OFFICE, with_certificate(&authority, &authority)).await, None);
    node.radio.keep().await.expect("it is joined");
    assert_eq!(node.certificates(), 2);
    // As the files of the packaged service are: of another user, and for that one alone.
    must("chown", &["-R", "nobody", node.folder.path().to_str().expect("a name in ASCII")]);
    street
}

#[tokio::test]
async fn every_method_joins_and_leaves_nothing_when_it_is_forgotten() {
    let node = Node::start();
    let _street = join_with_every_method(&node).await;
    must("nmcli", &["connection", "down", "jarvis-Office"]);
    must("nmcli", &["connection", "up", "jarvis-Office"]);
    node.radio.forget().await.expect("it is deleted");
    assert_eq!(node.certificates(), 0);
    for folder in ["/etc/NetworkManager/system-connections", "/run/NetworkManager/system-connections"] {
        let left = left_in(Path::new(folder));
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn without_network_manager_every_method_joins_and_leaves_nothing_when_it_is_forgotten() {
    let _bare = Bare::new();
    let node = Node::start_alone();
    let _street = join_with_every_method(&node).await;
    must("systemctl", &["restart", "wpa_supplicant"]);
    until_in_network(OFFICE).await;
    let node = node.restarted().await;
    assert_eq!(node.certificates(), 0, "the network of the earlier run is taken from the supplicant");
    node.radio.join_stored(None).await.expect("it is stored");
    assert_eq!((active_network().as_str(), node.certificates()), (OFFICE, 2));
    node.radio.forget().await.expect("it is deleted");
    until("the node has left the network", async || active_network().is_empty()).await;
    assert_eq!(fs::read_dir(node.folder.path()).expect("the folder").count(), 0);
}

/// Gives an office logins that it refuses.
async fn be_refused(node: &Node<impl Network>) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.give_server("server", "365");
    let home = format!("wpa=2\nrsn_pairwise=CCMP\nwpa_key_mgmt=WPA-PSK\nwpa_passphrase={PASSWORD}\n");
    let _street = Street::open(&[(OFFICE, &authority.network("server")), ("Home", &home)]).await;
    let wrong = || SecretText::new("not the password".into());
    let peap = Login { password: wrong(), ..with_password(&authority) };
    assert_eq!(node.join(OFFICE, peap.clone()).await, Some(Fault::LoginRefused));
    let ttls = Login { method: EapMethod::TtlsPap, ..peap.clone() };
    assert_eq!(node.join(OFFICE, ttls).await, Some(Fault::LoginRefused));
    let anyone = Login { password: wrong(), ..to_anyone(&authority) };
    assert_eq!(node.join(OFFICE, anyone).await, Some(Fault::LoginRefused));
    let other = with_certificate(&authority, &stranger);
    assert_eq!(node.join(OFFICE, other).await, Some(Fault::CertificateRefused));
    let closed = Login { certificate_password: wrong(), ..with_certificate(&authority, &authority) };
    assert_eq!(node.join(OFFICE, closed).await, Some(Fault::InvalidCertificate));
    assert_eq!(node.join("Home", peap).await, Some(Fault::NotEnterprise));
    let passphrase = Passphrase::try_from(PASSWORD.to_owned()).expect("a short passphrase");
    let office = Ssid::try_from(OFFICE).expect("a short name");
    let joined = node.radio.join(&office, &passphrase, false).await;
    assert_eq!(joined.map_err(|error| error.fault).err(), Some(Fault::UnsupportedSecurity));
}

#[tokio::test]
async fn a_refused_login_is_told_by_what_was_refused() {
    be_refused(&Node::start()).await;
}

#[tokio::test]
async fn without_network_manager_a_refused_login_is_told_by_what_was_refused() {
    let _bare = Bare::new();
    be_refused(&Node::start_alone()).await;
}

/// Meets servers that cannot be trusted.
async fn distrust(node: &Node<impl Network>) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    authority.give_server("server", "365");
    {
        let _past = Clock::set(Clock::now() - 90 * DAY);
        authority.give_server("expired", "30");
    }
    let _street = Street::open(&[(OFFICE, &authority.network("server")), (OLD_OFFICE, &authority.network("expired"))]).await;
    let unknown = Login { authority: stranger.pem(), ..with_password(&authority) };
    assert_eq!(node.join(OFFICE, unknown).await, Some(Fault::ServerUntrusted));
    let public = Login { authority: Vec::new(), ..with_password(&authority) };
    assert_eq!(node.join(OFFICE, public).await, Some(Fault::ServerUntrusted));
    let renamed = Login { domain: "radius.elsewhere.example".into(), ..with_password(&authority) };
    assert_eq!(node.join(OFFICE, renamed).await, Some(Fault::ServerNameMismatch));
    let expired = node.join(OLD_OFFICE, with_password(&authority)).await;
    assert_eq!(expired, Some(Fault::ServerExpired));
    let in_1970 = {
        let _start = Clock::set(DAY);
        node.join(OFFICE, with_password(&authority)).await
    };
    assert_eq!(in_1970, Some(Fault::ServerNotYetValid));
    assert_eq!(node.join(OFFICE, with_password(&authority)).await, None, "with the right time");
}

#[tokio::test]
async fn a_server_that_cannot_be_trusted_is_told_by_the_reason() {
    distrust(&Node::start()).await;
}

#[tokio::test]
async fn without_network_manager_a_server_that_cannot_be_trusted_is_told_by_the_reason() {
    let _bare = Bare::new();
    distrust(&Node::start_alone()).await;
}

#[tokio::test]
async fn the_packaged_service_logs_in_and_is_in_the_network_after_a_restart() {
    let controllers = Controllers::ready().await;
    forget_networks();
    clean("jarvis-provisioning");
    configure(&controllers, "never");
    install(&["jarvis-provisioning"]);
    let unit = Unit::started("jarvis-provision.service");
    let authority = Authority::new();
    authority.give_server("server", "365");
    // The command center of a home whose own network is closed.
    let mut home = Home::with(HomeSettings { dhcp: false, ..HomeSettings::default() }).await;
    home.close_access_point();
    let _street = Street::open(&[(OFFICE, &authority.network("server"))]).await;
    let order = home.order().await;
    let login = Enterprise::try_from(with_certificate(&authority, &authority)).expect("a valid login");
    let credentials = Credentials {
        ssid: Some(Ssid::try_from(OFFICE).expect("a short name")),
        passphrase: Passphrase::try_from(String::new()).expect("an open network's passphrase"),
        enterprise: Some(Box::new(login)),
        ..credentials(&order)
    };
    let mut phone = connect(&controllers).await;
    phone.open_session(&Device::code()).await.expect("the code is right");
    let report = phone.bring_online(&credentials, PATIENCE, |_| {}).await.expect("an outcome");
    assert_eq!((report.state, report.failure), (State::Provisioned, None));
    phone.leave().await;
    controllers.switch_phone_off().await;
    let files = fs::read_dir("/var/lib/jarvis/certificates").expect("the documented folder").flatten();
    let modes: Vec<_> = files.map(|file| file.metadata().expect("a file").permissions().mode() & 0o777).collect();
    assert_eq!(modes, [0o600, 0o600], "the authority's and the device's");
    must("systemctl", &["restart", "wpa_supplicant", "NetworkManager"]);
    until_in_network(OFFICE).await;
    drop(unit);
    clean("jarvis-provisioning");
    forget_networks();
}
