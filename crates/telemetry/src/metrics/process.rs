//! What the system says about the process: CPU time, memory, open files, start.

use super::Exposition;

/// Clock ticks per second: 100 on every Linux that this is built for (`getconf CLK_TCK`).
const TICKS: f64 = 100.0;
const PAGE_BYTES: f64 = 4096.0;

pub(super) fn collect(out: &mut Exposition) {
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return };
    // The second field is the name in parentheses, which may hold spaces.
    let Some((_, rest)) = stat.rsplit_once(')') else { return };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
    if let (Some(user), Some(system)) = (number(11), number(12)) {
        let seconds = (user + system) / TICKS;
        out.counter("process_cpu_seconds_total", "CPU time of the process in seconds.", &[], seconds);
    }
    if let Some(pages) = number(21) {
        out.gauge("process_resident_memory_bytes", "Resident memory in bytes.", &[], pages * PAGE_BYTES);
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        out.gauge("process_open_fds", "Open file descriptors.", &[], files.count() as f64);
    }
    let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok())
    });
    if let (Some(boot), Some(start)) = (boot, number(19)) {
        let started = boot + start / TICKS;
        out.gauge("process_start_time_seconds", "Start of the process, Unix time in seconds.", &[], started);
    }
}
