//! `glavitu kernels` through the program, and the chapter of the README about it, command by command.

mod program;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use glavitu::ops::REGISTRY;
use program::{Run, Workplace, glavitu};
use serde_json::Value;

fn kernels(args: &[&str]) -> Run {
    glavitu(&[&["kernels"], args].concat().into_iter().map(str::to_owned).collect::<Vec<_>>())
}

/// The same of a run that must succeed: its standard output.
fn output(args: &[&str]) -> String {
    let run = kernels(args);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{args:?}");
    run.out
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&output(args)).expect("JSON")
}

/// A folder with one changed kernel: `from` replaced by `to` in the built-in text.
fn changed(place: &Workplace, name: &str, from: &str, to: &str) -> String {
    let text = output(&["show", "--source", name]);
    assert!(text.contains(from), "{name} has no {from}");
    let file = place.path("mine").join(format!("{name}.wgsl"));
    fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    fs::write(file, text.replace(from, to)).expect("written");
    place.at("mine")
}

/// A run that must be refused for what was given, with these words.
fn refused(args: &[&str], words: &[&str]) {
    let run = kernels(args);
    assert_eq!(run.code, Some(2), "{args:?}: {}", run.err);
    for word in words {
        assert!(run.err.contains(word), "no '{word}' in: {}", run.err);
    }
}

#[test]
fn the_list_has_every_operator_and_kernel() {
    let rows = json(&["list", "--json"]);
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    let rows = rows.as_array().expect("rows");
    let found: Vec<_> = rows.iter().map(|row| (text(row, "operator"), text(row, "kernel"))).collect();
    let entries = REGISTRY.iter();
    let expected: Vec<_> =
        entries.flat_map(|e| e.kernels.iter().map(|k| (e.name.to_owned(), k.name.to_owned()))).collect();
    assert_eq!(found, expected);
    for row in rows {
        assert!(row["threads"].as_u64().is_some_and(|n| (1..=256).contains(&n)), "{row}");
        assert!(row["storage_buffers"].as_u64().is_some_and(|n| (1..=8).contains(&n)), "{row}");
        assert!(!text(row, "taken").is_empty(), "{row}");
    }
    let table = output(&["list"]);
    assert!(table.contains("conv2d_tiled") && table.contains("8 channels out or more"), "{table}");
}

#[test]
fn shown_kernels_compile_and_sources_are_the_files() {
    let text = output(&["show", "matmul_tiled"]);
    naga::front::wgsl::parse_str(&text).expect("prelude, shared files and the kernel make one text");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    for name in ["attention", "shared/tile"] {
        let file = fs::read_to_string(folder.join(format!("{name}.wgsl"))).expect("a file");
        assert_eq!(output(&["show", "--source", name]), file);
    }
    let place = Workplace::new();
    let mine = changed(&place, "shared/tile", "const GROUP_THREADS", "// mine\nconst GROUP_THREADS");
    assert!(output(&["show", "matmul_tiled", "--kernels", &mine]).contains("// mine"));
    refused(&["show", "matmul_tild4"], &["matmul_tiled"]);
}

