//! stub
use crate::{Result, cpu::CpuExecutor, executor::Executor, graph::Graph};
/// stub
pub fn executor(_choice: &str, graph: &Graph) -> Result<Box<dyn Executor>> {
    Ok(Box::new(CpuExecutor::new(graph)?))
}
