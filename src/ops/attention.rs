//! Multi-head scaled dot-product attention.

use std::any::Any;
use std::sync::Arc;

use super::attention_gradient::AttentionGradient;
use super::case::{self, Case, Entry, Fill};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::numeric::attention;
use crate::{kernel, params};

/// `softmax(q k^T / sqrt d) v` for each head of width d = E / heads (Vaswani et al. 2017).
///
/// Inputs: q, k, v, each (N, T, E) with the heads side by side along E; T may differ between q and the other two.
/// Outputs: the result (N, T, E), and the logarithm of the sum of exp of each query's scores (N, heads, T), which its gradient
/// needs. The scores are never stored: the GPU keeps a running maximum and sum (Milakov & Gimelshein 2018).
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "attention", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("attention");

/// The widest head that the kernel holds in registers.
pub(super) const MAX_HEAD: usize = 64;

params! {
    struct AttentionParams {
        batch: u32,
        queries: u32,
        keys: u32,
        embedding: u32,
        heads: u32,
        head: u32,
        scale: f32,
    }
}

/// The parameters for samples, queries, keys, embedding and heads, in items of so many elements; the kernels of the gradient
/// take the same.
pub(super) fn kernel_params([n, t, s, e, heads]: [usize; 5], item: usize) -> impl crate::graph::Params {
    let head = e / heads;
    #[expect(clippy::cast_precision_loss, reason = "head widths are at most 64")]
    let scale = 1.0 / (head as f32).sqrt();
    let [batch, queries, keys, embedding, heads, head] = [n, t, s, e / item, heads, head / item].map(extent);
    AttentionParams { batch, queries, keys, embedding, heads, head, scale }
}

impl Operator for Attention {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [q, k, v] = case::arity(self.name(), inputs)?;
        match (&q[..], &k[..], &v[..]) {
            (&[n, queries, e], &[nk, t, ek], &[nv, tv, ev])
                if n == nk && n == nv && t == tv && e == ek && e == ev && self.heads > 0 && e % self.heads == 0 =>
            {
                Ok(vec![q.clone(), Shape::from([n, self.heads, queries])])
            }
            _ => Err(Error::shape(
                self.name(),
                format!("{inputs:?} with {} heads", self.heads),
                "q (N, T, E), k and v (N, S, E), with E divisible by the heads",
            )),
        }
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost {
            flop: (shapes.inputs[1]
                .get(1)
                .map_or(0, |t| t * shapes.inputs[0].elements() * 4 + 5 * self.heads * t * shapes.inputs[0].rows()))
                as u64,
            bytes: bytes_moved(shapes),
        }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (&[n, queries, embedding], &[_, keys, _]) = (&shapes.inputs[0][..], &shapes.inputs[1][..]) else {
            return Ok(Vec::new());
        };
        let head = embedding / self.heads;
        if head > MAX_HEAD {
            return Err(Error::shape(self.name(), format!("heads of width {head}"), "width 64 at most on the GPU"));
        }
        let item = caps.item(&[head]);
        let params = kernel_params([n, queries, keys, embedding, self.heads], item);
        let mut bindings: Vec<Binding> = (0..3).map(Binding::Input).collect();
        bindings.extend([Binding::Output(0), Binding::Output(1)]);
        let groups = n * self.heads * queries.div_ceil(64);
        let mut launch = Launch::new(&KERNEL, bindings, &params, groups).with_item(item);
        launch.constants.push(("HEAD", f64::from(extent(head / item))));
        Ok(vec![launch])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 3]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (&[n, t, e], &[_, s, _]) = (&shapes.inputs[0][..], &shapes.inputs[1][..]) else { return };
        let [out, log_sum] = outputs else { return };
        attention::attend([n, t, s, e, self.heads], inputs[0], inputs[1], inputs[2], out, log_sum);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (&[n, t, e], &[_, s, _]) = (&shapes.inputs[0][..], &shapes.inputs[1][..]) else {
            return vec![Vec::new(); 2];
        };
        let d = e / self.heads;
        let (mut out, mut log_sums) = (vec![0.0; n * t * e], Vec::with_capacity(n * self.heads * t));
        for b in 0..n {
            for head in 0..self.heads {
                for i in 0..t {
                    let at = |row: usize, c: usize, rows: usize| (b * rows + row) * e + head * d + c;
                    let score = |j: usize| {
                        let dot: f64 = (0..d).map(|c| inputs[0][at(i, c, t)] * inputs[1][at(j, c, s)]).sum();
                        dot / (d as f64).sqrt()
                    };
                    let scores: Vec<f64> = (0..s).map(score).collect();
                    let max = scores.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = scores.iter().map(|x| (x - max).exp()).sum();
                    log_sums.push(max + sum.ln());
                    for (j, x) in scores.iter().enumerate() {
                        for c in 0..d {
                            out[at(i, c, t)] += (x - max).exp() / sum * inputs[2][at(j, c, s)];
                        }
                    }
                }
            }
        }
        vec![out, log_sums]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dout), _] = output_gradients else { return Ok(vec![None; 3]) };
        let gradient = Arc::new(AttentionGradient { heads: self.heads });
        let made = graph.apply_shared(gradient, &[inputs, outputs, &[dout]].concat())?;
        Ok(made.into_iter().map(Some).collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(2, [2, 5, 5, 6]),
        case(1, [1, 1, 1, 1]),
        case(2, [1, 16, 16, 8]).fill(0, Fill::Wide),
        case(3, [2, 4, 7, 6]),
        case(4, [1, 67, 129, 64]),
        case(2, [2, 65, 5, 24]),
        case(1, [1, 3, 67, 64]),
        case(4, [1, 576, 576, 64]).published_size(),
    ]
}

/// `heads`, and samples, queries, keys, embedding. The sums are kept for the gradient alone.
fn case(heads: usize, [n, t, s, e]: [usize; 4]) -> Case {
    Case::new(Attention { heads }, [[n, t, e], [n, s, e], [n, s, e]]).differentiable_outputs(1)
}
