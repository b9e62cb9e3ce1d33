//! Gradient of attention.

use std::any::Any;

use super::attention::{self, MAX_HEAD};
use super::case::{self, Case, Entry, Fill};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::kernel;
use crate::numeric::attention::{Saved, attend_gradient, gradient_scratch};

/// The gradients of [`super::Attention`] (Dao et al. 2022): the probabilities are computed again from the sums that the forward
/// pass has kept, and never stored.
///
/// Inputs: q (N, T, E), k and v (N, S, E), the result (N, T, E), the logarithms of the sums (N, heads, T), and the gradient of the
/// result (N, T, E). Outputs: the gradients of q, k and v.
#[derive(Debug, Clone, Copy)]
pub struct AttentionGradient {
    /// Number of heads.
    pub heads: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "attention_gradient", kernels: &[&QUERIES, &KEYS], cases };

static QUERIES: Kernel = kernel!("attention_gradient_queries");
static KEYS: Kernel = kernel!("attention_gradient_keys");

impl AttentionGradient {
    /// Samples, queries, keys, embedding, heads.
    fn extents(self, shapes: &Shapes) -> [usize; 5] {
        let ([_, n, t, e], [_, _, s, _]) = (shapes.inputs[0].padded4(), shapes.inputs[1].padded4());
        [n, t, s, e, self.heads]
    }
}

impl Operator for AttentionGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [q, k, v, out, log_sum, dout] = case::arity(self.name(), inputs)?;
        let made = super::Attention { heads: self.heads }.shapes(&inputs[..3])?;
        if made[0] != *out || made[1] != *log_sum || out != dout {
            return Err(Error::shape(
                self.name(),
                format!("{inputs:?} with {} heads", self.heads),
                "q, k, v, the two outputs of attention and the gradient of the first",
            ));
        }
        Ok(vec![q.clone(), k.clone(), v.clone()])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        // Five products of queries by keys by width of a head, and the probabilities.
        let [n, t, s, e, heads] = self.extents(shapes);
        Cost { flop: (n * t * s * (10 * e + 6 * heads)) as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let [n, t, s, e, heads] = self.extents(shapes);
        let head = e / heads;
        if head > MAX_HEAD {
            return Err(Error::shape(self.name(), format!("heads of width {head}"), "width 64 at most on the GPU"));
        }
        let params = attention::kernel_params([n, t, s, e, heads], 1);
        let inputs = |indices: &[usize]| indices.iter().map(|&i| Binding::Input(i)).collect::<Vec<_>>();
        let by_query = [inputs(&[0, 1, 2, 3, 4, 5]), vec![Binding::Output(0), Binding::ScratchOut(0)]].concat();
        let by_key =
            [inputs(&[0, 1, 2, 4, 5]), vec![Binding::ScratchIn(0), Binding::Output(1), Binding::Output(2)]].concat();
        let mut launches = vec![
            Launch::new(&QUERIES, by_query, &params, n * heads * t.div_ceil(64)),
            Launch::new(&KEYS, by_key, &params, n * heads * s.div_ceil(64)),
        ];
        for launch in &mut launches {
            launch.constants.push(("HEAD4", f64::from(extent(head.div_ceil(4)))));
        }
        Ok(launches)
    }

    fn gpu_scratch(&self, shapes: &Shapes, _caps: &Caps) -> Vec<usize> {
        vec![shapes.inputs[4].elements()]
    }

    fn batched(&self, _shapes: &Shapes) -> Vec<bool> {
        vec![true; 6]
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], scratch: &mut [f32]) {
        let (&[q, k, v, out, log_sum, dout], [dq, dk, dv]) = (inputs, outputs) else { return };
        attend_gradient(self.extents(shapes), Saved { q, k, v, out, log_sum }, dout, [dq, dk, dv], scratch);
    }

    fn cpu_scratch(&self, shapes: &Shapes) -> usize {
        gradient_scratch(self.extents(shapes))
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, t, s, e, heads] = self.extents(shapes);
        let &[q, k, v, out, log_sum, dout] = inputs else { return vec![Vec::new(); 3] };
        let d = e / heads;
        let scale = 1.0 / (d as f64).sqrt();
        let (mut dq, mut dk, mut dv) = (vec![0.0; n * t * e], vec![0.0; n * s * e], vec![0.0; n * s * e]);
        for b in 0..n {
            for head in 0..heads {
                for i in 0..t {
                    let query = (b * t + i) * e + head * d;
                    let dot = |a: &[f64], x: usize, b: &[f64], y: usize| -> f64 {
                        a[x..x + d].iter().zip(&b[y..y + d]).map(|(a, b)| a * b).sum()
                    };
                    for j in 0..s {
                        let key = (b * s + j) * e + head * d;
                        let score = scale * dot(q, query, k, key);
                        let weight = (score - log_sum[(b * heads + head) * t + i]).exp();
                        let dscore = weight * (dot(dout, query, v, key) - dot(dout, query, out, query));
                        for c in 0..d {
                            dv[key + c] += weight * dout[query + c];
                            dq[query + c] += scale * dscore * k[key + c];
                            dk[key + c] += scale * dscore * q[query + c];
                        }
                    }
                }
            }
        }
        vec![dq, dk, dv]
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case(2, [2, 5, 5, 6]),
        case(1, [1, 1, 1, 1]),
        case(1, [1, 70, 9, 50]),
        case(2, [1, 16, 16, 8]).fill(5, Fill::Wide),
        case(4, [1, 67, 129, 64]),
        case(4, [2, 130, 66, 48]),
        case(4, [1, 576, 576, 64]).published_size(),
    ]
}

/// `heads`, and samples, queries, keys, embedding.
fn case(heads: usize, [n, t, s, e]: [usize; 4]) -> Case {
    let (query, key) = ([n, t, e], [n, s, e]);
    Case::new(AttentionGradient { heads }, [query, key, key, query, [n, heads, t], query])
}
