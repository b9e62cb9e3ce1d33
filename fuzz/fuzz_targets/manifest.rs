//! Lists of scenes: any bytes are a list or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("scenes.csv");
    std::fs::write(&path, bytes).expect("written");
    let _ = glavitu::infer::manifest::read_manifest(&path);
});
