//! GPU work as plain data: what to run, with which constants and parameters, on how many workgroups.

use std::sync::Arc;

use bytemuck::NoUninit;

use super::storage::Storage;
use super::tile::Tile;
use super::tuning::Tuning;

/// What the device can do; operators choose kernel variants by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Caps {
    /// Largest storage-buffer binding, in bytes.
    pub max_binding_bytes: u64,
    /// Largest number of invocations in a workgroup.
    pub max_invocations: u32,
    /// Workgroup memory, in bytes.
    pub max_workgroup_bytes: u32,
    /// Use the plain statement of an operator even where a faster variant exists.
    pub plain_kernels: bool,
    /// Whether kernels can read and write 16-bit floats; where not, halves are packed in pairs.
    pub native_half: bool,
    /// The tile of matrix products that suits the device.
    pub tile: Tile,
    /// Whether tiles in workgroup memory suit the device, for products that sum over pixels.
    pub shared_tiles: bool,
    /// Whether convolutions that can take Winograd's form do; `None` leaves it to the fixed table.
    pub winograd: Option<bool>,
    /// Variants that were measured to be faster than the usual ones.
    pub tuning: Arc<Tuning>,
    /// Whether kernels can use subgroup operations. Of subgroups' sizes nothing is known.
    pub subgroups: bool,
    /// Whether kernels read and write quads of floats as two words of 64 bits, and wide tiles are wider: for software adapters, whose loads are dear.
    pub long_words: bool,
}

impl Caps {
    /// The same for a node on this storage: halves that have to be packed want kernels of quads.
    #[must_use]
    pub fn on(&self, storage: Storage) -> Self {
        let packed = storage == Storage::F16 && !self.native_half;
        if packed { Self { tile: Tile::Wide, tuning: Arc::default(), ..self.clone() } } else { self.clone() }
    }

    /// Elements of a kernel's `item` where `extents` are those that must be whole numbers of items: a quad of four if it can be
    /// and plain kernels are not asked for, else one.
    #[must_use]
    pub fn item(&self, extents: &[usize]) -> usize {
        if !self.plain_kernels && extents.iter().all(|extent| extent.is_multiple_of(4)) { 4 } else { 1 }
    }
}

impl Default for Caps {
    /// The WebGPU default limits, which every adapter meets.
    fn default() -> Self {
        Self {
            max_binding_bytes: 128 << 20,
            max_invocations: 256,
            max_workgroup_bytes: 16 << 10,
            plain_kernels: false,
            native_half: false,
            tile: Tile::Narrow,
            shared_tiles: false,
            winograd: None,
            tuning: Arc::default(),
            subgroups: false,
            long_words: false,
        }
    }
}

/// A hand-written WGSL kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Kernel {
    /// File name without extension, in `kernels/`.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
    /// The files of `kernels/shared/` that it uses, to be put before it.
    pub shared: &'static [SharedFile],
}

/// A file of `kernels/shared/`, which several kernels use.
#[derive(Debug, PartialEq, Eq)]
pub struct SharedFile {
    /// File name without extension, in `kernels/shared/`.
    pub name: &'static str,
    /// The file's text.
    pub source: &'static str,
}

/// Declares the [`Kernel`] of a file in `kernels/`, with the files of `kernels/shared/` it needs.
#[macro_export]
macro_rules! kernel {
    ($name:literal $(, $shared:literal)*) => {
        $crate::graph::launch::Kernel {
            name: $name,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/", $name, ".wgsl")),
            shared: &[$($crate::graph::launch::SharedFile {
                name: $shared,
                source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/shared/", $shared, ".wgsl")),
            }),*],
        }
    };
}

/// A storage buffer of a launch, in the order of the kernel's bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// The operator's input of this index; read-only.
    Input(usize),
    /// The operator's output of this index; read-write.
    Output(usize),
    /// Temporary memory of this index, read-only.
    ScratchIn(usize),
    /// Temporary memory of this index, read-write.
    ScratchOut(usize),
}

