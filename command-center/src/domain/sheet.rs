//! Sheets of labels: provision codes on paper, as PDF.

use pdf_writer::{Content, Name, Pdf, Rect, Ref, Str, TextStr};
use qrcode::{Color, EcLevel, QrCode};

use super::code::ProvisionCode;
use super::operator::NewCode;

/// The labels of a page.
const COLUMNS: usize = 3;
const ROWS: usize = 8;

/// The margin that printers cannot print on, millimetres.
const MARGIN: f32 = 8.0;

/// A QR code with its quiet zone, millimetres: more than three quarters of a millimetre per module, which every camera reads.
const QR: f32 = 28.0;

/// Modules of white around a QR code (ISO/IEC 18004, 5.3.8).
const QUIET: usize = 4;

/// The space between the texts and the right edge, millimetres.
const GAP: f32 = 1.5;

/// The width of a letter of the fixed-width fonts, relative to its size.
const LETTER: f32 = 0.6;

/// How many lines the name of a site has at most.
const LINES: usize = 3;

/// The size of the code, and of other texts, millimetres.
const LARGE: f32 = 4.4;
const SMALL: f32 = 2.1;

/// Points in a millimetre.
const POINTS: f32 = 72.0 / 25.4;

/// Every PDF reader has these fonts, so that no file has to contain them.
const FONTS: [(Name<'static>, Name<'static>); 2] = [(Name(b"T"), Name(b"Courier")), (Name(b"C"), Name(b"Courier-Bold"))];

/// The paper of a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paper {
    /// 210 × 297 mm.
    A4,
    /// US Letter, 8.5 × 11 inches.
    Letter,
}

impl Paper {
    /// Width and height, millimetres.
    const fn size(self) -> (f32, f32) {
        match self {
            Self::A4 => (210.0, 297.0),
            Self::Letter => (215.9, 279.4),
        }
    }

    /// Width and height of a label with its cutting lines, millimetres.
    #[expect(clippy::cast_precision_loss, reason = "a page has a few labels")]
    const fn label(self) -> (f32, f32) {
        let (width, height) = self.size();
        ((width - 2.0 * MARGIN) / COLUMNS as f32, (height - 2.0 * MARGIN) / ROWS as f32)
    }
}

/// Draws a label for each code, 24 on a page. The document is as secret as the codes.
pub fn sheet(paper: Paper, codes: &[NewCode]) -> Vec<u8> {
    let pages = codes.chunks(COLUMNS * ROWS).collect::<Vec<_>>();
    let number = |index: usize| Ref::new(i32::try_from(index).expect("a sheet has fewer than a billion pages"));
    let (catalog, tree, information, fonts) = (number(1), number(2), number(3), [number(4), number(5)]);
    let page_of = |index: usize| number(6 + 2 * index);
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree);
    pdf.document_info(information).title(TextStr("Provision codes"));
    let count = i32::try_from(pages.len()).expect("a sheet has fewer than a billion pages");
    pdf.pages(tree).kids((0..pages.len()).map(page_of)).count(count);
    for (font, (_, base)) in fonts.into_iter().zip(FONTS) {
        pdf.type1_font(font).base_font(base).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    let (width, height) = paper.size();
    for (index, codes) in pages.iter().enumerate() {
        let drawn = number(7 + 2 * index);
        let mut page = pdf.page(page_of(index));
        page.media_box(Rect::new(0.0, 0.0, width * POINTS, height * POINTS)).parent(tree).contents(drawn);
        page.resources().fonts().pairs(FONTS.map(|(name, _)| name).into_iter().zip(fonts));
        drop(page);
        let mut content = Content::new();
        // Millimetres from the upper left corner of the margins, with y upwards as everywhere in PDF.
        content.transform([POINTS, 0.0, 0.0, POINTS, MARGIN * POINTS, (height - MARGIN) * POINTS]);
        for (place, code) in codes.iter().enumerate() {
            draw(&mut content, paper.label(), place, code);
        }
        pdf.stream(drawn, &content.finish());
    }
    pdf.finish()
}

