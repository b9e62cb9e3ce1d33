//! This engine's side: one operator on the GPU.

use anyhow::Result;
use glavitu::gpu::Gpu;
use glavitu::gpu::single::SingleOperator;
use glavitu::graph::Operator;
use glavitu::ops::Attention;

use crate::work::{Pass, Task, Work};

/// The inputs of a piece of work, uniform in -1..1 and the same in every run.
pub fn inputs(work: &Work) -> Vec<Vec<f32>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut inputs: Vec<Vec<f32>> =
        work.shapes.inputs.iter().map(|shape| (0..shape.elements()).map(|_| uniform(&mut state)).collect()).collect();
    if let (Task::Attention { heads, .. }, Pass::InputGradient) = (&work.task, work.pass) {
        // The gradient reads what the forward pass has kept.
        let forward = glavitu::graph::Shapes {
            inputs: work.shapes.inputs[..3].to_vec(),
            outputs: work.shapes.inputs[3..5].to_vec(),
        };
        let (given, kept) = inputs.split_at_mut(3);
        let given: Vec<&[f32]> = given.iter().map(Vec::as_slice).collect();
        let mut kept: Vec<&mut [f32]> = kept[..2].iter_mut().map(Vec::as_mut_slice).collect();
        let operator = Attention { heads: *heads };
        operator.compute(&forward, &given, &mut kept, &mut vec![0.0; operator.cpu_scratch(&forward)]);
    }
    inputs
}

/// The results of native code, in the direct form where there is one: a third opinion.
pub fn natively(work: &Work, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let operator = work.operator.exact().unwrap_or_else(|| work.operator.clone());
    let given: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut results: Vec<Vec<f32>> = work.shapes.outputs.iter().map(|shape| vec![0.0; shape.elements()]).collect();
    let mut outputs: Vec<&mut [f32]> = results.iter_mut().map(Vec::as_mut_slice).collect();
    operator.compute(&work.shapes, &given, &mut outputs, &mut vec![0.0; operator.cpu_scratch(&work.shapes)]);
    results
}

/// The next number of a xorshift generator, in -1..1.
pub fn uniform(state: &mut u64) -> f32 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    // The upper 24 bits fill a mantissa.
    (*state >> 40) as f32 / 8_388_608.0 - 1.0
}

/// The operator, ready to run with the inputs uploaded.
pub fn prepare<'a>(gpu: &'a Gpu, work: &Work, inputs: &[Vec<f32>]) -> Result<SingleOperator<'a>> {
    let single = SingleOperator::new(gpu, work.operator.as_ref(), &work.shapes, 0)?;
    single.write(inputs);
    Ok(single)
}
