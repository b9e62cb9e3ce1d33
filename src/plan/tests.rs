use super::*;
use crate::cpu::CpuExecutor;
use crate::executor::{Arrays, Executor};
use crate::graph::{Storage, Tensor, TensorId, Tile};
use crate::model::network::inference_graph;
use crate::model::{Feature, Location, ModelConfig};
use crate::ops::Fill;
use crate::ops::case_values::Random;
use crate::ops::{Add, BatchNorm, Conv2d, FoldBatchNorm, LeakyRelu};
use crate::train::graph::{PARAMETERS, Purpose, RATE, TARGET, training_graph};
use crate::train::{AdamSettings, Objective};

fn tiny() -> ModelConfig {
    ModelConfig { filters: 8, embedding: 8, mlp: 32, blocks: 2, heads: 2, tile: 64, ..ModelConfig::default() }
}

fn training(config: &ModelConfig, batch: usize) -> Graph {
    training_graph(config, batch, &Objective::default(), &AdamSettings::default(), Purpose::Training).expect("a graph")
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

/// What lies in the slots while the steps run, to see that nothing is overwritten that is still needed.
struct Held<'a> {
    plan: &'a Plan,
    last_read: Vec<usize>,
    /// Slot, first float, float after the last, tensor; temporary memory has no tensor.
    pieces: Vec<(usize, usize, usize, Option<TensorId>)>,
}

impl Held<'_> {
    /// Puts a tensor or temporary memory in its place; `replaced` may be overwritten though it is read at this time.
    fn put(&mut self, time: usize, place: Place, floats: usize, id: Option<TensorId>, replaced: Option<TensorId>) {
        let (from, to) = (place.offset, place.offset + floats);
        assert!(to <= self.plan.slots[place.slot], "{id:?} does not fit its slot");
        let overlaps = |piece: &(usize, usize, usize, _)| piece.0 == place.slot && piece.1 < to && from < piece.2;
        for &(.., tenant) in self.pieces.iter().filter(|piece| overlaps(piece)) {
            let Some(tenant) = tenant else { continue };
            let is_free = self.last_read[tenant.index()] < time || Some(tenant) == replaced;
            assert!(is_free, "{id:?} overwrites {tenant:?} at {time}, which is still needed");
        }
        self.pieces.retain(|piece| !overlaps(piece));
        self.pieces.push((place.slot, from, to, id));
    }

    fn check_step(&mut self, time: usize, step: &Step) {
        let node = &self.plan.graph.nodes()[step.node];
        let slot = |id: &TensorId| match self.plan.placements[id.index()] {
            Placement::Slot(place) => Some(place),
            _ => None,
        };
        let whole = |id: &&TensorId| self.plan.graph.tensors()[id.index()].within.is_none();
        let replaced = step.in_place.map(|input| node.inputs[input]);
        let mut read = Vec::new();
        for &input in node.inputs.iter().filter(whole) {
            let Some(place) = slot(&input) else { continue };
            assert!(self.pieces.iter().any(|p| p.3 == Some(input)), "{} reads what was overwritten", node.name);
            if Some(input) != replaced {
                read.push(place.slot);
            }
        }
        let written: Vec<usize> = node.outputs.iter().filter_map(&slot).map(|place| place.slot).collect();
        assert!(written.iter().all(|slot| !read.contains(slot)), "{} reads from a slot it writes to", node.name);
        for (i, place) in step.scratch.iter().enumerate() {
            let others = step.scratch.iter().skip(i + 1).map(|p| p.slot);
            let apart = others.chain(written.iter().copied()).chain(read.iter().copied()).all(|s| s != place.slot);
            assert!(apart, "{} has temporary memory beside a tensor", node.name);
            self.put(time, *place, 1, None, None);
        }
        for (i, &output) in node.outputs.iter().enumerate().filter(|(_, id)| whole(id)) {
            if let Some(place) = slot(&output) {
                let floats = self.plan.graph.tensors()[output.index()].floats();
                self.put(time, place, floats, Some(output), replaced.filter(|_| i == 0));
            }
        }
    }
}

/// No two tensors that are alive at one time share memory, and no step reads from a slot that it writes to.
fn check_slots(plan: &Plan) {
    let graph = &plan.graph;
    let mut last_read = vec![0; graph.tensors().len()];
    let steps: Vec<&Step> = plan.prepare.iter().chain(&plan.steps).collect();
    for (time, step) in steps.iter().enumerate() {
        for input in &graph.nodes()[step.node].inputs {
            last_read[input.index()] = time + 1;
        }
    }
    let results = graph.outputs().iter().map(|(_, id)| *id);
    for id in results.chain(graph.assignments().iter().map(|(_, value)| *value)) {
        last_read[id.index()] = usize::MAX;
    }
    let mut held = Held { plan, last_read, pieces: Vec::new() };
    let place = |id: TensorId| match plan.placements[id.index()] {
        Placement::Slot(place) => Some(place),
        _ => None,
    };
    let fill = |held: &mut Held<'_>, time: usize, source: Source| {
        for (id, tensor) in graph.sources(source).filter(|(_, tensor)| tensor.within.is_none()) {
            if let Some(place) = place(id) {
                if source == Source::Packed {
                    held.last_read[id.index()] = usize::MAX;
                }
                held.put(time, place, tensor.floats(), Some(id), None);
            }
        }
    };
    fill(&mut held, 0, Source::Packed);
    fill(&mut held, 0, Source::Parameter);
    for (i, step) in steps.iter().enumerate() {
        if i == plan.prepare.len() {
            fill(&mut held, i + 1, Source::Input);
        }
        held.check_step(i + 1, step);
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
                check_slots(&Plan::new(&training(&config, batch), &target, &PlanOptions::default()).expect("a plan"));
            }
        }
    }
}

