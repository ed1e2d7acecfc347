//! Tables for people: aligned columns under a line of headings.

use unicode_width::UnicodeWidthStr as _;

use super::stdout::Styled;
use crate::secret;
use crate::text::visible;

/// Widest column, in characters of a terminal. A longer text shifts only the rest of its own row.
const WIDEST: usize = 40;
/// Space between columns.
const GAP: &str = "  ";

/// Alignment of a text in its column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    /// For numbers.
    Right,
}

/// A column: heading, which may be empty, and alignment.
pub type Column = (&'static str, Align);

/// Rows under headings. Columns without any text are left out.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Row>,
}

/// Cells of a row, and lines about it.
struct Row {
    cells: Vec<Styled>,
    notes: Vec<Styled>,
}

impl Table {
    /// Creates a table without rows.
    pub fn new(columns: &[Column]) -> Table {
        Table {
            columns: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row, with a cell for each column and lines to print below it.
    pub fn row(&mut self, cells: Vec<Styled>, notes: Vec<Styled>) {
        self.rows.push(Row {
            cells: cells.iter().map(shown).collect(),
            notes: notes.iter().map(shown).collect(),
        });
    }

    /// Returns the parts to print; none without rows.
    pub fn parts(&self) -> Vec<Styled> {
        let mut parts = Vec::new();
        if self.rows.is_empty() {
            return parts;
        }
        let widths: Vec<Option<usize>> = (0..self.columns.len()).map(|at| self.width(at)).collect();
        let heads = self.columns.iter();
        let heads: Vec<Styled> = heads
            .map(|(head, _)| Styled::Dim((*head).to_owned()))
            .collect();
        if self.columns.iter().any(|(head, _)| !head.is_empty()) {
            self.line(&heads, &widths, &mut parts);
        }
        for row in &self.rows {
            self.line(&row.cells, &widths, &mut parts);
            for note in &row.notes {
                parts.push(note.with(format!("    {}\n", note.text())));
            }
        }
        parts
    }

    /// Returns the width of a column; None if it has no text.
    fn width(&self, at: usize) -> Option<usize> {
        let cells = self.rows.iter().filter_map(|row| row.cells.get(at));
        let widths = cells.map(|cell| cell.text().width());
        let widest = widths.max().filter(|width| *width > 0)?;
        Some(widest.min(WIDEST).max(self.columns[at].0.width()))
    }

    fn line(&self, cells: &[Styled], widths: &[Option<usize>], parts: &mut Vec<Styled>) {
        let columns = self.columns.iter().zip(widths).zip(cells);
        let mut open = String::new();
        for (((_, align), width), cell) in columns {
            let Some(width) = width else { continue };
            let space = " ".repeat(width.saturating_sub(cell.text().width()));
            if *align == Align::Right {
                open.push_str(&space);
            }
            if !cell.text().is_empty() {
                parts.push(Styled::Plain(std::mem::take(&mut open)));
                parts.push(cell.with(cell.text().to_owned()));
            }
            if *align == Align::Left {
                open.push_str(&space);
            }
            open.push_str(GAP);
        }
        parts.push(Styled::Plain("\n".to_owned()));
    }
}

/// Returns a text as it will be printed, on one line, to measure its width.
fn shown(part: &Styled) -> Styled {
    part.with(visible(&secret::redact(part.text())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(table: &Table) -> String {
        table.parts().iter().map(Styled::text).collect()
    }

    fn plain(texts: &[&str]) -> Vec<Styled> {
        let texts = texts.iter().map(|text| Styled::Plain((*text).to_owned()));
        texts.collect()
    }

    #[test]
    fn columns_are_aligned_by_their_visible_width() {
        let columns = [
            ("ID", Align::Right),
            ("HOST", Align::Left),
            ("NONE", Align::Left),
            ("TASK", Align::Left),
        ];
        let mut table = Table::new(&columns);
        assert_eq!(printed(&table), "");
        table.row(plain(&["7", "web1", "", "a\nb"]), plain(&["and more"]));
        table.row(plain(&["123", "日本", "", ""]), Vec::new());
        table.row(plain(&["1", "", "", "t"]), Vec::new());
        let long = "x".repeat(WIDEST + 1);
        table.row(plain(&["1", &long, "", "t"]), Vec::new());
        let pad = " ".repeat(WIDEST);
        let expected = format!(
            " ID  HOST{}  TASK\n  7  web1{}  a\\u{{a}}b\n    and more\n123  日本\n  1  {pad}  t\n  1  {long}  t\n",
            &pad[4..],
            &pad[4..],
        );
        assert_eq!(printed(&table), expected);
    }
}
