//! What goes wrong between senders and Prefold, and in Prefold itself: whatever happens, every step that is answered is what
//! upstream says, and views answer again once the cause is gone.
//!
//! Most of each scenario is waiting, so they all run side by side and a test waits for its own. Where a scenario decides
//! which samples arrive when, its senders are the test's own: they write each sample to upstream at once and to Prefold when
//! the scenario says. In the others a Prometheus scrapes, remote-writes through a relay and is its own upstream.
//!
//! Sees: a step whose value differs from upstream's or is missing, and views that do not come back. Cannot see: which
//! moments a slow machine never meets; the laws try all of them on logs made by hand.

mod begin_and_end;
mod half_a_body;
mod restarts;
mod scraped;
mod sender;
mod side_by_side;
mod silence;
mod world;

use side_by_side::Scenario;

macro_rules! scenarios {
    ($($name:ident: $run:path;)*) => {
        const SCENARIOS: &[Scenario] = &[$(Scenario { name: stringify!($name), run: || side_by_side::block_on($run()) }),*];
        $(
            #[test]
            fn $name() {
                side_by_side::finish(SCENARIOS, stringify!($name));
            }
        )*
    };
}

scenarios! {
    e2e_fault_sender_cut_off: scraped::sender_cut_off;
    e2e_fault_sender_stuck: scraped::sender_stuck;
    e2e_fault_sender_dead: scraped::sender_dead;
    e2e_fault_sender_stuck_for_a_minute: silence::sender_stuck_for_a_minute;
    e2e_fault_sender_killed_for_good: silence::sender_killed_for_good;
    e2e_fault_sender_killed_while_idle: silence::sender_killed_while_idle;
    e2e_fault_two_senders_behind_one_address: silence::two_senders_behind_one_address;
    e2e_fault_quarter_of_the_series_stuck: silence::quarter_of_the_series_stuck;
    e2e_fault_unless_with_a_view_behind: silence::unless_with_a_view_behind;
    e2e_fault_sender_joins_late: begin_and_end::sender_joins_late;
    e2e_fault_series_end_without_a_marker: begin_and_end::series_end_without_a_marker;
    e2e_fault_external_labels: begin_and_end::external_labels;
    e2e_fault_external_labels_of_a_second_sender: begin_and_end::external_labels_of_a_second_sender;
    e2e_fault_body_half_appended_sent_again_at_once: half_a_body::sent_again_at_once;
    e2e_fault_body_half_appended_sent_again_after_max_delay: half_a_body::sent_again_after_max_delay;
    e2e_fault_restart_while_a_sender_is_silent: restarts::while_a_sender_is_silent;
    e2e_fault_killed_between_partitions: restarts::killed_between_partitions;
    e2e_instant_selectors_equal_prometheus: super::results::instant_selectors;
}

/// Whether faults are watched at their full length, past the lookback: five minutes that no Prometheus shortens. What is
/// decided then is decided in every run by a law, `s3_a_sender_cut_off_for_longer_than_the_lookback_comes_back`.
fn is_long() -> bool {
    std::env::var_os("PREFOLD_E2E_LONG").is_some()
}
