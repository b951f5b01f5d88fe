//! Rewriting, judged by text and by values.
//!
//! `table` says for each query what it becomes or by which name it is refused, and runs every row on data: the query over
//! samples and its rewrite over views must give the same labels and values. It sees wrong conditions and wrong
//! replacements; it cannot see errors of the query engine, which computes both sides and the views' contents. `random`
//! does the same with views and queries nobody thought of.

mod random;
mod table;
mod world;
