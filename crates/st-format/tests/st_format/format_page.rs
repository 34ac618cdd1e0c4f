//! Checks that the writer produces the worked example of `docs/format.md`.

use std::collections::BTreeMap;

use longshore_st_format::{Dtype, Layout, Shape, Writer};

const PAGE: &str = include_str!("../../docs/format.md");

#[test]
fn the_worked_example_is_exact() {
    let (_, rest) = PAGE.split_once("```hex\n").unwrap();
    let (dump, _) = rest.split_once("```").unwrap();
    let mut expected = Vec::new();
    for line in dump.lines() {
        let (offset, rest) = line.split_once("  ").unwrap();
        assert_eq!(usize::from_str_radix(offset, 16).unwrap(), expected.len(), "{line}");
        let (bytes, text) = rest.split_once(" |").unwrap();
        let bytes: Vec<u8> = bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
        let printable = bytes
            .iter()
            .map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '.' })
            .collect::<String>();
        assert_eq!(text, format!("{printable}|"), "{line}");
        expected.extend(bytes);
    }

    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let layout =
        Layout::new(&metadata, [("bias", Dtype::U8, Shape::new([3])), ("weight", Dtype::F32, Shape::new([2, 1]))])
            .unwrap();
    let mut writer = Writer::new(Vec::new(), layout).unwrap();
    writer.write(&[0, 0, 128, 63, 0, 0, 0, 64]).unwrap();
    writer.write(&[7, 8, 9]).unwrap();
    assert_eq!(writer.finish().unwrap(), expected);
}
