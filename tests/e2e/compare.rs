//! Comparing two answers point by point.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::oracle::equal;

/// Values by label set and time in ms.
pub type Points = BTreeMap<(String, i64), f64>;

/// The points of a matrix or vector.
pub fn points(data: &Value) -> Points {
    let mut points = Points::new();
    for series in data["result"].as_array().unwrap_or_else(|| panic!("not a result: {data}")) {
        let labels = series["metric"].to_string();
        let values = series["values"].as_array().map_or_else(|| vec![series["value"].clone()], Clone::clone);
        for value in values {
            let t = (value[0].as_f64().unwrap() * 1000.0).round() as i64;
            let v = value[1].as_str().unwrap().parse().unwrap();
            let earlier = points.insert((labels.clone(), t), v);
            assert!(earlier.is_none(), "{labels} has two values at {t}");
        }
    }
    points
}

/// What is demanded of the newest points, whose time may not have come.
#[derive(Clone, Copy, Debug)]
pub struct Edge {
    /// Later points may be missing on our side.
    pub complete_to: i64,
    /// Later points are not compared at all: upstream itself may not have had its samples.
    pub settled_to: i64,
}

impl Edge {
    /// Everything is demanded.
    pub const NONE: Edge = Edge { complete_to: i64::MAX, settled_to: i64::MAX };
}

/// How many points were compared, or the first differences in words.
pub fn compare(ours: &Points, theirs: &Points, edge: Edge) -> Result<usize, String> {
    let mut wrong = Vec::new();
    for ((labels, t), theirs) in theirs.iter().filter(|((_, t), _)| *t <= edge.settled_to) {
        match ours.get(&(labels.clone(), *t)) {
            Some(ours) if equal(*ours, *theirs) => {}
            Some(ours) => wrong.push(format!("{labels} at {t} is {ours}, upstream says {theirs}")),
            None if *t > edge.complete_to => {}
            None => wrong.push(format!("{labels} at {t} is missing, upstream says {theirs}")),
        }
    }
    for ((labels, t), ours) in ours.iter().filter(|((_, t), _)| *t <= edge.settled_to) {
        if !theirs.contains_key(&(labels.clone(), *t)) {
            wrong.push(format!("{labels} at {t} is {ours}, upstream has nothing"));
        }
    }
    match wrong.is_empty() {
        true => Ok(ours.len()),
        false => Err(format!("{} points differ: {}", wrong.len(), wrong[..wrong.len().min(12)].join("; "))),
    }
}

#[test]
fn comparing_finds_what_differs() {
    let set = |pairs: &[(&str, i64, f64)]| -> Points { pairs.iter().map(|(l, t, v)| (((*l).to_owned(), *t), *v)).collect() };
    let theirs = set(&[("a", 1, 1.0), ("a", 2, 2.0)]);
    assert_eq!(compare(&set(&[("a", 1, 1.0 + 1e-12), ("a", 2, 2.0)]), &theirs, Edge::NONE), Ok(2));
    let edge = Edge { complete_to: 1, settled_to: 2 };
    assert_eq!(compare(&set(&[("a", 1, 1.0)]), &theirs, edge), Ok(1));
    for wrong in [set(&[("a", 1, 1.0)]), set(&[("a", 1, 1.1), ("a", 2, 2.0)]), set(&[("b", 1, 1.0)])] {
        assert!(compare(&wrong, &theirs, Edge::NONE).is_err(), "{wrong:?}");
    }
    assert!(compare(&set(&[("a", 1, 1.0), ("a", 2, 2.1)]), &theirs, edge).is_err(), "what is said at the edge is right");
    assert!(compare(&set(&[("a", 1, 1.0), ("b", 1, 2.0)]), &theirs, edge).is_err(), "nothing is made up");
}
