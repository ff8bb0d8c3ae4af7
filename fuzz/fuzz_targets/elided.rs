//! See `djembe_tests::fuzz_targets::elided`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    djembe_tests::fuzz_targets::elided(bytes);
});
