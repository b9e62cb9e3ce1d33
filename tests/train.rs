//! `glavitu train` on small tile files.

mod program;
mod tile_files;

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use glavitu::dataset::tile_writer::{TileHeader, TileWriter};
use glavitu::model::{Location, Weights};
use program::{Run, Workplace, glavitu};
use tile_files::write_tiles;

/// Files that two runs of one seed have in common, byte for byte.
const SAME: [&str; 5] = ["log.csv", "last.safetensors", "best_iou.safetensors", "best_loss.safetensors", "config.toml"];

struct Place(Workplace);

impl Place {
    fn new() -> Self {
        let place = Workplace::new();
        write_tiles(&place.path("t.hdf5"), &["ALP", "SC", "ALP"], 64, 0);
        write_tiles(&place.path("v.hdf5"), &["SC", "ALP"], 64, 10);
        Self(place)
    }

    /// A short run of the smallest network on the CPU, with more options.
    fn args(&self, run: &str, more: &str) -> Vec<String> {
        let fixed = "--model-size tiny --batch 2 --epochs 2 --steps-per-epoch 3 --device cpu";
        let mut args: Vec<String> =
            ["train", "--train", &self.0.at("t.hdf5"), "--validation", &self.0.at("v.hdf5")].map(String::from).to_vec();
        let given: Vec<&str> = more.split_whitespace().collect();
        // An option given twice is an error: those given replace the fixed ones.
        for pair in fixed.split_whitespace().collect::<Vec<_>>().chunks(2).filter(|pair| !given.contains(&pair[0])) {
            args.extend(pair.iter().map(|s| (*s).to_owned()));
        }
        args.extend(given.iter().map(|s| s.replace("HERE/", &self.0.at(""))));
        args.extend(["-o".to_owned(), self.0.at(run)]);
        args
    }

    fn train(&self, run: &str, more: &str) -> Run {
        glavitu(&self.args(run, more))
    }

    fn trained(&self, run: &str, more: &str) {
        let result = self.train(run, more);
        assert_eq!((result.code, result.err.as_str()), (Some(0), ""), "{more}: {}", result.out);
    }

