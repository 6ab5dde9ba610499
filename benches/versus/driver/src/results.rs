//! All that was measured: kept as lines that can be read again, and summed up by medians.

use std::collections::BTreeMap;

use crate::programs::Line;

/// Which figures belong together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub row: String,
    pub program: String,
    pub allocator: String,
}

/// All repetitions, and the facts about the run.
#[derive(Debug, Default)]
pub struct Results {
    /// What was known about the machine and the versions, in order.
    pub facts: Vec<(String, String)>,
    lines: BTreeMap<Key, Vec<Line>>,
    /// The rows, in the order in which they came.
    pub rows: Vec<String>,
}

impl Results {
    pub fn add(&mut self, program: &str, allocator: &str, line: Line) {
        if !self.rows.contains(&line.row) {
            self.rows.push(line.row.clone());
        }
        let key = Key {
            row: line.row.clone(),
            program: program.to_owned(),
            allocator: allocator.to_owned(),
        };
        self.lines.entry(key).or_default().push(line);
    }

    pub fn fact(&mut self, name: &str, value: impl Into<String>) {
        self.facts.push((name.to_owned(), value.into()));
    }

    /// As text, to be read by [`read`](Self::read).
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.facts {
            text += &format!("#\t{name}\t{value}\n");
        }
        for row in &self.rows {
            for (key, lines) in self.lines.iter().filter(|(key, _)| key.row == *row) {
                for line in lines {
                    text += &format!(
                        "{}\t{}\t{}\t{}\t{:.9}\t{}\n",
                        key.allocator, key.program, line.row, line.n, line.seconds, line.extra
                    );
                }
            }
        }
        text
    }

    pub fn read(text: &str) -> Results {
        let mut results = Results::default();
        for line in text.lines() {
            if let Some(fact) = line.strip_prefix("#\t") {
                if let Some((name, value)) = fact.split_once('\t') {
                    results.fact(name, value);
                }
            } else if let Some((allocator, rest)) = line.split_once('\t') {
                let program = rest.split('\t').next().unwrap_or_default().to_owned();
                if let Some(line) = Line::parse(rest) {
                    results.add(&program, allocator, line);
                }
            }
        }
        results
    }

    pub fn get(&self, row: &str, program: &str, allocator: &str) -> Option<&[Line]> {
        let key = Key {
            row: row.to_owned(),
            program: program.to_owned(),
            allocator: allocator.to_owned(),
        };
        self.lines.get(&key).map(Vec::as_slice)
    }

    /// What `figure` says of each repetition, as a spread.
    pub fn spread(
        &self,
        row: &str,
        program: &str,
        allocator: &str,
        figure: impl Fn(&Line) -> Option<f64>,
    ) -> Option<Spread> {
        let lines = self.get(row, program, allocator)?;
        Spread::of(lines.iter().filter_map(figure).collect())
    }

    pub fn all(&self) -> impl Iterator<Item = (&Key, &[Line])> {
        self.lines
            .iter()
            .map(|(key, lines)| (key, lines.as_slice()))
    }

    pub fn programs(&self) -> Vec<&'static str> {
        let known = crate::programs::PROGRAMS.iter().copied();
        known
            .filter(|program| self.lines.keys().any(|key| key.program == *program))
            .collect()
    }

    pub fn allocators(&self) -> Vec<&'static str> {
        let known = crate::programs::ALLOCATORS.iter().copied();
        known
            .filter(|allocator| self.lines.keys().any(|key| key.allocator == *allocator))
            .collect()
    }
}

/// Operations a second.
pub fn rate(line: &Line) -> Option<f64> {
    (line.seconds > 0.0).then(|| line.n as f64 / line.seconds)
}

/// Nanoseconds an operation.
pub fn nanoseconds(line: &Line) -> Option<f64> {
    (line.n > 0).then(|| line.seconds * 1e9 / line.n as f64)
}

/// A median, and how far the others are from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let (first, last) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Some(Spread {
            least: first,
            median,
            most: last,
        })
    }
}

/// A number as people read it: 36 M, 9.2 M, 650 k.
pub fn human(n: f64) -> String {
    let scaled = [(1e9, " G"), (1e6, " M"), (1e3, " k")]
        .into_iter()
        .find(|(unit, _)| n >= *unit * 0.9995)
        .map_or((n, ""), |(unit, name)| (n / unit, name));
    let digits = if scaled.0 >= 10.0 { 0 } else { 1 };
    format!("{:.digits$}{}", scaled.0, scaled.1)
}

/// Nanoseconds as people read them.
pub fn time(ns: f64) -> String {
    let scaled = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")]
        .into_iter()
        .find(|(unit, _)| ns >= *unit * 0.9995)
        .map_or((ns, "ns"), |(unit, name)| (ns / unit, name));
    let digits = if scaled.0 >= 10.0 || scaled.1 == "ns" {
        0
    } else {
        1
    };
    format!("{:.digits$} {}", scaled.0, scaled.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(row: &str, n: u64, seconds: f64, extra: &str) -> Line {
        Line {
            row: row.to_owned(),
            n,
            seconds,
            extra: extra.to_owned(),
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.least, spread.median, spread.most), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of(vec![7.0, 9.0, 8.0]).unwrap().median, 8.0);
        assert_eq!(Spread::of(vec![]), None);
    }

    #[test]
    fn results_are_read_as_they_were_written() {
        let mut results = Results::default();
        results.fact("cpu", "two of them");
        results.add("noex", "glibc", line("pingpong", 10, 0.5, ""));
        results.add("noex", "glibc", line("pingpong", 10, 0.25, ""));
        results.add(
            "beam",
            "glibc",
            line("latency_call", 3, 1.0, "p50_ns=7 max_ns=9"),
        );
        let again = Results::read(&results.text());
        assert_eq!(again.facts, results.facts);
        assert_eq!(again.rows, results.rows);
        assert_eq!(again.lines, results.lines);
        let latency = &again.get("latency_call", "beam", "glibc").unwrap()[0];
        assert_eq!(latency.word("max_ns"), Some(9.0));
        assert_eq!(latency.word("p99_ns"), None);
        let rates = again.spread("pingpong", "noex", "glibc", rate).unwrap();
        assert_eq!((rates.least, rates.most), (20.0, 40.0));
    }

    #[test]
    fn what_is_not_available_is_no_figure() {
        assert_eq!(Line::parse("smol\ttimers\t0\tn/a\t"), None);
        assert!(Line::parse("smol\tring\t5\t0.1\t").is_some());
    }

    #[test]
    fn numbers_are_read_by_people() {
        assert_eq!(human(36_123_456.0), "36 M");
        assert_eq!(human(9_234_567.0), "9.2 M");
        assert_eq!(human(999_999.0), "1.0 M");
        assert_eq!(human(192.0), "192");
        assert_eq!(time(150.0), "150 ns");
        assert_eq!(time(93_631.0), "94 µs");
        assert_eq!(time(4_134_911.0), "4.1 ms");
    }
}
