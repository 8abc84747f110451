//! Label sheets: the codes of many devices on paper, each with its serial.

use std::fmt::Write;

use pdf_writer::{Content, Name, Pdf, Rect, Ref, Str};
use qrcode::{Color, EcLevel, QrCode};

use crate::serial::Serial;
use jarvis_provisioning::label::{Error, Label};

/// A4, millimetres.
const PAGE: (f32, f32) = (210.0, 297.0);
/// The margin that printers cannot print on, millimetres.
const MARGIN: f32 = 10.0;
/// One label including its cutting line, millimetres.
const LABEL: (f32, f32) = (95.0, 46.0);
const COLUMNS: usize = 2;
const ROWS: usize = 6;
/// A QR code with its quiet zone, millimetres: two thirds of a millimetre per module, which every phone camera reads.
const QR: f32 = 30.0;
/// A QR code if a label has three, millimetres: more than half a millimetre per module.
const SMALL_QR: f32 = 27.0;
/// Modules of white around a QR code (ISO/IEC 18004, 5.3.8).
const QUIET: usize = 4;
/// The gap between label, codes and text, millimetres.
const GAP: f32 = 2.0;
/// The left edge of a QR code's dark modules, and of the text below it, millimetres.
const EDGE: f32 = 6.0;
/// The width of a letter of the fixed-width font, relative to its size.
const LETTER: f32 = 0.6;
/// The largest text, millimetres.
const TEXT: f32 = 3.4;
/// Points in a millimetre.
const POINTS: f32 = 72.0 / 25.4;

/// The file format of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A4 pages of two columns.
    Pdf,
    /// One image of two columns, as long as necessary.
    Svg,
}

/// A sheet of labels. It shows secrets, and is as secret as they are.
#[derive(Debug, Default)]
pub struct Sheet {
    labels: Vec<Vec<Mark>>,
}

/// An element of a label; positions are in millimetres from its upper left corner.
#[derive(Debug)]
enum Mark {
    /// A line of text at its base line.
    Text { x: f32, y: f32, size: f32, text: String },
    /// A QR code: runs of dark modules as column, row and length, including the quiet zone.
    Qr { x: f32, y: f32, side: f32, modules: usize, runs: Vec<(usize, usize, usize)> },
}

impl Sheet {
    /// Adds the label of a device; `page` adds the page QR code.
    pub fn add(&mut self, serial: &Serial, label: &Label, page: bool) -> Result<(), Error> {
        let marks = if page { with_page(serial, label)? } else { without_page(serial, label)? };
        self.labels.push(marks);
        Ok(())
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether the sheet has no labels.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The file.
    pub fn content(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Pdf => self.pdf(),
            Form::Svg => self.svg().into_bytes(),
        }
    }

    fn svg(&self) -> String {
        let rows = self.labels.len().div_ceil(COLUMNS);
        #[expect(clippy::cast_precision_loss, reason = "no sheet has millions of rows")]
        let (width, height) = (PAGE.0, 2.0 * MARGIN + LABEL.1 * rows as f32);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}mm\" height=\"{height}mm\" viewBox=\"0 0 {width} {height}\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
        );
        for (index, marks) in self.labels.iter().enumerate() {
            let (x, y) = place(index);
            let (w, h) = LABEL;
            write!(svg, "<g transform=\"translate({x} {y})\" font-family=\"monospace\">\n<rect width=\"{w}\" height=\"{h}\" fill=\"none\" stroke=\"#bbb\" stroke-width=\"0.1\"/>\n")
                .expect("writing to a String succeeds");
            for mark in marks {
                svg_mark(&mut svg, mark).expect("writing to a String succeeds");
            }
            svg.push_str("</g>\n");
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn pdf(&self) -> Vec<u8> {
        let number = |index: usize| Ref::new(i32::try_from(index).expect("a sheet has fewer than a billion pages"));
        let (catalog, tree, font, font_name) = (number(1), number(2), number(3), Name(b"F"));
        let pages: Vec<&[Vec<Mark>]> = self.labels.chunks(COLUMNS * ROWS).collect();
        let page_of = |index: usize| number(4 + 2 * index);
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(tree);
        pdf.pages(tree)
            .kids((0..pages.len()).map(page_of))
            .count(i32::try_from(pages.len()).expect("a sheet has fewer than a billion pages"));
        pdf.type1_font(font).base_font(Name(b"Courier"));
        for (index, labels) in pages.iter().enumerate() {
            let content = number(5 + 2 * index);
            let mut page = pdf.page(page_of(index));
            page.media_box(Rect::new(0.0, 0.0, PAGE.0 * POINTS, PAGE.1 * POINTS)).parent(tree).contents(content);
            page.resources().fonts().pair(font_name, font);
            drop(page);
            let mut drawn = Content::new();
            for (place, marks) in (0..).map(place).zip(*labels) {
                pdf_label(&mut drawn, place, marks, font_name);
            }
            pdf.stream(content, &drawn.finish());
        }
        pdf.finish()
    }
}

