//! Broadcasting as add and multiply use it: extents are aligned at the innermost axis and must be equal or one.

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::graph::{Caps, Kernel, Launch, Shape, Shapes, extent};
use crate::numeric::vector;

/// The shape of a broadcast result.
///
/// # Errors
/// Extents that differ and are not one.
pub(crate) fn shape(operator: &'static str, a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let dim = |s: &Shape, i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    let mut out = Vec::with_capacity(rank);
    for i in 0..rank {
        match (dim(a, i), dim(b, i)) {
            (x, y) if x == y || y == 1 => out.push(x),
            (1, y) => out.push(y),
            _ => return Err(Error::shape(operator, format!("{a} and {b}"), "extents that are equal or one")),
        }
    }
    if rank > 4 {
        return Err(Error::shape(operator, format!("rank {rank}"), "rank 4 at most"));
    }
    Ok(Shape::from(out))
}

/// Element strides of `input` along the four (padded) axes of `output`; zero where it is broadcast.
pub(crate) fn strides(input: &Shape, output: &Shape) -> [usize; 4] {
    let (dims, out) = (input.padded4(), output.padded4());
    let mut strides = [0; 4];
    let mut step = 1;
    for i in (0..4).rev() {
        strides[i] = if dims[i] == 1 && out[i] != 1 { 0 } else { step };
        step *= dims[i];
    }
    strides
}

crate::params! {
    /// Parameters of the kernels that broadcast.
    struct Params {
        count: u32,
        equal: u32,
        height: u32,
        width: u32,
        channels: u32,
        a0: u32,
        a1: u32,
        a2: u32,
        a3: u32,
        b0: u32,
        b1: u32,
        b2: u32,
        b3: u32,
    }
}

/// The launch of a kernel for two inputs and their result.
pub(super) fn launch(kernel: &'static Kernel, shapes: &Shapes, caps: &Caps) -> Launch {
    let (a, b, out) = (&shapes.inputs[0], &shapes.inputs[1], &shapes.outputs[0]);
    let equal = a == out && b == out;
    let item = match (equal, a.channels() == b.channels()) {
        (true, _) => caps.item(&[out.elements()]),
        // A quad lies along the channels, of which none may be repeated.
        (false, true) => caps.item(&[out.channels()]),
        (false, false) => 1,
    };
    let count = out.elements() / item;
    let [_, height, width, channels] = out.padded4().map(extent);
    // Strides along the outer axes are whole numbers of rows, and so of items.
    let strides = |input| {
        let [s0, s1, s2, s3] = strides(input, out);
        [s0 / item, s1 / item, s2 / item, s3].map(extent)
    };
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (strides(a), strides(b));
    let (equal, channels) = (u32::from(equal), channels / extent(item));
    let params = Params { count: extent(count), equal, height, width, channels, a0, a1, a2, a3, b0, b1, b2, b3 };
    Launch::elementwise(kernel, 2, &params, count).with_item(item)
}

/// Which inputs carry the samples: those that have the whole outermost axis of the result.
pub(super) fn batched(shapes: &Shapes) -> Vec<bool> {
    let out = &shapes.outputs[0];
    shapes.inputs.iter().map(|s| s.len() == out.len() && s.batch() == out.batch()).collect()
}

/// The inputs in whose memory the result may lie: those of its shape.
pub(super) fn in_place(shapes: &Shapes) -> Vec<usize> {
    (0..shapes.inputs.len()).filter(|&i| shapes.inputs[i] == shapes.outputs[0]).collect()
}

/// Writes `f(a, b)` for every element of the broadcast `output`, in parallel over its innermost rows. An empty input lies in `out`.
pub(crate) fn compute(
    shapes: (&Shape, &Shape, &Shape),
    a: &[f32],
    b: &[f32],
    out: &mut [f32],
    f: impl Fn(f32, f32) -> f32 + Sync + Copy,
) {
    let (shape_a, shape_b, shape_out) = shapes;
    if shape_a == shape_out && shape_b == shape_out {
        return vector::map2(a, b, out, f);
    }
    let [_, height, width, channels] = shape_out.padded4();
    let (sa, sb) = (strides(shape_a, shape_out), strides(shape_b, shape_out));
    out.par_chunks_mut(width * channels).enumerate().for_each(|(row, out)| {
        let (n, y) = (row / height, row % height);
        for (x, out) in out.chunks_exact_mut(channels).enumerate() {
            let (ia, ib) = (n * sa[0] + y * sa[1] + x * sa[2], n * sb[0] + y * sb[1] + x * sb[2]);
            match (sa[3], sb[3]) {
                (_, 1) if a.is_empty() => {
                    for (o, &b) in out.iter_mut().zip(&b[ib..]) {
                        *o = f(*o, b);
                    }
                }
                (1, _) if b.is_empty() => {
                    for (o, &a) in out.iter_mut().zip(&a[ia..]) {
                        *o = f(a, *o);
                    }
                }
                (1, 1) => {
                    for ((o, &a), &b) in out.iter_mut().zip(&a[ia..]).zip(&b[ib..]) {
                        *o = f(a, b);
                    }
                }
                _ if a.is_empty() => out.iter_mut().for_each(|o| *o = f(*o, b[ib])),
                _ if b.is_empty() => out.iter_mut().for_each(|o| *o = f(a[ia], *o)),
                _ => {
                    for (c, o) in out.iter_mut().enumerate() {
                        *o = f(a[ia + c * sa[3]], b[ib + c * sb[3]]);
                    }
                }
            }
        }
    });
}

/// The same in plain f64 loops, with index arithmetic of its own.
pub(crate) fn reference(
    shapes: (&Shape, &Shape, &Shape),
    a: &[f64],
    b: &[f64],
    f: impl Fn(f64, f64) -> f64,
) -> Vec<f64> {
    let dims = shapes.2.padded4();
    let pick = |shape: &Shape, index: [usize; 4]| {
        shape.padded4().iter().zip(index).fold(0, |at, (&d, i)| at * d + if d == 1 { 0 } else { i })
    };
    let mut out = Vec::with_capacity(shapes.2.elements());
    for n in 0..dims[0] {
        for y in 0..dims[1] {
            for x in 0..dims[2] {
                for c in 0..dims[3] {
                    let index = [n, y, x, c];
                    out.push(f(a[pick(shapes.0, index)], b[pick(shapes.1, index)]));
                }
            }
        }
    }
    out
}
