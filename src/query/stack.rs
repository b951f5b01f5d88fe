//! Room on the stack for whatever the parser reads.
//!
//! Evaluation descends the tree by calls. Most queries are a few levels deep and run where they are; a deep one gets a
//! thread of its own, whose stack is sized by its depth, so that no limit lies between reading a query and evaluating it.

use super::error::QueryError;
use crate::promql::Expr;

/// So many levels fit any thread's stack: a test evaluates them on 2 MiB.
const LEVELS_IN_PLACE: usize = 200;

/// Three times what a level was measured to take.
const STACK_BYTES_PER_LEVEL: usize = 16 << 10;

/// Evaluates an expression where its depth fits.
pub(super) fn with_room_for<T: Send>(
    expr: &Expr,
    evaluate: impl FnOnce(&Expr) -> Result<T, QueryError> + Send,
) -> Result<T, QueryError> {
    let depth = expr.depth();
    if depth <= LEVELS_IN_PLACE {
        return evaluate(expr);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("query".to_owned()).stack_size(depth * STACK_BYTES_PER_LEVEL);
        let running = thread.spawn_scoped(scope, || evaluate(expr));
        let running = running.map_err(|error| QueryError::internal(format!("no thread for a deep query: {error}")))?;
        running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
