//! Times every operator of the registry at the published model's sizes on the CPU: `cargo bench [-- NAME]`.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use glavitu::graph::Shapes;
use glavitu::ops::REGISTRY;

fn operators(criterion: &mut Criterion) {
    for entry in REGISTRY {
        let mut group = criterion.benchmark_group(entry.name);
        group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
        for case in (entry.cases)().into_iter().filter(|case| case.published_size) {
            let inputs: Vec<_> = case.inputs.iter().map(|(shape, _)| shape.clone()).collect();
            let outputs = case.operator.shapes(&inputs).expect("the registry's cases fit their operators");
            let shapes = Shapes { inputs, outputs };
            // Values do not change the time; half keeps variances positive and everything finite.
            let data: Vec<Vec<f32>> = shapes.inputs.iter().map(|shape| vec![0.5; shape.elements()]).collect();
            let inputs: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
            let mut results: Vec<Vec<f32>> = shapes.outputs.iter().map(|shape| vec![0.0; shape.elements()]).collect();
            let mut scratch = vec![0.0; case.operator.cpu_scratch(&shapes)];
            let cost = case.operator.cost(&shapes);
            // Criterion's "elements" are floating-point operations where there are any, else bytes.
            group.throughput(if cost.flop > 0 {
                Throughput::Elements(cost.flop)
            } else {
                Throughput::Bytes(cost.bytes)
            });
            let label = shapes.inputs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            group.bench_function(label, |bencher| {
                bencher.iter(|| {
                    let mut outputs: Vec<&mut [f32]> = results.iter_mut().map(Vec::as_mut_slice).collect();
                    case.operator.compute(&shapes, black_box(&inputs), &mut outputs, &mut scratch);
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, operators);
criterion_main!(benches);
