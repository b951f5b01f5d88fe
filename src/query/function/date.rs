//! Parts of the date: civil time in UTC, as if every day had 86,400 seconds.

use super::{Body, Call, Function, each_value};
use crate::query::error::QueryError;
use crate::query::evaluate::{Evaluator, Operand, unlabelled};

/// A date and time of day in UTC.
pub(in crate::query) struct Civil {
    year: i64,
    /// 1 to 12
    month: i64,
    /// 1 to 31
    day: i64,
    /// Since the epoch.
    days: i64,
    second_of_day: i64,
}

pub(super) static FUNCTIONS: &[Function] = &[
    Function { name: "day_of_month", body: Body::Date(|date| date.day as f64) },
    Function { name: "day_of_week", body: Body::Date(|date| (date.days + 4).rem_euclid(7) as f64) },
    Function { name: "day_of_year", body: Body::Date(|date| (date.days - days_to(date.year, 1, 1) + 1) as f64) },
    Function { name: "days_in_month", body: Body::Date(days_in_month) },
    Function { name: "hour", body: Body::Date(|date| (date.second_of_day / 3600) as f64) },
    Function { name: "minute", body: Body::Date(|date| (date.second_of_day / 60 % 60) as f64) },
    Function { name: "month", body: Body::Date(|date| date.month as f64) },
    Function { name: "year", body: Body::Date(|date| date.year as f64) },
];

/// Of each value, or of the step's time when there is no argument.
pub(super) fn each(evaluator: &mut Evaluator<'_>, call: &Call<'_>, part: fn(&Civil) -> f64) -> Result<Operand, QueryError> {
    if call.args.is_empty() {
        let values = call.steps.times().map(|t| part(&civil(t.0 / 1000)));
        return Ok(Operand::Vector(unlabelled(values.collect())));
    }
    each_value(evaluator, call, |_, v| Some(part(&civil(whole(v)))))
}

/// A value as whole seconds. What no 64 bits hold, and what is no number, becomes the least, as on the machines that most
/// Prometheus run on.
fn whole(v: f64) -> i64 {
    let holds = v >= i64::MIN as f64 && v < i64::MAX as f64;
    if holds { v as i64 } else { i64::MIN }
}

/// The first second that Go's dates know; those before it come after the last.
const FIRST_SECOND: i64 = -9_223_372_028_715_321_600;

/// Years begin in March, so that the leap day is their last: 400 of them have 146,097 days.
fn civil(seconds: i64) -> Civil {
    let around = if seconds < FIRST_SECOND { 1i128 << 64 } else { 0 };
    let seconds = i128::from(seconds) + around;
    let (days, second_of_day) = (seconds.div_euclid(86_400) as i64, seconds.rem_euclid(86_400) as i64);
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Civil { year, month, day, days, second_of_day }
}

/// Days from the epoch to a date.
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    year.div_euclid(400) * 146_097 + day_of_era - 719_468
}

fn days_in_month(date: &Civil) -> f64 {
    let (year, month) = if date.month == 12 { (date.year + 1, 1) } else { (date.year, date.month + 1) };
    (days_to(year, month, 1) - days_to(date.year, date.month, 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_jiff_over_four_hundred_years() {
        for day in (-80_000..80_000).step_by(13) {
            let seconds = day * 86_400 + 12_345;
            let date = civil(seconds);
            let expected = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
            assert_eq!((date.year, date.month), (i64::from(expected.year()), i64::from(expected.month())), "{day}");
            assert_eq!((date.day, days_in_month(&date) as i8), (i64::from(expected.day()), expected.days_in_month()));
            assert_eq!(date.days - days_to(date.year, 1, 1) + 1, i64::from(expected.day_of_year()));
            assert_eq!((date.days + 4).rem_euclid(7), i64::from(expected.weekday().to_sunday_zero_offset()));
        }
    }

    /// What Debian's Prometheus says on amd64.
    #[test]
    fn any_value_has_a_date() {
        for v in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            let date = civil(whole(v));
            assert_eq!((date.year, date.month, date.day), (292_277_026_596, 12, 4), "{v}");
            assert_eq!((date.days + 4).rem_euclid(7), 0);
            assert_eq!((date.second_of_day / 3600, date.second_of_day / 60 % 60), (15, 30));
        }
        assert_eq!(
            (civil(whole(9e18)).year, civil(whole(-9e18)).year, civil(whole(-0.5)).year),
            (285_198_648_531, -285_198_644_592, 1970)
        );
    }
}
