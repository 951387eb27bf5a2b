//! Processes of a container as `ps` shows them, in the form that ps's own options ask for.

use std::collections::BTreeMap;

/// A table of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Processes {
    pub titles: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// What is shown of each process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    /// Titles, and what stands below them.
    columns: Vec<(String, &'static Column)>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FormError {
    #[error(
        "ps_args: the option {0:?} is not supported; known are -e, -A, -f, -w, a, u, x, w and -o COLUMN,…"
    )]
    Option(String),
    #[error("ps_args: -o needs a list of columns")]
    NoColumns,
    #[error("ps_args: there is no column {0:?}; known are {names}", names = names().join(", "))]
    Column(String),
}

/// A column under one of its names, its usual title, and its value.
type Column = (&'static str, &'static str, fn(&Process, &Host) -> String);

const FULL: [&str; 8] = [
    "uname=UID",
    "pid",
    "ppid",
    "c",
    "stime",
    "tname",
    "time",
    "cmd",
];
const OF_USERS: [&str; 11] = [
    "user",
    "pid",
    "%cpu",
    "%mem",
    "vsz",
    "rss",
    "tname",
    "stat",
    "stime=START",
    "time",
    "command",
];

const COLUMNS: [Column; 44] = [
    ("pid", "PID", |process, _| process.pid.to_string()),
    ("ppid", "PPID", |process, _| process.number(1).to_string()),
    ("pgid", "PGID", |process, _| process.number(2).to_string()),
    ("pgrp", "PGRP", |process, _| process.number(2).to_string()),
    ("sid", "SID", |process, _| process.number(3).to_string()),
    ("sess", "SESS", |process, _| process.number(3).to_string()),
    ("uid", "UID", |process, _| process.uids[1].to_string()),
    ("euid", "EUID", |process, _| process.uids[1].to_string()),
    ("ruid", "RUID", |process, _| process.uids[0].to_string()),
    ("gid", "GID", |process, _| process.gids[1].to_string()),
    ("egid", "EGID", |process, _| process.gids[1].to_string()),
    ("rgid", "RGID", |process, _| process.gids[0].to_string()),
    ("user", "USER", |process, host| host.user(process.uids[1])),
    ("uname", "USER", |process, host| host.user(process.uids[1])),
    ("euser", "EUSER", |process, host| host.user(process.uids[1])),
    ("ruser", "RUSER", |process, host| host.user(process.uids[0])),
    ("group", "GROUP", |process, host| {
        host.group(process.gids[1])
    }),
    ("egroup", "EGROUP", |process, host| {
        host.group(process.gids[1])
    }),
    ("comm", "COMMAND", |process, _| process.name.clone()),
    ("ucmd", "CMD", |process, _| process.name.clone()),
    ("args", "COMMAND", |process, _| process.command()),
    ("command", "COMMAND", |process, _| process.command()),
    ("cmd", "CMD", |process, _| process.command()),
    ("tty", "TT", |process, _| process.terminal()),
    ("tt", "TT", |process, _| process.terminal()),
    ("tname", "TTY", |process, _| process.terminal()),
    ("s", "S", |process, _| process.text(0)),
    ("state", "S", |process, _| process.text(0)),
    ("stat", "STAT", |process, _| process.state()),
    ("time", "TIME", |process, _| clock(process.seconds())),
    ("cputime", "TIME", |process, _| clock(process.seconds())),
    ("etime", "ELAPSED", |process, host| {
        elapsed(process.age(host))
    }),
    ("etimes", "ELAPSED", |process, host| {
        process.age(host).to_string()
    }),
    ("stime", "STIME", |process, host| {
        process.began(host, "%H:%M")
    }),
    ("lstart", "STARTED", |process, host| {
        process.began(host, "%a %b %e %T %Y")
    }),
    ("c", "C", |process, host| {
        format!("{:.0}", process.share(host).min(99.0))
    }),
    ("%cpu", "%CPU", |process, host| {
        format!("{:.1}", process.share(host))
    }),
    ("pcpu", "%CPU", |process, host| {
        format!("{:.1}", process.share(host))
    }),
    ("%mem", "%MEM", |process, host| process.of_memory(host)),
    ("pmem", "%MEM", |process, host| process.of_memory(host)),
    ("vsz", "VSZ", |process, _| {
        (process.number(20) / 1024).to_string()
    }),
    ("rss", "RSS", |process, _| process.resident().to_string()),
    ("ni", "NI", |process, _| process.text(16)),
    ("nlwp", "NLWP", |process, _| process.number(17).to_string()),
];

