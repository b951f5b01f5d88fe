//! What explain says of a query that is answered in part: to people as text, to scripts as JSON.

use prefold::rewrite::explain;

use super::table::{named, range};
use super::world::{ask, catalog};

#[test]
fn explain_says_it_to_people_and_scripts() {
    let query = "histogram_quantile(0.9, sum by (le) (rate(b_bucket[2m] offset 1m))) > on () sum(g)";
    let catalog = catalog(&named("hist"));
    let (_, outcome) = ask(query, range(600, 900, 60), None, &catalog);
    let explanation = explain(query, &outcome, &catalog);
    let id = explanation.views[0].id.clone();
    let expected = format!(
        "{query}\n\nis answered in part from views (selectors left: 1):\n\n  \
         >\n  ├─ histogram_quantile()\n  │  ├─ 0.9\n  │  └─ sum by (le)\n  \
         │     └─ view {id} (sum; rule hist of job test) offset 1m\n  └─ sum by ()\n     └─ samples g\n\n\
         view {id} every 30s\n  rule hist of job test: sum by (le, a) (rate(b_bucket[2m]))\n\n\
         no-view-for-metric: no rule keeps g\n  in: sum(g)\n  Write a rule for it; `prefold check` says what it would cost.\n"
    );
    assert_eq!(explanation.to_string(), expected);
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["refusals"][0]["slug"], "no-view-for-metric");
    assert_eq!(json["views"][0]["rule"], "hist");
    assert_eq!(json["whole"], false);
}
