//! Plans as a picture: boxes in columns, each component right of all that it takes its tuples from, and arrows.
//!
//! Nothing is measured: text is as wide as it has characters, in a font of fixed width.

use std::fmt::Write;

use super::explained::Explained;

const CHARACTER: usize = 7;
const LINE: usize = 16;
const PADDING: usize = 10;
const MARGIN: usize = 20;
/// Between boxes of a column.
const GAP: usize = 30;

const BOLD: &str = " font-weight=\"bold\"";
/// What is said of an arrow is read though another one crosses it.
const HALO: &str = " stroke=\"white\" stroke-width=\"3\" paint-order=\"stroke\"";

/// A component's box.
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

/// The picture, as a document of its own.
pub(super) fn svg(plan: &Explained) -> String {
    let (places, width, mut height) = places(plan);
    if plan.feedbacks().next().is_some() {
        height += GAP;
    }
    let mut svg = String::new();
    let mut line = |l: std::fmt::Arguments<'_>| {
        writeln!(svg, "{l}").expect("writing to a string does not fail");
    };
    line(format_args!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"monospace\" font-size=\"11\">"
    ));
    line(format_args!(
        "<defs><marker id=\"to\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" \
         markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>"
    ));
    line(format_args!("<rect width=\"100%\" height=\"100%\" fill=\"white\"/>"));
    line(format_args!("{}", text(MARGIN, MARGIN + LINE, &plan.title(), BOLD)));
    for (from, to, input) in plan.edges() {
        let (from, to) = (&places[from], &places[to]);
        let (x1, y1) = (from.x + from.width, from.y + from.height / 2);
        let (x2, y2) = (to.x, to.y + to.height / 2);
        let middle = (x1 + x2) / 2;
        let stroke = if input.exchange.encoded { 2 } else { 1 };
        line(format_args!(
            "<path d=\"M{x1} {y1}C{middle} {y1} {middle} {y2} {x2} {y2}\" fill=\"none\" stroke=\"black\" \
             stroke-width=\"{stroke}\" marker-end=\"url(#to)\"/>"
        ));
        let lines = input.lines();
        let wide = lines.iter().map(|l| l.chars().count()).max().unwrap_or_default() * CHARACTER;
        for (row, said) in lines.iter().enumerate() {
            // Above the arrow.
            let y = (y1 + y2) / 2 + (row + 1) * LINE - lines.len() * LINE - 4;
            line(format_args!("{}", text(middle - wide / 2, y, said, HALO)));
        }
    }
    for (from, to) in plan.feedbacks() {
        // Below the boxes, from right to left.
        let (from, to) = (&places[from], &places[to]);
        let (x1, y1) = (from.x + from.width / 2, from.y + from.height);
        let (x2, y2) = (to.x + to.width / 2, to.y + to.height);
        let below = y1.max(y2) + GAP;
        line(format_args!(
            "<path d=\"M{x1} {y1}C{x1} {below} {x2} {below} {x2} {y2}\" fill=\"none\" stroke=\"black\" \
             stroke-dasharray=\"4 3\" marker-end=\"url(#to)\"/>"
        ));
    }
    for (component, place) in plan.components.iter().zip(&places) {
        let Place { x, y, width, height } = place;
        let stroke = if component.state.is_some() { 3 } else { 1 };
        line(format_args!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"4\" fill=\"#f4f4f4\" \
             stroke=\"black\" stroke-width=\"{stroke}\"/>"
        ));
        for (row, said) in component.lines().iter().enumerate() {
            let y = y + PADDING + row * LINE + LINE * 3 / 4;
            line(format_args!("{}", text(x + PADDING, y, said, if row == 0 { BOLD } else { "" })));
        }
    }
    line(format_args!("</svg>"));
    svg
}

fn text(x: usize, y: usize, said: &str, style: &str) -> String {
    // What XML has no letters for.
    let said = said.replace(|c: char| c.is_control(), "\u{fffd}");
    let said = said.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<text x=\"{x}\" y=\"{y}\"{style} xml:space=\"preserve\">{said}</text>")
}

/// Where each component's box is, and how large the picture.
fn places(plan: &Explained) -> (Vec<Place>, usize, usize) {
    let mut columns = vec![0; plan.components.len()];
    // Inputs come from earlier components, so each column is known when it is asked for.
    for (from, to, _) in plan.edges() {
        columns[to] = columns[to].max(columns[from] + 1);
    }
    let widest = |lines: &[String]| {
        lines.iter().map(|line| line.chars().count()).max().unwrap_or_default() * CHARACTER
    };
    let arrows = plan.edges().map(|(_, _, input)| widest(&input.lines())).max();
    let apart = arrows.unwrap_or_default() + 2 * GAP;
    let title = 2 * MARGIN + widest(&[plan.title()]);
    let top = 2 * MARGIN + LINE;
    let mut places: Vec<Place> = Vec::new();
    for component in &plan.components {
        let lines = component.lines();
        let (width, height) = (widest(&lines) + 2 * PADDING, lines.len() * LINE + 2 * PADDING);
        places.push(Place { x: 0, y: top, width, height });
    }
    let (mut x, mut bottom) = (MARGIN, top);
    for column in 0..=columns.iter().copied().max().unwrap_or_default() {
        let (mut y, mut widest) = (top, 0);
        for (place, _) in places.iter_mut().zip(&columns).filter(|(_, of)| **of == column) {
            (place.x, place.y) = (x, y);
            y += place.height + GAP;
            widest = widest.max(place.width);
        }
        bottom = bottom.max(y - GAP);
        x += widest + apart;
    }
    (places, title.max(x - apart + MARGIN), bottom + MARGIN)
}
