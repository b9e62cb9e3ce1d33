//! The work that is compared: the convolutions, matrix products and attention of the model's own graphs.

use std::sync::Arc;

use anyhow::{Result, bail};
use glavitu::graph::{Graph, Node, Operator, Shapes, Source};
use glavitu::model::ModelConfig;
use glavitu::model::network::inference_graph;
use glavitu::ops::{Conv2d, MatMul, UpsampleNearest};
use glavitu::train::graph::{Purpose, training_graph};
use glavitu::train::objective::{AdamSettings, Objective};
use serde::{Deserialize, Serialize};

/// What kind of operator it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Convolution,
    MatrixProduct,
    Attention,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Convolution, Self::MatrixProduct, Self::Attention];

    pub fn name(self) -> &'static str {
        match self {
            Self::Convolution => "convolution",
            Self::MatrixProduct => "matrix product",
            Self::Attention => "attention",
        }
    }
}

/// Which part of a training step it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    Forward,
    InputGradient,
    WeightGradient,
}

impl Pass {
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::InputGradient => "input gradient",
            Self::WeightGradient => "weight gradient",
        }
    }
}

/// What is computed, in the terms that another engine understands. Maps are N x H x W x C.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// A convolution with same padding, stride 1; an even kernel pads at the bottom and right.
    Convolution(Convolution),
    /// `a b` over rows of a. With `transposed`, b is stored (N, K).
    MatrixProduct { rows: usize, inner: usize, columns: usize, transposed: bool, bias: bool },
    /// `a^T b` over rows: the gradient of a dense layer's weights.
    RowSum { rows: usize, left: usize, right: usize },
    /// Attention (batch, tokens, embedding) of so many heads.
    Attention { batch: usize, tokens: usize, embedding: usize, heads: usize },
}

/// The extents of a convolution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Convolution {
    /// The map that the kernel reads, before doubling.
    pub input: [usize; 4],
    /// The map that it writes.
    pub output: [usize; 4],
    /// Height, width, channels in, channels out.
    pub kernel: [usize; 4],
    pub bias: bool,
}

impl Convolution {
    /// Whether the input is first doubled with nearest neighbours.
    pub fn doubled(&self) -> bool {
        self.output[1] == 2 * self.input[1]
    }
}

/// One operator with its shapes, and how often the model has it.
#[derive(Debug, Clone)]
pub struct Work {
    pub operator: Arc<dyn Operator>,
    pub shapes: Shapes,
    pub kind: Kind,
    pub pass: Pass,
    pub task: Task,
    pub count: usize,
}

impl Work {
    /// Floating-point operations of the direct form; a multiply-add counts two.
    pub fn flop(&self) -> u64 {
        let flop = match &self.task {
            Task::Convolution(c) => 2 * c.output[..3].iter().product::<usize>() * c.kernel.iter().product::<usize>(),
            Task::MatrixProduct { rows, inner, columns, .. } => 2 * rows * inner * columns,
            Task::RowSum { rows, left, right } => 2 * rows * left * right,
            Task::Attention { .. } => return self.operator.cost(&self.shapes).flop,
        };
        flop as u64
    }

    /// The shapes in a line.
    pub fn label(&self) -> String {
        match &self.task {
            Task::Convolution(c) => {
                let ([n, h, w, _], [kh, kw, ci, co]) = (c.input, c.kernel);
                let doubled = if c.doubled() { " x2" } else { "" };
                let samples = if n == 1 { String::new() } else { format!("{n} x ") };
                format!("{samples}{h} x {w}{doubled}, {kh} x {kw}, {ci} -> {co}")
            }
            Task::MatrixProduct { rows, inner, columns, .. } => format!("{rows} x {inner} x {columns}"),
            Task::RowSum { rows, left, right } => format!("{left} x {rows} x {right}"),
            Task::Attention { batch, tokens, embedding, heads } => {
                format!("{batch} x {tokens} tokens x {embedding}, {heads} heads")
            }
        }
    }
}

/// The work of one inference and one training step on one sample, largest first within kind and pass.
///
/// The graphs are taken before any fusion: what is compared is the bare operator with its bias, without normalisation and
/// activation, which the other engine would do in kernels of their own. One fusion is made here too: an upsampling that a
/// convolution reads is part of that convolution.
///
/// # Errors
/// The model cannot be, or has an operator in a form that has no counterpart.
pub fn of_model(config: &ModelConfig) -> Result<Vec<Work>> {
    let inference = inference_graph(config, 1)?;
    let mut all = Vec::new();
    for node in inference.nodes() {
        add(&mut all, forward(&inference, node)?);
    }
    let training = training_graph(config, 1, &Objective::default(), &AdamSettings::default(), Purpose::Training)?;
    let loss = training.nodes().iter().position(|node| node.name.starts_with("loss/")).unwrap_or(0);
    for node in &training.nodes()[loss..] {
        add(&mut all, gradient(&training, node)?);
    }
    all.sort_by_key(|work| (work.kind, work.pass, std::cmp::Reverse(work.flop())));
    Ok(all)
}

fn add(all: &mut Vec<Work>, found: Option<Work>) {
    let Some(found) = found else { return };
    match all.iter_mut().find(|work| work.pass == found.pass && work.task == found.task) {
        Some(same) => same.count += 1,
        None => all.push(found),
    }
}

