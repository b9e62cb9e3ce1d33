//! Matrix product: dense layers and batches of matrices.

use std::any::Any;

use super::activation::Activation;
use super::case::{Case, Entry};
use super::gpu_work::{self, GpuWork, MapRead, tile};
use super::matmul_weight_gradient::MatMulWeightGradient;
use super::prologue::{self, Prologue};
use super::sum_to;
use crate::error::{Error, Result};
use crate::graph::operator::bytes_moved;
use crate::graph::{
    Binding, Caps, Cost, Graph, Kernel, Launch, Operator, Shape, Shapes, TensorId, Tile, extent,
    launch::ELEMENTS_PER_GROUP, tuning,
};
use crate::numeric::gemm;
use crate::{kernel, params};

/// `a b`, optionally of transposed matrices, plus an optional bias over the columns.
///
/// With a matrix b (K, N), a may have any rank (..., K): a dense layer over its innermost axis, and `transpose_a` needs
/// rank 2. With b of rank 3, (B, K, N), a is (B, M, K): B products. Transposed operands are stored (K, M) and (N, K).
///
/// Inputs: a, b, optionally bias, optionally an addend like the result. For a dense layer, a and the addend may be several
/// inputs each, see [`Prologue`].
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MatMul {
    /// a is stored (K, M).
    pub transpose_a: bool,
    /// b is stored (N, K).
    pub transpose_b: bool,
    /// How a is read.
    pub prologue: Prologue,
    /// How a map that is added to the result is read, if there is one; it is not joined.
    pub addend: Option<Prologue>,
}

/// The extents of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extents {
    /// Number of products.
    pub(crate) batch: usize,
    /// Rows of the result.
    pub(crate) m: usize,
    /// Columns of the result.
    pub(crate) n: usize,
    /// Summed extent.
    pub(crate) k: usize,
}

impl MatMul {
    /// The extents for inputs that [`Operator::shapes`] accepts.
    pub(crate) fn extents(self, a: &Shape, b: &Shape) -> Option<Extents> {
        let swap = |swap: bool, x: usize, y: usize| if swap { (y, x) } else { (x, y) };
        let (batch, (m, k), (kb, n)) = match (&a[..], &b[..]) {
            (&[x, y], &[p, q]) => (1, swap(self.transpose_a, x, y), swap(self.transpose_b, p, q)),
            (_, &[p, q]) if !self.transpose_a => (1, (a.rows(), a.channels()), swap(self.transpose_b, p, q)),
            (&[ba, x, y], &[bb, p, q]) if ba == bb => (ba, swap(self.transpose_a, x, y), swap(self.transpose_b, p, q)),
            _ => return None,
        };
        (k == kb).then_some(Extents { batch, m, n, k })
    }
}

pub(super) const ENTRY: Entry = Entry {
    name: "matmul",
    kernels: &[&PLAIN_KERNEL, &TILED, &SUM, &gpu_work::FILL_ROWS, &gpu_work::TRANSPOSE, &prologue::KERNEL, &ADDEND],
    cases,
};

static PLAIN_KERNEL: Kernel = kernel!("matmul_plain");
pub(super) static TILED: Kernel = kernel!("matmul_tiled", "tile", "map_quads");
pub(super) static SUM: Kernel = kernel!("matmul_sum");
static ADDEND: Kernel = kernel!("matmul_addend");

/// With fewer columns most of a tile's 64 would be empty.
const TILED_FROM: usize = 16;

/// Long sums over few rows are split so that a sample gives about this many workgroups, of narrow and of wide tiles.
const NARROW_GROUPS: usize = 1024;
const WIDE_GROUPS: usize = 64;

impl MatMul {
    /// Into how many parts the inner axis is split, and their length. It depends on the extents of one sample only, so that
    /// batch slices are computed alike.
    fn parts(self, a: &Shape, b: &Shape, e: Extents, tile: Tile) -> (usize, usize) {
        let whole = (1, e.k);
        if a.len() < 3 || b.len() != 2 || e.k < 1024 {
            return whole;
        }
        let wanted = if tile == Tile::Wide { WIDE_GROUPS } else { NARROW_GROUPS };
        let parts = (wanted / tile.groups(e.m / a.batch(), e.n)).clamp(1, e.k / 256);
        let length = e.k.div_ceil(parts).next_multiple_of(16);
        (e.k.div_ceil(length), length)
    }

