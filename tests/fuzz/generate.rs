//! Expressions nobody wrote: valid for the most part, with every function, operator and modifier, at odd places.
//!
//! Also used by the targets of `fuzz/`, whose choices are the fuzzer's bytes.

use prefold::promql::signature::AGGREGATIONS_WITH_PARAM;
use prefold::promql::{Extra, SIGNATURES, Signature, ValueType};

/// Where choices come from: given bytes, then numbers that follow from a seed.
pub struct Choices<'a> {
    bytes: &'a [u8],
    state: u64,
    words: &'a Words,
}

/// What depends on the series that are asked for, and on who is asked.
pub struct Words {
    pub selectors: &'static [&'static str],
    /// The only selectors of rate() and increase(); any range vector where there are none.
    pub counters: &'static [&'static str],
    pub ranges: &'static [&'static str],
    pub steps: &'static [&'static str],
    pub shifts: &'static [&'static str],
    pub numbers: &'static [&'static str],
    pub strings: &'static [&'static str],
    pub labels: &'static [&'static str],
    pub matchings: &'static [&'static str],
    /// What does not occur: functions, aggregations, operators.
    pub absent: &'static [&'static str],
}

/// For the series of `world`, with windows and shifts that nobody would write.
pub const WORLD: Words = Words {
    selectors: &SELECTORS,
    counters: &[],
    ranges: &RANGES,
    steps: &STEPS,
    shifts: &SHIFTS,
    numbers: &NUMBERS,
    strings: &STRINGS,
    labels: &LABELS,
    matchings: &MATCHINGS,
    absent: &[],
};