    fn resumed(&self, run: &str, more: &str) -> Run {
        let mut args = vec!["train".to_owned(), "--resume".to_owned(), "-o".to_owned(), self.0.at(run)];
        args.extend(more.split_whitespace().map(String::from));
        glavitu(&args)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.path(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
    }

    fn weights(&self, file: &str) -> Weights {
        Weights::load(self.0.path(file)).expect("a model")
    }

    /// A column of a run's log.
    fn column(&self, run: &str, name: &str) -> Vec<f64> {
        let text = self.read(&format!("{run}/log.csv"));
        let mut lines = text.lines();
        let at = lines.next().expect("a header").split(',').position(|field| field == name).expect("the column");
        lines.map(|line| line.split(',').nth(at).expect("a field").parse().expect("a number")).collect()
    }

    fn assert_same(&self, a: &str, b: &str) {
        for file in SAME {
            let bytes = |run: &str| fs::read(self.0.path(&format!("{run}/{file}"))).expect("a file");
            assert!(bytes(a) == bytes(b), "{file} of {a} and {b} differ");
        }
    }

    fn spawn(&self, args: &[String]) -> Child {
        Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started")
    }
}

#[test]
fn every_strategy() {
    let place = Place::new();
    place.trained("global", "--strategy global");
    place.trained("regional", "--strategy regional --regions SC --features dem");
    place.trained(
        "finetuning",
        "--strategy finetuning --from HERE/global/best_iou.safetensors --regions SC --epochs 1 --model-size tiny",
    );
    place.trained("region", "--strategy region-encoding");
    place.trained("given", "--strategy region-encoding --regions SC,ALP");
    place.trained("coordinate", "--strategy coordinate-encoding");
    for run in ["global", "regional", "finetuning", "region", "given", "coordinate"] {
        for file in ["checkpoint.safetensors", "timing.csv", "curves.svg"].iter().chain(&SAME) {
            assert!(place.0.path(&format!("{run}/{file}")).is_file(), "{run}/{file}");
        }
        let events = fs::read_dir(place.0.path(run)).expect("a folder").filter_map(Result::ok);
        assert_eq!(events.filter(|e| e.file_name().to_string_lossy().contains("tfevents")).count(), 1);
    }
    let header =
        |run: &str| place.read(&format!("{run}/log.csv")).lines().next().map(str::to_owned).unwrap_or_default();
    assert!(header("global").ends_with(",validation_iou,validation_iou_ALP,validation_iou_SC"));
    assert!(header("regional").ends_with(",validation_iou,validation_iou_SC"));
    assert!(header("region").contains(",validation_iou_known,validation_iou_unknown,"));
    assert_eq!(place.read("global/log.csv").lines().count(), 3);
    assert_eq!(place.read("global/timing.csv").lines().count(), 3);
    let location = |run: &str| place.weights(&format!("{run}/last.safetensors")).config().location.clone();
    assert_eq!(location("region"), Location::published_regions());
    assert_eq!(location("given"), Location::Regions(["ALP", "SC", "unknown"].map(String::from).to_vec()));
    assert_eq!(location("coordinate"), Location::Coordinates);
    let features = &place.weights("regional/last.safetensors").config().features.clone();
    assert_eq!(format!("{features:?}"), "[Dem]");
    // Fine-tuning begins where the other ended, at its own rate.
    assert_eq!(place.column("finetuning", "learning_rate"), [5e-5]);
    assert!(place.read("finetuning/config.toml").contains("decay = 1.0"));
    let steps = place.column("global", "steps");
    assert_eq!(steps, [3.0, 6.0]);
}

#[test]
fn one_seed_one_result() {
    let place = Place::new();
    place.trained("a", "--workers 1");
    place.trained("b", "--workers 3 --checkpoint-every 1");
    for file in SAME.into_iter().filter(|f| *f != "config.toml") {
        assert!(
            fs::read(place.0.path(&format!("a/{file}"))).ok() == fs::read(place.0.path(&format!("b/{file}"))).ok(),
            "{file} differs"
        );
    }
    place.trained("c", "--seed 2");
    assert_ne!(place.read("a/log.csv"), place.read("c/log.csv"));
}

#[test]
fn a_bound_on_memory_changes_no_weight() {
    let place = Place::new();
    place.trained("free", "");
    let refused = place.train("bounded", "--max-memory 100kB");
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    let told = refused.err.split("give --max-memory ").nth(1).and_then(|rest| rest.split(',').next());
    let told = told.unwrap_or_else(|| panic!("no bound in {}", refused.err));
    place.trained("bounded", &format!("--max-memory {told}"));
    // Validation takes other batches, so the last digits of its losses may differ; what is learnt does not.
    let bytes = |run: &str| fs::read(place.0.path(&format!("{run}/last.safetensors"))).expect("a file");
    assert!(bytes("free") == bytes("bounded"), "the weights differ");
    assert!(place.read("bounded/config.toml").contains(&format!("max_memory = \"{told}\"")));
}

#[test]
fn a_killed_run_continues_as_if_nothing_had_happened() {
    let place = Place::new();
    let options = "--epochs 4 --steps-per-epoch 12 --checkpoint-every 5 --strategy region-encoding";
    place.trained("whole", options);
    let mut begin = place.args("killed", options);
    let resume = ["train", "--resume", "-o", &place.0.at("killed")].map(String::from);
    let mut kills = 0;
    // Ever later moments of the run; those before its first checkpoint begin it anew.
    for milliseconds in (20..).step_by(37) {
        // Where it was killed before it had written its settings, they must be given again.
        let begun = place.0.path("killed/config.toml").exists();
        let mut child = place.spawn(if begun { &resume } else { &begin });
        if kills == 0 {
            begin.push("--resume".into());
        }
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().expect("SIGKILL");
        let output = child.wait_with_output().expect("ended");
        if output.status.success() {
            break;
        }
        assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
        kills += 1;
    }
    println!("killed {kills} times");
    assert!(kills >= 2);
    place.assert_same("whole", "killed");
    let leftovers = fs::read_dir(place.0.path("killed")).expect("a folder").filter_map(Result::ok);
    assert_eq!(leftovers.filter(|e| e.file_name().to_string_lossy().starts_with(".glavitu-")).count(), 0);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let place = Place::new();
    let options = "--epochs 500 --steps-per-epoch 4";
    let child = place.spawn(&place.args("run", options));
    while !place.0.path("run/log.csv").exists() || place.read("run/log.csv").lines().count() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let output = child.wait_with_output().expect("ended");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.contains("continue with `glavitu train --resume -o "), "{message}");
    let epochs = place.read("run/log.csv").lines().count();
    let run = place.resumed("run", &format!("--epochs {epochs}"));
    assert_eq!(run.code, Some(0), "{}", run.err);
    place.trained("whole", &format!("--epochs {epochs} --steps-per-epoch 4"));
    place.assert_same("whole", "run");
}

