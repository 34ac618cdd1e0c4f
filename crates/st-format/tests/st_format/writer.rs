use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use longshore_st_format::{Dtype, Layout, SafeTensors, Shape, WriteError as E, Writer};
use proptest::prelude::*;

use crate::util::{metadata, tensors};

fn layout() -> Layout {
    Layout::new(
        &BTreeMap::new(),
        [("a", Dtype::U8, Shape::new([3])), ("b", Dtype::F32, Shape::new([1])), ("e", Dtype::F32, Shape::new([0]))],
    )
    .unwrap()
}

#[test]
fn the_plan_must_be_met() {
    let mut writer = Writer::new(Vec::new(), layout()).unwrap();
    assert_eq!(writer.position(), 192);
    assert_eq!(writer.current().unwrap().name, "b");
    writer.write(&[1]).unwrap();
    assert_eq!(writer.current().unwrap().name, "b");
    // One piece may end a tensor and begin the next. The empty tensor between them is skipped.
    writer.write(&[2, 3, 4, 5]).unwrap();
    assert_eq!(writer.current().unwrap().name, "a");
    assert!(matches!(writer.write(&[6, 7, 8]), Err(E::TooLong { room: 2, found: 3 })));
    writer.write(&[6, 7]).unwrap();
    assert!(writer.current().is_none());
    writer.write(&[]).unwrap();
    assert!(matches!(writer.write(&[8]), Err(E::TooLong { room: 0, found: 1 })));
    assert_eq!(writer.position(), writer.layout().file_len());
    let bytes = writer.finish().unwrap();
    let file = SafeTensors::new(&bytes).unwrap();
    assert_eq!(file.tensor("a").unwrap().data, [5, 6, 7]);
    assert_eq!(file.tensor("b").unwrap().data, [1, 2, 3, 4]);
}

#[test]
fn missing_bytes_are_an_error() {
    for written in 0..7 {
        let mut writer = Writer::new(Vec::new(), layout()).unwrap();
        writer.write(&vec![0; written]).unwrap();
        let error = writer.finish().unwrap_err();
        let expected = if written < 4 { "b" } else { "a" };
        assert!(
            matches!(&error, E::TooShort { tensor, expected: 199, found } if &**tensor == expected && *found == 192 + written as u64),
            "{error}"
        );
    }
    let empty = Layout::new(&BTreeMap::new(), [("e", Dtype::F32, Shape::new([0]))]).unwrap();
    assert!(Writer::new(Vec::new(), empty).unwrap().finish().is_ok());
}

#[test]
fn failures_below_say_where() {
    /// Writer with room for this many bytes.
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
    assert!(matches!(Writer::new(Small(100), layout()), Err(E::Io { position: 0, tensor: None, .. })));
    let mut writer = Writer::new(Small(194), layout()).unwrap();
    let error = writer.write(&[0; 4]).unwrap_err();
    assert!(matches!(&error, E::Io { position: 192, tensor: Some(tensor), source }
        if &**tensor == "b" && source.kind() == io::ErrorKind::StorageFull));
    let mut writer = Writer::new(Small(1_000), layout()).unwrap();
    writer.write(&[0; 7]).unwrap();
    assert!(matches!(writer.finish(), Err(E::Io { position: 199, .. })), "a failed flush is not hidden");
}

proptest! {
    #[test]
    fn the_safetensors_crate_reads_what_is_written(tensors in tensors(), metadata in metadata(), piece in 1..50_usize) {
        let layout = Layout::new(&metadata, tensors.clone()).unwrap();
        let data: Vec<u8> = (layout.data_start()..layout.file_len()).map(|at| (at % 251) as u8).collect();
        let mut writer = Writer::new(Vec::new(), layout).unwrap();
        for piece in data.chunks(piece) {
            writer.write(piece).unwrap();
        }
        let bytes = writer.finish().unwrap();

        let ours = SafeTensors::new(&bytes).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        prop_assert_eq!(theirs.len(), tensors.len());
        for (name, dtype, shape) in &tensors {
            let tensor = theirs.tensor(name).unwrap();
            prop_assert_eq!(tensor.dtype().to_string(), dtype.name());
            prop_assert_eq!(tensor.shape().iter().map(|&dim| dim as u64).collect::<Vec<_>>(), shape.dims());
            prop_assert_eq!(tensor.data(), ours.tensor(name).unwrap().data);
        }
        prop_assert_eq!(ours.iter().flat_map(|tensor| tensor.data).copied().collect::<Vec<_>>(), data);
    }
}
