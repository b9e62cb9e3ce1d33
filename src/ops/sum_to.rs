//! Sums over broadcast axes.

use std::any::Any;

use rayon::prelude::*;

use super::broadcast;
use super::case::{self, Case, Entry};
use super::expand::Expand;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, extent};
use crate::{kernel, params};

/// The sum over the axes along which `shape` is broadcast: the gradient of broadcasting.
///
/// `shape` is aligned with the input's at the innermost axis; its extents are equal to the input's or one, and it may have a
/// lower rank. The output has that shape: (N, H, W, C) to (C) sums over all pixels.
#[derive(Debug, Clone)]
pub struct SumTo {
    /// The output's shape.
    pub shape: Vec<usize>,
}

pub(super) const ENTRY: Entry = Entry { name: "sum_to", kernels: &[&KERNEL], cases };

pub(super) static KERNEL: Kernel = kernel!("sum_to");

params! {
    struct SumParams {
        keep0: u32,
        sum0: u32,
        keep1: u32,
        sum1: u32,
        keep2: u32,
        parts: u32,
        part_length: u32,
    }
}

/// `gradient`, summed to the shape of `like`, which was broadcast to it.
///
/// # Errors
/// Shapes that do not broadcast, which would be a defect of a gradient rule.
pub(super) fn reduced(graph: &mut Graph, gradient: TensorId, like: TensorId) -> Result<TensorId> {
    if graph.shape(gradient) == graph.shape(like) {
        return Ok(gradient);
    }
    let shape = graph.shape(like).to_vec();
    graph.apply(SumTo { shape }, &[gradient])
}

/// The launch that adds up `parts` results of `count` floats each, which lie in temporary memory 0, into output 0.
pub(super) fn sum_of_parts(parts: usize, count: usize) -> Launch {
    let axes = Axes { keep0: 1, sum0: parts, keep1: 1, sum1: 1, keep2: count };
    // Few outputs: narrow groups, so that many threads share a sum.
    let columns = axes.columns(16);
    axes.launch(Binding::ScratchIn(0), Binding::Output(0), columns, (1, parts))
}

/// The input's axes, neighbouring ones of a kind taken together.
#[derive(Debug, Clone, Copy)]
struct Axes {
    keep0: usize,
    sum0: usize,
    keep1: usize,
    sum1: usize,
    keep2: usize,
}

impl Axes {
    fn new(input: &Shape, output: &Shape) -> Self {
        let (mut extents, mut at) = ([1; 5], 0);
        for (from, to) in input.padded4().into_iter().zip(output.padded4()) {
            if from != 1 {
                at += usize::from((from == to) != (at % 2 == 0));
                extents[at] *= from;
            }
        }
        let [keep0, sum0, keep1, sum1, keep2] = extents;
        // Without a second summed axis, what is kept lies together.
        let (keep1, keep2) = if sum1 == 1 { (1, keep1 * keep2) } else { (keep1, keep2) };
        Self { keep0, sum0, keep1, sum1, keep2 }
    }

    /// Number of sums.
    fn count(self) -> usize {
        self.keep0 * self.keep1 * self.keep2
    }

    /// Outputs per workgroup, a power of two.
    fn columns(self, most: usize) -> usize {
        self.count().next_power_of_two().min(most)
    }

    /// Outputs per workgroup, and into how many parts of which length the sums are split.
    fn split(self, caps: &Caps) -> (usize, (usize, usize)) {
        let (columns, length) = (self.columns(64), self.sum0 * self.sum1);
        let (blocks, lanes) = (self.count().div_ceil(columns), 256 / columns);
        if caps.plain_kernels {
            return (columns, (1, length));
        }
        let parts = (GROUPS / blocks).min(length / (16 * lanes)).clamp(1, MOST_PARTS);
        let part_length = length.div_ceil(parts);
        (columns, (length.div_ceil(part_length), part_length))
    }

    fn launch(self, from: Binding, to: Binding, columns: usize, (parts, part_length): (usize, usize)) -> Launch {
        let [keep0, sum0, keep1, sum1, keep2] = [self.keep0, self.sum0, self.keep1, self.sum1, self.keep2].map(extent);
        let (part_length, groups) = (extent(part_length), parts * self.count().div_ceil(columns));
        let params = SumParams { keep0, sum0, keep1, sum1, keep2, parts: extent(parts), part_length };
        let mut launch = Launch::new(&KERNEL, vec![from, to], &params, groups);
        launch.constants.push(("COLUMNS", f64::from(extent(columns))));
        launch
    }

    /// The sums over the rows of `x`, which are (keep1, sum1, keep2), in f64.
    fn sums_of_rows(self, x: &[f32]) -> Vec<f64> {
        let mut sums = vec![0.0; self.keep1 * self.keep2];
        let (row, block) = (self.keep1 * self.sum1 * self.keep2, self.sum1 * self.keep2);
        pulp::Arch::new().dispatch(|| {
            for (j, sums) in sums.chunks_exact_mut(self.keep2).enumerate() {
                let blocks = x.chunks_exact(row).map(|row| &row[j * block..][..block]);
                let mut wide = sums.chunks_exact_mut(LANES);
                for (i, sums) in wide.by_ref().enumerate() {
                    // Sums in an array of fixed size stay in registers.
                    let mut lanes = [0.0_f64; LANES];
                    for line in blocks.clone().flat_map(|block| block.chunks_exact(self.keep2)) {
                        for (lane, &x) in lanes.iter_mut().zip(&line[i * LANES..][..LANES]) {
                            *lane += f64::from(x);
                        }
                    }
                    sums.copy_from_slice(&lanes);
                }
                let rest = wide.into_remainder();
                let after = self.keep2 - rest.len();
                for line in blocks.flat_map(|block| block.chunks_exact(self.keep2)) {
                    for (sum, &x) in rest.iter_mut().zip(&line[after..]) {
                        *sum += f64::from(x);
                    }
                }
            }
        });
        sums
    }