#[test]
fn more_epochs_and_other_recipes() {
    let place = Place::new();
    place.trained("run", "--epochs 1");
    place.trained("whole", "--epochs 3");
    for (change, part) in [
        ("--lr 1e-3", "found learning_rate = 0.001, expected 0.0005"),
        ("--augmentation none", "augmentation."),
        ("--regions ALP", "regions"),
        ("--loss dice", "objective."),
        ("--tile 64", "model.tile"),
    ] {
        let run = place.resumed("run", change);
        assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
        assert!(run.err.contains(part) && run.err.contains("with which the run was begun"), "{}", run.err);
    }
    let run = place.resumed("run", "--epochs 3");
    assert_eq!(run.code, Some(0), "{}", run.err);
    place.assert_same("whole", "run");
    // Other tiles under the same name.
    write_tiles(&place.0.path("t.hdf5"), &["ALP"], 96, 0);
    let run = place.resumed("run", "--epochs 4");
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.err.contains("other tiles"), "{}", run.err);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_written() {
    let place = Place::new();
    fs::write(place.0.path("no.toml"), "epochs = 3\nepoch = 4\n").expect("written");
    fs::write(place.0.path("text"), "words").expect("written");
    for (options, part) in [
        ("--regions XX", "XX"),
        ("--features optical,thermal", "thermal"),
        ("--tile 96", "96"),
        ("--tile 33", "33"),
        ("--strategy regional", "--regions"),
        ("--strategy finetuning", "--from"),
        ("--strategy region-encoding --from HERE/none.safetensors", "none.safetensors"),
        ("--config HERE/no.toml", "unknown field `epoch`"),
        ("--config HERE/none.toml", "none.toml"),
        ("--lr 0", "learning_rate"),
        ("--batch 0", "batch"),
        ("--device nonsense", "nonsense"),
    ] {
        let run = place.train("run", options);
        assert_eq!((run.code, run.out.as_str(), run.err.lines().count()), (Some(2), "", 1), "{options}: {}", run.err);
        assert!(run.err.contains(part), "{options}: {}", run.err);
        assert!(!place.0.path("run").exists(), "{options}");
    }
    let run = place.train("run", "--features optical,radar");
    assert!(run.code == Some(2) && run.err.contains("radar"), "{}", run.err);
    let files = |train: &str, run: &str| {
        let (train, run) = (place.0.at(train), place.0.at(run));
        let args =
            ["train", "--train", &train, "--validation", &place.0.at("v.hdf5"), "--model-size", "tiny", "-o", &run];
        glavitu(&args.map(String::from))
    };
    for (train, run, part) in [("none.hdf5", "run", "none.hdf5"), ("text", "run", "text"), ("t.hdf5", "text", "a file")]
    {
        let run = files(train, run);
        assert_eq!((run.code, run.err.lines().count()), (Some(2), 1), "{}", run.err);
        assert!(run.err.contains(part), "{}", run.err);
    }
    assert_eq!(place.resumed("run", "").code, Some(2));

    place.trained("run", "--epochs 1");
    let before = place.read("run/log.csv");
    let run = place.train("run", "--epochs 1 --seed 5");
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.err.contains("--resume") && run.err.contains("--overwrite"), "{}", run.err);
    assert_eq!(place.read("run/log.csv"), before);
    fs::write(place.0.path("run/notes.txt"), "mine").expect("written");
    place.trained("run", "--epochs 1 --seed 5 --overwrite");
    assert_ne!(place.read("run/log.csv"), before);
    assert_eq!(place.read("run/notes.txt"), "mine");
}

