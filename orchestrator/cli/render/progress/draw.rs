//! From the board to lines: a pure function, bounded by the size of the terminal.

use std::time::Duration;

use anstyle::{AnsiColor, Style};

use super::Status;
use super::board::{Board, Row, TAIL, Time};
use crate::render::text::{clip, width};
use crate::render::{painted, units};

/// Where it is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    pub(super) columns: usize,
    /// Without an end where lines may scroll away.
    pub(super) rows: Option<usize>,
    pub(super) color: bool,
    /// The last frame: no spinners.
    pub(super) still: bool,
}

/// A line, and the columns that it takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    pub(super) text: String,
    pub(super) width: usize,
}

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// A label gives way to what follows it, until it would say nothing any more.
const SHORTEST_LABEL: usize = 12;

/// Everything, where it fits. Where it does not, first the output of steps gives way, then what has ended, then the rest.
pub(super) fn draw(board: &Board, now: Duration, look: Look) -> Vec<Drawn> {
    let Some(limit) = look.rows else {
        return all(board, now, look, 0);
    };
    for tail in [TAIL, TAIL / 2, 1, 0] {
        let lines = all(board, now, look, tail);
        if lines.len() <= limit {
            return lines;
        }
    }
    open(board, now, look, limit)
}

fn all(board: &Board, now: Duration, look: Look, tail: usize) -> Vec<Drawn> {
    let mut lines = Vec::new();
    for (depth, row) in board.rows() {
        lines.push(line(board, row, depth, now, look));
        let of_output = row.tail.iter().skip(row.tail.len().saturating_sub(tail));
        if row.status == Status::Working {
            lines.extend(of_output.map(|output| {
                let indent = Piece {
                    text: " ".repeat(5 + 2 * depth),
                    style: Style::new(),
                };
                fit(
                    &[
                        indent,
                        Piece {
                            text: output.clone(),
                            style: Style::new().dimmed(),
                        },
                    ],
                    look,
                )
            }));
        }
    }
    lines
}

/// What goes on or went wrong, as much as fits, and how much is not shown.
fn open(board: &Board, now: Duration, look: Look, limit: usize) -> Vec<Drawn> {
    let rows = board.rows();
    let (open, ended): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|(_, row)| matches!(row.status, Status::Working | Status::Error));
    let shown = open.len().min(limit.saturating_sub(1));
    let mut lines: Vec<Drawn> = open[..shown]
        .iter()
        .map(|(depth, row)| line(board, row, *depth, now, look))
        .collect();
    let more = match open.len() - shown {
        0 => String::new(),
        hidden => format!(", {hidden} more going on"),
    };
    lines.push(fit(
        &[Piece {
            text: format!("   … {} done{more}", ended.len()),
            style: Style::new().dimmed(),
        }],
        look,
    ));
    lines.truncate(limit);
    lines
}

struct Piece {
    text: String,
    style: Style,
}

fn line(board: &Board, row: &Row, depth: usize, now: Duration, look: Look) -> Drawn {
    let (mark, color) = match row.status {
        Status::Working if look.still => ("·", AnsiColor::Blue),
        Status::Working => (
            SPINNER[usize::try_from(now.as_millis() / 100 % 10).unwrap_or_default()],
            AnsiColor::Blue,
        ),
        Status::Done => ("✔", AnsiColor::Green),
        Status::Error => ("✘", AnsiColor::Red),
        Status::Warning => ("!", AnsiColor::Yellow),
    };
    let bytes = match (row.status, board.bytes(row)) {
        (Status::Working, Some((now, all))) => format!("{}/{}", units::size(now), units::size(all)),
        (_, Some((_, all))) => units::size(all),
        (_, None) => String::new(),
    };
    let time = match row.time {
        Time::Since(begun) => Some(now.saturating_sub(begun)),
        Time::Took(took) => Some(took),
        Time::None => None,
    };
    let time = time.map_or_else(String::new, |time| format!("{:.1}s", time.as_secs_f64()));
    let plain = Style::new();
    let mark_color = if row.status == Status::Working {
        plain
    } else {
        color.on_default()
    };
    let mut pieces = vec![
        Piece {
            text: format!(" {mark} "),
            style: mark_color,
        },
        Piece {
            text: "  ".repeat(depth),
            style: plain,
        },
        Piece {
            text: row.label.clone(),
            style: plain,
        },
    ];
    for (text, style) in [
        (row.text.clone(), color.on_default()),
        (bytes, plain),
        (time, plain),
    ] {
        if !text.is_empty() {
            pieces.push(Piece {
                text: "  ".to_owned(),
                style: plain,
            });
            pieces.push(Piece { text, style });
        }
    }
    let others: usize =
        pieces.iter().map(|piece| width(&piece.text)).sum::<usize>() - width(&row.label);
    pieces[2].text = clip(
        &row.label,
        look.columns.saturating_sub(1 + others).max(SHORTEST_LABEL),
    );
    fit(&pieces, look)
}

