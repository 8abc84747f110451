//! `jarvis-factory label`: the label sheet of devices with complete images.

use std::path::{Path, PathBuf};

use anyhow::Context;
use factory::{Batch, Device, Form, LabelError, Layout, Ledger, Sheet};
use jarvis_provisioning::label::Label;
use jarvis_provisioning::login::Owner;

use super::{Devices, Failure, now, write};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Draw the labels into this file: pages for a name in .pdf, an image for .svg. The file is as secret as the labels.
    #[arg(long, value_name = "FILE")]
    sheet: PathBuf,

    /// Add a QR code that opens the setup page in a phone that has joined the access point, with the pairing code.
    #[arg(long)]
    page_qr: bool,

    #[command(flatten)]
    devices: Devices,

    /// The settings of a node; unused, but `jarvis-provision label` accepts them for every kind of label.
    #[arg(long = "config", value_name = "FILE", hide = true)]
    _config: Option<PathBuf>,
}

pub(super) fn run(Arguments { sheet: path, page_qr, devices, .. }: &Arguments) -> Result<(), Failure> {
    let listed = devices.list(true)?;
    let ledger = Ledger::read_only(&devices.ledger, "", now).map_err(anyhow::Error::from)?;
    let owner = Owner { uid: 0, gid: 0, required: false };
    let layout = Layout { pairing: Some(devices.pairing_file.clone()), owner, lookup: None };
    let label = |device: &&Device| factory::label(device, &layout, &ledger);
    write_sheet(&listed.iter().collect::<Vec<_>>(), label, *page_qr, path)
}

pub(super) fn draw(batch: &Batch, devices: &[&Device], path: &Path) -> Result<(), Failure> {
    write_sheet(devices, |device| factory::label(device, &batch.layout, &batch.ledger), false, path)
}

fn write_sheet(
    devices: &[&Device],
    label: impl Fn(&&Device) -> Result<Option<Label>, LabelError>,
    page: bool,
    path: &Path,
) -> Result<(), Failure> {
    let form = form(path)?;
    let mut sheet = Sheet::default();
    let mut without = Vec::new();
    for device in devices {
        match label(device).map_err(anyhow::Error::from)? {
            Some(label) => sheet.add(&device.serial, &label, page).map_err(anyhow::Error::from)?,
            None => without.push(device.serial.as_str()),
        }
    }
    if !sheet.is_empty() {
        write(path, &sheet.content(form)).context("writing the labels")?;
        eprintln!("{} in {}; print it at its original size, and keep it secret", labels(sheet.len()), path.display());
    }
    if without.is_empty() {
        Ok(())
    } else {
        Err(Failure::Other(anyhow::anyhow!("the ledger has no pairing secrets for the trees of {}", without.join(", "))))
    }
}

/// The format of a sheet, by its name.
pub(super) fn form(path: &Path) -> Result<Form, Failure> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("pdf") => Ok(Form::Pdf),
        Some("svg") => Ok(Form::Svg),
        _ => Err(Failure::Usage(format!("{}: the sheet's name must end in .pdf or .svg", path.display()))),
    }
}

fn labels(labels: usize) -> String {
    if labels == 1 { "1 label is".into() } else { format!("{labels} labels are") }
}
