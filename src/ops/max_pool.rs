//! 2 x 2 max pooling.

use std::any::Any;

use pulp::Arch;
use rayon::prelude::*;

use super::case::{self, Case, Entry};
use super::max_pool_gradient::MaxPoolGradient;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// (N, 2H, 2W, C) to (N, H, W, C): the largest of each 2 x 2 block.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool;

pub(super) const ENTRY: Entry = Entry { name: "max_pool", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("max_pool");

params! { struct MaxPoolParams { count: u32, width: u32, channels: u32 } }

impl Operator for MaxPool {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), x)?;
        if h % 2 != 0 || w % 2 != 0 {
            return Err(Error::shape(self.name(), x.to_string(), "even height and width"));
        }
        Ok(vec![Shape::from([n, h / 2, w / 2, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: 3 * shapes.outputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [_, _, width, channels] = shapes.outputs[0].padded4();
        let item = caps.item(&[channels]);
        let count = shapes.outputs[0].elements() / item;
        let [width, channels] = [width, channels / item].map(extent);
        let params = MaxPoolParams { count: extent(count), width, channels };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count).with_item(item)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let [_, _, w, c] = shapes.inputs[0].padded4();
        let arch = Arch::new();
        outputs[0].par_chunks_mut(w / 2 * c).zip(inputs[0].par_chunks(2 * w * c)).for_each(|(out, rows)| {
            let (top, bottom) = rows.split_at(w * c);
            arch.dispatch(|| {
                for (x, out) in out.chunks_exact_mut(c).enumerate() {
                    let (t, b) = (&top[2 * x * c..][..2 * c], &bottom[2 * x * c..][..2 * c]);
                    let ((t0, t1), (b0, b1)) = (t.split_at(c), b.split_at(c));
                    for ((((o, t0), t1), b0), b1) in out.iter_mut().zip(t0).zip(t1).zip(b0).zip(b1) {
                        *o = t0.max(*t1).max(b0.max(*b1));
                    }
                }
            });
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.outputs[0].padded4();
        let mut out = Vec::with_capacity(n * h * w * c);
        for b in 0..n {
            for i in 0..h {
                for j in 0..w {
                    for q in 0..c {
                        let at = |y: usize, x: usize| inputs[0][((b * 2 * h + 2 * i + y) * 2 * w + 2 * j + x) * c + q];
                        out.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
                    }
                }
            }
        }
        vec![out]
    }

    fn gradient(
        &self,
        graph: &mut Graph,
        inputs: &[TensorId],
        _outputs: &[TensorId],
        output_gradients: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; 1]) };
        Ok(vec![Some(graph.apply(MaxPoolGradient, &[inputs[0], dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(MaxPool, [[2, 6, 10, 3]]),
        Case::new(MaxPool, [[1, 2, 2, 1]]),
        Case::new(MaxPool, [[1, 34, 62, 65]]),
        Case::new(MaxPool, [[2, 14, 18, 20]]),
        Case::new(MaxPool, [[1, 384, 384, 64]]).published_size(),
    ]
}
