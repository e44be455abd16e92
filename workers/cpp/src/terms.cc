#include "terms.h"

#include <algorithm>
#include <array>
#include <utility>

#include "inflow.h"
#include "labels.h"
#include "proto/scanner.h"
#include "proto/wire.h"

namespace tusk {
namespace {

using proto::Attribute;
using std::chrono::milliseconds;

constexpr milliseconds kLongest{proto::kMaxDuration};

struct PriorityName {
  std::string_view name;
  int value;
};
constexpr std::array kPriorities = {PriorityName{"low", -10}, PriorityName{"normal", 0},
                                    PriorityName{"high", 10}, PriorityName{"critical", 20}};
// In the order of their numbers.
constexpr std::array<std::string_view, 5> kPolicies = {"join", "refuse", "replace", "debounce",
                                                       "follow_up"};

[[noreturn]] void invalid(const std::string& reason) { throw Invalid("invalid", reason); }

// What an update may change.
bool has_changes(const CallOptions& o) { return o.priority || o.delay || o.not_before; }
// What is settled once a task is submitted.
bool has_fixed(const CallOptions& o) {
  return o.deadline || o.run_timeout || o.heartbeat_timeout || o.attempts || o.backoff ||
         !o.no_retry_on.empty() || o.unique || o.unique_policy || o.unique_for || o.retention ||
         o.order_key || o.limit_key || o.group || o.cost || !o.labels.empty() || o.requires_ ||
         o.prefers || o.consumes || o.sticky_key || o.window;
}
bool follows(const CallOptions& o) { return o.on_progress || o.on_log; }

void check_op(detail::Submission::Op op, const CallOptions& o) {
  using Op = detail::Submission::Op;
  switch (op) {
    case Op::kSubmit:
      return;
    case Op::kPost:
      if (follows(o)) {
        invalid("on_progress and on_log need somebody who waits for the result: not post");
      }
      return;
    case Op::kAwait:
      if (!has_changes(o) && !has_fixed(o)) return;
      invalid(
          "awaiting a task takes timeout, on_progress and on_log; all else is said when it is "
          "submitted");
    case Op::kUpdate:
      if (!follows(o) && !has_fixed(o)) return;
      invalid(
          "an update takes priority, delay, not_before and timeout; all else stays as it was "
          "submitted");
    default:
      invalid(
          "only tasks have priorities, times, attempts, keys, costs and callbacks: call, submit, "
          "post");
  }
}

std::string policy_names() {
  std::string names;
  for (const std::string_view name : kPolicies) {
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  return names;
}

void check_key(const char* name, const std::optional<std::string>& key) {
  if (!key || (!key->empty() && key->size() <= proto::kMaxName && proto::is_utf8(*key))) return;
  invalid(std::string(name) + " has " + std::to_string(key->size()) +
          " bytes, and has to be UTF-8 of 1 to 255");
}

void check_unique(const CallOptions& o) {
  if (!o.unique && o.unique_policy) {
    invalid("unique_policy says what becomes of a unique key: give unique, too");
  }
  if (!o.unique && o.unique_for) {
    invalid("unique_for says how long a unique key stays taken: give unique, too");
  }
  if (!o.unique) return;
  check_key("unique", o.unique);
  const UniquePolicy policy = o.unique_policy.value_or(UniquePolicy::kJoin);
  if (policy.kind() < 0 || policy.kind() >= static_cast<int>(kPolicies.size())) {
    invalid("unique_policy " + std::to_string(policy.kind()) + " does not exist; the names are " +
            policy_names());
  }
}

std::optional<milliseconds> delay_of(const CallOptions& o) {
  if (!o.not_before) return o.delay;
  if (o.delay) invalid("delay and not_before are two ways to say one thing: give one of them");
  const auto now = std::chrono::system_clock::now();
  if (*o.not_before <= now) return milliseconds(0);
  const auto delay = std::chrono::ceil<milliseconds>(*o.not_before - now);
  if (delay > kLongest) invalid("not_before is more than 100 years from now");
  return delay;
}

void check_backoff(const Backoff& b) {
  check_duration("backoff.first", b.first, milliseconds(0));
  check_duration("backoff.most", b.most, milliseconds(0));
  if (!(b.factor >= 1 && b.factor <= 100)) {  // not so for a NaN
    invalid("backoff.factor is " + std::to_string(b.factor) + ", and has to be from 1 to 100");
  }
  if (!(b.jitter >= 0 && b.jitter <= 1)) {
    invalid("backoff.jitter is " + std::to_string(b.jitter) + ", and has to be from 0 to 1");
  }
}

void check_no_retry_on(const std::vector<std::string>& names) {
  if (names.size() > proto::kMaxNoRetryOn) {
    invalid("no_retry_on has " + std::to_string(names.size()) + " types, and may have " +
            std::to_string(proto::kMaxNoRetryOn));
  }
  for (const std::string& name : names) {
    if (name.size() > proto::kMaxName || !proto::is_utf8(name)) {
      invalid("no_retry_on has a name that is not UTF-8 of at most 255 bytes");
    }
  }
}

}  // namespace

Priority::Priority(std::string_view name) {
  std::string names;
  for (const auto& [known, value] : kPriorities) {
    if (known == name) {
      value_ = value;
      return;
    }
    names += (names.empty() ? "" : ", ") + std::string(known);
  }
  invalid("priority \"" + std::string(name) + "\" does not exist; the names are " + names);
}

UniquePolicy::UniquePolicy(std::string_view name) {
  const auto at = std::find(kPolicies.begin(), kPolicies.end(), name);
  if (at == kPolicies.end()) {
    invalid("unique_policy \"" + std::string(name) + "\" does not exist; the names are " +
            policy_names());
  }
  kind_ = static_cast<Kind>(at - kPolicies.begin());
}

std::string_view to_string(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "";
}

void check_duration(const char* name, milliseconds time, milliseconds least) {
  if (time >= least && time <= kLongest) return;
  invalid(std::string(name) + " is " + std::to_string(time.count()) + " ms, and has to be from " +
          std::to_string(least.count()) + " ms to 100 years");
}

void check_priority(int priority) {
  if (priority >= -proto::kMaxPriority && priority <= proto::kMaxPriority) return;
  invalid("priority is " + std::to_string(priority) + ", and has to be from -100 to 100");
}

void check_cost(std::int64_t units) {
  if (units >= 0 && std::cmp_less_equal(units, proto::kMaxCost)) return;
  invalid("cost is " + std::to_string(units) + " units, and has to be from 0 to 1,000,000,000");
}

std::unique_ptr<Terms> terms_of(detail::Submission::Op op, const CallOptions& options) {
  if (&options == &no_options()) return nullptr;
  if (!has_changes(options) && !has_fixed(options) && !follows(options)) return nullptr;
  check_op(op, options);
  check_unique(options);
  check_key("order_key", options.order_key);
  check_key("limit_key", options.limit_key);
  check_key("group", options.group);
  check_key("sticky_key", options.sticky_key);
  if (options.cost) check_cost(*options.cost);
  auto terms = std::make_unique<Terms>();
  terms->delay = delay_of(options);
  terms->deadline = options.deadline;
  terms->run_timeout = options.run_timeout;
  terms->heartbeat_timeout = options.heartbeat_timeout;
  terms->attempts = options.attempts;
  terms->backoff = options.backoff;
  terms->no_retry_on = options.no_retry_on;
  terms->on_progress = options.on_progress;
  terms->on_log = options.on_log;
  terms->unique = options.unique.value_or("");
  terms->unique_policy = options.unique_policy.value_or(UniquePolicy::kJoin);
  terms->unique_for = options.unique_for;
  terms->retention = options.retention;
  terms->order_key = options.order_key.value_or("");
  terms->limit_key = options.limit_key.value_or("");
  terms->group = options.group.value_or("");
  terms->sticky_key = options.sticky_key.value_or("");
  write_needs(terms->needs, options);
  terms->cost = options.cost;
  if (options.priority) terms->priority = options.priority->value();

  if (terms->delay) check_duration("delay", *terms->delay, milliseconds(0));
  if (terms->deadline) check_duration("deadline", *terms->deadline, milliseconds(0));
  if (terms->unique_for) check_duration("unique_for", *terms->unique_for, milliseconds(0));
  if (terms->retention) check_duration("retention", *terms->retention, milliseconds(0));
  if (terms->run_timeout) check_duration("run_timeout", *terms->run_timeout, milliseconds(1));
  if (terms->heartbeat_timeout) {
    check_duration("heartbeat_timeout", *terms->heartbeat_timeout, milliseconds(1));
  }
  if (terms->attempts && (*terms->attempts < 1 || *terms->attempts > int{proto::kMaxAttempts})) {
    invalid("attempts is " + std::to_string(*terms->attempts) + ", and has to be from 1 to 1000");
  }
  if (terms->priority) check_priority(*terms->priority);
  if (terms->backoff) check_backoff(*terms->backoff);
  check_no_retry_on(terms->no_retry_on);
  return terms;
}

std::size_t Terms::size() const {
  std::size_t size = 200 + unique.size() + order_key.size() + limit_key.size() + group.size() +
                     sticky_key.size() + needs.entries().size();
  for (const std::string& name : no_retry_on) size += name.size() + 5;
  return size;
}

void Terms::write(proto::AttributeWriter& out, Clock::duration passed) const {
  const auto number = [&out](Attribute key, milliseconds time) {
    out.number(key, static_cast<std::uint64_t>(time.count()));
  };
  // Rounded up: nothing happens earlier than was asked.
  const auto left = [passed](milliseconds time) {
    return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(time - passed));
  };
  // A delay that is over is one, too: a type may have one that would count in its place.
  if (delay) number(Attribute::kDelay, left(*delay));
  if (deadline) number(Attribute::kDeadline, left(*deadline));
  if (run_timeout) number(Attribute::kRunTimeout, *run_timeout);
  if (heartbeat_timeout) number(Attribute::kHeartbeatTimeout, *heartbeat_timeout);
  if (attempts) out.number(Attribute::kAttempts, static_cast<std::uint64_t>(*attempts));
  if (priority) out.key(Attribute::kPriority).pack_int64(*priority);
  if (backoff) {
    proto::Packer& packer = out.key(Attribute::kBackoff).pack_array(4);
    packer.pack_uint64(static_cast<std::uint64_t>(backoff->first.count()));
    packer.pack_uint64(static_cast<std::uint64_t>(backoff->most.count()));
    packer.pack_double(backoff->factor).pack_double(backoff->jitter);
  }
  if (!no_retry_on.empty()) {
    proto::Packer& packer = out.key(Attribute::kNoRetryOn);
    packer.pack_array(static_cast<std::uint32_t>(no_retry_on.size()));
    for (const std::string& name : no_retry_on) {
      const auto bytes = static_cast<std::uint32_t>(name.size());
      packer.pack_str(bytes).pack_str_body(name.data(), bytes);
    }
  }
  if (retention) number(Attribute::kRetention, *retention);
  if (!unique.empty()) out.text(Attribute::kUnique, unique);
  if (unique_policy.kind() != UniquePolicy::kJoin) {
    out.number(Attribute::kUniquePolicy, static_cast<std::uint64_t>(unique_policy.kind()));
  }
  if (unique_for) number(Attribute::kUniqueFor, *unique_for);
  if (!order_key.empty()) out.text(Attribute::kOrderKey, order_key);
  if (!limit_key.empty()) out.text(Attribute::kLimitKey, limit_key);
  if (!group.empty()) out.text(Attribute::kGroup, group);
  if (!sticky_key.empty()) out.text(Attribute::kStickyKey, sticky_key);
  if (extra.on_accepted) out.number(Attribute::kReply, 2);
  if (extra.parent) {
    const auto* id = reinterpret_cast<const char*>(extra.parent->bytes.data());
    out.key(Attribute::kParent).pack_bin(16).pack_bin_body(id, 16);
  }
  if (extra.inflow) out.number(Attribute::kStream, extra.inflow->window);
  out.raw(needs.entries(), needs.count());
  if (cost) out.number(Attribute::kCost, static_cast<std::uint64_t>(*cost));
  const unsigned follow =
      (on_progress ? proto::kFollowProgress : 0u) | (on_log ? proto::kFollowLog : 0u);
  if (follow > 0) out.number(Attribute::kFollow, follow);
}

}  // namespace tusk
