//! CPU time and memory of a process, from `/proc`.

use std::fs;

/// Clock ticks per second in Linux's `/proc/PID/stat`.
const TICKS: f64 = 100.0;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    /// Resident memory in bytes.
    pub(crate) resident: f64,
    /// Peak resident memory in bytes.
    pub(crate) peak: f64,
}

impl Used {
    pub(crate) fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        // The program's name, in parentheses, may contain spaces.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
        };
        Self { cpu_s: (ticks(11) + ticks(12)) / TICKS, resident: bytes("VmRSS:"), peak: bytes("VmHWM:") }
    }
}
