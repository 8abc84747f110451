//! `jarvis-provision label`.

use std::io::Write;
use std::path::PathBuf;

use jarvis_provisioning::label::{Extras, Label};
use jarvis_provisioning::{files, store};
use serde_json::json;
use zeroize::Zeroizing;

use super::factory;
use super::{Failure, Settings, open_store};

#[derive(clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line; goes when two of them exclude each other"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,

    /// Draw the label as a PNG file for printing at 300 dots per inch.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,

    /// Add a QR code that opens the setup page in a phone that has joined the access point, with the pairing code.
    #[arg(long)]
    page_qr: bool,

    /// Add the QR code for Espressif's apps, as espressif.label in the settings does.
    #[arg(long, conflicts_with = "sheet")]
    espressif: bool,

    /// Print everything, including the texts of the QR codes, as one JSON object.
    #[arg(long)]
    json: bool,

    /// Draw the labels of devices with images from `jarvis-provision factory`: pages for a name in .pdf, an image for .svg.
    /// Needs --serial or --serials, and --rootfs-dir.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["png", "json"])]
    sheet: Option<PathBuf>,

    /// Delete the pairing file on the boot partition, once the node has its content.
    #[arg(long, conflicts_with = "sheet")]
    remove_pairing_file: bool,

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
    let config = arguments.settings.read()?;
    let store = open_store(&config)?;
    let boot = store.load()?;
    let label = Label {
        name: boot.identity.name(),
        pairing: boot.pairing,
        passphrase: store.access_point_passphrase(),
        port: config.port,
    };
    let extras = Extras { page: arguments.page_qr, espressif: arguments.espressif || config.espressif.label };
    if let Some(path) = &arguments.png {
        let mut drawing = Zeroizing::new(Vec::new());
        label.png(extras, &mut *drawing).map_err(anyhow::Error::from)?;
        files::write_private(path, &drawing).map_err(store::Error::from)?;
        eprintln!("The label of {} is in {}. Print it at 300 dots per inch.", label.name, path.display());
    }
    if arguments.remove_pairing_file {
        match store.remove_pairing_file()? {
            Some(path) => eprintln!("{} is deleted.", path.display()),
            None => eprintln!("There is no pairing file."),
        }
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
            "page_qr": label.page_text(),
            "espressif_qr": label.espressif_text(),
        });
        writeln!(out, "{object}").map_err(anyhow::Error::from)?;
    } else if arguments.png.is_none() {
        label.print(extras, &mut out).map_err(anyhow::Error::from)?;
    }
    Ok(())
}