#[test]
fn dumped_kernels_are_plain_and_the_index_names_them_all() {
    let place = Workplace::new();
    let folder = place.at("wgsl");
    let files = || -> BTreeSet<PathBuf> {
        let files = fs::read_dir(&folder).expect("a folder").map(|f| f.expect("an entry").path());
        files.filter(|f| f.extension().is_some_and(|e| e == "wgsl")).collect()
    };
    let index = || -> Value {
        let text = fs::read_to_string(place.path("wgsl").join("index.json")).expect("an index");
        serde_json::from_str(&text).expect("JSON")
    };
    output(&["dump", "--size", "small", "-o", &folder]);
    let (both, all) = (index(), files());
    let mut plans = BTreeSet::new();
    for kernel in both["kernels"].as_array().expect("kernels") {
        let file = place.path("wgsl").join(kernel["file"].as_str().expect("a name"));
        assert!(all.contains(&file), "{}", file.display());
        let module = naga::front::wgsl::parse_str(&fs::read_to_string(&file).expect("a file")).expect("plain WGSL");
        assert!(module.overrides.is_empty(), "{} has constants left to choose", file.display());
        for launch in kernel["launches"].as_array().expect("launches") {
            plans.insert(launch["plan"].as_str().expect("a name").to_owned());
            assert!(launch["groups"].as_u64().is_some_and(|n| n > 0), "{launch}");
            assert!(launch["params"].as_object().is_some_and(|p| p.values().all(Value::is_number)), "{launch}");
            assert!(launch["node"].as_str().is_some_and(|n| n.contains('/')), "{launch}");
        }
    }
    assert_eq!(both["kernels"].as_array().map(Vec::len), Some(all.len()));
    assert_eq!(plans, BTreeSet::from(["inference".to_owned(), "training".to_owned()]));

    // A second dump replaces the first, and leaves other files alone.
    fs::write(place.path("wgsl").join("own.wgsl"), "// mine").expect("written");
    output(&["dump", "--size", "small", "--plan", "inference", "-o", &folder]);
    let fewer = files();
    assert!(fewer.len() < all.len() && fewer.contains(&place.path("wgsl").join("own.wgsl")));
    assert!(!index().to_string().contains("\"training\""));
    refused(&["dump", "-o", &folder, "--device", "no such adapter"], &["no such adapter"]);
}

#[test]
fn built_in_kernels_pass_and_say_how_well() {
    let text = output(&["check", "gelu", "softmax"]);
    assert!(text.contains("ok    gelu case 0") && text.contains("ok    softmax case 0"), "{text}");
    assert!(text.contains("against float64") && text.contains("cases agree"), "{text}");
    let outcomes = json(&["check", "gelu", "--json"]);
    for outcome in outcomes.as_array().expect("outcomes") {
        assert_eq!(outcome["passed"], Value::Bool(true));
        let small = |key: &str| outcome[key].as_f64().is_some_and(|nmse| nmse <= 1e-7);
        assert!(small("nmse") && small("nmse_against_cpu"), "{outcome}");
    }
}

#[test]
fn a_changed_kernel_runs_instead_of_the_built_in_one() {
    let place = Workplace::new();
    let mine = changed(&place, "attention", "CAPACITY: u32 = 512u", "CAPACITY: u32 = 128u");
    assert!(output(&["check", "--kernels", &mine]).contains("attention case 0"));
    let place = Workplace::new();
    let mine = changed(&place, "gelu", "store_item(", "store_item(1.01 * ");
    let run = kernels(&["check", "--kernels", &mine]);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.contains("WRONG gelu case 0") && run.out.contains("NMSE"), "{}", run.out);
    let run = kernels(&["bench", "gelu", "--kernels", &mine]);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.contains("WRONG gelu"), "{}", run.out);
    // Not all of the output is written, which shows as what was there before.
    let mine = changed(&place, "gelu", "ITEMS: u32 = 4u", "ITEMS: u32 = 2u");
    let run = kernels(&["check", "gelu", "--kernels", &mine]);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.contains("is NaN"), "{}", run.out);
}

#[test]
fn writes_after_the_end_are_noticed() {
    let place = Workplace::new();
    let mine = changed(&place, "gelu", "if i < params.count {", "if i <= params.count {");
    let run = kernels(&["check", "--kernels", &mine]);
    assert_eq!(run.code, Some(2), "{}", run.err);
    assert!(run.out.contains("elements after the end"), "{}", run.out);
}

