//! The status page: what a person wants to know who was woken up at night, in one page without scripts.
//!
//! What needs attention comes first, in words; the tables below are for looking closer. Facts are gathered from the node at
//! one moment and then written, so that writing is a pure function with tests.

mod attention;
mod facts;
mod html;
mod page;

use super::assembly::Node;

/// The page as HTML.
pub fn render(node: &Node) -> String {
    page::write(&facts::gather(node))
}
