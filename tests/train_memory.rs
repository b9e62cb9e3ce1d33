//! Memory while training. A program of its own: other tests would share its memory.

mod tile_files;

use glavitu::train::log_file::EpochRow;
use glavitu::train::run::{Earlier, Progress, Training, Watch};
use glavitu::train::settings::{Given, ModelSize, TrainSettings};
use tile_files::write_tiles;

/// Resident memory in bytes after some steps.
struct Memory(Vec<u64>);

impl Watch for Memory {
    fn step(&mut self, progress: &Progress) {
        if progress.step.is_multiple_of(50) {
            let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
            let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
            self.0.push(pages * 4096);
        }
    }
    fn validation(&mut self, _done: usize, _all: usize) {}
    fn epoch(&mut self, _row: &EpochRow) {}
    fn stop(&self) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
#[test]
fn memory_stays_flat() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write_tiles(&path("t.hdf5"), &["ALP", "SC"], 256, 0);
    write_tiles(&path("v.hdf5"), &["ALP"], 64, 9);
    let text = format!(
        "train = [{:?}]\nvalidation = [{:?}]\nepochs = 1\nbatch = 4\nsteps_per_epoch = 200\ndevice = \"cpu\"\n",
        path("t.hdf5"),
        path("v.hdf5")
    );
    let given = Given { size: Some(ModelSize::Tiny), file: None, flags: text.parse().expect("TOML") };
    let settings = TrainSettings::resolve(&given).expect("valid");
    let mut memory = Memory(Vec::new());
    let training = Training::prepare(&settings).expect("ready");
    training.run(&path("run"), Earlier::Refuse, &mut memory).expect("trained");
    println!("{:?}", memory.0);
    // One batch has 4 x 32 x 32 x 10 floats, 160 kB: kept by every step, it would come to 16 MB from the 100th step to the 200th.
    let (middle, last) = (memory.0[1], memory.0[3]);
    assert!(last < middle + (4 << 20), "{:?}", memory.0);
}
