//! Queries made from the grammar: all of them must read, and read the same again once printed.

use prefold::promql::{Extra, SIGNATURES, ValueType, parse};

use super::random::Random;
use super::round_trip;

/// Of one run; a failure names the text, so that it can be replayed without the others.
const QUERIES: usize = 20_000;

/// Writes queries of the wanted type.
struct Grammar {
    random: Random,
    /// What may still be nested; at 0 only leaves are written.
    fuel: usize,
}

impl Grammar {
    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn pick(&mut self, from: &[&str]) -> String {
        (*self.random.pick(from)).to_owned()
    }

    /// A text now and then, else nothing.
    fn sometimes(&mut self, n: usize, write: fn(&mut Grammar) -> String) -> String {
        if self.one_in(n) { write(self) } else { String::new() }
    }

    fn of_type(&mut self, wanted: ValueType) -> String {
        self.fuel = self.fuel.saturating_sub(1);
        match wanted {
            ValueType::Vector => self.vector(),
            ValueType::Scalar => self.scalar(),
            ValueType::Matrix => self.matrix(),
            ValueType::String => self.pick(&["\"a\\n\\\"\"", "'it\\'s'", "`raw\\`", "\"\"", "'\\xff\\u00e9'", "\"$1\""]),
        }
    }

    fn vector(&mut self) -> String {
        match if self.fuel == 0 { 0 } else { self.random.below(10) } {
            0 => self.selector() + &self.modifiers(),
            // What begins with a parenthesis or a second sign takes in the operators behind it.
            1 => format!("({}{})", self.selector(), self.computed_offset()),
            2 => format!("({})", self.of_type(ValueType::Vector)),
            3 => self.pick(&["-", "+", "- -"]) + &self.of_type(ValueType::Vector),
            4 | 5 => self.call(ValueType::Vector),
            6 => self.aggregation(),
            7 => self.between_vectors(),
            _ => {
                // Comparisons of scalars want `bool`, so that what binds less tightly must not come to stand beside one.
                let (a, b) = (self.of_type(ValueType::Vector), format!("({})", self.of_type(ValueType::Scalar)));
                let op = self.arithmetic_or_comparison();
                if self.one_in(2) { format!("{a} {op} {b}") } else { format!("{b} {op} {a}") }
            }
        }
    }

    fn scalar(&mut self) -> String {
        match if self.fuel == 0 { 0 } else { self.random.below(7) } {
            0 | 1 => self.number(),
            2 => format!("({})", self.of_type(ValueType::Scalar)),
            3 => self.pick(&["-", "+"]) + &self.of_type(ValueType::Scalar),
            4 => self.call(ValueType::Scalar),
            _ => {
                let (a, b) = (self.of_type(ValueType::Scalar), self.of_type(ValueType::Scalar));
                let op = self.pick(&["+", "-", "*", "/", "%", "^", "atan2", "== bool", "< bool", ">= bool"]);
                format!("({a} {op} {b})")
            }
        }
    }

    fn matrix(&mut self) -> String {
        let range = self.duration();
        if self.fuel == 0 || self.one_in(2) {
            let edge = self.sometimes(8, |it| it.pick(&[" anchored", " smoothed"]));
            let shift = if self.one_in(4) { self.computed_offset() } else { self.shift() };
            return format!("{}[{range}]{edge}{shift}", self.selector());
        }
        let inner = match self.random.below(3) {
            0 => self.selector() + &self.modifiers(),
            1 => self.call(ValueType::Vector),
            _ => format!("({})", self.of_type(ValueType::Vector)),
        };
        let step = self.sometimes(2, Grammar::duration);
        format!("{inner}[{range}:{step}]{}", self.shift())
    }

    fn call(&mut self, returns: ValueType) -> String {
        let fitting: Vec<_> = SIGNATURES.iter().filter(|row| row.returns == returns && row.name != "info").collect();
        let row = *self.random.pick(&fitting);
        let extra = match row.extra {
            Extra::None => row.args.len(),
            Extra::UpTo(most) => row.args.len() - 1 + self.random.below(most.min(3) + 1),
            Extra::Any => row.args.len() - 1 + self.random.below(4),
        };
        let args: Vec<String> =
            (0..extra).map(|place| self.of_type(row.arg_type(place).expect("a function without arguments"))).collect();
        format!("{}({})", row.name, args.join(", "))
    }

    fn aggregation(&mut self) -> String {
        let ops = ["sum", "AVG", "min", "group", "stddev", "topk", "quantile", "limitk", "limit_ratio", "count_values"];
        let op = self.pick(&ops);
        let param = match op.as_str() {
            "count_values" => "\"l\", ".to_owned(),
            "topk" | "quantile" | "limitk" | "limit_ratio" => self.of_type(ValueType::Scalar) + ", ",
            _ => String::new(),
        };
        let labels = self.pick(&["", "a", "a, b", "on, by,", "\"utf 8\", z", "sum, start"]);
        let grouping = self.sometimes(2, |it| it.pick(&["by", "without"]));
        let grouping = if grouping.is_empty() { grouping } else { format!("{grouping} ({labels})") };
        let expr = self.of_type(ValueType::Vector);
        match self.one_in(2) {
            true => format!("{op} {grouping} ({param}{expr})"),
            false => format!("{op}({param}{expr}) {grouping}"),
        }
    }

