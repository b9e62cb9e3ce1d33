//! Batch slices: a node whose tensors exceed the largest binding, or whose work would keep the GPU busy for too long, is
//! launched several times, each time for some samples of the batch.

use crate::error::{Error, Result};
use crate::graph::{Caps, NodeStorage, Operator, Shape, Shapes, Storage};
use crate::plan::ALIGNMENT;

/// Work of one submission, in floating-point operations: well below the seconds after which desktop drivers give up, even
/// on a slow GPU.
pub const FLOP_PER_SUBMISSION: u64 = 20_000_000_000;

/// Some samples of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The first sample.
    pub start: usize,
    /// The shapes of the slice.
    pub shapes: Shapes,
}

/// The slices of a node with tensors of this storage: one where it fits whole.
///
/// Slices start at multiples of 256 bytes in every tensor that carries the batch.
///
/// # Errors
/// [`Error::DeviceLimit`] if a tensor exceeds the largest binding and the batch cannot be split finely enough.
pub fn slices(
    node: &str,
    operator: &dyn Operator,
    shapes: &Shapes,
    storage: &NodeStorage,
    caps: &Caps,
) -> Result<Vec<Slice>> {
    let whole = vec![Slice { start: 0, shapes: shapes.clone() }];
    let batched = operator.batched(shapes);
    let inputs = || shapes.inputs.iter().zip(&storage.inputs);
    let outputs = || shapes.outputs.iter().zip(&storage.outputs);
    let carried = || inputs().zip(&batched).filter(|(_, b)| **b).map(|(t, _)| t).chain(outputs());
    let batch = shapes.outputs[0].batch();
    let bytes = |(s, storage): (&Shape, &Storage)| 4 * storage.floats(s.elements()) as u64;
    let largest = inputs().chain(outputs()).map(bytes).max().unwrap_or(0);
    let fits = largest <= caps.max_binding_bytes;
    let flop = operator.cost(shapes).flop;
    if fits && (flop <= FLOP_PER_SUBMISSION || batch == 1) {
        return Ok(whole);
    }
    let too_large = |needed| Error::DeviceLimit {
        node: node.to_owned(),
        limit_name: "maxStorageBufferBindingSize",
        needed,
        limit: caps.max_binding_bytes,
    };
    let separable = operator.batch_separable() && carried().all(|(s, _)| s.batch() == batch);
    let fixed = inputs().zip(&batched).filter(|(_, b)| !**b).map(|(t, _)| bytes(t)).max();
    if let Some(fixed) = fixed.filter(|&b| b > caps.max_binding_bytes) {
        return Err(too_large(fixed));
    }
    if !separable {
        return if fits { Ok(whole) } else { Err(too_large(largest)) };
    }
    // Sample counts that keep every tensor's slices aligned; all are powers of two up to the alignment.
    let step = |(s, storage): (&Shape, &Storage)| {
        let aligned = 4 * ALIGNMENT / storage.bytes();
        aligned / gcd(aligned, s.elements() / batch)
    };
    let step = carried().map(step).max().unwrap_or(1);
    let sample_bytes = (carried().map(bytes).max().unwrap_or(0) / batch as u64).max(1);
    let by_bytes = usize::try_from(caps.max_binding_bytes / sample_bytes).unwrap_or(usize::MAX) / step * step;
    if by_bytes == 0 && !fits {
        return Err(too_large(sample_bytes * step as u64));
    }
    let by_flop = usize::try_from(FLOP_PER_SUBMISSION / (flop / batch as u64).max(1)).unwrap_or(usize::MAX);
    let by_flop = (by_flop / step * step).max(step);
    let samples = if by_bytes == 0 { by_flop } else { by_bytes.min(by_flop) };
    let mut made = Vec::new();
    for start in (0..batch).step_by(samples) {
        let count = samples.min(batch - start);
        let part = |s: &Shape| s.with_batch(count);
        let inputs = shapes.inputs.iter().zip(&batched).map(|(s, b)| if *b { part(s) } else { s.clone() }).collect();
        let slice = Shapes { inputs, outputs: shapes.outputs.iter().map(part).collect() };
        // An operator that does not give the slice's outputs from the slice's inputs cannot be split after all.
        if operator.shapes(&slice.inputs).ok().as_ref() != Some(&slice.outputs) {
            return if fits { Ok(whole) } else { Err(too_large(largest)) };
        }
        made.push(Slice { start, shapes: slice });
    }
    Ok(made)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::slices;
    use crate::error::Error;
    use crate::graph::{Caps, NodeStorage, Operator, Shape, Shapes, Storage};
    use crate::ops::{
        Add, AttentionGradient, Conv2d, Conv2dInputGradient, Conv2dWeightGradient, MatMul, Multiply, SumTo,
    };

    fn split(operator: &dyn Operator, inputs: Vec<Shape>, max_binding_bytes: u64) -> Result<Vec<usize>, Error> {
        split_on(Storage::F32, operator, inputs, max_binding_bytes)
    }

    fn split_on(
        storage: Storage,
        operator: &dyn Operator,
        inputs: Vec<Shape>,
        max_binding_bytes: u64,
    ) -> Result<Vec<usize>, Error> {
        let outputs = operator.shapes(&inputs)?;
        let all = |shapes: &[Shape]| vec![storage; shapes.len()];
        let storage = NodeStorage { inputs: all(&inputs), outputs: all(&outputs) };
        let shapes = Shapes { inputs, outputs };
        let caps = Caps { max_binding_bytes, ..Caps::default() };
        let made = slices("node", operator, &shapes, &storage, &caps)?;
        Ok(made.iter().map(|s| s.shapes.outputs[0].batch()).collect())
    }

    #[test]
    fn batches_are_split_by_the_binding_limit() {
        let shapes = || vec![Shape::from([8, 16, 16, 16]), Shape::from([3, 3, 16, 16])];
        assert_eq!(split(&Conv2d::default(), shapes(), 1 << 20).ok(), Some(vec![8]));
        assert_eq!(split(&Conv2d::default(), shapes(), 48 << 10).ok(), Some(vec![3, 3, 2]));
        assert!(matches!(split(&Conv2d::default(), shapes(), 8 << 10), Err(Error::DeviceLimit { .. })));
    }

    #[test]
    fn slices_start_at_aligned_offsets() {
        // 20 floats a sample: only every 16th sample starts at a multiple of 64 floats.
        let made = split(&Add, vec![Shape::from([100, 20]), Shape::from([100, 20])], 4 * 20 * 40);
        assert_eq!(made.ok(), Some(vec![32, 32, 32, 4]));
    }

    #[test]
    fn halves_make_larger_slices_that_start_at_the_same_bytes() {
        // 20 halves a sample: only every 32nd sample starts at a multiple of 256 bytes.
        let made = split_on(Storage::F16, &Add, vec![Shape::from([100, 20]), Shape::from([100, 20])], 4 * 20 * 40);
        assert_eq!(made.ok(), Some(vec![64, 36]));
    }

    #[test]
    fn broadcast_operands_stay_whole() {
        let made = split(&Multiply, vec![Shape::from([4, 8, 8, 64]), Shape::from([1, 1, 1, 64])], 32 << 10);
        assert_eq!(made.ok(), Some(vec![2, 2]));
    }

    #[test]
    fn a_product_over_the_outermost_axis_is_not_split() {
        let product = MatMul { transpose_a: true, ..MatMul::default() };
        let shapes = vec![Shape::from([256, 256]), Shape::from([256, 256])];
        assert!(matches!(split(&product, shapes, 64 << 10), Err(Error::DeviceLimit { .. })));
    }

    #[test]
    fn heavy_nodes_are_split_by_work() {
        let shapes = vec![Shape::from([4, 384, 384, 128]), Shape::from([3, 3, 128, 64])];
        assert_eq!(split(&Conv2d::default(), shapes, 1 << 40).ok(), Some(vec![1, 1, 1, 1]));
    }

    #[test]
    fn gradients_of_samples_are_split_and_sums_over_samples_are_not() {
        let (map, kernel) = (Shape::from([8, 16, 16, 16]), Shape::from([3, 3, 16, 16]));
        let made = split(&Conv2dInputGradient::default(), vec![map.clone(), kernel], 48 << 10);
        assert_eq!(made.ok(), Some(vec![3, 3, 2]));
        let (tokens, sums) = (Shape::from([8, 64, 16]), Shape::from([8, 2, 64]));
        let inputs = [vec![tokens.clone(); 4], vec![sums, tokens]].concat();
        assert_eq!(split(&AttentionGradient { heads: 2 }, inputs, 12 << 10).ok(), Some(vec![3, 3, 2]));
        let sums: [(&dyn Operator, Vec<Shape>); 2] = [
            (
                &Conv2dWeightGradient { kernel: [3, 3], ..Conv2dWeightGradient::default() },
                vec![map.clone(), map.clone()],
            ),
            (&SumTo { shape: vec![16] }, vec![map]),
        ];
        for (operator, inputs) in sums {
            assert_eq!(split(operator, inputs.clone(), 1 << 20).ok().map(|made| made.len()), Some(1));
            assert!(matches!(split(operator, inputs, 48 << 10), Err(Error::DeviceLimit { .. })));
        }
    }
}