fn names() -> Vec<&'static str> {
    COLUMNS.map(|(name, ..)| name).to_vec()
}

impl Form {
    /// Of options as ps takes them. Which processes are meant is no question here.
    pub(crate) fn parse(options: &str) -> Result<Self, FormError> {
        let mut form = None;
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let unknown = || FormError::Option(word.to_owned());
            let (letters, dashed) = match word.strip_prefix('-') {
                Some(letters) => (letters, true),
                None => (word, false),
            };
            for (at, letter) in letters.char_indices() {
                match (letter, dashed) {
                    ('e' | 'A' | 'w', true) | ('a' | 'x' | 'w', false) => {}
                    ('f', true) => form = Some(Self::of(&FULL)?),
                    ('u', false) => form = Some(Self::of(&OF_USERS)?),
                    ('o', _) => {
                        let rest = &letters[at + 1..];
                        let list = if rest.is_empty() {
                            words.next().ok_or(FormError::NoColumns)?
                        } else {
                            rest
                        };
                        let columns: Vec<&str> = list
                            .split(',')
                            .filter(|column| !column.is_empty())
                            .collect();
                        let more = Self::of(&columns)?;
                        form.get_or_insert_with(|| Self {
                            columns: Vec::new(),
                        })
                        .columns
                        .extend(more.columns);
                        break;
                    }
                    _ => return Err(unknown()),
                }
            }
            if letters.is_empty() {
                return Err(unknown());
            }
        }
        form.map_or_else(|| Self::of(&FULL), Ok)
    }

    fn of(columns: &[&str]) -> Result<Self, FormError> {
        let column = |text: &&str| {
            let (name, title) = text
                .split_once('=')
                .map_or((*text, None), |(name, title)| (name, Some(title)));
            let found = COLUMNS.iter().find(|(known, ..)| *known == name);
            let found = found.ok_or_else(|| FormError::Column(name.to_owned()))?;
            Ok((title.unwrap_or(found.1).to_owned(), found))
        };
        Ok(Self {
            columns: columns.iter().map(column).collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn top(pids: &[i32], form: &Form) -> Processes {
    let host = Host::look();
    let mut pids = pids.to_vec();
    pids.sort_unstable();
    let shown = |process: Process| {
        form.columns
            .iter()
            .map(|(_, column)| column.2(&process, &host))
            .collect()
    };
    Processes {
        titles: form
            .columns
            .iter()
            .map(|(title, _)| title.clone())
            .collect(),
        rows: pids
            .into_iter()
            .filter_map(Process::look)
            .map(shown)
            .collect(),
    }
}

/// What processes are seen against.
struct Host {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
    /// Kilobytes.
    memory: u64,
    /// Seconds since the boot.
    uptime: u64,
}

impl Host {
    fn look() -> Self {
        let system = rustix::system::sysinfo();
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
        Self {
            users: names_of("/etc/passwd"),
            groups: names_of("/etc/group"),
            memory: (system.totalram.saturating_mul(u64::from(system.mem_unit)) / 1024).max(1),
            uptime: u64::try_from(uptime).unwrap_or(0),
        }
    }

    fn user(&self, uid: u32) -> String {
        self.users
            .get(&uid)
            .cloned()
            .unwrap_or_else(|| uid.to_string())
    }

    fn group(&self, gid: u32) -> String {
        self.groups
            .get(&gid)
            .cloned()
            .unwrap_or_else(|| gid.to_string())
    }
}

fn names_of(file: &str) -> BTreeMap<u32, String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let entry = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((fields.nth(1)?.parse().ok()?, name))
    };
    // The first name of a number counts.
    text.lines().rev().filter_map(entry).collect()
}

struct Process {
    pid: i32,
    name: String,
    /// Of its stat file, from the state on.
    fields: Vec<String>,
    /// Real and effective.
    uids: [u32; 2],
    gids: [u32; 2],
    line: String,
}

impl Process {
    /// `None`: it has ended.
    fn look(pid: i32) -> Option<Self> {
        let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).ok();
        let text =
            |name: &str| read(name).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (stat, status) = (text("stat")?, text("status")?);
        let ids = |key: &str| {
            let mut ids = status
                .lines()
                .find_map(|line| line.strip_prefix(key))?
                .split_whitespace();
            Some([ids.next()?.parse().ok()?, ids.next()?.parse().ok()?])
        };
        // The name may hold spaces and brackets itself; fields are counted from its last bracket.
        let (head, rest) = stat.rsplit_once(')')?;
        Some(Self {
            pid,
            name: head.split_once('(').map_or("", |(_, name)| name).to_owned(),
            fields: rest.split_whitespace().map(str::to_owned).collect(),
            uids: ids("Uid:")?,
            gids: ids("Gid:")?,
            line: text("cmdline")
                .unwrap_or_default()
                .trim_end_matches('\0')
                .replace('\0', " "),
        })
    }

    fn text(&self, index: usize) -> String {
        self.fields.get(index).cloned().unwrap_or_default()
    }

    fn number(&self, index: usize) -> u64 {
        self.fields
            .get(index)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    }

    fn command(&self) -> String {
        if self.line.is_empty() {
            format!("[{}]", self.name)
        } else {
            self.line.clone()
        }
    }

    fn terminal(&self) -> String {
        match self.number(4) {
            0 => "?".to_owned(),
            device => format!("pts/{}", device & 0xff),
        }
    }

    /// With what ps adds to the letter.
    fn state(&self) -> String {
        let nice: i32 = self.text(16).parse().unwrap_or(0);
        let marks = [
            (nice < 0, '<'),
            (nice > 0, 'N'),
            (self.number(3) == u64::from(self.pid.unsigned_abs()), 's'),
            (self.number(17) > 1, 'l'),
            (self.fields.get(5) == self.fields.get(2), '+'),
        ];
        self.text(0)
            .chars()
            .chain(
                marks
                    .into_iter()
                    .filter(|(set, _)| *set)
                    .map(|(_, mark)| mark),
            )
            .collect()
    }

    /// Of processor time.
    fn seconds(&self) -> u64 {
        (self.number(11) + self.number(12)) / rustix::param::clock_ticks_per_second()
    }

    fn age(&self, host: &Host) -> u64 {
        host.uptime
            .saturating_sub(self.number(19) / rustix::param::clock_ticks_per_second())
    }

    fn began(&self, host: &Host, format: &str) -> String {
        let ago = jiff::SignedDuration::from_secs(i64::try_from(self.age(host)).unwrap_or(0));
        (jiff::Timestamp::now() - ago)
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime(format)
            .to_string()
    }

    /// Percent of its life.
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn share(&self, host: &Host) -> f64 {
        self.seconds() as f64 * 100.0 / self.age(host).max(1) as f64
    }

    /// Kilobytes.
    fn resident(&self) -> u64 {
        self.number(21) * (rustix::param::page_size() as u64 / 1024)
    }

    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    fn of_memory(&self, host: &Host) -> String {
        format!("{:.1}", self.resident() as f64 * 100.0 / host.memory as f64)
    }
}

