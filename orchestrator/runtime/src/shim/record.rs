//! The exit record and the clock's text form.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::Exit;

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC with nine digits: always 30 bytes. By hand, since a time zone database would be most of the shim.
pub(super) fn rfc3339(nanoseconds: i64) -> String {
    let seconds = nanoseconds.div_euclid(1_000_000_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        nanoseconds.rem_euclid(1_000_000_000)
    )
}

/// Days since 1970-01-01 as a Gregorian date. Years are counted from March, so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let mut name = path
        .file_name()
        .ok_or(io::ErrorKind::InvalidInput)?
        .to_owned();
    name.push(".tmp");
    Ok(path.with_file_name(name))
}

/// Reserves disk space for the record: the container's exit is recorded even if the disk is full by then.
pub(crate) fn reserve(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Longer than any record.
    fs::write(temporary(path)?, [b' '; 256])
}

/// There will be no end to write down.
pub(crate) fn release(path: &Path) {
    if let Ok(temporary) = temporary(path) {
        let _ = fs::remove_file(temporary);
    }
}

/// On disk when it returns: the file, its name and its folder.
pub(super) fn write(path: &Path, exit: &Exit) -> io::Result<()> {
    let signal = exit
        .signal
        .map_or_else(|| "null".to_owned(), |signal| signal.to_string());
    let steady = exit
        .steady
        .map_or_else(|| "null".to_owned(), |steady| steady.to_string());
    let text = format!(
        "{{\"code\":{},\"signal\":{signal},\"oom\":{},\"at\":\"{}\",\"steady\":{steady}}}\n",
        exit.code,
        exit.oom,
        rfc3339(exit.at)
    );
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let temporary = temporary(path)?;
    // Overwrites the reserved blocks: truncating first would release them.
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_written_over_its_reservation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exit.json");
        reserve(&path).unwrap();
        write(
            &path,
            &Exit {
                code: 3,
                signal: None,
                oom: false,
                at: 0,
                steady: Some(5),
            },
        )
        .unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "{\"code\":3,\"signal\":null,\"oom\":false,\"at\":\"1970-01-01T00:00:00.000000000Z\",\"steady\":5}\n"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn dates_agree_with_jiff() {
        for seconds in [
            0,
            951_782_399,
            951_782_400,
            1_709_164_800,
            1_735_689_599,
            1_796_083_200,
            4_107_542_399,
        ] {
            let nanoseconds = seconds * 1_000_000_000 + 42;
            let want = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap();
            assert_eq!(rfc3339(nanoseconds), format!("{want:.9}"));
        }
    }
}