const MIB: u64 = 1 << 20;

#[test]
fn inference_at_the_published_size_fits_in_260_mib() {
    let graph = inference_graph(&ModelConfig::default(), 1).expect("a graph");
    for target in [Target::Cpu, Target::Gpu(Caps::default())] {
        let plan = Plan::new(&graph, &target, &PlanOptions::default()).expect("a plan");
        let mib = plan.peak_bytes() / MIB;
        assert!(mib <= 260, "{mib} MiB on {target:?}: {:?}", plan.largest_tensors(8));
    }
}

#[test]
fn training_at_the_published_size_fits_in_8_gib() {
    let graph = training(&ModelConfig::default(), 8);
    for target in [Target::Cpu, Target::Gpu(Caps::default())] {
        let plan = Plan::new(&graph, &target, &PlanOptions::default()).expect("a plan");
        let mib = plan.peak_bytes() / MIB;
        assert!(mib <= 8192, "{mib} MiB on {target:?}: {:?}", plan.largest_tensors(8));
    }
}

#[test]
fn training_at_the_published_size_fits_in_4_gib_if_asked() {
    let graph = training(&ModelConfig::default(), 8);
    let bytes = 4096 * MIB;
    for target in [Target::Cpu, Target::Gpu(Caps::default())] {
        let options = PlanOptions { max_memory: Some(bytes), ..PlanOptions::default() };
        let plan = Plan::new(&graph, &target, &options).expect("a plan");
        let mib = plan.peak_bytes() / MIB;
        assert!(plan.peak_bytes() <= bytes, "{mib} MiB on {target:?}: {:?}", plan.largest_tensors(8));
        assert!(
            plan.graph.cost().flop < graph.cost().flop * 5 / 4,
            "{} of {}",
            plan.graph.cost().flop,
            graph.cost().flop
        );
        check_slots(&plan);
    }
}

/// Outputs and parameters after one step.
fn trained(graph: &Graph, options: &PlanOptions) -> (Plan, Arrays, Vec<f32>) {
    let mut random = Random::new(5);
    let mut draw = |source: Source| -> Arrays {
        let value = |(_, tensor): (TensorId, &Tensor)| {
            let fill = match tensor.name.as_str() {
                TARGET => Fill::Target,
                RATE => Fill::Positive,
                name if name.contains("variance") || name.contains("moment") => Fill::Positive,
                _ => Fill::Signed,
            };
            let mut values = random.fill(&tensor.shape, fill);
            if tensor.shape.len() > 1 && source == Source::Parameter {
                values.iter_mut().for_each(|v| *v *= (2.0 / tensor.shape.rows() as f32).sqrt());
            }
            (tensor.name.clone(), values)
        };
        graph.sources(source).map(value).collect()
    };
    let (inputs, weights) = (draw(Source::Input), draw(Source::Parameter));
    let mut executor = CpuExecutor::new(graph, options).expect("an executor");
    executor.load(&weights).expect("weights");
    executor.run(&inputs).expect("a step");
    let outputs = executor.run(&inputs).expect("another");
    (executor.plan().clone(), outputs, executor.read(PARAMETERS).expect("parameters"))
}

#[test]
fn what_is_computed_again_changes_no_bit() {
    let config = ModelConfig { location: Location::published_regions(), ..tiny() };
    let adam = AdamSettings { sharpness: 0.05, ..AdamSettings::default() };
    let graph = training_graph(&config, 2, &Objective::default(), &adam, Purpose::Comparison).expect("a graph");
    let (free, expected, after) = trained(&graph, &PlanOptions::default());
    assert!(free.steps.iter().all(|step| !step.again));
    let refused = Plan::new(&graph, &Target::Cpu, &PlanOptions { max_memory: Some(1), ..PlanOptions::default() });
    let Err(Error::MemoryBound { smallest, .. }) = refused else { panic!("one byte is enough") };
    for bytes in [free.peak_bytes() - 1, u64::midpoint(free.peak_bytes(), smallest), smallest] {
        let options = PlanOptions { max_memory: Some(bytes), ..PlanOptions::default() };
        let (bounded, found, parameters) = trained(&graph, &options);
        assert!(bounded.peak_bytes() <= bytes && bounded.steps.iter().any(|step| step.again));
        check_slots(&bounded);
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
        for (name, values) in &expected {
            let wrong = values.iter().zip(&found[name]).position(|(a, b)| a.to_bits() != b.to_bits());
            let at = wrong.map(|i| (i, values[i], found[name][i]));
            assert!(at.is_none() && values.iter().all(|v| v.is_finite()), "{name} within {bytes} bytes: {at:?}");
        }
        assert!(bits(&parameters) == bits(&after), "parameters differ within {bytes} bytes");
    }
}

