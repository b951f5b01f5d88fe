//! Takes the longest window or lookback, the longest max_delay and the longest step: how much of the log a resume has to read.

use super::OperatorsPlan;

pub(super) fn run(plan: &mut OperatorsPlan) {
    plan.reach_ms_max = plan.live().map(|planned| planned.view().reach_ms()).max().unwrap_or(0);
    plan.max_delay_ms_max = plan.live().map(|planned| planned.view().max_delay_ms).max().unwrap_or(0);
    plan.step_ms_max = plan.live().map(|planned| planned.view().step_ms).max().unwrap_or(0);
}
