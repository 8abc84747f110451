//! Codes as images, to print or to hold before a camera.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes `text` as a QR code to `folder/name.png`, readable by its owner alone.
pub(super) fn write(folder: &Path, name: &str, text: &str) -> io::Result<PathBuf> {
    let path = folder.join(format!("{name}.png"));
    let image = command_center::qr_png(text);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(&image)?;
    Ok(path)
}
