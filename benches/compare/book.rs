//! What was measured, and what it is held against.

/// What a row should come to.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
    /// It is there for others to be compared with.
    None,
}

struct Row {
    name: String,
    unit: &'static str,
    goal: Goal,
    samples: Vec<f64>,
}

/// All rows, in the order in which they came up.
pub(crate) struct Book {
    rounds: usize,
    rows: Vec<Row>,
}

impl Book {
    pub(crate) fn new(rounds: usize) -> Self {
        Self { rounds, rows: Vec::new() }
    }

    /// Adds a sample to a row.
    pub(crate) fn note(&mut self, name: &str, unit: &'static str, goal: Goal, sample: f64) {
        eprintln!("  {name}: {} {unit}", short(sample));
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row { name: name.to_owned(), unit, goal, samples: vec![sample] }),
        }
    }

    pub(crate) fn print(&self) {
        println!("{}\n", machine());
        println!("| Median of up to {} rounds (lowest – highest) | | Goal | |", self.rounds);
        println!("|---|---|---|---|");
        for row in &self.rows {
            let spread = if row.samples.len() > 1 {
                format!(" ({} – {})", short(row.at(0.0)), short(row.at(1.0)))
            } else {
                String::new()
            };
            println!("| {} | {}{spread} {} | {} | {} |", row.name, short(row.at(0.5)), row.unit, row.goal(), row.met());
        }
    }

    pub(crate) fn json(&self) -> String {
        let rows: Vec<_> = self.rows.iter().map(Row::json).collect();
        let all = serde_json::json!({ "format": 1, "machine": machine(), "rounds": self.rounds, "rows": rows });
        serde_json::to_string_pretty(&all).unwrap()
    }
}

impl Row {
    /// The sample at this part of all, sorted.
    fn at(&self, part: f64) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // of small numbers
        let index = ((sorted.len() - 1) as f64 * part).round() as usize;
        sorted[index]
    }

    fn goal(&self) -> String {
        match self.goal {
            Goal::AtLeast(goal) => format!("≥ {}", short(goal)),
            Goal::AtMost(goal) => format!("≤ {}", short(goal)),
            Goal::None => String::new(),
        }
    }

    fn met(&self) -> &'static str {
        let met = match self.goal {
            Goal::AtLeast(goal) => self.at(0.5) >= goal,
            Goal::AtMost(goal) => self.at(0.5) <= goal,
            Goal::None => return "",
        };
        if met { "met" } else { "**missed**" }
    }

    fn json(&self) -> serde_json::Value {
        let (sense, goal) = match self.goal {
            Goal::AtLeast(goal) => (Some("at least"), Some(goal)),
            Goal::AtMost(goal) => (Some("at most"), Some(goal)),
            Goal::None => (None, None),
        };
        serde_json::json!({
            "name": self.name, "unit": self.unit, "median": self.at(0.5), "samples": self.samples,
            "sense": sense, "goal": goal,
        })
    }
}

/// Three digits that count, or whole numbers with spaces.
fn short(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.3}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// In words: processor, cores, kernel.
fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("\t: unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}
