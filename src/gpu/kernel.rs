//! Kernels: checking their interface, and compiling them once per set of constants.

use std::collections::HashMap;

use naga::valid::Capabilities;
use naga::{AddressSpace, Expression, Literal, Override, ScalarKind, StorageAccess, TypeInner};
use serde::Serialize;
use serde_json::{Number, Value};

use super::device::Gpu;
use super::kernel_text::{ChangedKernels, assemble};
use super::prelude::Form;
use crate::error::{Error, Result};
use crate::graph::{Binding, Caps, Launch, Storage, extent};

/// What a kernel asks of a workgroup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Threads of a workgroup.
    pub invocations: u32,
    /// Workgroup memory, in bytes.
    pub workgroup_bytes: u32,
    /// Storage buffers.
    pub storage_buffers: usize,
}

/// Compiles a launch's kernel in one of its forms without a device and holds it against the launch: storage bindings in order and with the
/// access of [`Binding`], the `Params` uniform last, with the names and offsets of [`crate::graph::ParamBlock::fields`], and
/// constants that exist.
///
/// # Errors
/// [`Error::Kernel`], or [`Error::ChangedKernel`] where the user changed it, with what differs.
pub fn check(launch: &Launch, form: Form, changed: &ChangedKernels) -> Result<Resources> {
    let text = assemble(launch.kernel, form, changed);
    let wrong = |message: String| text.error(message);
    let module = text.compile(form.capabilities())?;

    let mut layouter = naga::proc::Layouter::default();
    layouter.update(module.to_ctx()).map_err(|e| wrong(e.to_string()))?;
    let mut bound: Vec<(u32, &naga::GlobalVariable)> = Vec::new();
    let mut workgroup_bytes = 0;
    for (_, variable) in module.global_variables.iter() {
        if variable.space == AddressSpace::WorkGroup {
            workgroup_bytes += layouter[variable.ty].size.next_multiple_of(16);
        }
        if let Some(binding) = variable.binding {
            if binding.group != 0 {
                return Err(wrong(format!("a binding in group {}, expected group 0", binding.group)));
            }
            bound.push((binding.binding, variable));
        }
    }
    bound.sort_by_key(|(index, _)| *index);
    let expected: Vec<(u32, &Binding)> = storage_bindings(launch).collect();
    let positions = expected.iter().map(|(position, _)| *position).chain([extent(launch.bindings.len())]);
    if !bound.iter().map(|(index, _)| *index).eq(positions) {
        return Err(wrong(format!("{} bindings, expected {} and params", bound.len(), expected.len())));
    }
    for ((index, variable), (_, binding)) in bound.iter().zip(&expected) {
        let expected = match binding {
            Binding::Input(_) | Binding::ScratchIn(_) => StorageAccess::LOAD,
            Binding::Output(_) | Binding::ScratchOut(_) => StorageAccess::LOAD | StorageAccess::STORE,
        };
        if variable.space != (AddressSpace::Storage { access: expected }) {
            return Err(wrong(format!("binding {index} is {:?}, expected {binding:?}", variable.space)));
        }
    }
    if let Some((_, params)) = bound.last() {
        check_params(&module, params, launch).map_err(wrong)?;
    }
    for (name, _) in &launch.constants {
        if !module.overrides.iter().any(|(_, o)| o.name.as_deref() == Some(name)) {
            return Err(wrong(format!("no override constant {name}")));
        }
    }
    let invocations = module.entry_points.first().map_or(0, |entry| invocations(&module, entry, launch));
    Ok(Resources { invocations, workgroup_bytes, storage_buffers: launch.bindings.len() })
}

fn check_params(
    module: &naga::Module,
    variable: &naga::GlobalVariable,
    launch: &Launch,
) -> std::result::Result<(), String> {
    if variable.space != AddressSpace::Uniform || variable.name.as_deref() != Some("params") {
        return Err(format!("the last binding is {:?}, expected the uniform params", variable.name));
    }
    let TypeInner::Struct { members, span } = &module.types[variable.ty].inner else {
        return Err("params is no struct".to_owned());
    };
    let found: Vec<(&str, usize)> =
        members.iter().map(|m| (m.name.as_deref().unwrap_or(""), m.offset as usize)).collect();
    if found != launch.params.fields || *span as usize != launch.params.bytes.len() {
        return Err(format!("Params is {found:?}, expected {:?}", launch.params.fields));
    }
    Ok(())
}

/// The values of a launch's `Params` by name, with the types of the kernel's struct.
///
/// # Errors
/// A kernel that does not compile.
pub fn param_values(launch: &Launch) -> Result<serde_json::Map<String, Value>> {
    let form = Form::of(launch, Storage::F32, &Caps::default());
    let text = assemble(launch.kernel, form, &ChangedKernels::default());
    let module = text.compile(Capabilities::all())?;
    let params = module.global_variables.iter().find(|(_, v)| v.name.as_deref() == Some("params"));
    let Some(TypeInner::Struct { members, .. }) = params.map(|(_, v)| &module.types[v.ty].inner) else {
        return Err(text.error("params is no struct"));
    };
    let kind = |field: &str| {
        let member = members.iter().find(|m| m.name.as_deref() == Some(field));
        member.and_then(|m| module.types[m.ty].inner.scalar_kind())
    };
    let value = |field: &str, offset: usize| {
        let bytes = launch.params.bytes.get(offset..offset + 4)?.try_into().ok()?;
        match kind(field)? {
            ScalarKind::Uint => Some(Number::from(u32::from_le_bytes(bytes))),
            ScalarKind::Sint => Some(Number::from(i32::from_le_bytes(bytes))),
            ScalarKind::Float => Number::from_f64(f64::from(f32::from_le_bytes(bytes))),
            _ => None,
        }
    };
    let fields = launch.params.fields.iter();
    Ok(fields.map(|&(name, at)| (name.to_owned(), value(name, at).map_or(Value::Null, Value::Number))).collect())
}