/// Draws one label: the QR code on the left, the texts on its right.
#[expect(clippy::cast_precision_loss, reason = "a page has a few labels")]
fn draw(content: &mut Content, (width, height): (f32, f32), place: usize, new: &NewCode) {
    let (column, row) = ((place % COLUMNS) as f32, (place / COLUMNS) as f32);
    content.save_state();
    content.transform([1.0, 0.0, 0.0, 1.0, column * width, -row * height]);
    content.set_stroke_gray(0.7).set_line_width(0.1).rect(0.0, -height, width, height).stroke();
    draw_qr(content, &new.code, (height - QR) / 2.0);
    let room = width - QR - GAP;
    let grouped = new.code.grouped();
    let (first, second) = grouped.split_at(grouped.len().div_ceil(2));
    let mut lines = [first, second].map(|half| (FONTS[1].0, LARGE, win_ansi(half))).to_vec();
    let site = new.site.as_deref().map(win_ansi).unwrap_or_default();
    lines.extend(wrapped(&site, letters(room, SMALL)).into_iter().map(|line| (FONTS[0].0, SMALL, line)));
    let expires_at = new.expires_at.zoned();
    for text in [format!("until {} UTC", expires_at[..16].replace('T', " ")), new.id.clone()] {
        lines.push((FONTS[0].0, SMALL, win_ansi(&text)));
    }
    let all = lines.iter().map(|(_, size, _)| size * 1.3).sum::<f32>();
    let mut y = -(height - all) / 2.0;
    for (font, size, line) in lines {
        let fitted = size.min(room / line.len().max(1) as f32 / LETTER);
        y -= size * 1.3;
        content.begin_text().set_font(font, fitted).next_line(QR, y + size * 0.4).show(Str(&line)).end_text();
    }
    content.restore_state();
}

/// Draws a QR code as rectangles, one for each run of dark modules in a row.
#[expect(clippy::cast_precision_loss, reason = "a QR code has at most 177 modules")]
fn draw_qr(content: &mut Content, code: &ProvisionCode, top: f32) {
    // Medium: a scratch or a drop of ink on a label may hide 15 % of it.
    let code = QrCode::with_error_correction_level(code.uri(), EcLevel::M).expect("a short text fits into a QR code");
    let modules = code.width();
    let scale = QR / (modules + 2 * QUIET) as f32;
    content.save_state();
    content.transform([scale, 0.0, 0.0, -scale, 0.0, -top]);
    for (row, colors) in code.to_colors().chunks(modules).enumerate() {
        let mut column = 0;
        for run in colors.chunk_by(|one, other| one == other) {
            if run[0] == Color::Dark {
                content.rect((column + QUIET) as f32, (row + QUIET) as f32, run.len() as f32, 1.0);
            }
            column += run.len();
        }
    }
    content.fill_nonzero().restore_state();
}

/// How many letters of a size fit into a width.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few dozen")]
fn letters(width: f32, size: f32) -> usize {
    (width / size / LETTER) as usize
}

/// A text in lines of at most `length` letters, broken at spaces where there are some. What does not fit ends with an ellipsis.
fn wrapped(text: &[u8], length: usize) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    let mut rest = text.trim_ascii();
    while rest.len() > length && lines.len() + 1 < LINES {
        let end = rest[..=length].iter().rposition(|letter| *letter == b' ').filter(|end| *end > 0).unwrap_or(length);
        lines.push(rest[..end].to_vec());
        rest = rest[end..].trim_ascii_start();
    }
    let mut last = rest[..rest.len().min(length)].to_vec();
    if rest.len() > length {
        last[length - 1] = ELLIPSIS;
    }
    if !last.is_empty() {
        lines.push(last);
    }
    lines
}

/// The ellipsis in Windows-1252.
const ELLIPSIS: u8 = 0x85;

/// The characters of Windows-1252 from 0x80 on that ISO 8859-1 does not have there, and spaces for bytes that are none.
const SPECIAL: &str = "€ ‚ƒ„…†‡ˆ‰Š‹Œ Ž  ‘’“”•–—˜™š›œ žŸ";

