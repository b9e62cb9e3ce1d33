//! 3 x 3 convolutions on the GPU in Winograd's form, F(4x4, 3x3): input and kernel are transformed to 36 points, multiplied there as 36
//! matrix products, and transformed back (Lavin & Gray, 2016, "Fast algorithms for convolutional neural networks"). It works on some tiles
//! at a time, in the same temporary memory.

use super::gpu_convolution::{GpuConvolution, Tensors};
use super::gpu_work::{GpuWork, MapRead, tile};
use super::matmul::{self, Ends, Product};
use crate::graph::{Caps, Kernel, Tile, extent};
use crate::{kernel, params};

pub(super) static KERNEL: Kernel = kernel!("winograd_kernel", "winograd");
pub(super) static INPUT: Kernel = kernel!("winograd_input", "winograd", "winograd_input");
pub(super) static INPUT_WHOLE: Kernel = kernel!("winograd_input_whole", "winograd", "winograd_input");
pub(super) static OUTPUT: Kernel = kernel!("winograd_output", "winograd", "winograd_output");
pub(super) static OUTPUT_WHOLE: Kernel = kernel!("winograd_output_whole", "winograd", "winograd_output");

/// Points of a tile, and pixels of a side of a tile's outputs.
pub(super) const POINTS: usize = 36;
pub(super) const SIDE: usize = 4;

/// Temporary memory for the values of some tiles, in floats: 16 MiB on GPUs; 2 MiB, about what one core's cache holds, on software adapters.
const NARROW_SCRATCH: usize = 4 << 20;
const WIDE_SCRATCH: usize = 1 << 19;

/// Rows of the largest tile of products.
const ROWS: usize = 64;

params! { struct KernelParams { channels: u32 } }
params! {
    pub(super) struct InputParams {
        pub(super) first_tile: u32,
        pub(super) tiles: u32,
        pub(super) height: u32,
        pub(super) width: u32,
        pub(super) channels: u32,
        pub(super) top: u32,
        pub(super) left: u32,
        pub(super) channels_first: u32,
        pub(super) slope_in: f32,
    }
}
params! {
    struct OutputParams {
        first_tile: u32,
        tiles: u32,
        height: u32,
        width: u32,
        channels: u32,
        has_bias: u32,
        slope: f32,
    }
}

/// Whether a convolution can be computed in this form.
pub(super) fn is_possible(convolution: &GpuConvolution) -> bool {
    let [kernel_height, kernel_width, ..] = convolution.kernel;
    [kernel_height, kernel_width] == [3, 3] && !convolution.doubled
}

/// Whether a convolution pays in this form, where `caps` leaves it open. The transforms move 2.25 times the map's bytes there and back: with few channels the
/// products that they save are worth less. In wide tiles without long words products are dear.
pub(super) fn suits(convolution: &GpuConvolution, caps: &Caps) -> bool {
    let [.., ci, co] = convolution.kernel;
    let fewest = match caps.tile {
        Tile::Wide if !caps.long_words => 4,
        Tile::Narrow | Tile::Wide => 32,
    };
    is_possible(convolution) && caps.winograd.unwrap_or(ci.min(co) >= fewest)
}

/// Adds the launches. Channels in are a multiple of four.
pub(super) fn add_to(work: &mut GpuWork, convolution: &GpuConvolution, tensors: Tensors, caps: &Caps) {
    let ([n, height, width, ci], co) = (convolution.x, convolution.kernel[3]);
    let tiles = n * height.div_ceil(SIDE) * width.div_ceil(SIDE);
    let floats = match caps.tile {
        Tile::Narrow => NARROW_SCRATCH,
        Tile::Wide => WIDE_SCRATCH,
    };
    // Whole tiles of the products' rows, and all chunks about as large.
    let most = (floats / (POINTS * (ci + co)) / ROWS * ROWS).max(ROWS);
    let chunk = tiles.div_ceil(tiles.div_ceil(most)).next_multiple_of(ROWS).min(tiles);

    let kernels = work.temporary(POINTS * ci * co);
    let values = work.temporary(POINTS * chunk * ci);
    let products = work.temporary(POINTS * chunk * co);
    let item = tile(caps, co).item();
    let params = KernelParams { channels: extent(ci * co / item) };
    let bindings = vec![tensors.kernel, kernels.write()];
    work.launch_of_items((&KERNEL, item, Vec::new()), bindings, &params, 3 * (ci * co / item).div_ceil(64));
    for first_tile in (0..tiles).step_by(chunk) {
        let count = chunk.min(tiles - first_tile);
        let params = InputParams {
            first_tile: extent(first_tile),
            tiles: extent(count),
            height: extent(height),
            width: extent(width),
            channels: extent(ci),
            top: extent(convolution.before[0]),
            left: extent(convolution.before[1]),
            channels_first: extent(tensors.x.channels_first),
            slope_in: tensors.x.slope,
        };
        let (kernel, groups) = match caps.tile {
            Tile::Narrow => (&INPUT, 3 * (count * ci).div_ceil(64)),
            Tile::Wide => (&INPUT_WHOLE, (count * ci / 4).div_ceil(64)),
        };
        let bindings = tensors.x.bindings().into_iter().chain([values.write()]).collect();
        work.launch_of_items((kernel, caps.tile.item(), tensors.x.constants()), bindings, &params, groups);

        let e = matmul::Extents { batch: POINTS, m: count, n: co, k: ci };
        let product = Product { e, parts: 1, k_part: ci, b_is_shared: false };
        product.add_to(
            work,
            tile(caps, co),
            MapRead::plain(values.read(), ci),
            kernels.read(),
            Ends::default(),
            products.write(),
        );
        // The points of a tile differ by so much that halves would lose the small ones.
        work.last_on_floats();

        let params = OutputParams {
            first_tile: extent(first_tile),
            tiles: extent(count),
            height: extent(height),
            width: extent(width),
            channels: extent(co),
            has_bias: u32::from(tensors.bias.is_some()),
            slope: convolution.slope,
        };
        let item = tile(caps, co).item();
        let (kernel, groups) = match caps.tile {
            Tile::Narrow => (&OUTPUT, 2 * (count * co / item).div_ceil(64)),
            Tile::Wide => (&OUTPUT_WHOLE, (count * co / item).div_ceil(64)),
        };
        let bias = tensors.bias.unwrap_or(tensors.kernel);
        work.launch_of_items((kernel, item, Vec::new()), vec![products.read(), bias, tensors.out], &params, groups);
    }
}
