//! A QR code for a terminal, as SVG and as PNG.
//!
//! The library makes the modules; drawing them is little enough to be done here. Dark on light everywhere,
//! with the quiet zone of four modules that readers need (ISO/IEC 18004, 6.3.8). Not here: what is in it.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use flate2::Compression;
use flate2::Crc;
use flate2::write::ZlibEncoder;
use qrcode::{Color, EcLevel, QrCode, types::QrError};

/// Modules of light around the code.
const QUIET: usize = 4;

/// Pixels of a module's side in the PNG: 500 to 700 pixels in all, a hand's breadth on a screen.
const PIXELS: usize = 10;

/// Black on white whatever the terminal's colours are: an inverted code is not read by every phone.
const COLOURS: &str = "\u{1b}[38;5;16;48;5;231m";
const NO_COLOURS: &str = "\u{1b}[0m";

/// The modules of a code, with its quiet zone.
#[derive(Debug)]
pub(crate) struct Qr {
    side: usize,
    dark: Vec<bool>,
}

impl Qr {
    /// Makes the code of a text; 15 % of it may be unreadable.
    pub(crate) fn of(text: &str) -> Result<Self, QrError> {
        let code = QrCode::with_error_correction_level(text, EcLevel::M)?;
        let (inner, colours) = (code.width(), code.to_colors());
        let side = inner + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for (at, _) in colours
            .iter()
            .enumerate()
            .filter(|(_, colour)| **colour == Color::Dark)
        {
            dark[(at / inner + QUIET) * side + at % inner + QUIET] = true;
        }
        Ok(Self { side, dark })
    }

    fn is_dark(&self, row: usize, column: usize) -> bool {
        self.dark
            .get(row * self.side + column)
            .copied()
            .unwrap_or(false)
    }

    /// Draws it in half-height blocks, two modules a character.
    pub(crate) fn to_terminal(&self) -> String {
        let mut text = String::new();
        for row in (0..self.side).step_by(2) {
            text.push_str(COLOURS);
            for column in 0..self.side {
                let pair = (self.is_dark(row, column), self.is_dark(row + 1, column));
                text.push(match pair {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            text.push_str(NO_COLOURS);
            text.push('\n');
        }
        text
    }

    /// Draws it as SVG.
    pub(crate) fn to_svg(&self) -> String {
        let mut path = String::new();
        for row in 0..self.side {
            for column in (0..self.side).filter(|column| self.is_dark(row, *column)) {
                let _ = write!(path, "M{column} {row}h1v1h-1z");
            }
        }
        let side = self.side;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" \
             shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/>\
             <path d=\"{path}\"/></svg>\n"
        )
    }

    /// Draws it as PNG (ISO/IEC 15948): one bit a pixel, 1 is light.
    pub(crate) fn to_png(&self) -> io::Result<Vec<u8>> {
        let side = self.side * PIXELS;
        let mut lines = ZlibEncoder::new(Vec::new(), Compression::best());
        for row in 0..self.side {
            let mut line = vec![0; 1 + side.div_ceil(8)];
            for pixel in (0..side).filter(|pixel| !self.is_dark(row, pixel / PIXELS)) {
                line[1 + pixel / 8] |= 0x80 >> (pixel % 8);
            }
            for _ in 0..PIXELS {
                lines.write_all(&line)?;
            }
        }
        let side = u32::try_from(side).map_err(io::Error::other)?.to_be_bytes();
        let mut header = [side, side].concat();
        header.extend_from_slice(&[1, 0, 0, 0, 0]); // one bit, grey, and the only methods there are
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in [
            (b"IHDR", header),
            (b"IDAT", lines.finish()?),
            (b"IEND", vec![]),
        ] {
            let length = u32::try_from(data.len()).map_err(io::Error::other)?;
            png.extend_from_slice(&length.to_be_bytes());
            let chunk = [kind.as_slice(), &data].concat();
            let mut sum = Crc::new();
            sum.update(&chunk);
            png.extend_from_slice(&chunk);
            png.extend_from_slice(&sum.sum().to_be_bytes());
        }
        Ok(png)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As long as an invitation may be, of the characters it has.
    fn longest() -> String {
        format!("GRIDBEAT:{}", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".repeat(10))
            .chars()
            .take(300)
            .collect()
    }

    fn read(side: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        let grey = |x, y| if is_dark(y, x) { 0 } else { 255 };
        let mut image = rqrr::PreparedImage::prepare_from_greyscale(side, side, grey);
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_camera_reads_the_longest_invitation_from_what_is_drawn() {
        let text = longest();
        let qr = Qr::of(&text).unwrap();
        assert_eq!(qr.side, 57 + 2 * QUIET, "version 10");
        let drawn = qr.to_terminal();
        let lines: Vec<Vec<char>> = drawn
            .lines()
            .map(|line| {
                line[COLOURS.len()..line.len() - NO_COLOURS.len()]
                    .chars()
                    .collect()
            })
            .collect();
        let scale = 4;
        let of_terminal = |y: usize, x: usize| {
            let (row, column) = (y / scale, x / scale);
            let dark = if row % 2 == 0 {
                ['█', '▀']
            } else {
                ['█', '▄']
            };
            dark.contains(&lines[row / 2][column])
        };
        assert_eq!(read(qr.side * scale, of_terminal), text);
    }

    #[test]
    fn a_png_and_an_svg_have_the_same_modules() {
        let text = longest();
        let qr = Qr::of(&text).unwrap();
        let png = qr.to_png().unwrap();
        assert_eq!(&png[12..16], b"IHDR");
        let side = qr.side * PIXELS;
        let data = 8 + 25;
        let length = u32::from_be_bytes(png[data..data + 4].try_into().unwrap());
        let data = &png[data + 8..data + 8 + usize::try_from(length).unwrap()];
        let mut lines = Vec::new();
        let mut inflate = flate2::write::ZlibDecoder::new(&mut lines);
        inflate.write_all(data).unwrap();
        inflate.finish().unwrap();
        let stride = 1 + side.div_ceil(8);
        assert_eq!(lines.len(), side * stride);
        let of_png = |y: usize, x: usize| lines[y * stride + 1 + x / 8] & (0x80 >> (x % 8)) == 0;
        assert_eq!(read(side, of_png), text);
        let dark = qr.dark.iter().filter(|dark| **dark).count();
        assert_eq!(qr.to_svg().matches("h1v1h-1z").count(), dark);
    }
}
