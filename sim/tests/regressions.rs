//! Scenarios in which the search found something, as small as it made them; each file begins with its story.

use djembe_sim::scenario::Scenario;
use djembe_sim::search::attempt;

fn assert_good(text: &str) {
    let scenario = Scenario::parse(text, &[]).expect("a scenario");
    assert_eq!(attempt(&scenario).findings, []);
}

#[test]
fn who_reads_again_is_not_declared_gone_by_time_out() {
    assert_good(include_str!("regressions/suspected-while-not-reading.toml"));
}

#[test]
fn who_reads_again_declares_nobody_gone_by_time_out() {
    assert_good(include_str!("regressions/suspects-after-not-reading.toml"));
}

#[test]
fn a_short_burst_does_not_hold_a_stream_for_seconds() {
    assert_good(include_str!("regressions/bursts-that-do-not-end.toml"));
}

#[test]
fn a_liar_that_is_busy_is_not_waited_for() {
    assert_good(include_str!("regressions/a-busy-liar-is-waited-for.toml"));
}

#[test]
fn who_was_suspect_over_a_cut_is_not_gone_after_it() {
    assert_good(include_str!("regressions/suspected-over-a-cut.toml"));
}

#[test]
fn grafts_that_cross_slowly_leave_no_stray_children() {
    assert_good(include_str!("regressions/grafts-that-cross-slowly.toml"));
}

#[test]
fn parents_lead_to_the_root_in_idle_groups() {
    assert_good(include_str!("regressions/parents-lead-round.toml"));
}

#[test]
fn who_loses_its_parent_finds_another_though_all_neighbours_are_below() {
    assert_good(include_str!("regressions/an-orphan-above-its-neighbours.toml"));
}

#[test]
fn an_answer_that_was_missed_is_given_again() {
    assert_good(include_str!("regressions/an-answer-not-heard.toml"));
}

#[test]
fn an_answer_that_nobody_passed_on_is_no_death() {
    assert_good(include_str!("regressions/an-answer-not-passed-on.toml"));
}

#[test]
fn an_answer_comes_wherever_the_votes_came() {
    assert_good(include_str!("regressions/an-answer-along-another-tree.toml"));
}

#[test]
fn who_was_linked_since_is_not_gone_by_older_votes() {
    assert_good(include_str!("regressions/votes-outlast-a-link.toml"));
}

#[test]
fn votes_across_a_cut_are_no_end_long_after_it() {
    assert_good(include_str!("regressions/old-votes-after-a-cut.toml"));
}

#[test]
fn nobody_is_taken_off_lists_before_the_weather_is_known() {
    assert_good(include_str!("regressions/weather-unknown-at-the-start.toml"));
}
