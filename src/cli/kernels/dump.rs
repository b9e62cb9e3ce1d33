//! `glavitu kernels dump`: the kernels that the model's plans run, as plain WGSL that other tools compile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueHint};
use serde::Serialize;
use serde_json::{Map, Value};

use super::changed_folder;
use crate::cli::device_args::PrecisionOption;
use crate::cli::model_size::SizeOption;
use crate::cli::output_file::write_folder;
use crate::cli::print_line;
use crate::error::{self, Error};
use crate::gpu::dispatch::grid;
use crate::gpu::kernel::{self, Resources};
use crate::gpu::kernel_text::assemble;
use crate::gpu::prelude::Form;
use crate::gpu::slices::slices;
use crate::gpu::{ChangedKernels, Gpu};
use crate::graph::{Caps, Graph, Launch, Storage};
use crate::model::network::inference_graph;
use crate::plan::{Plan, PlanOptions, Target};
use crate::train::graph::{Purpose, training_graph};
use crate::train::{AdamSettings, Objective};

/// Write every kernel that the model runs as plain WGSL, one file for each set of constants.
///
/// `override` constants have their values, so that other tools compile the files: shader analysers, other WGSL compilers. index.json says
/// which node of which plan runs a file, with how many workgroups and which parameters. No GPU is needed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  glavitu kernels dump -o wgsl
  glavitu kernels dump --size small --plan inference -o wgsl
  glavitu kernels dump --kernels mine -o wgsl")]
