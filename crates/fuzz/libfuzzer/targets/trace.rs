#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longshore_fuzz::target("trace").expect("the target is listed")(data));