#[test]
fn a_kernel_that_does_not_compile_is_told_with_file_and_line() {
    let place = Workplace::new();
    let mine = changed(&place, "gelu", "            out[i] = ", "            nowhere[i] = ");
    let line = 1 + fs::read_to_string(place.path("mine/gelu.wgsl"))
        .expect("a file")
        .lines()
        .position(|line| line.contains("nowhere"))
        .expect("a line");
    refused(&["check", "--kernels", &mine], &[&format!("gelu.wgsl:{line}:"), "nowhere", "^^^^^^^"]);
    refused(&["bench", "gelu", "--kernels", &mine], &[&format!("gelu.wgsl:{line}:")]);
    let mine = changed(&place, "gelu", "    count: u32,", "    count: u32,\n    more: u32,");
    refused(&["check", "--kernels", &mine], &["gelu", "more", "expected"]);
}

#[test]
fn folders_and_names_that_mean_nothing_are_refused() {
    let place = Workplace::new();
    let mine = changed(&place, "gelu", "out", "out");
    fs::write(place.path("mine/README.md"), "notes").expect("written");
    fs::write(place.path("mine/gelu.wgsl~"), "a backup").expect("written");
    output(&["check", "--kernels", &mine]);
    refused(&["check", "softmax", "--kernels", &mine], &["softmax", "gelu"]);
    fs::write(place.path("mine/atention.wgsl"), "").expect("written");
    refused(&["check", "--kernels", &mine], &["atention.wgsl", "such as attention.wgsl,"]);
    refused(&["check", "--kernels", &place.at("nothing")], &["nothing"]);
    fs::create_dir(place.path("empty")).expect("made");
    refused(&["check", "--kernels", &place.at("empty")], &["no kernels", "kernels show --source"]);
    refused(&["check", "gelo"], &["gelu"]);
    refused(&["check", "gelu", "--device", "cpu"], &["cpu"]);
    refused(&["bench", "gelu", "--case", "99"], &["case 99"]);
}

#[test]
fn a_change_is_timed_against_the_built_in_kernel() {
    let place = Workplace::new();
    let mine = changed(&place, "gelu", "out", "out");
    let timed = json(&["bench", "gelu", "--kernels", &mine, "--case", "0", "--runs", "3", "--json"]);
    let timed = timed.as_array().expect("cases");
    assert_eq!(timed.len(), 1);
    let positive = |value: &Value| value.as_f64().is_some_and(|number| number > 0.0);
    assert!(positive(&timed[0]["ratio"]) && positive(&timed[0]["built_in"]["median_seconds"]), "{timed:?}");
    let text = output(&["bench", "gelu", "--case", "0", "--runs", "1"]);
    assert!(text.contains("gelu case 0") && text.contains(" ms"), "{text}");
}

/// The commands of the README's chapter, in a shell, in order, each with the exit code that its comment names.
#[cfg(unix)]
#[test]
fn the_chapter_of_the_readme_works() {
    let readme = include_str!("../README.md");
    let (_, chapter) = readme.split_once("## Change a kernel and see what happens\n").expect("the chapter");
    let chapter = chapter.split("\n## ").next().expect("its text");
    let program = assert_cmd::cargo::cargo_bin!("glavitu");
    let path = std::env::join_paths(
        program
            .parent()
            .map(Path::to_path_buf)
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").expect("a path"))),
    );
    let path = path.expect("a path");
    let place = Workplace::new();
    let mut ran = 0;
    for block in chapter.split("```").skip(1).step_by(2) {
        for line in block.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            let expected = if line.contains("# exit code 2") { 2 } else { 0 };
            let run = Command::new("sh").args(["-c", line]).current_dir(place.path("")).env("PATH", &path).output();
            let run = run.expect("a shell");
            let told = String::from_utf8_lossy(&run.stderr);
            assert_eq!(run.status.code(), Some(expected), "{line}: {told}");
            ran += 1;
            if line.contains("sed ") {
                let text = fs::read_to_string(place.path("mine/attention.wgsl")).expect("the changed kernel");
                assert_ne!(text, output(&["show", "--source", "attention"]), "{line} changed nothing");
            }
        }
    }
    assert!(ran >= 7, "only {ran} commands");
}
