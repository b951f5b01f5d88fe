//! Aggregations over the series of a group: what a view stores for each, and which coarser questions that answers.

mod avg;
mod count;
mod group;
mod max;
mod min;
mod sum;

use super::partial::{Partial, PartialKind};
use crate::model::commit::FIELDS_MAX;

/// How an aggregation over many series is answered from a view's stored fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollUp {
    /// `aggregation by (..) (field)`
    Field { aggregation: &'static str, field: u8 },
    /// `sum by (..) (numerator) / sum by (..) (denominator)`
    Ratio { numerator: u8, denominator: u8 },
}

/// What an aggregation makes of native histograms among the values of a group. The stream never meets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistogramsInGroup {
    /// They count like any value.
    Counted,
    /// They are passed over.
    Ignored,
    /// They are aggregated, but not together with floats.
    NotMixed,
}

/// A registry entry.
pub struct Aggregation {
    pub name: &'static str,
    /// One sentence for the docs table.
    pub doc: &'static str,
    /// Part of a view's identity; raised when the meaning of what is stored changes.
    pub version: u8,
    pub partial: &'static PartialKind,
    /// The names of the fields a view stores, in their order; at most [`FIELDS_MAX`].
    pub fields: &'static [&'static str],
    /// The stored fields of a finished partial.
    pub store: fn(&Partial) -> [f64; FIELDS_MAX],
    /// The value of a finished partial.
    pub finish: fn(&Partial) -> f64,
    pub histograms: HistogramsInGroup,
    /// Which aggregations a view of this one answers, and how. Its own name is among them.
    pub answers: &'static [(&'static str, RollUp)],
}

impl Aggregation {
    /// How a view of this aggregation answers another one, if it does.
    pub fn answer(&self, wanted: &str) -> Option<RollUp> {
        self.answers.iter().find(|(name, _)| *name == wanted).map(|(_, roll_up)| *roll_up)
    }

    /// The value of a group from its stored fields.
    pub fn value_of(&self, fields: &[f64; FIELDS_MAX]) -> f64 {
        match self.answer(self.name) {
            Some(RollUp::Ratio { numerator, denominator }) => {
                fields[usize::from(numerator)] / fields[usize::from(denominator)]
            }
            Some(RollUp::Field { field, .. }) => fields[usize::from(field)],
            None => f64::NAN,
        }
    }
}

/// Every aggregation a view can keep.
pub static AGGREGATIONS: &[&Aggregation] = &[&avg::AVG, &count::COUNT, &group::GROUP, &max::MAX, &min::MIN, &sum::SUM];

/// The entry of a name.
pub fn aggregation(name: &str) -> Option<&'static Aggregation> {
    AGGREGATIONS.iter().find(|entry| entry.name == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_named_once_in_lower_case_and_answer_themselves() {
        let mut names: Vec<_> = AGGREGATIONS.iter().map(|entry| entry.name).collect();
        names.dedup();
        assert_eq!(names.len(), AGGREGATIONS.len());
        for entry in AGGREGATIONS {
            assert_eq!(entry.name, entry.name.to_lowercase());
            assert!(entry.answer(entry.name).is_some() && !entry.doc.is_empty(), "{}", entry.name);
            assert!(entry.fields.len() <= FIELDS_MAX, "{}", entry.name);
        }
    }

    /// Every claim of `answers`, tried on values cut into three finer groups.
    #[test]
    fn roll_ups_equal_the_direct_answer() {
        let values = [3.0, -1.0, 4.5, 0.25, 9.0, -2.0, 7.0];
        for entry in AGGREGATIONS {
            for (wanted, roll_up) in entry.answers {
                let direct = finish(aggregation(wanted).unwrap(), &values);
                let stored: Vec<[f64; FIELDS_MAX]> = values.chunks(3).map(|c| (entry.store)(&fold(entry, c))).collect();
                let field = |f: u8| stored.iter().map(|s| s[usize::from(f)]).collect::<Vec<_>>();
                let rolled = match roll_up {
                    RollUp::Field { aggregation: with, field: f } => finish(aggregation(with).unwrap(), &field(*f)),
                    RollUp::Ratio { numerator, denominator } => {
                        field(*numerator).iter().sum::<f64>() / field(*denominator).iter().sum::<f64>()
                    }
                };
                assert!((rolled - direct).abs() < 1e-12, "{} from {}: {rolled} != {direct}", wanted, entry.name);
            }
        }
    }

    fn fold(entry: &Aggregation, values: &[f64]) -> Partial {
        let mut partial = entry.partial.identity;
        values.iter().for_each(|value| (entry.partial.insert)(&mut partial, *value));
        partial
    }

    fn finish(entry: &Aggregation, values: &[f64]) -> f64 {
        (entry.finish)(&fold(entry, values))
    }
}
