//! `jarvis-provision label`.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use jarvis_provisioning::label::Label;
use serde_json::json;

use super::factory;
use super::{Failure, Settings, open_store};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Draw the label as a PNG file for printing at 300 dots per inch.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,

    /// Print everything, including the texts of both QR codes, as one JSON object.
    #[arg(long)]
    json: bool,

    /// Draw the labels of devices with images from `jarvis-provision factory`: pages for a name in .pdf, an image for .svg.
    /// Needs --serial or --serials, and --rootfs-dir.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["png", "json"])]
    sheet: Option<PathBuf>,

    #[command(flatten)]
    devices: factory::Devices,
}

/// Prints secrets deliberately: they are the content of the label.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.sheet.is_some() {
        return factory::run().map(|never| match never {});
    }
    if arguments.devices.are_named() {
        return Err(Failure::Usage("use --sheet to set the file for the labels of these devices".into()));
    }
    let store = open_store(&arguments.settings.read()?)?;
    let boot = store.load()?;
    let label = Label { name: boot.identity.name(), pairing: boot.pairing, passphrase: store.access_point_passphrase() };
    if let Some(path) = &arguments.png {
        let attempt = || format!("writing the label to {}", path.display());
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let mut file = BufWriter::new(file.map_err(|source| Failure::Resource { attempt: attempt(), source })?);
        label.png(&mut file).map_err(anyhow::Error::from)?;
        file.flush().map_err(|source| Failure::Resource { attempt: attempt(), source })?;
        eprintln!("The label of {} is in {}. Print it at 300 dots per inch.", label.name, path.display());
    }
    let mut out = std::io::stdout().lock();
    if arguments.json {
        let text = label.pairing_text();
        let secret = text.rsplit(':').next().unwrap_or_default().to_lowercase();
        let object = json!({
            "name": label.name,
            "code": label.pairing.code.expose(),
            "secret": secret,
            "access_point_passphrase": label.passphrase.expose(),
            "pairing_qr": text,
            "wifi_qr": label.wifi_text(),
        });
        writeln!(out, "{object}").map_err(anyhow::Error::from)?;
    } else if arguments.png.is_none() {
        label.print(&mut out).map_err(anyhow::Error::from)?;
    }
    Ok(())
}