/// Two codes, with the texts between them.
fn without_page(serial: &Serial, label: &Label) -> Result<Vec<Mark>, Error> {
    let left = GAP + QR;
    let width = LABEL.0 - 2.0 * (left + GAP);
    let lines = [
        ("Device, access point", label.name.clone()),
        ("Pairing code", label.code()),
        ("Access point's password", label.passphrase.expose().to_owned()),
    ];
    let mut marks = vec![
        qr(&label.pairing_text(), GAP, 4.0, QR)?,
        Mark::Text { x: EDGE, y: QR + 6.0, size: 2.4, text: "scan to pair".into() },
        qr(&label.wifi_text(), LABEL.0 - GAP - QR, 4.0, QR)?,
        Mark::Text { x: LABEL.0 - QR + EDGE - 2.0 * GAP, y: QR + 6.0, size: 2.4, text: "scan to join".into() },
    ];
    let mut y = 9.0;
    for (title, text) in lines {
        marks.push(Mark::Text { x: left + GAP, y, size: fitted(title, 2.2, width), text: title.into() });
        marks.push(Mark::Text { x: left + GAP, y: y + 3.8, size: fitted(&text, TEXT, width), text });
        y += 10.5;
    }
    // Below everything else, because it may be long.
    let text = format!("Serial {serial}");
    marks.push(Mark::Text { x: EDGE, y: LABEL.1 - 3.0, size: fitted(&text, TEXT, LABEL.0 - 2.0 * EDGE), text });
    Ok(marks)
}

/// Three codes, with the texts below them.
fn with_page(serial: &Serial, label: &Label) -> Result<Vec<Mark>, Error> {
    let step = LABEL.0 / 3.0;
    let codes =
        [("scan to pair", label.pairing_text()), ("scan to join", label.wifi_text()), ("no app? scan, too", label.page_text())];
    let mut marks = Vec::new();
    let mut left = (step - SMALL_QR) / 2.0;
    for (title, text) in codes {
        marks.push(qr(&text, left, 1.0, SMALL_QR)?);
        marks.push(Mark::Text { x: left + GAP, y: SMALL_QR + 2.5, size: 2.2, text: title.into() });
        left += step;
    }
    let lines = [
        format!("Device, access point: {}", label.name),
        format!("Code: {}  Password: {}", label.code(), label.passphrase.expose()),
        format!("Serial {serial}"),
    ];
    let mut y = SMALL_QR + 7.0;
    for text in lines {
        marks.push(Mark::Text { x: EDGE, y, size: fitted(&text, TEXT, LABEL.0 - 2.0 * EDGE), text });
        y += 4.5;
    }
    Ok(marks)
}

/// The position of a label, millimetres from the upper left corner of its page, or of the image.
fn place(index: usize) -> (f32, f32) {
    #[expect(clippy::cast_precision_loss, reason = "no sheet has millions of rows")]
    let (column, row) = ((index % COLUMNS) as f32, (index / COLUMNS) as f32);
    (MARGIN + column * LABEL.0, MARGIN + row * LABEL.1)
}

/// The font size at which a text fits into a width.
fn fitted(text: &str, largest: f32, width: f32) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "a line has at most some dozens of letters")]
    let letters = text.len().max(1) as f32;
    largest.min(width / letters / LETTER)
}

fn qr(text: &str, x: f32, y: f32, side: f32) -> Result<Mark, Error> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)?;
    let width = code.width();
    let colors = code.to_colors();
    let mut runs = Vec::new();
    for (row, colors) in colors.chunks(width).enumerate() {
        let mut column = 0;
        for run in colors.chunk_by(|one, other| one == other) {
            if run[0] == Color::Dark {
                runs.push((column + QUIET, row + QUIET, run.len()));
            }
            column += run.len();
        }
    }
    Ok(Mark::Qr { x, y, side, modules: width + 2 * QUIET, runs })
}

/// The size of one module, millimetres.
#[expect(clippy::cast_precision_loss, reason = "a QR code has at most 177 modules")]
fn module(side: f32, modules: usize) -> f32 {
    side / modules as f32
}

fn svg_mark(svg: &mut String, mark: &Mark) -> std::fmt::Result {
    match mark {
        Mark::Text { x, y, size, text } => {
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\" xml:space=\"preserve\">{text}</text>")
        }
        Mark::Qr { x, y, side, modules, runs } => {
            let scale = module(*side, *modules);
            write!(svg, "<path transform=\"translate({x} {y}) scale({scale})\" shape-rendering=\"crispEdges\" d=\"")?;
            for (column, row, length) in runs {
                write!(svg, "M{column} {row}h{length}v1h-{length}z")?;
            }
            svg.push_str("\"/>\n");
            Ok(())
        }
    }
}

