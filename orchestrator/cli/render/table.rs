//! Tables as docker prints them: upper-case headings, columns padded with spaces, nothing after the last one.

use std::str::FromStr;

use clap::ValueEnum;
use serde_json::Value;

use super::template::Template;

const GAP: usize = 3;

/// How a list is printed: for people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// How a list is printed where docker takes Go templates, too.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Listing {
    Table,
    Json,
    /// A line for each.
    Lines(Template),
    /// `table {{.A}}\t{{.B}}`
    Columns(Vec<Template>),
}

impl FromStr for Listing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Shells pass `\t` and `\n` on as they are written, and docker takes them for what they mean.
        let plain = text.replace("\\t", "\t").replace("\\n", "\n");
        match text.split_once(char::is_whitespace) {
            _ if text == "table" => Ok(Self::Table),
            _ if text == "json" => Ok(Self::Json),
            Some(("table", _)) => {
                let columns = plain["table".len()..]
                    .trim_start()
                    .split('\t')
                    .map(str::parse);
                Ok(Self::Columns(columns.collect::<Result<_, _>>()?))
            }
            _ if text.contains("{{") => Ok(Self::Lines(plain.parse()?)),
            _ => Err("expected table, json, or a template such as '{{.Name}}'".to_owned()),
        }
    }
}

impl Listing {
    pub(crate) fn is_table(&self) -> bool {
        matches!(self, Self::Table | Self::Columns(_))
    }

    /// The list as text: for people, or each item's JSON in a line or through the template.
    pub(crate) fn text(
        &self,
        table: impl FnOnce() -> String,
        items: &[Value],
    ) -> Result<String, String> {
        match self {
            Self::Table => Ok(table()),
            Self::Json => Ok(items.iter().map(|item| format!("{item}\n")).collect()),
            Self::Lines(template) => items
                .iter()
                .map(|item| Ok(template.render(item)? + "\n"))
                .collect(),
            Self::Columns(columns) => {
                let mut table = Table::of(columns.iter().map(Template::heading).collect());
                for item in items {
                    table.push(
                        columns
                            .iter()
                            .map(|column| column.render(item))
                            .collect::<Result<_, _>>()?,
                    );
                }
                Ok(table.to_string())
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![
                headings
                    .iter()
                    .map(|heading| (*heading).to_owned())
                    .collect(),
            ],
        }
    }

    pub(crate) fn of(headings: Vec<String>) -> Self {
        Self {
            rows: vec![headings],
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    pub(crate) fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|c| c.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width + GAP - cell.chars().count()));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_are_tables_json_or_templates() {
        let items = [
            serde_json::json!({ "Name": "a", "RunningFor": "1s" }),
            serde_json::json!({ "Name": "bcd", "RunningFor": "2s" }),
        ];
        let text = |format: &str| {
            format
                .parse::<Listing>()?
                .text(|| "people\n".to_owned(), &items)
        };
        assert_eq!(text("table").as_deref(), Ok("people\n"));
        assert_eq!(text("{{.Name}}").as_deref(), Ok("a\nbcd\n"));
        assert_eq!(
            text("table {{.Name}}\\t{{.RunningFor}}").as_deref(),
            Ok("NAME   CREATED\na      1s\nbcd    2s\n")
        );
        assert_eq!(text("json").map(|text| text.lines().count()), Ok(2));
        assert!(text("yaml").unwrap_err().contains("{{.Name}}"));
        assert!(text("{{.Nam}}").unwrap_err().contains("Name"));
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["NAME", "STATUS"]);
        table.row(["app-web-1".to_owned(), "Up".to_owned()]);
        table.row(["x".to_owned(), String::new()]);
        assert_eq!(table.to_string(), "NAME        STATUS\napp-web-1   Up\nx\n");
    }
}
