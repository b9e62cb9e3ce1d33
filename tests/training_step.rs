//! Whole training steps on the executors against the f64 definitions: losses, clipping, the sharpness-aware step, moving statistics.

mod support;

use std::collections::HashMap;

use glavitu::cpu::CpuExecutor;
use glavitu::executor::{Arrays, Executor};
use glavitu::gpu::GpuExecutor;
use glavitu::graph::{Graph, Source};
use glavitu::model::{Location, ModelConfig};
use glavitu::ops::case_values::Random;
use glavitu::plan::PlanOptions;
use glavitu::train::graph::{
    DEEP_SUPERVISION_LOSS, MOMENTS, OUTPUT_LOSS, PARAMETERS, Purpose, RATE, STATISTICS, TARGET, training_graph,
};
use glavitu::train::{AdamSettings, Objective};
use support::gpus;

/// As small as a network can be.
fn config() -> ModelConfig {
    ModelConfig {
        location: Location::Coordinates,
        filters: 2,
        embedding: 4,
        mlp: 4,
        blocks: 1,
        heads: 2,
        unet_steps: 1,
        tile: 16,
        ..ModelConfig::default()
    }
}

/// Seeded values for every input and parameter.
fn values(graph: &Graph) -> Arrays {
    let mut random = Random::new(11);
    let mut arrays = Arrays::new();
    for tensor in graph.tensors().iter().filter(|t| matches!(t.source, Source::Input | Source::Parameter)) {
        let count = tensor.shape.elements();
        let name = tensor.name.as_str();
        let value = match name {
            RATE => vec![1e-3],
            // One pixel in seven has no label.
            TARGET => (0..count / 2)
                .flat_map(|i| {
                    if i % 7 == 0 {
                        [0.0, 0.0]
                    } else if random.unit() < 0.4 {
                        [0.05, 0.95]
                    } else {
                        [0.95, 0.05]
                    }
                })
                .collect(),
            _ if name == MOMENTS[0] => vec![0.0; count],
            _ if name == MOMENTS[1] => (0..count).map(|_| 0.01 * random.unit()).collect(),
            _ if name.ends_with("gamma") || name.ends_with("variance") => {
                (0..count).map(|_| 0.5 + random.unit()).collect()
            }
            _ => (0..count).map(|_| random.unit() - 0.5).collect(),
        };
        arrays.insert(name.to_owned(), value);
    }
    arrays
}

/// The largest difference, relative to the largest value.
fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-6, |top: f64, v| top.max(v.abs()));
    found.iter().zip(expected).fold(0.0, |worst: f64, (a, b)| {
        let difference = (f64::from(*a) - b).abs() / scale;
        if difference.is_nan() { f64::INFINITY } else { worst.max(difference) }
    })
}

fn check(graph: &Graph, executor: &mut dyn Executor, label: &str) {
    let arrays = values(graph);
    executor.load(&arrays).expect("weights");
    let outputs = executor.run(&arrays).expect("a step");
    let wide: HashMap<String, Vec<f64>> =
        arrays.into_iter().map(|(name, v)| (name, v.into_iter().map(f64::from).collect())).collect();
    let expected = graph.evaluate_reference(&wide).expect("a reference");
    for name in [DEEP_SUPERVISION_LOSS, OUTPUT_LOSS] {
        let worst = difference(&outputs[name], &expected[name]);
        assert!(worst < 1e-5, "{label}: {name} off by {worst:e}");
    }
    // The first moment is a tenth of the gradient: it shows the gradients, clipped or taken uphill, of every parameter.
    for (name, bound) in [(MOMENTS[0], 1e-3), (MOMENTS[1], 1e-3), (PARAMETERS, 1e-4), (STATISTICS, 1e-5)] {
        let worst = difference(&executor.read(name).expect("a vector"), &expected[name]);
        assert!(worst < bound, "{label}: {name} off by {worst:e}");
    }
}

#[test]
fn steps_agree_with_the_definitions() {
    let overlap = Objective { focal: 0.5, dice: 1.0, tversky: 0.25, ..Objective::default() };
    let cases = [
        ("published", Objective::default(), AdamSettings::default()),
        ("overlap, clipped", overlap, AdamSettings { clip_norm: 0.05, ..AdamSettings::default() }),
        ("sharpness-aware", Objective::default(), AdamSettings { sharpness: 0.05, ..AdamSettings::default() }),
    ];
    for (label, objective, adam) in cases {
        let graph = training_graph(&config(), 2, &objective, &adam, Purpose::Training).expect("a graph");
        check(
            &graph,
            &mut CpuExecutor::new(&graph, &PlanOptions::exact()).expect("an executor"),
            &format!("{label} on the CPU"),
        );
        for gpu in gpus() {
            let name = gpu.summary.name.clone();
            check(
                &graph,
                &mut GpuExecutor::new(gpu, &graph, &PlanOptions::exact()).expect("an executor"),
                &format!("{label} on {name}"),
            );
        }
    }
}

#[test]
fn clipping_and_the_step_uphill_make_a_difference() {
    let moment = |adam: AdamSettings| {
        let graph = training_graph(&config(), 2, &Objective::default(), &adam, Purpose::Training).expect("a graph");
        let mut executor = CpuExecutor::new(&graph, &PlanOptions::exact()).expect("an executor");
        let arrays = values(&graph);
        executor.load(&arrays).expect("weights");
        executor.run(&arrays).expect("a step");
        executor.read(MOMENTS[0]).expect("a vector")
    };
    let norm = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let plain = moment(AdamSettings::default());
    let clipped = moment(AdamSettings { clip_norm: 0.01, ..AdamSettings::default() });
    assert!((norm(&clipped) / 0.1 - 0.01).abs() < 1e-5, "{}", norm(&clipped));
    let uphill = moment(AdamSettings { sharpness: 0.1, ..AdamSettings::default() });
    let apart: Vec<f32> = uphill.iter().zip(&plain).map(|(a, b)| a - b).collect();
    assert!(norm(&apart) > 1e-2 * norm(&plain), "{} of {}", norm(&apart), norm(&plain));
}

#[test]
fn a_step_that_is_not_finite_changes_nothing_and_names_its_node() {
    let adam = AdamSettings::default();
    let graph = training_graph(&config(), 2, &Objective::default(), &adam, Purpose::Training).expect("a graph");
    let mut arrays = values(&graph);
    // Large enough to overflow behind the first convolution, and finite itself.
    arrays.get_mut("input.dem").expect("an input").fill(3e38);
    let mut executor = CpuExecutor::new(&graph, &PlanOptions::exact()).expect("an executor");
    executor.load(&arrays).expect("weights");
    let before = [PARAMETERS, STATISTICS, MOMENTS[0]].map(|name| executor.read(name).expect("a vector"));
    let losses = executor.run(&arrays).expect("a step");
    assert!(!losses[OUTPUT_LOSS][0].is_finite());
    let after = [PARAMETERS, STATISTICS, MOMENTS[0]].map(|name| executor.read(name).expect("a vector"));
    assert_eq!(before[0], after[0]);
    assert_eq!(before[2], after[2]);
    assert!(after[1].iter().all(|v| v.is_finite()));
    let node = executor.first_non_finite(&arrays).expect("a run").expect("a node");
    assert!(node.starts_with("fusion.dem.conv1"), "{node}");
    arrays.get_mut("input.optical").expect("an input")[3] = f32::NAN;
    assert_eq!(executor.first_non_finite(&arrays).expect("a run").as_deref(), Some("input.optical"));
}
