//! The other engine: burn's wgpu backend, one operator at a time.
//!
//! The functions are those that burn's modules and its automatic differentiation call. Maps lie in memory as burn's own
//! convolutions leave them, channels last, and weights as a freshly loaded module holds them, so that no call pays for a
//! change of layout which a network would not pay for.

use anyhow::{Context, Result, anyhow, bail};
use burn_autodiff::Autodiff;
use burn_backend::cubecl::Device;
use burn_backend::ops::{
    AttentionModuleOptions, ConvOptions, FloatTensorOps, InterpolateMode, InterpolateOptions, ModuleOps,
};
use burn_backend::tensor::FloatTensor;
use burn_backend::{AutodiffBackend, Backend, Shape, TensorData, read_sync};
use burn_wgpu::graphics::AutoGraphicsApi;
use burn_wgpu::{RuntimeOptions, Wgpu, WgpuBackend, WgpuDevice, WgpuSetup, wgpu};
use cubecl::device::WgpuDeviceKind;
use glavitu::gpu::AdapterSummary;

use crate::work::{Convolution, Pass, Task, Work};

type Tensor = FloatTensor<Wgpu>;
type Tracked = Autodiff<Wgpu>;

/// The version of burn in the lock file.
pub fn version() -> &'static str {
    let after =
        include_str!("../Cargo.lock").split_once("name = \"burn-wgpu\"\nversion = \"").map_or("", |found| found.1);
    after.split('"').next().unwrap_or_default()
}

/// burn on one adapter.
pub struct BurnEngine {
    device: Device,
    /// The adapter and the language its kernels are compiled to.
    pub description: String,
}

/// An operator with its inputs on the device.
pub struct Prepared {
    run: Box<dyn Fn() -> Vec<Tensor>>,
    /// What is part of `run` but not of the operator: the forward pass before a gradient that burn gives only together with it.
    before: Option<Box<dyn Fn() -> Vec<Tensor>>>,
    /// From burn's order of axes to this engine's, for every output.
    axes: Vec<usize>,
}

impl BurnEngine {
    /// Opens the adapter `wanted`, one of `all`.
    ///
    /// # Errors
    /// burn opens another adapter than the wanted one, or none.
    pub fn open(wanted: &AdapterSummary, all: &[AdapterSummary]) -> Result<Self> {
        // burn counts adapters by type, and knows one software adapter.
        let same = |a: &&AdapterSummary| a.kind == wanted.kind && a.backend == wanted.backend;
        let number = all.iter().filter(same).position(|a| a.index == wanted.index).unwrap_or(0);
        let kind = match wanted.kind {
            "discrete" => WgpuDeviceKind::DiscreteGpu(number),
            "integrated" => WgpuDeviceKind::IntegratedGpu(number),
            "virtual" => WgpuDeviceKind::VirtualGpu(number),
            "software" => WgpuDeviceKind::Cpu,
            _ => WgpuDeviceKind::Other(number),
        };
        let device = WgpuDevice::new(kind).on(match wanted.backend.as_str() {
            "vulkan" => WgpuBackend::Vulkan,
            "metal" => WgpuBackend::Metal,
            "dx12" => WgpuBackend::Dx12,
            "gl" => WgpuBackend::Gl,
            _ => WgpuBackend::Auto,
        });
        let setup: WgpuSetup = burn_wgpu::try_init_setup::<AutoGraphicsApi>(&device, RuntimeOptions::default())
            .map_err(|e| anyhow!("burn cannot open {}: {e}", wanted.name))?;
        let info = setup.adapter.get_info();
        if info.name != wanted.name {
            bail!("burn opened {} instead of {}: hide the other adapter (VK_DRIVER_FILES)", info.name, wanted.name);
        }
        // The device may take shaders in its own language, but burn writes them only where it was built to.
        let takes_native = setup.device.features().contains(wgpu::Features::PASSTHROUGH_SHADERS);
        let language = if cfg!(feature = "native-shaders") && takes_native { "SPIR-V" } else { "WGSL" };
        Ok(Self {
            device: Device::Wgpu(device),
            description: format!("{} ({}, {}), {language}", info.name, info.backend, info.driver_info),
        })
    }

