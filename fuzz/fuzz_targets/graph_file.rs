#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smongo_fuzz::graph_file(data));
