//! `glavitu tune`, and what becomes of what it saves: good, of another driver, damaged, of another version.

mod program;

use std::fs;
use std::path::Path;
use std::process::Command;

use glavitu::gpu::adapters;
use glavitu::graph::{Caps, Operator, Shape, Shapes, Tuning};
use glavitu::model::arrays::read_arrays;
use glavitu::ops::Conv2d;
use glavitu::tuning_file::{Choice, TuningFile};
use program::{Run, Workplace, data};

/// Runs the program with a cache folder of its own and a value of `GLAVITU_TUNING`.
fn glavitu(place: &Workplace, tuning: &str, args: &[&str]) -> Run {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
        .args(args)
        .env("GLAVITU_TUNING", tuning)
        .env("XDG_CACHE_HOME", place.path("cache"))
        .env("LOCALAPPDATA", place.path("cache"))
        .env("HOME", place.path("home"))
        .output()
        .expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// The network on the test data's inputs, on the first adapter; gives what was said on the way.
fn forward(place: &Workplace, tuning: &str, output: &str) -> String {
    if !place.path("model.safetensors").exists() {
        place.import("tiny_global.h5", "model.safetensors");
    }
    let inputs = data("tiny_global_inference.safetensors").display().to_string();
    let (model, output) = (place.at("model.safetensors"), place.at(output));
    let args = ["forward", "--model", &model, "--inputs", &inputs, "-o", &output, "--device", "gpu:0"];
    let run = glavitu(place, tuning, &args);
    assert_eq!(run.code, Some(0), "{}", run.err);
    run.err
}

fn largest_difference(place: &Workplace, a: &str, b: &str) -> f32 {
    let read = |name: &str| read_arrays(place.path(name)).expect("arrays");
    let pairs = read(a).into_iter().zip(read(b));
    let values = pairs.flat_map(|(a, b)| a.data.into_iter().zip(b.data));
    values.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_fastest_variants_are_saved_and_used() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let model = place.at("model.safetensors");
    let run = glavitu(&place, "", &["tune", "--model", &model, "--runs", "2", "--device", "gpu:0"]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(run.out.contains("conv2d 1x") && run.out.contains("saved in"), "{}", run.out);
    let path = glavitu::tuning_file::default_path(&adapters()[0]).expect("a folder for caches");
    let path = place.path("cache").join("glavitu/tuning").join(path.file_name().expect("a name"));
    assert!(run.out.contains(&path.display().to_string()), "{}", run.out);
    let file = TuningFile::read(&path, &adapters()[0]).expect("what was saved");
    for choice in &file.choices {
        assert!(choice.seconds.contains_key(&choice.variant), "{choice:?}");
        assert!(choice.seconds.values().all(|seconds| *seconds > 0.0), "{choice:?}");
    }
    assert_eq!(forward(&place, "", "tuned.safetensors"), "");
    assert_eq!(forward(&place, "off", "usual.safetensors"), "");
    assert!(largest_difference(&place, "tuned.safetensors", "usual.safetensors") < 2e-5);

    let run = glavitu(&place, "", &["tune", "--reset", "--device", "gpu:0"]);
    assert!(run.code == Some(0) && run.out.contains("removed") && !path.exists(), "{}{}", run.out, run.err);
    let run = glavitu(&place, "", &["tune", "--reset", "--device", "gpu:0"]);
    assert!(run.code == Some(0) && run.out.contains("nothing was saved"), "{}{}", run.out, run.err);
}

#[test]
fn training_shapes_are_measured_too() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let (model, file) = (place.at("model.safetensors"), place.at("here.json"));
    let args = ["tune", "--model", &model, "--train", "--runs", "1", "--device", "gpu:0", "--file", &file, "--json"];
    let run = glavitu(&place, "", &args);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let printed: TuningFile = serde_json::from_str(&run.out).expect("JSON");
    assert_eq!(printed, TuningFile::read(Path::new(&file), &adapters()[0]).expect("a file"));
    for operator in ["conv2d ", "conv2d_weight_gradient ", "matmul ", "matmul_weight_gradient "] {
        assert!(printed.choices.iter().any(|choice| choice.key.starts_with(operator)), "no {operator}");
    }
    assert!(!place.path("cache/glavitu").exists(), "--file leaves the cache alone");
}

/// A file with one choice: a convolution of some shape in its plain form.
fn saved(place: &Workplace, change: impl Fn(&mut TuningFile)) -> String {
    let inputs = vec![Shape::from([1, 8, 8, 4]), Shape::from([3, 3, 4, 16])];
    let outputs = Conv2d::default().shapes(&inputs).expect("they fit");
    let key = Tuning::key(&Conv2d::default(), &Shapes { inputs, outputs });
    let choice = |variant: &str| Choice {
        key: key.clone(),
        variant: variant.to_owned(),
        usual: "winograd_narrow".to_owned(),
        seconds: [("plain".to_owned(), 1.0)].into(),
    };
    let mut file = TuningFile::new(&adapters()[0], vec![choice("plain")]);
    change(&mut file);
    file.save(&place.path("tuning.json")).expect("written");
    place.at("tuning.json")
}

#[test]
fn a_saved_choice_decides_what_is_launched() {
    let place = Workplace::new();
    let path = saved(&place, |_| ());
    let tuning = TuningFile::read(Path::new(&path), &adapters()[0]).expect("a file").tuning();
    let caps = Caps { tuning: tuning.into(), ..Caps::default() };
    let inputs = vec![Shape::from([3, 8, 8, 4]), Shape::from([3, 3, 4, 16])];
    let outputs = Conv2d::default().shapes(&inputs).expect("they fit");
    let launches = Conv2d::default().launches(&Shapes { inputs, outputs }, &caps).expect("it fits");
    assert_eq!(launches[0].kernel.name, "conv2d_plain");
    // What was usual then and is not now says nothing.
    let path = saved(&place, |file| file.choices[0].usual = "plain".to_owned());
    assert!(TuningFile::read(Path::new(&path), &adapters()[0]).expect("a file").tuning().is_empty());
}

#[test]
fn files_that_do_not_fit_are_ignored_with_one_warning() {
    let place = Workplace::new();
    let one_line = |said: &str, words: &[&str]| {
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(words.iter().all(|word| said.contains(word)), "{said}");
    };
    let path = saved(&place, |file| file.driver = "an older driver".to_owned());
    one_line(&forward(&place, &path, "o.safetensors"), &["tuning.json", "an older driver", "glavitu tune"]);
    fs::write(&path, "{ \"adapter\": ").expect("written");
    one_line(&forward(&place, &path, "o.safetensors"), &["tuning.json", "glavitu tune"]);
    one_line(&forward(&place, &place.at("absent.json"), "o.safetensors"), &["absent.json"]);
    // A variant of another version is passed over.
    let path = saved(&place, |file| file.choices[0].variant = "of another version".to_owned());
    assert_eq!(forward(&place, &path, "o.safetensors"), "");
}

#[test]
fn what_cannot_be_tuned_is_told() {
    let place = Workplace::new();
    for (args, word) in [
        (vec!["tune", "--device", "cpu"], "cpu"),
        (vec!["tune", "--device", "no such adapter"], "no such adapter"),
        (vec!["tune", "--device", "gpu:0", "--file", "no/such/folder/file.json"], "no folder"),
        (vec!["tune", "--device", "gpu:0", "--reset", "--train"], "--train"),
    ] {
        let run = glavitu(&place, "", &args);
        assert!(run.code == Some(2) && run.err.contains(word), "{args:?}: {}", run.err);
    }
}
