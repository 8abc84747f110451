//! Provision codes at the command line.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use command_center::operator::{Acting, CODES_AT_ONCE, CodeState, NewCodes, Operator};
use command_center::sheet::{Paper, sheet};
use serde_json::json;
use zeroize::Zeroizing;

use super::output::{Listing, Table};
use super::{Failure, Format, parse_time, qr};

/// How many labels a sheet has at most: some thirty megabytes.
const LABELS: usize = 10_000;

/// How much is read from standard input: more than so many codes.
const MOST_INPUT: u64 = 1 << 20;

#[derive(Debug, Subcommand)]
pub(super) enum Code {
    /// Create codes. They are shown once, because the database stores hashes only.
    Create(CreateCode),
    /// Draw a sheet of labels for codes that have been created, such as after a printer has failed. The codes are read from
    /// standard input, one per line: the database does not have them.
    Sheet {
        /// The PDF; the file must not exist. It is readable by the owner only.
        file: PathBuf,
        /// The paper.
        #[arg(long, value_parser = parse_paper, value_name = "a4|letter", default_value = "a4")]
        paper: Paper,
    },
    /// List codes, oldest first.
    List {
        /// Only codes in this state.
        #[arg(long, value_parser = parse_state, value_name = "pending|claimed|expired|revoked")]
        state: Option<CodeState>,
        #[command(flatten)]
        format: Format,
    },
    /// Revoke a code that has not been claimed.
    Revoke {
        /// The code or, better, its id from the list, which cannot be used to claim if this command line is seen;
        /// `-` reads it from standard input.
        code: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateCode {
    /// The site whose appliances claim the codes; without it each code creates a site.
    #[arg(long, value_name = "NAME")]
    site: Option<String>,
    /// The partner whose brand the appliances show.
    #[arg(long, value_name = "SLUG", default_value = "default")]
    partner: String,
    /// How long the codes are valid: a number with s, m, h, d or w.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_time)]
    expires_in: Duration,
    /// The number of codes.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    count: u32,
    /// Write each code as a QR code to DIR/ID.png, readable by the owner only.
    #[arg(long, value_name = "DIR")]
    qr: Option<PathBuf>,
    /// Draw a sheet of labels with QR codes, 24 on a page. FILE must not exist; it is readable by the owner only.
    #[arg(long, value_name = "FILE")]
    pdf: Option<PathBuf>,
    /// The paper of the sheet.
    #[arg(long, value_parser = parse_paper, value_name = "a4|letter", default_value = "a4")]
    paper: Paper,
    #[command(flatten)]
    format: Format,
}

impl Code {
    pub(super) async fn run(self, operator: &Operator, acting: &Acting<'_>) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create_codes(acting, create).await,
            Self::Sheet { file, paper } => draw_sheet(operator, &file, paper).await,
            Self::List { state, format } => list_codes(operator, state, format).await,
            Self::Revoke { code } => {
                let code = if code == "-" { standard_input()? } else { code };
                Ok(acting.revoke_code(&code).await?)
            }
        }
    }
}

async fn create_codes(acting: &Acting<'_>, create: CreateCode) -> Result<(), Failure> {
    let CreateCode { site, partner, expires_in, count, qr, pdf, paper, format } = create;
    if let Some(folder) = &qr {
        // Found out before the codes are made, which could not be shown again.
        std::fs::create_dir_all(folder)?;
    }
    let count = count as usize;
    if pdf.is_some() && count > LABELS {
        return Err(Failure::config(format!("a sheet has at most {LABELS} labels")));
    }
    let pdf = pdf.as_deref().map(NewFile::create).transpose()?;
    let show_progress = count > CODES_AT_ONCE && std::io::stderr().is_terminal();
    let progress = |verb: &str, done: usize| {
        if show_progress {
            let end = if done == count { "\n" } else { "" };
            // Progress that cannot be shown is no reason to stop.
            drop(write!(std::io::stderr(), "\r{verb} {done} of {count}{end}"));
        }
    };
    let wanted = NewCodes { site: site.clone(), partner: partner.clone(), expires_in, count };
    let codes = acting.create_codes(&wanted, |done| progress("made", done)).await?;
    let written = pdf.map(|file| file.write(&sheet(paper, &codes)));
    let mut listing = Listing::new(format.json, Table::new(&["CODE", "ID", "SITE", "PARTNER", "EXPIRES"]));
    for (done, new) in codes.iter().enumerate() {
        let image = qr.as_ref().map(|folder| qr::write(folder, &new.id, &new.code.uri())).transpose()?;
        if image.is_some() && (done + 1) % CODES_AT_ONCE == 0 {
            progress("drew", done + 1);
        }
        let expires_at = new.expires_at.zoned();
        let grouped = new.code.grouped();
        let row = [Some(grouped.as_str()), Some(&new.id), site.as_deref(), Some(&partner), Some(&expires_at)];
        listing.row(
            &json!({
                "code": new.code.expose(),
                "id": new.id,
                "uri": new.code.uri(),
                "site": site,
                "partner": partner,
                "expires_at": expires_at,
                "qr": image.map(|path| path.display().to_string()),
            }),
            &row,
        )?;
    }
    listing.end()?;
    // Last, so that a full disk does not keep the codes from being shown.
    written.transpose()?;
    Ok(())
}

/// Draws the labels of codes on standard input.
async fn draw_sheet(operator: &Operator, file: &Path, paper: Paper) -> Result<(), Failure> {
    let mut codes = Vec::new();
    for line in io::stdin().lock().take(MOST_INPUT).lines() {
        let line = Zeroizing::new(line?);
        if !line.trim().is_empty() {
            codes.push(operator.pending_code(&line).await?);
        }
    }
    if codes.is_empty() || codes.len() > LABELS {
        return Err(Failure::config(format!("a sheet has 1 to {LABELS} labels, one for each line of standard input")));
    }
    Ok(NewFile::create(file)?.write(&sheet(paper, &codes))?)
}

/// A file that did not exist. It is removed again if nothing is written to it.
struct NewFile<'p> {
    path: &'p Path,
    file: File,
    is_written: bool,
}