    /// Waits for all work.
    ///
    /// # Errors
    /// A kernel failed.
    pub fn wait(&self) -> Result<()> {
        <Wgpu as Backend>::sync(&self.device).map_err(|e| anyhow!("burn: {e:?}"))
    }

    /// Uploads the inputs of a piece of work, which are in this engine's layout.
    pub fn prepare(&self, work: &Work, inputs: &[Vec<f32>]) -> Prepared {
        match &work.task {
            Task::Convolution(convolution) => self.convolution(convolution, work.pass, inputs),
            &Task::MatrixProduct { rows, inner, columns, transposed, .. } => {
                let a = self.tensor(&inputs[0], &[1, rows, inner]);
                let b = self.tensor(&inputs[1], &if transposed { [columns, inner] } else { [inner, columns] });
                let bias = inputs.get(2).map(|bias| self.tensor(bias, &[columns]));
                Prepared::new(&[0, 1, 2], move || {
                    if transposed {
                        Wgpu::linear_x_backward(b.clone(), a.clone())
                    } else {
                        Wgpu::linear(a.clone(), b.clone(), bias.clone())
                    }
                })
            }
            &Task::RowSum { rows, left, right } => {
                let a = self.tensor(&inputs[0], &[1, rows, left]);
                let b = self.tensor(&inputs[1], &[1, rows, right]);
                Prepared::new(&[0, 1], move || Wgpu::linear_weight_backward(a.clone(), b.clone()))
            }
            &Task::Attention { batch, tokens, embedding, heads } => {
                let split = |values: &[f32]| {
                    let tensor = self.tensor(values, &[batch, tokens, heads, embedding / heads]);
                    Wgpu::float_swap_dims(tensor, 1, 2)
                };
                let given: Vec<Tensor> = inputs[..3].iter().map(|values| split(values)).collect();
                let options = AttentionModuleOptions::default();
                let axes = vec![0, 2, 1, 3];
                if work.pass == Pass::Forward {
                    let run = move || {
                        let [q, k, v] = [0, 1, 2].map(|i| given[i].clone());
                        vec![Wgpu::attention(q, k, v, None, None, options)]
                    };
                    return Prepared { run: Box::new(run), before: None, axes };
                }
                let dy = split(&inputs[5]);
                let forward = move |given: &[Tensor]| {
                    let tracked: Vec<FloatTensor<Tracked>> = given
                        .iter()
                        .map(|t| Tracked::float_set_require_grad(Tracked::from_inner(t.clone()), true))
                        .collect();
                    let [q, k, v] = [0, 1, 2].map(|i| tracked[i].clone());
                    let out = Tracked::attention(q, k, v, None, None, options);
                    (tracked, out)
                };
                let alone = given.clone();
                let before = move || vec![Tracked::inner(forward(&alone).1)];
                let run = move || {
                    let (tracked, out) = forward(&given);
                    let loss = Tracked::float_sum(Tracked::float_mul(out, Tracked::from_inner(dy.clone())));
                    let gradients = Tracked::backward(loss);
                    tracked.iter().filter_map(|t| Tracked::grad(t, &gradients)).collect()
                };
                Prepared { run: Box::new(run), before: Some(Box::new(before)), axes }
            }
        }
    }

