//! The transpose of the mean over height and width.

use std::any::Any;

use rayon::prelude::*;

use super::case::{self, Case, Entry};
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{Caps, Cost, Kernel, Launch, Operator, Shape, Shapes, extent};
use crate::{kernel, params};

/// (N, 1, 1, C) to (N, H, W, C): each value divided by H W, at every pixel.
#[derive(Debug, Clone, Copy)]
pub struct GlobalAveragePoolGradient {
    /// The height H of the map.
    pub height: usize,
    /// The width W of the map.
    pub width: usize,
}

pub(super) const ENTRY: Entry = Entry { name: "global_average_pool_gradient", kernels: &[&KERNEL], cases };

static KERNEL: Kernel = kernel!("global_average_pool_gradient");

params! { struct GradientParams { count: u32, pixels: u32, channels: u32 } }

impl Operator for GlobalAveragePoolGradient {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let [dy] = case::arity(self.name(), inputs)?;
        let [n, h, w, c] = case::nhwc(self.name(), dy)?;
        if h != 1 || w != 1 {
            return Err(Error::shape(self.name(), dy.to_string(), "height and width one"));
        }
        Ok(vec![Shape::from([n, self.height, self.width, c])])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        Cost { flop: shapes.inputs[0].elements() as u64, bytes: bytes_moved(shapes) }
    }

    fn launches(&self, shapes: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let count = shapes.outputs[0].elements();
        let [pixels, channels] = [self.height * self.width, shapes.inputs[0].channels()].map(extent);
        let params = GradientParams { count: extent(count), pixels, channels };
        Ok(vec![Launch::elementwise(&KERNEL, 1, &params, count)])
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let c = shapes.inputs[0].channels();
        #[expect(clippy::cast_precision_loss, reason = "maps have far fewer than 2^24 pixels")]
        let pixels = (self.height * self.width) as f32;
        outputs[0].par_chunks_mut(self.width * c).enumerate().for_each(|(row, out)| {
            let dy = &inputs[0][row / self.height * c..][..c];
            for out in out.chunks_exact_mut(c) {
                for (o, dy) in out.iter_mut().zip(dy) {
                    *o = dy / pixels;
                }
            }
        });
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let [n, h, w, c] = shapes.outputs[0].padded4();
        let mut out = Vec::with_capacity(n * h * w * c);
        for b in 0..n {
            for _ in 0..h * w {
                out.extend(inputs[0][b * c..(b + 1) * c].iter().map(|dy| dy / (h * w) as f64));
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
        case(5, 7, [2, 1, 1, 3]),
        case(1, 1, [1, 1, 1, 1]),
        case(17, 33, [3, 1, 1, 65]),
        case(384, 384, [1, 1, 1, 64]).published_size(),
    ]
}

fn case(height: usize, width: usize, dy: [usize; 4]) -> Case {
    Case::new(GlobalAveragePoolGradient { height, width }, [dy])
}
