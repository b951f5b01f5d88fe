//! The finitely many strings that a regular expression accepts, where it is one of those: what most dashboards send is `a|b|c`.

use std::collections::BTreeSet;

use regex_syntax::hir::{Hir, HirKind};
use smol_str::SmolStr;

/// The most literals a regular expression is unfolded into.
const LITERALS_MAX: usize = 1024;

/// The strings an anchored expression accepts, when it is only literals, alternation, small classes and concatenation.
pub(super) fn literal_set(pattern: &str) -> Option<BTreeSet<SmolStr>> {
    let hir = regex_syntax::ParserBuilder::new().dot_matches_new_line(true).build().parse(pattern).ok()?;
    let strings = literals_of(&hir)?;
    Some(strings.into_iter().map(SmolStr::from).collect())
}

fn literals_of(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Empty => Some(vec![String::new()]),
        HirKind::Literal(literal) => Some(vec![String::from_utf8(literal.0.to_vec()).ok()?]),
        HirKind::Capture(capture) => literals_of(&capture.sub),
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => {
            let count: u64 = class.iter().map(|r| u64::from(r.end()) - u64::from(r.start()) + 1).sum();
            (count <= 64).then(|| class.iter().flat_map(|r| r.start()..=r.end()).map(String::from).collect())
        }
        HirKind::Alternation(arms) => {
            let mut all = Vec::new();
            for arm in arms {
                all.extend(literals_of(arm)?);
                if all.len() > LITERALS_MAX {
                    return None;
                }
            }
            Some(all)
        }
        HirKind::Concat(parts) => {
            let mut all = vec![String::new()];
            for part in parts {
                let tails = literals_of(part)?;
                if all.len() * tails.len() > LITERALS_MAX {
                    return None;
                }
                all = all.iter().flat_map(|head| tails.iter().map(move |tail| format!("{head}{tail}"))).collect();
            }
            Some(all)
        }
        HirKind::Repetition(repetition) if repetition.min == 0 && repetition.max == Some(1) => {
            let mut all = literals_of(&repetition.sub)?;
            all.push(String::new());
            Some(all)
        }
        _ => None,
    }
}
