//! Gradients of 3 x 3 kernels on the GPU in Winograd's form: the transpose of F(4x4, 3x3). The 4 x 4 tiles of dy and the 6 x 6 tiles of x become values at
//! 36 points, are multiplied and summed over tiles there as 36 matrix products, and only the sums are transformed back, once. It works on some
//! tiles at a time, in the same temporary memory.

use super::conv2d_weight_gradient::Extents;
use super::gpu_winograd::{INPUT, INPUT_WHOLE, InputParams, POINTS, SIDE};
use super::gpu_work::{GpuWork, MapRead, tile};
use crate::graph::{Binding, Caps, Kernel, Tile, extent};
use crate::{kernel, params};

pub(super) static OUTPUT_GRADIENT: Kernel = kernel!("winograd_output_gradient", "winograd", "winograd_output_gradient");
pub(super) static OUTPUT_GRADIENT_WHOLE: Kernel =
    kernel!("winograd_output_gradient_whole", "winograd", "winograd_output_gradient");
pub(super) static KERNEL_GRADIENT: Kernel = kernel!("winograd_kernel_gradient", "winograd");

/// Fewest channels, and fewest tiles, for which this form pays, by measurement on a software adapter.
const FEWEST_CHANNELS: usize = 32;
/// The same where the direct form has its tiles in workgroup memory.
const FEWEST_CHANNELS_SHARED: usize = 128;
const FEWEST_TILES: usize = 32;
/// Temporary memory for the values of some tiles, in floats: 16 MiB on GPUs; 4 MiB on software adapters.
const NARROW_SCRATCH: usize = 4 << 20;
const WIDE_SCRATCH: usize = 1 << 20;
/// Fewest tiles to work on at a time: all sums are read and written each time.
const FEWEST_AT_A_TIME: usize = 128;
/// Groups that narrow tiles, and those in workgroup memory, aim at, and fewest tiles of a part of a sum then.
const NARROW_GROUPS: usize = 4096;
const SHARED_GROUPS: usize = 1024;
const PART_TILES: usize = 64;
/// Temporary memory for the parts of the sums, in floats, if one does not need more: 32 MiB.
const MOST_SUMS: usize = 8 << 20;

params! {
    struct OutputGradientParams {
        first_tile: u32,
        tiles: u32,
        counted: u32,
        height: u32,
        width: u32,
        channels: u32,
    }
}
params! { struct KernelGradientParams { channels: u32, parts: u32 } }

/// Whether a gradient can be computed in this form.
pub(super) fn is_possible(extents: &Extents) -> bool {
    extents.kernel == [3, 3] && !extents.exact
}

/// Whether a gradient pays in this form, where `caps` leaves it open. The direct form in workgroup memory is three times as fast as in other tiles on the GPUs
/// that take it: there more channels must save more products (kernels/README.md has the times).
pub(super) fn suits(extents: &Extents, caps: &Caps) -> bool {
    let fewest = if extents.is_shared(caps) { FEWEST_CHANNELS_SHARED } else { FEWEST_CHANNELS };
    let is_large = extents.x[3].min(extents.co) >= fewest && tiles(extents.x) >= FEWEST_TILES;
    is_possible(extents) && caps.winograd.unwrap_or(is_large)
}

/// Tiles of maps of these extents.
fn tiles([n, height, width, _]: [usize; 4]) -> usize {
    n * height.div_ceil(SIDE) * width.div_ceil(SIDE)
}

/// How the tiles are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pieces {
    /// Tiles in all, and at a time.
    tiles: usize,
    chunk: usize,
    /// Into how many parts the sums over the tiles of a chunk are split: they divide it.
    parts: usize,
}

