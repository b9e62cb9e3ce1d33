//! How much memory the system can still give, to refuse a plan before anything of it is taken.

/// Bytes that the system can give without ending programs; `None` where it does not say.
///
/// Linux grants more than it has and ends a program later, in the middle of its work. What it says here is what it has.
pub(super) fn available_bytes() -> Option<u64> {
    if cfg!(target_os = "linux") { parse(&std::fs::read_to_string("/proc/meminfo").ok()?) } else { None }
}

/// Reads the text of `/proc/meminfo`: free memory, with what can be freed, and free swap space.
fn parse(text: &str) -> Option<u64> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(bytes("MemAvailable")?.saturating_add(bytes("SwapFree").unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::{available_bytes, parse};

    #[test]
    fn the_system_is_understood() {
        let text = "MemTotal:       24676880 kB\nMemFree:  100 kB\nMemAvailable:   2000 kB\nSwapTotal: 9 kB\nSwapFree: 48 kB\n";
        assert_eq!(parse(text), Some(2048 << 10));
        assert_eq!(parse("MemAvailable:   2000 kB\n"), Some(2000 << 10));
        for unknown in ["", "MemAvailable:", "MemAvailable: x kB", "MemAvailable: 20", "SwapFree: 48 kB"] {
            assert_eq!(parse(unknown), None, "{unknown}");
        }
        if cfg!(target_os = "linux") {
            assert!(available_bytes().is_some_and(|bytes| bytes > 1 << 20));
        }
    }
}
