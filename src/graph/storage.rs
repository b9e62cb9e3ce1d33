//! How the elements of tensors lie in memory, and what the texts of kernels say of it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use half::f16;

use super::launch::{Binding, Caps, Launch};
use super::operator::Shapes;

/// How the elements of a tensor lie in a GPU's memory. Kernels compute in f32 whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Storage {
    /// Four bytes each.
    #[default]
    F32,
    /// Two bytes each (IEEE 754 binary16), rounded to the nearest when they are stored.
    F16,
}

impl Storage {
    /// Bytes of one element.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }

    /// The bytes that hold these values, a whole number of floats.
    #[must_use]
    pub fn encode(self, values: &[f32]) -> Cow<'_, [u8]> {
        match self {
            Self::F32 => Cow::Borrowed(bytemuck::cast_slice(values)),
            Self::F16 => {
                let mut halves: Vec<f16> = values.iter().map(|&x| nearest_half(x)).collect();
                halves.resize(halves.len().next_multiple_of(2), f16::ZERO);
                Cow::Owned(bytemuck::cast_slice(&halves).to_vec())
            }
        }
    }

    /// The values that these bytes, taken as floats, hold.
    #[must_use]
    pub fn decode(self, stored: Vec<f32>, elements: usize) -> Vec<f32> {
        match self {
            Self::F32 => stored,
            Self::F16 => bytemuck::cast_slice::<f32, f16>(&stored).iter().take(elements).map(|x| x.to_f32()).collect(),
        }
    }

    /// The memory of so many elements in units of four bytes, which is what plans count in.
    #[must_use]
    pub fn floats(self, elements: usize) -> usize {
        (elements * self.bytes()).div_ceil(4)
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
        })
    }
}

/// The half nearest to a number, the even one of two equally near; beyond the largest, 65504, that one. NaN stays.
#[must_use]
pub fn nearest_half(x: f32) -> f16 {
    let largest = f16::MAX.to_f32();
    f16::from_f32(x.clamp(-largest, largest))
}

/// What a kernel's text says of the storage of one of its bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    /// Quads in the storage of the node, which may be packed: `elem4`, or `item` where items are quads.
    Quads,
    /// Single elements in the storage of the node: `elem`, or `item` where items are single. Halves need a device that has them.
    Singles,
    /// Floats whatever the storage of the node: `f32`, `vec4<f32>`, `item32`.
    Floats,
    /// Pairs of halves whatever the storage of the node: `u32`.
    Halves,
}

impl Launch {
    /// What the kernel's text declares of its storage bindings, in their order. Declarations and aliases stand on one line each.
    #[must_use]
    pub fn declared(&self) -> Vec<Declared> {
        let mut found: Vec<(usize, Declared)> = self
            .lines()
            .filter_map(|line| {
                let (_, rest) = line.split_once("@binding(")?;
                let (number, rest) = rest.split_once(')')?;
                let (_, rest) = rest.split_once("var<storage")?;
                let (_, element) = rest.split_once("array<")?;
                Some((number.parse().ok()?, self.kind(element.trim_end().trim_end_matches(">;"))))
            })
            .collect();
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, declared)| declared).collect()
    }

    /// The storage that the launch runs on in a node that runs on `node`.
    #[must_use]
    pub fn storage_in(&self, node: Storage) -> Storage {
        if self.on_floats { Storage::F32 } else { node }
    }

    /// The kind of an element's type, or of what it is an alias of.
    fn kind(&self, element: &str) -> Declared {
        match element {
            "elem4" => Declared::Quads,
            "item" if self.item == 4 => Declared::Quads,
            "elem" | "vec4<elem>" | "item" => Declared::Singles,
            "u32" => Declared::Halves,
            _ => {
                let alias = self.lines().find_map(|line| {
                    let (name, of) = line.strip_prefix("alias ")?.split_once(" = ")?;
                    (name == element).then_some(of.trim_end().trim_end_matches(';'))
                });
                alias.map_or(Declared::Floats, |of| self.kind(of))
            }
        }
    }

    /// The lines of the kernel's files.
    fn lines(&self) -> impl Iterator<Item = &'static str> {
        let texts = self.kernel.shared.iter().map(|file| file.source).chain([self.kernel.source]);
        texts.flat_map(str::lines)
    }
}

/// The storage of the tensors of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStorage {
    /// Of each input.
    pub inputs: Vec<Storage>,
    /// Of each output.
    pub outputs: Vec<Storage>,
}

impl NodeStorage {
    /// Floats throughout.
    #[must_use]
    pub fn floats(shapes: &Shapes) -> Self {
        Self { inputs: vec![Storage::F32; shapes.inputs.len()], outputs: vec![Storage::F32; shapes.outputs.len()] }
    }

    /// The storage of a node's tensors if its launches run on tensors of `storage`.
    ///
    /// `None` if they cannot: because a kernel takes single elements where halves have to be packed, wants one tensor in two ways, or
    /// does not follow the storage at all; or if a tensor's rows are no whole number of quads, as those of the few channels at the
    /// network's ends, which are better kept in floats.
    #[must_use]
    pub fn of(launches: &[Launch], shapes: &Shapes, storage: Storage, caps: &Caps) -> Option<Self> {
        let (mut read, mut made) = (vec![None; shapes.inputs.len()], vec![None; shapes.outputs.len()]);
        let mut temporary: HashMap<usize, Storage> = HashMap::new();
        let mut follows = false;
        for launch in launches {
            let (declared, on) = (launch.declared(), launch.storage_in(storage));
            let halves = on == Storage::F16;
            if declared.len() != launch.bindings.len() {
                return None;
            }
            for (binding, declared) in launch.bindings.iter().zip(declared) {
                let (wanted, follower) = match declared {
                    Declared::Singles if halves && !caps.native_half => return None,
                    Declared::Quads | Declared::Singles => (on, true),
                    Declared::Floats => (Storage::F32, false),
                    Declared::Halves => (Storage::F16, false),
                };
                follows |= follower && halves;
                let (place, shape) = match *binding {
                    Binding::Input(i) => (&mut read[i], &shapes.inputs[i]),
                    Binding::Output(i) => (&mut made[i], &shapes.outputs[i]),
                    Binding::ScratchIn(i) | Binding::ScratchOut(i) => {
                        if *temporary.entry(i).or_insert(wanted) != wanted {
                            return None;
                        }
                        continue;
                    }
                };
                let ragged = halves && follower && !shape.channels().is_multiple_of(4);
                if ragged || *place.get_or_insert(wanted) != wanted {
                    return None;
                }
            }
        }
        if storage == Storage::F16 && !follows {
            return None;
        }
        let all = |found: Vec<Option<Storage>>| found.into_iter().map(Option::unwrap_or_default).collect();
        Some(Self { inputs: all(read), outputs: all(made) })
    }
}
