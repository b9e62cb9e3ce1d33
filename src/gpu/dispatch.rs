//! Launches turned into dispatches: pipeline, bind group, offset of the parameters, grid.

use super::device::Gpu;
use super::kernel::{PipelineCache, storage_bindings};
use crate::error::{Error, Result};
use crate::graph::{Binding, Launch, Storage, extent};

/// Most workgroups along one dimension of a dispatch.
const MAX_GROUPS: u64 = 65_535;

/// A piece of a buffer, in bytes.
#[derive(Debug, Clone)]
pub struct Range {
    /// The buffer.
    pub buffer: wgpu::Buffer,
    /// Where the piece starts; a multiple of 256.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
}

/// One dispatch, ready to be recorded again and again.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// The kernel's name.
    pub kernel: &'static str,
    pipeline: wgpu::ComputePipeline,
    group: wgpu::BindGroup,
    params_offset: u32,
    grid: (u32, u32),
}

impl Dispatch {
    /// Records the dispatch.
    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.group, &[self.params_offset]);
        pass.dispatch_workgroups(self.grid.0, self.grid.1, 1);
    }
}

/// Folds linearly counted workgroups into two dimensions of about as few groups as possible. The prelude's `group_index`
/// is the inverse; the last row may have groups past the count.
///
/// `None` if two dimensions do not hold them.
#[must_use]
pub fn grid(groups: u64) -> Option<(u32, u32)> {
    let rows = groups.div_ceil(MAX_GROUPS).max(1);
    let columns = groups.div_ceil(rows);
    if rows > MAX_GROUPS {
        return None;
    }
    Some((u32::try_from(columns).ok()?, u32::try_from(rows).ok()?))
}

/// Collects launches, then makes their dispatches with all parameters in one uniform buffer.
#[derive(Debug, Default)]
pub struct Recorder {
    launches: Vec<(Launch, Storage, Vec<Range>, String)>,
}

impl Recorder {
    /// Adds a launch of a node that runs on this storage, with the buffers it binds, found by `resolve`.
    pub fn push(&mut self, launch: Launch, storage: Storage, node: &str, resolve: impl Fn(Binding) -> Range) {
        let ranges = launch.bindings.iter().map(|&binding| resolve(binding)).collect();
        let storage = launch.storage_in(storage);
        self.launches.push((launch, storage, ranges, node.to_owned()));
    }

    /// Number of launches so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.launches.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.launches.is_empty()
    }

    /// Compiles kernels, uploads the parameters and makes all bind groups.
    ///
    /// # Errors
    /// A kernel does not compile, a grid or binding exceeds a limit, or the device fails.
    pub async fn finish(self, gpu: &Gpu, cache: &mut PipelineCache) -> Result<Vec<Dispatch>> {
        let step = gpu.device.limits().min_uniform_buffer_offset_alignment as usize;
        let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
        for (launch, ..) in &self.launches {
            offsets.push(bytes.len());
            bytes.extend_from_slice(&launch.params.bytes);
            bytes.resize(bytes.len().next_multiple_of(step), 0);
        }
        if self.launches.is_empty() {
            return Ok(Vec::new());
        }
        let uniform = gpu
            .guarded(|| {
                let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("params"),
                    size: bytes.len() as u64,
                    usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                gpu.queue.write_buffer(&buffer, 0, &bytes);
                buffer
            })
            .await
            .map_err(|e| gpu.lost(e.to_string()))?;
        let mut dispatches = Vec::with_capacity(self.launches.len());
        for ((launch, storage, ranges, node), offset) in self.launches.into_iter().zip(offsets) {
            let limit =
                |limit_name, needed, limit| Error::DeviceLimit { node: node.clone(), limit_name, needed, limit };
            let Some(grid) = grid(launch.groups) else {
                let most = MAX_GROUPS * MAX_GROUPS;
                return Err(limit("maxComputeWorkgroupsPerDimension", launch.groups, most));
            };
            let most = gpu.caps.max_binding_bytes;
            if let Some(range) = ranges.iter().find(|r| r.bytes > most) {
                return Err(limit("maxStorageBufferBindingSize", range.bytes, most));
            }
            let pipeline = cache.get(gpu, &launch, storage).await?;
            let group = gpu.guarded(|| bind(gpu, &pipeline.layout, &launch, &ranges, &uniform)).await;
            let group = group.map_err(|e| Error::Kernel {
                kernel: launch.kernel.name.to_owned(),
                message: format!("cannot bind {node}: {e}"),
            })?;
            let params_offset = u32::try_from(offset).unwrap_or(u32::MAX);
            let kernel = launch.kernel.name;
            dispatches.push(Dispatch { kernel, pipeline: pipeline.pipeline, group, params_offset, grid });
        }
        Ok(dispatches)
    }
}

fn bind(
    gpu: &Gpu,
    layout: &wgpu::BindGroupLayout,
    launch: &Launch,
    ranges: &[Range],
    uniform: &wgpu::Buffer,
) -> wgpu::BindGroup {
    let params = Range { buffer: uniform.clone(), offset: 0, bytes: launch.params.bytes.len() as u64 };
    let entries: Vec<wgpu::BindGroupEntry<'_>> = storage_bindings(launch)
        .map(|(binding, _)| (binding, &ranges[binding as usize]))
        .chain([(extent(ranges.len()), &params)])
        .map(|(binding, range)| wgpu::BindGroupEntry {
            binding,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &range.buffer,
                offset: range.offset,
                size: wgpu::BufferSize::new(range.bytes),
            }),
        })
        .collect();
    gpu.device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout, entries: entries.as_slice() })
}

/// Makes a storage buffer that can be written, read by kernels and copied from; zeroed.
#[must_use]
pub fn storage_buffer(gpu: &Gpu, label: &str, bytes: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes.max(256),
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC,
        mapped_at_creation: false,
    })
}

#[cfg(test)]
mod tests {
    use super::grid;

    #[test]
    fn grids_hold_all_groups_and_waste_less_than_a_row() {
        for groups in [1, 2, 65_535, 65_536, 147_456, 4_000_000_000] {
            let Some((x, y)) = grid(groups) else { panic!("{groups}") };
            let held = u64::from(x) * u64::from(y);
            assert!(
                x <= 65_535 && y <= 65_535 && held >= groups && held - groups < u64::from(y),
                "{groups}: {x} x {y}"
            );
        }
        assert_eq!(grid(65_535 * 65_535 + 1), None);
    }
}
