//! Walking a tree: every child of every node, aggregation parameters and subqueries included.
//!
//! The walks keep their own stack, so that a tree as deep as the parser allows costs no call stack.

use super::expr::{Expr, ExprKind, VectorSelector};

impl Expr {
    /// All children, in the order of the text.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix { .. } => Vec::new(),
            ExprKind::Subquery { expr, .. } | ExprKind::Negate(expr) | ExprKind::Paren(expr) => vec![expr],
            ExprKind::Call { args, .. } => args.iter().collect(),
            ExprKind::Aggregate(aggregate) => aggregate.param.iter().chain([&aggregate.expr]).collect(),
            ExprKind::Binary(binary) => vec![&binary.lhs, &binary.rhs],
            ExprKind::Modified(modified) => vec![&modified.plain],
        }
    }

    /// All children, in the order of the text, to be changed.
    pub fn children_mut(&mut self) -> Vec<&mut Expr> {
        match &mut self.kind {
            ExprKind::Number(_) | ExprKind::String(_) | ExprKind::Vector(_) | ExprKind::Matrix { .. } => Vec::new(),
            ExprKind::Subquery { expr, .. } | ExprKind::Negate(expr) | ExprKind::Paren(expr) => vec![expr],
            ExprKind::Call { args, .. } => args.iter_mut().collect(),
            ExprKind::Aggregate(aggregate) => aggregate.param.iter_mut().chain([&mut aggregate.expr]).collect(),
            ExprKind::Binary(binary) => vec![&mut binary.lhs, &mut binary.rhs],
            ExprKind::Modified(modified) => vec![&mut modified.plain],
        }
    }

    /// Visits this node, then its children from left to right.
    pub fn visit<'a>(&'a self, visitor: &mut impl FnMut(&'a Expr)) {
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            visitor(expr);
            open.extend(expr.children().into_iter().rev());
        }
    }

    /// The nodes on the longest way down, this one included.
    pub fn depth(&self) -> usize {
        let (mut open, mut deepest) = (vec![(self, 1)], 1);
        while let Some((expr, depth)) = open.pop() {
            deepest = deepest.max(depth);
            open.extend(expr.children().into_iter().map(|child| (child, depth + 1)));
        }
        deepest
    }

    /// Every selector, those of ranges included, in the order of the text.
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut selectors = Vec::new();
        self.visit(&mut |expr| selectors.extend(expr.own_selector()));
        selectors
    }

    /// Whether any selector satisfies a condition.
    pub fn any_selector(&self, mut condition: impl FnMut(&VectorSelector) -> bool) -> bool {
        let mut open = vec![self];
        while let Some(expr) = open.pop() {
            if expr.own_selector().is_some_and(&mut condition) {
                return true;
            }
            open.extend(expr.children());
        }
        false
    }

    /// The selector of this very node.
    fn own_selector(&self) -> Option<&VectorSelector> {
        match &self.kind {
            ExprKind::Vector(selector) | ExprKind::Matrix { selector, .. } => Some(selector),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExprKind, NumberLiteral, parse};

    #[track_caller]
    fn check(text: &str, selectors: &[&str], depth: usize) {
        let expr = parse(text).unwrap();
        let found: Vec<String> = expr.selectors().iter().map(|selector| selector.selector.to_string()).collect();
        assert_eq!((found.as_slice(), expr.depth()), (selectors.map_owned().as_slice(), depth), "{text}");
        for name in selectors {
            assert!(expr.any_selector(|selector| selector.selector.to_string() == *name), "{text}: {name}");
        }
        assert!(!expr.any_selector(|selector| selector.selector.to_string() == "absent"), "{text}");
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    #[test]
    fn every_place_of_a_selector_is_walked() {
        check("1", &[], 1);
        check("a", &["a"], 1);
        check("topk(scalar(k), rate(m[5m]))", &["k", "m"], 3);
        check("max_over_time((a - -b)[1h:5m]) / on (x) c", &["a", "b", "c"], 7);
        check("label_replace(a, 'x', '$1', 'y', '(.*)') or vector(scalar(b))", &["a", "b"], 4);
    }

    #[test]
    fn children_can_be_changed_in_place() {
        let mut expr = parse("quantile(1, a) + sum_over_time(b[1m:]) * -(2)").unwrap();
        fn double(expr: &mut super::Expr) {
            if let ExprKind::Number(NumberLiteral(value)) = &mut expr.kind {
                *value *= 2.0;
            }
            expr.children_mut().into_iter().for_each(double);
        }
        double(&mut expr);
        assert_eq!(expr.to_string(), "quantile(2, a) + sum_over_time(b[1m:]) * -(4)");
    }
}
