//! Every operator of the registry: the CPU and every GPU against the f64 definition, and kernels against their interface.

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use glavitu::gpu::prelude::Form;
use glavitu::gpu::single::{SENTINEL, SingleOperator};
use glavitu::gpu::{ChangedKernels, kernel};
use glavitu::graph::{Caps, Launch, Shapes, Storage};
use glavitu::ops::{Case, REGISTRY};
use support::{assert_close, gpus, reference, shapes, values};

/// Sentinels after every output.
const TAIL: usize = 256;

struct Expectation {
    label: String,
    case: Case,
    shapes: Shapes,
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f64>>,
}

/// The case in its exact form, if it has one.
fn exact(case: &Case) -> Option<Case> {
    case.operator.exact().map(|operator| Case { operator, ..case.clone() })
}

/// All small cases, and their exact forms, with the definition's outputs.
fn expectations() -> Vec<Expectation> {
    let mut made = Vec::new();
    for entry in REGISTRY {
        for (i, case) in (entry.cases)().into_iter().enumerate().filter(|(_, case)| !case.published_size) {
            let shapes = shapes(&case);
            let inputs = values(&case, i as u64);
            let outputs = reference(&case, &shapes, &inputs);
            let exact = exact(&case);
            for case in [Some(case), exact].into_iter().flatten() {
                let label = format!("{} case {i}, {:?} of {:?}", entry.name, case.operator, shapes.inputs);
                let (shapes, inputs, outputs) = (shapes.clone(), inputs.clone(), outputs.clone());
                made.push(Expectation { label, case, shapes, inputs, outputs });
            }
        }
    }
    made
}

fn assert_outputs(found: &[Vec<f32>], expected: &Expectation, tail: usize, device: &str) {
    assert_eq!(found.len(), expected.outputs.len());
    for (o, (found, reference)) in found.iter().zip(&expected.outputs).enumerate() {
        let what = format!("{} on {device}, output {o}", expected.label);
        let (values, after) = found.split_at(found.len() - tail);
        assert_close(values, reference, expected.case.tolerance, &what);
        if let Some(i) = after.iter().position(|&x| x != SENTINEL) {
            panic!("{what}: {} written {i} elements after the end", after[i]);
        }
    }
}

/// What the CPU makes of a case on so many threads, with sentinels after every output; one input may lie in the first output.
fn on_cpu(expected: &Expectation, threads: usize, in_place: Option<usize>) -> Vec<Vec<f32>> {
    let poisoned = |n: usize| [vec![f32::NAN; n], vec![SENTINEL; TAIL]].concat();
    let mut outputs: Vec<Vec<f32>> = expected.shapes.outputs.iter().map(|s| poisoned(s.elements())).collect();
    let mut inputs: Vec<&[f32]> = expected.inputs.iter().map(Vec::as_slice).collect();
    if let Some(input) = in_place {
        outputs[0][..inputs[input].len()].copy_from_slice(inputs[input]);
        inputs[input] = &[];
    }
    let mut scratch = vec![f32::NAN; expected.case.operator.cpu_scratch(&expected.shapes)];
    let mut views: Vec<&mut [f32]> = outputs
        .iter_mut()
        .map(|o| {
            let len = o.len() - TAIL;
            &mut o[..len]
        })
        .collect();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a few threads");
    pool.install(|| expected.case.operator.compute(&expected.shapes, &inputs, &mut views, &mut scratch));
    outputs
}

#[test]
fn the_cpu_agrees_with_the_definitions() {
    for expected in expectations() {
        assert_outputs(&on_cpu(&expected, 2, None), &expected, TAIL, "the CPU");
    }
}

#[test]
fn the_cpu_gives_the_same_bits_on_any_number_of_threads() {
    let bits = |outputs: Vec<Vec<f32>>| outputs.concat().into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    for expected in expectations() {
        let alone = bits(on_cpu(&expected, 1, None));
        for threads in [2, 5] {
            assert!(bits(on_cpu(&expected, threads, None)) == alone, "{} on {threads} threads", expected.label);
        }
    }
}

