//! GGUF files and split sets, against their promises. What is accepted can be written again, byte for byte.

use longshore_gguf::{Gguf, Header, Layout, Limits, Metadata, SplitSet, TensorInfo, Writer};

/// `data` is a whole file.
pub(super) fn file(data: &[u8]) {
    let parsed = Gguf::new(data);
    // Limits are only ever a reason to refuse.
    let mut tight = Limits::default();
    (tight.tensors, tight.pairs, tight.key_bytes, tight.string_bytes) = (2, 2, 16, 8);
    (tight.array_elements, tight.alignment, tight.header_bytes) = (2, 64, 512);
    if let Ok(file) = Gguf::with_limits(data, &tight) {
        let header = file.header();
        assert_eq!(parsed.as_ref().ok().map(Gguf::header), Some(header), "other limits give another header");
        assert!(header.len() <= 2 && header.metadata().len() <= 2 && header.alignment() <= 64);
        assert!(header.data_start() <= 512 || header.is_empty());
    }
    let Ok(file) = parsed else { return };
    check(&file, data);
    let header = file.header();
    // The header alone says the same, and no byte of it can be missed.
    let start = usize::try_from(header.data_start()).expect("inside");
    let (len, limits) = (data.len() as u64, Limits::default());
    assert_eq!(Header::parse(&data[..start], len, &limits).ok().as_ref(), Some(header));
    assert!(start == 0 || Header::parse(&data[..start - 1], len, &limits).is_err());
    assert_eq!(header.to_bytes(), data[..start]);
    // With the end of the file it does without the length.
    assert_eq!(Header::parse_with_end(&header.to_bytes_with_end(), &limits).ok().as_ref(), Some(header));
    // The end of the data is a promise too: a byte more is another file, and so is one less, unless it is the last padding.
    let longer = Gguf::new([data, &[0]].concat());
    assert!(longer.is_err() || header.is_empty() || len + 1 == len.next_multiple_of(header.alignment()));
}

/// `data` is a byte that says how many files there are, a `u16` with the length of each but the last, and the files. Whatever their
/// keys say, they have the right names.
pub(super) fn split(data: &[u8]) {
    let Some((count, mut rest)) = data.split_first() else { return };
    let count = count % 4 + 1;
    let mut members = Vec::new();
    for no in 1..=count {
        let mut bytes = rest;
        if no < count {
            let Some((len, behind)) = rest.split_first_chunk() else { return };
            let Some((own, behind)) = behind.split_at_checked(u16::from_le_bytes(*len).into()) else { return };
            (bytes, rest) = (own, behind);
        }
        let Ok(file) = Gguf::new(bytes) else { return };
        members.push((format!("m-{no:05}-of-{count:05}.gguf"), file.header().clone()));
    }
    let headers: Vec<Header> = members.iter().map(|(_, header)| header.clone()).collect();
    let Ok(set) = SplitSet::new(members, &Limits::default()) else { return };
    assert!(set.members().iter().map(|member| &member.header).eq(&headers));
    assert_eq!(set.len(), headers.iter().map(Header::len).sum::<usize>());
    for (member, tensor) in set.iter() {
        assert_eq!(set.get(tensor.name()), Some((member, tensor)));
        assert_eq!(member.header.get(tensor.name()), Some(tensor));
    }
    let Ok(merged) = set.merged() else { return };
    assert!(merged.parsed().iter().map(TensorInfo::name).eq(set.iter().map(|(_, tensor)| tensor.name())));
    for (key, value) in merged.parsed().metadata().iter() {
        assert_eq!(format!("{:?}", set.metadata().get(key)), format!("{:?}", Some(value)));
        assert!(!key.starts_with("split.") || !["no", "count", "tensors.count"].contains(&&key[6..]));
    }
}

/// What holding a file means.
fn check(file: &Gguf<&[u8]>, data: &[u8]) {
    let header = file.header();
    assert_eq!(header.file_len(), data.len() as u64);
    let mut at = header.data_start();
    for (view, tensor) in file.iter().zip(header.iter()) {
        let range = tensor.file_range();
        assert_eq!(range.start, at.next_multiple_of(header.alignment()), "no hole before {:?}", tensor.name());
        assert_eq!(tensor.offset(), range.start - header.data_start());
        assert_eq!(tensor.dims().byte_len(tensor.ggml_type()), Ok(tensor.byte_len()));
        assert_eq!(range.end - range.start, tensor.byte_len());
        assert!(tensor.dims().shape().rev().eq(tensor.dims().as_slice().iter().copied()));
        let same = &data[usize::try_from(range.start).expect("inside")..usize::try_from(range.end).expect("inside")];
        assert_eq!(view.data.as_ptr_range(), same.as_ptr_range());
        assert_eq!(header.get(tensor.name()), Some(tensor));
        at = range.end;
    }
    assert!(header.file_len() == at || header.file_len() == at.next_multiple_of(header.alignment()));
    assert!(header.names().is_sorted_by(|a, b| a < b), "names are unique");
    assert!(header.padding().all(|range| data[usize::try_from(range.start).expect("inside")] == 0));

    // Every value is decoded, and makes the same bytes again.
    let mut copy = Metadata::new();
    for (key, value) in header.metadata().iter() {
        assert_eq!(format!("{:?}", header.metadata().get(key)), format!("{:?}", Some(value)));
        let _ = (value.as_u64(), value.as_f64(), value.as_str(), value.as_array().map(|array| array.iter().count()));
        copy.push(key, value).expect("the limits are those that it was read under");
    }
    assert_eq!(&copy, header.metadata());
    assert_eq!(write(Layout::from_header(header.clone()), file), data, "it comes back byte for byte");
    let parts = header.iter().map(|tensor| (tensor.name(), tensor.ggml_type(), tensor.dims()));
    let layout = Layout::new(copy, parts).expect("what was read can be planned");
    let anew = write(layout, file);
    // A plan of one's own has a version and an end of its own.
    let end = if header.is_empty() { anew.len() } else { usize::try_from(at).expect("inside") };
    assert_eq!(anew.get(8..end), data.get(8..end));
}

fn write(layout: Layout, file: &Gguf<&[u8]>) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), layout).expect("a Vec takes it");
    for tensor in file.iter() {
        writer.write(tensor.data).expect("it is planned");
    }
    writer.finish().expect("everything was written")
}
