//! Rules for the end of a file and for padding.

use longshore_gguf::{Gguf, HeaderError as E};

use super::{refuse, refuse_with, right};
use crate::raw::Raw;

#[test]
fn bytes_after_the_end() {
    for raw in [right(), Raw { pad_last: false, ..right() }, Raw::default()] {
        let mut bytes = raw.bytes();
        let end = bytes.len().next_multiple_of(32);
        for extra in [1, 32, 100] {
            bytes.resize(end + extra, 0);
            let error = refuse_with(&bytes, &[&format!("expected {end}"), &format!("{} bytes", end + extra)]);
            assert!(matches!(error, E::TrailingData { .. }));
        }
    }
}

#[test]
fn a_file_without_tensors_ends_with_its_header_padded_or_not() {
    let mut bytes = Raw::default().bytes();
    assert_eq!(bytes.len(), 24);
    assert!(Gguf::new(&bytes).unwrap().header().is_empty());
    bytes.resize(32, 0);
    assert_eq!(Gguf::new(&bytes).unwrap().header().data_len(), 0);
    let error = refuse_with(&bytes[..31], &["31 bytes", "expected 32, or 24"]);
    assert!(matches!(error, E::PartialPadding { .. }));
    bytes[30] = 1;
    assert!(matches!(refuse(&bytes), E::Padding { after: None, offset: 30, found: 1 }));
}

#[test]
fn the_last_padding_is_whole_or_absent() {
    let unpadded = Raw { pad_last: false, ..right() }.bytes();
    let padded = right().bytes();
    assert_eq!(padded.len() - unpadded.len(), 12);
    for len in unpadded.len()..=padded.len() {
        let bytes = &padded[..len];
        if len == unpadded.len() || len == padded.len() {
            assert_eq!(Gguf::new(bytes).unwrap().header().file_len(), len as u64);
        } else {
            let error = refuse_with(bytes, &["truncated", &unpadded.len().to_string(), &padded.len().to_string()]);
            assert!(matches!(error, E::PartialPadding { .. }));
        }
    }
}

#[test]
fn padding_is_zero() {
    let raw = right();
    let bytes = raw.bytes();
    let start = raw.header().len();
    let behind_a = start + 12..start + 32;
    let behind_b = start + 52..start + 64;
    let declared: usize = raw.pairs.iter().map(|(key, _, value)| 12 + key.len() + value.len()).sum();
    let infos = 2 * (8 + 1 + 4 + 8 + 4 + 8);
    let before = 24 + declared + infos..start;
    assert!(!before.is_empty());
    for (range, after) in [(before, None), (behind_a, Some("a")), (behind_b, Some("b"))] {
        for at in range {
            let mut bytes = bytes.clone();
            bytes[at] = 0x5a;
            let error = refuse_with(&bytes, &[&format!("byte {at} "), "0x5a", "expected 0"]);
            assert!(matches!(&error, E::Padding { after: tensor, found: 0x5a, .. } if tensor.as_deref() == after));
        }
    }
}
