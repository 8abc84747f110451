//! A provision code in a picture.

use std::io::{BufReader, Read, Seek};

use png::{ColorType, Decoder, Limits, Transformations};
use rqrr::PreparedImage;
use thiserror::Error;
use zeroize::Zeroizing;

use provisioning_core::domain::ProvisionCode;

/// Maximum size of a decoded picture, bytes: a scan of a page at 300 dots per inch, in colour.
const LARGEST: usize = 64 * 1024 * 1024;

/// Why a picture contains no usable code.
#[derive(Debug, Error)]
pub enum Error {
    /// It is not a PNG file, or damaged, or too large.
    #[error("reading the picture, which must be a PNG file of at most {} MB", LARGEST / 1024 / 1024)]
    Picture(#[source] png::DecodingError),
    /// It contains no readable QR code.
    #[error("there is no QR code in the picture, or it is too blurred")]
    NoQrCode,
    /// It contains a QR code for something else.
    #[error("the QR code in the picture is not that of a provision code")]
    OtherQrCode,
}

/// Finds a QR code with `osiris://` and a provision code.
pub fn read(picture: impl Read + Seek) -> Result<ProvisionCode, Error> {
    let (width, height, brightness) = grey(picture).map_err(Error::Picture)?;
    let mut image = PreparedImage::prepare_from_greyscale(width, height, |x, y| brightness[y * width + x]);
    let mut found = Error::NoQrCode;
    for grid in image.detect_grids() {
        let Ok((_, text)) = grid.decode() else { continue };
        let text = Zeroizing::new(text);
        match ProvisionCode::try_from(text.as_str()) {
            Ok(code) => return Ok(code),
            Err(_) => found = Error::OtherQrCode,
        }
    }
    Err(found)
}

/// Width, height, and the brightness of each pixel, row by row. Transparent pixels are blended with white.
fn grey(picture: impl Read + Seek) -> Result<(usize, usize, Zeroizing<Vec<u8>>), png::DecodingError> {
    let mut decoder = Decoder::new_with_limits(BufReader::new(picture), Limits { bytes: LARGEST });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let size = reader.output_buffer_size().filter(|size| *size <= LARGEST).ok_or(png::DecodingError::LimitsExceeded)?;
    let mut dots = Zeroizing::new(vec![0; size]);
    let frame = reader.next_frame(&mut dots)?;
    let on_white = |brightness: u8, opacity: u8| {
        let (brightness, opacity) = (u16::from(brightness), u16::from(opacity));
        u8::try_from((brightness * opacity + 255 * (255 - opacity)) / 255).expect("a mean of bytes is a byte")
    };
    // Red, green and blue have the same weight: a printed code differs from its background in brightness.
    let mean = |colour: &[u8]| {
        let sum: u16 = colour.iter().map(|part| u16::from(*part)).sum();
        u8::try_from(sum / 3).expect("a mean of bytes is a byte")
    };
    let dots = &dots[..frame.buffer_size()];
    let brightness = match frame.color_type {
        ColorType::Grayscale | ColorType::Indexed => dots.to_vec(),
        ColorType::GrayscaleAlpha => dots.chunks_exact(2).map(|dot| on_white(dot[0], dot[1])).collect(),
        ColorType::Rgb => dots.chunks_exact(3).map(mean).collect(),
        ColorType::Rgba => dots.chunks_exact(4).map(|dot| on_white(mean(&dot[..3]), dot[3])).collect(),
    };
    let length = |side: u32| usize::try_from(side).expect("the sides of a picture that fits into memory fit into usize");
    Ok((length(frame.width), length(frame.height), Zeroizing::new(brightness)))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use png::{BitDepth, Encoder};
    use qrcode::{Color, QrCode};

    use super::*;

    /// Pixels per module.
    const SCALE: usize = 6;
    /// Width of the quiet zone, modules.
    const QUIET: usize = 4;

    /// Draws a QR code; `dot` returns the bytes of a dark or a light pixel in the colour type.
    fn picture(text: &str, kind: ColorType, dot: impl Fn(bool) -> Vec<u8>) -> Cursor<Vec<u8>> {
        let code = QrCode::new(text).unwrap();
        let side = (code.width() + 2 * QUIET) * SCALE;
        let is_dark = |x: usize, y: usize| {
            let module = |dot: usize| (dot / SCALE).checked_sub(QUIET).filter(|module| *module < code.width());
            matches!((module(x), module(y)), (Some(x), Some(y)) if code[(x, y)] == Color::Dark)
        };
        let dots: Vec<u8> = (0..side * side).flat_map(|place| dot(is_dark(place % side, place / side))).collect();
        let mut file = Vec::new();
        let side = u32::try_from(side).unwrap();
        let mut encoder = Encoder::new(&mut file, side, side);
        encoder.set_color(kind);
        encoder.set_depth(BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(&dots).unwrap();
        Cursor::new(file)
    }

    fn black(is_dark: bool) -> Vec<u8> {
        vec![if is_dark { 0 } else { 255 }]
    }

    #[test]
    fn a_code_is_read_from_every_kind_of_picture() {
        let text = "osiris://ABCD1234EFGH5678";
        for picture in [
            picture(text, ColorType::Grayscale, black),
            picture(text, ColorType::GrayscaleAlpha, |is_dark| vec![0, if is_dark { 255 } else { 0 }]),
            picture(text, ColorType::Rgb, |is_dark| if is_dark { vec![0, 0, 90] } else { vec![255, 255, 200] }),
            picture(text, ColorType::Rgba, |is_dark| vec![0, 40, 0, if is_dark { 255 } else { 0 }]),
        ] {
            assert_eq!(read(picture).unwrap().expose(), "ABCD1234EFGH5678");
        }
    }

    #[test]
    fn a_qr_code_of_something_else_differs_from_none() {
        let other = picture("WIFI:T:WPA;S:home;P:hunter22;;", ColorType::Grayscale, black);
        assert!(matches!(read(other), Err(Error::OtherQrCode)));
        let mut white = Vec::new();
        let mut encoder = Encoder::new(&mut white, 60, 60);
        encoder.set_color(ColorType::Grayscale);
        encoder.set_depth(BitDepth::Eight);
        encoder.write_header().unwrap().write_image_data(&[255; 3600]).unwrap();
        assert!(matches!(read(Cursor::new(white)), Err(Error::NoQrCode)));
    }

    #[test]
    fn invalid_pictures_are_refused() {
        let whole = picture("osiris://ABCD1234EFGH5678", ColorType::Grayscale, black).into_inner();
        for wrong in [&b""[..], b"\xff\xd8\xff\xe0 a photo", b"osiris://ABCD1234EFGH5678", &whole[..whole.len() / 2]] {
            assert!(matches!(read(Cursor::new(wrong)), Err(Error::Picture(_))));
        }
    }

    #[test]
    fn a_picture_that_would_fill_the_memory_is_refused() {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 1_000_000, 1_000_000);
        encoder.set_color(ColorType::Rgba);
        encoder.set_depth(BitDepth::Eight);
        // The header alone suffices: a picture of the announced size is never decoded.
        drop(encoder.write_header().unwrap());
        assert!(matches!(read(Cursor::new(file)), Err(Error::Picture(_))));
    }
}
