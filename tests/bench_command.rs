//! `glavitu bench` as a user runs it: every benchmark on the CPU and on a GPU, its JSON, comparisons, and what it refuses.

mod program;

use std::fs;

use glavitu::bench::report::Report;
use glavitu::gpu::adapters;
use program::{Run, Workplace, glavitu};
use serde_json::Value;

fn bench(args: &[&str]) -> Run {
    glavitu(&[&["bench"], args].concat().iter().map(|a| (*a).to_owned()).collect::<Vec<_>>())
}

/// The CPU and the first adapter.
fn devices() -> Vec<String> {
    let first = adapters().into_iter().next().expect("an adapter, if only Mesa's software one");
    vec!["cpu".to_owned(), format!("gpu:{}", first.index)]
}

/// As short as can be.
const QUICK: [&str; 4] = ["--size", "small", "--runs", "2"];

fn json(args: &[&str]) -> Value {
    let run = bench(&[args, &QUICK, &["--json", "-"]].concat());
    assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{args:?}: {e} in {}", run.out))
}

fn positive(value: &Value) -> bool {
    value.as_f64().is_some_and(|v| v > 0.0 && v.is_finite())
}

#[test]
fn the_network_is_timed_and_taken_apart() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "m.safetensors");
    for device in devices() {
        for (what, field) in [("model", "forward"), ("train", "train_step")] {
            let model = place.at("m.safetensors");
            let run =
                bench(&[what, "--device", &device, "--model", &model, "--runs", "2", "--batch", "2", "--json", "-"]);
            assert_eq!(run.code, Some(0), "{what} on {device}: {}", run.err);
            let found: Value = serde_json::from_str(&run.out).expect("JSON");
            let label = format!("{what} on {device}: {found:#}");
            assert_eq!((&found["schema"], &found["benchmark"]), (&1.into(), &what.into()), "{label}");
            let time = &found[field];
            assert!(positive(&time["median_seconds"]) && time["runs"] == 2, "{label}");
            let ordered = ["min_seconds", "median_seconds", "max_seconds"].map(|f| time[f].as_f64().unwrap_or(-1.0));
            assert!(ordered.is_sorted(), "{label}");
            let settings = &found["settings"];
            assert_eq!((&settings["size"], &settings["batch"]), (&"m.safetensors".into(), &2.into()), "{label}");
            // The parts make up the whole.
            let rows = found["kernels"].as_array().expect("rows");
            let sum = |field: &str| rows.iter().filter_map(|r| r[field].as_f64()).sum::<f64>();
            assert!((sum("share") - 1.0).abs() < 1e-6, "{label}");
            let whole = time["kernel_seconds"].as_f64().unwrap_or(0.0);
            assert!((sum("seconds") / whole - 1.0).abs() < 1e-6, "{label}");
            let nodes = found["nodes"].as_array().expect("nodes").len();
            let counted: u64 = rows.iter().filter_map(|r| r["count"].as_u64()).sum();
            assert_eq!(counted, nodes as u64, "{label}");
            assert!(rows.iter().any(|r| r["operator"] == "conv2d" && positive(&r["gflops"])), "{label}");
            assert_eq!(found["launches"].is_null(), device == "cpu", "{label}");
            assert!(positive(&found["limits"]["fma_f32_gflops"]) && positive(&found["limits"]["copy_gbs"]), "{label}");
        }
    }
}

#[test]
fn operators_are_timed_alone() {
    for device in devices() {
        let found = json(&["kernels", "gelu", "conv2d_tiled", "--device", &device]);
        let rows = found["kernels"].as_array().expect("rows");
        let of = |name: &str| rows.iter().filter(|r| r["operator"] == name).count();
        assert!(
            of("gelu") > 0 && of("conv2d") > 0 && of("gelu") + of("conv2d") >= rows.len() - of("conv2d_input_gradient")
        );
        assert!(rows.iter().all(|r| positive(&r["seconds"]) && r["inputs"].is_string()), "{found:#}");
        assert_eq!(rows[0]["kernels"].as_array().expect("kernels").is_empty(), device == "cpu", "{found:#}");
    }
}

