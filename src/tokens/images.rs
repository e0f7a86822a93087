//! What an image costs: by its size in pixels and the model's way of cutting it up.
//!
//! The size is read from the header of the picture inside its data URL; the rest of the base64 is never decoded. Behind
//! any other URL the size is unknown, and a flat default stands in.

use super::json::Json;
use super::model::{Generation, Model, after_gpt};

/// Stands in for an image whose size is unknown: two tiles, the middle of what images behind URLs cost.
const UNKNOWN_SIZE: Size = Size {
    width: 768,
    height: 512,
};
/// Stands in for a file or a sound: a page or two, the middle of the few that were recorded.
pub(super) const FILE_TOKENS: u64 = 425;

/// Longest side the service looks at, in pixels.
const MAX_SIDE: f64 = 2048.0;
/// Shortest side after shrinking, in pixels.
const SHORT_SIDE: f64 = 768.0;
/// Side of a tile, in pixels.
const TILE: f64 = 512.0;
/// Side of a patch, in pixels.
const PATCH: u64 = 32;
/// Most patches an image is cut into.
const MAX_PATCHES: u64 = 1536;

/// How a model charges images.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pricing {
    /// A base, and so much for each tile of 512 pixels.
    Tiles { base: u64, tile: u64 },
    /// Patches of 32 pixels, times a factor.
    Patches { factor: f64 },
}

impl Pricing {
    fn of(model: &Model) -> Self {
        if model.name.starts_with("o4-mini") {
            return Self::Patches { factor: 1.72 };
        }
        let version = after_gpt(&model.name).unwrap_or("");
        let is_size = |size: &str| version.contains(size);
        let is_4o = version.starts_with("4o");
        match model.generation {
            Generation::EarlyReasoning | Generation::OSeries => Self::Tiles {
                base: 75,
                tile: 150,
            },
            Generation::Gpt5 if is_size("mini") => Self::Patches { factor: 1.20 },
            Generation::Gpt5 if is_size("nano") => Self::Patches { factor: 1.50 },
            Generation::Gpt5 => Self::Tiles {
                base: 70,
                tile: 140,
            },
            Generation::Classic if is_4o && is_size("mini") => Self::Tiles {
                base: 2833,
                tile: 5667,
            },
            Generation::Classic if is_size("mini") => Self::Patches { factor: 1.62 },
            Generation::Classic if is_size("nano") => Self::Patches { factor: 2.46 },
            Generation::Classic => Self::Tiles {
                base: 85,
                tile: 170,
            },
        }
    }

    /// Charges an image of this size.
    fn charge(self, size: Size) -> u64 {
        match self {
            Self::Tiles { base, tile } => base + tile * tiles(size),
            // In floating point as the service does it: 300 patches times 1.62 round up to 487.
            Self::Patches { factor } => (patches(size) as f64 * factor).ceil() as u64 + 1,
        }
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

/// Returns what an image costs whose size is unknown.
pub(super) fn unknown_tokens(model: &Model) -> u64 {
    Pricing::of(model).charge(UNKNOWN_SIZE)
}

/// Counts an `image_url` part of a chat message, or an `input_image` of the Responses API.
pub(super) fn count(model: &Model, part: &Json<'_>) -> u64 {
    let image = part.get("image_url");
    let url = image
        .and_then(|image| image.as_text().or_else(|| image.text("url")))
        .unwrap_or("");
    let detail = image
        .and_then(|image| image.text("detail"))
        .or_else(|| part.text("detail"));
    let pricing = Pricing::of(model);
    if let (Pricing::Tiles { base, .. }, Some("low")) = (pricing, detail) {
        return base;
    }
    pricing.charge(size_of_data_url(url).unwrap_or(UNKNOWN_SIZE))
}

fn tiles(size: Size) -> u64 {
    let (width, height) = (f64::from(size.width), f64::from(size.height));
    let fit = (MAX_SIDE / width.max(height)).min(1.0);
    let shrink = (SHORT_SIDE / (width.min(height) * fit)).min(1.0) * fit;
    // Sizes are finite and small after shrinking, so the casts lose nothing but a fraction that `ceil` took.
    let across = (width * shrink / TILE).ceil() as u64;
    let down = (height * shrink / TILE).ceil() as u64;
    across.max(1) * down.max(1)
}

fn patches(size: Size) -> u64 {
    let across = u64::from(size.width).div_ceil(PATCH);
    let down = u64::from(size.height).div_ceil(PATCH);
    (across * down).clamp(1, MAX_PATCHES)
}

fn size_of_data_url(url: &str) -> Option<Size> {
    let (header, data) = url.strip_prefix("data:")?.split_once(',')?;
    header.ends_with(";base64").then_some(())?;
    let picture = Base64(data.as_bytes());
    let size = png(picture)
        .or_else(|| gif(picture))
        .or_else(|| webp(picture))
        .or_else(|| jpeg(picture))?;
    (size.width > 0 && size.height > 0).then_some(size)
}

/// Base64 text, of which single bytes are decoded where they are needed.
#[derive(Clone, Copy)]
struct Base64<'a>(&'a [u8]);

impl Base64<'_> {
    /// Decodes the byte at `index`.
    fn byte(self, index: usize) -> Option<u8> {
        let group = index / 3 * 4;
        let (first, shift) = match index % 3 {
            0 => (group, 0),
            1 => (group + 1, 1),
            _ => (group + 2, 2),
        };
        let high = sextet(*self.0.get(first)?)?;
        let low = sextet(*self.0.get(first + 1)?)?;
        let pair = u16::from(high) << 6 | u16::from(low);
        u8::try_from(pair >> (4 - 2 * shift) & 0xFF).ok()
    }

