//! Enterprise networks: their part of a profile, the files of their certificates, and why a login has failed. Without
//! NetworkManager, too, the files are here, and the supplicant tells the same.
//!
//! NetworkManager takes certificates as files or as bytes. Of bytes it makes files of its own, which stay when the profile is
//! deleted. So the files are this program's, in a folder that it can empty: those of a profile are deleted with it. The passwords,
//! also that of a private key, are in the profile only.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tracing::warn;
use zbus::Variant;

use provisioning_core::domain::{EapMethod, Enterprise, Login};
use provisioning_core::fault::Fault;

/// `NM_SETTING_SECRET_FLAG_NONE`: NetworkManager keeps the secret.
const KEPT: u32 = 0;

/// The first byte of a certificate in DER.
const SEQUENCE: u8 = 0x30;

/// The ends of the files' names, after the UUID of the profile.
const AUTHORITY: &str = "-authority.pem";
const IDENTITY: &str = "-identity.p12";

/// The login to a network, and where its certificates are.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub enterprise: Arc<Enterprise>,
    pub certificates: Certificates,
}

impl Access {
    pub(super) fn login(&self) -> &Login {
        self.enterprise.login()
    }

    /// `802-1x` of the profile with that UUID.
    pub(super) fn settings(&self, uuid: &str) -> HashMap<&'static str, Variant<'_>> {
        let login = self.login();
        let (eap, inner) = match login.method {
            EapMethod::PeapMschapv2 => ("peap", Some("mschapv2")),
            EapMethod::TtlsPap => ("ttls", Some("pap")),
            EapMethod::Tls => ("tls", None),
        };
        let mut settings = HashMap::from([("eap", Variant::from(vec![eap])), ("identity", login.identity.as_str().into())]);
        if !login.anonymous_identity.is_empty() {
            settings.insert("anonymous-identity", login.anonymous_identity.as_str().into());
        }
        match inner {
            Some(inner) => {
                settings.insert("phase2-auth", inner.into());
                settings.insert("password", login.password.expose().into());
                settings.insert("password-flags", KEPT.into());
            }
            None => {
                // Of a PKCS#12 both are the same file.
                let identity = self.certificates.identity(uuid);
                settings.insert("client-cert", scheme(&identity));
                settings.insert("private-key", scheme(&identity));
                settings.insert("private-key-password", login.certificate_password.expose().into());
                settings.insert("private-key-password-flags", KEPT.into());
            }
        }
        if !login.authority.is_empty() {
            settings.insert("ca-cert", scheme(&self.certificates.authority(uuid)));
        } else if !login.accept_unverified_server {
            settings.insert("system-ca-certs", true.into());
        }
        if !login.domain.is_empty() {
            settings.insert("domain-suffix-match", login.domain.as_str().into());
        }
        settings
    }

    /// Writes the files that the profile with that UUID names.
    pub(super) fn write(&self, uuid: &str) -> io::Result<()> {
        self.certificates.write(uuid, self.login())
    }
}

/// A file's path as NetworkManager takes it in place of bytes, `NM_SETTING_802_1X_CERT_SCHEME_PREFIX_PATH`.
fn scheme(path: &Path) -> Variant<'static> {
    [b"file://", path.as_os_str().as_bytes(), b"\0"].concat().into()
}

/// The folder of the certificates.
#[derive(Clone, Debug)]
pub(in crate::network) struct Certificates(PathBuf);

impl Certificates {
    pub(in crate::network) fn new(folder: &Path) -> Self {
        Self(folder.into())
    }

    /// The file of the authority of the profile with that UUID, PEM.
    pub(in crate::network) fn authority(&self, uuid: &str) -> PathBuf {
        self.path(uuid, AUTHORITY)
    }

    /// The file of the node's certificate and key for the profile with that UUID, PKCS#12.
    pub(in crate::network) fn identity(&self, uuid: &str) -> PathBuf {
        self.path(uuid, IDENTITY)
    }

    fn path(&self, uuid: &str, end: &str) -> PathBuf {
        self.0.join(format!("{uuid}{end}"))
    }

    /// Writes the files that the profile with that UUID names.
    pub(in crate::network) fn write(&self, uuid: &str, login: &Login) -> io::Result<()> {
        let authority = match login.authority.as_slice() {
            // The supplicant reads PEM of every library, and DER not of all.
            [SEQUENCE, ..] => pem(&login.authority).into_bytes(),
            pem => pem.to_vec(),
        };
        let mut is_new = false;
        for (end, content) in [(AUTHORITY, authority.as_slice()), (IDENTITY, login.certificate.expose())] {
            if content.is_empty() {
                continue;
            }
            DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
            let path = self.path(uuid, end);
            remove(&path)?;
            // The daemons of NetworkManager and of the supplicant are root.
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
            file.write_all(content)?;
            file.sync_all()?;
            is_new = true;
        }
        if is_new { File::open(&self.0)?.sync_all() } else { Ok(()) }
    }

