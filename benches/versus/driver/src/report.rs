//! The report: tables and the plots they go with, in Markdown.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::plots;
use crate::programs::PEERS;
use crate::results::{Results, human, nanoseconds, rate, time};
use crate::workloads::{Kind, WORKLOADS, kind_of};

/// The quantiles of a latency: the word in the extra, and how it is shown.
pub const QUANTILES: &[(&str, &str)] = &[
    ("p50_ns", "p50"),
    ("p90_ns", "p90"),
    ("p99_ns", "p99"),
    ("p999_ns", "p99.9"),
    ("p9999_ns", "p99.99"),
    ("max_ns", "max"),
];

/// Writes `benchmarks.md` and `benchmarks/*.svg`; where the former is.
pub fn write(results: &Results, out: &Path) -> Result<PathBuf, String> {
    let plots = out.join("benchmarks");
    std::fs::create_dir_all(&plots).map_err(|error| format!("{}: {error}", plots.display()))?;
    let report = Report { results, plots };
    let file = out.join("benchmarks.md");
    crate::write(&file, &report.text()?)?;
    Ok(file)
}

struct Report<'a> {
    results: &'a Results,
    plots: PathBuf,
}

/// A table in Markdown.
fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(head);
    text += &line(&vec!["---".to_owned(); head.len()]);
    rows.iter().for_each(|row| text += &line(row));
    text
}

