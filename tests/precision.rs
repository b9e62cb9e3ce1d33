//! Halves in memory: kernels, casts and whole networks with `--precision f16`, with the device's own 16-bit floats and with packed ones.

mod program;
mod support;

use std::collections::BTreeSet;

use glavitu::executor::{Arrays, Executor};
use glavitu::gpu::prelude::Form;
use glavitu::gpu::single::{SENTINEL, SingleOperator};
use glavitu::gpu::{ChangedKernels, Gpu, GpuExecutor, kernel};
use glavitu::graph::storage::nearest_half;
use glavitu::graph::{Caps, NodeStorage, Shape, Shapes, Storage};
use glavitu::model::Weights;
use glavitu::model::arrays::read_arrays;
use glavitu::model::network::inference_graph;
use glavitu::ops::{Case, Cast, REGISTRY};
use glavitu::plan::{PlanOptions, Precision};
use program::{Workplace, data, glavitu};
use support::{assert_close, gpus, reference, shapes, values};

/// Largest normalised mean squared error of a kernel on halves: rounding the result alone makes 3e-8.
const KERNEL_TOLERANCE: f64 = 2e-7;

/// Softmax outputs may be this far from float64.
const SOFTMAX_TOLERANCE: f32 = 2e-2;

/// Sentinels after every output.
const TAIL: usize = 67;

/// Every adapter with the storage it has: its own halves, if any, and packed ones.
fn gpus_with_halves() -> Vec<(Gpu, String)> {
    let mut made = Vec::new();
    for gpu in gpus() {
        for native_half in [true, false] {
            if native_half && !gpu.summary.f16 {
                println!("{} has no 16-bit floats: packed ones only", gpu.summary.name);
                continue;
            }
            let mut gpu = gpu.clone();
            gpu.caps.native_half = native_half;
            let name = format!("{} with {} halves", gpu.summary.name, if native_half { "native" } else { "packed" });
            made.push((gpu, name));
        }
    }
    made
}

/// The storage of a case's tensors when it runs on halves, if it can.
fn on_halves(case: &Case, shapes: &Shapes, caps: &Caps) -> Option<NodeStorage> {
    let launches = case.operator.launches(shapes, &caps.on(Storage::F16)).expect("default limits suffice");
    NodeStorage::of(&launches, shapes, Storage::F16, caps)
}

/// The operators of inference that run on halves; those of training alone never do.
const INFERENCE: [&str; 18] = [
    "add",
    "attention",
    "batch_norm",
    "concat",
    "conv2d",
    "extract_patches",
    "gelu",
    "global_average_pool",
    "layer_norm",
    "leaky_relu",
    "matmul",
    "max_pool",
    "multiply",
    "reshape",
    "scaled_sum",
    "sigmoid",
    "upsample_bilinear",
    "upsample_nearest",
];

#[test]
fn kernels_on_halves_agree_with_the_definitions() {
    for (gpu, name) in gpus_with_halves() {
        let mut ran = BTreeSet::new();
        for entry in REGISTRY.iter().filter(|entry| INFERENCE.contains(&entry.name)) {
            for (i, case) in (entry.cases)().into_iter().enumerate().filter(|(_, case)| !case.published_size) {
                let shapes = shapes(&case);
                let Some(of) = on_halves(&case, &shapes, &gpu.caps) else { continue };
                let mut inputs = values(&case, i as u64);
                for (input, _) in inputs.iter_mut().zip(&of.inputs).filter(|(_, s)| **s == Storage::F16) {
                    input.iter_mut().for_each(|x| *x = nearest_half(*x).to_f32());
                }
                let expected = reference(&case, &shapes, &inputs);
                let what = format!("{} case {i}, {:?} on {name}", entry.name, case.operator);
                let run = || {
                    let single = SingleOperator::on(&gpu, case.operator.as_ref(), &shapes, Storage::F16, TAIL)?;
                    single.write(&inputs);
                    single.run()?;
                    single.read()
                };
                let found = run().unwrap_or_else(|e| panic!("{what}: {e}"));
                for (o, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let (values, after) = found.split_at(found.len() - TAIL);
                    let tolerance = case.tolerance.max(KERNEL_TOLERANCE);
                    assert_close(values, expected, tolerance, &format!("{what}, output {o}"));
                    assert!(after.iter().all(|&x| x == SENTINEL), "{what}, output {o}: written after the end");
                }
                ran.insert(entry.name);
            }
        }
        println!("on {name}: {ran:?}");
        assert!(INFERENCE.iter().all(|operator| ran.contains(operator)), "on {name} ran {ran:?}");
    }
}

#[test]
fn kernels_on_halves_match_their_launches() {
    for entry in REGISTRY.iter().filter(|entry| INFERENCE.contains(&entry.name)) {
        for case in (entry.cases)() {
            let shapes = shapes(&case);
            for native_half in [true, false] {
                let caps = Caps { native_half, ..Caps::default() };
                if on_halves(&case, &shapes, &caps).is_none() {
                    continue;
                }
                for launch in case.operator.launches(&shapes, &caps.on(Storage::F16)).expect("default limits suffice") {
                    let form = Form::of(&launch, launch.storage_in(Storage::F16), &caps);
                    let resources =
                        kernel::check(&launch, form, &ChangedKernels::default()).unwrap_or_else(|e| panic!("{e}"));
                    assert!(resources.workgroup_bytes <= 16 << 10, "{}: {resources:?}", launch.kernel.name);
                }
            }
        }
    }
}

