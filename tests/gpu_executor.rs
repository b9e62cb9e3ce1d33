//! Whole graphs on every GPU against the CPU: the network, batch slices, repeated runs, refusals.

mod support;

use glavitu::cpu::CpuExecutor;
use glavitu::executor::{Arrays, Executor};
use glavitu::gpu::{Gpu, GpuExecutor};
use glavitu::graph::{Graph, Source};
use glavitu::model::ModelConfig;
use glavitu::model::network::{OUTPUT, inference_graph};
use glavitu::ops::case_values::Random;
use glavitu::ops::{Add, BatchNorm, Conv2d, Fill, GlobalAveragePool, LeakyRelu, MatMul, Multiply, Softmax};
use glavitu::plan::PlanOptions;
use glavitu::{Error, Result};
use support::{assert_close, gpus};

/// A network small enough for software adapters.
fn tiny(batch: usize) -> Graph {
    let config = ModelConfig {
        filters: 8,
        embedding: 16,
        mlp: 24,
        blocks: 2,
        unet_steps: 2,
        tile: 64,
        ..ModelConfig::default()
    };
    inference_graph(&config, batch).expect("a valid configuration")
}

/// Seeded values for inputs or weights. Variances are positive; weights are small, so that values keep their size.
fn arrays(graph: &Graph, source: Source, seed: u64) -> Arrays {
    let mut random = Random::new(seed);
    let value = |(_, tensor): (_, &glavitu::graph::Tensor)| {
        let positive = tensor.name.contains("variance");
        let mut values = random.fill(&tensor.shape, if positive { Fill::Positive } else { Fill::Signed });
        if tensor.shape.len() > 1 && source == Source::Parameter {
            let scale = (2.0 / tensor.shape.rows() as f32).sqrt();
            values.iter_mut().for_each(|v| *v *= scale);
        }
        (tensor.name.clone(), values)
    };
    graph.sources(source).map(value).collect()
}

fn run_twice(mut executor: impl Executor, graph: &Graph) -> Result<Arrays> {
    executor.load(&arrays(graph, Source::Parameter, 1))?;
    executor.run(&arrays(graph, Source::Input, 3))?;
    executor.run(&arrays(graph, Source::Input, 2))
}

#[test]
fn a_profile_changes_no_result() {
    let graph = tiny(2);
    let profiled = |mut executor: Box<dyn Executor>| {
        executor.load(&arrays(&graph, Source::Parameter, 1)).expect("loads");
        let plain = executor.run(&arrays(&graph, Source::Input, 2)).expect("runs");
        let (outputs, profile) = executor.profile(&arrays(&graph, Source::Input, 2)).expect("runs");
        assert!(outputs == plain, "other values on {}", executor.device());
        let nodes = executor.plan().graph.nodes().len();
        assert!(profile.pieces.len() >= executor.plan().steps.len());
        assert!(profile.pieces.iter().all(|p| p.node < nodes && p.seconds >= 0.0 && p.seconds.is_finite()));
        assert!(profile.pieces.iter().map(|p| p.seconds).sum::<f64>() > 0.0, "on {}", executor.device());
    };
    profiled(Box::new(CpuExecutor::new(&graph, &PlanOptions::default()).expect("a plan")));
    for mut gpu in gpus() {
        profiled(Box::new(GpuExecutor::new(gpu.clone(), &graph, &PlanOptions::default()).expect("a plan")));
        // As if it had no timestamps: every dispatch alone.
        gpu.summary.timestamps = false;
        profiled(Box::new(GpuExecutor::new(gpu, &graph, &PlanOptions::default()).expect("a plan")));
    }
}

fn assert_same(found: &Arrays, expected: &Arrays, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (name, expected) in expected {
        let wide: Vec<f64> = expected.iter().copied().map(f64::from).collect();
        assert_close(&found[name], &wide, 1e-9, &format!("{name} on {what}"));
    }
}

fn cpu(graph: &Graph) -> Arrays {
    run_twice(CpuExecutor::new(graph, &PlanOptions::exact()).expect("a plan"), graph).expect("the CPU runs")
}

