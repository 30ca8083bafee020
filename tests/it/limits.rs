//! Compares docs/limits.md with the code: each number must be the value of the constant that its row names.
//!
//! A row's last cell names constants and a file, as in "`MAX_ID` in [message.rs](../src/mcp/message.rs)". Instead of a
//! constant it may name a field that gets its value in that file, a flag such as `--timeout`, or a configuration key.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Constants called `MAX_…` that limit neither a peer nor a person.
const NO_LIMITS: [(&str, &str); 11] = [
    // Layout.
    ("MAX_INDENT", "src/approval/display.rs"),
    ("MAX_INDENT", "src/engines/inbox/page/call.rs"),
    ("MAX_INDENT", "src/engines/inbox/page/html.rs"),
    ("MAX_MARKS", "src/approval/display.rs"),
    ("MAX_RUN", "src/approval/display.rs"),
    // Recognition of misspelt names.
    ("MAX_EDITS", "src/config/misplaced.rs"),
    // Sizes of pieces of work, and reuse of memory.
    ("MAX_LENT", "src/gate/state.rs"),
    ("MAX_PEEKED_ID", "src/mcp/message.rs"),
    ("MAX_PIECE", "src/http/inbound/answer.rs"),
    ("MAX_SLICES", "src/relay/outbox.rs"),
    ("MAX_STEPS", "src/engines/inbox/store/sqlite/sweeping.rs"),
];

/// The value of a limit. Bytes, characters and all other counts are numbers.
#[derive(Debug, Clone, PartialEq)]
enum Quantity {
    Number(u128),
    Span(Duration),
}

use Quantity::{Number, Span};

/// One row of docs/limits.md.
#[derive(Debug)]
struct Row {
    what: String,
    limits: Vec<Quantity>,
    names: Vec<String>,
    file: String,
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(project().join("docs/limits.md")).unwrap();
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| line.starts_with('|')) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if cells.last() == Some(&"where") || line.starts_with("|---") {
            continue;
        }
        let [what, limit, _beyond, place] = cells[..] else {
            panic!("a row needs four cells: {line}");
        };
        let (names, file) = place.split_once(" in ").expect(line);
        let file = file.split_once("](../").expect(line).1;
        rows.push(Row {
            what: what.to_owned(),
            limits: quantities(limit),
            names: names
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
            file: file.trim_end_matches(')').to_owned(),
        });
    }
    rows
}

/// Reads the numbers of a cell with their units, and skips explanations in parentheses.
fn quantities(cell: &str) -> Vec<Quantity> {
    let mut text = cell.to_owned();
    while let (Some(open), Some(close)) = (text.find('('), text.find(')')) {
        text.replace_range(open..=close, "");
    }
    let words: Vec<&str> = text
        .split([' ', ';', '…'])
        .filter(|word| !word.is_empty())
        .collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let digits = word.trim_end_matches(',').replace(',', "");
        if let Ok(number) = digits.parse::<f64>() {
            let unit = words.get(at + 1).map_or("", |unit| unit.trim_matches(','));
            found.push(with_unit(number, unit));
        }
    }
    found
}

fn with_unit(number: f64, unit: &str) -> Quantity {
    let seconds = match unit {
        "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" => 60.0,
        "h" => 3_600.0,
        "days" => 86_400.0,
        "KiB" => return Number((number * 1024.0) as u128),
        "MiB" => return Number((number * 1024.0 * 1024.0) as u128),
        "GiB" => return Number((number * 1024.0 * 1024.0 * 1024.0) as u128),
        _ => return Number(number as u128),
    };
    Span(Duration::from_secs_f64(number * seconds))
}

