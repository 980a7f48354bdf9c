//! Line charts as SVG, drawn by hand: no scripts, colours by CSS variables so that they follow the page. Pure.

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 18.0;
/// Room for the names of what is shaded, where no line runs.
const TOP: f64 = 24.0;
const BOTTOM: f64 = 30.0;
/// Colours that the page has; with more lines they begin again.
const COLOURS: usize = 8;

/// From a value to a place, and what is written beside it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    /// Lowest and highest value; above zero where it is logarithmic.
    pub range: (f64, f64),
    /// By powers of ten.
    pub logarithmic: bool,
    /// Where lines and words stand.
    pub ticks: Vec<(f64, String)>,
}

/// One line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// In the legend.
    pub name: String,
    /// The number of its colour; `None` is grey and dashed.
    pub colour: Option<usize>,
    /// Ascending by the first.
    pub points: Vec<(f64, f64)>,
    /// Points to hover over, with what they say.
    pub marks: Vec<(f64, f64, String)>,
}

/// A time that is shaded, such as a fault.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Band {
    /// From and to, on the horizontal axis.
    pub span: (f64, f64),
    /// What it was.
    pub label: String,
}

/// A whole chart.
pub(super) struct Plot {
    /// What screen readers say.
    pub title: String,
    /// Horizontal.
    pub x: Axis,
    /// Vertical.
    pub y: Axis,
    /// Drawn in this order.
    pub lines: Vec<Line>,
    /// Behind the lines.
    pub bands: Vec<Band>,
}

impl Axis {
    /// From zero to about `most`, at even steps.
    pub(super) fn linear(most: f64, word: impl Fn(f64) -> String) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = nice_step(most / 5.0);
        let count = (most / step).ceil().max(1.0);
        let ticks = (0_u32..=20).map(f64::from).take_while(|number| *number <= count);
        let ticks = ticks.map(|number| (number * step, word(number * step))).collect();
        Self { range: (0.0, count * step), logarithmic: false, ticks }
    }

    /// Whole powers of ten, or steps of 1, 2 and 5 where there are few, that hold `least` and `most`.
    pub(super) fn logarithmic(least: f64, most: f64, word: impl Fn(f64) -> String) -> Self {
        let least = if least > 0.0 { least } else { 1.0 };
        let most = most.max(least * 1.01);
        let all: Vec<f64> =
            (-6_i32..=9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power))).collect();
        let low = all.iter().copied().rfind(|value| *value <= least).unwrap_or(least);
        let high = all.iter().copied().find(|value| *value >= most).unwrap_or(most);
        let decades = (high / low).log10();
        let shown = |value: &f64| (low..=high).contains(value) && (decades <= 2.1 || is_power_of_ten(*value));
        let ticks = all.iter().copied().filter(shown).map(|value| (value, word(value))).collect();
        Self { range: (low, high), logarithmic: true, ticks }
    }

    /// 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let place = if self.logarithmic {
            (value.max(low).log10() - low.log10()) / (high.log10() - low.log10())
        } else {
            (value - low) / (high - low)
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

fn is_power_of_ten(value: f64) -> bool {
    let power = value.log10();
    (power - power.round()).abs() < 1e-9
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|step| *step >= least * 0.999).unwrap_or(least)
}

