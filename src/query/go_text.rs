//! Numbers and labels as Go prints them, because labels and messages made of them are compared with Prometheus'.

use crate::model::Labels;

/// Shortest digits without an exponent, as `count_values` labels a value.
pub(super) fn plain(v: f64) -> String {
    special(v).unwrap_or_else(|| format!("{v}"))
}

/// `%g`: shortest digits, with an exponent below 1e-4 and from 1e6 on, as messages show a value.
pub(super) fn general(v: f64) -> String {
    special(v).unwrap_or_else(|| with_exponent(&format!("{v:e}"), 6))
}

/// `%.2g`: two significant digits.
pub(super) fn two_digits(v: f64) -> String {
    special(v).unwrap_or_else(|| with_exponent(&format!("{v:.1e}"), 2))
}

/// Shortest digits with a fraction or an exponent always shown, as OpenMetrics labels a quantile.
pub(super) fn open_metrics(v: f64) -> String {
    let text = special(v).unwrap_or_else(|| with_exponent(&format!("{v:e}"), 6));
    if text.contains(['.', 'e', 'N', 'I']) { text } else { text + ".0" }
}

fn special(v: f64) -> Option<String> {
    if v.is_nan() {
        return Some("NaN".to_owned());
    }
    v.is_infinite().then(|| if v > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
}

/// Turns `1.5e7` into Go's choice between `15000000` and `1.5e+07`: an exponent below -4 or from `from` on.
fn with_exponent(scientific: &str, from: i32) -> String {
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific.to_owned() };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
    if exponent < -4 || exponent >= from {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{digits}e{exponent}").parse::<f64>().map_or_else(|_| scientific.to_owned(), |v| format!("{v}"))
}

/// All labels in braces, the metric's name among them: `{__name__="up", job="node"}`.
pub(super) fn braces(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|label| format!("{}={:?}", label.name, label.value)).collect();
    format!("{{{}}}", pairs.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_like_go() {
        for (v, expected) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (1e6, "1e+06"),
            (123456.0, "123456"),
            (1.5e7, "1.5e+07"),
            (1e-5, "1e-05"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(general(v), expected);
        }
        for (v, expected) in [(0.123, "0.12"), (100.0, "1e+02"), (5.0, "5"), (99.0, "99"), (1e-12, "1e-12")] {
            assert_eq!(two_digits(v), expected);
        }
        for (v, expected) in
            [(1e21, "1000000000000000000000"), (-0.5, "-0.5"), (f64::NAN, "NaN"), (f64::NEG_INFINITY, "-Inf")]
        {
            assert_eq!(plain(v), expected);
        }
        for (v, expected) in [(1.0, "1.0"), (0.0, "0.0"), (0.99, "0.99"), (f64::INFINITY, "+Inf")] {
            assert_eq!(open_metrics(v), expected);
        }
    }
}
