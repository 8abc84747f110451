//! The files in the tree of an image.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::ledger::Record;
use crate::serial::Device;
use jarvis_provisioning::config::{self, SETTINGS};
use jarvis_provisioning::files::hexadecimal;
use jarvis_provisioning::label::Label;
use jarvis_provisioning::login::{DeviceConf, Folder, Lookup, Owner, Tree, TreeError as Error};
use jarvis_provisioning::store;

/// Path of a device's credentials in the image.
pub const DEVICE_CONF: &str = "etc/azaion/device.conf";

/// Name of the credentials until the server has accepted them.
const STAGED: &str = ".device.conf.staged";

/// Size limit of each file, bytes.
const LIMIT: usize = 16 * 1024;

/// Paths and owner of the files in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The pairing file in the image; `None` writes none.
    pub pairing: Option<PathBuf>,
    /// Who owns the files in the image.
    pub owner: Owner,
    /// How folders are looked up; `None` uses the kernel's lookup if available.
    pub lookup: Option<Lookup>,
}

/// The state of a tree.
#[derive(Debug)]
pub(crate) struct Found {
    /// Credentials from an earlier run that the server may have received.
    known: Option<DeviceConf>,
    /// They have their final name, so the server has accepted them.
    pub(crate) is_done: bool,
    /// The hash of the pairing file, if the ledger records it for this device.
    pairing: Option<String>,
}

impl Found {
    /// An earlier run may have sent the password to the server.
    pub(crate) const fn is_resumed(&self) -> bool {
        self.known.is_some()
    }

    /// All files exist.
    pub(crate) const fn is_complete(&self, layout: &Layout) -> bool {
        self.is_done && (self.pairing.is_some() || layout.pairing.is_none())
    }
}

/// A tree with all files.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) conf: DeviceConf,
    /// The credentials have their temporary name.
    is_staged: bool,
    pub(crate) device_conf: String,
    pub(crate) pairing: Option<String>,
    /// The pairing secrets are new: a label printed before is invalid.
    pub(crate) has_new_label: bool,
    /// All files have the configured owner.
    pub(crate) is_owned: bool,
}

/// The open tree of one device.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    tree: Tree,
    device: &'a Device,
    layout: &'a Layout,
}

/// Why a tree could not be prepared.
#[derive(Debug, Error)]
pub(crate) enum PrepareError {
    #[error(transparent)]
    Tree(#[from] Error),
    #[error("generating a secret")]
    Random(#[from] getrandom::Error),
}

/// Why the label of a device could not be read from its tree.
#[derive(Debug, Error)]
pub enum LabelError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] Error),
    /// The device's settings are invalid.
    #[error(transparent)]
    Settings(#[from] config::Error),
}

impl<'a> Image<'a> {
    pub(crate) fn open(device: &'a Device, layout: &'a Layout) -> Result<Self, Error> {
        let tree = match layout.lookup {
            None => Tree::open(&device.rootfs)?,
            Some(lookup) => Tree::open_with(&device.rootfs, lookup)?,
        };
        Ok(Self { tree, device, layout })
    }

    /// Reads the state of the tree. Changes nothing.
    pub(crate) fn look(&self, record: &Record, api: &str) -> Result<Found, Error> {
        let mut found = Found { known: None, is_done: false, pairing: None };
        if let Some((folder, name)) = self.tree.folder_of(Path::new(DEVICE_CONF), None)? {
            for (name, is_done) in [(STAGED, false), (name.as_str(), true)] {
                let content = folder.read(name, LIMIT)?.filter(|content| record.is_written(api, &hash(content)));
                let conf = content.and_then(|content| DeviceConf::parse(&content).ok());
                if let Some(conf) = conf.filter(|conf| conf.email == self.device.account) {
                    found.known = Some(conf);
                    found.is_done = is_done;
                }
            }
        }
        if let Some(content) = self.pairing_file()? {
            found.pairing = Some(hash(&content)).filter(|hash| record.has_pairing(hash));
        }
        Ok(found)
    }

    /// Writes missing files. With `reissue`, generates a new password.
    pub(crate) fn prepare(&self, found: Found, reissue: bool) -> Result<Prepared, PrepareError> {
        let owner = self.layout.owner;
        let mut is_owned = true;
        let (pairing, has_new_label) = match (&self.layout.pairing, found.pairing) {
            (None, _) => (None, false),
            (Some(_), Some(hash)) => (Some(hash), false),
            (Some(path), None) => {
                let label = store::Label { node_id: Some(self.device.serial.node_id()), ..store::Label::random()? };
                let content = label.content();
                let (folder, name) = self.make(path)?;
                is_owned &= folder.replace(&name, &content, Some(owner))?;
                (Some(hash(&content)), true)
            }
        };
        let (conf, is_staged) = match found.known {
            Some(conf) if !reissue => (conf, !found.is_done),
            _ => {
                let conf = DeviceConf::random(&self.device.account)?;
                let (folder, _) = self.make(Path::new(DEVICE_CONF))?;
                is_owned &= folder.write_new(STAGED, &conf.content(), Some(owner))?;
                (conf, true)
            }
        };
        let device_conf = hash(&conf.content());
        Ok(Prepared { conf, is_staged, device_conf, pairing, has_new_label, is_owned })
    }

    /// Renames the credentials to their final name, after the server has accepted the password.
    pub(crate) fn commit(&self, prepared: &Prepared) -> Result<(), Error> {
        if prepared.is_staged {
            let (folder, name) = self.make(Path::new(DEVICE_CONF))?;
            folder.rename(STAGED, &name)?;
        }
        Ok(())
    }

    /// Removes a password that the server will not receive.
    pub(crate) fn abandon(&self) -> Result<(), Error> {
        match self.tree.folder_of(Path::new(DEVICE_CONF), None)? {
            Some((folder, _)) => folder.remove(STAGED),
            None => Ok(()),
        }
    }

    /// The label, if the ledger records the pairing file for this device.
    pub(crate) fn label(&self, record: &Record) -> Result<Option<Label>, LabelError> {
        let content = self.pairing_file()?.filter(|content| record.has_pairing(&hash(content)));
        let Some(store::Label { pairing, passphrase, .. }) = content.and_then(|content| store::Label::parse(&content).ok())
        else {
            return Ok(None);
        };
        Ok(Some(Label { name: self.device.serial.node_id(), pairing, passphrase, port: self.port()? }))
    }

    /// The port of the HTTP API, by the settings in the tree.
    fn port(&self) -> Result<u16, LabelError> {
        let content = self.read(Path::new(SETTINGS))?.unwrap_or_default();
        let path = self.device.rootfs.join(SETTINGS.trim_start_matches('/'));
        Ok(config::port_in(&path, &String::from_utf8_lossy(&content))?)
    }

    fn pairing_file(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        self.layout.pairing.as_deref().map_or(Ok(None), |path| self.read(path))
    }

    fn read(&self, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        match self.tree.folder_of(path, None)? {
            Some((folder, name)) => folder.read(&name, LIMIT),
            None => Ok(None),
        }
    }

    fn make(&self, file: &Path) -> Result<(Folder, String), Error> {
        let made = self.tree.folder_of(file, Some(self.layout.owner))?;
        Ok(made.expect("a missing folder is created if it gets an owner"))
    }
}

/// SHA-256, hexadecimal.
fn hash(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}