impl Pieces {
    /// For so many tiles, values of one tile at one point, sums at one point, groups of a product and groups wanted.
    fn new(tiles: usize, values: usize, sums: usize, groups: usize, wanted: usize, floats: usize) -> Self {
        let most = (floats / (POINTS * values)).max(FEWEST_AT_A_TIME);
        let chunks = tiles.div_ceil(most);
        let chunk = tiles.div_ceil(chunks);
        let parts = (wanted / (POINTS * groups)).min(MOST_SUMS / (POINTS * sums)).min(chunk / PART_TILES).max(1);
        if chunks == 1 {
            let parts = (1..=parts).rev().find(|parts| tiles.is_multiple_of(*parts)).unwrap_or(1);
            return Self { tiles, chunk, parts };
        }
        let even = chunk.next_multiple_of(parts);
        if even > tiles { Self { tiles, chunk, parts: 1 } } else { Self { tiles, chunk: even, parts } }
    }

    /// First tile of every chunk, and before which tile all have been counted: the last chunk is as long as the others and begins among those of the one before.
    fn chunks(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.tiles).step_by(self.chunk).map(move |start| (start.min(self.tiles - self.chunk), start))
    }
}

/// The work that makes output 0 from the map x, whose channels are a multiple of four, and dy.
pub(super) fn work(mut work: GpuWork, extents: Extents, x: MapRead, dy: Binding, caps: &Caps) -> GpuWork {
    let ([_, height, width, ci], co) = (extents.x, extents.co);
    let filled = ci.next_multiple_of(4);
    let of_columns = tile(caps, co);
    let wanted = match caps.tile {
        _ if extents.is_shared(caps) => SHARED_GROUPS,
        Tile::Narrow => NARROW_GROUPS,
        Tile::Wide => 1,
    };
    let floats = match caps.tile {
        Tile::Narrow => NARROW_SCRATCH,
        Tile::Wide => WIDE_SCRATCH,
    };
    // The products of a point: a dense layer.
    let product = |pixels| Extents { x: [1, 1, pixels, ci], kernel: [1, 1], co, exact: false };
    let pieces = Pieces::new(tiles(extents.x), filled + co, ci * co, product(1).tiles(caps), wanted, floats);
    let Pieces { chunk, parts, .. } = pieces;

    let values = work.temporary(POINTS * chunk * filled);
    let gradients = work.temporary(POINTS * chunk * co);
    let sums = work.temporary(POINTS * parts * ci * co);
    for (first_tile, counted) in pieces.chunks() {
        let params = InputParams {
            first_tile: extent(first_tile),
            tiles: extent(chunk),
            height: extent(height),
            width: extent(width),
            channels: extent(filled),
            top: 1,
            left: 1,
            channels_first: extent(x.channels_first),
            slope_in: x.slope,
        };
        let (kernel, groups) = match caps.tile {
            Tile::Narrow => (&INPUT, 3 * (chunk * filled).div_ceil(64)),
            Tile::Wide => (&INPUT_WHOLE, (chunk * filled / 4).div_ceil(64)),
        };
        let bindings = x.bindings().into_iter().chain([values.write()]).collect();
        work.launch_of_items((kernel, caps.tile.item(), x.constants()), bindings, &params, groups);

        let params = OutputGradientParams {
            first_tile: extent(first_tile),
            tiles: extent(chunk),
            counted: extent(counted),
            height: extent(height),
            width: extent(width),
            channels: extent(co),
        };
        let item = of_columns.item();
        let (kernel, groups) = match caps.tile {
            Tile::Narrow => (&OUTPUT_GRADIENT, 3 * (chunk * co / item).div_ceil(64)),
            Tile::Wide => (&OUTPUT_GRADIENT_WHOLE, (chunk * co / item).div_ceil(64)),
        };
        work.launch_of_items((kernel, item, Vec::new()), vec![dy, gradients.write()], &params, groups);

        // One point after the other: its tiles are so many parts of the pixels.
        let x = MapRead::plain(values.read(), filled);
        let split = (POINTS * parts, chunk / parts);
        product(POINTS * chunk).add_tiles(&mut work, (x, gradients.read()), sums.write(), split, counted > 0, caps);
        // The points of a tile differ by so much that halves would lose the small ones.
        work.last_on_floats();
    }
    let item = of_columns.item();
    let params = KernelGradientParams { channels: extent(ci * co / item), parts: extent(parts) };
    let bindings = vec![sums.read(), Binding::Output(0)];
    work.launch_of_items((&KERNEL_GRADIENT, item, Vec::new()), bindings, &params, (ci * co / item).div_ceil(64));
    work
}