    /// Of the product alone.
    fn gpu_work(self, shapes: &Shapes, caps: &Caps) -> GpuWork {
        let mut work = GpuWork::default();
        let (a, b) = (&shapes.inputs[0], &shapes.inputs[1]);
        let Some(e) = self.extents(a, b) else { return work };
        let bias = (shapes.inputs.len() > 2).then_some(Binding::Input(2));
        let (at_a, at_b) = (Binding::Input(0), Binding::Input(1));
        if caps.plain_kernels || e.n < TILED_FROM {
            self.plain(&mut work, e, b.len() == 3, bias);
            return work;
        }
        // Rows of a and of b as the tiles take them: along k and along n, k a multiple of four.
        let at_a = if self.transpose_a { work.transposed(at_a, [e.batch, e.k, e.m], false) } else { at_a };
        let at_b = if self.transpose_b { work.transposed(at_b, [e.batch, e.n, e.k], false) } else { at_b };
        let k = e.k.next_multiple_of(4);
        let at_a = work.filled(at_a, e.batch * e.m, e.k, k);
        let at_b = work.filled(at_b, e.batch, e.k * e.n, k * e.n);
        let e = Extents { k, ..e };
        let tile = tile(caps, e.n);
        let (parts, k_part) = self.parts(a, b, e, tile);
        let product = Product { e, parts, k_part, b_is_shared: b.len() == 2 };
        let a_read = MapRead::plain(at_a, k);
        if parts == 1 {
            product.add_to(&mut work, tile, a_read, at_b, Ends { bias, ..Ends::default() }, Binding::Output(0));
            return work;
        }
        let results = work.temporary(parts * e.m * e.n);
        product.add_to(&mut work, tile, a_read, at_b, Ends::default(), results.write());
        work.launches.push(sum_of_parts(results.read(), [parts, e.m, e.n], bias));
        work
    }

    /// The readable statement.
    fn plain(self, work: &mut GpuWork, e: Extents, b_is_batched: bool, bias: Option<Binding>) {
        let (a_row, a_inner) = if self.transpose_a { (1, e.m) } else { (e.k, 1) };
        let (b_inner, b_column) = if self.transpose_b { (1, e.k) } else { (e.n, 1) };
        debug_assert!(b_is_batched || e.batch == 1, "one product where all rows share b");
        let params = Strided {
            batch: extent(e.batch),
            m: extent(e.m),
            n: extent(e.n),
            k: extent(e.k),
            a_batch: extent(e.m * e.k),
            a_row: extent(a_row),
            a_inner: extent(a_inner),
            b_batch: extent(e.k * e.n),
            b_inner: extent(b_inner),
            b_column: extent(b_column),
            has_bias: u32::from(bias.is_some()),
        };
        // A product without bias leaves its binding to b.
        let bindings =
            vec![Binding::Input(0), Binding::Input(1), bias.unwrap_or(Binding::Input(1)), Binding::Output(0)];
        work.launch(&PLAIN_KERNEL, bindings, &params, (e.batch * e.m * e.n).div_ceil(ELEMENTS_PER_GROUP));
    }
}

/// The launch that adds up `parts` results of m x n, a thread for each sum, and the bias, into output 0.
pub(super) fn sum_of_parts(results: Binding, [parts, m, n]: [usize; 3], bias: Option<Binding>) -> Launch {
    let count = m * n;
    let has_bias = u32::from(bias.is_some());
    let params = SumParams { count: extent(count), parts: extent(parts), n: extent(n), has_bias };
    // Without a bias its binding is that of the results.
    let bindings = vec![results, bias.unwrap_or(results), Binding::Output(0)];
    Launch::new(&SUM, bindings, &params, count.div_ceil(ELEMENTS_PER_GROUP))
}

/// What is added to a product.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    /// To every row.
    pub(super) bias: Option<Binding>,
    /// A map of the result's shape.
    pub(super) addend: Option<MapRead>,
    /// The factor of an activation for negative values, applied last.
    pub(super) slope: Option<f32>,
}