    fn between_vectors(&mut self) -> String {
        let (a, b) = (self.of_type(ValueType::Vector), self.of_type(ValueType::Vector));
        if self.one_in(3) {
            let op = self.pick(&["and", "or", "unless"]);
            let matching = self.sometimes(2, |it| it.pick(&[" on (a)", " ignoring (b, c)"]));
            return format!("{a} {op}{matching} {b}");
        }
        let op = if self.one_in(8) { self.pick(&["</", ">/"]) } else { self.arithmetic_or_comparison() };
        let matching = self.pick(&["", "", " on ()", " ignoring (a)", " on (a, \"b c\")"]);
        let group = if matching.is_empty() {
            String::new()
        } else {
            self.sometimes(2, |it| it.pick(&[" group_left ", " group_left (x)", " group_right (x, y)", " group_right ()"]))
        };
        let fill = self.sometimes(4, |it| {
            it.pick(&[
                " fill (0)",
                " fill_left (-1)",
                " fill_right (NaN) fill_left (5m)",
                " fill_left (1) fill_right (+Inf)",
            ])
        });
        format!("{a} {op}{matching}{group}{fill} {b}")
    }

    fn arithmetic_or_comparison(&mut self) -> String {
        self.pick(&["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", "< bool", ">", "<= bool", ">="])
    }

    fn selector(&mut self) -> String {
        let name =
            self.pick(&["m", "node:cpu", "sum", "bool_metric", "anchored", "offset", "fill", "step", "nan_metric", ""]);
        let matchers = self.pick(&["", "{}", "{a=\"b\"}", "{b!=\"\\\\\", a=~'x|y',}", "{\"utf 8\"!~`.+`}", "{a=\"\"}"]);
        if name.is_empty() {
            let named = self.pick(&["{\"my metric\"}", "{__name__=~\"a.*\"}", "{a!=\"\"}", "{__name__=\"on\", x=\"é\"}"]);
            return named;
        }
        name + &matchers
    }

    /// `offset` and `@`, in any order.
    fn shift(&mut self) -> String {
        let offset = self.sometimes(3, |it| {
            let plain = [" offset 5m", " offset -1h30m", " offset +90", " offset 0.0001", " offset 1.5"];
            let computed = [" offset step()", " offset -range()", " offset -(1m)", " offset max_of(step(), 1)"];
            if it.one_in(3) { it.pick(&computed) } else { it.pick(&plain) }
        });
        let at = self.sometimes(3, |it| it.pick(&[" @ 1", " @ -1.5", " @ start()", " @ end()", " @ 1e9", " @ 0x10"]));
        if self.one_in(2) { offset + &at } else { at + &offset }
    }

    fn computed_offset(&mut self) -> String {
        match self.random.below(2) {
            0 => format!(" offset ({})", self.arithmetic(2)),
            _ => self.pick(&[
                " offset - -1m+step()",
                " offset + -2^2",
                " offset - +(2)*3",
                " offset ++2%5",
                " offset (1)^(2)",
            ]),
        }
    }

    fn modifiers(&mut self) -> String {
        self.shift() + &self.sometimes(10, |it| it.pick(&[" anchored", " smoothed"]))
    }

    fn number(&mut self) -> String {
        self.pick(&["0", "1", ".5", "5.", "1e100", "0x1F", "0755", "Inf", "nan", "1_000", "1h30m", "5e-324", "123456.789"])
    }

    fn duration(&mut self) -> String {
        match self.random.below(4) {
            0 => self.arithmetic(3),
            _ => self.pick(&["5m", "1h30m", "90", "1w", "1ms", "0.0001", "1.5", "13d"]),
        }
    }

    /// Arithmetic on durations, which begins with a number: Prometheus reads no colon before one.
    fn arithmetic(&mut self, depth: usize) -> String {
        let first = self.pick(&["1", "5m", "0.5"]);
        let second = match if depth == 0 { 0 } else { self.random.below(6) } {
            0 => self.pick(&["2", "1h", "step()", "RANGE()"]),
            1 => format!("({})", self.arithmetic(depth - 1)),
            2 => format!("-{}", self.arithmetic(depth - 1)),
            3 => format!("min_of({}, step())", self.arithmetic(depth - 1)),
            4 => format!("max_of(-range(), {})", self.arithmetic(depth - 1)),
            _ => self.arithmetic(depth - 1),
        };
        let op = self.pick(&["+", "-", "*", " / ", "%", "^"]);
        format!("{first}{op}{second}")
    }
}

#[test]
fn generated_queries_read_and_survive_printing() {
    let mut grammar = Grammar { random: Random(0x2545_f491_4f6c_dd1d), fuel: 0 };
    let mut longest = String::new();
    for _ in 0..QUERIES {
        grammar.fuel = 1 + grammar.random.below(12);
        let wanted = *grammar.random.pick(&[ValueType::Vector, ValueType::Vector, ValueType::Scalar, ValueType::Matrix]);
        let text = grammar.of_type(wanted);
        let read = round_trip(&text).unwrap_or_else(|error| panic!("{text}\n{error}"));
        assert_eq!(read.value_type(), wanted, "{text}");
        let again = parse(&read.to_string()).map(|expr| expr.to_string());
        assert_eq!(again, Ok(read.to_string()), "{text}");
        if text.len() > longest.len() {
            longest = text;
        }
    }
    println!("{QUERIES} queries, the longest has {} bytes", longest.len());
    assert!(longest.len() > 300, "the grammar nests too little: {longest}");
}