#[cfg(test)]
mod tests {
    use super::{POINTS, Pieces};
    use crate::graph::{Caps, Operator, Shape, Shapes, Tile};
    use crate::ops::Conv2dWeightGradient;

    /// The kernels of a 3 x 3 gradient on maps of this side, in their order, each once.
    fn kernels(operator: Conv2dWeightGradient, side: usize, [ci, co]: [usize; 2], caps: &Caps) -> Vec<&'static str> {
        let inputs = vec![Shape::from([1, side, side, ci]), Shape::from([1, side, side, co])];
        let outputs = operator.shapes(&inputs).expect("they fit");
        let launches = operator.launches(&Shapes { inputs, outputs }, caps).expect("they fit");
        let mut names: Vec<&str> = Vec::new();
        for launch in launches {
            if !names.contains(&launch.kernel.name) {
                names.push(launch.kernel.name);
            }
        }
        names
    }

    #[test]
    fn it_is_taken_where_it_pays_and_never_where_rounding_counts() {
        let usual = Conv2dWeightGradient { kernel: [3, 3], ..Conv2dWeightGradient::default() };
        let narrow = Caps::default();
        let shared = Caps { shared_tiles: true, ..Caps::default() };
        let wide = Caps { tile: Tile::Wide, ..Caps::default() };
        for (caps, product) in [(&narrow, "tiled"), (&shared, "shared"), (&wide, "tiled")] {
            let [input, gradient] = match caps.tile {
                Tile::Narrow => ["winograd_input", "winograd_output_gradient"],
                Tile::Wide => ["winograd_input_whole", "winograd_output_gradient_whole"],
            };
            let product = format!("conv2d_weight_gradient_{product}");
            let winograd = [input, gradient, &product, "winograd_kernel_gradient"];
            let asked = |winograd| Caps { winograd: Some(winograd), ..caps.clone() };
            let is_winograd = |kernels: &[&str]| kernels == winograd;
            assert_eq!(is_winograd(&kernels(usual, 96, [64, 64], caps)), !caps.shared_tiles);
            assert!(is_winograd(&kernels(usual, 96, [128, 128], caps)));
            assert!(is_winograd(&kernels(usual, 12, [8, 64], &asked(true))));
            for (operator, side, channels, caps) in [
                (Conv2dWeightGradient { exact: true, ..usual }, 96, [64, 64], &asked(true)),
                (Conv2dWeightGradient { kernel: [2, 2], ..usual }, 96, [64, 64], &asked(true)),
                (usual, 96, [64, 64], &asked(false)),
                (usual, 12, [64, 64], caps),
                (usual, 384, [8, 64], caps),
            ] {
                assert_eq!(kernels(operator, side, channels, caps)[0], product, "{operator:?} {side} {channels:?}");
            }
        }
    }

    #[test]
    fn every_tile_is_counted_once() {
        for tiles in (1..700).chain([9216, 9217, 10_007]) {
            for values in [8, 128, 1024] {
                for wanted in [1, 500, 4096] {
                    for floats in [1 << 19, 4 << 20] {
                        let pieces = Pieces::new(tiles, values, 64, 1, wanted, floats);
                        assert!(pieces.chunk <= tiles && pieces.parts > 0, "{pieces:?}");
                        assert_eq!(pieces.chunk % pieces.parts, 0, "{pieces:?}");
                        let mut next = 0;
                        for (first, counted) in pieces.chunks() {
                            assert_eq!(counted, next, "{pieces:?}");
                            assert!(first <= counted && first + pieces.chunk <= tiles, "{pieces:?}");
                            next = first + pieces.chunk;
                        }
                        assert_eq!(next, tiles, "{pieces:?}");
                    }
                }
            }
        }
        // Enough is split to be worth a test.
        assert!(Pieces::new(9216, 128, 4096, 4, 4096, POINTS << 17).parts > 1);
    }
}
