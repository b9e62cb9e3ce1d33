//! `glavitu plan`: what a run would take, without running it.

mod program;

use program::{Workplace, glavitu};
use serde_json::Value;

const MIB: u64 = 1 << 20;

fn plan(args: &[&str]) -> Value {
    let args: Vec<String> = ["plan", "--json"].iter().chain(args).map(|a| (*a).to_owned()).collect();
    let run = glavitu(&args);
    assert_eq!(run.code, Some(0), "{args:?}: {}", run.err);
    serde_json::from_str(&run.out).expect("JSON")
}

fn peak(plan: &Value) -> u64 {
    plan["peak_bytes"].as_u64().expect("a number")
}

#[test]
fn the_published_size_meets_its_bounds() {
    for target in ["cpu", "gpu"] {
        assert!(peak(&plan(&["--target", target])) <= 260 * MIB, "inference on {target}");
        let train = ["--train", "--batch", "8", "--target", target];
        let bounded = plan(&[&train[..], &["--max-memory", "4GiB"]].concat());
        assert!(peak(&bounded) <= 4096 * MIB, "training within 4 GiB on {target}");
        assert!(bounded["repeated_flop"].as_u64() > Some(0));
    }
}

#[test]
fn steps_add_up_and_tensors_are_told() {
    let plan = plan(&["--size", "small", "--target", "gpu", "--train", "--batch", "2"]);
    let steps = plan["steps"].as_array().expect("steps");
    let sum: u64 = steps.iter().filter_map(|step| step["flop"].as_u64()).sum();
    assert_eq!(plan["flop"].as_u64(), Some(sum));
    assert!(steps.iter().all(|step| step["kernels"].as_array().is_some_and(|k| !k.is_empty())));
    let alive = steps.iter().filter_map(|step| step["alive_bytes"].as_u64()).max();
    assert_eq!(alive, plan["alive_bytes"].as_u64());
    assert!(plan["largest"].as_array().is_some_and(|tensors| tensors.iter().any(|t| t["at_peak"] == true)));
    let parts = ["weight_bytes", "prepared_bytes", "slot_bytes", "result_bytes"];
    let sum: u64 = parts.iter().filter_map(|part| plan[part].as_u64()).sum();
    assert_eq!(sum, peak(&plan));
}

#[test]
fn the_table_names_operators_and_the_peak() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let args = ["plan", "--model", &place.at("model.safetensors"), "--batch", "2", "-o", &place.at("plan.txt")];
    let run = glavitu(&args.map(str::to_owned));
    assert_eq!((run.code, run.out.as_str()), (Some(0), ""), "{}", run.err);
    let text = std::fs::read_to_string(place.path("plan.txt")).expect("a file");
    for word in ["inference on the cpu, batch 2", "peak", "conv2d", "largest tensors"] {
        assert!(text.contains(word), "{word} in {text}");
    }
}

#[test]
fn bad_input_is_told() {
    for (args, word) in [
        (vec!["--tile", "100"], "16"),
        (vec!["--max-memory", "4 quarts"], "4GiB"),
        (vec!["--model", "nowhere.safetensors"], "nowhere"),
        (vec!["--train", "--max-memory", "1MiB"], "--max-memory"),
        (vec!["--device", "no such adapter"], "no such adapter"),
        (vec!["-o", "no/such/folder/plan.txt"], "folder"),
    ] {
        let args: Vec<String> = std::iter::once("plan").chain(args).map(str::to_owned).collect();
        let run = glavitu(&args);
        assert_eq!(run.code, Some(2), "{args:?}: {}", run.err);
        assert!(run.err.contains(word), "{args:?}: {}", run.err);
    }
}

#[test]
fn the_smallest_bound_that_is_told_can_be_met() {
    let args = ["plan", "--size", "small", "--train", "--max-memory", "1MiB"].map(str::to_owned);
    let message = glavitu(&args).err;
    let told = message.split("give --max-memory ").nth(1).and_then(|rest| rest.split(',').next()).expect("a size");
    let found = plan(&["--size", "small", "--train", "--max-memory", told]);
    assert!(peak(&found) <= told.trim_end_matches("MiB").parse::<u64>().expect("MiB") * MIB, "{told}");
}
