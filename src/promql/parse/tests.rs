//! What is read, how it is understood, where errors point, and the bounds.

use super::super::expr::{At, BinaryOp, Expr, ExprKind, NumberLiteral};
use super::{DURATION_OPERATORS_MAX, NESTING_MAX, TEXT_BYTES_MAX, TREE_DEPTH_MAX, parse};
use crate::model::Timestamp;

/// Reads `text`, expects `printed`, and that it reads back as the same tree.
#[track_caller]
fn check(text: &str, printed: &str) {
    let expr = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(expr.to_string(), printed, "{text}");
    assert_eq!(parse(printed).as_ref(), Ok(&expr), "{text}");
}

#[track_caller]
fn check_error(text: &str, error: &str) {
    let got = parse(text).map(|expr| expr.to_string()).unwrap_err();
    assert_eq!(got.to_string(), error, "{text}");
}

/// The tree as nested parentheses, to see what binds to what.
fn shape(expr: &Expr) -> String {
    match &expr.kind {
        ExprKind::Binary(b) => format!("({} {} {})", shape(&b.lhs), b.op.symbol(), shape(&b.rhs)),
        ExprKind::Negate(inner) => format!("(-{})", shape(inner)),
        ExprKind::Paren(inner) => format!("[{}]", shape(inner)),
        _ => expr.to_string(),
    }
}