impl<'a> Choices<'a> {
    pub fn new(bytes: &'a [u8], seed: u64) -> Choices<'a> {
        Choices { bytes, state: seed | 1, words: &WORLD }
    }

    pub fn over(words: &'a Words, seed: u64) -> Choices<'a> {
        Choices { bytes: &[], state: seed | 1, words }
    }

    /// xorshift64*: the same choices on every machine.
    pub fn below(&mut self, bound: usize) -> usize {
        if let Some((byte, rest)) = self.bytes.split_first() {
            self.bytes = rest;
            return usize::from(*byte) % bound.max(1);
        }
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    pub fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }

    /// A word that may occur.
    fn word(&mut self, from: &[&'static str]) -> &'static str {
        let present: Vec<&'static str> = from.iter().copied().filter(|word| !self.words.absent.contains(word)).collect();
        self.pick(&present)
    }
}

const SELECTORS: [&str; 16] = [
    "m",
    "m{a=\"1\"}",
    "m{a!=\"1\",b=~\"x.*\"}",
    "n",
    "n{b=\"\"}",
    "h_bucket",
    "{__name__=~\"m|n\"}",
    "{__name__=~\"m|n|h_bucket\",a=\"1\"}",
    "nothing",
    "odd",
    "odd{a=\"nan\"}",
    "{\"m\",a!~\"2\"}",
    "c_total",
    "mix",
    "native",
    "{__name__=~\"mix|native|n\"}",
];

const RANGES: [&str; 9] = ["1m", "90s", "5m", "1ms", "7m30s", "1h", "29m59s", "1w", "200y"];
const STEPS: [&str; 6] = ["", "1m", "30s", "7s", "1h", "100y"];

const SHIFTS: [&str; 16] = [
    "",
    "",
    "",
    "",
    "",
    "",
    " offset 1m",
    " offset -1m",
    " offset 200y",
    " offset -200y",
    " @ 300",
    " @ -1.5",
    " @ 9e15",
    " @ start()",
    " @ end() offset 30s",
    " @ 1e3",
];

const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "2",
    "0.5",
    "-1",
    "1e3",
    "1e308",
    "5e-324",
    "NaN",
    "Inf",
    "-Inf",
    "0x1F",
    "1_000",
    "9223372036854775808",
    "-9223372036854775809",
    "0.9999999999999999",
    "300",
    "-0",
    "1e-300",
    "5m",
];

const STRINGS: [&str; 10] = ["a", "b", "__name__", "le", "", "$1", "(.*)", "x.*", "é", "%"];

const LABELS: [&str; 8] = ["a", "b", "le", "__name__", "c", "\"é\"", "a, b", ""];

const BINARY: [&str; 17] =
    ["+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<", ">= bool", "<= bool", "== bool", "and", "or", "unless"];

const MATCHINGS: [&str; 13] = [
    "",
    "",
    "",
    "on (a)",
    "on ()",
    "ignoring (b)",
    "ignoring (a, b, le)",
    "on (a) group_left ()",
    "on (a) group_left (b)",
    "ignoring (b, le) group_right ()",
    "on (a, b) group_right (c)",
    "on (a) fill (0)",
    "fill_left (NaN) fill_right (1)",
];

const AGGREGATIONS: [&str; 8] = ["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"];

/// The text of an instant vector or scalar, nested up to a depth.
pub fn expression(choices: &mut Choices<'_>, depth: usize) -> String {
    match choices.below(8) {
        0 => typed(choices, ValueType::Scalar, depth),
        _ => typed(choices, ValueType::Vector, depth),
    }
}

fn typed(choices: &mut Choices<'_>, of: ValueType, depth: usize) -> String {
    // One argument in fifty is of another type than it should be.
    let of = match choices.below(50) {
        0 => [ValueType::Scalar, ValueType::Vector, ValueType::Matrix, ValueType::String][choices.below(4)],
        _ => of,
    };
    match of {
        ValueType::String => format!("{:?}", choices.pick(choices.words.strings)),
        ValueType::Scalar => scalar(choices, depth),
        ValueType::Matrix => matrix(choices, depth),
        ValueType::Vector => vector(choices, depth),
    }
}

fn scalar(choices: &mut Choices<'_>, depth: usize) -> String {
    match choices.below(if depth == 0 { 3 } else { 7 }) {
        0..=2 => choices.pick(choices.words.numbers).to_owned(),
        3 => call(choices, ValueType::Scalar, depth),
        4 => format!("-{}", typed(choices, ValueType::Scalar, depth - 1)),
        5 => format!("({})", typed(choices, ValueType::Scalar, depth - 1)),
        _ => {
            let operator = choices.word(&BINARY[..14]);
            let (left, right) = (typed(choices, ValueType::Scalar, depth - 1), typed(choices, ValueType::Scalar, depth - 1));
            format!("{left} {operator} {right}")
        }
    }
}

fn matrix(choices: &mut Choices<'_>, depth: usize) -> String {
    let (range, shift) = (choices.pick(choices.words.ranges), choices.pick(choices.words.shifts));
    if depth == 0 || choices.below(3) > 0 {
        return format!("{}[{range}]{shift}", choices.pick(choices.words.selectors));
    }
    let (inner, step) = (typed(choices, ValueType::Vector, depth - 1), choices.pick(choices.words.steps));
    format!("({inner})[{range}:{step}]{shift}")
}

fn vector(choices: &mut Choices<'_>, depth: usize) -> String {
    if depth == 0 {
        return format!("{}{}", choices.pick(choices.words.selectors), choices.pick(choices.words.shifts));
    }
    match choices.below(12) {
        0 => format!("{}{}", choices.pick(choices.words.selectors), choices.pick(choices.words.shifts)),
        1..=4 => call(choices, ValueType::Vector, depth),
        5..=7 => aggregation(choices, depth),
        8 => format!("-{}", typed(choices, ValueType::Vector, depth - 1)),
        9 => format!("({})", typed(choices, ValueType::Vector, depth - 1)),
        10 => {
            let (left, right) = (typed(choices, ValueType::Vector, depth - 1), scalar(choices, depth - 1));
            format!("({left}) {} ({right})", choices.word(&BINARY[..14]))
        }
        _ => {
            let (left, right) = (typed(choices, ValueType::Vector, depth - 1), typed(choices, ValueType::Vector, depth - 1));
            format!("({left}) {} {} ({right})", choices.word(&BINARY), choices.pick(choices.words.matchings))
        }
    }
}

fn aggregation(choices: &mut Choices<'_>, depth: usize) -> String {
    let with_param = choices.below(3) == 0;
    let op = choices.word(if with_param { &AGGREGATIONS_WITH_PARAM } else { &AGGREGATIONS });
    let param = match (with_param, op) {
        (true, "count_values") => format!("{:?}, ", choices.pick(choices.words.strings)),
        (true, _) => format!("{}, ", scalar(choices, depth - 1)),
        (false, _) => String::new(),
    };
    let grouping = match choices.below(3) {
        0 => String::new(),
        1 => format!("by ({})", choices.pick(choices.words.labels)),
        _ => format!("without ({})", choices.pick(choices.words.labels)),
    };
    format!("{op} {grouping} ({param}{})", typed(choices, ValueType::Vector, depth - 1))
}

fn call(choices: &mut Choices<'_>, returns: ValueType, depth: usize) -> String {
    let fits = |signature: &&Signature| signature.returns == returns && !choices.words.absent.contains(&signature.name);
    let fitting: Vec<&Signature> = SIGNATURES.iter().filter(fits).collect();
    let signature = choices.pick(&fitting);
    if ["rate", "increase"].contains(&signature.name) && !choices.words.counters.is_empty() {
        let (counter, range) = (choices.pick(choices.words.counters), choices.pick(choices.words.ranges));
        return format!("{}({counter}[{range}]{})", signature.name, choices.pick(choices.words.shifts));
    }
    let least = signature.args.len() - usize::from(signature.extra != Extra::None && !signature.args.is_empty());
    let count = match signature.extra {
        Extra::None => least,
        Extra::UpTo(_) | Extra::Any => least + choices.below(3),
    };
    let args: Vec<String> =
        (0..count).map(|place| typed(choices, signature.arg_type(place).unwrap_or(ValueType::Scalar), depth - 1)).collect();
    format!("{}({})", signature.name, args.join(", "))
}