/// A product, or a batch of them, in tiles; k is a multiple of four.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    /// The extents.
    pub(super) e: Extents,
    /// Into how many results the inner axis is split, and how long the parts are.
    pub(super) parts: usize,
    pub(super) k_part: usize,
    /// Whether all products share b.
    pub(super) b_is_shared: bool,
}

impl Product {
    /// Adds the launch of a b.
    pub(super) fn add_to(self, work: &mut GpuWork, tile: Tile, a: MapRead, b: Binding, ends: Ends, out: Binding) {
        let e = self.e;
        let params = TiledParams {
            batch: extent(e.batch),
            m: extent(e.m),
            n: extent(e.n),
            k: extent(e.k),
            parts: extent(self.parts),
            k_part: extent(self.k_part),
            b_batch: if self.b_is_shared { 0 } else { extent(e.k * e.n / tile.item()) },
            has_bias: u32::from(ends.bias.is_some()),
            channels_first: extent(a.channels_first),
            slope_in: a.slope,
            slope_addend: ends.addend.map_or(1.0, |addend| addend.slope),
            slope: ends.slope.unwrap_or(1.0),
        };
        let mut constants = a.constants();
        if let Some(addend) = ends.addend {
            constants.push(("ADDEND", if addend.affine.is_some() { 2.0 } else { 1.0 }));
        }
        let groups = e.batch * self.parts * tile.groups(e.m, e.n);
        // What there is not leaves its binding to b.
        let [addend, affine, _] = ends.addend.map_or([b; 3], MapRead::bindings);
        let others = [b, ends.bias.unwrap_or(b), addend, affine, out];
        let bindings = a.bindings().into_iter().chain(others).collect();
        work.launch_of_items((&TILED, tile.item(), constants), bindings, &params, groups);
    }
}

params! {
    struct Strided {
        batch: u32,
        m: u32,
        n: u32,
        k: u32,
        a_batch: u32,
        a_row: u32,
        a_inner: u32,
        b_batch: u32,
        b_inner: u32,
        b_column: u32,
        has_bias: u32,
    }
}
params! {
    struct TiledParams {
        batch: u32,
        m: u32,
        n: u32,
        k: u32,
        parts: u32,
        k_part: u32,
        b_batch: u32,
        has_bias: u32,
        channels_first: u32,
        slope_in: f32,
        slope_addend: f32,
        slope: f32,
    }
}
params! { struct SumParams { count: u32, parts: u32, n: u32, has_bias: u32 } }

params! { struct AddendParams { count: u32, channels: u32, normalised: u32, slope: f32 } }

impl MatMul {
    /// The product alone.
    fn plain_form(self) -> Self {
        Self { prologue: Prologue::default(), addend: None, ..self }
    }

    /// Whether there is nothing but the product and its bias.
    fn is_plain(self) -> bool {
        self == self.plain_form()
    }

    /// Number of inputs before the addend's.
    fn before_addend(self, inputs: usize) -> usize {
        inputs.saturating_sub(self.addend.map_or(0, Prologue::inputs))
    }

    /// The shapes of the product alone.
    fn merged(self, shapes: &Shapes) -> Shapes {
        let mut merged = self.prologue.merged(shapes);
        merged.inputs.truncate(self.before_addend(merged.inputs.len()));
        merged
    }

    /// The addend's inputs.
    fn addend_shapes(self, shapes: &Shapes) -> Shapes {
        let first = self.before_addend(shapes.inputs.len());
        Shapes { inputs: shapes.inputs[first..].to_vec(), outputs: Vec::new() }
    }

    /// A fused form whose tiles do all of it.
    fn one_launch(self, shapes: &Shapes, caps: &Caps) -> Option<GpuWork> {
        let merged = self.merged(shapes);
        let (a, b) = (&merged.inputs[0], &merged.inputs[1]);
        let e = self.extents(a, b)?;
        let tile = tile(caps, e.n);
        let map = self.prologue.read(shapes)?;
        let is_tiled = !caps.plain_kernels && e.n >= TILED_FROM && e.k.is_multiple_of(4);
        if self.is_plain() || !is_tiled || self.parts(a, b, e, tile).0 > 1 {
            return None;
        }
        let mut work = GpuWork::default();
        let first = self.prologue.inputs();
        let at_b = Binding::Input(first);
        let at_b = if self.transpose_b { work.transposed(at_b, [e.batch, e.n, e.k], false) } else { at_b };
        let bias = (merged.inputs.len() > 2).then_some(Binding::Input(first + 1));
        let at_addend = self.before_addend(shapes.inputs.len());
        let addend = self.addend.map(|read| MapRead {
            affine: read.normalised.map(|_| Binding::Input(at_addend + 1)),
            slope: read.normalised.unwrap_or_default().negative_slope(),
            ..MapRead::plain(Binding::Input(at_addend), e.n)
        });
        let product = Product { e, parts: 1, k_part: e.k, b_is_shared: true };
        product.add_to(&mut work, tile, map, at_b, Ends { bias, addend, slope: None }, Binding::Output(0));
        Some(work)
    }

