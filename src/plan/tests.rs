use super::*;
use crate::cpu::CpuExecutor;
use crate::executor::{Arrays, Executor};
use crate::graph::TensorId;
use crate::model::network::inference_graph;
use crate::model::{Feature, Location, ModelConfig};
use crate::ops::{Add, BatchNorm, Conv2d, FoldBatchNorm, LeakyRelu};
use crate::train::graph::{Purpose, training_graph};
use crate::train::{AdamSettings, Objective};

fn tiny() -> ModelConfig {
    ModelConfig { filters: 8, embedding: 8, mlp: 32, blocks: 2, heads: 2, tile: 64, ..ModelConfig::default() }
}

/// Steps of an operator in a plan.
fn count(plan: &Plan, name: &str) -> usize {
    plan.steps.iter().filter(|s| plan.graph.nodes()[s.node].operator.name() == name).count()
}

#[test]
fn batch_norms_are_folded_once() {
    let plan = Plan::new(&inference_graph(&tiny(), 1).expect("a graph"), &Target::Cpu, &PlanOptions::default())
        .expect("a plan");
    assert_eq!(count(&plan, "batch_norm"), 0);
    assert_eq!(count(&plan, "fold_batch_norm"), 0);
    // Two per fusion branch and residual block, four in the decoder, one per up-convolution.
    assert_eq!(plan.prepare.len(), 2 * 2 + 7 * 2 + 4 + 3);
    assert!(plan.prepare.iter().all(|s| plan.graph.nodes()[s.node].operator.as_any().is::<FoldBatchNorm>()));
    // What is left of the rectifiers: one per squeeze layer.
    assert_eq!(count(&plan, "leaky_relu"), 2);

    // After a dense layer the norm stays: only convolutions are folded.
    let config = ModelConfig { location: Location::Coordinates, ..tiny() };
    let plan = Plan::new(&inference_graph(&config, 1).expect("a graph"), &Target::Cpu, &PlanOptions::default())
        .expect("a plan");
    assert_eq!(count(&plan, "batch_norm"), 2);
}

/// A convolution, a norm and a rectifier; `tap` names one of the three results to be read a second time.
fn convolution_with_tap(tap: usize) -> Graph {
    let mut graph = Graph::new();
    let x = graph.input("x", [1, 4, 4, 2]);
    let kernel = graph.parameter("kernel", [3, 3, 2, 2]);
    let mut weights = ["gamma", "beta", "mean", "variance"].map(|name| graph.parameter(name, [2])).to_vec();
    let convolved = graph.apply(Conv2d::default(), &[x, kernel]).expect("a convolution");
    weights.insert(0, convolved);
    let normed = graph.apply(BatchNorm { epsilon: 1e-3 }, &weights).expect("a norm");
    let rectified = graph.apply(LeakyRelu { slope: 0.2 }, &[normed]).expect("a rectifier");
    let tapped = [convolved, normed, rectified][tap];
    let sum = graph.apply(Add, &[rectified, tapped]).expect("a sum");
    graph.output("sum", sum);
    graph
}

#[test]
fn nothing_that_is_read_elsewhere_is_fused_away() {
    for (tap, norms, rectifiers) in [(0, 1, 1), (1, 0, 1), (2, 0, 0)] {
        let graph = convolution_with_tap(tap);
        let plan = Plan::new(&graph, &Target::Cpu, &PlanOptions::default()).expect("a plan");
        assert_eq!((count(&plan, "batch_norm"), count(&plan, "leaky_relu")), (norms, rectifiers), "tap {tap}");

        let value = |i: usize| f32::from(u8::try_from(i * 37 % 19).unwrap_or(0)) / 9.5 - 0.9;
        let mut arrays: Arrays = graph
            .tensors()
            .iter()
            .filter(|t| !matches!(t.source, Source::Node(_)))
            .map(|t| (t.name.clone(), (0..t.shape.elements()).map(value).collect()))
            .collect();
        arrays.insert("variance".into(), vec![0.5, 2.0]);
        let mut executor = CpuExecutor::new(&graph, &PlanOptions::exact()).expect("an executor");
        executor.load(&arrays).expect("weights");
        let found = executor.run(&arrays).expect("a run");
        let wide = arrays.into_iter().map(|(k, v)| (k, v.into_iter().map(f64::from).collect())).collect();
        let expected = graph.evaluate_reference(&wide).expect("a reference");
        for (a, b) in found["sum"].iter().zip(&expected["sum"]) {
            assert!((f64::from(*a) - b).abs() < 1e-5, "tap {tap}: {a} instead of {b}");
        }
    }
}

