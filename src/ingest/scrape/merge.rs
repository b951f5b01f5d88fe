//! A scraped series meets its target's labels.

use std::borrow::Cow;

use crate::model::Labels;

/// A scraped series with its target's labels. Where both have a label, the scraped one wins if labels are honoured, an
/// empty one by leaving the label out; else it is renamed to `exported_<name>`, as often as it takes to be unique.
pub fn merge(raw: &[(Cow<'_, str>, Cow<'_, str>)], target: &Labels, honor_labels: bool) -> Labels {
    let scraped = |name: &str| raw.iter().any(|(other, _)| other == name);
    let of_target = target.iter().filter(|label| !honor_labels || !scraped(&label.name));
    let mut pairs: Vec<(Cow<'_, str>, &str)> =
        of_target.map(|label| (Cow::Borrowed(label.name.as_str()), label.value.as_str())).collect();
    for (name, value) in raw {
        let mut name = Cow::Borrowed(name.as_ref());
        let clashes = !honor_labels && !target.get(&name).is_empty();
        if clashes && value.is_empty() {
            continue;
        }
        if clashes {
            while !target.get(&name).is_empty() || scraped(&name) || pairs.iter().any(|(other, _)| *other == name) {
                name = Cow::Owned(format!("exported_{name}"));
            }
        }
        pairs.push((name, value));
    }
    Labels::from_pairs(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_clash_are_renamed_or_honoured() {
        let target = Labels::from_pairs([("job", "j"), ("instance", "i")]);
        let merged = |pairs: &[(&'static str, &'static str)], honor| {
            let raw: Vec<_> = pairs.iter().map(|(n, v)| (Cow::Borrowed(*n), Cow::Borrowed(*v))).collect();
            merge(&raw, &target, honor).to_string()
        };
        for (raw, renamed, honoured) in [
            (&[("a", "1")][..], r#"{a="1", instance="i", job="j"}"#, r#"{a="1", instance="i", job="j"}"#),
            (&[("job", "x")], r#"{exported_job="x", instance="i", job="j"}"#, r#"{instance="i", job="x"}"#),
            (&[("job", "")], r#"{instance="i", job="j"}"#, r#"{instance="i"}"#),
            (
                &[("job", "x"), ("exported_job", "y")],
                r#"{exported_exported_job="x", exported_job="y", instance="i", job="j"}"#,
                r#"{exported_job="y", instance="i", job="x"}"#,
            ),
        ] {
            assert_eq!(merged(raw, false), renamed);
            assert_eq!(merged(raw, true), honoured);
        }
    }
}
