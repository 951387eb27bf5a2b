//! Processes of a container as `ps -ef` shows them.

use hoist_api::TopResponse;

const TITLES: [&str; 8] = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];

pub(crate) fn top(pids: &[i32]) -> TopResponse {
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    TopResponse {
        titles: TITLES.map(str::to_owned).to_vec(),
        processes: pids.into_iter().filter_map(process).collect(),
    }
}

/// `None`: it has ended.
fn process(pid: i32) -> Option<Vec<String>> {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let stat = read("stat")?;
    let status = read("status")?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_owned();
    // The command may hold spaces and brackets itself; fields are counted from its last bracket.
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(').map_or("", |(_, name)| name).to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let ticks = rustix::param::clock_ticks_per_second();
    let seconds = (number(11) + number(12)) / ticks;
    let command = read("cmdline").map(|line| line.trim_end_matches('\0').replace('\0', " "));
    let command = command.filter(|line| !line.is_empty()).unwrap_or_else(|| format!("[{name}]"));
    Some(vec![
        uid,
        pid.to_string(),
        fields.get(1)?.to_string(),
        "0".to_owned(),
        started(number(19) / ticks),
        terminal(number(4)),
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
        command,
    ])
}

/// Seconds after boot, as a time of day.
fn started(after_boot: u64) -> String {
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    let ago = uptime.saturating_sub(i64::try_from(after_boot).unwrap_or(uptime));
    let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(ago);
    at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string()
}

fn terminal(device: u64) -> String {
    if device == 0 { "?".to_owned() } else { format!("pts/{}", device & 0xff) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_is_listed() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let listed = top(&[pid]);
        assert_eq!(listed.processes.len(), 1);
        assert_eq!(listed.processes[0][1], pid.to_string());
    }
}
