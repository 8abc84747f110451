//! `device.conf`: a device's credentials, as the factory writes them into its image.

use provisioning_core::secret::SecretText;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::files::hexadecimal;

/// 128 bits: 32 hexadecimal characters, as existing servers expect.
const PASSWORD_BYTES: usize = 16;

/// A device's credentials: two lines, `AZAION_DEVICE_EMAIL=` and `AZAION_DEVICE_PASSWORD=`, without quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConf {
    /// The account.
    pub email: String,
    /// Its password.
    pub password: SecretText,
}

/// Why a `device.conf` is invalid; contains nothing of the file.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum DeviceConfError {
    /// Not UTF-8.
    #[error("the file is not UTF-8 text")]
    Text,
    /// A value is missing or duplicated.
    #[error("the file needs {0} exactly once")]
    Value(&'static str),
}

impl DeviceConf {
    /// An account with a new password.
    pub fn random(email: &str) -> Result<Self, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
        getrandom::fill(&mut *bytes)?;
        Ok(Self { email: email.to_owned(), password: SecretText::new(hexadecimal(&*bytes)) })
    }

    /// Parses the two values. Ignores other lines.
    pub fn parse(content: &[u8]) -> Result<Self, DeviceConfError> {
        let text = std::str::from_utf8(content).map_err(|_| DeviceConfError::Text)?;
        let value = |name: &'static str| {
            let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
            match (values.next(), values.next()) {
                (Some(value), None) if !value.is_empty() => Ok(value.to_owned()),
                _ => Err(DeviceConfError::Value(name)),
            }
        };
        let password = SecretText::new(value("AZAION_DEVICE_PASSWORD")?);
        Ok(Self { email: value("AZAION_DEVICE_EMAIL")?, password })
    }

    /// The file.
    pub fn content(&self) -> Zeroizing<Vec<u8>> {
        let parts = ["AZAION_DEVICE_EMAIL=", &self.email, "\nAZAION_DEVICE_PASSWORD=", self.password.expose(), "\n"];
        let mut content = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
        for part in parts {
            content.extend_from_slice(part.as_bytes());
        }
        content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_are_two_lines_and_read_back() {
        let conf = DeviceConf::random("azaion-jetson-0042@azaion.com").unwrap();
        let content = String::from_utf8(conf.content().to_vec()).unwrap();
        let password = conf.password.expose();
        let expected = format!("AZAION_DEVICE_EMAIL=azaion-jetson-0042@azaion.com\nAZAION_DEVICE_PASSWORD={password}\n");
        assert_eq!(content, expected);
        assert!(password.len() == 32 && password.bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(DeviceConf::parse(content.as_bytes()), Ok(conf));
    }

    #[test]
    fn lines_for_others_and_line_ends_of_others_are_read_over() {
        let content = b"# made in the factory\r\nAZAION_DEVICE_EMAIL=a@b\r\n\r\nOTHER=1\r\nAZAION_DEVICE_PASSWORD=p=q\r\n";
        let conf = DeviceConf::parse(content).unwrap();
        assert_eq!((conf.email.as_str(), conf.password.expose()), ("a@b", "p=q"));
    }

    #[test]
    fn a_file_with_a_value_missing_or_twice_is_refused() {
        for wrong in [
            &b""[..],
            b"AZAION_DEVICE_EMAIL=a@b\n",
            b"AZAION_DEVICE_EMAIL=a@b\nAZAION_DEVICE_PASSWORD=\n",
            b"AZAION_DEVICE_EMAIL=a@b\nAZAION_DEVICE_PASSWORD=x\nAZAION_DEVICE_PASSWORD=y\n",
            b"\xff\xfe",
        ] {
            assert!(DeviceConf::parse(wrong).is_err());
        }
    }
}
