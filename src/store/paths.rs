//! The paths of the node's files.

use std::path::{Path, PathBuf};

/// The default state folder of a claimed appliance.
pub const CLAIM_FOLDER: &str = "/var/lib/msp";

/// The paths of the node's files, and the sources of its identity.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `JARVIS_SECRET_DIRECTORY`: K1, K2, credentials and the marker. `~/.jarvis` by default.
    pub directory: PathBuf,
    /// `JARVIS_KEY_FILE`: K1. `secrets.key` in the directory by default.
    pub key: PathBuf,
    /// `CONFIG_PATH`: the configuration of the node's normal operation.
    pub config: Option<PathBuf>,
    /// `JARVIS_CLAIM_DIRECTORY`: the files of a claim, deleted by a factory reset. `/var/lib/msp` by default.
    pub claim: PathBuf,
    /// `JARVIS_NODE_DB`: removed by a factory reset. `jarvis_node.db` in the working folder by default.
    pub database: PathBuf,
    /// The owner's file with pairing secrets, read if the node has none yet: JSON with any of `code` (text of six
    /// digits), `secret` (32 hexadecimal digits), `access_point_passphrase`, and `node_id`, the node's identity until it is
    /// registered.
    pub pairing: Option<PathBuf>,
    /// `COMMAND_CENTER_URL`: overrides the configuration's address.
    pub command_center_url: Option<String>,
    /// Where the kernel describes the hardware: `/sys`.
    pub sysfs: PathBuf,
    /// The machine's id, for a node without a network interface: `/etc/machine-id`.
    pub machine_id: PathBuf,
    /// The kernel's name of the processor architecture, such as `aarch64`.
    pub machine: String,
}

impl Paths {
    /// The defaults for a folder, without a configuration.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            key: directory.join("secrets.key"),
            directory,
            config: None,
            claim: CLAIM_FOLDER.into(),
            database: "jarvis_node.db".into(),
            pairing: None,
            command_center_url: None,
            sysfs: "/sys".into(),
            machine_id: "/etc/machine-id".into(),
            machine: rustix::system::uname().machine().to_string_lossy().into_owned(),
        }
    }

    /// The settings of the existing system, beside the node's configuration.
    pub fn original(&self) -> Option<PathBuf> {
        self.config.as_ref().map(|config| config.with_file_name("provisioning.json"))
    }

    /// The paths from the environment. `lookup` returns the value of a variable; an empty value counts as unset.
    ///
    /// In paths, `~` at the beginning is the home folder, and `$NAME` and `${NAME}` are the values of variables; the name
    /// of an unset variable is left in the path.
    pub fn from_environment(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| set(name).map(|value| expand(&value, &set));
        let mut paths = Self::new(path("JARVIS_SECRET_DIRECTORY").unwrap_or_else(|| expand("~/.jarvis", &set)));
        if let Some(key) = path("JARVIS_KEY_FILE") {
            paths.key = key;
        }
        if let Some(database) = path("JARVIS_NODE_DB") {
            paths.database = database;
        }
        if let Some(claim) = path("JARVIS_CLAIM_DIRECTORY") {
            paths.claim = claim;
        }
        paths.config = path("CONFIG_PATH");
        paths.command_center_url = set("COMMAND_CENTER_URL");
        paths
    }
}

fn expand(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> PathBuf {
    let text = expand_variables(text, lookup);
    match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => home(lookup).join(rest.trim_start_matches('/')),
        _ => text.into(),
    }
}

fn expand_variables(text: &str, lookup: &impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, remainder) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some(braced) => braced,
            None => after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len())),
        };
        match lookup(name) {
            Some(value) => expanded.push_str(&value),
            None => expanded.push_str(&rest[before.len()..rest.len() - remainder.len()]),
        }
        rest = remainder;
    }
    expanded + rest
}

/// The home folder. A service manager may start a program without `HOME`; then the user database has it.
fn home(lookup: &impl Fn(&str) -> Option<String>) -> PathBuf {
    lookup("HOME").map(PathBuf::from).or_else(std::env::home_dir).unwrap_or_else(|| Path::new("/root").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(variables: &[(&str, &str)]) -> Paths {
        Paths::from_environment(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into()))
    }

    #[test]
    fn without_variables_everything_has_a_default_but_the_configuration() {
        let paths = paths(&[("HOME", "/home/pi"), ("CONFIG_PATH", "")]);
        assert_eq!(paths.directory, Path::new("/home/pi/.jarvis"));
        assert_eq!(paths.key, Path::new("/home/pi/.jarvis/secrets.key"));
        assert_eq!(paths.database, Path::new("jarvis_node.db"));
        assert_eq!((paths.config, paths.command_center_url), (None, None));
    }

    #[test]
    fn variables_and_the_home_folder_are_expanded_in_paths() {
        let paths = paths(&[
            ("HOME", "/home/pi"),
            ("DATA", "/srv/data"),
            ("JARVIS_SECRET_DIRECTORY", "$DATA/secrets"),
            ("JARVIS_KEY_FILE", "${DATA}_keys/k1"),
            ("CONFIG_PATH", "~/config.json"),
            ("JARVIS_NODE_DB", "/x/$UNSET/${UNSET}$/~/db"),
            ("COMMAND_CENTER_URL", "http://$DATA"),
        ]);
        assert_eq!(paths.directory, Path::new("/srv/data/secrets"));
        assert_eq!(paths.key, Path::new("/srv/data_keys/k1"));
        assert_eq!(paths.config.as_deref(), Some(Path::new("/home/pi/config.json")));
        assert_eq!(paths.database, Path::new("/x/$UNSET/${UNSET}$/~/db"));
        assert_eq!(paths.command_center_url.as_deref(), Some("http://$DATA"));
    }
}
