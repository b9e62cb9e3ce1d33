//! What is put before a kernel's text: the storage of its tensors, the width of its items, and the number of its workgroup.

use naga::valid::Capabilities;

use crate::graph::{Caps, Launch, Storage};

/// The largest finite half.
pub const LARGEST_HALF: f32 = 65504.0;

/// For which storage and items a kernel is assembled. The same text serves all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Form {
    /// Elements of an `item`: one or four.
    pub item: usize,
    /// The storage that `elem4` and `item` stand for.
    pub storage: Storage,
    /// Whether halves are the language's `f16`, which needs `SHADER_F16`; else they are packed in pairs into `u32`.
    pub native_half: bool,
    /// The binding of an input that lies in the memory of an output, and the output's.
    pub in_place: Option<(usize, usize)>,
    /// Whether the kernel may use subgroup operations.
    pub subgroups: bool,
    /// Whether quads of floats are read and written as two words of 64 bits, which needs `SHADER_INT64`.
    pub long_words: bool,
}

impl Default for Form {
    /// Single floats.
    fn default() -> Self {
        Self { item: 1, storage: Storage::F32, native_half: false, in_place: None, subgroups: false, long_words: false }
    }
}

impl Form {
    /// The form of a launch on tensors of this storage.
    #[must_use]
    pub fn of(launch: &Launch, storage: Storage, caps: &Caps) -> Self {
        let native_half = storage == Storage::F16 && caps.native_half;
        let long_words = storage == Storage::F32 && caps.long_words;
        Self {
            item: launch.item,
            storage,
            native_half,
            in_place: launch.in_place,
            subgroups: caps.subgroups,
            long_words,
        }
    }

    /// What the text asks of a compiler beyond the core of the language.
    pub fn capabilities(self) -> Capabilities {
        let of = |asked, capability| if asked { capability } else { Capabilities::empty() };
        let is_packed = self.storage == Storage::F16 && !self.native_half;
        of(self.native_half, Capabilities::SHADER_FLOAT16)
            | of(is_packed, Capabilities::SHADER_FLOAT16_IN_FLOAT32)
            | of(self.subgroups, Capabilities::SUBGROUP)
            | of(self.long_words, Capabilities::SHADER_INT64)
    }

    /// Into how many blocks, which are written out, kernels divide the rows of a thread's tile: drivers unroll loops over a block and keep its sums in
    /// registers. Software adapters do so only while loops are short.
    #[must_use]
    pub fn blocks(self) -> usize {
        match (self.item, self.long_words) {
            (1, _) => 1,
            (_, false) => 2,
            (_, true) => 16,
        }
    }

    /// The text that is put before a kernel of this form.
    #[must_use]
    pub fn prelude(self) -> String {
        let elements = match (self.storage, self.native_half) {
            (Storage::F32, _) if self.long_words => FLOATS_IN_LONG_WORDS,
            (Storage::F32, _) => FLOATS,
            (Storage::F16, true) => HALVES,
            (Storage::F16, false) => PACKED_HALVES,
        };
        let is_packed = self.storage == Storage::F16 && !self.native_half;
        let item = match self.item {
            4 => QUADS,
            // Single halves that are packed could not be written: two threads would write one number.
            _ if is_packed => "",
            _ => SINGLES,
        };
        let rounding = if self.storage == Storage::F16 { SATURATED } else { "" };
        let tile = format!("const LONG_WORDS: bool = {};\nconst BLOCKS: u32 = {}u;\n", self.long_words, self.blocks());
        // Naga takes subgroup operations without WGSL's `enable subgroups;`, and does not know that line yet.
        let lanes = if self.subgroups { SUBGROUPS } else { NO_SUBGROUPS };
        [elements, rounding, item, &tile, lanes, SHARED].concat()
    }
}

const FLOATS: &str = "\
alias elem = f32;
alias elem4 = vec4<f32>;
fn load4(stored: elem4) -> vec4<f32> {
    return stored;
}
fn store4(value: vec4<f32>) -> elem4 {
    return value;
}
fn store1(value: f32) -> elem {
    return value;
}
";