#[test]
fn a_dry_run_prints_settings_that_make_the_same_run() {
    let place = Place::new();
    let run = place.train("dry", "--dry-run --strategy region-encoding");
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(run.out.contains("parameters") && run.out.contains("steps of 2 patches"), "{}", run.out);
    assert!(!place.0.path("dry").exists());
    fs::write(place.0.path("c.toml"), &run.out).expect("written");
    place.trained("flags", "--strategy region-encoding");
    let args = ["train", "--config", &place.0.at("c.toml"), "--json", "-o", &place.0.at("file")];
    let run = glavitu(&args.map(String::from));
    assert_eq!(run.code, Some(0), "{}", run.err);
    place.assert_same("flags", "file");
    let summary: serde_json::Value = serde_json::from_str(&run.out).expect("JSON and nothing else");
    assert_eq!((summary["epochs"].as_u64(), summary["steps"].as_u64()), (Some(2), Some(6)));
    assert_eq!(summary["last_sha256"].as_str(), Some(place.weights("file/last.safetensors").parameters_sha256()));
}

#[test]
fn a_loss_that_is_not_a_number_names_the_node() {
    let place = Place::new();
    let mut writer = TileWriter::create(&place.0.path("huge.hdf5")).expect("created");
    let side = 32;
    let header = TileHeader {
        name: "ALP-0-0".into(),
        region: "ALP".into(),
        subregion: "ALP".into(),
        height: side,
        width: side,
        original_height: side,
        original_width: side,
        padding_height: 0,
        padding_width: 0,
        xmin: 0.0,
        xmax: 1.0,
        ymin: 0.0,
        ymax: 1.0,
    };
    let fill = |value: f64, channels: usize| vec![value; side * side * channels];
    let arrays =
        [("optical", 6, &fill(0.5, 6)[..]), ("dem", 2, &fill(3e38, 2)[..]), ("outlines", 2, &fill(1.0, 2)[..])];
    writer.add(&header, &arrays).and_then(|()| writer.finish()).expect("written");
    let (train, validation, run) = (place.0.at("huge.hdf5"), place.0.at("v.hdf5"), place.0.at("run"));
    let files = ["train", "--train", &train, "--validation", &validation, "-o", &run];
    let options = ["--model-size", "tiny", "--batch", "1", "--device", "cpu", "--json"];
    let run = glavitu(&files.into_iter().chain(options).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(run.code, Some(1), "{}", run.err);
    assert!(run.err.contains("epoch 1, step 1 is not a number"), "{}", run.err);
    assert!(run.err.contains("is fusion.dem"), "{}", run.err);
}

#[test]
fn learns_a_tile_by_heart() {
    let place = Place::new();
    let options = "--augmentation none --label-smoothing 0 --lr 3e-3 --schedule cosine --epochs 6 --steps-per-epoch 100 \
                   --features optical --unlabelled ignore";
    write_tiles(&place.0.path("t.hdf5"), &["ALP"], 32, 0);
    write_tiles(&place.0.path("v.hdf5"), &["ALP"], 32, 0);
    place.trained("run", options);
    let losses = place.column("run", "train_loss");
    let ious = place.column("run", "train_iou");
    println!("{losses:?} {ious:?}");
    assert!(losses.last() < losses.first());
    assert!(ious.last().is_some_and(|&iou| iou > 0.97), "{ious:?}");
    assert!(place.column("run", "validation_iou").last().is_some_and(|&iou| iou > 0.9));
}

#[test]
fn regions_and_sensors_can_be_left_out() {
    let place = Place::new();
    place.trained("without", "--exclude-regions ALP");
    place.trained("only", "--regions SC");
    let sha256 = |run: &str| place.weights(&format!("{run}/last.safetensors")).parameters_sha256().to_owned();
    assert_eq!(sha256("without"), sha256("only"));
    assert!(place.read("without/config.toml").contains("exclude_regions = [\"ALP\"]"));
    let none = place.train("none", "--exclude-regions ALP,SC");
    assert!(none.code == Some(2) && none.err.contains("other than ALP, SC"), "{}", none.err);
    // These tiles do not tell what took them.
    let none = place.train("none", "--sensors Sentinel-2");
    assert!(none.code == Some(2) && none.err.contains("not told (3)"), "{}", none.err);
    place.trained("all", "--exclude-sensors Sentinel-2");
}
