//! One operator alone on the CPU: what other devices are held against.

use crate::graph::{Operator, Shapes};

/// What the operator's native code makes of `inputs`.
#[must_use]
pub fn outputs(operator: &dyn Operator, shapes: &Shapes, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut outputs: Vec<Vec<f32>> = shapes.outputs.iter().map(|s| vec![f32::NAN; s.elements()]).collect();
    let mut scratch = vec![0.0; operator.cpu_scratch(shapes)];
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut views: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    operator.compute(shapes, &inputs, &mut views, &mut scratch);
    outputs
}
