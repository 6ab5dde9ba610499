//! The plots, as SVG: one colour for each program in all of them.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::programs::PROGRAMS;
use crate::results::{Spread, human, time};

/// What one program has to show, row by row.
pub struct Series {
    pub name: String,
    pub points: Vec<Option<Spread>>,
}

const FONT: &str = "sans-serif";
const GREY: RGBColor = RGBColor(225, 225, 225);
const TEXT: RGBColor = RGBColor(60, 60, 60);

/// Apart for people who see few colours, too (Okabe and Ito), noex the most visible.
fn colour(name: &str) -> RGBColor {
    const COLOURS: [RGBColor; 9] = [
        RGBColor(213, 94, 0),
        RGBColor(120, 120, 120),
        RGBColor(0, 114, 178),
        RGBColor(86, 180, 233),
        RGBColor(0, 158, 115),
        RGBColor(204, 121, 167),
        RGBColor(230, 159, 0),
        RGBColor(100, 40, 140),
        RGBColor(0, 0, 0),
    ];
    let index = PROGRAMS.iter().position(|program| *program == name);
    COLOURS[index.unwrap_or(COLOURS.len() - 1)]
}

/// The label of a round number: 1 k, not 1.0 k.
fn round(label: String) -> String {
    label.replace(".0 ", " ")
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws on a fresh white area, and writes the file.
fn draw(
    file: &Path,
    size: (u32, u32),
    draw: impl FnOnce(&Area) -> Result<(), Box<dyn std::error::Error>>,
) -> Result<(), String> {
    let area = SVGBackend::new(file, size).into_drawing_area();
    let drawn = (|| {
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
        Ok::<(), Box<dyn std::error::Error>>(())
    })();
    drawn.map_err(|error| format!("{}: {error}", file.display()))
}

/// From the power of ten below the least to the one above the most.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(value), most.max(value))
    });
    if least > most || least <= 0.0 {
        return (0, 1);
    }
    let (from, to) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    (from, to.max(from + 1))
}

/// A line of names in their colours, from `(x, y)` on.
fn legend(area: &Area, names: &[&str], x: i32, y: i32) -> Result<(), Box<dyn std::error::Error>> {
    let mut at = x;
    for name in names {
        area.draw(&Circle::new((at, y + 6), 5, colour(name).filled()))?;
        let style = (FONT, 14).into_font().color(&TEXT);
        area.draw(&Text::new((*name).to_owned(), (at + 9, y), style))?;
        at += 30 + 8 * name.len() as i32;
    }
    Ok(())
}

/// A row for each workload, a dot for each program on a logarithmic scale, with its spread.
pub fn dots(file: &Path, title: &str, rows: &[&str], series: &[Series]) -> Result<(), String> {
    const LEFT: i32 = 170;
    const WIDTH: i32 = 960;
    const TOP: i32 = 70;
    const STEP: i32 = 34;
    let all = series.iter().flat_map(|series| &series.points).flatten();
    let (from, to) = decades(all.flat_map(|spread| [spread.least, spread.most]));
    let height = TOP + STEP * rows.len() as i32 + 40;
    let x = |value: f64| {
        let share = (value.log10() - f64::from(from)) / f64::from(to - from);
        LEFT + (share * f64::from(WIDTH - LEFT - 40)) as i32
    };
    draw(file, (WIDTH as u32, height as u32), |area| {
        let bold = (FONT, 18).into_font().color(&TEXT);
        area.draw(&Text::new(title.to_owned(), (LEFT, 8), bold))?;
        let with_points = series
            .iter()
            .filter(|s| s.points.iter().any(Option::is_some));
        let names: Vec<&str> = with_points.map(|series| series.name.as_str()).collect();
        legend(area, &names, LEFT, 36)?;
        let bottom = TOP + STEP * rows.len() as i32;
        for decade in from..=to {
            let value = 10_f64.powi(decade);
            let line = vec![(x(value), TOP - 6), (x(value), bottom)];
            area.draw(&PathElement::new(line, GREY))?;
            let style = (FONT, 13).into_font().color(&TEXT);
            area.draw(&Text::new(
                round(human(value)),
                (x(value) - 12, bottom + 8),
                style,
            ))?;
        }
        for (i, row) in rows.iter().enumerate() {
            let y = TOP + STEP * i as i32 + STEP / 2;
            let style = (FONT, 14).into_font().color(&TEXT);
            area.draw(&Text::new((*row).to_owned(), (10, y - 7), style))?;
            area.draw(&PathElement::new(vec![(LEFT, y), (WIDTH - 40, y)], GREY))?;
            // noex last, on top of the others.
            for series in series.iter().rev() {
                let Some(spread) = series.points.get(i).copied().flatten() else {
                    continue;
                };
                let colour = colour(&series.name);
                let line = vec![(x(spread.least), y), (x(spread.most), y)];
                area.draw(&PathElement::new(line, colour.stroke_width(2)))?;
                let size = if series.name == "noex" { 7 } else { 5 };
                let place = (x(spread.median), y);
                area.draw(&Circle::new(place, size, colour.filled()))?;
            }
        }
        Ok(())
    })
}