/// Software adapters take every load and store of a vector apart into single words, each with a check of its bounds. Long words are half as many.
const FLOATS_IN_LONG_WORDS: &str = "\
alias elem = f32;
alias elem4 = vec2<u64>;
fn load4(stored: elem4) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(u32(stored.x), u32(stored.x >> 32u), u32(stored.y), u32(stored.y >> 32u)));
}
fn store4(value: vec4<f32>) -> elem4 {
    let bits = bitcast<vec4<u32>>(value);
    return elem4(u64(bits.x) | (u64(bits.y) << 32u), u64(bits.z) | (u64(bits.w) << 32u));
}
fn store1(value: f32) -> elem {
    return value;
}
";

const HALVES: &str = "\
enable f16;
alias elem = f16;
alias elem4 = vec4<f16>;
fn load4(stored: elem4) -> vec4<f32> {
    return vec4<f32>(stored);
}
fn store4(value: vec4<f32>) -> elem4 {
    return elem4(saturated(value));
}
fn store1(value: f32) -> elem {
    return elem(select(value, sign(value) * 65504.0, abs(value) > 65504.0));
}
";

/// The two halves of a pair are rounded here, to the nearest even: the language leaves the rounding of `pack2x16float` to
/// the device, and some devices cut off.
const PACKED_HALVES: &str = "\
alias elem4 = vec2<u32>;
fn load4(stored: elem4) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(stored.x), unpack2x16float(stored.y));
}
fn store4(value: vec4<f32>) -> elem4 {
    let bits = bitcast<vec4<u32>>(saturated(value));
    let rounded = (bits + 0xfffu + ((bits >> vec4<u32>(13u)) & vec4<u32>(1u))) & vec4<u32>(0xffffe000u);
    let exact = bitcast<vec4<f32>>(rounded);
    return elem4(pack2x16float(exact.xy), pack2x16float(exact.zw));
}
";

/// The language leaves open what becomes of a number beyond the largest half.
const SATURATED: &str = "\
fn saturated(value: vec4<f32>) -> vec4<f32> {
    return select(value, sign(value) * 65504.0, abs(value) > vec4<f32>(65504.0));
}
";

const SINGLES: &str = "\
const ITEM: u32 = 1u;
alias item = elem;
alias item32 = f32;
fn load_item(stored: item) -> item32 {
    return f32(stored);
}
fn store_item(value: item32) -> item {
    return store1(value);
}
fn item_sum(value: item32) -> f32 {
    return value;
}
";

const QUADS: &str = "\
const ITEM: u32 = 4u;
alias item = elem4;
alias item32 = vec4<f32>;
fn load_item(stored: item) -> item32 {
    return load4(stored);
}
fn store_item(value: item32) -> item {
    return store4(value);
}
fn item_sum(value: item32) -> f32 {
    return (value.x + value.y) + (value.z + value.w);
}
";

/// Sums and maxima over the active threads of a subgroup, its place among them, and their number: found by the operations themselves, since the built-in values
/// need not be the truth where the size varies.
const SUBGROUPS: &str = "\
const SUBGROUPS: bool = true;
fn lanes_sum(value: f32) -> f32 {
    return subgroupAdd(value);
}
fn lanes_max(value: f32) -> f32 {
    return subgroupMax(value);
}
fn lane_index() -> u32 {
    return subgroupExclusiveAdd(1u);
}
fn lane_count() -> u32 {
    return subgroupAdd(1u);
}
";

/// A subgroup of one.
const NO_SUBGROUPS: &str = "\
const SUBGROUPS: bool = false;
fn lanes_sum(value: f32) -> f32 {
    return value;
}
fn lanes_max(value: f32) -> f32 {
    return value;
}
fn lane_index() -> u32 {
    return 0u;
}
fn lane_count() -> u32 {
    return 1u;
}
";

/// Groups beyond 65,535 are folded into rows; see [`grid`](super::dispatch::grid).
const SHARED: &str = "\
const LARGEST: f32 = 3.4028234e38;
fn group_index(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.y * count.x + id.x;
}
";