#[test]
fn in_place_the_cpu_gives_the_same_bits() {
    let bits = |outputs: Vec<Vec<f32>>| outputs.concat().into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    let mut tried = 0;
    for expected in expectations() {
        for input in expected.case.operator.in_place(&expected.shapes) {
            let apart = bits(on_cpu(&expected, 2, None));
            assert!(bits(on_cpu(&expected, 2, Some(input))) == apart, "{}, input {input} in place", expected.label);
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} cases can be computed in place");
}

#[test]
fn in_place_every_gpu_agrees_with_the_definitions() {
    let expectations = expectations();
    for gpu in gpus() {
        for expected in &expectations {
            let operator = expected.case.operator.as_ref();
            for input in operator.in_place(&expected.shapes) {
                let device = format!("{}, input {input} in place", gpu.summary.name);
                let run = || {
                    let single = SingleOperator::in_place(&gpu, operator, &expected.shapes, TAIL, input)?;
                    single.write(&expected.inputs);
                    single.run()?;
                    single.read()
                };
                let found = run().unwrap_or_else(|e| panic!("{} on {device}: {e}", expected.label));
                assert_outputs(&found, expected, TAIL, &device);
            }
        }
    }
}

#[test]
fn every_gpu_agrees_with_the_definitions() {
    let expectations = expectations();
    for whole in gpus() {
        for expected in &expectations {
            let operator = expected.case.operator.as_ref();
            let ways = expected.case.ways(&expected.shapes, &whole.caps).expect("every adapter's limits suffice");
            for (way, caps) in ways {
                let device = format!("{} {way}", whole.summary.name);
                let mut gpu = whole.clone();
                gpu.caps = caps;
                let run = || {
                    let single = SingleOperator::new(&gpu, operator, &expected.shapes, TAIL)?;
                    single.write(&expected.inputs);
                    single.run()?;
                    single.read()
                };
                let found = run().unwrap_or_else(|e| panic!("{} on {device}: {e}", expected.label));
                assert_outputs(&found, expected, TAIL, &device);
            }
        }
    }
}

/// The form of a launch on tensors of floats.
fn f32_form(launch: &Launch) -> Form {
    Form::of(launch, Storage::F32, &Caps::default())
}

/// The same in long words.
fn long_form(launch: &Launch) -> Form {
    Form::of(launch, Storage::F32, &Caps { long_words: true, ..Caps::default() })
}

#[test]
fn kernels_match_their_launches_and_the_default_limits() {
    for entry in REGISTRY {
        let mut launched = BTreeSet::new();
        let cases = (entry.cases)().into_iter().flat_map(|case| [exact(&case), Some(case)]).flatten();
        for case in cases {
            for (_, caps) in case.ways(&shapes(&case), &Caps::default()).expect("default limits suffice") {
                let launches = case.operator.launches(&shapes(&case), &caps).expect("default limits suffice");
                assert!(!launches.is_empty(), "{} launches nothing", entry.name);
                for launch in launches {
                    let name = launch.kernel.name;
                    let resources = kernel::check(&launch, f32_form(&launch), &ChangedKernels::default())
                        .unwrap_or_else(|e| panic!("{e}"));
                    assert!((1..=256).contains(&resources.invocations), "{name}: {resources:?}");
                    assert!(resources.workgroup_bytes <= 16 << 10, "{name}: {resources:?}");
                    assert!(resources.storage_buffers <= 8, "{name}: {resources:?}");
                    kernel::check(&launch, long_form(&launch), &ChangedKernels::default())
                        .unwrap_or_else(|e| panic!("in long words: {e}"));
                    launched.insert(name);
                }
            }
        }
        let listed: BTreeSet<&str> = entry.kernels.iter().map(|k| k.name).collect();
        assert_eq!(launched, listed, "kernels of {}: launched by a case, and listed in the registry", entry.name);
    }
}

#[test]
fn every_kernel_file_belongs_to_an_operator() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let stems = |folder: &Path| -> BTreeSet<String> {
        let files = std::fs::read_dir(folder).expect("the folder of kernels").map(|f| f.expect("an entry").path());
        let wgsl = files.filter(|p| p.extension().is_some_and(|e| e == "wgsl"));
        wgsl.map(|p| p.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    };
    let kernels: Vec<_> = REGISTRY.iter().flat_map(|e| e.kernels).collect();
    assert_eq!(stems(&folder), kernels.iter().map(|k| k.name.to_owned()).collect());
    for shared in stems(&folder.join("shared")) {
        let text =
            std::fs::read_to_string(folder.join("shared").join(format!("{shared}.wgsl"))).expect("a shared file");
        assert!(
            kernels.iter().any(|k| k.shared.iter().any(|file| file.name == shared && file.source == text)),
            "no kernel uses shared/{shared}.wgsl"
        );
    }
}

#[test]
fn a_kernel_that_differs_from_its_launch_is_noticed() {
    let gelu = REGISTRY.iter().find(|e| e.name == "gelu").expect("gelu is registered");
    let case = &(gelu.cases)()[0];
    let launches = || case.operator.launches(&shapes(case), &Caps::default()).expect("launches");
    let mut renamed = launches().remove(0);
    renamed.params.fields = &[("number", 0)];
    let mut swapped = launches().remove(0);
    swapped.bindings.reverse();
    let mut extra = launches().remove(0);
    extra.constants.push(("NO_SUCH_CONSTANT", 1.0));
    for (launch, word) in [(renamed, "number"), (swapped, "binding 0"), (extra, "NO_SUCH_CONSTANT")] {
        let message =
            kernel::check(&launch, f32_form(&launch), &ChangedKernels::default()).expect_err("it differs").to_string();
        assert!(message.contains(word), "{message}");
    }
}