impl<'p> NewFile<'p> {
    fn create(path: &'p Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let failed = |error: io::Error| Failure { code: 1, text: format!("creating the file {}: {error}", path.display()) };
        Ok(Self { path, file: file.map_err(failed)?, is_written: false })
    }

    fn write(mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.sync_all()?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            // There is nothing to do if that fails, too.
            drop(std::fs::remove_file(self.path));
        }
    }
}

async fn list_codes(operator: &Operator, state: Option<CodeState>, format: Format) -> Result<(), Failure> {
    let columns = ["ID", "STATE", "SITE", "PARTNER", "EXPIRES", "APPLIANCE"];
    let mut listing = Listing::new(format.json, Table::new(&columns));
    let mut page = operator.codes(None).await?;
    while !page.is_empty() {
        for entry in page.iter().filter(|entry| state.is_none_or(|state| entry.state == state)) {
            let value = json!(entry);
            let word = value["state"].as_str();
            let (id, site, appliance) = (Some(entry.id.as_str()), entry.site.as_deref(), entry.appliance_id.as_deref());
            let row = [id, word, site, Some(&entry.partner), Some(&entry.expires_at), appliance];
            listing.row(&value, &row)?;
        }
        page = operator.codes(page.last()).await?;
    }
    listing.end()?;
    Ok(())
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin().take(1024).read_to_string(&mut text)?;
    Ok(text)
}

fn parse_state(text: &str) -> Result<CodeState, String> {
    serde_json::from_value(json!(text)).map_err(|_| "one of pending, claimed, expired, revoked".to_owned())
}

fn parse_paper(text: &str) -> Result<Paper, &'static str> {
    match text {
        "a4" => Ok(Paper::A4),
        "letter" => Ok(Paper::Letter),
        _ => Err("one of a4, letter"),
    }
}