    /// With what comes before and after the product.
    fn fused_gpu_work(self, shapes: &Shapes, caps: &Caps) -> GpuWork {
        let caps = &caps.chosen(&self, shapes);
        if let Some(work) = self.one_launch(shapes, caps) {
            return work;
        }
        let mut work = self.plain_form().gpu_work(&self.merged(shapes), caps);
        if let Some(addend) = self.addend {
            let count = shapes.outputs[0].elements();
            let sum = work.temporary(count);
            let to_sum = |binding| if binding == Binding::Output(0) { sum.write() } else { binding };
            work.launches = std::mem::take(&mut work.launches).into_iter().map(|l| l.rebound(to_sum)).collect();
            let params = AddendParams {
                count: extent(count),
                channels: extent(shapes.outputs[0].channels()),
                normalised: u32::from(addend.normalised.is_some()),
                slope: addend.normalised.unwrap_or_default().negative_slope(),
            };
            // In the product's count of inputs, which the prologue changes; an addend that is not normalised leaves the
            // binding to itself.
            let first = self.before_addend(shapes.inputs.len()) + 1 - self.prologue.inputs();
            let affine = Binding::Input(first + usize::from(addend.normalised.is_some()));
            let bindings = vec![sum.read(), Binding::Input(first), affine, Binding::Output(0)];
            work.launch(&ADDEND, bindings, &params, count.div_ceil(ELEMENTS_PER_GROUP));
        }
        let (launches, scratch) = (std::mem::take(&mut work.launches), std::mem::take(&mut work.scratch));
        GpuWork {
            launches: self.prologue.launches(shapes, scratch.len(), launches),
            scratch: self.prologue.scratch(shapes, scratch),
        }
    }
}