fn clock(seconds: u64) -> String {
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `[[days-]hours:]minutes:seconds`
fn elapsed(seconds: u64) -> String {
    let (days, hours, rest) = (
        seconds / 86400,
        seconds / 3600 % 24,
        format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    );
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &str) -> Vec<String> {
        Form::parse(options)
            .unwrap()
            .columns
            .into_iter()
            .map(|(title, _)| title)
            .collect()
    }

    #[test]
    fn options_are_those_of_ps() {
        let full = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"];
        for options in ["", "-ef", "-e -f", "-Afw"] {
            assert_eq!(titles(options), full, "{options}");
        }
        assert_eq!(titles("aux")[..3], ["USER", "PID", "%CPU"]);
        for options in [
            "-o pid,comm",
            "-eo pid,comm",
            "-opid,comm",
            "axo pid,comm",
            "-o pid -o comm",
        ] {
            assert_eq!(titles(options), ["PID", "COMMAND"], "{options}");
        }
        assert_eq!(titles("-o pid,user,args=WHAT"), ["PID", "USER", "WHAT"]);
        let refused = |options: &str| Form::parse(options).unwrap_err().to_string();
        assert!(refused("-eL").contains("\"-eL\"") && refused("--sort=pid").contains("--sort"));
        assert!(
            refused("-o pid,bogus").contains("\"bogus\"")
                && refused("-o").contains("list of columns")
        );
    }

    #[test]
    fn own_process_is_listed() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let columns = names().join(",");
        let listed = top(&[pid], &Form::parse(&format!("-o {columns}")).unwrap());
        assert_eq!(listed.rows.len(), 1);
        assert_eq!(
            (&listed.titles[0], &listed.rows[0][0]),
            (&"PID".to_owned(), &pid.to_string())
        );
        let empty = listed
            .titles
            .iter()
            .zip(&listed.rows[0])
            .find(|(_, value)| value.is_empty());
        assert_eq!(empty, None);
    }
}
