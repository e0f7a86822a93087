//! Sizes out of headers of every format, and what images of known size really cost.

use super::*;

fn data_url(picture: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut data = String::new();
    for group in picture.chunks(3) {
        let bytes = [
            group[0],
            *group.get(1).unwrap_or(&0),
            *group.get(2).unwrap_or(&0),
        ];
        let bits = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let is_padding = index > group.len();
            let digit = DIGITS[(bits >> shift & 63) as usize];
            data.push(if is_padding { '=' } else { char::from(digit) });
        }
    }
    format!("data:image/any;base64,{data}")
}

fn png_of(width: u32, height: u32) -> String {
    let header = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR";
    data_url(
        &[
            header.as_slice(),
            &width.to_be_bytes(),
            &height.to_be_bytes(),
        ]
        .concat(),
    )
}

fn size(picture: &[u8]) -> Option<(u32, u32)> {
    size_of_data_url(&data_url(picture)).map(|size| (size.width, size.height))
}

fn tokens(model: &str, url: &str, detail: &str) -> u64 {
    let part = format!(r#"{{"image_url":{{"url":"{url}","detail":"{detail}"}}}}"#);
    count(&Model::of(model), &serde_json::from_str(&part).unwrap())
}

#[test]
fn every_format_tells_its_size() {
    let jpeg =
        b"\xff\xd8\xff\xe0\x00\x06EXIF\xff\xff\xc4\x00\x03x\xff\xc2\x00\x11\x08\x01\x02\x03\x04";
    let lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f\x8f\xc2\x77\0";

    assert_eq!(size(b"GIF89a\x0a\x00\x14\x01"), Some((10, 276)));
    assert_eq!(size(jpeg), Some((0x304, 0x102)));
    assert_eq!(
        size(b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x80\x02\xe0\x01"),
        Some((640, 480))
    );
    assert_eq!(
        size(b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\x7f\x02\x00\xdf\x01\x00"),
        Some((640, 480))
    );
    assert_eq!(size(lossless), Some((656, 480)));
}

#[test]
fn what_is_no_picture_has_no_size() {
    for picture in [
        b"".as_slice(),
        b"\x89PNG",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff",
        b"GIF8",
        b"hello world",
    ] {
        assert_eq!(size(picture), None, "{picture:?}");
    }
    assert_eq!(size_of_data_url("data:image/png;base64,***"), None);
    assert_eq!(size_of_data_url("https://example.com/a.png"), None);
}

#[test]
fn a_jpeg_of_fill_bytes_ends() {
    let picture = [b"\xff\xd8".as_slice(), &[0xff; 300_000]].concat();

    assert_eq!(size(&picture), None);
}

#[test]
fn tiles_and_patches_cost_what_was_measured() {
    let medium = png_of(640, 480);

    assert_eq!(tokens("gpt-4o", &medium, "auto"), 425);
    assert_eq!(tokens("gpt-4o-mini", &medium, "auto"), 14_167);
    assert_eq!(tokens("gpt-5", &medium, "auto"), 350);
    assert_eq!(tokens("gpt-5-mini", &medium, "auto"), 361);
    assert_eq!(tokens("gpt-5-nano", &medium, "auto"), 451);
    assert_eq!(tokens("gpt-4.1-mini", &medium, "auto"), 488);
    assert_eq!(tokens("o4-mini", &medium, "auto"), 517);
    assert_eq!(tokens("gpt-4o", &png_of(1, 1), "auto"), 255);
    assert_eq!(tokens("gpt-4o", &png_of(4096, 8192), "high"), 85 + 6 * 170);
    assert_eq!(tokens("gpt-4o", &medium, "low"), 85);
}

#[test]
fn sizes_beyond_reason_stay_within_the_most_an_image_costs() {
    let huge = png_of(u32::MAX, u32::MAX);

    assert_eq!(tokens("gpt-4o", &huge, "auto"), 85 + 4 * 170);
    assert_eq!(tokens("gpt-4.1-mini", &huge, "auto"), 2490);
    assert_eq!(tokens("gpt-4o", &png_of(u32::MAX, 1), "auto"), 85 + 4 * 170);
}
