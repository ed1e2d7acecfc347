//! The tables of keys in the documentation, for the manual page of the configuration.

use clap_mangen::roff::{Inline, bold, roman};

/// A table whose first column lists keys.
pub struct Table {
    /// The line above the table, or the heading of its section.
    pub title: &'static str,
    pub rows: Vec<Row>,
}

/// The keys of a row, and their description in Markdown.
pub struct Row {
    pub keys: Vec<&'static str>,
    pub meaning: &'static str,
    /// Empty if there is no default, or none is stated.
    pub default: &'static str,
}

/// Returns the tables of keys of a page.
pub fn read(page: &'static str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let (mut heading, mut above) = ("", "");
    let mut defaults = None;
    let mut is_inside = false;
    for line in page.lines() {
        let cells = cells(line);
        if let ["key", "meaning", ..] = cells.as_slice() {
            let title = above.strip_suffix(':').unwrap_or(heading);
            let rows = Vec::new();
            tables.push(Table { title, rows });
            defaults = cells.iter().position(|name| *name == "default");
            is_inside = true;
        } else if cells.is_empty() {
            is_inside = false;
            heading = line.strip_prefix("## ").unwrap_or(heading);
            above = if line.is_empty() { above } else { line };
        } else if let (true, Some(table), [keys, meaning, ..]) =
            (is_inside, tables.last_mut(), cells.as_slice())
            && !keys.starts_with("---")
        {
            table.rows.push(Row {
                keys: keys.split('`').skip(1).step_by(2).collect(),
                meaning,
                default: defaults.and_then(|at| cells.get(at)).unwrap_or(&""),
            });
        }
    }
    tables
}

/// Returns the cells of a line of a table; none for any other line.
fn cells(line: &'static str) -> Vec<&'static str> {
    let row = line.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
    row.map_or(Vec::new(), |row| row.split('|').map(str::trim).collect())
}

/// Returns a text of Markdown: code in bold, links without their targets.
pub fn inlines(markdown: &str) -> Vec<Inline> {
    let mut inlines = Vec::new();
    for (index, part) in markdown.split('`').enumerate() {
        let is_code = index % 2 == 1;
        inlines.push(if is_code { bold(part) } else { roman(part) });
    }
    inlines
}

/// Returns Markdown without the targets of its links.
pub fn without_links(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((_target, behind)) = after.split_once(')') else {
            break;
        };
        let (before, shown) = before.rsplit_once('[').unwrap_or((before, ""));
        text.push_str(before);
        text.push_str(shown);
        rest = behind;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_keys_are_read_and_no_others() {
        let page = "## First\n\n| name | value |\n|---|---|\n| `x` | y |\n\nKeys of all:\n\n\
            | key | meaning | default |\n|---|---|---|\n| `a`, `b` | means `c` | `5s` |\n| `d` | e | |\n\n\
            ## Second\n\nText.\n\n| key | meaning |\n|---|---|\n| `f` | g |\n";
        let tables = read(page);
        let titles: Vec<&str> = tables.iter().map(|table| table.title).collect();
        assert_eq!(titles, ["Keys of all", "Second"]);
        let rows = tables.iter().flat_map(|table| &table.rows);
        let rows: Vec<_> = rows
            .map(|row| (row.keys.join(" "), row.meaning, row.default))
            .collect();
        let expected = [("a b", "means `c`", "`5s`"), ("d", "e", ""), ("f", "g", "")];
        let expected = expected.map(|(keys, meaning, default)| (keys.to_owned(), meaning, default));
        assert_eq!(rows, expected);
    }

    #[test]
    fn links_lose_their_targets() {
        let text = "see [`run`](run.md) and [OAuth 2.0](x.md#y), [1-9] (so)";
        assert_eq!(without_links(text), "see `run` and OAuth 2.0, [1-9] (so)");
    }
}
