//! A counter's increase over the window, extrapolated to its borders.

use super::extrapolated::difference;
use super::{HistogramsInWindow, RangeFunction};

pub static INCREASE: RangeFunction = RangeFunction {
    name: "increase",
    doc: "A counter's increase over the window, extrapolated to its borders.",
    version: 1,
    eval: |samples, at| difference(samples, at.window, true),
    parameters: &[],
    histograms: HistogramsInWindow::NotMixed { least: 2 },
    counter: true,
    keeps_metric_name: false,
    scaled_from: Some(("rate", super::Scale::TimesWindow)),
};