/// The last column stays free: some terminals go on to the next line there, and some do not.
fn fit(pieces: &[Piece], look: Look) -> Drawn {
    let mut line = Drawn {
        text: String::new(),
        width: 0,
    };
    for piece in pieces {
        let text = clip(&piece.text, look.columns.saturating_sub(1 + line.width));
        line.width += width(&text);
        line.text.push_str(&if look.color {
            painted(&text, piece.style)
        } else {
            text
        });
    }
    line
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use hoist_api::BuildEvent;

    use super::super::Line;
    use super::*;

    const WIDE: Look = Look {
        columns: 80,
        rows: Some(20),
        color: false,
        still: false,
    };

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn image<'a>(text: &'a str, status: Status) -> Line<'a> {
        Line {
            id: "Image web",
            parent: None,
            text,
            status,
            details: "",
            bytes: None,
        }
    }

    fn started(step: u32, name: &str) -> BuildEvent {
        BuildEvent::Started {
            step,
            name: name.to_owned(),
        }
    }

    fn output(step: u32, line: &str) -> BuildEvent {
        BuildEvent::Output {
            step,
            stream: hoist_api::OutputStream::Stdout,
            at: at(0),
            line: line.to_owned(),
        }
    }

    /// In the middle of a build: a step that was there, one that ended, two that go on.
    fn building() -> Board {
        let mut board = Board::default();
        board.line(&image("Building", Status::Working), at(0));
        let events = [
            BuildEvent::Cached {
                step: 1,
                name: "FROM docker.io/library/debian:13".to_owned(),
            },
            started(2, "[2/4] COPY . /app"),
            BuildEvent::Done {
                step: 2,
                took: at(312),
            },
            started(3, "[3/4] RUN make"),
            started(4, "[tools 1/1] RUN <<END\nset -e\nEND"),
            output(4, "\u{1b}[2J\u{1b}[31mred\u{1b}[0m\u{1b}]0;mine\u{7}"),
        ];
        events
            .iter()
            .for_each(|event| board.build("Image web", event, at(1000)));
        (1..10).for_each(|n| {
            board.build(
                "Image web",
                &output(3, &format!("cc file{n}.c 日本語")),
                at(1500),
            )
        });
        board
    }

    fn check(board: &Board, now: Duration, look: Look, shown: &Expect) {
        let lines = draw(board, now, look);
        assert!(
            look.rows.is_none_or(|rows| lines.len() <= rows),
            "too many lines"
        );
        assert!(
            lines.iter().all(|line| line.width < look.columns),
            "too wide: {lines:?}"
        );
        assert!(
            look.color || lines.iter().all(|line| line.width == width(&line.text)),
            "{lines:?}"
        );
        // With an edge on the left, for snapshots lose what all of their lines begin with.
        shown.assert_eq(
            &lines
                .iter()
                .map(|line| format!("|{}\n", line.text))
                .collect::<String>(),
        );
    }

    #[test]
    fn running_steps_have_their_time_and_the_end_of_their_output() {
        check(
            &building(),
            at(3210),
            WIDE,
            &expect![[r#"
                | ⠹ Image web  Building  3.2s
                | ✔   FROM docker.io/library/debian:13  CACHED
                | ✔   [2/4] COPY . /app  0.3s
                | ⠹   [3/4] RUN make  2.2s
                |       cc file4.c 日本語
                |       cc file5.c 日本語
                |       cc file6.c 日本語
                |       cc file7.c 日本語
                |       cc file8.c 日本語
                |       cc file9.c 日本語
                | ⠹   [tools 1/1] RUN <<END set -e END  2.2s
                |       red
            "#]],
        );
    }

    #[test]
    fn a_low_terminal_has_less_output_then_only_what_goes_on() {
        check(
            &building(),
            at(3210),
            Look {
                rows: Some(10),
                ..WIDE
            },
            &expect![[r#"
                | ⠹ Image web  Building  3.2s
                | ✔   FROM docker.io/library/debian:13  CACHED
                | ✔   [2/4] COPY . /app  0.3s
                | ⠹   [3/4] RUN make  2.2s
                |       cc file7.c 日本語
                |       cc file8.c 日本語
                |       cc file9.c 日本語
                | ⠹   [tools 1/1] RUN <<END set -e END  2.2s
                |       red
            "#]],
        );
        check(
            &building(),
            at(3210),
            Look {
                rows: Some(6),
                ..WIDE
            },
            &expect![[r#"
                | ⠹ Image web  Building  3.2s
                | ✔   FROM docker.io/library/debian:13  CACHED
                | ✔   [2/4] COPY . /app  0.3s
                | ⠹   [3/4] RUN make  2.2s
                | ⠹   [tools 1/1] RUN <<END set -e END  2.2s
            "#]],
        );
        check(
            &building(),
            at(3210),
            Look {
                rows: Some(4),
                ..WIDE
            },
            &expect![[r#"
                | ⠹ Image web  Building  3.2s
                | ⠹   [3/4] RUN make  2.2s
                | ⠹   [tools 1/1] RUN <<END set -e END  2.2s
                |   … 2 done
            "#]],
        );
        check(
            &building(),
            at(3210),
            Look {
                rows: Some(2),
                ..WIDE
            },
            &expect![[r#"
                | ⠹ Image web  Building  3.2s
                |   … 2 done, 2 more going on
            "#]],
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_names_before_times() {
        check(
            &building(),
            at(3210),
            Look {
                columns: 34,
                ..WIDE
            },
            &expect![[r#"
                | ⠹ Image web  Building  3.2s
                | ✔   FROM docker.io/libr…  CACHED
                | ✔   [2/4] COPY . /app  0.3s
                | ⠹   [3/4] RUN make  2.2s
                |       cc file4.c 日本語
                |       cc file5.c 日本語
                |       cc file6.c 日本語
                |       cc file7.c 日本語
                |       cc file8.c 日本語
                |       cc file9.c 日本語
                | ⠹   [tools 1/1] RUN <<END…  2.2s
                |       red
            "#]],
        );
        check(
            &building(),
            at(3210),
            Look {
                columns: 12,
                rows: Some(3),
                ..WIDE
            },
            &expect![[r#"
                | ⠹ Image w…
                | ⠹   [3/4]…
                |   … 2 don…
            "#]],
        );
    }

    #[test]
    fn nothing_leaves_the_terminal_however_small_it_is() {
        for columns in 1..90 {
            for rows in 0..20 {
                let lines = draw(
                    &building(),
                    at(3210),
                    Look {
                        columns,
                        rows: Some(rows),
                        color: true,
                        still: false,
                    },
                );
                assert!(
                    lines.len() <= rows && lines.iter().all(|line| line.width < columns),
                    "{columns}x{rows}"
                );
            }
        }
    }

    #[test]
    fn transfers_show_bytes_and_the_whole_their_sum() {
        let mut board = Board::default();
        let layer = |id, text, status, bytes| Line {
            id,
            parent: Some("Image web"),
            text,
            status,
            details: "",
            bytes,
        };
        board.line(&image("Pulling", Status::Working), at(0));
        board.line(
            &layer(
                "aaa",
                "Downloading",
                Status::Working,
                Some((1_500_000, 4_000_000)),
            ),
            at(100),
        );
        board.line(
            &layer(
                "bbb",
                "Pull complete",
                Status::Done,
                Some((2_000_000, 2_000_000)),
            ),
            at(200),
        );
        check(
            &board,
            at(1000),
            WIDE,
            &expect![[r#"
                | ⠋ Image web  Pulling  3.5MB/6MB  1.0s
                | ⠋   aaa  Downloading  1.5MB/4MB  0.9s
                | ✔   bbb  Pull complete  2MB  0.0s
            "#]],
        );
        board.line(&image("Pulled", Status::Done), at(2000));
        check(
            &board,
            at(9000),
            WIDE,
            &expect![[r#"
                | ✔ Image web  Pulled  2.0s
                | ✔   aaa  4MB  1.9s
                | ✔   bbb  Pull complete  2MB  0.0s
            "#]],
        );
        let mut board = Board::default();
        board.line(&image("Building", Status::Working), at(0));
        board.build("Image web", &started(1, "FROM debian"), at(0));
        for (item, current) in [("aaa", 1_000_000), ("bbb", 500_000)] {
            let (item, status) = (item.to_owned(), "Downloading".to_owned());
            board.build(
                "Image web",
                &BuildEvent::Transfer {
                    step: 1,
                    item,
                    status,
                    current,
                    total: 2_000_000,
                },
                at(0),
            );
        }
        check(
            &board,
            at(1000),
            WIDE,
            &expect![[r#"
                | ⠋ Image web  Building  1.5MB/4MB  1.0s
                | ⠋   FROM debian  1.5MB/4MB  1.0s
            "#]],
        );
    }

    #[test]
    fn what_a_failure_stops_is_no_longer_going_on() {
        let mut board = building();
        board.build(
            "Image web",
            &BuildEvent::Failed {
                step: 3,
                error: "exit code 2".to_owned(),
            },
            at(4000),
        );
        board.line(&image("Error", Status::Error), at(4100));
        check(
            &board,
            at(9000),
            Look { rows: None, ..WIDE },
            &expect![[r#"
                | ✘ Image web  Error  4.1s
                | ✔   FROM docker.io/library/debian:13  CACHED
                | ✔   [2/4] COPY . /app  0.3s
                | ✘   [3/4] RUN make  3.0s
                | !   [tools 1/1] RUN <<END set -e END  CANCELED  3.1s
            "#]],
        );
        assert!(!board.is_working());
    }

    #[test]
    fn colours_mark_states_and_output_is_dim() {
        let mut board = Board::default();
        board.line(&image("Building", Status::Working), at(0));
        board.build("Image web", &started(1, "RUN x"), at(0));
        board.build("Image web", &output(1, "hi"), at(0));
        let lines = draw(
            &board,
            at(0),
            Look {
                color: true,
                ..WIDE
            },
        );
        let text: String = lines
            .iter()
            .map(|line| format!("{:?}\n", line.text))
            .collect();
        expect![[r#"
            " ⠋ Image web  \u{1b}[34mBuilding\u{1b}[0m  0.0s"
            " ⠋   RUN x  0.0s"
            "       \u{1b}[2mhi\u{1b}[0m"
        "#]]
        .assert_eq(&text);
    }
}
