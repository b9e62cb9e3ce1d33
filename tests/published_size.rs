//! The cases of the published model's size: every GPU against the CPU, with rates. Minutes on a software adapter, so only
//! with `GLAVITU_FULL=1`; `cargo test --release --test published_size -- --nocapture` shows the rates.

mod support;

use std::time::Instant;

use glavitu::gpu::Gpu;
use glavitu::gpu::single::SingleOperator;
use glavitu::graph::{Operator, Shape, Shapes};
use glavitu::ops::{Activation, Case, Conv2d, MatMul, REGISTRY};
use support::{assert_close, gpus, shapes, values};

fn asked_for() -> bool {
    let full = std::env::var_os("GLAVITU_FULL").is_some_and(|v| v == "1");
    if !full {
        println!("not asked for: set GLAVITU_FULL=1 to run it");
    }
    full
}

fn on_cpu(operator: &dyn Operator, shapes: &Shapes, inputs: &[Vec<f32>]) -> Vec<Vec<f64>> {
    let mut outputs: Vec<Vec<f32>> = shapes.outputs.iter().map(|s| vec![f32::NAN; s.elements()]).collect();
    let mut scratch = vec![0.0; operator.cpu_scratch(shapes)];
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut views: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    operator.compute(shapes, &inputs, &mut views, &mut scratch);
    outputs.into_iter().map(|o| o.into_iter().map(f64::from).collect()).collect()
}

/// Runs a case until a second has passed; gives outputs and the seconds of the fastest run.
fn timed(gpu: &Gpu, operator: &dyn Operator, shapes: &Shapes, inputs: &[Vec<f32>]) -> (Vec<Vec<f32>>, f64) {
    let run = || {
        let single = SingleOperator::new(gpu, operator, shapes, 0)?;
        single.write(inputs);
        let start = Instant::now();
        let mut best = f64::MAX;
        while start.elapsed().as_secs_f64() < 1.0 {
            let before = Instant::now();
            single.run()?;
            best = best.min(before.elapsed().as_secs_f64());
        }
        Ok::<_, glavitu::Error>((single.read()?, best))
    };
    run().unwrap_or_else(|e| panic!("{operator:?} of {:?} on {}: {e}", shapes.inputs, gpu.summary.name))
}

fn report(gpu: &Gpu, operator: &dyn Operator, shapes: &Shapes, seconds: f64) {
    let cost = operator.cost(shapes);
    println!(
        "{} {}{}: {:?}: {:.2} ms, {:.1} GFLOP/s, {:.1} GB/s",
        gpu.summary.name,
        operator.name(),
        if gpu.caps.plain_kernels { " (plain)" } else { "" },
        shapes.inputs,
        1e3 * seconds,
        cost.flop as f64 / seconds / 1e9,
        cost.bytes as f64 / seconds / 1e9
    );
}

#[test]
fn every_gpu_agrees_with_the_cpu_at_the_published_size() {
    if !asked_for() {
        return;
    }
    let gpus = gpus();
    for entry in REGISTRY {
        for case in (entry.cases)().into_iter().filter(|c| c.published_size) {
            let (operator, shapes, inputs) = (case.operator.as_ref(), shapes(&case), values(&case, 7));
            let expected = on_cpu(operator, &shapes, &inputs);
            for gpu in &gpus {
                let (found, seconds) = timed(gpu, operator, &shapes, &inputs);
                report(gpu, operator, &shapes, seconds);
                for (found, expected) in found.iter().zip(&expected) {
                    let what = format!("{operator:?} of {:?} on {}", shapes.inputs, gpu.summary.name);
                    assert_close(found, expected, case.tolerance, &what);
                }
            }
        }
    }
}

#[test]
fn rates_of_tiled_and_plain_kernels() {
    if !asked_for() {
        return;
    }
    let leaky = Activation::LeakyRelu { slope: 0.2 };
    let cases = [
        Case::new(
            Conv2d { activation: leaky, ..Conv2d::default() },
            [Shape::from([1, 96, 96, 64]), Shape::from([3, 3, 64, 64]), Shape::from([64])],
        ),
        Case::new(MatMul::default(), [[512, 512], [512, 512]]),
    ];
    for case in cases {
        for mut gpu in gpus() {
            for plain_kernels in [false, true] {
                gpu.caps.plain_kernels = plain_kernels;
                let (operator, shapes, inputs) = (case.operator.as_ref(), shapes(&case), values(&case, 7));
                let (_, seconds) = timed(&gpu, operator, &shapes, &inputs);
                report(&gpu, operator, &shapes, seconds);
            }
        }
    }
}
