//! Metrics of the process, `process_*`, with the names that Prometheus's client libraries use. They are read from
//! /proc, so they exist only on Linux.

use std::fs;

use super::page::Page;

/// Ticks per second of CPU times in /proc. It is always 100, whatever the kernel uses.
const TICKS: f64 = 100.0;

/// The values from /proc. An unknown value has no sample.
#[derive(Debug, Default)]
struct Process {
    cpu_seconds: Option<f64>,
    started_at: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    threads: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
}

/// Writes the metrics.
pub(super) fn write(page: &mut Page<'_>) {
    let process = Process::read();
    let families = [
        ("process_cpu_seconds_total", "counter", "User and system CPU time, in seconds.", process.cpu_seconds),
        ("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", process.resident_bytes),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", process.virtual_bytes),
        ("process_threads", "gauge", "Number of threads.", process.threads),
        ("process_open_fds", "gauge", "Number of open file descriptors.", process.open_files),
        ("process_max_fds", "gauge", "Maximum number of open file descriptors.", process.max_files),
        ("process_start_time_seconds", "gauge", "Start of the process, as Unix time in seconds.", process.started_at),
    ];
    for (name, kind, help, value) in families {
        if let Some(value) = value {
            page.single(name, kind, help, value);
        }
    }
}

impl Process {
    /// Reads the values.
    fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, system) = (text("/proc/self/stat"), text("/proc/stat"));
        let (status, limits) = (text("/proc/self/status"), text("/proc/self/limits"));
        let kib = |key: &str| Some(number(after(&status, key)?)? * 1024.0);
        let ticks = |field| Some(stat_field(&stat, field)? / TICKS);
        Self {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            started_at: after(&system, "btime").and_then(number).zip(ticks(22)).map(|(boot, since)| boot + since),
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            threads: after(&status, "Threads:").and_then(number),
            // Listing the folder opens one more descriptor.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| count(files.count().saturating_sub(1))),
            max_files: after(&limits, "Max open files").and_then(number),
        }
    }
}

/// Returns a field of /proc/PID/stat by its number in proc(5). The second field is the program's name in parentheses,
/// which may contain any character.
fn stat_field(stat: &str, field: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// Returns the rest of the line that starts with `key`.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// Returns the first number of a line; `None` for "unlimited".
fn number(line: &str) -> Option<f64> {
    line.split_whitespace().next()?.parse().ok()
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests;
