//! Draws a message-sequence diagram as text.

use std::sync::Arc;

/// A line of a diagram.
pub(super) enum Row {
    /// Somebody goes on by a step.
    Did {
        margin: String,
        who: Arc<str>,
        text: String,
    },
    Arrow {
        from: Arc<str>,
        to: Arc<str>,
        stroke: char,
        label: String,
    },
    Time(String),
}

/// Longer labels are cut.
const LABEL_MAX: usize = 20;

/// Wider diagrams are written as a list.
const WIDTH_MAX: usize = 180;

pub(super) fn cut(label: &str) -> String {
    label.chars().take(LABEL_MAX).collect()
}

pub(super) fn draw(rows: &[Row]) -> String {
    let drawing = Drawing::of(rows);
    if drawing.names.len() * drawing.width > WIDTH_MAX {
        return rows.iter().map(item).collect();
    }
    rows.iter().fold(drawing.head(), |text, row| text + &drawing.row(row))
}

/// A line of a list.
fn item(row: &Row) -> String {
    match row {
        Row::Time(text) => line("", text),
        Row::Did { margin, who, text } => line(margin, &format!("{who} {text}")),
        Row::Arrow { from, to, stroke, label } => {
            let end = if *stroke == '-' { "-->" } else { "..>" };
            line("", &format!("    {from} {stroke}{stroke}{label}{end} {to}"))
        }
    }
}

fn line(margin: &str, row: &str) -> String {
    format!("{margin:>6} {}\n", row.trim_end())
}

/// Where the columns are.
struct Drawing<'a> {
    names: Vec<&'a str>,
    width: usize,
}

impl<'a> Drawing<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut longest = 0;
        for row in rows {
            let (parts, text): ([&str; 2], &str) = match row {
                Row::Time(_) => continue,
                Row::Did { who, text, .. } => ([who, who], text),
                Row::Arrow { from, to, label, .. } => ([from, to], label),
            };
            longest = longest.max(text.chars().count());
            for name in parts {
                longest = longest.max(cut(name).chars().count());
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        Self { names, width: longest + 3 }
    }

    fn row(&self, row: &Row) -> String {
        match row {
            Row::Time(text) => line("", text),
            Row::Did { margin, who, text } => {
                let mut cells = self.life_lines();
                write(&mut cells, self.centre(who), text);
                line(margin, &cells.iter().collect::<String>())
            }
            Row::Arrow { from, to, stroke, label } => {
                line("", &self.arrow(self.centre(from), self.centre(to), *stroke, label))
            }
        }
    }

    /// Where the life line of somebody is.
    fn centre(&self, name: &str) -> usize {
        let column = self.names.iter().position(|known| *known == name).unwrap_or(0);
        column * self.width + self.width / 2
    }

    fn head(&self) -> String {
        let mut cells = vec![' '; self.names.len() * self.width];
        for name in &self.names {
            write(&mut cells, self.centre(name), &cut(name));
        }
        line("step ", &cells.iter().collect::<String>())
    }

    fn life_lines(&self) -> Vec<char> {
        let mut cells = vec![' '; self.names.len() * self.width];
        self.names.iter().for_each(|name| cells[self.centre(name)] = '|');
        cells
    }

    fn arrow(&self, start: usize, end: usize, stroke: char, label: &str) -> String {
        let mut cells = self.life_lines();
        if start == end {
            write(&mut cells, start, &format!("to itself: {label}"));
            return cells.iter().collect();
        }
        cells[start.min(end) + 1..start.max(end)].fill(stroke);
        // The label stands beside the sender, so that a long arrow can be followed.
        let near = if start < end {
            cells[end - 1] = '>';
            start + self.width / 2
        } else {
            cells[end + 1] = '<';
            start - self.width / 2
        };
        write(&mut cells, near, label);
        cells.iter().collect()
    }
}

/// Writes `text` centred at `at`.
fn write(cells: &mut [char], at: usize, text: &str) {
    let length = text.chars().count();
    let start = at.saturating_sub(length / 2).min(cells.len().saturating_sub(length));
    for (cell, letter) in cells[start..].iter_mut().zip(text.chars()) {
        *cell = letter;
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, draw};

    fn arrow(from: &str, to: &str) -> Row {
        Row::Arrow { from: from.into(), to: to.into(), stroke: '-', label: "Ask".to_owned() }
    }

    #[test]
    fn steps_go_down_and_everybody_has_a_column() {
        let did = Row::Did { margin: "1 ".to_owned(), who: "b".into(), text: "[Ask]".to_owned() };
        let rows = [arrow("a", "b"), did, Row::Time("--- 1s ---".to_owned()), arrow("b", "a")];
        let drawn = [
            " step      a       b",
            "           |--Ask->|",
            "    1      |     [Ask]",
            "       --- 1s ---",
            "           |<-Ask--|",
        ];
        assert_eq!(draw(&rows).lines().collect::<Vec<_>>(), drawn);
    }

    #[test]
    fn what_would_be_too_wide_is_a_list() {
        let names: Vec<String> = (0..40).map(|number| format!("actor {number}")).collect();
        let rows: Vec<Row> = names.windows(2).map(|pair| arrow(&pair[0], &pair[1])).collect();
        let drawn = draw(&rows);
        assert!(drawn.contains("    actor 0 --Ask--> actor 1\n"), "{drawn}");
        assert_eq!(drawn.lines().count(), 39);
    }
}
