//! The GPU's part of an operator as it grows: launches, and the temporary tensors between them.

use crate::graph::{Binding, Caps, Kernel, Launch, Params, Tile, extent, launch::ELEMENTS_PER_GROUP};
use crate::{kernel, params};

/// Launches in order, and the sizes in floats of the temporary tensors that they use.
#[derive(Debug, Default)]
pub(super) struct GpuWork {
    /// The launches.
    pub(super) launches: Vec<Launch>,
    /// The temporary tensors.
    pub(super) scratch: Vec<usize>,
}

/// A temporary tensor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scratch(usize);

impl Scratch {
    /// To be read.
    pub(super) fn read(self) -> Binding {
        Binding::ScratchIn(self.0)
    }

    /// To be written.
    pub(super) fn write(self) -> Binding {
        Binding::ScratchOut(self.0)
    }
}

/// A map as kernels read it (`kernels/shared/map_quads.wgsl`).
#[derive(Debug, Clone, Copy)]
pub(super) struct MapRead {
    /// The map, or the first of two.
    pub(super) first: Binding,
    /// Its channels.
    pub(super) channels_first: usize,
    /// Scale and shift of its channels, where they are to be normalised.
    pub(super) affine: Option<Binding>,
    /// The activation's factor for negative values then.
    pub(super) slope: f32,
    /// The map whose channels follow.
    pub(super) second: Option<Binding>,
}

impl MapRead {
    /// One map as it is.
    pub(super) fn plain(first: Binding, channels: usize) -> Self {
        Self { first, channels_first: channels, affine: None, slope: 1.0, second: None }
    }

    /// In the kernels' order; what there is not leaves its binding to the first map.
    pub(super) fn bindings(self) -> [Binding; 3] {
        [self.first, self.affine.unwrap_or(self.first), self.second.unwrap_or(self.first)]
    }

    /// The kernels' constants.
    pub(super) fn constants(self) -> Vec<(&'static str, f64)> {
        let constant = |name, is_set: bool| is_set.then_some((name, 1.0));
        let constants = [constant("NORMALISED", self.affine.is_some()), constant("JOINED", self.second.is_some())];
        constants.into_iter().flatten().collect()
    }
}

/// The device's tile where the columns allow it: wide ones read four at once.
pub(super) fn tile(caps: &Caps, columns: usize) -> Tile {
    if columns.is_multiple_of(4) { caps.tile } else { Tile::Narrow }
}

pub(super) static FILL_ROWS: Kernel = kernel!("fill_rows");
pub(super) static TRANSPOSE: Kernel = kernel!("transpose");

params! { struct FillParams { rows: u32, length: u32, filled: u32 } }
params! { struct TransposeParams { matrices: u32, rows: u32, columns: u32, backwards: u32 } }

impl GpuWork {
    /// A new temporary tensor.
    pub(super) fn temporary(&mut self, floats: usize) -> Scratch {
        self.scratch.push(floats);
        Scratch(self.scratch.len() - 1)
    }

    /// Adds a dispatch.
    pub(super) fn launch(
        &mut self,
        kernel: &'static Kernel,
        bindings: Vec<Binding>,
        params: &impl Params,
        groups: usize,
    ) {
        self.launches.push(Launch::new(kernel, bindings, params, groups));
    }

    /// Adds a dispatch of a kernel of items with constants.
    pub(super) fn launch_of_items(
        &mut self,
        (kernel, item, constants): (&'static Kernel, usize, Vec<(&'static str, f64)>),
        bindings: Vec<Binding>,
        params: &impl Params,
        groups: usize,
    ) {
        let launch = Launch::new(kernel, bindings, params, groups).with_item(item);
        self.launches.push(Launch { constants, ..launch });
    }

    /// Lets the dispatch added last run on floats, whatever the storage of its node.
    pub(super) fn last_on_floats(&mut self) {
        if let Some(launch) = self.launches.last_mut() {
            launch.on_floats = true;
        }
    }

    /// `rows` rows of `length` floats with zeros after them up to `filled`; the tensor itself where nothing is missing.
    pub(super) fn filled(&mut self, x: Binding, rows: usize, length: usize, filled: usize) -> Binding {
        if length == filled {
            return x;
        }
        let count = rows * filled;
        let to = self.temporary(count);
        let params = FillParams { rows: extent(rows), length: extent(length), filled: extent(filled) };
        self.launch(&FILL_ROWS, vec![x, to.write()], &params, count.div_ceil(ELEMENTS_PER_GROUP));
        to.read()
    }

    /// So many matrices of rows x columns, each turned over; in the opposite order if `backwards`.
    pub(super) fn transposed(&mut self, x: Binding, [matrices, rows, columns]: [usize; 3], backwards: bool) -> Binding {
        let count = matrices * rows * columns;
        let to = self.temporary(count);
        let params = TransposeParams {
            matrices: extent(matrices),
            rows: extent(rows),
            columns: extent(columns),
            backwards: u32::from(backwards),
        };
        self.launch(&TRANSPOSE, vec![x, to.write()], &params, count.div_ceil(ELEMENTS_PER_GROUP));
        to.read()
    }
}