    /// Removes the files of the profile with that UUID.
    pub(in crate::network) fn erase(&self, uuid: &str) {
        self.erase_unless(|name| !name.starts_with(uuid));
    }

    /// Removes every file whose name is not to be kept. A failure is logged.
    pub(in crate::network) fn erase_unless(&self, keep: impl Fn(&str) -> bool) {
        let Ok(files) = fs::read_dir(&self.0) else { return };
        for file in files.flatten() {
            let name = file.file_name();
            let is_ours = |name: &str| (name.ends_with(AUTHORITY) || name.ends_with(IDENTITY)) && !keep(name);
            if name.to_str().is_some_and(is_ours)
                && let Err(error) = remove(&file.path())
            {
                warn!(%error, path = %file.path().display(), "a certificate could not be removed");
            }
        }
        // It stays if it has other files.
        let _others = fs::remove_dir(&self.0);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A certificate in DER as text (RFC 7468, 5).
fn pem(der: &[u8]) -> String {
    let digits = BASE64_STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    // Base64 is ASCII.
    for line in digits.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

/// Why a login has failed, as the supplicant tells in its signals `EAP` (`wpa_supplicant`'s `eap_status_cb`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::network) enum LoginFailure {
    /// The certificate of the server has expired.
    ServerExpired,
    /// The certificate of the server is not valid yet.
    ServerNotYetValid,
    /// The certificate of the server is for another name.
    ServerName,
    /// The certificate of the server is not from the authority, or invalid for another reason.
    ServerUntrusted,
    /// The server has ended TLS.
    Alert,
    /// The method has ended before the server showed a certificate: the supplicant cannot use the node's, or the authority.
    Unusable,
    /// The server has refused the login.
    Refused,
}

impl LoginFailure {
    /// Reads a signal: a status, and its parameter. None if it tells no failure.
    fn read(status: &str, parameter: &str) -> Option<Self> {
        match (status, parameter) {
            ("remote certificate verification", "success") => None,
            // Texts of OpenSSL (X509_verify_cert_error_string) and of the supplicant.
            ("remote certificate verification", reason) => Some(match reason {
                "certificate has expired" => Self::ServerExpired,
                "certificate is not yet valid" => Self::ServerNotYetValid,
                reason if reason.to_ascii_lowercase().contains("mismatch") => Self::ServerName,
                _ => Self::ServerUntrusted,
            }),
            ("remote TLS alert", _) => Some(Self::Alert),
            ("completion", "failure") => Some(Self::Refused),
            _ => None,
        }
    }

    /// The fault for the phone.
    pub(in crate::network) const fn fault(self, method: EapMethod) -> Fault {
        match (self, method) {
            (Self::ServerExpired, _) => Fault::ServerExpired,
            (Self::ServerNotYetValid, _) => Fault::ServerNotYetValid,
            (Self::ServerName, _) => Fault::ServerNameMismatch,
            (Self::ServerUntrusted, _) => Fault::ServerUntrusted,
            (Self::Unusable, EapMethod::Tls) => Fault::InvalidCertificate,
            (Self::Alert | Self::Refused, EapMethod::Tls) => Fault::CertificateRefused,
            (Self::Refused, _) => Fault::LoginRefused,
            (Self::Alert | Self::Unusable, _) => Fault::AssociationFailed,
        }
    }
}

/// Follows one login by the signals of the supplicant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::network) enum LoginTracker {
    /// It has not begun: signals are of another login.
    #[default]
    Awaited,
    /// It has begun.
    Begun,
    /// The server and the supplicant have agreed on the method.
    Agreed,
    /// The server has shown its certificate.
    Met,
}

impl LoginTracker {
    /// Whether the login has begun.
    pub(in crate::network) const fn has_begun(self) -> bool {
        !matches!(self, Self::Awaited)
    }

    /// Processes the next signal: a status, and its parameter. None if it tells no failure of this login.
    pub(in crate::network) fn observe(&mut self, status: &str, parameter: &str) -> Option<LoginFailure> {
        match (*self, status) {
            (_, "started") => *self = Self::Begun,
            (Self::Awaited, _) => return None,
            (Self::Begun, "accept proposed method") => *self = Self::Agreed,
            (_, "remote certificate verification") => *self = Self::Met,
            _ => {}
        }
        match (*self, LoginFailure::read(status, parameter)?) {
            (Self::Agreed, LoginFailure::Refused) => Some(LoginFailure::Unusable),
            (_, failure) => Some(failure),
        }
    }
}

#[cfg(test)]
pub(in crate::network) mod tests {
    use super::*;
    use provisioning_core::secret::{SecretBlob, SecretText};