impl Report<'_> {
    fn text(&self) -> Result<String, String> {
        let mut text = String::from(
            "# Benchmarks\n\n\
             Written by `benches/versus/run`, which anybody can run again; not by hand.\n\n\
             All programs have two scheduler threads, run in fresh processes, interleaved, and warm up. A figure is the \
             median of the repetitions. Differences that are smaller than the spread are ties. *floor* is a bare \
             prototype, without links, budgets, unwinding or statistics: what no design of this kind gets under.\n\n",
        );
        text += "## Machine and versions\n\n";
        let facts = self.results.facts.iter();
        let facts: Vec<_> = facts.map(|(n, v)| vec![n.clone(), v.clone()]).collect();
        text += &table(&["what".to_owned(), "which".to_owned()], &facts);
        text.push('\n');
        self.throughput(&mut text)?;
        self.latency(&mut text)?;
        self.scale(&mut text)?;
        self.memory(&mut text);
        self.allocators(&mut text)?;
        self.bare_parts(&mut text);
        self.all(&mut text);
        Ok(text)
    }

    /// Rows of a kind, in the order of measuring, without those of bare parts.
    fn rows(&self, kind: Kind) -> Vec<&str> {
        let rows = self.results.rows.iter().map(String::as_str);
        rows.filter(|row| kind_of(row) == Some(kind))
            .filter(|row| {
                self.compared()
                    .iter()
                    .any(|p| self.results.get(row, p, "glibc").is_some())
            })
            .collect()
    }

    /// The programs that are compared: all but the bare parts.
    fn compared(&self) -> Vec<&'static str> {
        let mut programs = self.results.programs();
        programs.retain(|program| *program != "limit");
        programs
    }

    fn plot(&self, text: &mut String, name: &str, alt: &str) -> PathBuf {
        let _ = write!(text, "![{alt}](benchmarks/{name}.svg)\n\n");
        self.plots.join(format!("{name}.svg"))
    }

    fn throughput(&self, text: &mut String) -> Result<(), String> {
        let rows = self.rows(Kind::Throughput);
        if rows.is_empty() {
            return Ok(());
        }
        let programs = self.compared();
        let median = |row: &str, program: &str| {
            let spread = self.results.spread(row, program, "glibc", rate);
            spread.map(|spread| spread.median)
        };
        *text += "## Throughput\n\nOperations a second; in the last columns how many times as fast noex is as the floor and as the fastest peer, with what single repetitions say in brackets.\n\n";
        let mut head = vec!["workload".to_owned()];
        head.extend(programs.iter().map(|program| (*program).to_owned()));
        head.extend(["noex / floor", "noex / best peer"].map(str::to_owned));
        let mut lines = Vec::new();
        for row in &rows {
            let mut line = vec![format!("`{row}`")];
            for program in &programs {
                line.push(median(row, program).map_or_else(String::new, human));
            }
            let best = PEERS
                .iter()
                .filter_map(|peer| Some((*peer, median(row, peer)?)))
                .max_by(|a, b| a.1.total_cmp(&b.1));
            line.push(self.ratio(row, "floor"));
            line.push(match best {
                Some((peer, _)) if median(row, "noex").is_some() => {
                    format!("{} {peer}", self.ratio(row, peer))
                }
                _ => String::new(),
            });
            lines.push(line);
        }
        *text += &table(&head, &lines);
        text.push('\n');
        let file = self.plot(text, "throughput", "operations a second of each program");
        let shown = |row: &&str| {
            let have = programs.iter().filter(|p| median(row, p).is_some());
            median(row, "noex").is_some() || have.count() > 1
        };
        let shown: Vec<&str> = rows.iter().copied().filter(shown).collect();
        let series = self.series(&shown, &programs, "glibc");
        plots::dots(&file, "operations a second", &shown, &series)?;
        *text += "What is done, and what is counted:\n\n";
        for workload in WORKLOADS.iter().filter(|w| w.kind == Kind::Throughput) {
            let _ = writeln!(text, "- `{}`: {}.", workload.name, workload.what);
        }
        text.push('\n');
        Ok(())
    }

    fn series(
        &self,
        rows: &[&str],
        programs: &[&'static str],
        allocator: &str,
    ) -> Vec<plots::Series> {
        let points = |program: &str| {
            rows.iter()
                .map(|row| self.results.spread(row, program, allocator, rate))
                .collect()
        };
        let series = programs.iter().map(|program| plots::Series {
            name: (*program).to_owned(),
            points: points(program),
        });
        series.collect()
    }

    /// noex's median over another's, and the least and most of single repetitions.
    fn ratio(&self, row: &str, other: &str) -> String {
        let of = |program: &str| {
            let lines = self.results.get(row, program, "glibc")?;
            Some(lines.iter().filter_map(rate).collect::<Vec<f64>>())
        };
        let (Some(noex), Some(other)) = (of("noex"), of(other)) else {
            return String::new();
        };
        let singles = noex.iter().zip(&other).map(|(a, b)| a / b).collect();
        let medians = |values: Vec<f64>| crate::results::Spread::of(values).map(|s| s.median);
        match (
            medians(noex),
            medians(other),
            crate::results::Spread::of(singles),
        ) {
            (Some(a), Some(b), Some(single)) => {
                format!("**{:.2}** [{:.2}–{:.2}]", a / b, single.least, single.most)
            }
            _ => String::new(),
        }
    }

    fn latency(&self, text: &mut String) -> Result<(), String> {
        let rows = self.rows(Kind::Latency);
        if rows.is_empty() {
            return Ok(());
        }
        *text += "## Latency\n\nEach round is timed by itself and recorded by hdrhistogram (BEAM: exactly); the median of the repetitions, for each quantile by itself. A reading of the clock, some 25 ns, is part of each.\n\n";
        for row in rows {
            let what = WORKLOADS.iter().find(|w| w.name == row).map(|w| w.what);
            let _ = write!(text, "`{row}`: {}.\n\n", what.unwrap_or_default());
            let mut head = vec!["program".to_owned()];
            head.extend(QUANTILES.iter().map(|(_, shown)| (*shown).to_owned()));
            let (mut lines, mut series) = (Vec::new(), Vec::new());
            for program in self.compared() {
                let quantiles: Vec<Option<f64>> = QUANTILES
                    .iter()
                    .map(|(word, _)| {
                        let spread = self.results.spread(row, program, "glibc", |l| l.word(word));
                        spread.map(|spread| spread.median)
                    })
                    .collect();
                if quantiles.iter().all(Option::is_none) {
                    continue;
                }
                let mut line = vec![program.to_owned()];
                line.extend(quantiles.iter().map(|q| q.map_or_else(String::new, time)));
                lines.push(line);
                let points = quantiles.iter().enumerate();
                let points = points
                    .filter_map(|(x, y)| Some((x as f64, (*y)?)))
                    .collect();
                series.push((program.to_owned(), points));
            }
            *text += &table(&head, &lines);
            text.push('\n');
            let file = self.plot(text, row, "latency by quantile");
            let shown: Vec<&str> = QUANTILES.iter().map(|(_, shown)| *shown).collect();
            plots::quantiles(&file, row, &shown, &series)?;
        }
        Ok(())
    }

    fn scale(&self, text: &mut String) -> Result<(), String> {
        let rows = self.rows(Kind::Scale);
        if rows.is_empty() {
            return Ok(());
        }
        *text += "## Scale\n\nWhat a message costs among more and more live processes, each of which answers: nanoseconds a message, and for noex the resident bytes of each process with the reference to it.\n\n";
        let programs = self.compared();
        let mut head = vec!["processes".to_owned()];
        head.extend(programs.iter().map(|program| (*program).to_owned()));
        head.push("bytes, noex".to_owned());
        let mut series: Vec<_> = programs.iter().map(|p| ((*p).to_owned(), vec![])).collect();
        let mut lines = Vec::new();
        for row in rows {
            let Some(processes) = row.split(':').nth(1).and_then(|n| n.parse::<f64>().ok()) else {
                continue;
            };
            let mut line = vec![human(processes)];
            for (program, points) in &mut series {
                let spread = self.results.spread(row, program, "glibc", nanoseconds);
                line.push(spread.map_or_else(String::new, |s| format!("{:.0}", s.median)));
                points.extend(spread.map(|s| (processes, s.median)));
            }
            let bytes = |l: &crate::programs::Line| l.word("rss_bytes_per_process");
            let bytes = self.results.spread(row, "noex", "glibc", bytes);
            line.push(bytes.map_or_else(String::new, |s| format!("{:.0}", s.median)));
            lines.push(line);
        }
        series.retain(|(_, points)| !points.is_empty());
        *text += &table(&head, &lines);
        text.push('\n');
        let file = self.plot(text, "scale", "nanoseconds a message by live processes");
        plots::scale(&file, &series)
    }

    fn memory(&self, text: &mut String) {
        let memory = self.rows(Kind::Memory);
        let idle = self.rows(Kind::Idle);
        if memory.is_empty() && idle.is_empty() {
            return;
        }
        *text += "## Memory, and nothing to do\n\nResident bytes of a live idle process that has handled a message; and, of a program with 10,000 of them, the CPU time in a second and how often its threads wake up in one.\n\n";
        let programs = self.compared();
        let mut head = vec![String::new()];
        head.extend(programs.iter().map(|program| (*program).to_owned()));
        type Figure = fn(&crate::programs::Line) -> Option<f64>;
        let mut lines = Vec::new();
        let mut line = |name: String, row: &str, figure: Figure, show: fn(f64) -> String| {
            let mut line = vec![name];
            for program in &programs {
                let spread = self.results.spread(row, program, "glibc", figure);
                line.push(spread.map_or_else(String::new, |s| show(s.median)));
            }
            lines.push(line);
        };
        for row in memory {
            let bytes: Figure = |line| line.word("rss_bytes_per_process");
            line(format!("`{row}`, bytes"), row, bytes, |n| format!("{n:.0}"));
        }
        for row in idle {
            let cpu: Figure = |line| Some(line.seconds * 1e9 / (line.n as f64 / 1e3));
            line(format!("`{row}`, CPU time a second"), row, cpu, time);
            let wakeups: Figure = |line| line.word("wakeups_a_second");
            line(format!("`{row}`, wake-ups a second"), row, wakeups, |n| {
                format!("{n:.1}")
            });
        }
        *text += &table(&head, &lines);
        text.push('\n');
    }

    fn allocators(&self, text: &mut String) -> Result<(), String> {
        let others = self.results.allocators();
        let others: Vec<_> = others.into_iter().filter(|a| *a != "glibc").collect();
        let rows = self.rows(Kind::Throughput);
        let programs: Vec<_> = self
            .compared()
            .into_iter()
            .filter(|p| *p != "beam")
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        *text += "## Allocators\n\nThe same under other allocators, preloaded in glibc's place: operations a second, and in brackets over those under glibc's.\n\n";
        for allocator in others {
            let _ = write!(text, "### {allocator}\n\n");
            let mut head = vec!["workload".to_owned()];
            head.extend(programs.iter().map(|program| (*program).to_owned()));
            let mut lines = Vec::new();
            let mut shown = Vec::new();
            for row in &rows {
                let cell = |program: &&str| {
                    let under = self.results.spread(row, program, allocator, rate)?.median;
                    let before = self.results.spread(row, program, "glibc", rate);
                    let ratio = before.map(|before| format!(" ({:.2})", under / before.median));
                    Some(format!("{}{}", human(under), ratio.unwrap_or_default()))
                };
                let cells: Vec<Option<String>> = programs.iter().map(cell).collect();
                if cells.iter().any(Option::is_some) {
                    let cells = cells.into_iter().map(Option::unwrap_or_default);
                    lines.push(std::iter::once(format!("`{row}`")).chain(cells).collect());
                    shown.push(*row);
                }
            }
            *text += &table(&head, &lines);
            text.push('\n');
            if !shown.is_empty() {
                let file = self.plot(text, allocator, "operations a second of each program");
                let series = self.series(&shown, &programs, allocator);
                let title = format!("operations a second, under {allocator}");
                plots::dots(&file, &title, &shown, &series)?;
            }
        }
        Ok(())
    }

    fn bare_parts(&self, text: &mut String) {
        let mut lines = Vec::new();
        for row in &self.results.rows {
            let Some(spread) = self.results.spread(row, "limit", "glibc", rate) else {
                continue;
            };
            let base = row.split(':').next().unwrap_or(row);
            let noex = self.results.spread(base, "noex", "glibc", rate);
            let ratio = noex.map(|noex| format!("{:.2}", noex.median / spread.median));
            let extra = self.results.get(row, "limit", "glibc");
            let extra = extra
                .and_then(|lines| lines.first())
                .map(|l| l.extra.clone());
            lines.push(vec![
                format!("`{row}`"),
                human(spread.median),
                ratio.unwrap_or_default(),
                extra.unwrap_or_default(),
            ]);
        }
        if lines.is_empty() {
            return;
        }
        *text += "## Bare parts\n\nThe same work with no runtime at all: boxed messages in a `VecDeque` on one thread, channels between threads, concurrent maps. No process can crash, be linked or be found there.\n\n";
        let head = ["row", "a second", "noex over it", ""].map(str::to_owned);
        *text += &table(&head, &lines);
        text.push('\n');
    }

    fn all(&self, text: &mut String) {
        *text += "## All figures\n\n<details><summary>each row with its spread</summary>\n\n";
        let head = [
            "row",
            "program",
            "allocator",
            "n",
            "median s",
            "least s",
            "most s",
            "extra",
        ];
        let mut lines = Vec::new();
        for row in &self.results.rows {
            for (key, all) in self.results.all().filter(|(key, _)| key.row == *row) {
                let seconds = |line: &crate::programs::Line| Some(line.seconds);
                let spread = self
                    .results
                    .spread(row, &key.program, &key.allocator, seconds);
                let (Some(spread), Some(line)) = (spread, all.first()) else {
                    continue;
                };
                lines.push(vec![
                    format!("`{row}`"),
                    key.program.clone(),
                    key.allocator.clone(),
                    line.n.to_string(),
                    format!("{:.6}", spread.median),
                    format!("{:.6}", spread.least),
                    format!("{:.6}", spread.most),
                    line.extra.clone(),
                ]);
            }
        }
        *text += &table(&head.map(str::to_owned), &lines);
        *text += "\n</details>\n";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_every_kind_is_written() {
        let text = "\
#\tcpu\ta toy
glibc\tnoex\tpingpong\t100\t0.5\t
glibc\tnoex\tpingpong\t100\t0.25\t
glibc\tbeam\tpingpong\t100\t1.0\t
mimalloc\tnoex\tpingpong\t100\t0.1\t
glibc\tlimit\tpingpong:vecdeque\t100\t0.1\t1 thread
glibc\tnoex\tlatency_call\t3\t1.0\tp50_ns=100 p90_ns=120 p99_ns=200 p999_ns=300 p9999_ns=400 max_ns=9000
glibc\tnoex\tscale:1000\t100\t0.00001\trss_bytes_per_process=200
glibc\tnoex\tscale:10000\t100\t0.00002\trss_bytes_per_process=201
glibc\tnoex\tspawn_keep\t10\t0.1\trss_bytes_per_process=192
glibc\tnoex\tidle\t3000\t0.003\twakeups_a_second=0.0
";
        let results = Results::read(text);
        let out = std::env::temp_dir().join(format!("versus-{}", std::process::id()));
        let file = write(&results, &out).unwrap();
        let report = std::fs::read_to_string(file).unwrap();
        let plots = ["throughput", "latency_call", "scale", "mimalloc"];
        let drawn: Vec<String> = plots
            .iter()
            .filter_map(|plot| {
                std::fs::read_to_string(out.join(format!("benchmarks/{plot}.svg"))).ok()
            })
            .collect();
        std::fs::remove_dir_all(&out).unwrap();
        assert!(report.contains("| cpu | a toy |"), "{report}");
        // 300 a second against 100; single repetitions are paired.
        assert!(
            report.contains("| `pingpong` | 300 | 100 |  | **3.00** [2.00–2.00] beam |"),
            "{report}"
        );
        assert!(report.contains("| noex | 100 ns | 120 ns | 200 ns | 300 ns | 400 ns | 9.0 µs |"));
        assert!(report.contains("| 1.0 k | 100 |"), "{report}");
        assert!(
            report.contains("| `idle`, CPU time a second | 1.0 ms |"),
            "{report}"
        );
        assert!(report.contains("| `pingpong` | 1.0 k (3.33) |"), "{report}");
        assert!(
            report.contains("| `pingpong:vecdeque` | 1.0 k | 0.30 | 1 thread |"),
            "{report}"
        );
        for plot in &plots {
            assert!(
                report.contains(&format!("(benchmarks/{plot}.svg)")),
                "{report}"
            );
        }
        assert_eq!(drawn.len(), plots.len());
        assert!(
            drawn
                .iter()
                .all(|svg| svg.starts_with("<svg") && svg.contains("noex"))
        );
    }
}
