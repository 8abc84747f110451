//! How the network is watched, and who may use the API of network care.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Error;
use provisioning_core::secret::SecretText;

/// Longest token of the API of network care, bytes.
const TOKEN_LIMIT: usize = 512;

/// How the network is watched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Care {
    /// Whether `run` stays after provisioning, and brings the node back online when its network is lost. Off by default,
    /// because it keeps a process running that other nodes do not have.
    pub enabled: bool,
    /// Whether a lost network is recovered; otherwise it is only watched. It is by default, unless the existing system's
    /// settings forbid it ([`original`](super::original)).
    pub recovery: Option<bool>,
    /// The page whose content shows that the internet is there; Debian's by default.
    pub check_url: Option<String>,
    /// A file with the token of the API of network care. Without a token, the API answers on the device and in its access
    /// point only.
    pub token_file: Option<PathBuf>,
    /// Whether a client of the API may restart the program and the device.
    pub restart: bool,
    /// The token itself. Set by the environment, because the settings file is not secret.
    #[serde(skip)]
    pub token: Option<SecretText>,
}

impl Care {
    /// The token of the API: from the environment, or else from the file.
    pub fn api_token(&self) -> Result<Option<SecretText>, Error> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(path)) => read_token(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

fn read_token(path: &Path) -> Result<SecretText, Error> {
    /// The rights of users other than the owner and the group.
    const OTHERS: u32 = 0o007;
    let read = |source| Error::Token { path: path.into(), source };
    let mut file = std::fs::File::open(path).map_err(read)?;
    let mode = file.metadata().map_err(read)?.permissions().mode();
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_LIMIT + 2));
    (&mut file).take(TOKEN_LIMIT as u64 + 2).read_to_string(&mut text).map_err(read)?;
    let token = token(text.trim()).filter(|_| mode & OTHERS == 0);
    let expected = "name a file that other users cannot read, with one line of 1 to 512 ASCII characters without spaces";
    token.ok_or(Error::Setting { name: "care.token_file", expected })
}

/// A token that fits into the header of a request.
pub(super) fn token(text: &str) -> Option<SecretText> {
    let fits = (1..=TOKEN_LIMIT).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| SecretText::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_that_of_the_environment_or_of_a_file_that_others_cannot_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let care = |token| Care { token_file: Some(path.clone()), token, ..Care::default() };
        let read = |care: Care| care.api_token().map(|token| token.expect("there is one").expose().to_owned());
        let place = |content: &str, mode| {
            std::fs::write(&path, content).expect("writing it");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("its mode");
        };
        assert!(matches!(read(care(None)), Err(Error::Token { .. })));
        place("from-the-file\n", 0o640);
        assert_eq!(read(care(None)).expect("a token"), "from-the-file");
        assert_eq!(read(care(token("given"))).expect("a token"), "given");
        for (content, mode) in [("from-the-file", 0o644), ("", 0o600), ("two words", 0o600), ("x".repeat(513).as_str(), 0o600)] {
            place(content, mode);
            let error = read(care(None)).expect_err("an unusable file").to_string();
            assert!(error.contains("care.token_file") && !error.contains("from-the-file"), "{error}");
        }
    }
}
