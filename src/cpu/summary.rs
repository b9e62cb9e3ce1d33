//! The CPU in words and numbers.

use serde::Serialize;

/// What computes where there is no GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CpuSummary {
    /// The maker's name for it, where the system tells.
    pub name: Option<String>,
    /// Threads that compute.
    pub threads: usize,
    /// The widest vector instructions.
    pub vectors: &'static str,
    /// Their width.
    pub vector_bits: u32,
    /// Main memory, where the system tells.
    pub memory_bytes: Option<u64>,
}

impl CpuSummary {
    /// This machine's.
    #[must_use]
    pub fn new() -> Self {
        let (vectors, vector_bits) = vectors();
        Self { name: name(), threads: rayon::current_num_threads(), vectors, vector_bits, memory_bytes: memory_bytes() }
    }
}

impl Default for CpuSummary {
    fn default() -> Self {
        Self::new()
    }
}

fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = value_of(&text, "MemTotal")?.strip_suffix("kB")?;
    kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn name() -> Option<String> {
    let from_command = || {
        let output = std::process::Command::new("sysctl").args(["-n", "machdep.cpu.brand_string"]).output().ok()?;
        String::from_utf8(output.stdout).ok()
    };
    let name = if cfg!(target_os = "linux") {
        value_of(&std::fs::read_to_string("/proc/cpuinfo").ok()?, "model name").map(str::to_owned)
    } else if cfg!(target_os = "macos") {
        from_command()
    } else {
        std::env::var("PROCESSOR_IDENTIFIER").ok()
    };
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// What stands after the colon of the first line of this name.
fn value_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':')).map(str::trim)
}

/// The widest vector instructions of this CPU, and their width in bits.
fn vectors() -> (&'static str, u32) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            ("AVX-512", 512)
        } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            ("AVX2", 256)
        } else {
            ("SSE2", 128)
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        ("NEON", 128)
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        ("scalar", 32)
    }
}

#[cfg(test)]
mod tests {
    use super::{CpuSummary, value_of};

    #[test]
    fn the_systems_tables_are_understood() {
        let text = "processor\t: 0\nmodel name\t: A CPU: with a colon\nMemTotal:       24676880 kB\n";
        assert_eq!(value_of(text, "model name"), Some("A CPU: with a colon"));
        assert_eq!(value_of(text, "MemTotal"), Some("24676880 kB"));
        assert_eq!(value_of(text, "Mem"), None);
        let summary = CpuSummary::new();
        assert!(summary.threads > 0 && summary.vector_bits >= 32, "{summary:?}");
        if cfg!(target_os = "linux") {
            assert!(summary.memory_bytes.is_some_and(|bytes| bytes > 1 << 20), "{summary:?}");
        }
    }
}