    const UUID: &str = "6a617276-6973-8001-8000-000000000001";
    const OTHER: &str = "6a617276-6973-8001-8000-000000000002";
    /// The outlines of a certificate and of a PKCS#12.
    const DER: [u8; 9] = [0x30, 7, 0x30, 0, 0x30, 0, 3, 1, 0];
    const PKCS12: [u8; 7] = [0x30, 5, 2, 1, 3, 0x30, 0];

    pub(in crate::network) fn with_password() -> Login {
        Login {
            method: EapMethod::PeapMschapv2,
            identity: "anna".into(),
            anonymous_identity: "anonymous".into(),
            password: SecretText::new("s3cret".into()),
            certificate: SecretBlob::default(),
            certificate_password: SecretText::new(String::new()),
            authority: DER.to_vec(),
            domain: "example.org".into(),
            accept_unverified_server: false,
        }
    }

    pub(in crate::network) fn with_certificate() -> Login {
        Login {
            method: EapMethod::Tls,
            anonymous_identity: String::new(),
            password: SecretText::new(String::new()),
            certificate: SecretBlob::new(PKCS12.to_vec()),
            certificate_password: SecretText::new("opens it".into()),
            ..with_password()
        }
    }

    fn access(login: Login, folder: &Path) -> Access {
        Access { enterprise: Arc::new(login.try_into().expect("a valid login")), certificates: Certificates::new(folder) }
    }

    /// The settings as text; a file's path as its path.
    fn shown(login: Login) -> Vec<String> {
        let access = access(login, Path::new("/certificates"));
        let text = |value: &Variant<'_>| match value {
            Variant::Array(bytes) if value.value_signature().to_string() == "ay" => {
                let bytes = bytes.iter().map(|byte| u8::try_from(byte).expect("a byte")).collect();
                String::from_utf8(bytes).expect("a path").escape_default().to_string()
            }
            value => value.to_string(),
        };
        let mut lines: Vec<_> = access.settings(UUID).iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
        lines.sort();
        lines
    }

    #[test]
    fn every_method_has_its_settings() {
        let authority = format!("ca-cert=file:///certificates/{UUID}-authority.pem\\u{{0}}");
        let peap = [
            "anonymous-identity=\"anonymous\"",
            &authority,
            "domain-suffix-match=\"example.org\"",
            "eap=[\"peap\"]",
            "identity=\"anna\"",
            "password-flags=uint32 0",
            "password=\"s3cret\"",
            "phase2-auth=\"mschapv2\"",
        ];
        assert_eq!(shown(with_password()), peap);
        let public = Login { method: EapMethod::TtlsPap, authority: Vec::new(), ..with_password() };
        let lines = shown(public);
        for line in ["eap=[\"ttls\"]", "phase2-auth=\"pap\"", "system-ca-certs=true", "domain-suffix-match=\"example.org\""] {
            assert!(lines.iter().any(|shown| shown == line), "{line} in {lines:?}");
        }
        assert!(!lines.iter().any(|line| line.starts_with("ca-cert")));
        let tls = [
            &authority,
            &format!("client-cert=file:///certificates/{UUID}-identity.p12\\u{{0}}"),
            "domain-suffix-match=\"example.org\"",
            "eap=[\"tls\"]",
            "identity=\"anna\"",
            "private-key-password-flags=uint32 0",
            "private-key-password=\"opens it\"",
            &format!("private-key=file:///certificates/{UUID}-identity.p12\\u{{0}}"),
        ];
        assert_eq!(shown(with_certificate()), tls);
    }

    #[test]
    fn a_server_is_unverified_only_if_the_owner_says_so() {
        let unverified =
            Login { authority: Vec::new(), domain: String::new(), accept_unverified_server: true, ..with_password() };
        let verifies =
            |login: Login| shown(login).iter().any(|line| line.starts_with("ca-cert=") || line == "system-ca-certs=true");
        assert!(!verifies(unverified));
        assert!(verifies(with_password()) && verifies(with_certificate()));
        assert!(verifies(Login { authority: Vec::new(), ..with_password() }));
    }

