//! Times the whole network, forward and a training step: `cargo bench --bench network [-- NAME]`.
//!
//! On the CPU, or on the device that the environment names: `GLAVITU_BENCH_DEVICE=gpu cargo bench --bench network -- small`.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use glavitu::bench::network::{drawn_weights, inputs};
use glavitu::device;
use glavitu::model::network::inference_graph;
use glavitu::plan::PlanOptions;
use glavitu::train::settings::ModelSize;
use glavitu::train::{AdamSettings, Objective, TrainingStep};

fn network(criterion: &mut Criterion) {
    let device = std::env::var("GLAVITU_BENCH_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let options = PlanOptions::default();
    for (size, name) in [(ModelSize::Small, "small"), (ModelSize::Published, "paper")] {
        let mut group = criterion.benchmark_group(format!("{device}/{name}"));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(10));
        let config = size.config();
        group.bench_function("forward", |bencher| {
            let graph = inference_graph(&config, 1).expect("a valid size");
            let mut executor = device::executor(&device, &graph, &options).expect("the device holds the network");
            executor.load(&drawn_weights(&config).expect("a valid size")).expect("the device takes the weights");
            let inputs = inputs(&graph);
            bencher.iter(|| executor.run(&inputs).expect("the device runs"));
        });
        group.bench_function("training step", |bencher| {
            let (objective, adam) = (Objective::default(), AdamSettings::default());
            let mut step = TrainingStep::new(&config, 1, &objective, &adam, &device, &options).expect("it fits");
            step.load(&drawn_weights(&config).expect("a valid size")).expect("the device takes the weights");
            let inputs = inputs(&step.plan().graph);
            bencher.iter(|| step.run(&inputs, 1e-9).expect("the device runs"));
        });
        group.finish();
    }
}

criterion_group!(benches, network);
criterion_main!(benches);
