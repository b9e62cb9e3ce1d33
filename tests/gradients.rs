//! Every operator's gradient rule against numerical derivatives, in float64, in the middle of a graph.

mod support;

use std::any::Any;
use std::collections::{BTreeSet, HashMap};

use glavitu::autograd::differentiate;
use glavitu::graph::{Caps, Graph, Launch, Operator, Shape, Shapes, TensorId};
use glavitu::ops::case_values::Random;
use glavitu::ops::{Case, Multiply, REGISTRY};
use glavitu::{Error, Result};
use support::{shapes, values};

/// Operators that a loss never depends on through: what the optimiser does. Gradients have none of their own either.
const WITHOUT_GRADIENT: [&str; 4] = ["adam", "moving_average", "sharpness_step", "squared_norm"];

/// Elements of an input whose derivatives are taken.
const SAMPLES: usize = 12;

/// `factor x`: so that what comes before and after an operator in the test's graph is not one.
#[derive(Debug)]
struct Scaled;

const FACTOR: f64 = 1.25;

/// The sum of all elements of its inputs, each weighed by the input that follows it.
#[derive(Debug)]
struct WeightedSum;

impl Operator for Scaled {
    fn name(&self) -> &'static str {
        "scaled"
    }
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![inputs[0].clone()])
    }
    fn launches(&self, _shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        Ok(Vec::new())
    }
    fn compute(&self, _shapes: &Shapes, _inputs: &[&[f32]], _outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        unreachable!("only the definition is used");
    }
    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        vec![inputs[0].iter().map(|x| FACTOR * x).collect()]
    }
    fn gradient(
        &self,
        graph: &mut Graph,
        _inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        output_gradients.iter().map(|g| g.map(|g| graph.apply(Self, &[g])).transpose()).collect()
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Operator for WeightedSum {
    fn name(&self) -> &'static str {
        "weighted_sum"
    }
    fn shapes(&self, _inputs: &[Shape]) -> Result<Vec<Shape>> {
        Ok(vec![Shape::from([1])])
    }
    fn launches(&self, _shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        Ok(Vec::new())
    }
    fn compute(&self, _shapes: &Shapes, _inputs: &[&[f32]], _outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        unreachable!("only the definition is used");
    }
    fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let pairs = inputs.chunks_exact(2).flat_map(|pair| pair[0].iter().zip(pair[1]));
        vec![vec![pairs.map(|(x, w)| x * w).sum()]]
    }
    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let mut gradients = vec![None; inputs.len()];
        if let Some(gradient) = output_gradients[0] {
            for (i, pair) in inputs.chunks_exact(2).enumerate() {
                gradients[2 * i] = Some(graph.apply(Multiply, &[pair[1], gradient])?);
            }
        }
        Ok(gradients)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A case in the middle of a graph: every input is scaled before, and read a second time beside the operator.
struct Check {
    graph: Graph,
    loss: TensorId,
    inputs: Vec<TensorId>,
    values: HashMap<String, Vec<f64>>,
}

impl Check {
    fn new(case: &Case, seed: u64) -> Self {
        let shapes = shapes(case);
        let mut random = Random::new(seed + 1000);
        let mut graph = Graph::new();
        let mut given = HashMap::new();
        let mut wide = |name: &str, values: Vec<f32>| {
            given.insert(name.to_owned(), values.into_iter().map(f64::from).collect::<Vec<f64>>());
        };
        let (mut inputs, mut scaled, mut terms) = (Vec::new(), Vec::new(), Vec::new());
        for (i, value) in values(case, seed).into_iter().enumerate() {
            let name = format!("x{i}");
            inputs.push(graph.parameter(&name, shapes.inputs[i].clone()));
            scaled.push(graph.apply(Scaled, &[inputs[i]]).expect("any shape"));
            wide(&name, value);
        }
        let outputs = graph.apply_shared(case.operator.clone(), &scaled).expect("a case's shapes fit");
        // Statistics that operators keep for their gradients carry none themselves.
        for (i, &output) in outputs.iter().take(case.differentiable_outputs).enumerate() {
            let weight = graph.input(format!("w{i}"), graph.shape(output).clone());
            wide(&format!("w{i}"), (0..graph.shape(output).elements()).map(|_| 2.0 * random.unit() - 1.0).collect());
            terms.extend([output, weight]);
        }
        for (i, &x) in scaled.iter().enumerate() {
            let weight = graph.input(format!("v{i}"), shapes.inputs[i].clone());
            wide(&format!("v{i}"), (0..shapes.inputs[i].elements()).map(|_| random.unit() - 0.5).collect());
            terms.extend([x, weight]);
        }
        let loss = graph.apply(WeightedSum, &terms).expect("a sum");
        Self { graph, loss, inputs, values: given }
    }