    #[test]
    fn certificates_are_files_for_this_user_alone_and_go_with_their_profile() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("certificates");
        let access = access(with_certificate(), &folder);
        access.write(UUID).expect("a writable folder");
        access.write(UUID).expect("they are replaced");
        access.write(OTHER).expect("a writable folder");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        let (authority, identity) = (access.certificates.authority(UUID), access.certificates.identity(UUID));
        assert_eq!([&folder, &authority, &identity].map(|path| mode(path)), [0o700, 0o600, 0o600]);
        assert_eq!(fs::read(&identity).expect("the file"), PKCS12);
        let pem = "-----BEGIN CERTIFICATE-----\nMAcwADAAAwEA\n-----END CERTIFICATE-----\n";
        assert_eq!(fs::read_to_string(&authority).expect("the file"), pem);
        access.certificates.erase(UUID);
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 2, "those of the other profile");
        access.certificates.erase_unless(|name| name.starts_with(OTHER));
        assert_eq!(fs::read_dir(&folder).expect("the folder").count(), 2);
        access.certificates.erase_unless(|_| false);
        assert!(!folder.exists());
    }

    #[test]
    fn a_login_without_certificates_makes_no_folder() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("certificates");
        access(Login { authority: Vec::new(), ..with_password() }, &folder).write(UUID).expect("nothing to write");
        assert!(!folder.exists());
    }

    #[test]
    fn every_signal_of_a_failure_has_its_fault() {
        use EapMethod::{PeapMschapv2, Tls, TtlsPap};
        let server = "remote certificate verification";
        for (method, status, parameter, fault) in [
            (PeapMschapv2, "started", "", None),
            (PeapMschapv2, "accept proposed method", "PEAP", None),
            (PeapMschapv2, server, "success", None),
            (PeapMschapv2, "completion", "success", None),
            (PeapMschapv2, "completion", "failure", Some(Fault::LoginRefused)),
            (TtlsPap, "completion", "failure", Some(Fault::LoginRefused)),
            (Tls, "completion", "failure", Some(Fault::CertificateRefused)),
            (Tls, "remote TLS alert", "unknown CA", Some(Fault::CertificateRefused)),
            (TtlsPap, "remote TLS alert", "handshake failure", Some(Fault::AssociationFailed)),
            (Tls, "local TLS alert", "certificate expired", None),
            (Tls, server, "certificate has expired", Some(Fault::ServerExpired)),
            (TtlsPap, server, "certificate is not yet valid", Some(Fault::ServerNotYetValid)),
            (TtlsPap, server, "unable to get local issuer certificate", Some(Fault::ServerUntrusted)),
            (PeapMschapv2, server, "self-signed certificate in certificate chain", Some(Fault::ServerUntrusted)),
            (PeapMschapv2, server, "certificate revoked", Some(Fault::ServerUntrusted)),
            (PeapMschapv2, server, "Domain suffix mismatch", Some(Fault::ServerNameMismatch)),
            (PeapMschapv2, server, "Domain mismatch", Some(Fault::ServerNameMismatch)),
        ] {
            let read = LoginFailure::read(status, parameter).map(|failure| failure.fault(method));
            assert_eq!(read, fault, "{method:?} {status} {parameter}");
        }
    }

    /// The first failure after these statuses, with "success" as the parameter of all but the last one.
    fn first_failure(statuses: &[&str]) -> Option<LoginFailure> {
        let mut tracker = LoginTracker::default();
        let parameter = |index| if index + 1 == statuses.len() { "failure" } else { "success" };
        statuses.iter().enumerate().find_map(|(index, status)| tracker.observe(status, parameter(index)))
    }

    #[test]
    fn a_login_begins_before_it_fails() {
        assert_eq!(first_failure(&["completion"]), None, "of another login");
        assert_eq!(first_failure(&["started", "completion"]), Some(LoginFailure::Refused));
        assert_eq!(first_failure(&["started", "refuse proposed method", "completion"]), Some(LoginFailure::Refused));
    }

    #[test]
    fn a_refusal_before_the_server_shows_its_certificate_is_the_supplicants() {
        let agreed = ["started", "accept proposed method", "completion"];
        let failure = first_failure(&agreed).expect("a failure");
        assert_eq!(failure, LoginFailure::Unusable);
        assert_eq!(failure.fault(EapMethod::Tls), Fault::InvalidCertificate);
        assert_eq!(failure.fault(EapMethod::PeapMschapv2), Fault::AssociationFailed);
        let met = ["started", "accept proposed method", "remote certificate verification", "completion"];
        assert_eq!(first_failure(&met), Some(LoginFailure::Refused));
        let again = [&agreed[..2], &met[..]].concat();
        assert_eq!(first_failure(&again), Some(LoginFailure::Refused), "the network has asked twice");
    }
}