/// PDF coordinates start at the lower left corner.
#[expect(clippy::cast_precision_loss, reason = "a QR code has at most 177 modules")]
fn pdf_label(drawn: &mut Content, (left, top): (f32, f32), marks: &[Mark], font: Name<'_>) {
    drawn.save_state();
    drawn.transform([POINTS, 0.0, 0.0, POINTS, left * POINTS, (PAGE.1 - top) * POINTS]);
    drawn.set_stroke_gray(0.7).set_line_width(0.1).rect(0.0, -LABEL.1, LABEL.0, LABEL.1).stroke();
    for mark in marks {
        match mark {
            Mark::Text { x, y, size, text } => {
                drawn.begin_text().set_font(font, *size).next_line(*x, -y).show(Str(text.as_bytes())).end_text();
            }
            Mark::Qr { x, y, side, modules, runs } => {
                let scale = module(*side, *modules);
                drawn.save_state();
                drawn.transform([scale, 0.0, 0.0, -scale, *x, -y]);
                for (column, row, length) in runs {
                    drawn.rect(*column as f32, *row as f32, *length as f32, 1.0);
                }
                drawn.fill_nonzero().restore_state();
            }
        }
    }
    drawn.restore_state();
}

#[cfg(test)]
mod tests {
    use super::*;
    use provisioning_core::domain::Pairing;
    use provisioning_core::secret::{SecretBytes, SecretText};

    fn sheet(labels: usize, page: bool) -> Sheet {
        let mut sheet = Sheet::default();
        for index in 0..labels {
            let serial: Serial = format!("AZJN-{index:04}").parse().unwrap();
            let pairing = Pairing { code: SecretText::new("042137".into()), secret: SecretBytes::new([0xa5; 16]) };
            let label = Label { name: serial.node_id(), pairing, passphrase: SecretText::new("k7<m&x(y)\\z".into()), port: 8080 };
            sheet.add(&serial, &label, page).unwrap();
        }
        sheet
    }

    #[test]
    fn a_picture_has_every_label_with_what_is_typed() {
        let svg = String::from_utf8(sheet(13, false).content(Form::Svg)).unwrap();
        for expected in ["AZJN-0000", "AZJN-0012", "042 137", "k7&lt;m&amp;x(y)\\z"] {
            assert!(svg.contains(expected), "{expected}");
        }
        assert_eq!(svg.matches("<path").count(), 26);
    }

    #[test]
    fn a_label_with_the_page_code_has_three_codes_within_its_edges() {
        let sheet = sheet(1, true);
        let codes: Vec<_> = sheet.labels[0]
            .iter()
            .filter_map(|mark| match mark {
                Mark::Qr { x, y, side, modules, .. } => Some((*x, *y, *side, module(*side, *modules))),
                Mark::Text { .. } => None,
            })
            .collect();
        assert_eq!(codes.len(), 3);
        for (x, y, side, module) in codes {
            assert!(x >= 0.0 && x + side <= LABEL.0 && y >= 0.0 && y + side <= LABEL.1, "{x} {y}");
            assert!(module > 0.5, "{module} mm");
        }
        for mark in &sheet.labels[0] {
            if let Mark::Text { x, y, size, text } = mark {
                #[expect(clippy::cast_precision_loss, reason = "a line has at most some dozens of letters")]
                let end = x + size * LETTER * text.len() as f32;
                assert!(end <= LABEL.0 && *y < LABEL.1, "{text}");
            }
        }
    }

    #[test]
    fn a_document_has_twelve_labels_a_page() {
        let pdf = sheet(13, false).content(Form::Pdf);
        assert!(pdf.starts_with(b"%PDF-"));
        let text = String::from_utf8_lossy(&pdf);
        assert!(text.contains("/Count 2") && text.contains("(Serial AZJN-0012)"));
    }

    #[test]
    fn the_runs_of_a_code_are_its_dark_modules() {
        let code = QrCode::with_error_correction_level("JARVIS:1:test", EcLevel::M).unwrap();
        let Mark::Qr { modules, runs, .. } = qr("JARVIS:1:test", 0.0, 0.0, QR).unwrap() else { panic!("a code") };
        let mut dark = vec![false; modules * modules];
        for (column, row, length) in runs {
            dark[row * modules + column..][..length].fill(true);
        }
        for (index, color) in code.to_colors().into_iter().enumerate() {
            let (column, row) = (index % code.width() + QUIET, index / code.width() + QUIET);
            assert_eq!(dark[row * modules + column], color == Color::Dark);
        }
        assert_eq!(dark.iter().filter(|dark| **dark).count(), code.to_colors().iter().filter(|c| **c == Color::Dark).count());
    }

    #[test]
    fn the_longest_serial_can_be_read() {
        let width = LABEL.0 - 2.0 * EDGE;
        let size = fitted(&"A".repeat(71), TEXT, width);
        assert!(size * LETTER * 71.0 <= width + 0.01 && size > 1.5, "{size} mm");
    }
}