#[test]
fn the_network_gives_the_same_on_every_gpu() {
    let graph = tiny(2);
    let expected = cpu(&graph);
    assert!(expected[OUTPUT].iter().any(|p| (0.01..0.99).contains(p)), "the weights give saturated outputs");
    for gpu in gpus() {
        let name = gpu.summary.name.clone();
        let executor = GpuExecutor::new(gpu, &graph, &PlanOptions::exact()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(executor.allocated_bytes(), executor.plan().peak_bytes());
        let found = run_twice(executor, &graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_same(&found, &expected, &name);
    }
}

/// A graph with every kind of input that slicing tells apart: weights, prepared weights, broadcast operands, scratch.
fn sliced_graph(batch: usize) -> Graph {
    let mut g = Graph::new();
    let make = |g: &mut Graph| -> Result<()> {
        let x = g.input("x", [batch, 12, 16, 8]);
        let kernel = g.parameter("kernel", [3, 3, 8, 16]);
        let stats: Vec<_> = ["gamma", "beta", "mean", "variance"].iter().map(|n| g.parameter(*n, [16])).collect();
        let y = g.apply(Conv2d::default(), &[x, kernel])?;
        let y = g.apply(BatchNorm { epsilon: 1e-3 }, &[y, stats[0], stats[1], stats[2], stats[3]])?;
        let y = g.apply(LeakyRelu { slope: 0.2 }, &[y])?;
        let mean = g.apply(GlobalAveragePool::default(), &[y])?;
        let y = g.apply(Multiply, &[y, mean])?;
        let shift = g.input("shift", [12, 16, 16]);
        let y = g.apply(Add, &[y, shift])?;
        let head = g.parameter("head", [16, 2]);
        let y = g.apply(MatMul::default(), &[y, head])?;
        let y = g.apply(Softmax, &[y])?;
        g.output("y", y);
        Ok(())
    };
    make(&mut g).expect("shapes fit");
    g
}

#[test]
fn batch_slices_change_nothing() {
    let graph = sliced_graph(7);
    let expected = cpu(&graph);
    for whole in gpus() {
        let name = whole.summary.name.clone();
        let mut small = whole.clone();
        // One tensor of 7 samples is 86 kB: slices of five.
        small.caps.max_binding_bytes = 64 << 10;
        let executors = [whole, small]
            .map(|gpu| GpuExecutor::new(gpu, &graph, &PlanOptions::exact()).unwrap_or_else(|e| panic!("{name}: {e}")));
        assert!(executors[1].dispatches() > executors[0].dispatches(), "nothing was sliced");
        let [whole, sliced] = executors.map(|e| run_twice(e, &graph).unwrap_or_else(|e| panic!("{name}: {e}")));
        assert_same(&whole, &expected, &name);
        assert_same(&sliced, &expected, &format!("{name}, sliced"));
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let graph = sliced_graph(2);
    for mut gpu in gpus() {
        gpu.caps.max_binding_bytes = 8 << 10;
        let error = GpuExecutor::new(gpu, &graph, &PlanOptions::exact()).expect_err("a sample does not fit");
        assert!(matches!(&error, Error::DeviceLimit { node, .. } if node.contains("conv2d")), "{error}");
    }
}

#[test]
fn missing_weights_and_inputs_are_told() {
    let graph = sliced_graph(1);
    for gpu in gpus() {
        let mut executor = GpuExecutor::new(gpu, &graph, &PlanOptions::exact()).expect("it fits");
        let inputs = arrays(&graph, Source::Input, 1);
        assert!(executor.run(&inputs).expect_err("no weights").to_string().contains("weights"));
        assert!(executor.load(&Arrays::new()).is_err());
        executor.load(&arrays(&graph, Source::Parameter, 1)).expect("all weights");
        assert!(executor.run(&Arrays::new()).expect_err("no inputs").to_string().contains("input"));
        assert!(executor.run(&inputs).is_ok(), "a refused run does no harm");
    }
}

#[test]
fn results_repeat_bit_for_bit() {
    let graph = tiny(1);
    for gpu in gpus() {
        let mut executor = GpuExecutor::new(gpu, &graph, &PlanOptions::exact()).expect("it fits");
        executor.load(&arrays(&graph, Source::Parameter, 1)).expect("weights");
        let inputs = arrays(&graph, Source::Input, 2);
        let first = executor.run(&inputs).expect("a run");
        assert_eq!(executor.run(&inputs).expect("a run"), first);
    }
}

#[test]
fn an_unknown_device_is_told_with_what_there_is() {
    let message = Gpu::open("no such adapter").map_or_else(|e| e.to_string(), |g| g.describe());
    assert!(message.contains("no such adapter") && message.contains("gpu:0"), "{message}");
}
