//! `agg(f(m[w]))`     ->  a view of `agg(f(m[w]))`
//! `sum(increase(m[w]))`  ->  `sum(view of rate(m[w])) * w`, and back with `/ w`
//!
//! Allowed because the same function gives the same value, and because a constant positive factor may be taken out of a
//! sum, an average, a least and a greatest value; a count does not see it. Not for an aggregation that does neither.

use super::{Draft, Refusal, Wanted};
use crate::function::Aggregation;
use crate::plan::CatalogEntry;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, rewrite: &mut Draft) -> Result<(), Refusal> {
    let (asked, kept) = (wanted.shape, &have.view.shape);
    if asked.function_name() == kept.function_name() {
        return Ok(());
    }
    let scale = asked.function.and_then(|function| function.scaled_from).filter(|(from, _)| *from == kept.function_name());
    match (scale, response(asked.aggregation)) {
        (Some((_, scale)), Response::Scales) => rewrite.scale = Some(scale),
        (Some(_), Response::Stays) => {}
        _ => {
            let (view, wanted) = (ViewName::of(have), asked.function_name().into());
            return Err(Refusal::FunctionDiffers { view, wanted, kept: kept.function_name() });
        }
    }
    Ok(())
}

/// What a positive factor on all values does to an aggregation's.
#[derive(Debug, PartialEq)]
enum Response {
    Scales,
    Stays,
    Other,
}

/// Read off the registry entry itself: two values, and the same doubled. Powers of two make it exact.
fn response(aggregation: &Aggregation) -> Response {
    let of = |values: [f64; 2]| {
        let mut partial = aggregation.partial.identity;
        values.iter().for_each(|value| (aggregation.partial.insert)(&mut partial, *value));
        (aggregation.finish)(&partial)
    };
    let (once, twice) = (of([1.0, 4.0]), of([2.0, 8.0]));
    if twice == once * 2.0 {
        Response::Scales
    } else if twice == once {
        Response::Stays
    } else {
        Response::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::aggregation;

    #[test]
    fn counts_do_not_see_a_factor() {
        for (name, expected) in [
            ("avg", Response::Scales),
            ("count", Response::Stays),
            ("group", Response::Stays),
            ("max", Response::Scales),
            ("min", Response::Scales),
            ("sum", Response::Scales),
        ] {
            assert_eq!(response(aggregation(name).unwrap()), expected, "{name}");
        }
    }
}