/// The kernel's `Params` uniform: its bytes, and its fields for the check against the compiled kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamBlock {
    /// The struct's bytes.
    pub bytes: Vec<u8>,
    /// Name and byte offset of every field.
    pub fields: &'static [(&'static str, usize)],
}

/// A `Params` struct declared with `params!`.
pub trait Params: NoUninit {
    /// Name and byte offset of every field.
    const FIELDS: &'static [(&'static str, usize)];

    /// The struct as a uniform block.
    fn block(&self) -> ParamBlock {
        ParamBlock { bytes: bytemuck::bytes_of(self).to_vec(), fields: Self::FIELDS }
    }
}

/// Declares a kernel's `Params` struct (u32, i32 and f32 fields) with its layout.
#[macro_export]
macro_rules! params {
    ($(#[$meta:meta])* $visible:vis struct $name:ident { $($field_visible:vis $field:ident : $type:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, bytemuck::NoUninit)]
        $visible struct $name { $($field_visible $field: $type),+ }
        impl $crate::graph::launch::Params for $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field))),+];
        }
    };
}

/// One dispatch.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Values of the kernel's `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Storage buffers in binding order; the `Params` uniform follows as the last binding.
    pub bindings: Vec<Binding>,
    /// The parameters.
    pub params: ParamBlock,
    /// Workgroups, counted linearly. The executor folds more than 65,535 into two dimensions; kernels get their number
    /// from `group_index` of the prelude and must ignore numbers at or past the count they can derive from `params`.
    pub groups: u64,
    /// Elements of the kernel's `item`: one, or a quad of four. Kernels that do not use it may say either.
    pub item: usize,
    /// Where an input lies in the memory of an output: the position of its binding, which is left out, and of the output's.
    pub in_place: Option<(usize, usize)>,
    /// Whether it runs on floats whatever the storage of its node, as between temporary tensors that need their range.
    pub on_floats: bool,
}

/// Items that a group of an elementwise kernel takes: 256 threads, four each.
pub const ELEMENTS_PER_GROUP: usize = 1024;

impl Launch {
    /// A dispatch of `groups` workgroups without override constants.
    #[must_use]
    pub fn new(kernel: &'static Kernel, bindings: Vec<Binding>, params: &impl Params, groups: usize) -> Self {
        let params = params.block();
        Self {
            kernel,
            constants: Vec::new(),
            bindings,
            params,
            groups: groups as u64,
            item: 1,
            in_place: None,
            on_floats: false,
        }
    }

    /// The same where the operator's input of this index lies in the memory of its first output. One buffer may not be bound
    /// both to read and to write, so the kernel then reads the output. A launch that binds only one of the two stays as it is.
    #[must_use]
    pub fn in_place(mut self, input: usize) -> Self {
        let position = |wanted| self.bindings.iter().position(|&binding| binding == wanted);
        self.in_place = position(Binding::Input(input)).zip(position(Binding::Output(0)));
        self
    }

    /// The same with items of so many elements.
    #[must_use]
    pub fn with_item(mut self, item: usize) -> Self {
        self.item = item;
        self
    }

    /// The same with other buffers.
    #[must_use]
    pub fn rebound(mut self, other: impl Fn(Binding) -> Binding) -> Self {
        for binding in &mut self.bindings {
            *binding = other(*binding);
        }
        self
    }

    /// A dispatch of an elementwise kernel that reads the operator's first `inputs` inputs and makes `count` items of its
    /// first output.
    #[must_use]
    pub fn elementwise(kernel: &'static Kernel, inputs: usize, params: &impl Params, count: usize) -> Self {
        let bindings = (0..inputs).map(Binding::Input).chain([Binding::Output(0)]).collect();
        Self::new(kernel, bindings, params, count.div_ceil(ELEMENTS_PER_GROUP))
    }
}

/// An extent as kernels take it. Saturates: a tensor of so many elements is refused by the executor, since no binding is
/// so large.
#[must_use]
pub fn extent(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