impl Operator for MatMul {
    fn name(&self) -> &'static str {
        ENTRY.name
    }

    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let wrong =
            || Error::shape(self.name(), format!("{inputs:?}"), "a (..., M, K), b (K, N) and optionally bias (N)");
        let mut merged = self.prologue.merge(self.name(), inputs)?;
        let addend = merged.split_off(self.before_addend(merged.len()));
        let (a, b, bias) = match merged.as_slice() {
            [a, b] => (a, b, None),
            [a, b, bias] => (a, b, Some(bias)),
            _ => return Err(wrong()),
        };
        let e = self.extents(a, b).ok_or_else(wrong)?;
        if bias.is_some_and(|s| s.len() != 1 || s[0] != e.n) {
            return Err(wrong());
        }
        let out = match a.len() {
            2 => Shape::from([e.m, e.n]),
            3 if b.len() == 3 => Shape::from([e.batch, e.m, e.n]),
            _ => a.with_channels(e.n),
        };
        // Fused forms are dense layers.
        if !self.is_plain() && (self.transpose_a || b.len() != 2) {
            return Err(wrong());
        }
        if let Some(read) = self.addend {
            let whole = read.merge(self.name(), &addend)?;
            if read.joined || whole != [out.clone()] {
                return Err(wrong());
            }
        }
        Ok(vec![out])
    }

    fn cost(&self, shapes: &Shapes) -> Cost {
        let merged = self.merged(shapes);
        Cost {
            flop: self
                .extents(&merged.inputs[0], &merged.inputs[1])
                .map_or(0, |e| 2 * (e.batch * e.m * e.n * e.k) as u64),
            bytes: bytes_moved(shapes),
        }
    }

    fn launches(&self, shapes: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(self.fused_gpu_work(shapes, caps).launches)
    }

    fn variants(&self, shapes: &Shapes, caps: &Caps) -> Vec<&'static str> {
        let merged = self.merged(shapes);
        match self.extents(&merged.inputs[0], &merged.inputs[1]) {
            Some(e) if e.n >= TILED_FROM => tuning::variants_of_product(tile(caps, e.n), e.n),
            _ => Vec::new(),
        }
    }

    fn gpu_scratch(&self, shapes: &Shapes, caps: &Caps) -> Vec<usize> {
        self.fused_gpu_work(shapes, caps).scratch
    }

    fn batched(&self, shapes: &Shapes) -> Vec<bool> {
        // The outermost axis of a transposed matrix is the summed one.
        let merged = self.merged(shapes);
        let (a, b) = (&merged.inputs[0], &merged.inputs[1]);
        let mut batched = self.prologue.batched();
        batched[0] = a.len() > 2 || !self.transpose_a;
        batched.push(b.len() == 3);
        batched.resize(self.before_addend(shapes.inputs.len()), false);
        batched.extend(self.addend.into_iter().flat_map(Prologue::batched));
        batched
    }

    fn compute(&self, shapes: &Shapes, inputs: &[&[f32]], outputs: &mut [&mut [f32]], _scratch: &mut [f32]) {
        let merged = self.merged(shapes);
        let Some(e) = self.extents(&merged.inputs[0], &merged.inputs[1]) else { return };
        if !self.is_plain() {
            let (product, addend) = inputs.split_at(self.before_addend(inputs.len()));
            let (a, others) = self.prologue.source(shapes, product);
            let b = gemm::Matrix { data: others[0], transposed: self.transpose_b };
            let addend = self.addend.map(|read| read.source(&self.addend_shapes(shapes), addend).0);
            gemm::multiply_map([e.n, e.k], a, b, others.get(1).copied(), addend, outputs[0]);
            return;
        }
        let bias = inputs.get(2).copied();
        for i in 0..e.batch {
            let a = gemm::Matrix { data: &inputs[0][i * e.m * e.k..], transposed: self.transpose_a };
            let b = gemm::Matrix { data: &inputs[1][i * e.k * e.n..], transposed: self.transpose_b };
            gemm::multiply([e.m, e.n, e.k], a, b, bias, &mut outputs[0][i * e.m * e.n..]);
        }
    }

    fn reference(&self, shapes: &Shapes, inputs: &[&[f64]]) -> Vec<Vec<f64>> {
        let merged = self.merged(shapes);
        let Some(e) = self.extents(&merged.inputs[0], &merged.inputs[1]) else { return vec![Vec::new()] };
        let (product, addend) = inputs.split_at(self.before_addend(inputs.len()));
        let addend = self.addend.map(|read| read.reference(&self.addend_shapes(shapes), addend).swap_remove(0));
        let inputs = self.prologue.reference(shapes, product);
        let (a, b) = (&inputs[0], &inputs[1]);
        let mut out = Vec::with_capacity(e.batch * e.m * e.n);
        for batch in 0..e.batch {
            for i in 0..e.m {
                for j in 0..e.n {
                    let mut sum = inputs.get(2).map_or(0.0, |bias| bias[j]);
                    for q in 0..e.k {
                        let at_a = if self.transpose_a { q * e.m + i } else { i * e.k + q };
                        let at_b = if self.transpose_b { j * e.k + q } else { q * e.n + j };
                        sum += a[batch * e.m * e.k + at_a] * b[batch * e.k * e.n + at_b];
                    }
                    sum += addend.as_ref().map_or(0.0, |addend| addend[out.len()]);
                    out.push(sum);
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
        if !self.is_plain() {
            return Err(Error::NoGradient { operator: self.name() });
        }
        let &[Some(dy)] = output_gradients else { return Ok(vec![None; inputs.len()]) };
        let (a, b) = (inputs[0], inputs[1]);
        let product = |transpose_a: bool, transpose_b: bool| Self { transpose_a, transpose_b, ..Self::default() };
        // y = a b: da = dy b^T and db = a^T dy, or the transposes of these where an operand is stored transposed.
        let da = if self.transpose_a {
            graph.apply(product(self.transpose_b, true), &[b, dy])?
        } else {
            graph.apply(product(false, !self.transpose_b), &[dy, b])?
        };
        let pair = if self.transpose_b { [dy, a] } else { [a, dy] };
        let db = match (self.transpose_a, graph.shape(b).len()) {
            // All rows of a dense layer share the matrix.
            (false, 2) => graph.apply(MatMulWeightGradient::default(), &pair)?,
            _ => graph
                .apply(product(self.transpose_b || !self.transpose_a, self.transpose_a && self.transpose_b), &pair)?,
        };
        let mut gradients = vec![Some(da), Some(db)];
        if let Some(&bias) = inputs.get(2) {
            gradients.push(Some(sum_to::reduced(graph, dy, bias)?));
        }
        Ok(gradients)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn cases() -> Vec<Case> {
    vec![
        Case::new(PLAIN, [[5, 7], [7, 3]]),
        Case::new(PLAIN, [[1, 1], [1, 1]]),
        Case::new(PLAIN, [Shape::from([2, 3, 5, 17]), Shape::from([17, 9]), Shape::from([9])]),
        Case::new(PLAIN, [[64, 16], [16, 64]]),
        Case::new(PLAIN, [[65, 33], [33, 127]]),
        Case::new(PLAIN, [[3, 7, 5], [3, 5, 11]]),
        Case::new(product(true, false), [[19, 6], [19, 34]]),
        Case::new(product(false, true), [[2, 66, 19], [2, 34, 19]]),
        Case::new(product(true, true), [[2, 19, 6], [2, 34, 19]]),
        Case::new(product(false, true), [Shape::from([2, 3, 5, 17]), Shape::from([9, 17])]),
        Case::new(product(true, true), [[19, 6], [34, 19]]),
        Case::new(product(true, false), [[2, 19, 6], [2, 19, 34]]),
        fused([2, 5, 7, 3].into(), read(Some(LEAKY), false), [3, 9], true, None),
        fused([2, 20, 30, 16].into(), read(Some(LEAKY), true), [37, 20], false, Some(read(Some(LEAKY), false))),
        fused([1, 8, 11, 5].into(), read(None, true), [26, 64], true, Some(read(None, false))),
        fused([1, 30, 40, 32].into(), read(Some(Activation::Identity), true), [64, 36], false, None),
        fused([3, 7].into(), read(None, false), [7, 5], true, Some(read(None, false))),
        fused([1, 1, 1, 1040].into(), read(None, false), [1040, 20], true, Some(read(None, false))),
        Case::new(PLAIN, [[2, 131, 20], [2, 20, 68]]),
        Case::new(PLAIN, [Shape::from([2, 41, 1048]), Shape::from([1048, 20]), Shape::from([20])]),
        Case::new(PLAIN, [Shape::from([1, 384, 384, 64]), Shape::from([64, 64])]).published_size(),
        Case::new(PLAIN, [Shape::from([1, 576, 16384]), Shape::from([16384, 64]), Shape::from([64])]).published_size(),
        Case::new(PLAIN, [Shape::from([1, 576, 64]), Shape::from([64, 256]), Shape::from([256])]).published_size(),
        Case::new(PLAIN, [Shape::from([1, 384, 384, 64]), Shape::from([64, 2]), Shape::from([2])]).published_size(),
    ]
}

const PLAIN: MatMul = product(false, false);

const fn product(transpose_a: bool, transpose_b: bool) -> MatMul {
    MatMul { transpose_a, transpose_b, prologue: read(None, false), addend: None }
}

const LEAKY: Activation = Activation::LeakyRelu { slope: 0.2 };

const fn read(normalised: Option<Activation>, joined: bool) -> Prologue {
    Prologue { normalised, joined }
}

/// A dense layer with a prologue and `k` channels in all, and an addend.
fn fused(a: Shape, prologue: Prologue, [k, n]: [usize; 2], bias: bool, addend: Option<Prologue>) -> Case {
    let mut others = vec![Shape::from([k, n])];
    others.extend(bias.then(|| Shape::from([n])));
    if let Some(addend) = addend {
        others.push(a.with_channels(n));
        others.extend(addend.normalised.map(|_| Shape::from([2, n])));
    }
    prologue::case(MatMul { prologue, addend, ..PLAIN }, prologue, a, k, &others)
}