/// No two tensors that are alive at one time share a slot.
fn check_slots(plan: &Plan) {
    let mut last_read = vec![0; plan.graph.tensors().len()];
    for (time, step) in plan.steps.iter().enumerate() {
        for input in &plan.graph.nodes()[step.node].inputs {
            last_read[input.index()] = time;
        }
    }
    for (_, id) in plan.graph.outputs() {
        last_read[id.index()] = usize::MAX;
    }
    let mut holds: Vec<Option<TensorId>> = vec![None; plan.slots.len()];
    for (id, _) in plan.graph.sources(Source::Input) {
        if let Placement::Slot(Place { slot, .. }) = plan.placements[id.index()] {
            assert!(holds[slot].replace(id).is_none(), "two inputs in one slot");
        }
    }
    for (time, step) in plan.steps.iter().enumerate() {
        let node = &plan.graph.nodes()[step.node];
        for input in &node.inputs {
            if let Placement::Slot(Place { slot, .. }) = plan.placements[input.index()] {
                assert_eq!(holds[slot], Some(*input), "{} reads what was overwritten", node.name);
            }
        }
        let mut written: Vec<usize> = step.scratch.clone();
        for output in &node.outputs {
            if let Placement::Slot(Place { slot, .. }) = plan.placements[output.index()] {
                assert!(plan.slots[slot] >= plan.graph.shape(*output).elements(), "{} does not fit", node.name);
                written.push(slot);
            }
        }
        for slot in &written {
            if let Some(tenant) = holds[*slot] {
                assert!(last_read[tenant.index()] < time, "{} overwrites what is still needed", node.name);
            }
            holds[*slot] = None;
        }
        let mut distinct = written.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), written.len(), "{} writes one slot twice", node.name);
        for output in &node.outputs {
            if let Placement::Slot(Place { slot, .. }) = plan.placements[output.index()] {
                holds[slot] = Some(*output);
            }
        }
    }
}

#[test]
fn slots_never_hold_two_living_tensors() {
    let region = ModelConfig {
        location: Location::published_regions(),
        features: vec![Feature::Dem, Feature::Thermal, Feature::Optical],
        unet_steps: 2,
        ..tiny()
    };
    for config in [tiny(), region, ModelConfig::default()] {
        for target in [Target::Cpu, Target::Gpu(Caps::default())] {
            for batch in [1, 3] {
                let graph = inference_graph(&config, batch).expect("a graph");
                check_slots(&Plan::new(&graph, &target, &PlanOptions::default()).expect("a plan"));
            }
        }
    }
}

#[test]
fn published_size_fits_in_little_memory() {
    let graph = inference_graph(&ModelConfig::default(), 1).expect("a graph");
    let plan = Plan::new(&graph, &Target::Cpu, &PlanOptions::default()).expect("a plan");
    let mib = plan.slot_bytes() >> 20;
    // One full-size map of 64 channels takes 36 MiB; at least five are alive in the last decoder block.
    assert!((180..=260).contains(&mib), "{mib} MiB: {:?}", plan.largest_tensors(8));
}

#[test]
fn what_is_planned_is_what_is_allocated() {
    let graph = inference_graph(&tiny(), 2).expect("a graph");
    let mut executor = CpuExecutor::new(&graph, &PlanOptions::exact()).expect("an executor");
    let weights: Arrays =
        graph.sources(Source::Parameter).map(|(_, t)| (t.name.clone(), vec![0.1; t.shape.elements()])).collect();
    executor.load(&weights).expect("weights");
    assert_eq!(executor.plan().peak_bytes(), executor.allocated_bytes());
}

fn training(config: &ModelConfig, batch: usize) -> Graph {
    let (objective, adam) = (Objective::default(), AdamSettings::default());
    training_graph(config, batch, &objective, &adam, Purpose::Training).expect("a graph")
}

#[test]
fn training_keeps_no_map_that_can_be_made_while_it_is_read() {
    let config = tiny();
    let plan = Plan::new(&training(&config, 1), &Target::Cpu, &PlanOptions::default()).expect("a plan");
    for gone in ["concat", "upsample_nearest", "upsample_nearest_gradient"] {
        assert_eq!(count(&plan, gone), 0, "{gone}");
    }
    // Two per fusion branch and residual block, one per up-convolution; those of the transformer's decoder are upsampled.
    assert_eq!(count(&plan, "batch_norm_statistics"), 2 * 2 + 7 * 2 + 3);
    assert_eq!(count(&plan, "batch_norm_training"), 4);
    assert_eq!((count(&plan, "scaled_sum"), count(&plan, "product_sum")), (1, 2));
}

#[test]
fn fusion_changes_no_result() {
    let region = ModelConfig {
        location: Location::published_regions(),
        features: vec![Feature::Dem, Feature::Thermal, Feature::Optical],
        tile: 32,
        unet_steps: 2,
        ..tiny()
    };
    for config in [ModelConfig { tile: 32, ..tiny() }, region] {
        let graph = training(&config, 2);
        let fused = fusion::fuse(&graph).expect("a fused graph");
        let mut random = crate::ops::case_values::Random::new(1);
        let given = |t: &&crate::graph::Tensor| matches!(t.source, Source::Input | Source::Parameter);
        let mut values = std::collections::HashMap::new();
        for tensor in graph.tensors().iter().filter(given) {
            let draws = (0..tensor.shape.elements()).map(|_| 0.1 + f64::from(random.unit()));
            values.insert(tensor.name.clone(), draws.collect::<Vec<f64>>());
        }
        let [expected, found] = [&graph, &fused].map(|g| g.evaluate_reference(&values).expect("values"));
        for (name, expected) in expected {
            for (a, b) in expected.iter().zip(&found[&name]) {
                assert!((a - b).abs() <= 1e-9 * a.abs().max(1.0), "{name}: {b} instead of {a}");
            }
        }
    }
}

#[test]
fn training_at_the_published_size_fits_in_eight_gibibytes() {
    let plan = Plan::new(&training(&ModelConfig::default(), 8), &Target::Cpu, &PlanOptions::default()).expect("a plan");
    let gib = plan.peak_bytes() as f64 / f64::from(1 << 30);
    println!("{gib:.2} GiB");
    assert!(gib <= 8.0, "{gib:.2} GiB: {:?}", plan.largest_tensors(20));
}
