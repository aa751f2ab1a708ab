//! What was measured, as a table for people and a file for programs.

use std::fs;
use std::path::Path;

use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::machine::Machine;
use crate::stats::Samples;

/// One figure beside its floor.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) figure: String,
    /// In what.
    pub(crate) unit: &'static str,
    /// What it came to.
    #[serde(flatten)]
    pub(crate) numbers: Numbers,
    /// What the same work costs without Greenroom, measured in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) floor: Option<Floor>,
    /// What it should be, and whether it is.
    pub(crate) aims: Vec<Aim>,
    /// What else is worth knowing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
}

/// Measurements in short.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Numbers {
    /// How many.
    pub(crate) n: usize,
    /// The middle.
    pub(crate) p50: f64,
    /// What one in a hundred is above.
    pub(crate) p99: f64,
    /// The largest.
    pub(crate) max: f64,
}

impl From<&Samples> for Numbers {
    fn from(samples: &Samples) -> Self {
        Self { n: samples.len(), p50: samples.p50(), p99: samples.p99(), max: samples.max() }
    }
}

/// What the same work costs without Greenroom.
#[derive(Debug, Serialize)]
pub(crate) struct Floor {
    /// What was done.
    pub(crate) what: &'static str,
    /// What it came to.
    #[serde(flatten)]
    pub(crate) numbers: Numbers,
    /// Medians of its parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) parts: Vec<(&'static str, f64)>,
}

/// What a figure should be.
#[derive(Debug, Serialize)]
pub(crate) struct Aim {
    /// In words.
    pub(crate) aim: String,
    /// What it came to.
    pub(crate) got: String,
    /// Whether it is reached.
    pub(crate) met: bool,
}

impl Aim {
    /// A number that must stay below another.
    pub(crate) fn below(what: &str, got: f64, limit: f64, unit: &str) -> Self {
        Self {
            aim: format!("{what} < {limit} {unit}"),
            got: format!("{} {unit}", short(got)),
            met: got < limit,
        }
    }

    /// A figure's median against its floor's, at most so many times as much.
    pub(crate) fn times(what: &str, got: f64, floor: f64, limit: f64) -> Self {
        let ratio = got / floor;
        Self {
            aim: format!("{what} ≤ {limit} ×"),
            got: format!("{ratio:.2} ×"),
            met: ratio <= limit,
        }
    }

    /// A share of the floor, in percent, at least so much.
    pub(crate) fn share(what: &str, got: f64, floor: f64, least: f64) -> Self {
        let share = got / floor * 100.0;
        Self {
            aim: format!("{what} ≥ {least} %"),
            got: format!("{share:.0} %"),
            met: share >= least,
        }
    }

    /// A count that must be exact.
    pub(crate) fn exactly(what: &str, got: u64, want: u64) -> Self {
        Self { aim: format!("{what} = {want}"), got: got.to_string(), met: got == want }
    }
}

impl Row {
    /// A figure of many measurements.
    pub(crate) fn of(figure: impl Into<String>, unit: &'static str, samples: &Samples) -> Self {
        Self {
            figure: figure.into(),
            unit,
            numbers: samples.into(),
            floor: None,
            aims: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// With its floor.
    pub(crate) fn floor(
        mut self,
        what: &'static str,
        samples: &Samples,
        parts: Vec<(&'static str, f64)>,
    ) -> Self {
        self.floor = Some(Floor { what, numbers: samples.into(), parts });
        self
    }

    /// With an aim.
    pub(crate) fn aim(mut self, aim: Aim) -> Self {
        self.aims.push(aim);
        self
    }

    /// With something worth knowing.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

/// Everything one run has measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where and when.
    pub(crate) machine: Machine,
    /// The figures.
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// The table.
    pub(crate) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "figure",
            "n",
            "p50",
            "p99",
            "max",
            "floor p50",
            "p99",
            "aim",
            "got",
            "",
        ]);
        for row in &self.rows {
            let floor = |pick: fn(&Numbers) -> f64| {
                row.floor.as_ref().map_or("–".into(), |f| short(pick(&f.numbers)))
            };
            let lines =
                |pick: fn(&Aim) -> &str| row.aims.iter().map(pick).collect::<Vec<_>>().join("\n");
            table.add_row([
                format!("{} [{}]", row.figure, row.unit),
                row.numbers.n.to_string(),
                short(row.numbers.p50),
                short(row.numbers.p99),
                short(row.numbers.max),
                floor(|n| n.p50),
                floor(|n| n.p99),
                lines(|aim| &aim.aim),
                lines(|aim| &aim.got),
                lines(|aim| if aim.met { "✓" } else { "✗" }),
            ]);
        }
        for column in 1..7 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut text = format!("{}\n{table}\n", self.machine);
        for row in &self.rows {
            if let Some(floor) = &row.floor {
                let parts: Vec<_> = floor
                    .parts
                    .iter()
                    .map(|(what, p50)| format!("{what} {}", short(*p50)))
                    .collect();
                let parts = if parts.is_empty() {
                    String::new()
                } else {
                    format!(": {}", parts.join(" + "))
                };
                text.push_str(&format!("  floor of {}: {}{parts}\n", row.figure, floor.what));
            }
            for note in &row.notes {
                text.push_str(&format!("  {}: {note}\n", row.figure));
            }
        }
        text
    }

    /// The file.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(|| format!("failed to make {parent:?}"))?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("failed to write {path:?}"))
    }
}

/// A number with as many digits as mean something.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
