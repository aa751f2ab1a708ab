//! Tables without borders.

use comfy_table::{ContentArrangement, TableStyle};

use super::{Paint, Tone};
use crate::human::clean;

/// A line of a table. The second column is painted in its tone.
#[derive(Debug)]
pub(crate) struct Row {
    tone: Tone,
    cells: Vec<String>,
}

impl Row {
    /// A line; control characters of its cells are made harmless.
    pub(crate) fn new(tone: Tone, cells: impl IntoIterator<Item = String>) -> Self {
        Self { tone, cells: cells.into_iter().map(|cell| clean(&cell)).collect() }
    }
}

/// A table. Without lines, it says so in words.
#[derive(Debug)]
pub(crate) struct Table {
    head: &'static [&'static str],
    rows: Vec<Row>,
    empty: String,
}

impl Table {
    pub(crate) fn new(
        head: &'static [&'static str],
        rows: impl IntoIterator<Item = Row>,
        empty: &str,
    ) -> Self {
        Self { head, rows: rows.into_iter().collect(), empty: empty.to_owned() }
    }

    /// The table as text.
    pub(crate) fn render(&self, paint: Paint) -> String {
        if self.rows.is_empty() {
            return format!("{}\n", self.empty);
        }
        let mut table = comfy_table::Table::new();
        table.load_style(TableStyle::new());
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.head.iter().copied());
        table.add_rows(self.rows.iter().map(|row| &row.cells));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let widths = table.column_max_content_widths();
        let second = widths.first().map_or(0, |width| usize::from(*width) + 2);
        let mut text = String::new();
        for (n, line) in table.lines().enumerate() {
            let line = line.trim_end();
            match n.checked_sub(1).and_then(|n| self.rows.get(n)) {
                Some(row) => text.push_str(&row.paint(line, second, paint)),
                None => text.push_str(&paint.tint(Tone::Head, line)),
            }
            text.push('\n');
        }
        text
    }
}

impl Row {
    /// Paints the second cell, which begins at column `at`. Names in first columns are
    /// ASCII; where one is not, the line stays as it is.
    fn paint(&self, line: &str, at: usize, paint: Paint) -> String {
        let cell = self.cells.get(1).map_or("", String::as_str);
        match (line.get(..at), line.get(at..).and_then(|rest| rest.strip_prefix(cell))) {
            (Some(before), Some(after)) => {
                format!("{before}{}{after}", paint.tint(self.tone, cell))
            }
            _ => line.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |tone, cells: [&str; 3]| Row::new(tone, cells.map(str::to_owned));
        let rows =
            [row(Tone::Live, ["fix-1", "running", "a\nb"]), row(Tone::Plain, ["x", "new", ""])];
        Table::new(&["ID", "STATUS", "TITLE"], rows, "None.")
    }

    #[test]
    fn columns_are_aligned_without_borders() {
        let text = table().render(Paint::OFF);
        assert_eq!(text, "ID     STATUS   TITLE\nfix-1  running  a b\nx      new\n");
    }

    #[test]
    fn only_the_second_column_is_painted() {
        let text = table().render(Paint::ON);
        assert!(text.contains("fix-1  \u{1b}[32mrunning\u{1b}[39m  a b\n"), "{text:?}");
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(Table::new(&["ID"], [], "None.").render(Paint::OFF), "None.\n");
    }
}
