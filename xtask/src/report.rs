//! Owns how measurements are shown: a Markdown table with ratios, and one SVG bar chart per case.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::shell::{command, output};

#[derive(Clone, Copy)]
pub(crate) enum Unit {
    Seconds,
    Mebibytes,
}

/// The same work done by each tool; the first one is hoist.
pub(crate) struct Case {
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) measured: Vec<Measured>,
}

pub(crate) struct Measured {
    pub(crate) tool: &'static str,
    pub(crate) values: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(tool: &'static str) -> Self {
        Self {
            tool,
            values: Vec::new(),
        }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self) -> f64 {
        let values = self.sorted();
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// A table for each set of tools: not every tool does all the work.
pub(crate) fn table(cases: &[Case]) -> String {
    let same_tools = |a: &Case, b: &Case| {
        a.measured
            .iter()
            .map(|measured| measured.tool)
            .eq(b.measured.iter().map(|measured| measured.tool))
    };
    cases
        .chunk_by(same_tools)
        .map(one_table)
        .collect::<Vec<_>>()
        .join("\n")
}

/// One row a case: `median [min–max]` of each tool, and how many times more than hoist it is.
fn one_table(cases: &[Case]) -> String {
    let Some(first) = cases.first() else {
        return String::new();
    };
    let names: Vec<_> = first
        .measured
        .iter()
        .map(|measured| measured.tool)
        .collect();
    let mut text = format!(
        "| case | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for case in cases {
        let ours = case.measured.first().map_or(f64::NAN, Measured::median);
        let cells = case.measured.iter().enumerate().map(|(index, measured)| {
            let values = measured.sorted();
            let range = match (values.first(), values.last()) {
                (Some(low), Some(high)) if values.len() > 1 => {
                    format!(" [{}–{}]", case.unit.show(*low), case.unit.show(*high))
                }
                _ => String::new(),
            };
            let ratio = if index == 0 {
                String::new()
            } else {
                format!(", {:.1}×", measured.median() / ours)
            };
            format!("{}{range}{ratio}", case.unit.show(measured.median()))
        });
        text.push_str(&format!(
            "| {} | {} |\n",
            case.title,
            cells.collect::<Vec<_>>().join(" | ")
        ));
    }
    text
}

/// Writes `benchmarks.md` and `benchmarks/*.svg` into `docs`.
pub(crate) fn write(docs: &Path, cases: &[Case]) -> Result<()> {
    let plots = docs.join("benchmarks");
    fs::create_dir_all(&plots).with_context(|| format!("create {}", plots.display()))?;
    let kernel = output(command("uname").arg("-r"))?;
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench`. Medians [minimum–maximum] of one run in which the tools take turns; the ratio says\n\
         how many times hoist's median a peer needs. Read the ratios: absolute times are those of one shared machine with\n\
         {cores} cores and kernel {kernel}. Peers: docker, podman and buildah as Debian trixie ships them.\n\n{table}\n",
        cores = std::thread::available_parallelism()?,
        kernel = kernel.trim(),
        table = table(cases),
    );
    for case in cases {
        let name = file_name(&case.title);
        fs::write(plots.join(&name), plot(case)).with_context(|| format!("write {name}"))?;
        text.push_str(&format!(
            "![{}](benchmarks/{name})\n",
            case.title.replace('`', "")
        ));
    }
    fs::write(docs.join("benchmarks.md"), text).context("write docs/benchmarks.md")
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Seconds => format!("{value:.3} s"),
            Self::Mebibytes => format!("{value:.1} MiB"),
        }
    }
}

fn file_name(title: &str) -> String {
    let words: Vec<String> = title
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    format!("{}.svg", words.join("-"))
}

/// Horizontal bars, one a tool, shortest is best.
fn plot(case: &Case) -> String {
    const BAR: f64 = 26.0;
    const LEFT: f64 = 130.0;
    const WIDTH: f64 = 380.0;
    let longest = case
        .measured
        .iter()
        .map(Measured::median)
        .fold(0.0, f64::max);
    let mut bars = String::new();
    let mut top = 34.0;
    for (index, measured) in case.measured.iter().enumerate() {
        let length = (measured.median() / longest * WIDTH).max(1.0);
        let colour = if index == 0 { "#1a7f5a" } else { "#9aa4ad" };
        bars.push_str(&format!(
            "<text x=\"{text}\" y=\"{middle}\" text-anchor=\"end\">{tool}</text>\n\
             <rect x=\"{LEFT}\" y=\"{top}\" width=\"{length:.1}\" height=\"{height}\" fill=\"{colour}\"/>\n\
             <text x=\"{end:.1}\" y=\"{middle}\">{value}</text>\n",
            text = LEFT - 8.0,
            middle = top + 15.0,
            tool = measured.tool,
            height = BAR - 6.0,
            end = LEFT + length + 6.0,
            value = case.unit.show(measured.median()),
        ));
        top += BAR;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"620\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"20\" font-weight=\"bold\">{title}</text>\n{bars}</svg>\n",
        height = top + 8.0,
        title = case.title.replace('`', ""),
    )
}