#[test]
fn casts_round_to_the_nearest_half_bit_for_bit() {
    let largest = f32::from(half::f16::MAX);
    let mut given =
        vec![0.0, -0.0, 1.0, largest, -largest, 65_519.0, 65_520.0, 1e9, -1e9, f32::INFINITY, f32::NEG_INFINITY];
    // Ties between neighbours, just beside them, and the carry into the next power of two.
    for exponent in [-24, -20, -15, -14, -13, -1, 0, 9, 14] {
        let step = 2.0_f32.powi((exponent - 10).max(-24));
        for i in 0..5 {
            let tie = 2.0_f32.powi(exponent) + step * (i as f32 + 0.5);
            given.extend([tie, -tie, tie.next_up(), tie.next_down()]);
        }
        given.push(2.0_f32.powi(exponent + 1).next_down());
    }
    given.extend([2.0_f32.powi(-25), 2.0_f32.powi(-25).next_up(), 1e-30, f32::MIN_POSITIVE, f32::from_bits(1)]);
    if given.len().is_multiple_of(2) {
        given.push(3.0);
    }
    let shapes = Shapes { inputs: vec![Shape::from([given.len()])], outputs: vec![Shape::from([given.len()])] };
    let expected: Vec<u16> = given.iter().map(|&x| nearest_half(x).to_bits()).collect();
    for gpu in gpus() {
        let cast = |to: Storage, values: &[f32]| {
            let single = SingleOperator::new(&gpu, &Cast { to }, &shapes, 0).expect("it fits");
            single.write(&[values.to_vec()]);
            single.run().expect("it runs");
            single.read().expect("it is read").remove(0)
        };
        let halves = cast(Storage::F16, &given);
        for ((&x, &found), &expected) in given.iter().zip(&halves).zip(&expected) {
            let bits = half::f16::from_f32(found).to_bits();
            assert_eq!(bits, expected, "{x:e} became {found:e} on {}", gpu.summary.name);
        }
        let back = cast(Storage::F32, &halves);
        assert!(back.iter().zip(&halves).all(|(a, b)| a.to_bits() == b.to_bits()), "on {}", gpu.summary.name);
        let faulty = cast(Storage::F16, &vec![f32::NAN; given.len()]);
        assert!(faulty.iter().all(|x| x.is_nan()), "NaN is lost on {}", gpu.summary.name);
        assert!(cast(Storage::F32, &faulty).iter().all(|x| x.is_nan()), "NaN is lost on {}", gpu.summary.name);
    }
}

#[test]
fn small_models_on_halves_are_near_float64() {
    for model in ["tiny_global", "tiny_region"] {
        let place = Workplace::new();
        place.import(&format!("{model}.h5"), "model.safetensors");
        let weights = Weights::load(place.path("model.safetensors")).expect("a model");
        let arrays = read_arrays(data(&format!("{model}_inference.safetensors"))).expect("the reference");
        let inputs: Arrays = arrays.iter().map(|a| (a.name.clone(), a.data.clone())).collect();
        let samples = arrays.iter().find(|a| a.name.starts_with("input.")).expect("an input").shape[0];
        let graph = inference_graph(weights.config(), samples).expect("a graph");
        for (gpu, name) in gpus_with_halves() {
            let options = PlanOptions { precision: Precision::F16, ..PlanOptions::default() };
            let mut executor = GpuExecutor::new(gpu, &graph, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
            executor.load(&weights).unwrap_or_else(|e| panic!("{name}: {e}"));
            let found = executor.run(&inputs).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(executor.allocated_bytes() >= executor.plan().peak_bytes());
            for (output, found) in found {
                let expected = &inputs[&format!("inference.{output}")];
                let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                println!("{model}, {output}, on {name}: {worst:.1e}");
                assert!(worst <= SOFTMAX_TOLERANCE, "{model}, {output}, on {name}: {worst:e}");
                assert!(found.iter().all(|p| p.is_finite()), "{model}, {output}, on {name}");
            }
        }
    }
}

#[test]
fn the_program_takes_halves_on_a_gpu_and_refuses_them_elsewhere() {
    let place = Workplace::new();
    place.import("tiny_global.h5", "model.safetensors");
    let inputs = data("tiny_global_inference.safetensors").display().to_string();
    let (model, output) = (place.at("model.safetensors"), place.at("output.safetensors"));
    let forward = |device: &str, precision: &str| {
        let args = [
            "forward",
            "--model",
            &model,
            "--inputs",
            &inputs,
            "-o",
            &output,
            "--device",
            device,
            "--precision",
            precision,
        ];
        glavitu(&args.map(str::to_owned))
    };
    let run = forward("gpu:0", "f16");
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert!(read_arrays(&output).expect("the output").iter().all(|a| a.data.iter().all(|p| (0.0..=1.0).contains(p))));
    let run = forward("cpu", "f16");
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("f16") && run.err.contains("CPU") && run.err.lines().count() == 1, "{}", run.err);
    let run = forward("gpu:0", "f8");
    assert_eq!(run.code, Some(2));
    let args =
        ["backward", "--model", &model, "--batch", &inputs, "-o", &output, "--device", "gpu:0", "--precision", "f16"];
    let run = glavitu(&args.map(str::to_owned));
    assert_eq!(run.code, Some(2));
    assert!(run.err.contains("f16"), "{}", run.err);
}