fn forward(graph: &Graph, node: &Node) -> Result<Option<Work>> {
    let shapes = graph.shapes(node);
    let made = |kind, task, operator: Arc<dyn Operator>, shapes| {
        Ok(Some(Work { operator, shapes, kind, pass: Pass::Forward, task, count: 1 }))
    };
    match node.operator.name() {
        "conv2d" => {
            let mut shapes = shapes;
            let mut operator = node.operator.clone();
            if let Source::Node(before) = graph.tensors()[node.inputs[0].index()].source
                && graph.nodes()[before].operator.as_any().is::<UpsampleNearest>()
            {
                shapes.inputs[0] = graph.shape(graph.nodes()[before].inputs[0]).clone();
                operator = Arc::new(Conv2d { doubled: true, ..Conv2d::default() });
            }
            let task = Convolution {
                input: shapes.inputs[0].padded4(),
                output: shapes.outputs[0].padded4(),
                kernel: shapes.inputs[1].padded4(),
                bias: shapes.inputs.len() > 2,
            };
            made(Kind::Convolution, Task::Convolution(task), operator, shapes)
        }
        "matmul" => made(Kind::MatrixProduct, product(node, &shapes)?, node.operator.clone(), shapes),
        "attention" => made(Kind::Attention, attention(&shapes), node.operator.clone(), shapes),
        _ => Ok(None),
    }
}

fn gradient(graph: &Graph, node: &Node) -> Result<Option<Work>> {
    let shapes = graph.shapes(node);
    let (first, second) = match &shapes.inputs[..] {
        [first, second, ..] => (first.padded4(), second.padded4()),
        _ => return Ok(None),
    };
    let (kind, pass, task) = match node.operator.name() {
        // The gradient of the network's own inputs, which nothing reads: a training step leaves it out.
        "conv2d_input_gradient" if !graph.nodes().iter().any(|reader| reader.inputs.contains(&node.outputs[0])) => {
            return Ok(None);
        }
        "conv2d_input_gradient" => {
            let (input, kernel) = (shapes.outputs[0].padded4(), second);
            let task = Convolution { input, output: first, kernel, bias: false };
            (Kind::Convolution, Pass::InputGradient, Task::Convolution(task))
        }
        "conv2d_weight_gradient" => {
            let task = Convolution { input: first, output: second, kernel: shapes.outputs[0].padded4(), bias: false };
            (Kind::Convolution, Pass::WeightGradient, Task::Convolution(task))
        }
        "matmul" => (Kind::MatrixProduct, Pass::InputGradient, product(node, &shapes)?),
        "matmul_weight_gradient" => {
            let (a, b) = (&shapes.inputs[0], &shapes.inputs[1]);
            let task = Task::RowSum { rows: a.rows(), left: a.channels(), right: b.channels() };
            (Kind::MatrixProduct, Pass::WeightGradient, task)
        }
        // Attention has no weights: what comes back are the gradients of its three inputs.
        "attention_gradient" => (Kind::Attention, Pass::InputGradient, attention(&shapes)),
        _ => return Ok(None),
    };
    Ok(Some(Work { operator: node.operator.clone(), shapes, kind, pass, task, count: 1 }))
}

fn product(node: &Node, shapes: &Shapes) -> Result<Task> {
    let (a, b) = (&shapes.inputs[0], &shapes.inputs[1]);
    let Some(MatMul { transpose_a: false, transpose_b, .. }) = node.operator.as_any().downcast_ref::<MatMul>() else {
        bail!("{}: a product in a form that has no counterpart here", node.name);
    };
    let &[p, q] = &b[..] else { bail!("{}: a batch of products, which has no counterpart here", node.name) };
    let (inner, columns) = if *transpose_b { (q, p) } else { (p, q) };
    let bias = shapes.inputs.len() > 2;
    Ok(Task::MatrixProduct { rows: a.rows(), inner, columns, transposed: *transpose_b, bias })
}

/// From the shapes of attention or its gradient: q, k, v first; the logarithms of the sums are N x heads x tokens.
fn attention(shapes: &Shapes) -> Task {
    let [_, batch, tokens, embedding] = shapes.inputs[0].padded4();
    let sums = shapes.inputs.get(4).unwrap_or_else(|| &shapes.outputs[1]);
    Task::Attention { batch, tokens, embedding, heads: sums.padded4()[2] }
}

#[cfg(test)]
mod tests {
    use glavitu::model::ModelConfig;
    use glavitu::model::network::inference_graph;

    use super::{Kind, Pass, of_model};

    #[test]
    fn all_convolutions_and_products_of_the_model_are_there() {
        let config = ModelConfig::default();
        let work = of_model(&config).expect("the published model");
        let flop = |pass| work.iter().filter(|w| w.pass == pass).map(|w| w.flop() * w.count as u64).sum::<u64>();
        let whole = inference_graph(&config, 1).expect("the published model").cost().flop;
        // What is left are normalisations, activations and the like.
        assert!(
            flop(Pass::Forward) <= whole && flop(Pass::Forward) > whole / 100 * 97,
            "{} of {whole}",
            flop(Pass::Forward)
        );
        // No gradient goes back to the input, so that the first layers have none of it.
        assert!(flop(Pass::InputGradient) > flop(Pass::Forward) / 100 * 97);
        let reads_inputs = |w: &&super::Work| match &w.task {
            super::Task::Convolution(c) => c.input[3] < config.filters,
            _ => false,
        };
        assert!(work.iter().filter(|w| w.pass == Pass::Forward).any(|w| reads_inputs(&w)));
        assert!(!work.iter().filter(|w| w.pass == Pass::InputGradient).any(|w| reads_inputs(&w)));
        assert!(flop(Pass::WeightGradient) > flop(Pass::Forward) / 100 * 97);
        for kind in Kind::ALL {
            assert!(work.iter().any(|w| w.kind == kind && w.pass == Pass::Forward), "{}", kind.name());
        }
    }
}
