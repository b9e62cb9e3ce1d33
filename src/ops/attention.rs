//! Multi-head scaled dot-product attention.

use std::any::Any;

use super::case::{self, Case, Entry, Fill};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::numeric::attention;
use crate::{kernel, params};

/// `softmax(q k^T / sqrt d) v` for each head of width d = E / heads (Vaswani et al. 2017).
///
/// Inputs: q, k, v, each (N, T, E) with the heads side by side along E; T may differ between q and the other two.
/// Output (N, T, E). The scores are never stored: the GPU keeps a running maximum and sum (Milakov & Gimelshein 2018).
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "attention", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("attention");

/// The widest head that the kernel holds in registers.
const MAX_HEAD: usize = 64;

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

impl Operator for Attention {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [q, k, v] = case::arity(self.name(), inputs)?;
        match (&q[..], &k[..], &v[..]) {
            (&[n, _, e], &[nk, t, ek], &[nv, tv, ev])
                if n == nk && n == nv && t == tv && e == ek && e == ev && self.heads > 0 && e % self.heads == 0 =>
            {
                Ok(vec![q.clone()])
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

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let (&[n, queries, embedding], &[_, keys, _]) = (&shapes.inputs[0][..], &shapes.inputs[1][..]) else {
            return Ok(Vec::new());
        };
        let head = embedding / self.heads;
        if head > MAX_HEAD {
            return Err(Error::shape(self.name(), format!("heads of width {head}"), "width 64 at most on the GPU"));
        }
        #[expect(clippy::cast_precision_loss, reason = "head widths are at most 64")]
        let scale = 1.0 / (head as f32).sqrt();
        let params = AttentionParams {
            batch: extent(n),
            queries: extent(queries),
            keys: extent(keys),
            embedding: extent(embedding),
            heads: extent(self.heads),
            head: extent(head),
            scale,
        };
        let bindings = vec![Binding::Input(0), Binding::Input(1), Binding::Input(2), Binding::Output(0)];
        let mut launch = Launch::new(&KERNEL, bindings, &params, n * self.heads * queries.div_ceil(64));
        launch.constants.push(("HEAD4", f64::from(extent(head.div_ceil(4)))));
        Ok(vec![launch])
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 3]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let (&[n, t, e], &[_, s, _]) = (&shapes.inputs[0][..], &shapes.inputs[1][..]) else { return };
        attention::attend([n, t, s, e, self.heads], inputs[0], inputs[1], inputs[2], outputs[0]);
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (&[n, t, e], &[_, s, _]) = (&shapes.inputs[0][..], &shapes.inputs[1][..]) else { return vec![Vec::new()] };
        let d = e / self.heads;
        let mut out = vec![0.0; n * t * e];
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
                    for (j, x) in scores.iter().enumerate() {
                        for c in 0..d {
                            out[at(i, c, t)] += (x - max).exp() / sum * inputs[2][at(j, c, s)];
                        }
                    }
                }
            }
        }
        vec![out]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(Attention { heads: 2 }, [[2, 5, 6], [2, 5, 6], [2, 5, 6]]),
        Case::new(Attention { heads: 1 }, [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
        Case::new(Attention { heads: 2 }, [[1, 16, 8], [1, 16, 8], [1, 16, 8]]).fill(0, Fill::Wide),
        Case::new(Attention { heads: 4 }, [[1, 67, 64], [1, 129, 64], [1, 129, 64]]),
        Case::new(Attention { heads: 4 }, [[1, 576, 64], [1, 576, 64], [1, 576, 64]]).published_size(),
    ]
}
