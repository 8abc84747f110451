//! QR codes as PNG images and for terminals.

use png::{BitDepth, ColorType, Encoder};
use qrcode::render::unicode::Dense1x2;
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// A short text as a QR code for a dark terminal, two modules in a character.
pub fn qr_text(text: &str) -> Zeroizing<String> {
    let code = QrCode::new(text).expect("a short text fits into a QR code");
    Zeroizing::new(code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// Pixels per module: a label of two centimetres prints sharply.
const SCALE: usize = 8;

/// Modules of white around the code (ISO/IEC 18004 asks for four).
const QUIET: usize = 4;

/// A text of at most a hundred characters as a QR code in a PNG image, black on white.
pub fn qr_png(text: &str) -> Vec<u8> {
    // Medium: a scratch or a drop of ink on a label may hide 15 % of it.
    let code = QrCode::with_error_correction_level(text, EcLevel::M).expect("a short text fits into a QR code");
    let modules = code.width();
    let side = (modules + 2 * QUIET) * SCALE;
    let mut pixels = Vec::with_capacity(side * side);
    for y in 0..side {
        for x in 0..side {
            let module = |pixel: usize| (pixel / SCALE).checked_sub(QUIET).filter(|module| *module < modules);
            let is_dark = match (module(x), module(y)) {
                (Some(x), Some(y)) => code[(x, y)] == Color::Dark,
                _ => false,
            };
            pixels.push(if is_dark { 0_u8 } else { 255 });
        }
    }
    let mut image = Vec::new();
    let side = u32::try_from(side).expect("a QR code has at most 177 modules");
    let mut encoder = Encoder::new(&mut image, side, side);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::Eight);
    let mut writer = encoder.write_header().expect("writing to memory cannot fail");
    writer.write_image_data(&pixels).expect("the pixels fill the image");
    writer.finish().expect("writing to memory cannot fail");
    image
}
