//! `m{MQ}`  ->  a view of `m{MV}`, when MQ implies MV
//!
//! Allowed because every series the query selects is then among the view's. Not when one matcher of the view might refuse
//! a series that the query accepts: `{app=~"A|B"}` is not answered by `{app="A"}`, and what cannot be decided is a no.

use super::{Draft, Refusal, Wanted};
use crate::plan::CatalogEntry;
use crate::rewrite::refusal::ViewName;

pub(super) fn condition(wanted: &Wanted<'_>, have: &CatalogEntry, _: &mut Draft) -> Result<(), Refusal> {
    let asked = &wanted.shape.selector;
    let kept = have.view.shape.selector.matchers();
    match kept.iter().find(|matcher| !matcher.implied_by(asked.on(&matcher.name))) {
        None => Ok(()),
        Some(matcher) => Err(Refusal::MatcherNotImplied { view: ViewName::of(have), matcher: Box::new(matcher.clone()) }),
    }
}
