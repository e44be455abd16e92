// What a client and its calls may be told.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tusk/task_id.h"
#include "tusk/value.h"

namespace tusk {

// Wait without end, as a timeout.
inline constexpr std::chrono::milliseconds kForever = std::chrono::milliseconds::max();

struct ClientOptions {
  std::string url = {};   // default: TUSK_URL, else tcp://127.0.0.1:7420
  std::string name = {};  // for people; default cpp-<pid>
  // How long a caller waits who does not say. Default: what the broker says, 5 s before it did.
  std::optional<std::chrono::milliseconds> timeout = {};
  // How long close() waits for what was not delivered yet.
  std::chrono::milliseconds close_timeout = std::chrono::seconds(5);
};

// Which of the tasks that wait is next: the highest, from -100 to 100.
class Priority {
 public:
  template <std::integral T>
  Priority(T value)  // what is out of range stays so, and is an error at the call
      : value_(std::cmp_greater(value, 1000) ? 1000
               : std::cmp_less(value, -1000) ? -1000
                                             : static_cast<int>(value)) {}
  // "low" (-10), "normal" (0, which is that of a task without one), "high" (10), "critical" (20).
  // Throws Invalid.
  Priority(const char* name) : Priority(std::string_view(name)) {}
  Priority(const std::string& name) : Priority(std::string_view(name)) {}
  explicit Priority(std::string_view name);

  int value() const { return value_; }

 private:
  int value_;
};

// How long a task waits before the run that follows failure n: first * factor^(n - 1), at most
// `most`, times a random number between 1 - jitter and 1 + jitter.
struct Backoff {
  std::chrono::milliseconds first{0}, most{0};  // to 100 years
  double factor = 2;                            // 1 to 100
  double jitter = 0.25;                         // 0 to 1
};

// What a submit does whose unique key another task of its type has. While that runs, "replace" and
// "debounce" leave a follow-up as "follow_up" does; a key has one, and a further submit joins or
// replaces that.
class UniquePolicy {
 public:
  enum Kind : int {
    kJoin,      // gets the other task's ending
    kRefuse,    // is Duplicate
    kReplace,   // gives the other task, if it waits, its own body and terms, and gets its ending
    kDebounce,  // the same, and the delay begins anew
    kFollowUp,  // joins a task that waits; if it runs, runs behind it
  };
  UniquePolicy(Kind kind) : kind_(kind) {}
  // "join", "refuse", "replace", "debounce", "follow_up". Throws Invalid.
  UniquePolicy(const char* name) : UniquePolicy(std::string_view(name)) {}
  UniquePolicy(const std::string& name) : UniquePolicy(std::string_view(name)) {}
  explicit UniquePolicy(std::string_view name);

  Kind kind() const { return kind_; }

 private:
  Kind kind_ = kJoin;
};

class Progress;
struct LogLine;
using OnProgress = std::function<void(const Progress&)>;
using OnLog = std::function<void(const LogLine&)>;

struct CallOptions {
  std::optional<std::chrono::milliseconds> timeout = {};  // kForever: no end
  std::optional<TaskId> id = {};                          // default: a new UUIDv7
  bool resent = false;       // this id may have been sent before, by another process
  bool rerun_ok = false;     // a second run does no harm: never UnknownOutcome
  std::string trace = {};    // W3C traceparent
  std::string baggage = {};  // W3C baggage

  // What a task may ask for; call, submit and post. Times count from the call, and are at most 100
  // years. What is out of its range is Invalid, before anything is sent.
  // What is given counts in place of what the config says of the type, 0 too.
  std::optional<Priority> priority = {};                // .priority = "high", or a number
  std::optional<std::chrono::milliseconds> delay = {};  // before it may run
  // The same for a point in time; one that is past is a delay of 0. The clock is read once, at the
  // call.
  std::optional<std::chrono::system_clock::time_point> not_before = {};
  // How long it may take in all; then it is TaskExpired, for whoever waits.
  std::optional<std::chrono::milliseconds> deadline = {};
  // How long one run may take, from 1 ms. Then it is told to stop, and has failed with RunTimeout.
  std::optional<std::chrono::milliseconds> run_timeout = {};
  // Within how long, from 1 ms, a run gives a sign of life (Context::heartbeat). Else it is told to
  // stop, and has failed with HeartbeatTimeout.
  std::optional<std::chrono::milliseconds> heartbeat_timeout = {};
  std::optional<int> attempts = {};           // runs that may fail, 1 to 1,000; then TaskDead
  std::optional<Backoff> backoff = {};        // between runs that fail
  std::vector<std::string> no_retry_on = {};  // at most 32 types of errors that no other run cures
  // A key, 1 to 255 bytes of UTF-8: of the tasks of this type with it only one lives, from its
  // acceptance to its end. A submit that finds it taken by another task does what its policy says,
  // by default "join": then it has no task of its own, nobody knows its id, and Task::joined_id()
  // says whose ending it got.
  std::optional<std::string> unique = {};
  std::optional<UniquePolicy> unique_policy = {};            // .unique_policy = "refuse"
  std::optional<std::chrono::milliseconds> unique_for = {};  // how long the key is taken after it
  // How long its ending is kept after it for whoever asks by the id (await_task), within the
  // broker's memory for such endings. Else: until its submitter has it.
  std::optional<std::chrono::milliseconds> retention = {};
  // Tasks of one type with the same key, 1 to 255 bytes of UTF-8, run one at a time, in the order
  // of their acceptance: the next begins when the one before it has ended, through its retries.
  std::optional<std::string> order_key = {};
  // Tasks of one type with the same key, as long, share its key limits; see the broker's config.
  std::optional<std::string> limit_key = {};
  // Groups (tenants, say) of one type and priority take turns. As long as a key.
  std::optional<std::string> group = {};
  // Units that each run takes from the rates of its type and limit key, 0 to 10^9; 1 if not given.
  // The run may know better: see Context::set_cost.
  std::optional<std::int64_t> cost = {};
  // For people and for Client::tasks, and its handler sees them: at most 16, names and texts of 1
  // to 255 bytes of UTF-8. .labels = {{"customer", "acme"}}
  std::map<std::string, std::string> labels = {};
  // What a worker must have (see WorkerOptions::labels), each a map of at most 16 names to texts of
  // 1 to 255 bytes or whole numbers: this text, or at least this amount (0 to 10^9), whether it is
  // in use or not. What is given takes the place of what the type's config says, also where it is
  // empty. If no worker that serves the type could ever fit, the task is Unserved. ("requires" is a
  // word of the language.)  .requires_ = tusk::map("region", "eu", "memory_gb", 16)
  std::optional<Map> requires_ = {};
  std::optional<Map> prefers = {};   // of the free workers, one that fits is taken before others
  std::optional<Map> consumes = {};  // amounts, 1 to 10^9, that the run holds until it has ended
  // Tasks of one type with the same key, 1 to 255 bytes of UTF-8, go to one worker for as long as
  // it lives and serves the type, even while others are free.
  std::optional<std::string> sticky_key = {};
  // Of Client::stream alone: how many chunks may be on their way to a program that does not take
  // them, 1 to 1,024; 16 if not given.
  std::optional<std::size_t> window = {};
  // What its runs say of their progress, and what they log; not with post. On the client's thread,
  // in the order in which the run spoke, before its result: they must not wait. What is said while
  // the connection is gone is missed. An exception of theirs is told on stderr.
  OnProgress on_progress = {};
  OnLog on_log = {};
};

// What a call has that asks for nothing: made once, and told by its address.
inline const CallOptions& no_options() {
  static const CallOptions none;
  return none;
}

}  // namespace tusk