    /// The sums of one index of keep0, in f64. The pieces depend on the extents alone, and are added in order: the same bits on
    /// any number of threads.
    fn sums(self, x: &[f32]) -> Vec<f64> {
        let row = self.keep1 * self.sum1 * self.keep2;
        let rows = BLOCK.div_ceil(row).max(self.sum0.div_ceil(256));
        if rows >= self.sum0 {
            return self.sums_of_rows(x);
        }
        let pieces: Vec<Vec<f64>> = x.par_chunks(rows * row).map(|x| self.sums_of_rows(x)).collect();
        let mut sums = vec![0.0; self.keep1 * self.keep2];
        for piece in pieces {
            for (sum, x) in sums.iter_mut().zip(piece) {
                *sum += x;
            }
        }
        sums
    }
}

/// Workgroups that the first pass aims at, and into how many parts a sum is split at most.
const GROUPS: usize = 512;
const MOST_PARTS: usize = 256;

/// Elements a thread of the CPU sums at a time: they stay in its second-level cache.
const BLOCK: usize = 1 << 15;
/// Sums that a thread keeps in registers.
const LANES: usize = 32;

impl Operator for SumTo {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [x] = case::arity(self.name(), inputs)?;
        let shape = Shape::from(self.shape.clone());
        if shape.len() > x.len() || broadcast::shape(self.name(), x, &shape)? != *x {
            return Err(Error::shape(self.name(), format!("{x} to {shape}"), "a shape that broadcasts to the input's"));
        }
        Ok(vec![shape])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let axes = Axes::new(&shapes.inputs[0], &shapes.outputs[0]);
        let (columns, parts) = axes.split(caps);
        if parts.0 == 1 {
            return Ok(vec![axes.launch(Binding::Input(0), Binding::Output(0), columns, parts)]);
        }
        let first = axes.launch(Binding::Input(0), Binding::ScratchOut(0), columns, parts);
        Ok(vec![first, sum_of_parts(parts.0, axes.count())])
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        let axes = Axes::new(&shapes.inputs[0], &shapes.outputs[0]);
        match axes.split(caps) {
            (_, (1, _)) => Vec::new(),
            (_, (parts, _)) => vec![parts * axes.count()],
        }
    }

    fn batch_separable(&self) -> bool {
        false
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let axes = Axes::new(&shapes.inputs[0], &shapes.outputs[0]);
        let (from, to) = (axes.sum0 * axes.keep1 * axes.sum1 * axes.keep2, axes.keep1 * axes.keep2);
        let together = BLOCK.div_ceil(from);
        outputs[0].par_chunks_mut(together * to).zip(inputs[0].par_chunks(together * from)).for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(to).zip(x.chunks_exact(from)) {
                for (out, sum) in out.iter_mut().zip(axes.sums(x)) {
                    #[expect(clippy::cast_possible_truncation, reason = "the sum as f32 is the result")]
                    let sum = sum as f32;
                    *out = sum;
                }
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let (from, to) = (shapes.inputs[0].padded4(), shapes.outputs[0].padded4());
        let mut out = vec![0.0; shapes.outputs[0].elements()];
        for (i, x) in inputs[0].iter().enumerate() {
            let (mut rest, mut at, mut step) = (i, 0, 1);
            for axis in (0..4).rev() {
                at += if to[axis] == 1 { 0 } else { rest % from[axis] * step };
                rest /= from[axis];
                step *= to[axis];
            }
            out[at] += x;
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
        let &[Some(dy)] = output_gradients else { return Ok(vec![None]) };
        let shape = graph.shape(inputs[0]).to_vec();
        Ok(vec![Some(graph.apply(Expand { shape }, &[dy])?)])
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        case([2, 5, 7, 3], &[3]),
        case([2, 9, 8], &[9, 8]),
        case([3, 5, 7, 6], &[3, 1, 1, 6]),
        case([2, 5, 7, 65], &[2, 5, 7, 1]),
        case([2, 6, 5, 3], &[1, 6, 1, 3]),
        case([2, 6, 5, 3], &[6, 1, 3]),
        case([4, 6, 5, 3], &[4, 1, 5, 1]),
        case([2, 70, 90, 8], &[8]),
        case([1, 70, 90, 33], &[1, 1, 1, 33]),
        case([2, 70, 90, 2], &[1]),
        case([5, 7], &[5, 7]),
        case([1], &[1]),
        case([1, 384, 384, 64], &[64]).published_size(),
        case([1, 384, 384, 64], &[1, 1, 1, 64]).published_size(),
        case([8, 576, 64], &[576, 64]).published_size(),
    ]
}

fn case(input: impl Into<Shape>, shape: &[usize]) -> Case {
    Case::new(SumTo { shape: shape.to_vec() }, [input.into()])
}

#[cfg(test)]
mod tests {
    use super::{Expand, SumTo};
    use crate::error::Error;
    use crate::graph::{Operator, Shape};

    #[test]
    fn shapes_that_do_not_broadcast_are_refused() {
        let refused = |operator: &dyn Operator, input: &[usize]| {
            matches!(operator.shapes(&[Shape::from(input.to_vec())]), Err(Error::Shape { .. }))
        };
        for (large, small) in [(&[2, 5][..], &[3][..]), (&[5][..], &[1, 5][..]), (&[2, 1][..], &[2, 5][..])] {
            assert!(refused(&SumTo { shape: small.to_vec() }, large), "{large:?} to {small:?}");
            assert!(refused(&Expand { shape: large.to_vec() }, small), "{small:?} to {large:?}");
        }
    }
}