/// Evaluates a row's constants, in order.
fn values(row: &Row) -> Vec<Quantity> {
    let source = std::fs::read_to_string(project().join(&row.file)).expect(&row.file);
    let mut values = Vec::new();
    for name in &row.names {
        let found =
            value_of(name, &source).unwrap_or_else(|| panic!("no `{name}` in {}", row.file));
        let in_ms = name.ends_with("_MS") || name.ends_with("Ms") || row.file.ends_with(".js");
        values.extend(found.into_iter().map(|value| (value, in_ms)));
    }
    // A plain number may be a time span in the unit of its name.
    let limits = row.limits.iter().map(Some).chain(std::iter::repeat(None));
    let values = values.into_iter().zip(limits);
    let values = values.map(|((value, in_ms), limit)| match (value, limit) {
        (Number(number), Some(Span(_))) => Span(match in_ms {
            true => Duration::from_millis(number as u64),
            false => Duration::from_secs(number as u64),
        }),
        (value, _) => value,
    });
    values.collect()
}

fn value_of(name: &str, source: &str) -> Option<Vec<Quantity>> {
    if let Some(expression) = constant(name, source) {
        return Some(Expression::new(expression, source).list());
    }
    if let Some(text) = setting(name.trim_start_matches('-'), source) {
        let (number, unit) = text.split_at(text.find(char::is_alphabetic).unwrap_or(text.len()));
        return Some(vec![with_unit(number.parse().unwrap(), unit)]);
    }
    // A field, as in `headers: 100,`.
    let field = format!(" {name}: ");
    let mut given = source.split(&field).skip(1);
    given.find_map(|rest| {
        let expression = rest.split_once(",\n")?.0;
        let is_value = expression.starts_with(|first: char| first.is_ascii_digit())
            || expression.starts_with("Duration::")
            || expression.starts_with("Some(");
        is_value.then(|| Expression::new(expression, source).list())
    })
}

fn constant<'s>(name: &str, source: &'s str) -> Option<&'s str> {
    let begins = [format!("const {name}: "), format!("const {name} = ")];
    let at = begins
        .iter()
        .find_map(|begin| source.find(begin.as_str()))?;
    let (_, value) = source.get(at..)?.split_once(" = ")?;
    Some(value.split_once(";\n")?.0)
}

/// Returns the default of a flag or a key in the table of settings.
fn setting<'s>(name: &str, source: &'s str) -> Option<&'s str> {
    let (_, row) = source.split_once(&format!("\"{name}\""))?;
    let (_, default) = row.split_once(".default(\"")?;
    Some(default.split_once('"')?.0)
}

/// Evaluates the few forms of expression that our constants use.
struct Expression<'s> {
    rest: &'s str,
    source: &'s str,
}

impl<'s> Expression<'s> {
    fn new(text: &'s str, source: &'s str) -> Expression<'s> {
        Expression { rest: text, source }
    }

    /// Reads values with commas or `..=` between them.
    fn list(&mut self) -> Vec<Quantity> {
        let mut values = self.sum();
        while self.takes(",") || self.takes("..=") {
            if !self.is_at_end() {
                values.extend(self.sum());
            }
        }
        values
    }

    fn is_at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty() || self.rest.starts_with([')', ']', '}'])
    }

    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sum(&mut self) -> Vec<Quantity> {
        let mut value = self.product();
        loop {
            value = match () {
                () if self.takes("+") => vec![Number(number(value) + number(self.product()))],
                () if self.takes("<<") => vec![Number(number(value) << number(self.product()))],
                () => return value,
            };
        }
    }

    fn product(&mut self) -> Vec<Quantity> {
        let mut value = self.atom();
        loop {
            value = match () {
                () if self.takes("*") => vec![Number(number(value) * number(self.atom()))],
                () if self.takes("/") => vec![Number(number(value) / number(self.atom()))],
                () => return value,
            };
        }
    }

    fn atom(&mut self) -> Vec<Quantity> {
        self.rest = self.rest.trim_start();
        if self.takes("(") || self.takes("[") {
            let values = self.list();
            assert!(self.takes(")") || self.takes("]"), "{}", self.rest);
            return values;
        }
        let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        // Stops before the dots of a range.
        let end = self
            .rest
            .find(|c| !is_of_word(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            return vec![Number(word.replace('_', "").parse().unwrap())];
        }
        let span: fn(u128) -> Duration = match word {
            "Some" => return self.atom(),
            "Duration::from_secs" => |n| Duration::from_secs(n as u64),
            "Duration::from_millis" => |n| Duration::from_millis(n as u64),
            "Duration::from_micros" => |n| Duration::from_micros(n as u64),
            "Cost" => return self.fields(),
            _ => {
                let expression = constant(word, self.source);
                let expression = expression.unwrap_or_else(|| panic!("what is `{word}`?"));
                return Expression::new(expression, self.source).list();
            }
        };
        vec![Span(span(number(self.atom())))]
    }

    /// Reads the values of a struct's fields.
    fn fields(&mut self) -> Vec<Quantity> {
        assert!(self.takes("{"));
        let mut values = Vec::new();
        while !self.takes("}") {
            let (_, rest) = self.rest.split_once(':').unwrap();
            self.rest = rest;
            values.extend(self.sum());
            self.takes(",");
        }
        values
    }
}