    fn convolution(&self, c: &Convolution, pass: Pass, inputs: &[Vec<f32>]) -> Prepared {
        let [kh, kw, ci, co] = c.kernel;
        let padding = [kh, kw].map(|k| ((k - 1) / 2, k - 1 - (k - 1) / 2));
        let options = ConvOptions::new_with_padding([1, 1], padding, [1, 1], 1);
        let [n, h, w, _] = c.output;
        // A view with the channels second, as burn counts axes, of memory with the channels last.
        let map = |values: &[f32], shape: [usize; 4]| Wgpu::float_permute(self.tensor(values, &shape), &[0, 3, 1, 2]);
        let doubled = c.doubled();
        let double = move |x: Tensor| {
            let options = InterpolateOptions::new(InterpolateMode::Nearest).with_align_corners(false);
            if doubled { Wgpu::interpolate(x, [h, w], options) } else { x }
        };
        let maps = [0, 2, 3, 1];
        match pass {
            Pass::Forward => {
                let (x, kernel) = (map(&inputs[0], c.input), self.kernel(&inputs[1], c.kernel));
                let bias = inputs.get(2).map(|bias| self.tensor(bias, &[co]));
                Prepared::new(&maps, move || {
                    Wgpu::conv2d(double(x.clone()), kernel.clone(), bias.clone(), options.clone())
                })
            }
            Pass::InputGradient => {
                let (dy, kernel) = (map(&inputs[0], c.output), self.kernel(&inputs[1], c.kernel));
                // Only its shape is read.
                let whole = map(&vec![0.0; n * h * w * ci], [n, h, w, ci]);
                let x = map(&vec![0.0; c.input.iter().product()], c.input);
                Prepared::new(&maps, move || {
                    let dx = Wgpu::conv2d_x_backward(whole.clone(), kernel.clone(), dy.clone(), options.clone());
                    let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_align_corners(false);
                    if doubled { Wgpu::interpolate_backward(x.clone(), dx, [h, w], nearest) } else { dx }
                })
            }
            Pass::WeightGradient => {
                let (x, dy) = (map(&inputs[0], c.input), map(&inputs[1], c.output));
                // Only its shape is read.
                let kernel = self.kernel(&vec![0.0; kh * kw * ci * co], c.kernel);
                Prepared::new(&[2, 3, 1, 0], move || {
                    Wgpu::conv2d_weight_backward(double(x.clone()), kernel.clone(), dy.clone(), options.clone())
                })
            }
        }
    }

    fn tensor(&self, values: &[f32], shape: &[usize]) -> Tensor {
        Wgpu::float_from_data(TensorData::new(values.to_vec(), Shape::from(shape.to_vec())), &self.device)
    }

    /// From (Kh, Kw, Ci, Co) to (Co, Ci, Kh, Kw), in memory too.
    fn kernel(&self, values: &[f32], [kh, kw, ci, co]: [usize; 4]) -> Tensor {
        let mut moved = Vec::with_capacity(values.len());
        for o in 0..co {
            for i in 0..ci {
                for tap in 0..kh * kw {
                    moved.push(values[(tap * ci + i) * co + o]);
                }
            }
        }
        self.tensor(&moved, &[co, ci, kh, kw])
    }
}

impl Prepared {
    fn new(axes: &[usize], run: impl Fn() -> Tensor + 'static) -> Self {
        Self { run: Box::new(move || vec![run()]), before: None, axes: axes.to_vec() }
    }

    /// Submits the operator; its results are dropped once the device is done with them.
    pub fn run(&self) {
        drop((self.run)());
    }

    /// What submits the part of [`Prepared::run`] that is not the operator, where there is such a part.
    pub fn before_alone(&self) -> Option<impl Fn()> {
        self.before.as_ref().map(|before| move || drop(before()))
    }

    /// The results in this engine's layout.
    ///
    /// # Errors
    /// A kernel failed.
    pub fn results(&self) -> Result<Vec<Vec<f32>>> {
        let read = |tensor| {
            let moved = Wgpu::float_permute(tensor, &self.axes);
            let data = read_sync(Wgpu::float_into_data(moved)).map_err(|e| anyhow!("burn: {e:?}"))?;
            data.try_into_vec::<f32>().map_err(|e| anyhow!("{e:?}")).context("burn gave something else than f32")
        };
        (self.run)().into_iter().map(read).collect()
    }
}
