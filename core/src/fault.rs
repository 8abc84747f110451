//! The failures that are reported to phones: a closed, numbered list.
//!
//! A fault contains no path, no text of the system and no secret; the cause is logged.

use alloc::format;
use alloc::string::{String, ToString};

macro_rules! faults {
    ($($(#[$meta:meta])* $name:ident = $number:literal, $text:literal, $retryable:literal;)*) => {
        /// A failure, as it is reported to a phone. The numbers are those of `fault.proto` and never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Fault {
            $($(#[$meta])* $name = $number,)*
        }

        impl Fault {
            /// All faults.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// One sentence for the owner: the problem and the remedy.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Whether the same request can succeed later unchanged.
            pub const fn retryable(self) -> bool {
                match self {
                    $(Self::$name => $retryable,)*
                }
            }

            /// The name for scripts, as written in the list.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

faults! {
    /// A message that cannot be parsed, or that belongs to another endpoint.
    Malformed = 1, "The message could not be read. Update the app.", false;
    /// A message over its endpoint's limit.
    TooLarge = 2, "The message is too large. Update the app.", false;
    /// No protocol version in common.
    UnsupportedVersion = 3, "The app and this device have no protocol version in common. Update the older one.", false;
    /// Another phone has the session.
    Busy = 4, "Another phone is setting up this device. Try again when it is done.", true;
    /// Too many wrong codes.
    Locked = 5, "Too many wrong codes. Wait, then try again with the code on the label.", true;
    /// The phone did not prove that it knows the pairing secret.
    WrongCode = 6, "The pairing code is wrong. Type the six digits on the label.", false;
    /// A sealed message without a session, or one that cannot be decrypted.
    NotAuthenticated = 7, "The session is over. Connect again.", true;
    /// Another attempt is in progress.
    InProgress = 8, "The device is busy with an earlier request. Wait for its outcome.", true;

    /// An SSID that is empty or over 32 bytes.
    InvalidSsid = 10, "A network's name has 1 to 32 bytes.", false;
    /// A passphrase that WPA does not allow.
    InvalidPassphrase = 11, "A Wi-Fi password has 8 to 63 characters, or 64 hexadecimal digits; an open network has none.", false;
    /// A K2 that is not 32 bytes, or whose date cannot be parsed.
    InvalidK2 = 12, "The settings key has 32 bytes, a name and a date.", false;
    /// A command center URL that is not `http` or `https`, or carries more than a host, a port and a path.
    InvalidUrl = 13, "The command center's address is not a plain http or https URL.", false;
    /// Another field that is empty or too long. Sent by earlier versions.
    InvalidField = 14, "A field of the request is empty or too long.", false;
    /// A provision code that is not 16 letters and digits.
    InvalidProvisionCode = 15, "A provision code has 16 letters and digits.", false;
    /// A room that is too long or holds control characters.
    InvalidRoom = 16, "The room's name has at most 512 bytes and no control characters.", false;
    /// A household id that is too long or holds control characters.
    InvalidHouseholdId = 17, "The household's id has at most 512 bytes and no control characters.", false;
    /// A node id that is not 1 to 64 letters, digits, `-`, `_` or `.`.
    InvalidNodeId = 18, "A device's id has 1 to 64 letters, digits, hyphens, underscores or dots.", false;
    /// A provisioning token that is empty, too long or holds control characters.
    InvalidToken = 19, "A provisioning token has 1 to 512 bytes and no control characters.", false;

    /// The network refused the passphrase.
    WrongPassword = 20, "The Wi-Fi password is wrong.", false;
    /// The network refused without a reason; it is in range and uses WPA3.
    ProbablyWrongPassword = 21, "The Wi-Fi password is probably wrong.", false;
    /// No such network in range.
    NetworkNotFound = 22, "The network was not found. Check its name, or move the device closer to the router.", true;
    /// A kind of security that is not known, or 802.1X without a login to it.
    UnsupportedSecurity = 23, "The network's kind of security is not supported, or it needs a user name or a certificate.", false;
    /// The network is in range, and the association failed.
    AssociationFailed = 24, "The network did not let the device in. Try again, or move it closer to the router.", true;
    /// Joined, but DHCP gave no address.
    NoAddress = 25, "The network gave the device no address. Restart the router, then try again.", true;
    /// Wi-Fi is switched off, or no country is set.
    RadioBlocked = 26, "Wi-Fi is switched off on the device, or its country is not set.", false;
    /// There is no Wi-Fi adapter.
    AdapterGone = 27, "The device has no Wi-Fi adapter.", false;
    /// The join took too long.
    NetworkTimeout = 28, "Joining the network took too long. Try again.", true;
    /// NetworkManager does not answer.
    NetworkUnavailable = 29, "The device's Wi-Fi software does not answer. Restart the device.", true;
    /// The scan failed.
    ScanFailed = 30, "The device could not look for networks. Try again.", true;

    /// The access point has as many stations as it takes (status 17).
    RouterFull = 31, "The router is full. Disconnect another device, then try again.", true;
    /// The access point refused the device before the password mattered, as a filter of addresses does.
    RouterRefused = 32, "The router refuses this device. Check its list of allowed devices.", false;
    /// The radio is blocked until the node has a country.
    CountryMissing = 33, "Wi-Fi is off until the device knows its country. Choose it, then try again.", false;
    /// The network offers WPA3, and its handshake failed for another reason than the password.
    Wpa3Failed = 34, "WPA3 does not work between router and device. Set the router to WPA2.", false;
    /// WEP, or WPA with TKIP only.
    OutdatedSecurity = 35, "The network's security is outdated. Set the router to WPA2.", false;
    /// The node may not use the channel on which the phone sees the network.
    ChannelNotAllowed = 36, "The device cannot use this network's channel. Set another one at the router, or the right country.", false;
    /// A key of 64 digits, for a network that takes only passwords.
    Wpa3NeedsPassword = 37, "This network needs its password, not the 64-digit key.", false;
    /// The address that DHCP gave belongs to another device.
    AddressConflict = 38, "Another device uses the address that the router gave. Restart the router, then try again.", true;

    /// No connection to the command center.
    CommandCenterUnreachable = 40, "The command center could not be reached. Check its address and the internet connection.", true;
    /// The command center's certificate could not be verified.
    TlsFailed = 41, "The command center's certificate could not be verified.", false;
    /// The command center does not accept the provisioning token.
    TokenRejected = 42, "The command center rejected the provisioning token. Get a new one in the app.", false;
    /// The command center refused for another reason.
    CommandCenterRefused = 43, "The command center refused the registration.", false;
    /// The command center failed.
    CommandCenterFailed = 44, "The command center had an error of its own. Try again later.", true;
    /// The command center's answer contains no node credentials.
    CommandCenterAnswer = 45, "Command center did not return node credentials", false;
    /// The node's address policy forbids the command center's address.
    AddressRefused = 46, "The device does not connect to this command center's address.", false;
    /// The provision code is unknown to the command center, or revoked.
    ProvisionCodeRejected = 47, "The provision code is not valid. Check it, or ask for another one.", false;
    /// The provision code has expired.
    ProvisionCodeExpired = 48, "The provision code has expired. Ask for another one.", false;
    /// Another device has claimed the provision code.
    ProvisionCodeClaimed = 49, "Another device has claimed the provision code. Ask for another one.", false;

    /// A write to the disk failed.
    StorageFailed = 50, "The device could not store what it was given.", true;
    /// The configuration file of the node's normal operation could not be written.
    ConfigurationFailed = 51, "Failed to update configuration", true;
    /// Restarts interrupted the attempt too often.
    Interrupted = 52, "The device restarted before it was done. Try again.", true;
    /// A factory reset is in progress.
    Resetting = 53, "The device is being reset. Connect again when it is done.", true;

    /// A kid that is empty, too long or holds control characters.
    InvalidKid = 60, "The settings key's name has 1 to 512 bytes and no control characters.", false;
    /// A configuration service URL that is not `http` or `https`, or carries more than a host, a port and a path.
    InvalidConfigServiceUrl = 61, "The configuration service's address is not a plain http or https URL.", false;
    /// The token registers nodes for another household than the one in `household_id`.
    WrongHousehold = 62, "The provisioning token is for another household. Choose that household in the app, or get a new token.", false;

    /// The command center's certificate is not valid yet by the node's time.
    ClockNotSet = 63, "The device does not know the time yet, so it cannot check the command center's certificate. Try again in a minute.", true;
    /// A country that is not two letters.
    InvalidCountry = 64, "A country has two letters.", false;

    /// A phone has ended the attempt.
    Cancelled = 70, "The setup was cancelled.", true;
    /// The attempt to cancel is not in progress, and is not the last one.
    NoAttempt = 71, "The device has no such setup in progress.", false;

    /// A login to an enterprise network without all its parts, with those of another method, or with a passphrase.
    InvalidEnterprise = 80, "A login to an enterprise network has a user name, and either a password or a certificate with its password.", false;
    /// A user name that is empty, too long or holds control characters.
    InvalidIdentity = 81, "A user name has 1 to 253 bytes and no control characters.", false;
    /// The device's certificate is no PKCS#12 file, is too large, or does not open with its password.
    InvalidCertificate = 82, "The device's certificate is not a PKCS#12 file of at most 8192 bytes, or its password is wrong.", false;
    /// The authority is no certificate, or is too large.
    InvalidAuthority = 83, "The network's authority is not a certificate, PEM or DER, of at most 4096 bytes.", false;
    /// A server's name that is no name of a host.
    InvalidDomain = 84, "The server's name has at most 253 letters, digits, hyphens and dots.", false;
    /// A login that does not say by what the server is verified.
    ServerUnverifiable = 85, "The network's server cannot be verified. Give its authority, its name, or both.", false;
    /// The network takes no login.
    NotEnterprise = 86, "This network takes no user name. Give its Wi-Fi password.", false;
    /// The server refused the user name or the password.
    LoginRefused = 87, "The network refused the user name or the password.", false;
    /// The server refused the device's certificate.
    CertificateRefused = 88, "The network refused the device's certificate.", false;
    /// The server's certificate has expired.
    ServerExpired = 89, "The certificate of the network's server has expired. Tell its administrator.", false;
    /// The server's certificate is not from the authority, or it is not valid for another reason.
    ServerUntrusted = 90, "The certificate of the network's server is not from the given authority.", false;
    /// The server's certificate is for another name.
    ServerNameMismatch = 91, "The certificate of the network's server is for another name.", false;
    /// The server's certificate is not valid yet, by the device's clock.
    ServerNotYetValid = 92, "By the device's clock, the certificate of the network's server is not valid yet. Set the clock, for example with a cable.", true;
}

impl Fault {
    /// The number in `fault.proto`.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The fault with a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|fault| fault.number() == number)
    }

    /// Whether joining the network failed.
    pub const fn is_network(self) -> bool {
        matches!(self.number(), 10 | 11 | 20..=39 | 80..=92)
    }

    /// Whether the provision code is the cause.
    pub const fn is_provision_code(self) -> bool {
        matches!(self.number(), 15 | 47..=49)
    }

    /// Whether the command center is the cause, or its address.
    pub const fn is_registration(self) -> bool {
        matches!(self.number(), 13 | 40..=49 | 62 | 63)
    }
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text())
    }
}

impl core::error::Error for Fault {}

/// An error with all its causes, for the journal. A cause whose text ends that of the error that wraps it is not repeated.
pub fn chain(error: &dyn core::error::Error) -> String {
    let mut line = error.to_string();
    let mut last = line.clone();
    for cause in core::iter::successors(error.source(), |cause| cause.source()) {
        let text = cause.to_string();
        if !last.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        last = text;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_read_back() {
        for fault in Fault::ALL {
            assert_eq!(Fault::from_number(fault.number()), Some(*fault));
        }
        assert_eq!(Fault::from_number(0), None);
    }

    #[test]
    fn a_chain_shows_a_repeated_text_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Error {
            text: &'static str,
            source: Option<std::boxed::Box<Self>>,
        }
        let error = |text, source: Option<Error>| Error { text, source: source.map(std::boxed::Box::new) };
        let repeated = error("a", Some(error("b", Some(error("b", Some(error("a", None)))))));
        assert_eq!(chain(&repeated), "a: b: a");
        // As zbus reports an error of a socket.
        let included = error("calling", Some(error("connecting failed: refused", Some(error("refused", None)))));
        assert_eq!(chain(&included), "calling: connecting failed: refused");
    }
}