    /// Tells whether the picture has `bytes` at `at`.
    fn has(self, at: usize, bytes: &[u8]) -> bool {
        bytes
            .iter()
            .enumerate()
            .all(|(offset, &byte)| self.byte(at + offset) == Some(byte))
    }

    /// Reads a number of `length` bytes, the most significant first.
    fn big_endian(self, at: usize, length: usize) -> Option<u32> {
        (at..at + length).try_fold(0, |number: u32, index| {
            Some(number << 8 | u32::from(self.byte(index)?))
        })
    }

    /// Reads a number of `length` bytes, the least significant first.
    fn little_endian(self, at: usize, length: usize) -> Option<u32> {
        (at..at + length).rev().try_fold(0, |number: u32, index| {
            Some(number << 8 | u32::from(self.byte(index)?))
        })
    }
}

/// Decodes a base64 digit, of either alphabet.
fn sextet(digit: u8) -> Option<u8> {
    match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn png(picture: Base64<'_>) -> Option<Size> {
    picture.has(0, b"\x89PNG").then_some(())?;
    Some(Size {
        width: picture.big_endian(16, 4)?,
        height: picture.big_endian(20, 4)?,
    })
}

fn gif(picture: Base64<'_>) -> Option<Size> {
    picture.has(0, b"GIF8").then_some(())?;
    Some(Size {
        width: picture.little_endian(6, 2)?,
        height: picture.little_endian(8, 2)?,
    })
}

/// The three kinds of WebP: lossy, lossless, extended.
fn webp(picture: Base64<'_>) -> Option<Size> {
    picture.has(8, b"WEBPVP8").then_some(())?;
    match picture.byte(15)? {
        b' ' => Some(Size {
            width: picture.little_endian(26, 2)? & 0x3FFF,
            height: picture.little_endian(28, 2)? & 0x3FFF,
        }),
        b'L' => {
            let bits = picture.little_endian(21, 4)?;
            Some(Size {
                width: (bits & 0x3FFF) + 1,
                height: (bits >> 14 & 0x3FFF) + 1,
            })
        }
        b'X' => Some(Size {
            width: picture.little_endian(24, 3)? + 1,
            height: picture.little_endian(27, 3)? + 1,
        }),
        _ => None,
    }
}

/// Steps from marker to marker until the one that starts the frame; each step moves on, so this ends.
fn jpeg(picture: Base64<'_>) -> Option<Size> {
    picture.has(0, &[0xFF, 0xD8]).then_some(())?;
    let mut at = 2;
    loop {
        if picture.byte(at)? != 0xFF {
            return None;
        }
        match picture.byte(at + 1)? {
            // Fill bytes and markers without a length.
            0xFF => at += 1,
            0x01 | 0xD0..=0xD8 => at += 2,
            // Start of frame, but for the three that define tables.
            0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                return Some(Size {
                    width: picture.big_endian(at + 7, 2)?,
                    height: picture.big_endian(at + 5, 2)?,
                });
            }
            _ => at += 2 + usize::try_from(picture.big_endian(at + 2, 2)?).ok()?.max(2),
        }
    }
}

#[cfg(test)]
mod tests;
