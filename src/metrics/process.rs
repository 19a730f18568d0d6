//! The process: `process_*`, with the names that Prometheus's client libraries give them. Read from /proc; elsewhere than
//! on Linux there is none of them.

use std::fs;

use super::page::Page;

/// Ticks of CPU time in a second. Linux shows 100 to programs, whatever the kernel counts by.
const TICKS: f64 = 100.0;

/// What /proc says of the process. Unknown is `None`, and gets no sample.
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

/// Writes the families.
pub(super) fn write(page: &mut Page<'_>) {
    let process = Process::read();
    let families = [
        ("process_cpu_seconds_total", "counter", "User and system CPU time, in seconds.", process.cpu_seconds),
        ("process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes),
        ("process_virtual_memory_bytes", "gauge", "Virtual memory.", process.virtual_bytes),
        ("process_threads", "gauge", "Threads.", process.threads),
        ("process_open_fds", "gauge", "Open file descriptors.", process.open_files),
        ("process_max_fds", "gauge", "Limit of open file descriptors.", process.max_files),
        ("process_start_time_seconds", "gauge", "When the process started, as Unix time.", process.started_at),
    ];
    for (name, kind, help, value) in families {
        if let Some(value) = value {
            page.single(name, kind, help, value);
        }
    }
}

impl Process {
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
            // Reading the folder opens it.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| count(files.count().saturating_sub(1))),
            max_files: after(&limits, "Max open files").and_then(number),
        }
    }
}

/// A field of /proc/PID/stat by its number in proc(5). The second is the name of the program, which may hold anything.
fn stat_field(stat: &str, field: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(field.checked_sub(3)?)?.parse().ok()
}

/// The rest of the line that starts with the key.
fn after<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}

/// The first number of a line; "unlimited" is none.
fn number(line: &str) -> Option<f64> {
    line.split_whitespace().next()?.parse().ok()
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests;