/// A text in Windows-1252, the encoding of the fonts, with `?` for what it does not have.
fn win_ansi(text: &str) -> Vec<u8> {
    let byte = |character: char| match character {
        ' '..='~' | '\u{a0}'..='\u{ff}' => u8::try_from(u32::from(character)).expect("below 256"),
        _ => SPECIAL.chars().zip(0x80..).find(|(special, _)| *special == character).map_or(b'?', |(_, byte)| byte),
    };
    text.chars().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Moment;

    fn code(number: usize, site: Option<&str>) -> NewCode {
        let code = ProvisionCode::parse(&format!("ABCD1234EFGH{number:04}")).unwrap();
        NewCode { code, id: format!("{number:016x}"), expires_at: Moment(1_767_540_600_000), site: site.map(Into::into) }
    }

    /// The numbers before an operator in a content stream.
    fn operands<const N: usize>(line: &str, operator: &str) -> Option<[f32; N]> {
        let numbers = line.strip_suffix(operator)?.split_ascii_whitespace();
        numbers.map(|number| number.parse().ok()).collect::<Option<Vec<_>>>()?.try_into().ok()
    }

    /// The rectangles of each QR code of a document, in modules.
    fn qr_codes(pdf: &str) -> Vec<Vec<[f32; 4]>> {
        let mut codes = Vec::new();
        let mut rectangles = Vec::new();
        for line in pdf.lines() {
            rectangles.extend(operands::<4>(line, " re"));
            match line {
                // The cutting lines.
                "S" => rectangles.clear(),
                "f" => codes.push(std::mem::take(&mut rectangles)),
                _ => {}
            }
        }
        codes
    }

    /// Reads a QR code as a camera would.
    fn scan(rectangles: &[[f32; 4]]) -> String {
        const PIXELS: usize = 4;
        let side = (25 + 2 * QUIET) * PIXELS;
        let is_dark = |x: usize, y: usize| {
            #[expect(clippy::cast_precision_loss, reason = "a picture has a few hundred pixels")]
            let (x, y) = ((x as f32 + 0.5) / PIXELS as f32, (y as f32 + 0.5) / PIXELS as f32);
            rectangles
                .iter()
                .any(|[left, top, width, height]| (*left..left + width).contains(&x) && (*top..top + height).contains(&y))
        };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, |x, y| if is_dark(x, y) { 0 } else { 255 });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_label_can_be_scanned_and_read() {
        let codes = [code(1, Some("Clínica (Norte) \\ 1")), code(2, None)];
        let pdf = sheet(Paper::A4, &codes);
        let text = pdf.iter().map(|byte| char::from(*byte)).collect::<String>();
        let scanned = qr_codes(&text).iter().map(|rectangles| scan(rectangles)).collect::<Vec<_>>();
        assert_eq!(scanned, codes.map(|new| new.code.uri()));
        for shown in
            ["(ABCD-1234-) Tj", "(EFGH-0001) Tj", "(EFGH-0002) Tj", "(until 2026-01-04 15:30 UTC) Tj", "(0000000000000001) Tj"]
        {
            assert!(text.contains(shown), "{shown} in {text}");
        }
        let site = win_ansi("Clínica (Norte) \\ 1").iter().map(|byte| format!("{byte:02X}")).collect::<String>();
        assert!(text.contains(&format!("<{site}> Tj")), "{site} in {text}");
    }

    #[test]
    fn a_page_has_24_labels() {
        let codes = (0..25).map(|number| code(number, Some("North"))).collect::<Vec<_>>();
        for (paper, size) in [(Paper::A4, "/MediaBox [0 0 595.2"), (Paper::Letter, "/MediaBox [0 0 61")] {
            for (count, pages) in [(24, 1), (25, 2)] {
                let pdf = sheet(paper, &codes[..count]);
                let text = String::from_utf8_lossy(&pdf);
                assert!(text.contains(&format!("/Count {pages}\n")) && text.contains(size), "{text}");
                assert_eq!(qr_codes(&text).len(), count);
            }
        }
    }

    #[test]
    fn a_code_fits_into_a_label_of_each_paper() {
        for paper in [Paper::A4, Paper::Letter] {
            let (width, height) = paper.label();
            assert!(height >= QR && letters(width - QR - GAP, LARGE) >= 10, "{paper:?}");
            let lines = 1.3 * (2.0 * LARGE + 5.0 * SMALL);
            assert!(lines <= height, "{paper:?}: {lines} of {height} mm");
        }
    }

    #[test]
    fn a_long_name_is_broken_and_cut() {
        let lines = |text: &str| {
            wrapped(text.as_bytes(), 10).iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(lines(""), Vec::<String>::new());
        assert_eq!(lines("North"), ["North"]);
        assert_eq!(lines("North Clinic West"), ["North", "Clinic", "West"]);
        assert_eq!(lines("Northernmost"), ["Northernmo", "st"]);
        assert_eq!(lines("exactly 10 letters"), ["exactly 10", "letters"]);
        let cut = wrapped(&[b'x'; 200], 10);
        assert_eq!((cut.len(), cut[2].len(), cut[2][9]), (3, 10, ELLIPSIS));
    }

    #[test]
    fn characters_that_the_fonts_do_not_have_are_question_marks() {
        assert_eq!(win_ansi("a~é€–Ž北\t\u{81}"), [b'a', b'~', 0xe9, 0x80, 0x96, 0x8e, b'?', b'?', b'?']);
        assert_eq!(SPECIAL.chars().count(), 32);
    }
}
