//! Kernel variants: which of several ways to compute an operator on a GPU is taken for which shapes.
//!
//! An operator that has several ways names them in [`Operator::variants`], the usual one for the shapes first: a small, fixed table. Its
//! `launches` and `gpu_scratch` choose by the capabilities that [`Caps::chosen`] gives them: those of the device, or of the variant that
//! `glavitu tune` measured to be faster on the device at hand.
//!
//! To add a way: one more name below, with what it means for the capabilities, and in `variants` of the operators that have it. Tests run
//! every variant of every case.

use std::collections::BTreeMap;

use super::launch::Caps;
use super::operator::{Operator, Shapes};
use super::tile::Tile;

/// The variant that is the readable statement of the operator.
pub const PLAIN: &str = "plain";
/// Narrow tiles of products; convolutions in their direct form.
pub const NARROW: &str = "narrow";
/// Wide tiles of products; convolutions in their direct form.
pub const WIDE: &str = "wide";
/// Tiles of products in workgroup memory; convolutions in their direct form.
pub const SHARED: &str = "shared";
/// Convolutions in Winograd's form, with narrow tiles.
pub const WINOGRAD_NARROW: &str = "winograd_narrow";
/// Convolutions in Winograd's form, with wide tiles.
pub const WINOGRAD_WIDE: &str = "winograd_wide";
/// Convolutions in Winograd's form, with tiles of products in workgroup memory.
pub const WINOGRAD_SHARED: &str = "winograd_shared";

/// The name of the tiled variant of a product, or of a convolution in its direct or in Winograd's form.
#[must_use]
pub fn tiled(tile: Tile, winograd: bool) -> &'static str {
    match (tile, winograd) {
        (Tile::Narrow, false) => NARROW,
        (Tile::Wide, false) => WIDE,
        (Tile::Narrow, true) => WINOGRAD_NARROW,
        (Tile::Wide, true) => WINOGRAD_WIDE,
    }
}

/// The variants of a product of so many columns, the usual tile's first. Wide tiles read four columns at once.
#[must_use]
pub fn variants_of_product(usual: Tile, columns: usize) -> Vec<&'static str> {
    let tiles: &[&str] = if columns.is_multiple_of(4) { &[NARROW, WIDE, PLAIN] } else { &[NARROW, PLAIN] };
    usual_first(tiled(usual, false), tiles)
}

/// The names with `usual` in front.
#[must_use]
pub fn usual_first(usual: &'static str, names: &[&'static str]) -> Vec<&'static str> {
    let others = names.iter().copied().filter(|&name| name != usual);
    std::iter::once(usual).chain(others).collect()
}

/// Variants by operator, settings and shapes. Empty unless a device was tuned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning {
    choices: BTreeMap<String, String>,
}

impl Tuning {
    /// An operator with its settings and shapes, as a text.
    ///
    /// Samples that are independent count once, so that every batch, and every slice of one, is computed alike.
    #[must_use]
    pub fn key(operator: &dyn Operator, shapes: &Shapes) -> String {
        let batched = operator.batched(shapes);
        let mut key = format!("{} {operator:?}", operator.name());
        for (shape, batched) in shapes.inputs.iter().zip(batched) {
            let shape = if batched && operator.batch_separable() { shape.with_batch(1) } else { shape.clone() };
            key.push_str(&format!(" {shape}"));
        }
        key
    }

    /// Takes a variant for a key.
    pub fn choose(&mut self, key: impl Into<String>, variant: impl Into<String>) {
        self.choices.insert(key.into(), variant.into());
    }

    /// Number of choices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.choices.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.choices.is_empty()
    }
}

