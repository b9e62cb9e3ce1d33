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

    /// Adds a dispatch of a kernel of items.
    pub(super) fn launch_of_items(
        &mut self,
        (kernel, item): (&'static Kernel, usize),
        bindings: Vec<Binding>,
        params: &impl Params,
        groups: usize,
    ) {
        self.launches.push(Launch::new(kernel, bindings, params, groups).with_item(item));
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
