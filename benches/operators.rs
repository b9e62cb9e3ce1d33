//! Times every operator of the registry at the published model's sizes: `cargo bench --bench operators [-- NAME]`.
//!
//! On the CPU, or on the device that the environment names: `GLAVITU_BENCH_DEVICE=gpu cargo bench --bench operators -- conv2d`.

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use glavitu::gpu::Gpu;
use glavitu::gpu::single::SingleOperator;
use glavitu::graph::Shapes;
use glavitu::ops::{Case, REGISTRY};

fn operators(criterion: &mut Criterion) {
    let device = std::env::var("GLAVITU_BENCH_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let gpu = (device != "cpu").then(|| Gpu::open(&device).unwrap_or_else(|e| panic!("GLAVITU_BENCH_DEVICE: {e}")));
    for entry in REGISTRY {
        let mut group = criterion.benchmark_group(format!("{device}/{}", entry.name));
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
        for case in (entry.cases)().into_iter().filter(|case| case.published_size) {
            let shapes = case.shapes().expect("the registry's cases fit their operators");
            let cost = case.operator.cost(&shapes);
            // Criterion's "elements" are floating-point operations where there are any, else bytes.
            group.throughput(if cost.flop > 0 {
                Throughput::Elements(cost.flop)
            } else {
                Throughput::Bytes(cost.bytes)
            });
            let label = shapes.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            match &gpu {
                None => on_cpu(&mut group, &label, &case, &shapes),
                Some(gpu) => on_gpu(&mut group, &label, &case, &shapes, gpu),
            }
        }
        group.finish();
    }
}

fn on_cpu(group: &mut BenchmarkGroup<'_, WallTime>, label: &str, case: &Case, shapes: &Shapes) {
    let mut data = Vec::new();
    let mut results: Vec<Vec<f32>> = shapes.outputs.iter().map(|shape| vec![0.0; shape.elements()]).collect();
    let mut scratch = vec![0.0; case.operator.cpu_scratch(shapes)];
    group.bench_function(label, |bencher| {
        // Only of the cases that the filter leaves.
        if data.is_empty() {
            data = case.values(1);
        }
        let inputs: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
        bencher.iter(|| {
            let mut outputs: Vec<&mut [f32]> = results.iter_mut().map(Vec::as_mut_slice).collect();
            case.operator.compute(shapes, black_box(&inputs), &mut outputs, &mut scratch);
        });
    });
}

/// The time is that of the kernels, by the device's timestamps where it has them.
fn on_gpu(group: &mut BenchmarkGroup<'_, WallTime>, label: &str, case: &Case, shapes: &Shapes, gpu: &Gpu) {
    let mut single = None;
    group.bench_function(label, |bencher| {
        let single = single.get_or_insert_with(|| {
            let made = SingleOperator::new(gpu, case.operator.as_ref(), shapes, 0).expect("the device holds the case");
            made.write(&case.values(1));
            made
        });
        bencher.iter_custom(|runs| {
            let seconds = (0..runs).map(|_| single.time().expect("the device runs").seconds.iter().sum::<f64>());
            Duration::from_secs_f64(seconds.sum())
        });
    });
}

criterion_group!(benches, operators);
criterion_main!(benches);
