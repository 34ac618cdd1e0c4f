//! Reads files in the exact bytes that other programs write, rebuilt by hand.

use longshore_st_format::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::util::{file, hex, parse};

/// A file as ollama's encoder writes it: the header is padded with spaces to eight bytes.
fn padded(json: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = file(&format!("{json:width$}", width = json.len().next_multiple_of(8)), 0);
    bytes.extend_from_slice(data);
    bytes
}

#[test]
fn ollama_blobs_with_the_key_data() {
    let bytes = padded(r#"{"data":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, &[0; 16]);
    assert_eq!(bytes.len(), 88);
    assert_eq!(hex(&Sha256::digest(&bytes)), "d8ca097ecf03eceafe9767b8779a7519ab2c84a6cd504cc0f0e255e5161320e8");
    assert_eq!(SafeTensors::new(&bytes).unwrap().tensor("data").unwrap().data, [0; 16]);
}

#[test]
fn ollama_blobs_with_the_tensors_name() {
    let bytes = padded(r#"{"test_tensor":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#, &[0; 16]);
    assert_eq!(bytes.len(), 96);
    assert_eq!(hex(&Sha256::digest(&bytes)), "0487861d4d5009028ca16f1b40b47d7720d9788d661d4e29c1a5631508a4a807");
    let header = parse(&bytes).unwrap();
    assert_eq!((header.data_start(), header.get("test_tensor").unwrap().dtype()), (80, Dtype::F32));
}

#[test]
fn ollama_blobs_of_several_tensors() {
    let json =
        r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[8],"data_offsets":[4,12]}}"#;
    let bytes = padded(json, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(bytes.len(), 132);
    assert_eq!(hex(&Sha256::digest(&bytes)), "a86c677c1fdd7d7bbd86d60e9438d44acf4d251c860d78f5209724c880b9b532");
    let file = SafeTensors::new(&bytes).unwrap();
    assert_eq!(file.tensor("b").unwrap().data, [5, 6, 7, 8, 9, 10, 11, 12]);
}

#[test]
fn mlx_files_with_null_metadata() {
    let bytes = file(r#"{"__metadata__":null,"w":{"data_offsets":[0,2],"dtype":"BF16","shape":[1]}}"#, 2);
    let header = parse(&bytes).unwrap();
    assert!(header.metadata().is_empty());
    assert_eq!(header.get("w").unwrap().byte_len(), 2);
}
