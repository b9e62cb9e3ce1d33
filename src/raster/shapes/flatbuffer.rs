//! As much of FlatBuffers (flatbuffers.dev, "FlatBuffer Internals") as FlatGeobuf needs: tables, vectors, strings; no structs, no unions.
//!
//! A table begins with the distance back to its "vtable", which tells for each field where in the table it lies, or 0 if it is absent. References are
//! distances forward. Values lie at multiples of their size from the beginning, the four bytes of the length in front included.

/// The value of a field.
#[derive(Debug, Clone)]
pub(super) enum Field {
    Byte(u8),
    Short(u16),
    Int(i32),
    Long(u64),
    Text(String),
    Bytes(Vec<u8>),
    Uints(Vec<u32>),
    Doubles(Vec<f64>),
    Table(Table),
    Tables(Vec<Table>),
}

impl Field {
    /// Bytes in the table: of the value itself, or of a reference to it.
    fn size(&self) -> usize {
        match self {
            Self::Byte(_) => 1,
            Self::Short(_) => 2,
            Self::Long(_) => 8,
            _ => 4,
        }
    }
}

/// A table as it is written: fields by their numbers in the schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Table(pub(super) Vec<(usize, Field)>);

/// A whole buffer with its length in front; `None` if it is larger than references can reach.
pub(super) fn size_prefixed(root: &Table) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 8];
    let at = write_table(&mut bytes, root)?;
    refer(&mut bytes, 4, at)?;
    let length = i32::try_from(bytes.len() - 4).ok()?;
    bytes.get_mut(..4)?.copy_from_slice(&length.to_le_bytes());
    Some(bytes)
}

/// Fills with zeros up to a multiple of `size`, `lead` bytes later.
fn align(bytes: &mut Vec<u8>, lead: usize, size: usize) {
    bytes.resize((bytes.len() + lead).next_multiple_of(size) - lead, 0);
}

/// Writes the distance from `at` to `to`.
fn refer(bytes: &mut [u8], at: usize, to: usize) -> Option<()> {
    let distance = u32::try_from(to - at).ok()?;
    bytes.get_mut(at..at + 4)?.copy_from_slice(&distance.to_le_bytes());
    Some(())
}

fn length(bytes: &mut Vec<u8>, count: usize) -> Option<()> {
    bytes.extend(u32::try_from(count).ok()?.to_le_bytes());
    Some(())
}

/// Appends a table and all below it; gives its position.
fn write_table(bytes: &mut Vec<u8>, table: &Table) -> Option<usize> {
    let slots = table.0.iter().map(|(slot, _)| slot + 1).max().unwrap_or(0);
    align(bytes, 0, 2);
    let vtable = bytes.len();
    let start = (vtable + 4 + 2 * slots).next_multiple_of(4);
    let mut order: Vec<&(usize, Field)> = table.0.iter().collect();
    order.sort_by_key(|(_, field)| std::cmp::Reverse(field.size()));
    let mut offsets = vec![0_u16; slots];
    let mut end = start + 4;
    for (slot, field) in &order {
        end = end.next_multiple_of(field.size());
        *offsets.get_mut(*slot)? = u16::try_from(end - start).ok()?;
        end += field.size();
    }
    bytes.extend(u16::try_from(4 + 2 * slots).ok()?.to_le_bytes());
    bytes.extend(u16::try_from(end - start).ok()?.to_le_bytes());
    bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    align(bytes, 0, 4);
    bytes.extend(i32::try_from(start - vtable).ok()?.to_le_bytes());
    bytes.resize(end, 0);
    for (slot, field) in order {
        let at = start + usize::from(*offsets.get(*slot)?);
        let inline: &[u8] = match field {
            Field::Byte(value) => &[*value],
            Field::Short(value) => &value.to_le_bytes(),
            Field::Int(value) => &value.to_le_bytes(),
            Field::Long(value) => &value.to_le_bytes(),
            other => {
                let to = write_reference(bytes, other)?;
                refer(bytes, at, to)?;
                continue;
            }
        };
        bytes.get_mut(at..at + inline.len())?.copy_from_slice(inline);
    }
    Some(start)
}