#[test]
fn limits_are_plausible() {
    for device in devices() {
        let run = bench(&["limits", "--device", &device, "--json", "-"]);
        assert_eq!(run.code, Some(0), "{}", run.err);
        let found: Value = serde_json::from_str(&run.out).expect("JSON");
        let limits = &found["limits"];
        for field in ["fma_f32_gflops", "read_gbs", "write_gbs", "copy_gbs", "cache_gbs", "launch_seconds"] {
            assert!(positive(&limits[field]), "{field} on {device}: {limits:#}");
        }
        // A loop that the compiler had removed would be faster than any device there is.
        assert!(limits["fma_f32_gflops"].as_f64().is_some_and(|rate| rate < 1e6), "{limits:#}");
        assert!(limits["read_gbs"].as_f64().is_some_and(|rate| rate < 1e5), "{limits:#}");
        assert_eq!(positive(&limits["round_trip_seconds"]), device != "cpu", "{limits:#}");
        assert!(positive(&found["device"]["cpu"]["threads"]), "{found:#}");
        let text = bench(&["limits", "--device", &device]);
        assert!(text.out.contains("GFLOP/s") && text.out.contains("launch"), "{}", text.out);
    }
}

#[test]
fn files_are_compared() {
    let place = Workplace::new();
    let (a, b, chart) = (place.at("laptop.json"), place.at("other machine.json"), place.at("chart.svg"));
    for path in [&a, &b] {
        let run = bench(&[&["--device", "cpu", "--json", path], &QUICK[..]].concat());
        assert_eq!(run.code, Some(0), "{}", run.err);
        assert!(run.out.contains("forward pass") && run.out.contains("conv2d"), "{}", run.out);
        let report = Report::read(path.as_ref()).expect("a report");
        assert_eq!((report.settings.size.as_str(), report.settings.tile), ("small", 128));
    }
    let run = bench(&["--compare", &a, &b, "-o", &chart]);
    assert_eq!(run.code, Some(0), "{}", run.err);
    for word in ["laptop", "other machine", "Forward pass", "GB/s", "conv2d"] {
        assert!(run.out.contains(word), "{word} in {}", run.out);
    }
    let svg = fs::read_to_string(&chart).expect("a chart");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && svg.contains("Forward pass"), "{svg}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    for element in ["text", "svg"] {
        assert_eq!(svg.matches(&format!("<{element} ")).count(), svg.matches(&format!("</{element}>")).count());
    }
    // Different work is pointed out.
    let text = fs::read_to_string(&b).expect("a report").replace("\"batch\": 1", "\"batch\": 4");
    fs::write(&b, text).expect("written");
    let run = bench(&["--compare", &a, &b]);
    assert!(run.code == Some(0) && run.err.contains("did different work"), "{}", run.err);
}

#[cfg(target_os = "linux")]
#[test]
fn an_interrupted_benchmark_writes_nothing() {
    let place = Workplace::new();
    let json = place.path("model.json");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("glavitu"))
        .args(["bench", "--size", "small", "--device", "cpu", "--seconds", "600", "--json"])
        .arg(&json)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("runs");
    program::interrupt(child.id());
    let code = child.wait().expect("ends").code();
    assert!(code == Some(130) && !json.exists(), "{code:?}");
}

#[test]
fn mistakes_give_one_line_and_exit_code_2() {
    let place = Workplace::new();
    let (no_json, other, old) = (place.at("text.json"), place.at("other.json"), place.at("old.json"));
    let (cut, chart) = (place.at("cut.json"), place.at("none/chart.svg"));
    for (path, text) in [(&no_json, "time: 1"), (&other, "{}"), (&old, "{\"schema\": 99}"), (&cut, "{\"schema\": 1}")] {
        fs::write(path, text).expect("written");
    }
    let missing = place.at("missing.json");
    let cases: [(&[&str], &str); 13] = [
        (&["kernels", "conv2"], "did you mean conv2d,"),
        (&["model", "conv2d"], "bench kernels NAME"),
        (&["limits", "--seconds=-1"], "a number from 0 to 3600"),
        (&["limits", "--seconds", "nan"], "a number from 0 to 3600"),
        (&["--device", "no such adapter"], "no device matches"),
        (&["--device", "gpu:x"], "gpu:N"),
        (&["--model", &missing], "missing.json"),
        (&["limits", "--json", &chart], "no folder"),
        (&["--compare", &missing], "missing.json"),
        (&["--compare", &no_json], "no JSON"),
        (&["--compare", &other], "JSON without a schema"),
        (&["--compare", &old], "schema 99, expected a benchmark's JSON of schema 1"),
        (&["--compare", &cut], "lacks something"),
    ];
    for (args, part) in cases {
        let run = bench(args);
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{args:?}: {}", run.err);
        assert!(
            run.err.starts_with("error: ") && run.err.lines().count() == 1 && run.err.contains(part),
            "{}",
            run.err
        );
    }
    // Arguments that exclude each other are the parser's matter.
    let usage: [&[&str]; 4] =
        [&["nothing"], &["--runs", "0"], &["-o", "chart.svg"], &["--compare", &no_json, "--json", "x.json"]];
    for args in usage {
        assert_eq!(bench(args).code, Some(2), "{args:?}");
    }
}
