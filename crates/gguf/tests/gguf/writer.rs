use std::io::{self, Write};

use longshore_gguf::{Dims, GgmlType, Gguf, Layout, Metadata, WriteError as E, Writer};
use proptest::prelude::*;

use crate::util::{data_for, metadata_of, pairs, tensors, write};

fn layout() -> Layout {
    let dims = |extents: &[u64]| Dims::new(extents).unwrap();
    let tensors = [
        ("e", GgmlType::F32, dims(&[0])),
        ("b", GgmlType::F32, dims(&[1])),
        ("f", GgmlType::I8, dims(&[0])),
        ("a", GgmlType::I8, dims(&[3])),
        ("g", GgmlType::I8, dims(&[0])),
    ];
    Layout::new(Metadata::new(), tensors).unwrap()
}

#[test]
fn the_plan_must_be_met() {
    let start = layout().parsed().data_start();
    let mut writer = Writer::new(Vec::new(), layout()).unwrap();
    assert_eq!(writer.position(), start);
    assert_eq!(writer.current().unwrap().name(), "b");
    writer.write(&[1]).unwrap();
    assert_eq!((writer.current().unwrap().name(), writer.position()), ("b", start + 1));
    // One piece may end a tensor and begin the next; padding and the empty one between them are passed over.
    writer.write(&[2, 3, 4, 5]).unwrap();
    assert_eq!((writer.current().unwrap().name(), writer.position()), ("a", start + 33));
    assert!(matches!(writer.write(&[6, 7, 8]), Err(E::TooLong { room: 2, found: 3 })));
    assert_eq!(writer.position(), start + 33, "none of it was written");
    writer.write(&[6, 7]).unwrap();
    assert!(writer.current().is_none());
    writer.write(&[]).unwrap();
    assert!(matches!(writer.write(&[8]), Err(E::TooLong { room: 0, found: 1 })));
    assert_eq!(writer.position(), writer.layout().file_len());
    let file = Gguf::new(writer.finish().unwrap()).unwrap();
    assert_eq!(file.tensor("a").unwrap().data, [5, 6, 7]);
    assert_eq!(file.tensor("b").unwrap().data, [1, 2, 3, 4]);
}

#[test]
fn missing_bytes_are_an_error() {
    let start = layout().parsed().data_start();
    for written in 0..7_u8 {
        let mut writer = Writer::new(Vec::new(), layout()).unwrap();
        writer.write(&vec![0; written.into()]).unwrap();
        let at = start + if written < 4 { u64::from(written) } else { u64::from(written) + 28 };
        let error = writer.finish().unwrap_err();
        let name = if written < 4 { "b" } else { "a" };
        assert!(
            matches!(&error, E::TooShort { tensor, expected, found } if &**tensor == name && *expected == start + 64 && *found == at),
            "{error}"
        );
    }
    let empty = Layout::new(Metadata::new(), [("e", GgmlType::F32, Dims::new(&[0]).unwrap())]).unwrap();
    assert!(Writer::new(Vec::new(), empty).unwrap().finish().is_ok());
}

#[test]
fn failures_below_say_where() {
    /// Room for so many bytes.
    struct Small(usize);
    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let len = bytes.len().min(self.0);
            self.0 -= len;
            if len == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(len) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::Other.into())
        }
    }
    let start = layout().parsed().data_start();
    let room = usize::try_from(start).unwrap();
    assert!(matches!(Writer::new(Small(100), layout()), Err(E::Io { position: 0, tensor: None, .. })));
    let mut writer = Writer::new(Small(room + 2), layout()).unwrap();
    let error = writer.write(&[0; 4]).unwrap_err();
    assert!(matches!(&error, E::Io { position, tensor: Some(tensor), source }
        if *position == start && &**tensor == "b" && source.kind() == io::ErrorKind::StorageFull));
    // In the padding behind it.
    let mut writer = Writer::new(Small(room + 40), layout()).unwrap();
    let error = writer.write(&[0; 7]).unwrap_err();
    assert!(
        matches!(&error, E::Io { position, tensor: Some(tensor), .. } if *position == start + 35 && &**tensor == "g")
    );
    let mut writer = Writer::new(Small(1_000), layout()).unwrap();
    writer.write(&[0; 7]).unwrap();
    assert!(matches!(writer.finish(), Err(E::Io { .. })), "a failed flush is not hidden");
}

proptest! {
    #[test]
    fn pieces_of_any_size_give_the_same_file(tensors in tensors(), pairs in pairs(), piece in 1..50_usize) {
        let layout = Layout::new(metadata_of(&pairs), tensors).unwrap();
        let data = data_for(&layout);
        let mut writer = Writer::new(Vec::new(), layout.clone()).unwrap();
        for piece in data.chunks(piece) {
            writer.write(piece).unwrap();
        }
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(&bytes, &write(layout, &data));
        let file = Gguf::new(&bytes).unwrap();
        prop_assert_eq!(file.iter().flat_map(|tensor| tensor.data).copied().collect::<Vec<_>>(), data);
    }
}
