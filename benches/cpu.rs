//! CPU seconds and peak memory of a process, from /proc.

/// User and system time of a process so far, in seconds. 0 when it is gone.
pub fn seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name may hold blanks; what follows its closing parenthesis does not.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    // utime and stime are the 14th and 15th field of the line, in hundredths.
    (ticks(11) + ticks(12)) / 100.0
}

/// Of this process.
pub fn own() -> f64 {
    seconds(std::process::id())
}

/// The most memory a process has had so far.
pub fn peak_bytes(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) * 1024.0
}