/// Appends what a reference points to; gives its position.
fn write_reference(bytes: &mut Vec<u8>, field: &Field) -> Option<usize> {
    if let Field::Table(table) = field {
        return write_table(bytes, table);
    }
    align(bytes, 4, if matches!(field, Field::Doubles(_)) { 8 } else { 4 });
    let at = bytes.len();
    match field {
        Field::Text(text) => {
            length(bytes, text.len())?;
            bytes.extend(text.bytes());
            bytes.push(0);
        }
        Field::Bytes(values) => {
            length(bytes, values.len())?;
            bytes.extend(values);
        }
        Field::Uints(values) => {
            length(bytes, values.len())?;
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Field::Doubles(values) => {
            length(bytes, values.len())?;
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        Field::Tables(tables) => {
            length(bytes, tables.len())?;
            bytes.resize(at + 4 + 4 * tables.len(), 0);
            for (index, table) in tables.iter().enumerate() {
                let to = write_table(bytes, table)?;
                refer(bytes, at + 4 + 4 * index, to)?;
            }
        }
        _ => {}
    }
    Some(at)
}

/// A table being read. Every access is held against the bytes that are there; `None` is damage or absence.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    bytes: &'a [u8],
    start: usize,
    vtable: usize,
    /// Bytes of the vtable.
    reach: usize,
}

impl<'a> View<'a> {
    /// The root table of a buffer without its length in front.
    pub(super) fn root(bytes: &'a [u8]) -> Option<Self> {
        Self::at(bytes, u32_at(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], start: usize) -> Option<Self> {
        let back = i32::from_le_bytes(*bytes.get(start..)?.first_chunk()?);
        let vtable = usize::try_from(i64::try_from(start).ok()? - i64::from(back)).ok()?;
        let reach = usize::from(u16_at(bytes, vtable)?);
        bytes.get(vtable..vtable.checked_add(reach)?)?;
        Some(Self { bytes, start, vtable, reach })
    }

    /// Where a field lies; `None` if it is absent.
    fn field(&self, slot: usize) -> Option<usize> {
        let entry = 4 + 2 * slot;
        if entry + 2 > self.reach {
            return None;
        }
        match u16_at(self.bytes, self.vtable + entry)? {
            0 => None,
            offset => Some(self.start + usize::from(offset)),
        }
    }

    pub(super) fn byte(&self, slot: usize) -> Option<u8> {
        self.bytes.get(self.field(slot)?).copied()
    }

    pub(super) fn short(&self, slot: usize) -> Option<u16> {
        u16_at(self.bytes, self.field(slot)?)
    }

    pub(super) fn int(&self, slot: usize) -> Option<i32> {
        Some(i32::from_le_bytes(*self.bytes.get(self.field(slot)?..)?.first_chunk()?))
    }

    pub(super) fn long(&self, slot: usize) -> Option<u64> {
        Some(u64::from_le_bytes(*self.bytes.get(self.field(slot)?..)?.first_chunk()?))
    }

    fn target(&self, at: usize) -> Option<usize> {
        at.checked_add(u32_at(self.bytes, at)?)
    }

    /// The bytes of a vector of items of `size` bytes.
    fn vector(&self, slot: usize, size: usize) -> Option<&'a [u8]> {
        let at = self.target(self.field(slot)?)?;
        let count = u32_at(self.bytes, at)?;
        self.bytes.get(at + 4..)?.get(..count.checked_mul(size)?)
    }

    pub(super) fn bytes(&self, slot: usize) -> Option<&'a [u8]> {
        self.vector(slot, 1)
    }

    pub(super) fn text(&self, slot: usize) -> Option<&'a str> {
        std::str::from_utf8(self.vector(slot, 1)?).ok()
    }

    pub(super) fn uints(&self, slot: usize) -> Option<Vec<u32>> {
        let (items, _) = self.vector(slot, 4)?.as_chunks::<4>();
        Some(items.iter().map(|item| u32::from_le_bytes(*item)).collect())
    }

    pub(super) fn doubles(&self, slot: usize) -> Option<Vec<f64>> {
        let (items, _) = self.vector(slot, 8)?.as_chunks::<8>();
        Some(items.iter().map(|item| f64::from_le_bytes(*item)).collect())
    }

    pub(super) fn table(&self, slot: usize) -> Option<View<'a>> {
        Self::at(self.bytes, self.target(self.field(slot)?)?)
    }

    /// The tables of a vector; `None` for one that is damaged or absent.
    pub(super) fn tables(&self, slot: usize) -> Option<Vec<View<'a>>> {
        let at = self.target(self.field(slot)?)?;
        let count = self.vector(slot, 4)?.len() / 4;
        (0..count).map(|index| Self::at(self.bytes, self.target(at + 4 + 4 * index)?)).collect()
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let inner = Table(vec![(0, Field::Text("one".into())), (2, Field::Byte(7))]);
        let table = Table(vec![
            (0, Field::Text("name".into())),
            (1, Field::Doubles(vec![1.5, -2.0])),
            (2, Field::Byte(6)),
            (4, Field::Short(16)),
            (5, Field::Long(1 << 40)),
            (6, Field::Tables(vec![inner.clone(), inner.clone()])),
            (7, Field::Table(inner)),
            (8, Field::Uints(vec![3, 9])),
            (9, Field::Int(-4)),
            (10, Field::Bytes(vec![1, 2, 3])),
        ]);
        size_prefixed(&table).expect("small")
    }

    #[test]
    fn there_and_back() {
        let bytes = sample();
        assert_eq!(u32_at(&bytes, 0), Some(bytes.len() - 4));
        let view = View::root(&bytes[4..]).expect("whole");
        assert_eq!((view.text(0), view.doubles(1), view.byte(2)), (Some("name"), Some(vec![1.5, -2.0]), Some(6)));
        assert_eq!((view.byte(3), view.short(4), view.long(5)), (None, Some(16), Some(1 << 40)));
        let inner = view.tables(6).expect("two");
        assert_eq!(
            (inner.len(), inner[1].text(0), inner[1].byte(2), inner[1].byte(9)),
            (2, Some("one"), Some(7), None)
        );
        assert_eq!(view.table(7).and_then(|table| table.text(0)), Some("one"));
        assert_eq!((view.uints(8), view.int(9), view.bytes(10)), (Some(vec![3, 9]), Some(-4), Some(&[1, 2, 3][..])));
        // Doubles lie at multiples of eight, the length in front included.
        let at = bytes.windows(8).position(|w| w == 1.5_f64.to_le_bytes()).expect("there");
        assert_eq!(at % 8, 0);
    }

    #[test]
    fn damage_gives_nothing() {
        let whole = sample();
        for at in 4..whole.len() {
            for value in [0x00, 0x7f, 0xff] {
                let mut bad = whole.clone();
                bad[at] = value;
                for end in [bad.len(), at] {
                    if let Some(view) = View::root(&bad[4..end]) {
                        let _ = (view.text(0), view.doubles(1), view.long(5), view.uints(8), view.bytes(10));
                        let _ = view.tables(6).map(|tables| tables.iter().filter(|t| t.text(0).is_some()).count());
                    }
                }
            }
        }
    }
}