pub(super) struct DumpArgs {
    /// The folder to write; its .wgsl files from an earlier dump are replaced
    #[arg(short, long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output: PathBuf,
    /// The network
    #[arg(long, value_enum, default_value = "paper")]
    size: SizeOption,
    /// The plans
    #[arg(long, value_enum, default_value = "both")]
    plan: PlanOption,
    /// Tiles of a batch
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    batch: usize,
    /// How weights and activations are stored in the plan of inference
    #[arg(long, value_enum, default_value = "f32")]
    precision: PrecisionOption,
    /// Plan for the limits of this adapter (see `glavitu devices`) instead of the least that WebGPU promises
    #[arg(long)]
    device: Option<String>,
    /// A folder of changed kernels, taken instead of the built-in ones
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    kernels: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PlanOption {
    /// Mapping a scene
    Inference,
    /// A training step
    Training,
    /// Both
    Both,
}

/// What index.json holds.
#[derive(Debug, Serialize)]
struct Index {
    size: &'static str,
    batch: usize,
    device: String,
    kernels: Vec<Dumped>,
}

/// One file.
#[derive(Debug, Serialize)]
struct Dumped {
    file: String,
    kernel: &'static str,
    constants: Map<String, Value>,
    #[serde(flatten)]
    resources: Resources,
    launches: Vec<Launched>,
    #[serde(skip)]
    text: String,
}

/// One dispatch of a run.
#[derive(Debug, Serialize)]
struct Launched {
    plan: &'static str,
    node: String,
    operator: &'static str,
    /// Workgroups, and how they are folded into two dimensions.
    groups: u64,
    grid: Option<(u32, u32)>,
    params: Map<String, Value>,
}

/// Runs `glavitu kernels dump`.
pub(super) fn run(args: &DumpArgs) -> Result<()> {
    let changed = args.kernels.as_deref().map_or_else(|| Ok(ChangedKernels::default()), changed_folder::read)?;
    let (caps, device) = match &args.device {
        None => (Caps::default(), "the WebGPU default limits".to_owned()),
        Some(device) => {
            let gpu = Gpu::open(device)?;
            (gpu.caps.clone(), gpu.describe())
        }
    };
    let config = args.size.config();
    let options = PlanOptions { precision: args.precision.precision(), ..PlanOptions::default() };
    let mut dump = Dump { caps, changed, kernels: BTreeMap::new() };
    if args.plan != PlanOption::Training {
        dump.add("inference", &inference_graph(&config, args.batch)?, &options)?;
    }
    if args.plan != PlanOption::Inference {
        let (objective, adam) = (Objective::default(), AdamSettings::default());
        let graph = training_graph(&config, args.batch, &objective, &adam, Purpose::Training)?;
        dump.add("training", &graph, &PlanOptions::default())?;
    }
    let kernels: Vec<Dumped> = dump.kernels.into_values().collect();
    let index = Index { size: args.size.name(), batch: args.batch, device, kernels };
    write_folder(&args.output, |staged| {
        remove_earlier(&args.output)?;
        for kernel in &index.kernels {
            staged.stage_bytes(args.output.join(&kernel.file), kernel.text.as_bytes())?;
        }
        let text = serde_json::to_string_pretty(&index)
            .map_err(|e| Error::bad_file(args.output.join(INDEX), e.to_string(), "JSON", "report this as a defect"))?;
        staged.stage_bytes(args.output.join(INDEX), text.as_bytes())
    })?;
    let launches: usize = index.kernels.iter().map(|k| k.launches.len()).sum();
    let (files, folder) = (index.kernels.len(), args.output.display());
    print_line(format_args!("{files} kernels of {launches} launches in {folder}; {INDEX} says which node runs which"))
}

const INDEX: &str = "index.json";

/// Removes what an earlier dump wrote, as its index names it: other constants would leave files that nothing runs.
fn remove_earlier(folder: &Path) -> error::Result<()> {
    let Ok(text) = fs::read_to_string(folder.join(INDEX)) else { return Ok(()) };
    let Ok(index) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
    for kernel in index["kernels"].as_array().into_iter().flatten() {
        // Only plain names: an index from elsewhere removes nothing outside the folder.
        let file = kernel["file"].as_str().filter(|f| f.ends_with(".wgsl") && !f.contains(['/', '\\', ':']));
        if let Some(path) = file.map(|file| folder.join(file)).filter(|path| path.exists()) {
            fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

/// The kernels met so far, by file name.
struct Dump {
    caps: Caps,
    changed: ChangedKernels,
    kernels: BTreeMap<String, Dumped>,
}

impl Dump {
    /// Adds the kernels of a graph's plan.
    fn add(&mut self, name: &'static str, graph: &Graph, options: &PlanOptions) -> error::Result<()> {
        let plan = Plan::new(graph, &Target::Gpu(self.caps.clone()), options)?;
        for step in plan.prepare.iter().chain(&plan.steps) {
            let node = &plan.graph.nodes()[step.node];
            let shapes = plan.graph.shapes(node);
            for slice in slices(&node.name, node.operator.as_ref(), &shapes, &plan.graph.storage(node), &self.caps)? {
                for launch in step.launches(node, &slice.shapes, &self.caps)? {
                    let launched = Launched {
                        plan: name,
                        node: node.name.clone(),
                        operator: node.operator.name(),
                        groups: launch.groups,
                        grid: grid(launch.groups),
                        params: kernel::param_values(&launch)?,
                    };
                    self.file(&launch, node.storage)?.launches.push(launched);
                }
            }
        }
        Ok(())
    }

    /// The file of a launch, made at its first.
    fn file(&mut self, launch: &Launch, storage: Storage) -> error::Result<&mut Dumped> {
        let storage = launch.storage_in(storage);
        let name = file_name(launch, storage);
        let form = Form::of(launch, storage, &self.caps);
        let entry = match self.kernels.entry(name) {
            std::collections::btree_map::Entry::Occupied(made) => return Ok(made.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => entry,
        };
        let constants = launch.constants.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
        let made = Dumped {
            file: entry.key().clone(),
            kernel: launch.kernel.name,
            constants: constants.collect(),
            resources: kernel::check(launch, form, &self.changed)?,
            launches: Vec::new(),
            text: assemble(launch.kernel, form, &self.changed).specialised(&launch.constants)?,
        };
        Ok(entry.insert(made))
    }
}

/// `attention.quads.HEAD=4.wgsl`, with no character that a file system or a shell minds.
fn file_name(launch: &Launch, storage: Storage) -> String {
    let constants: String = launch.constants.iter().map(|(name, value)| format!(".{name}={value}")).collect();
    let item = if launch.item == 1 { "" } else { ".quads" };
    let storage = if storage == Storage::F32 { "" } else { ".f16" };
    let place = launch.in_place.map_or_else(String::new, |(input, _)| format!(".in_place={input}"));
    format!("{}{item}{storage}{constants}{place}.wgsl", launch.kernel.name)
}