/// The size of a workgroup, with the launch's constants.
fn invocations(module: &naga::Module, entry: &naga::EntryPoint, launch: &Launch) -> u32 {
    let constant = |o: &Override| launch.constants.iter().find(|(name, _)| o.name.as_deref() == Some(name));
    let value = |expression| match &module.global_expressions[expression] {
        Expression::Literal(Literal::U32(n)) => *n,
        Expression::Override(handle) => {
            let over = &module.overrides[*handle];
            match (constant(over), over.init.map(|e| &module.global_expressions[e])) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "workgroup sizes are small"
                )]
                (Some((_, value)), _) => *value as u32,
                (None, Some(Expression::Literal(Literal::U32(n)))) => *n,
                _ => 0,
            }
        }
        _ => 0,
    };
    (0..3)
        .map(|axis| {
            let over = entry.workgroup_size_overrides.and_then(|sizes| sizes[axis]);
            over.map_or(entry.workgroup_size[axis], value)
        })
        .product()
}

/// A compiled kernel with its bind group layout.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The pipeline.
    pub pipeline: wgpu::ComputePipeline,
    /// The layout of group 0.
    pub layout: wgpu::BindGroupLayout,
}

/// The storage buffers that a launch binds, with their numbers in the kernel.
pub fn storage_bindings(launch: &Launch) -> impl Iterator<Item = (u32, &Binding)> {
    let left_out = launch.in_place.map(|(input, _)| input);
    let bound = launch.bindings.iter().enumerate().filter(move |(position, _)| Some(*position) != left_out);
    bound.map(|(position, binding)| (extent(position), binding))
}

/// Name and form of a kernel.
type Text = (&'static str, Form);

/// A kernel's text and the bits of its constants.
type Key = (Text, Vec<(&'static str, u64)>);

/// Pipelines by text and constants, and modules by text.
#[derive(Debug, Default)]
pub struct PipelineCache {
    pipelines: HashMap<Key, Pipeline>,
    modules: HashMap<Text, wgpu::ShaderModule>,
}

impl PipelineCache {
    /// The pipeline of a launch on tensors of this storage, compiled at first use.
    ///
    /// # Errors
    /// [`Error::Kernel`], or [`Error::ChangedKernel`] where the user changed it, with the compiler's message.
    pub async fn get(&mut self, gpu: &Gpu, launch: &Launch, storage: Storage) -> Result<Pipeline> {
        let form = Form::of(launch, storage, &gpu.caps);
        let text = (launch.kernel.name, form);
        let constants = launch.constants.iter().map(|(name, value)| (*name, value.to_bits())).collect();
        let key = (text, constants);
        if let Some(pipeline) = self.pipelines.get(&key) {
            return Ok(pipeline.clone());
        }
        let known = self.modules.get(&text).cloned();
        let made = gpu.guarded(|| compile(gpu, launch, form, known)).await;
        let (module, pipeline) = made.map_err(|e| refused(gpu, launch, form, &e))?;
        self.modules.insert(text, module);
        self.pipelines.insert(key, pipeline.clone());
        Ok(pipeline)
    }
}

/// The error for a kernel that the device does not take, with file and line where the fault is in the text.
fn refused(gpu: &Gpu, launch: &Launch, form: Form, error: &wgpu::Error) -> Error {
    let text = assemble(launch.kernel, form, &gpu.changed_kernels);
    text.compile(Capabilities::all()).err().unwrap_or_else(|| text.error(error.to_string()))
}

fn compile(
    gpu: &Gpu,
    launch: &Launch,
    form: Form,
    known: Option<wgpu::ShaderModule>,
) -> (wgpu::ShaderModule, Pipeline) {
    let device = &gpu.device;
    let label = Some(launch.kernel.name);
    let module = known.unwrap_or_else(|| {
        let source = wgpu::ShaderSource::Wgsl(assemble(launch.kernel, form, &gpu.changed_kernels).text.into());
        // Accesses stay checked. A counter in every loop, against endless ones, would keep drivers from unrolling those of constant length:
        // matrix products take nearly twice as long with it.
        let checks = wgpu::ShaderRuntimeChecks { force_loop_bounding: false, ..wgpu::ShaderRuntimeChecks::checked() };
        // SAFETY: without that counter a kernel must not loop forever. All loops count up to a bound that is fixed before they begin; a kernel that
        // the user put in place of ours is the user's own program.
        unsafe { device.create_shader_module_trusted(wgpu::ShaderModuleDescriptor { label, source }, checks) }
    });
    let storage = storage_bindings(launch).map(|(binding, of)| {
        let read_only = matches!(of, Binding::Input(_) | Binding::ScratchIn(_));
        (binding, wgpu::BufferBindingType::Storage { read_only }, false)
    });
    let entries: Vec<wgpu::BindGroupLayoutEntry> = storage
        .chain([(extent(launch.bindings.len()), wgpu::BufferBindingType::Uniform, true)])
        .map(|(binding, ty, has_dynamic_offset)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset, min_binding_size: None },
            count: None,
        })
        .collect();
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: entries.as_slice() });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some("main"),
        compilation_options: wgpu::PipelineCompilationOptions {
            constants: &launch.constants,
            // Kernels write workgroup memory before they read it.
            zero_initialize_workgroup_memory: false,
        },
        cache: None,
    });
    (module, Pipeline { pipeline, layout })
}
