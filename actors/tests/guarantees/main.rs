//! What the runtime promises: one guarantee a file. `docs/runtime.md` numbers them and names these tests.

mod actors_on_one_arbiter_share_it;
mod blocking_work_has_its_lanes;
mod continuations_are_turns;
mod crossings_are_counted;
mod deadlines_do_not_need_the_callee;
mod discard_is_a_request;
mod dispatch_answers;
mod drain_handles_what_was_admitted;
mod kill_abandons_what_waits;
mod lists_need_no_actor;
mod lost_arbiters_are_replaced;
mod mailboxes_are_bounded;
mod names_are_unique_while_held;
mod panics_stay_where_they_are;
mod shutdown_is_ordered;
mod support;
mod the_filter_decides;
mod timers_run_on_the_clock;
mod virtual_time_settles;
mod watchers_learn_why;