impl Caps {
    /// The capabilities by which an operator chooses its kernels for these shapes: those of the device, or of the variant that was measured
    /// to be faster.
    ///
    /// A choice that the operator does not offer (any more) is passed over, and so are all where plain kernels are asked for.
    #[must_use]
    pub fn chosen(&self, operator: &dyn Operator, shapes: &Shapes) -> Self {
        if self.plain_kernels || self.tuning.is_empty() {
            return self.clone();
        }
        let offered = operator.variants(shapes, self);
        let name = self.tuning.choices.get(&Tuning::key(operator, shapes));
        match offered.into_iter().find(|offered| name.is_some_and(|name| name == offered)) {
            Some(PLAIN) => Self { plain_kernels: true, ..self.clone() },
            Some(NARROW) => Self { tile: Tile::Narrow, shared_tiles: false, winograd: Some(false), ..self.clone() },
            Some(WIDE) => Self { tile: Tile::Wide, shared_tiles: false, winograd: Some(false), ..self.clone() },
            Some(SHARED) => Self { shared_tiles: true, winograd: Some(false), ..self.clone() },
            Some(WINOGRAD_NARROW) => {
                Self { tile: Tile::Narrow, shared_tiles: false, winograd: Some(true), ..self.clone() }
            }
            Some(WINOGRAD_WIDE) => Self { tile: Tile::Wide, shared_tiles: false, winograd: Some(true), ..self.clone() },
            Some(WINOGRAD_SHARED) => Self { shared_tiles: true, winograd: Some(true), ..self.clone() },
            _ => self.clone(),
        }
    }

    /// The same with a variant chosen for an operator on these shapes.
    #[must_use]
    pub fn with_variant(&self, operator: &dyn Operator, shapes: &Shapes, variant: &str) -> Self {
        let mut tuning = (*self.tuning).clone();
        tuning.choose(Tuning::key(operator, shapes), variant);
        Self { tuning: tuning.into(), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::{NARROW, PLAIN, WIDE, WINOGRAD_WIDE};
    use crate::graph::{Caps, Operator, Shape, Shapes};
    use crate::ops::{Conv2d, Gelu};

    fn shapes(batch: usize) -> Shapes {
        let inputs = vec![Shape::from([batch, 9, 9, 32]), Shape::from([3, 3, 32, 32])];
        let outputs = Conv2d::default().shapes(&inputs).expect("they fit");
        Shapes { inputs, outputs }
    }

    fn kernels(caps: &Caps, shapes: &Shapes) -> Vec<&'static str> {
        let launches = Conv2d::default().launches(shapes, caps).expect("it fits");
        launches.iter().map(|launch| launch.kernel.name).collect()
    }

    #[test]
    fn a_choice_holds_for_its_shapes_in_any_batch() {
        let conv = Conv2d::default();
        let usual = Caps::default();
        let caps = usual.with_variant(&conv, &shapes(1), PLAIN);
        for batch in [1, 7] {
            assert_ne!(kernels(&usual, &shapes(batch)), ["conv2d_plain"]);
            assert_eq!(kernels(&caps, &shapes(batch)), ["conv2d_plain"]);
        }
        let mut other = shapes(1);
        other.inputs[0] = Shape::from([1, 9, 10, 32]);
        other.outputs[0] = Shape::from([1, 9, 10, 32]);
        assert_eq!(kernels(&caps, &other), kernels(&usual, &other));
        assert_eq!(kernels(&usual.with_variant(&conv, &shapes(1), NARROW), &shapes(1)), ["conv2d_tiled"]);
    }

    #[test]
    fn the_usual_variant_changes_nothing_and_an_unknown_one_falls_back() {
        let conv = Conv2d::default();
        for usual in [Caps::default(), Caps { tile: crate::graph::Tile::Wide, ..Caps::default() }] {
            let first = conv.variants(&shapes(1), &usual)[0];
            for name in [first, "of an older version"] {
                let caps = usual.with_variant(&conv, &shapes(1), name);
                assert_eq!(conv.launches(&shapes(1), &caps).ok(), conv.launches(&shapes(1), &usual).ok(), "{name}");
            }
        }
        let offered = conv.variants(&shapes(1), &Caps::default());
        assert!([PLAIN, NARROW, WIDE, WINOGRAD_WIDE].iter().all(|name| offered.contains(name)), "{offered:?}");
        let exact = Conv2d { exact: true, ..conv };
        assert!(!exact.variants(&shapes(1), &Caps::default()).contains(&WINOGRAD_WIDE));
        let x = Shape::from([3, 4]);
        let alone = Shapes { inputs: vec![x.clone()], outputs: vec![x] };
        assert!(Gelu.variants(&alone, &Caps::default()).is_empty());
    }
}