fn number(value: Vec<Quantity>) -> u128 {
    match value[..] {
        [Number(number)] => number,
        _ => panic!("{value:?} is not one number"),
    }
}

#[test]
fn every_limit_is_what_its_constant_says() {
    let rows = rows();
    assert!(rows.len() > 100, "{} rows were read", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let values = values(row);
        if row.limits != values || values.is_empty() {
            wrong.push(format!(
                "{}: {:?} on the page, {values:?} in {}",
                row.what, row.limits, row.file
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/limits.md differs from the code:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_constant_that_names_a_maximum_has_a_row() {
    let rows = rows();
    let has_row = |name: &str, file: &str| {
        NO_LIMITS.contains(&(name, file))
            || rows
                .iter()
                .any(|row| row.file == file && row.names.iter().any(|named| named == name))
    };
    let mut missing = Vec::new();
    for file in sources(&project().join("src")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let file = file.strip_prefix(project()).unwrap().to_str().unwrap();
        for rest in code.split("const MAX_").skip(1) {
            let (name, kind) = rest.split_once(": ").unwrap();
            let name = format!("MAX_{name}");
            // Floating-point constants are about how readers round numbers.
            if !kind.starts_with("f64") && !has_row(&name, file) {
                missing.push(format!("{name} in {file}"));
            }
        }
    }
    assert!(
        missing.is_empty(),
        "not in docs/limits.md:\n{}",
        missing.join("\n")
    );
}

/// Lists the files in a folder and its subfolders, except tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" && name != "conformance" {
            files.extend(sources(&path));
        } else if name.ends_with(".rs") && name != "tests.rs" {
            files.push(path);
        }
    }
    files
}

#[test]
fn limits_are_read_as_they_are_written() {
    let ms = |ms| Span(Duration::from_millis(ms));
    let cases: [(&str, &[Quantity]); 6] = [
        ("1,024 bytes", &[Number(1024)]),
        ("64 KiB (more than a page)", &[Number(65_536)]),
        ("1 s, 5 s, 30 s", &[ms(1_000), ms(5_000), ms(30_000)]),
        ("20 at once, then one every 3 s", &[Number(20), ms(3_000)]),
        (
            "1,024 questions; 64 MiB",
            &[Number(1_024), Number(64 << 20)],
        ),
        ("8 … 4,096 bytes", &[Number(8), Number(4_096)]),
    ];
    for (cell, expected) in cases {
        assert_eq!(quantities(cell), expected, "{cell}");
    }
    let source = "const A: usize = 4 * 1024;\nconst B: u64 = 2 * (A + 1) / 2;\n\
        const C: [Duration; 2] = [\n    Duration::from_secs(60 * 60),\n    Duration::from_millis(5),\n];\n\
        const D: (u32, Duration) = (20, Duration::from_secs(3));\nconst E: R = 8..=4_096;\n\
        const F: u64 = 16 << 20;\n        headers: 100,\n";
    let cases: [(&str, &[Quantity]); 7] = [
        ("A", &[Number(4_096)]),
        ("B", &[Number(4_097)]),
        ("C", &[ms(3_600_000), ms(5)]),
        ("D", &[Number(20), ms(3_000)]),
        ("E", &[Number(8), Number(4_096)]),
        ("F", &[Number(16 << 20)]),
        ("headers", &[Number(100)]),
    ];
    for (name, expected) in cases {
        assert_eq!(value_of(name, source).unwrap(), expected, "{name}");
    }
}