#[test]
fn operators_bind_as_in_prometheus() {
    for (text, expected) in [
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a == b + c", "(a == (b + c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a + b * c % d atan2 e", "(a + (((b * c) % d) atan2 e))"),
        ("a ^ b ^ c * d", "((a ^ (b ^ c)) * d)"),
        ("-a ^ b", "(-(a ^ b))"),
        ("-1^2", "(-(1 ^ 2))"),
        ("a ^ -b ^ c * d", "((a ^ (-(b ^ c))) * d)"),
        ("-a * b", "((-a) * b)"),
        ("- - a + b", "((-(-a)) + b)"),
        ("2 * -1", "(2 * -1)"),
        ("-(1)", "(-[1])"),
        ("+a ^ b", "(a ^ b)"),
        ("a < bool b AND c OR d", "(((a < b) and c) or d)"),
        ("-x offset 5m", "(-x offset 5m)"),
    ] {
        assert_eq!(shape(&parse(text).unwrap()), expected, "{text}");
    }
}

#[test]
fn everything_stable_is_read() {
    for (text, printed) in [
        ("SUM(rate(x{b!='2',a=\"1\"}[300])) BY (z, a,)", r#"sum by (a, z) (rate(x{a="1",b!="2"}[5m]))"#),
        ("topk without () (1 + 1, x)", "topk without () (1 + 1, x)"),
        ("x[1.5] @ 5.25 offset -1h", "x[1s500ms] @ 5.250 offset -1h"),
        ("x offset +5m @ -0.5", "x @ -0.500 offset 5m"),
        ("avg_over_time(x[5m:] @ end() offset 1d)", "avg_over_time(x[5m:] @ end() offset 1d)"),
        ("x offset 1m [10m:5s] # why", "x offset 1m[10m:5s]"),
        ("5m + 0x1F + 1_000 + .5e1 + 010", "300 + 31 + 1000 + 5 + 8"),
        ("-Inf + +inf - NaN", "-Inf + +Inf - NaN"),
        (r#"{"my.metric", "l.b"=~"v|w"}"#, r#"{"l.b"=~"v|w",__name__="my.metric"}"#),
        ("{__name__='up'}", "up"),
        ("{__name__='bool'} + {__name__='Sum'}", r#"{__name__="bool"} + {__name__="Sum"}"#),
        ("offset + by / start", r#"{__name__="offset"} + {__name__="by"} / {__name__="start"}"#),
        ("x{by='a', or='b', nan='c'}", r#"x{by="a",nan="c",or="b"}"#),
        ("sum by (le, on, 'without', `ü`) (x)", "sum by (le, on, \"without\", \"ü\") (x)"),
        ("a / on (x) group_left (y) b", "a / on (x) group_left (y) b"),
        ("a - ignoring() group_right c", "a - ignoring () group_right () c"),
        (
            "a == bool ignoring (l) fill_left (-1) fill_right (5m) c",
            "a == bool ignoring (l) fill_left (-1) fill_right (300) c",
        ),
        ("a + fill(-inf) c", "a + fill (-Inf) c"),
        ("fill + fill_left", r#"{__name__="fill"} + {__name__="fill_left"}"#),
        ("1 + on() group_left foo", "1 + foo"),
        (r"label_replace(x, 'a', `\d`, 'it\'s', '\u00e9\x41')", r#"label_replace(x, "a", "\\d", "it's", "éA")"#),
        ("info(x, {__name__=~'t.*', y=~'.*'})", r#"info(x, {__name__=~"t.*",y=~".*"})"#),
        ("info(x, {\"target_info\"})", r#"info(x, {__name__="target_info"})"#),
        ("info(x, {})", "info(x, {})"),
        ("start() - step()", "start() - step()"),
        ("limit_ratio(-0.5, x)", "limit_ratio(-0.5, x)"),
        ("count_values('v', x) by (a)", r#"count_values by (a) ("v", x)"#),
        ("1e100", &format!("1{}", "0".repeat(100))),
        ("foo{bar='}'} # }", "foo{bar=\"}\"}"),
    ] {
        check(text, printed);
    }
}

#[test]
fn errors_say_what_and_where() {
    for (text, error) in [
        ("", "1:1: parse error: no expression found in input"),
        ("a +\n  *b", "2:3: parse error: unexpected <op:*>"),
        ("tan(t(ig)", "1:5: parse error: unknown function with name \"t\""),
        ("atan(t(ig", "1:10: parse error: unclosed left parenthesis"),
        ("clamp(a, == b)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("clamp(a, 1", "1:11: parse error: unclosed left parenthesis"),
        ("sum(a b)", "1:7: parse error: unexpected identifier \"b\" in aggregation"),
        ("foo)", "1:5: parse error: unexpected right parenthesis ')'"),
        ("x{a=~'('}", "1:3: parse error: bad regular expression \"(\": unclosed group"),
        (
            "up{job='a' or job='b'}",
            "1:12: parse error: unexpected identifier \"or\" in label matching, expected \",\" or \"}\"",
        ),
        ("a == 1 and (1 == 1)", "1:15: parse error: comparisons between scalars must use BOOL modifier"),
        ("rate(x)", "1:6: parse error: expected type range vector in call to function \"rate\", got instant vector"),
        (
            "+x[5m]",
            concat!(
                "1:1: parse error: unary expression only allowed on expressions of type scalar ",
                "or instant vector, got \"range vector\""
            ),
        ),
        ("a and fill (1) b", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("x{l='\\xff'}", "1:5: parse error: '\\xff' is not valid UTF-8, labels always are"),
        ("sum by (\"\") (x)", "1:9: parse error: invalid label name for grouping: \"\""),
        ("info(x, +{a='b'})", "1:9: parse error: expected label selectors only, got vector selector instead"),
        ("Rate(x[5m])", "1:1: parse error: unknown function with name \"Rate\""),
        ("x[$__rate_interval]", "1:3: parse error: unexpected character in duration expression: '$'"),
        ("{{a='b'}}", "1:2: parse error: unexpected left brace '{'"),
        ("foo @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("a + 1 atan2", "1:12: parse error: unexpected end of input"),
    ] {
        check_error(text, error);
    }
}

#[test]
fn what_is_behind_feature_flags_is_read_too() {
    for (text, printed) in [
        ("rate(x[5m] anchored)", "rate(x[5m] anchored)"),
        ("x smoothed @ 5 offset 1m", "x smoothed @ 5.000 offset 1m"),
        ("x[5m] @ end() smoothed smoothed", "x[5m] smoothed @ end()"),
        ("h </ 5", "h </ 5"),
        ("a + (h >/ on (x) group_left c) < 2", "a + (h >/ on (x) group_left () c) < 2"),
        ("x[5m + 1m]", "x[5m + 1m]"),
        ("x[(5m)]", "x[(5m)]"),
        ("x[1800]", "x[30m]"),
        ("x[60*30]", "x[60 * 30]"),
        ("x[0.0001]", "x[0.0001]"),
        ("x[-(STEP())^+2 % range()/-3]", "x[-(step()) ^ 2 % range() / -3]"),
        ("x offset -(5)", "x offset -(5)"),
        ("x offset - -2 + 3", "x offset --2 + 3"),
        ("x offset + -2 + 3", "x offset +-2 + 3"),
        ("x offset + +2 * 3", "x offset ++2 * 3"),
        ("x offset - +(2) * 3", "x offset -+(2) * 3"),
        ("x offset (2) * 3", "x offset (2) * 3"),
        ("x offset step() * 3", "x offset step() * 3"),
        ("x[1m:step()] offset 5m", "x[1m:step()] offset 5m"),
        ("x offset min_of(5, range())[5m*2:] @ 3", "x offset min_of(5, range())[5m * 2:] @ 3.000"),
        ("(x smoothed)[1h:max_of(step(), 1ms)]", "(x smoothed)[1h:max_of(step(), 1ms)]"),
    ] {
        check(text, printed);
    }
    for text in ["x anchored smoothed", "x[5m + ]", "h </", "x[5m] anchored + rate(x)", "x[5m/0]", "x[1m:] anchored"] {
        assert!(parse(text).is_err(), "{text}");
    }
    let long = format!("x[{}1]", "1+".repeat(DURATION_OPERATORS_MAX as usize));
    assert!(parse(&long).is_ok());
    assert!(parse(&long.replace("1]", "1+1]")).unwrap_err().message.contains("more operators than 500"));
}

#[test]
fn every_node_knows_its_text() {
    let text = "sum(a{b='c'}[5m:1m] offset 1m) by (x) + -  rate(y[1m] @ end()) * (2)";
    let mut found = Vec::new();
    let expr = parse("sum(max_over_time(a{b='c'}[5m:1m] offset 1m)) by (x) + -  rate(y[1m] @ end()) * (2)");
    assert!(parse(text).is_err());
    let text = "sum(max_over_time(a{b='c'}[5m:1m] offset 1m)) by (x) + -  rate(y[1m] @ end()) * (2)";
    expr.unwrap().visit(&mut |e| found.push(&text[e.source.start as usize..e.source.end as usize]));
    assert_eq!(
        found,
        [
            text,
            "sum(max_over_time(a{b='c'}[5m:1m] offset 1m)) by (x)",
            "max_over_time(a{b='c'}[5m:1m] offset 1m)",
            "a{b='c'}[5m:1m] offset 1m",
            "a{b='c'}",
            "-  rate(y[1m] @ end()) * (2)",
            "-  rate(y[1m] @ end())",
            "rate(y[1m] @ end())",
            "y[1m] @ end()",
            "(2)",
            "2",
        ]
    );
}

#[test]
fn printing_adds_the_parentheses_a_tree_needs() {
    fn bare(expr: &mut Expr) {
        while let ExprKind::Paren(inner) = &mut expr.kind {
            *expr = std::mem::replace(inner, Expr::new(ExprKind::Number(NumberLiteral(0.0)), expr.source));
        }
        expr.children_mut().into_iter().for_each(bare);
    }
    for text in [
        "(a + b) * c",
        "a - (b - c)",
        "(a ^ b) ^ c",
        "a ^ (b ^ c)",
        "(-a) ^ b",
        "-(a * b)",
        "-(-(1))",
        "(-1) ^ 2",
        "a ^ (-b) ^ c",
        "a * (-b ^ c) * d",
        "(a + b)[5m:]",
        "(-a)[5m:1m] offset 1m",
        "a or (b or c) unless d",
        "(-a * b) ^ -(c + d)",
        "(a == bool b) == c",
    ] {
        let mut expr = parse(text).unwrap();
        bare(&mut expr);
        let mut again = parse(&expr.to_string()).unwrap_or_else(|error| panic!("{text} as {expr}: {error}"));
        bare(&mut again);
        assert_eq!(again, expr, "{text} as {expr}");
    }
}

#[test]
fn times_and_numbers_survive_printing_at_their_limits() {
    for seconds in [9.007199254740993e12, -9.1e15, 9.19999999e15, 1e15 + 0.5, 0.0005, -0.0015, 4_503_599_627_370.497] {
        let expr = parse(&format!("x @ {seconds:e}")).unwrap();
        assert_eq!(parse(&expr.to_string()), Ok(expr.clone()), "{seconds} {expr}");
    }
    assert!(parse("x @ 1e16").is_err());
    for text in ["-0", "5e-324", "1.7976931348623157e308", "0.1", "x[292y]", "x[106751d23h47m16s854ms]", "x offset -106751d"]
    {
        let expr = parse(text).unwrap();
        assert_eq!(parse(&expr.to_string()), Ok(expr.clone()), "{text} {expr}");
    }
    let ExprKind::Vector(selector) = parse("x @ -1.5").unwrap().kind else { panic!("a selector") };
    assert_eq!(selector.shift.at, Some(At::Time(Timestamp(-1500))));
}

#[test]
fn views_print_readably() {
    let mut expr = parse("sum(up{job='a'} offset 5m)").unwrap();
    let view = crate::model::ViewId(0xdead_beef_0000_0000_0000_0000_0000_0001);
    if let ExprKind::Aggregate(aggregate) = &mut expr.kind
        && let ExprKind::Vector(selector) = &mut aggregate.expr.kind
    {
        selector.origin = super::super::Origin::View { view, field: 0 };
        let kept = selector.selector.matchers().iter().filter(|m| m.name == "job").cloned().collect();
        selector.selector = crate::model::Selector::new(kept);
    }
    assert_eq!(expr.to_string(), r#"sum(view:deadbeef.field0{job="a"} offset 5m)"#);
}

/// The stack of a thread as small as Rust makes them by default.
const STACK_BYTES: usize = 2 << 20;

fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
    thread.join().unwrap();
}

/// Everything that recurses over a tree, done to one.
fn exercise(text: &str) -> usize {
    let expr = parse(text).unwrap_or_else(|error| panic!("{}: {error}", &text[..20]));
    let copy = expr.clone();
    assert_eq!(copy, expr);
    let printed = copy.to_string();
    assert_eq!(parse(&printed).as_ref(), Ok(&expr));
    assert!(!format!("{:?}", expr.value_type()).is_empty());
    drop(copy);
    expr.depth()
}

#[test]
fn the_deepest_trees_fit_on_a_small_stack() {
    on_a_small_stack(|| {
        let chain = |op: &str, terms: usize| vec!["a"; terms].join(op);
        assert_eq!(exercise(&chain("+", 2_000)), 2_000);
        let most = TREE_DEPTH_MAX as usize;
        assert_eq!(exercise(&chain(" or ", most)), most);
        assert_eq!(exercise(&vec!["1"; most].join("-")), most);
        assert_eq!(exercise(&chain("^", NESTING_MAX as usize)), NESTING_MAX as usize);
        assert!(parse(&chain("+", most + 1)).unwrap_err().message.contains("deeper than the limit"));
        let nest = |open: &str, close: &str, levels: usize| format!("{}a{}", open.repeat(levels), close.repeat(levels));
        let levels = NESTING_MAX as usize;
        assert_eq!(exercise(&nest("(", ")", levels)), levels + 1);
        assert_eq!(exercise(&nest("-", "", levels)), levels + 1);
        assert_eq!(exercise(&nest("abs(", ")", levels)), levels + 1);
        assert_eq!(exercise(&nest("sum by (x) (", ")", levels)), levels + 1);
        assert_eq!(exercise(&nest("1+(", ")", levels / 2)), levels + 1);
        // A long chain at the bottom of deep parentheses adds up; its right-hand sides take the last level.
        let levels = levels - 1;
        let mixed = format!("{}{}{}", "(".repeat(levels), chain("+", most - levels), ")".repeat(levels));
        assert_eq!(exercise(&mixed), most);
    });
}

#[test]
fn hostile_nesting_is_an_error() {
    on_a_small_stack(|| {
        for piece in [
            "(",
            "-",
            "+",
            "sum(",
            "abs(",
            "a^",
            "a+(",
            "-(",
            "x[",
            "x[(",
            "x[-",
            "x offset (",
            "x offset -",
            "info(a,",
            "{",
            "x @ -",
        ] {
            for count in [NESTING_MAX as usize + 1, TEXT_BYTES_MAX / piece.len()] {
                let error = parse(&piece.repeat(count)).unwrap_err();
                assert!(!error.message.is_empty(), "{piece}");
            }
        }
        let deep = format!("x[{}5m{}]", "(".repeat(10_000), ")".repeat(10_000));
        assert!(parse(&deep).unwrap_err().message.contains("nested deeper"));
    });
    assert!(parse(&" ".repeat(TEXT_BYTES_MAX + 1)).unwrap_err().message.contains("65537 bytes"));
}

#[test]
fn comparison_of_operators_is_complete() {
    assert!([BinaryOp::Add, BinaryOp::Mul, BinaryOp::Pow].windows(2).all(|pair| pair[0].binding() < pair[1].binding()));
}
