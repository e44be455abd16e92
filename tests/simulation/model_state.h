// What the model remembers of what it saw: plain values in plain containers.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "daemon/core/event.h"
#include "proto/decoder.h"
#include "tests/simulation/rule.h"

namespace tusk::simulation {

using core::ConnectionId;
using core::kNoConnection;
using proto::Kind;
using proto::State;
using proto::TaskId;
using Nanos = int64_t;  // virtual time
inline constexpr Nanos kNever = INT64_MAX;
inline constexpr Nanos kMillisecond = 1'000'000;

// Attributes by key; each value in a form in which equal values are equal texts. kAny: any value.
using Attributes = std::map<uint64_t, std::string>;
inline const std::string kAny = "*";
// The same for an error of this type, whatever its words; and for a history.
inline const std::string kErrorOf = "?error ", kHistoryOf = "?history ";
Attributes read_attributes(proto::Value map);
// The value of one of them, or nothing.
proto::Value attribute(proto::Value map, uint64_t key);
// As the broker packs it.
std::string packed(uint64_t number);
std::string packed(const std::string& text);
// A plain value as text; "" if it is not there.
std::string rendered(proto::Value value);
// What the broker passes on of them (SPEC.md, "Attributes").
// `own`: those that the broker says itself.
Attributes forwarded(proto::Value map, std::initializer_list<uint64_t> own = {});

// Who asked: a session by its number, one REQ request by its envelope, or a bare connection.
struct Who {
  uint64_t session = 0;
  ConnectionId connection = kNoConnection;
  uint64_t generation = 0;  // of the connection
  std::string envelope = {};
  bool req = false;
  bool edge = false;  // nobody
};

// Why a run was told to stop.
enum class Stop : uint8_t { kNone, kCancelled, kDeadline, kRunTimeout, kHeartbeatTimeout };

// The pauses between runs: first, most in nanoseconds.
struct Backoff {
  double first = 0, most = 0, factor = 1;
};

// A run that failed or died, as a history is to tell it.
struct FailedRun {
  uint32_t attempt = 0;
  std::string worker;
  Nanos started = 0, ended = 0;
  std::string type, message;  // message "*": in the broker's words
};

struct Asker {
  Who who = {};
  uint64_t request = 0;
  uint64_t serial = 0;
  Nanos due = kNever;  // when its wait is over
};

// One entry of an error's details.
struct Detail {
  std::string_view key;
  std::string text = {};
  uint64_t number = 0;
  bool is_text = false;
};

// A record that the broker owes.
struct Due {
  Rule rule{};  // the promise that is broken if it does not come
  Kind kind{};
  uint64_t ref = 0;
  std::string name = {};  // error code, topic, or the state in an answer
  TaskId id = {};
  State state = {};
  bool has_body = false;
  std::string body = {};
  Attributes attributes = {};
  std::vector<Detail> details = {};
  bool ending_of = false;  // a result: note in which packet the ending of `id` went
  // Of an answer's map, each as text (rendered()); "": not there.
  std::map<std::string, std::string> fields = {};
};

// kBlocked: another task of its order key has not ended.
enum class Phase : uint8_t { kParked, kHeld, kBlocked, kWaiting, kBackoff, kRunning, kEnded };

struct Task {
  TaskId id;
  std::string type;  // or stage
  bool is_item = false;
  Phase phase = Phase::kWaiting;
  uint64_t order = 0;
  uint64_t able = 0;  // the event since which only a free worker is missing; 0: more is
  std::string body;
  bool has_body = false;
  Attributes attributes;
  std::string first_type, first_body;  // as submitted: what the id stands for
  uint32_t attempt = 0, failures = 0, crashes = 0;
  bool suspect = false, edge = false;
  bool orphan = false;  // adopted from a claim: nobody submitted it yet
  bool unseen = false;  // so what was submitted under its id is not known
  std::vector<Asker> askers = {};
  // Who may claim a run that the broker does not see: 0 anybody, as it never ran; kNobody; or the
  // session that was away for so long that its run was given to others.
  static constexpr uint64_t kNobody = UINT64_MAX;
  uint64_t claimed_by = 0;
  Nanos due = kNever;    // of a hold, a delay or the grace in which its run is to stop
  uint64_t session = 0;  // that runs it
  Nanos since = 0;       // accepted, or became due; once it ended: when
  // What was asked for; attempts, back-off and no_retry_on are its type's if nothing was said.
  Nanos deadline = kNever, run_timeout = 0, heartbeat_timeout = 0;
  std::optional<uint64_t> attempts = {};
  std::optional<Backoff> backoff = {};
  std::optional<std::vector<std::string>> no_retry_on = {};
  int priority = 0;
  std::string group = {}, order_key = {}, limit_key = {};
  double cost = 1;
  uint64_t accepted = 0;  // of those of its order key the least is first
  Nanos not_before = 0;   // kBlocked: its delay
  // Of its run.
  Stop stop = Stop::kNone;
  Nanos started = 0, sign = 0, limit = kNever;  // last sign of life; when to look again
  std::deque<FailedRun> history = {};
  // kEnded:
  State ending{};
  bool has_result = false;
  std::string result;
  Attributes result_attributes;
  uint64_t owner = 0;         // session whose acknowledgement lets it go, or 0
  uint64_t packet = 0;        // that the owner must acknowledge; 0: not sent yet
  Nanos kept_until = kNever;  // without an owner
};

// What is remembered of a task whose ending was let go.
struct Ended {
  TaskId id = {};
  std::string type = {}, body = {};
  bool is_item = false, unseen = false;
  State state{};
};

struct Run {
  uint64_t handle = 0;  // 0: it was never seen, its session ended in the same step
  TaskId id = {};
  std::string type = {};
  bool is_item = false;
  uint64_t started = 0;  // the event
  bool suspect = false;
  bool ghost = false;  // the task has ended, the worker has not answered
  std::string order_key = {}, limit_key = {};
};

// Units that runs may take. Who starts takes its whole cost, so it may hold less than nothing.
struct Bucket {
  double rate = 0, burst = 0, units = 0;  // rate: units a second, 0: no limit
  Nanos at = 0, alarm = kNever;

