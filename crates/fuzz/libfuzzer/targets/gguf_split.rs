#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longshore_fuzz::target("gguf_split").expect("it is listed")(data));