type Lines = [(String, Vec<(f64, f64)>)];

/// A line for each program over labelled places, on a logarithmic scale of nanoseconds.
pub fn quantiles(file: &Path, title: &str, places: &[&str], series: &Lines) -> Result<(), String> {
    lines(
        file,
        title,
        series,
        &|place| (*places.get(place as usize).unwrap_or(&"")).to_owned(),
        (0.0, places.len() as f64 - 1.0),
        false,
    )
}

/// A line for each program over the number of processes.
pub fn scale(file: &Path, series: &Lines) -> Result<(), String> {
    let (from, to) = decades(
        series
            .iter()
            .flat_map(|(_, points)| points)
            .map(|point| point.0),
    );
    let series: Vec<(String, Vec<(f64, f64)>)> = series
        .iter()
        .map(|(name, points)| {
            (
                name.clone(),
                points.iter().map(|(x, y)| (x.log10(), *y)).collect(),
            )
        })
        .collect();
    let title = "time a message, by live processes";
    let label = |decade: f64| round(human(10_f64.powf(decade)));
    lines(
        file,
        title,
        &series,
        &label,
        (f64::from(from), f64::from(to)),
        true,
    )
}

/// Lines over `x` from one whole number to another, each labelled; `y` is nanoseconds, logarithmic. With
/// `fine`, there are lines at 2 and 5, too.
fn lines(
    file: &Path,
    title: &str,
    series: &Lines,
    label: &dyn Fn(f64) -> String,
    range: (f64, f64),
    fine: bool,
) -> Result<(), String> {
    const SIZE: (i32, i32) = (960, 480);
    const LEFT: i32 = 80;
    const TOP: i32 = 70;
    const BOTTOM: i32 = SIZE.1 - 40;
    let (from, to) = decades(
        series
            .iter()
            .flat_map(|(_, points)| points)
            .map(|point| point.1),
    );
    let place = |(x, y): (f64, f64)| {
        let across = (x - range.0) / (range.1 - range.0).max(1.0);
        let up = (y.max(1e-9).log10() - f64::from(from)) / f64::from(to - from);
        (
            LEFT + (across * f64::from(SIZE.0 - LEFT - 60)) as i32,
            BOTTOM - (up * f64::from(BOTTOM - TOP)) as i32,
        )
    };
    draw(file, (SIZE.0 as u32, SIZE.1 as u32), |area| {
        let style = (FONT, 18).into_font().color(&TEXT);
        area.draw(&Text::new(title.to_owned(), (LEFT, 8), style))?;
        let names: Vec<&str> = series.iter().map(|(name, _)| name.as_str()).collect();
        legend(area, &names, LEFT, 36)?;
        let small = || (FONT, 13).into_font().color(&TEXT);
        for decade in from..=to {
            for step in if fine { &[1.0, 2.0, 5.0][..] } else { &[1.0] } {
                let value = step * 10_f64.powi(decade);
                if value > 10_f64.powi(to) {
                    continue;
                }
                let ends = vec![place((range.0, value)), place((range.1, value))];
                let (x, y) = ends[0];
                area.draw(&PathElement::new(ends, GREY))?;
                area.draw(&Text::new(round(time(value)), (x - 58, y - 7), small()))?;
            }
        }
        let mut x = range.0;
        while x <= range.1 {
            let (left, _) = place((x, 1.0));
            area.draw(&PathElement::new(vec![(left, TOP), (left, BOTTOM)], GREY))?;
            area.draw(&Text::new(label(x), (left - 14, BOTTOM + 10), small()))?;
            x += 1.0;
        }
        // noex last, on top of the others.
        for (name, points) in series.iter().rev() {
            let colour = colour(name);
            let width = if name == "noex" { 3 } else { 2 };
            let line: Vec<_> = points.iter().map(|point| place(*point)).collect();
            area.draw(&PathElement::new(line.clone(), colour.stroke_width(width)))?;
            for place in line {
                area.draw(&Circle::new(place, width + 1, colour.filled()))?;
            }
        }
        Ok(())
    })
}
