// The promises that the model checks, by name. `simulate --coverage` prints how often each was.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace tusk::simulation {

// X(name, the promise)
#define TUSK_RULES(X)                                                                              \
  X(work_conserving, "no task waits beside a free slot of a worker that may run it")               \
  X(slots, "a worker never has more runs than slots")                                              \
  X(serves, "a worker gets only what it announced and the config lets it run")                     \
  X(round_robin, "a task goes to the free worker whose last dispatch is oldest")                   \
  X(least_connections, "a task goes to the worker with the most free slots")                       \
  X(order, "tasks of a type leave in the order of their acceptance, a requeued one first")         \
  X(no_starving, "of two types that wait for the same worker the older task goes first")           \
  X(priority, "of the tasks that a free worker could run the one of the highest priority is next") \
  X(ageing, "of ageing_share dispatches that pass over an aged task the last one does not")        \
  X(groups, "the groups of a type take turns")                                                     \
  X(order_key, "tasks of one order key run one at a time, in order")                               \
  X(rate, "the runs of a type or a limit key are no more, and no faster, than they may")           \
  X(dispatch, "what a worker is given is the task as it was submitted")                            \
  X(one_answer, "every request has exactly one answer, and it is the right one")                   \
  X(ending, "a task ends once, and as its worker or a rule says")                                  \
  X(repeated, "an ending that is told again is the same")                                          \
  X(accepted_first, "accepted comes before the result")                                            \
  X(joins, "the same id again joins the task that is there")                                       \
  X(conflict, "an id of another type or body is id_conflict")                                      \
  X(remembered, "an acknowledged ending is already_ended while it is remembered")                  \
  X(unknown_outcome, "a resent id that may have been let go is never run silently")                \
  X(one_run, "one id never runs on two connected workers")                                         \
  X(attempts, "attempt counts the runs")                                                           \
  X(retry, "a failed run is tried again while attempts are left, after its back-off")              \
  X(suspects_first, "a suspect goes before other tasks, at once")                                  \
  X(one_suspect, "a worker holds at most one suspect")                                             \
  X(dead, "a task that used up its crashes is dead")                                               \
  X(unknown_handle, "a result of a run that is not the worker's changes nothing")                  \
  X(handles, "a handle names one run within a session")                                            \
  X(claims, "a claim is adopted or dropped rightly")                                               \
  X(held, "after a restart a resent task waits for its worker's claim")                            \
  X(delay, "a task that is delayed runs when it is due, and not before")                           \
  X(deadline, "a task ends when its deadline passes, at the latest a grace later")                 \
  X(run_timeout, "a run that takes too long is told to stop, and the task waits until it has")     \
  X(heartbeat, "a run that gives no sign of life is told to stop")                                 \
  X(time_left, "a run is told the time that it has")                                               \
  X(history, "an ending tells the runs that failed before it")                                     \
  X(defer, "a run that is put off runs again at its time, and nothing is charged")                 \
  X(pause, "no task of a paused type starts, and all may when the pause is over")                  \
  X(control, "an operator gets an answer")                                                         \
  X(cancel_told, "the cancel of a running task is told to its worker, once")                       \
  X(cancel_grace, "a cancelled task ends when its grace is over, at the latest")                   \
  X(cancel_answer, "a cancel is answered with the task's state")                                   \
  X(timeout, "a caller's wait ends on time")                                                       \
  X(unserved, "a task that nobody may run is refused or given back, with unserved")                \
  X(limit, "a limit is named where it is reached, and not before")                                 \
  X(refused_record, "a record that is refused is answered, and the rest of its packet counts")     \
  X(malformed, "a packet that does not decode is refused whole, with its number")                  \
  X(seq, "the broker's packets count up, none is skipped")                                         \
  X(ack, "the broker acknowledges just what arrived")                                              \
  X(ack_in_time, "an acknowledgement comes within 50 ms or 64 packets")                            \
  X(resent, "what was not acknowledged is sent again, unchanged, in order")                        \
  X(gap, "a packet that skips a number is refused with gap")                                       \
  X(stale_session, "a packet without a session, or of another, changes nothing")                   \
  X(bounded_errors, "rubbish is answered at a bounded rate")                                       \
  X(welcome, "a welcome says what hello asked and the config has")                                 \
  X(hello_refused, "a hello that cannot be is refused with its reason")                            \
  X(packet_limits, "a packet of the broker keeps the limits of its session")                       \
  X(well_formed, "what the broker sends decodes")                                                  \
  X(nothing_else, "the broker says nothing that it does not owe")                                  \
  X(events, "a subscriber gets each event in order, with its number")                              \
  X(slow, "who does not keep up is told what it missed, or that it ends; no more is sent to it")   \
  X(topic_rate, "a topic takes no more events than its rate allows")                               \
  X(events_edge, "each event leaves by the XPUB edge")                                             \
  X(items_out, "what leaves the last stage leaves by the PUSH edge, once")                         \
  X(push_accepted, "a push is accepted as soon as there is room, in order")                        \
  X(room, "a stage holds no more than its capacity")                                               \
  X(reload, "a reload that would lose something is refused and changes nothing")                   \
  X(watch, "processes are watched while their session lives")                                      \
  X(query, "a query is answered")                                                                  \
  X(shutdown, "a broker that leaves says so and gives back what does not run")                     \
  X(time, "the broker wakes only for something, and does not stop the clock")                      \
  X(liveness, "after the faults every request has its answer and every task ends")                 \
  X(at_rest, "when everybody has left, nothing is held")

enum class Rule : uint8_t {
#define TUSK_RULE_ENUM(name, what) name,
  TUSK_RULES(TUSK_RULE_ENUM)
#undef TUSK_RULE_ENUM
      kCount
};
inline constexpr size_t kRules = static_cast<size_t>(Rule::kCount);
using Coverage = std::array<uint64_t, kRules>;

std::string_view rule_name(Rule rule);
std::string_view rule_text(Rule rule);

// Thrown when a promise is broken.
struct Broken {
  Rule rule;
  std::string what;  // one sentence: which task, session, packets
};

}  // namespace tusk::simulation