impl Plot {
    /// The chart as an `svg` element.
    pub(super) fn svg(&self) -> String {
        let title = escape(&self.title);
        let rows = self.y.ticks.iter().map(|(value, word)| self.row(*value, word));
        let columns = self.x.ticks.iter().map(|(value, word)| self.column(*value, word));
        let bands = self.bands.iter().map(|band| self.band(band));
        let lines = self.lines.iter().map(|line| self.line(line));
        let marks = self.lines.iter().map(|line| self.marks(line));
        let drawn: String = rows.chain(columns).chain(bands).chain(lines).chain(marks).collect();
        format!(r#"<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">{drawn}</svg>"#)
    }

    fn row(&self, value: f64, word: &str) -> String {
        let (y, end, word) = (self.y_of(value), WIDTH - RIGHT, escape(word));
        let (left, below) = (LEFT - 8.0, y + 4.0);
        format!(
            r#"<path class="grid" d="M{LEFT} {y:.1}H{end}"/><text x="{left:.1}" y="{below:.1}" text-anchor="end">{word}</text>"#
        )
    }

    fn column(&self, value: f64, word: &str) -> String {
        let (x, bottom, word) = (self.x_of(value), HEIGHT - BOTTOM, escape(word));
        let below = bottom + 19.0;
        format!(
            r#"<path class="grid" d="M{x:.1} {TOP}V{bottom}"/><text x="{x:.1}" y="{below:.1}" text-anchor="middle">{word}</text>"#
        )
    }

    fn band(&self, band: &Band) -> String {
        let (from, label) = (self.x_of(band.span.0), escape(&band.label));
        let (width, height, above) = ((self.x_of(band.span.1) - from).max(1.0), HEIGHT - BOTTOM - TOP, TOP - 8.0);
        format!(
            r#"<rect class="band" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"><title>{label}</title></rect><text class="fault" x="{from:.1}" y="{above}">{label}</text>"#
        )
    }

    fn line(&self, line: &Line) -> String {
        let points: Vec<_> =
            line.points.iter().map(|(x, y)| format!("{:.1} {:.1}", self.x_of(*x), self.y_of(*y))).collect();
        let path = if points.is_empty() { String::new() } else { format!("M{}", points.join("L")) };
        let (class, name) = (class(line.colour), escape(&line.name));
        format!(r#"<path class="line {class}" d="{path}"><title>{name}</title></path>"#)
    }

    fn marks(&self, line: &Line) -> String {
        let class = class(line.colour);
        let mark = |(x, y, says): &(f64, f64, String)| {
            let (x, y, says) = (self.x_of(*x), self.y_of(*y), escape(says));
            format!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3.5"><title>{says}</title></circle>"#)
        };
        line.marks.iter().map(mark).collect()
    }

    fn x_of(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)
    }
}

/// The class of a line's colour.
pub(super) fn class(colour: Option<usize>) -> String {
    colour.map_or_else(|| "grey".to_owned(), |colour| format!("c{}", colour % COLOURS))
}

/// Text that may stand in an element or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, word)| word.as_str()).collect()
    }

    #[test]
    fn steps_are_round_and_hold_the_highest_value() {
        let axis = Axis::linear(934.0, |value| format!("{value:.0}"));
        assert_eq!((axis.range, words(&axis)), ((0.0, 1_000.0), vec!["0", "200", "400", "600", "800", "1000"]));
        assert_eq!(Axis::linear(0.0, |value| value.to_string()).range.1, 1.0);
    }

    #[test]
    fn few_decades_have_steps_between_and_many_have_not() {
        assert_eq!(words(&Axis::logarithmic(0.3, 4.0, |value| value.to_string())), ["0.2", "0.5", "1", "2", "5"]);
        let axis = Axis::logarithmic(0.02, 3_000.0, |value| value.to_string());
        assert_eq!(words(&axis), ["0.1", "1", "10", "100", "1000"]);
        assert!((axis.place(10.0) - 0.5).abs() < 0.01 && axis.place(0.0) == 0.0 && axis.place(1e9) == 1.0);
    }

    #[test]
    fn a_chart_has_its_lines_and_harmless_names() {
        let axis = Axis::linear(1.0, |value| value.to_string());
        let points = vec![(0.0, 0.0), (1.0, f64::NAN)];
        let name = "<script>\"&".to_owned();
        let line = Line { name: name.clone(), colour: Some(9), points, marks: vec![(1.0, 1.0, name)] };
        let band = Band { span: (0.2, 0.4), label: "kill".into() };
        let plot = Plot { title: "t".into(), x: axis.clone(), y: axis, lines: vec![line], bands: vec![band] };
        let svg = plot.svg();
        assert!(svg.contains(r#"<path class="line c1" d="M68.0 270.0L942.0 270.0">"#), "{svg}");
        assert!(!svg.contains("<script") && svg.contains("&lt;script&gt;&quot;&amp;") && !svg.contains("NaN"));
    }
}
