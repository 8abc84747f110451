//! The label of a device for a terminal and for a printer: pairing code, access point, and QR codes.

use std::fmt::Write as _;
use std::io::{self, Write};

use embedded_graphics::Drawable;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::MonoTextStyle;
use embedded_graphics::mono_font::ascii::{FONT_9X18_BOLD, FONT_10X20};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::Text;
use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use thiserror::Error;

use provisioning_core::domain::Pairing;
use provisioning_core::espressif::User;
use provisioning_core::secret::{SecretBytes, SecretText};

/// Modules of white around a QR code (ISO/IEC 18004, 5.3.8).
const QUIET: u32 = 4;
/// Pixels of one module on the printed label: a third of a millimetre at 300 dots per inch.
const MODULE: u32 = 7;
/// Pixels between a QR code and the text beside it.
const GAP: u32 = 20;
/// Pixels of the font from one title to the next.
const ROW: u32 = 48;
/// Enlargement of the font's pixels on the printed label.
const SCALE: u32 = 2;

/// Why a label could not be drawn or written.
#[derive(Debug, Error)]
pub enum Error {
    /// The text does not fit into a QR code.
    #[error("encoding a QR code")]
    Qr(#[from] qrcode::types::QrError),
    /// The image could not be encoded or written.
    #[error("writing the image")]
    Png(#[from] png::EncodingError),
    /// Writing to the terminal or file failed.
    #[error("writing the label")]
    Write(#[from] io::Error),
}

/// The content of one node's label.
#[derive(Debug)]
pub struct Label {
    /// The advertised name and the access point's SSID.
    pub name: String,
    /// The pairing secrets.
    pub pairing: Pairing,
    /// The access point's passphrase.
    pub passphrase: SecretText,
    /// The port of the HTTP API, which serves the setup page.
    pub port: u16,
}

/// The QR codes that a label has only if they are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// The setup page's, for phones in the access point.
    pub page: bool,
    /// That of Espressif's apps.
    pub espressif: bool,
}

impl Label {
    /// The six digits in two groups, for readability.
    pub fn code(&self) -> String {
        let code = self.pairing.code.expose();
        code.split_at_checked(3).map_or_else(|| code.to_owned(), |(first, second)| format!("{first} {second}"))
    }

    /// The text of the pairing QR code.
    pub fn pairing_text(&self) -> String {
        pairing_text(&self.name, &self.pairing.secret)
    }

    /// The text of the Wi-Fi QR code, with which a phone's camera joins the access point. Reserved characters are escaped.
    pub fn wifi_text(&self) -> String {
        let escape = |text: &str| {
            text.chars().fold(String::new(), |mut escaped, letter| {
                if matches!(letter, '\\' | ';' | ',' | ':' | '"') {
                    escaped.push('\\');
                }
                escaped.push(letter);
                escaped
            })
        };
        format!("WIFI:T:WPA;S:{};P:{};;", escape(&self.name), escape(self.passphrase.expose()))
    }

    /// The text of the QR code for Espressif's apps over Bluetooth. Its user name stands for the 128-bit secret, whose use is no
    /// guess. Name and secret need no escape in JSON.
    pub fn espressif_text(&self) -> String {
        let (user, password) = (User::Qr.name(), User::Qr.password(&self.pairing));
        format!(
            r#"{{"ver":"v1","name":"{}","username":"{}","pop":"{}","transport":"ble","security":2}}"#,
            self.name,
            String::from_utf8_lossy(user),
            *password
        )
    }

    /// The text of the page QR code, with which a phone in the access point opens the setup page. The code is in the fragment, which
    /// browsers do not send.
    pub fn page_text(&self) -> String {
        format!("{}#code={}", self.page(), self.pairing.code.expose())
    }

    /// The setup page in the access point, unless a network of the device overlaps the usual one.
    fn page(&self) -> String {
        format!("http://192.168.4.1:{}/", self.port)
    }

    /// Writes the label for a terminal: half a character cell per module.
    pub fn print(&self, extras: Extras, out: &mut impl Write) -> Result<(), Error> {
        writeln!(out, "Device        {}", self.name)?;
        writeln!(out, "Pairing code  {}", self.code())?;
        writeln!(out, "Access point  {}   password  {}", self.name, self.passphrase.expose())?;
        writeln!(out, "\nScan to pair:\n{}", terminal(&self.pairing_text())?)?;
        writeln!(out, "\nScan to join the access point:\n{}", terminal(&self.wifi_text())?)?;
        if extras.page {
            writeln!(out, "\nScan in the access point to open the setup page:\n{}", terminal(&self.page_text())?)?;
        }
        if extras.espressif {
            writeln!(out, "\nScan with an app of Espressif's:\n{}", terminal(&self.espressif_text())?)?;
        }
        Ok(())
    }

    /// Writes the label for a printer: a PNG in black and white, to be printed at 300 dots per inch.
    pub fn png(&self, extras: Extras, out: impl Write) -> Result<(), Error> {
        let canvas = self.draw(extras)?;
        let mut encoder = png::Encoder::new(out, canvas.size.width, canvas.size.height);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Eight);
        // 300 dots per inch, in pixels per metre.
        encoder.set_pixel_dims(Some(png::PixelDimensions { xppu: 11_811, yppu: 11_811, unit: png::Unit::Meter }));
        encoder.write_header()?.write_image_data(&canvas.pixels)?;
        Ok(())
    }

    fn draw(&self, extras: Extras) -> Result<Canvas, Error> {
        let code = |text: String| QrCode::with_error_correction_level(text, EcLevel::M);
        let pair = code(self.pairing_text())?;
        let mut lines = vec![
            ("1  Scan or type to pair".to_owned(), self.name.clone()),
            ("Pairing code".to_owned(), self.code()),
            ("2  No Bluetooth? Join".to_owned(), self.name.clone()),
            ("Password".to_owned(), self.passphrase.expose().to_owned()),
        ];
        // From left to right, in the order of their numbers.
        let mut others = vec![code(self.wifi_text())?];
        if extras.page {
            others.push(code(self.page_text())?);
            lines.push((format!("{}  No app? Then open", others.len() + 1), self.page()));
        }
        if extras.espressif {
            others.push(code(self.espressif_text())?);
            lines.push((format!("{}  Or scan with", others.len() + 1), "Espressif's app".to_owned()));
        }
        let longest = lines.iter().map(|(title, value)| title.len().max(value.len())).max().unwrap_or_default();
        let text_width = u32::try_from(longest).expect("a label's line is short") * FONT_10X20.character_size.width * SCALE;
        let rows = u32::try_from(lines.len()).expect("a label has few lines");
        let height = others.iter().map(side).fold(side(&pair).max(ROW * SCALE * rows), u32::max);
        let mut right = side(&pair) + GAP + text_width + GAP;
        let mut canvas = Canvas::white(Size::new(right + others.iter().map(side).sum::<u32>(), height));
        canvas.qr(&pair, 0);
        for other in &others {
            canvas.qr(other, right);
            right += side(other);
        }
        let left = (side(&pair) + GAP) / SCALE;
        let row = height / SCALE / rows;
        for (top, (title, value)) in (0..).map(|index| index * row).zip(&lines) {
            canvas.text(title, left, top + row / 2 - 5, MonoTextStyle::new(&FONT_9X18_BOLD, BinaryColor::On));
            canvas.text(value, left, top + row / 2 + 15, MonoTextStyle::new(&FONT_10X20, BinaryColor::On));
        }
        Ok(canvas)
    }
}

/// The text of the pairing QR code of a node: `JARVIS:1:`, its name, and the 128-bit secret in hexadecimal.
pub fn pairing_text(name: &str, secret: &SecretBytes<16>) -> String {
    let mut text = format!("JARVIS:1:{name}:");
    for byte in secret.expose() {
        write!(text, "{byte:02X}").expect("writing to memory");
    }
    text
}

fn terminal(text: &str) -> Result<String, Error> {
    Ok(QrCode::new(text)?.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// Pixels of a QR code with its quiet zone.
fn side(code: &QrCode) -> u32 {
    (u32::try_from(code.width()).expect("a QR code has at most 177 modules") + 2 * QUIET) * MODULE
}

/// An image, one byte per pixel.
struct Canvas {
    size: Size,
    pixels: Vec<u8>,
}

impl Canvas {
    fn white(size: Size) -> Self {
        Self { size, pixels: vec![0xff; size.width as usize * size.height as usize] }
    }

    fn black(&mut self, left: u32, top: u32, side: u32) {
        for y in top..(top + side).min(self.size.height) {
            let row = y as usize * self.size.width as usize;
            let right = (left + side).min(self.size.width);
            if left < right {
                self.pixels[row + left as usize..row + right as usize].fill(0);
            }
        }
    }

    fn qr(&mut self, code: &QrCode, left: u32) {
        let width = u32::try_from(code.width()).expect("a QR code has at most 177 modules");
        let top = (self.size.height - side(code)) / 2;
        for (index, color) in (0..).zip(code.to_colors()) {
            if color == qrcode::Color::Dark {
                let (x, y) = (index % width + QUIET, index / width + QUIET);
                self.black(left + x * MODULE, top + y * MODULE, MODULE);
            }
        }
    }

    /// Draws a line of text; coordinates are in pixels of the font.
    fn text(&mut self, text: &str, left: u32, baseline: u32, style: MonoTextStyle<'_, BinaryColor>) {
        let at = Point::new(left.cast_signed(), baseline.cast_signed());
        let Ok(_end) = Text::new(text, at, style).draw(self);
    }
}

/// Enlarges the text's pixels, and cuts off pixels outside the image.
impl DrawTarget for Canvas {
    type Color = BinaryColor;
    type Error = core::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = embedded_graphics::Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Self::Error> {
        for embedded_graphics::Pixel(point, color) in pixels {
            if let (BinaryColor::On, Ok(x), Ok(y)) = (color, u32::try_from(point.x), u32::try_from(point.y)) {
                self.black(x * SCALE, y * SCALE, SCALE);
            }
        }
        Ok(())
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.size.width / SCALE, self.size.height / SCALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> Label {
        let pairing = Pairing { code: SecretText::new("042137".into()), secret: SecretBytes::new([0xa5; 16]) };
        Label { name: "jarvis-5b91b661".into(), pairing, passphrase: SecretText::new("k7:m\\;x".into()), port: 8080 }
    }

    #[test]
    fn the_codes_say_what_phones_read() {
        assert_eq!(label().pairing_text(), format!("JARVIS:1:jarvis-5b91b661:{}", "A5".repeat(16)));
        assert_eq!(label().wifi_text(), "WIFI:T:WPA;S:jarvis-5b91b661;P:k7\\:m\\\\\\;x;;");
        assert_eq!(label().page_text(), "http://192.168.4.1:8080/#code=042137");
        assert_eq!(Label { port: 80, ..label() }.page_text(), "http://192.168.4.1:80/#code=042137");
        assert_eq!(label().code(), "042 137");
        let espressif: serde_json::Value = serde_json::from_str(&label().espressif_text()).expect("JSON");
        assert_eq!((&espressif["name"], &espressif["ver"]), (&"jarvis-5b91b661".into(), &"v1".into()));
        assert_eq!((&espressif["username"], &espressif["pop"]), (&"wifiprov-qr".into(), &"a5".repeat(16).into()));
    }

    #[test]
    fn the_terminal_shows_the_code_and_the_password() {
        let mut shown = Vec::new();
        label().print(Extras { page: true, espressif: true }, &mut shown).expect("writing to memory");
        let shown = String::from_utf8(shown).expect("text");
        assert!(shown.contains("042 137") && shown.contains("k7:m\\;x") && shown.contains("setup page"));
        assert!(shown.contains("Espressif"));
    }

    /// Whether the picture ends, on its right, with the QR code of that text.
    fn ends_with(canvas: &Canvas, text: String) -> bool {
        let code = QrCode::with_error_correction_level(text, EcLevel::M).expect("a QR code");
        has(canvas, &code, canvas.size.width - side(&code))
    }

    /// Whether the picture has a QR code at that place.
    fn has(canvas: &Canvas, code: &QrCode, left: u32) -> bool {
        let width = u32::try_from(code.width()).expect("few modules");
        let top = (canvas.size.height - side(code)) / 2;
        (0..).zip(code.to_colors()).all(|(index, color)| {
            let x = left + (index % width + QUIET) * MODULE + MODULE / 2;
            let y = top + (index / width + QUIET) * MODULE + MODULE / 2;
            let dark = canvas.pixels[(y * canvas.size.width + x) as usize] == 0;
            dark == (color == qrcode::Color::Dark)
        })
    }

    #[test]
    fn the_picture_has_more_codes_if_they_are_wanted() {
        let draw = |page, espressif| label().draw(Extras { page, espressif }).expect("a label");
        assert!(ends_with(&draw(false, false), label().wifi_text()));
        assert!(ends_with(&draw(true, false), label().page_text()));
        assert!(ends_with(&draw(false, true), label().espressif_text()));
        let both = draw(true, true);
        assert!(ends_with(&both, label().espressif_text()));
        assert!(both.size.width > draw(false, true).size.width);
    }

    #[test]
    fn the_picture_begins_with_the_pairing_code() {
        let canvas = label().draw(Extras::default()).expect("a label");
        let pair = QrCode::with_error_correction_level(label().pairing_text(), EcLevel::M).expect("a QR code");
        assert!(has(&canvas, &pair, 0));
    }
}
