//! Reads secrets from a file, the environment, or a prompt.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use provisioning_core::domain::{FormatError, ProvisionCode};
use provisioning_core::secret::{SecretBlob, SecretBytes, SecretText};
use provisioning_core::session::PhoneSecret;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::arguments::Pairing;

/// The largest file with certificates, bytes; the device's own limits are smaller.
const CERTIFICATES_LIMIT: u64 = 64 * 1024;

/// The largest secret file, bytes. A larger file is not the intended one.
const FILE_LIMIT: u64 = 4096;

/// Why a secret could not be read or written.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("reading {what} from `{}`", path.display())]
    Read {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{}` does not contain {what}", path.display())]
    NotASecret { what: &'static str, path: PathBuf },
    #[error("the variable {0} is not UTF-8")]
    NotUnicode(&'static str),
    #[error("no {what} given: use {flag}, set {variable}, or run this on a terminal")]
    Missing { what: &'static str, flag: &'static str, variable: &'static str },
    #[error("the pairing code must have six digits; it is on the label")]
    NotACode,
    #[error(transparent)]
    NotAProvisionCode(FormatError),
    #[error("prompting for {what}")]
    Prompt {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("interrupted")]
    Interrupted,
    #[error("writing `{}`", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The sources of a secret.
#[derive(Clone, Copy)]
pub(crate) struct Source {
    /// Its name in errors and prompts.
    pub(crate) what: &'static str,
    /// The argument that names its file.
    pub(crate) flag: &'static str,
    /// The variable that holds it.
    pub(crate) variable: &'static str,
}

const CODE: Source = Source { what: "pairing code", flag: "--code-file", variable: "JARVIS_PAIRING_CODE" };
pub(crate) const AP_PASSPHRASE: Source =
    Source { what: "passphrase of the access point", flag: "--ap-passphrase-file", variable: "JARVIS_AP_PASSPHRASE" };
pub(crate) const PASSWORD: Source =
    Source { what: "Wi-Fi password", flag: "--wifi-password-file", variable: "JARVIS_WIFI_PASSWORD" };
pub(crate) const CERTIFICATE_PASSWORD: Source = Source {
    what: "password of the device's certificate",
    flag: "--certificate-password-file",
    variable: "JARVIS_CERTIFICATE_PASSWORD",
};
pub(crate) const TOKEN: Source =
    Source { what: "provisioning token", flag: "--token-file", variable: "JARVIS_PROVISIONING_TOKEN" };
pub(crate) const JWT: Source = Source { what: "user token", flag: "--admin-key-file", variable: "JARVIS_JWT" };

/// The variable of a provision code.
const PROVISION_CODE: &str = "JARVIS_PROVISION_CODE";

/// The provision code, if one is given.
pub(crate) fn provision_code(file: Option<&Path>) -> Result<Option<ProvisionCode>, Error> {
    let text = match file {
        Some(path) => Some(read("a provision code", path)?),
        None => variable(PROVISION_CODE)?,
    };
    text.map(|text| ProvisionCode::try_from(text.expose()).map_err(Error::NotAProvisionCode)).transpose()
}

impl Source {
    /// From the file, else from the environment, else from the terminal.
    pub(crate) fn obtain(self, file: Option<&Path>) -> Result<SecretText, Error> {
        match file {
            Some(path) => read(self.what, path),
            None => match variable(self.variable)? {
                Some(secret) => Ok(secret),
                None if io::stdin().is_terminal() => prompt(self.what),
                None => Err(Error::Missing { what: self.what, flag: self.flag, variable: self.variable }),
            },
        }
    }
}

impl Pairing {
    /// The pairing secret; prompts for the code if none is given.
    pub(crate) fn secret(&self) -> Result<PhoneSecret, Error> {
        match self.given()? {
            Some(secret) => Ok(secret),
            None => CODE.obtain(None).and_then(|code| digits(code.expose())),
        }
    }

    /// The pairing secret, if one is given.
    pub(crate) fn given(&self) -> Result<Option<PhoneSecret>, Error> {
        if let Some(path) = &self.qr_secret_file {
            let text = read("the secret of a QR code", path)?;
            let bits = hexadecimal(text.expose().trim());
            let bits = bits.ok_or_else(|| Error::NotASecret { what: "32 hexadecimal digits", path: path.clone() })?;
            return Ok(Some(PhoneSecret::Qr(bits)));
        }
        let code = match (&self.code, &self.code_file) {
            (Some(code), _) => Some(SecretText::new(code.clone())),
            (None, Some(path)) => Some(read(CODE.what, path)?),
            (None, None) => variable(CODE.variable)?,
        };
        code.map(|code| digits(code.expose())).transpose()
    }
}

/// A secret from a file, without the line end after it.
pub(crate) fn read(what: &'static str, path: &Path) -> Result<SecretText, Error> {
    let failed = |source| Error::Read { what, path: path.to_owned(), source };
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    let length = file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(failed)?;
    let secret = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if length as u64 > FILE_LIMIT || secret.is_empty() {
        return Err(Error::NotASecret { what, path: path.to_owned() });
    }
    Ok(SecretText::new(secret.to_owned()))
}

/// The bytes of a file with certificates.
pub(crate) fn certificates(what: &'static str, path: &Path) -> Result<SecretBlob, Error> {
    let failed = |source| Error::Read { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(CERTIFICATES_LIMIT).expect("it is small") + 1));
    let length = file.take(CERTIFICATES_LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    if length == 0 || length as u64 > CERTIFICATES_LIMIT {
        return Err(Error::NotASecret { what, path: path.to_owned() });
    }
    Ok(SecretBlob::new(bytes.to_vec()))
}

/// A secret from the environment; an empty one counts as none.
pub(crate) fn variable(name: &'static str) -> Result<Option<SecretText>, Error> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(SecretText::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::NotUnicode(name)),
    }
}

/// Writes a secret to a new file that only this user can read.
pub(crate) fn write(path: &Path, secret: &str) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::Write { path: path.to_owned(), source })?;
    file.write_all(secret.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// Parses a code as typed: `482913`, or `482 913`.
fn digits(text: &str) -> Result<PhoneSecret, Error> {
    let digits: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|character| !character.is_whitespace() && *character != '-').collect());
    if digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Ok(PhoneSecret::Code(SecretText::new(digits.as_str().to_owned())))
    } else {
        Err(Error::NotACode)
    }
}

fn hexadecimal(text: &str) -> Option<SecretBytes<16>> {
    let mut bits = Zeroizing::new([0; 16]);
    hex::decode_to_slice(text, &mut *bits).ok()?;
    Some(SecretBytes::new(*bits))
}

/// Prompts at the terminal, without echo.
fn prompt(what: &'static str) -> Result<SecretText, Error> {
    let typed = jarvis_program::prompt(&format!("{what}: ")).map_err(|source| Error::Prompt { what, source })?;
    typed.map(|mut text| SecretText::new(std::mem::take(&mut *text))).ok_or(Error::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_typed_as_it_is_printed() {
        for text in ["482913", "482 913", " 482-913\n"] {
            let Ok(PhoneSecret::Code(code)) = digits(text) else { panic!("{text} is a code") };
            assert_eq!(code.expose(), "482913");
        }
        for text in ["", "48291", "4829133", "48291x", "４８２９１３"] {
            assert!(matches!(digits(text), Err(Error::NotACode)), "{text}");
        }
    }

    #[test]
    fn the_secret_of_a_qr_code_has_32_digits() {
        let bits = hexadecimal("000102030405060708090a0B0c0D0e0f").expect("32 digits");
        assert_eq!(bits.expose(), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        for text in ["", "00", "000102030405060708090a0b0c0d0e0g", "éééééééééééééééé"] {
            assert_eq!(hexadecimal(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_holds_a_secret_and_perhaps_a_line_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("secret");
        for content in ["p ss word ", "p ss word \n", "p ss word \r\n"] {
            std::fs::write(&path, content).expect("a file");
            assert_eq!(read("a password", &path).expect("a secret").expose(), "p ss word ");
        }
        for content in [String::new(), "\n".into(), "x".repeat(4097)] {
            std::fs::write(&path, content).expect("a file");
            assert!(matches!(read("a password", &path), Err(Error::NotASecret { .. })));
        }
    }

    #[test]
    fn a_written_secret_is_for_its_user_alone_and_replaces_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("k2.json");
        write(&path, "first").expect("a new file");
        assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert!(matches!(write(&path, "second"), Err(Error::Write { .. })));
        assert_eq!(std::fs::read_to_string(&path).expect("the file"), "first");
    }
}