  double level(Nanos now) const {
    return std::min(burst, units + rate * static_cast<double>(now - at) / 1e9);
  }
  void set(double new_rate, double new_burst, Nanos now) {
    units = rate > 0 ? std::min(level(now), new_burst) : new_burst;
    at = now;
    rate = new_rate;
    burst = new_burst;
  }
  void take(double cost, Nanos now) {
    units = std::min(burst, level(now) - cost);
    at = now;
  }
  // A millionth of a unit more or less is nothing.
  bool may_be_open(Nanos now) const { return rate == 0 || level(now) > 1e-7; }
  bool is_open(Nanos now) const { return rate == 0 || level(now) > 1e-5; }
  Nanos opens(Nanos now) const {
    return now + static_cast<Nanos>((2e-5 - level(now)) / rate * 1e9) + 1;
  }
};

struct SentPacket {
  uint64_t seq;
  std::string records;
  std::vector<proto::Bytes> bodies;
  size_t bytes;
};

// What a session subscribed to.
struct Subscription {
  std::string pattern;
  bool disconnects = false;  // all its wishes said so
};

// An event that a session is to get, in its turn, or else is to miss.
struct Waiting {
  std::string topic;
  Due due;
  bool retained = false;  // it was kept from before
  size_t bytes = 0;       // that it counts for
  bool left = false;      // the session left the topic since: it may have come before that
};

struct Session {
  uint64_t number = 0;
  std::string instance, name, language, pool;
  ConnectionId connection = kNoConnection;
  bool acks = false, worker = false, watched = false, process_gone = false, away = false;
  bool over = false;      // too many bytes unacknowledged
  bool leaving = false;   // it ends in this step: what it is told does not arrive
  bool gone = false;      // it is ending now
  bool arriving = false;  // its hello is being read
  std::vector<std::string> types, handlers;
  std::set<std::pair<bool, std::string>> serves;  // stage or not, name
  uint64_t slots = 0;
  uint64_t last_dispatch = 0, dispatch_before = 0;  // events; the latter before that in hand
  std::vector<Run> runs;                            // in the order of their starts
  std::set<uint64_t> handles;
  std::set<uint64_t> requests, reused;  // numbers of submits
  std::vector<Subscription> subscriptions;
  std::deque<Waiting> events;              // in the order in which they come
  std::map<std::string, uint64_t> missed;  // by topic, since the last event that came of it
  std::vector<Subscription> ended;         // in this step, by the broker
  bool subscribes = false;                 // or unsubscribes, in this step
  bool events_unsure = false;              // what it is to get is not known any more
  std::string welcome;
  proto::Limits limits;
  uint64_t received = 0, acked = 0;  // what came, and what of it the peer was told
  Nanos owes_since = kNever;
  uint64_t sent = 0, next = 1;  // the broker's last packet; the one to come
  std::deque<SentPacket> unacked;
  size_t bytes = 0;         // of those
  std::deque<Due> pending;  // said while it had no connection
  std::deque<TaskId> endings;
  Nanos grace = kNever, ttl = kNever, settle = kNever;

  const Run* suspect() const {
    for (const Run& run : runs) {
      if (run.suspect) return &run;
    }
    return nullptr;
  }
};

struct Connection {
  bool open = false;
  uint64_t session = 0;
  uint64_t generation = 0;
  Nanos last_error = -1;  // when an error was sent that answers no session
};

struct Type {
  bool configured = false, ever_served = false;
  Nanos last_served = 0, unserved = kNever;
};

// Tasks that take turns with other groups: suspect or not, stage or not, name, priority, group.
using Lane = std::tuple<bool, bool, std::string, int, std::string>;

// Dispatches to workers of one kind that passed over an aged task since one did not: surely so
// many, and perhaps so many.
struct Passed {
  uint64_t least = 0, most = 0;
};

struct Topic {
  uint64_t sequence = 0;
  bool retains = false;
  Bucket bucket;
  std::optional<Waiting> last;  // the event that it keeps
};

// A packet of the broker, and each record in it.
struct SeenPacket {
  const core::Send* send = nullptr;
  ConnectionId connection = kNoConnection;
  bool has_header = false, direct = false;  // direct: of no session, or a welcome
  uint64_t session = 0, seq = 0, ack = 0;
  size_t records = 0;  // its header not counted
};
struct Seen {
  const proto::Record* record;
  uint32_t packet;
  bool used = false;
};

}  // namespace tusk::simulation