    fn loss(&self, graph: &Graph, input: usize, element: usize, step: f64) -> f64 {
        let mut values = self.values.clone();
        values.get_mut(&format!("x{input}")).expect("an input")[element] += step;
        graph.evaluate_reference(&values).expect("all values are given")["loss"][0]
    }
}

/// The worst difference between rule and numerical derivative, relative to the largest derivative of the same input.
fn worst_difference(case: &Case, label: &str, seed: u64) -> f64 {
    let check = Check::new(case, seed);
    let mut forward = check.graph.clone();
    forward.output("loss", check.loss);
    let mut graph = check.graph.clone();
    let gradients = differentiate(&mut graph, check.loss, &check.inputs).unwrap_or_else(|e| panic!("{label}: {e}"));
    for (i, gradient) in gradients.iter().enumerate() {
        graph.output(format!("g{i}"), gradient.unwrap_or_else(|| panic!("{label}: no gradient for input {i}")));
    }
    let analytic = graph.evaluate_reference(&check.values).expect("all values are given");
    let mut random = Random::new(seed + 7);
    let mut worst = 0.0_f64;
    for i in 0..check.inputs.len() {
        let gradient = &analytic[&format!("g{i}")];
        assert!(gradient.iter().all(|g| g.is_finite()), "{label}: input {i} has a gradient that is no number");
        if !case.differentiable_inputs.is_none_or(|list| list.contains(&i)) {
            continue;
        }
        let scale = gradient.iter().fold(1e-3_f64, |top, g| top.max(g.abs()));
        for sample in 0..SAMPLES.min(gradient.len()) {
            #[expect(clippy::cast_possible_truncation, reason = "an index below the length")]
            let element = if gradient.len() <= SAMPLES {
                sample
            } else {
                ((gradient.len() as f64) * f64::from(random.unit())) as usize % gradient.len()
            };
            // A step may carry one of many values over the kink of an activation; smaller ones do not, and a wrong rule
            // is wrong with all.
            let mut difference = f64::INFINITY;
            for step in [1e-5, 1e-6, 1e-7] {
                let change = check.loss(&forward, i, element, step) - check.loss(&forward, i, element, -step);
                let numeric = change / (2.0 * step);
                difference = difference.min((numeric - gradient[element]).abs() / scale);
                if difference < 1e-6 {
                    break;
                }
            }
            assert!(
                difference < 1e-6,
                "{label}: input {i}, element {element}: rule {}, which is off by {difference:e} of the largest",
                gradient[element]
            );
            worst = worst.max(difference);
        }
    }
    worst
}

#[test]
fn every_rule_agrees_with_numerical_derivatives() {
    let mut without = BTreeSet::new();
    for entry in REGISTRY {
        for (i, case) in (entry.cases)().into_iter().enumerate().filter(|(_, case)| !case.published_size) {
            let label = format!("{} case {i}, {:?}", entry.name, case.operator);
            if case.fused || entry.name.ends_with("_gradient") || WITHOUT_GRADIENT.contains(&entry.name) {
                let check = Check::new(&case, 0);
                let error = differentiate(&mut check.graph.clone(), check.loss, &check.inputs);
                assert!(
                    matches!(error, Err(Error::NoGradient { .. })),
                    "{label} is differentiable after all: check it"
                );
                without.insert(entry.name);
                continue;
            }
            worst_difference(&case, &label, i as u64);
        }
    }
    for name in WITHOUT_GRADIENT {
        assert!(without.contains(name), "{name} is not an operator");
    }
}

/// A rule that is off by a factor is found by the check.
#[test]
fn a_wrong_rule_is_noticed() {
    #[derive(Debug)]
    struct Wrong;
    impl Operator for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
            Ok(vec![inputs[0].clone()])
        }
        fn launches(&self, _shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
            Ok(Vec::new())
        }
        fn compute(&self, _shapes: &Shapes, _inputs: &[&[f32]], _outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {}
        fn reference(&self, _shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
            vec![inputs[0].iter().map(|x| x * x).collect()]
        }
        fn gradient(
            &self,
            graph: &mut Graph,
            inputs: &[TensorId],
            _outputs: &[TensorId],
            output_gradients: &[Option<TensorId>],
        ) -> Result<Vec<Option<TensorId>>> {
            // Twice this would be right.
            output_gradients.iter().map(|g| g.map(|g| graph.apply(Multiply, &[g, inputs[0]])).transpose()).collect()
        }
        fn as_any(&self) -> &dyn Any {
            self
        }
    }
    let found = std::panic::catch_unwind(|| worst_difference(&Case::new(Wrong, [[2, 3]]), "wrong", 1));
    assert!(found.is_err(), "a wrong rule passed with a difference of {found:?}");
}