#[test]
fn a_bound_that_cannot_be_met_is_refused_with_one_that_can() {
    let graph = training(&tiny(), 1);
    let with =
        |bytes| Plan::new(&graph, &Target::Cpu, &PlanOptions { max_memory: Some(bytes), ..PlanOptions::default() });
    let smallest = match with(1 << 20) {
        Err(Error::MemoryBound { bound, smallest }) if bound == 1 << 20 => smallest,
        other => panic!("{:?}", other.map(|plan| plan.peak_bytes())),
    };
    assert!(with(smallest).expect("what was told").peak_bytes() <= smallest);
}

#[test]
fn halves_take_less_than_two_thirds_of_the_memory() {
    let graph = inference_graph(&ModelConfig::default(), 1).expect("a graph");
    // Software adapters take wide tiles and little temporary memory, GPUs narrow ones.
    for tile in [Tile::Wide, Tile::Narrow] {
        let planned = |precision| {
            let target = Target::Gpu(Caps { native_half: true, tile, ..Caps::default() });
            let plan =
                Plan::new(&graph, &target, &PlanOptions { precision, ..PlanOptions::default() }).expect("a plan");
            check_slots(&plan);
            plan
        };
        let (floats, halves) = (planned(Precision::F32), planned(Precision::F16));
        let of = |plan: &Plan| (plan.slot_bytes() >> 20, plan.peak_bytes() >> 20);
        println!("{tile:?}: MiB of slots and in all: {:?} as floats, {:?} as halves", of(&floats), of(&halves));
        // Floats stay: the maps behind the first convolutions and before the heads, and Winograd's temporary memory.
        assert!(
            3 * halves.slot_bytes() <= 2 * floats.slot_bytes(),
            "{tile:?}: {:?} and {:?}",
            of(&halves),
            of(&floats)
        );
        assert!(
            3 * halves.peak_bytes() <= 2 * floats.peak_bytes(),
            "{tile:?}: {:?} and {:?}",
            of(&halves),
            of(&floats)
        );
        let of_maps = |plan: &Plan, storage| {
            let is_map = |t: &Tensor| t.storage == storage && t.shape[..] == [1, 384, 384, 64];
            let tensors = plan.graph.tensors().iter().zip(&plan.placements);
            tensors.filter(|(t, place)| matches!(place, Placement::Slot(_)) && is_map(t)).count()
        };
        assert!(of_maps(&halves, Storage::F16) > 2 * of_maps(&halves, Storage::F32), "{tile:?}");
        // The probabilities come as floats, from logits in floats.
        for (name, id) in halves.graph.outputs() {
            assert_eq!(halves.graph.tensors()[id.index()].storage, Storage::F32, "{name}");
        }
        assert!(count(&halves, "cast") > 0 && count(&floats, "cast") == 0);
    }
}

#[test]
fn halves_are_refused_on_the_cpu_and_for_training() {
    let graph = inference_graph(&tiny(), 1).expect("a graph");
    let options = PlanOptions { precision: Precision::F16, ..PlanOptions::default() };
    let message = Plan::new(&graph, &Target::Cpu, &options).expect_err("no halves on the CPU").to_string();
    assert!(message.contains("CPU") && message.contains("--precision f16"), "{message}");
    let mut training = graph.clone();
    let weight = training.sources(Source::Parameter).next().map(|(id, _)| id).expect("a weight");
    training.assign(weight, weight).expect("one shape");
    let message = Plan::new(&training, &Target::Gpu(Caps::default()), &options).expect_err("no halves").to_string();
    assert!(message.contains("training"), "{message}");
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

#[test]
fn training_keeps_no_map_that_can_be_made_while_it_is_read() {
    let config = tiny();
    let plan = Plan::new(&training(&config, 1), &Target::Cpu, &PlanOptions::default()).expect("a plan");
    for gone in ["concat", "upsample_nearest", "upsample_nearest_gradient"] {
        assert_eq!(count(&plan, gone), 0, "{gone}");
    }
    // Two per fusion branch and residual block, one per up-convolution, and of the transformer's decoder the last, which a convolution
    // reads; the others are upsampled.
    assert_eq!(count(&plan, "batch_norm_statistics"), 2 * 2 + 7 * 2 + 3 + 1);
    assert_eq!(count(&plan, "batch_norm_training"), 3);
    // The weighed sum of the branches, and in the gradient of each the part that comes through its weights.
    assert_eq!((count(&plan, "scaled_sum"), count(&plan, "product_sum")), (3, 2));
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
        let mut random = Random::new(1);
        let given = |t: &&Tensor| matches!(t.source, Source::Input | Source::Parameter);
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
