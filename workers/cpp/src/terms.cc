#include "terms.h"

#include <algorithm>
#include <array>

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

[[noreturn]] void invalid(const std::string& reason) { throw Invalid("invalid", reason); }

bool has_terms(const CallOptions& o) {
  return o.priority || o.delay || o.not_before || o.deadline || o.run_timeout ||
         o.heartbeat_timeout || o.attempts || o.backoff || !o.no_retry_on.empty() ||
         o.on_progress || o.on_log;
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

std::unique_ptr<Terms> terms_of(detail::Submission::Op op, const CallOptions& options) {
  if (!has_terms(options)) return nullptr;
  using Op = detail::Submission::Op;
  if (op != Op::kSubmit && op != Op::kPost) {
    invalid("only tasks have priorities, times, attempts and callbacks: call, submit, post");
  }
  if (op == Op::kPost && (options.on_progress || options.on_log)) {
    invalid("on_progress and on_log need somebody who waits for the result: not post");
  }
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
  if (options.priority) terms->priority = options.priority->value();

  if (terms->delay) check_duration("delay", *terms->delay, milliseconds(0));
  if (terms->deadline) check_duration("deadline", *terms->deadline, milliseconds(0));
  if (terms->run_timeout) check_duration("run_timeout", *terms->run_timeout, milliseconds(1));
  if (terms->heartbeat_timeout) {
    check_duration("heartbeat_timeout", *terms->heartbeat_timeout, milliseconds(1));
  }
  if (terms->attempts && (*terms->attempts < 1 || *terms->attempts > int{proto::kMaxAttempts})) {
    invalid("attempts is " + std::to_string(*terms->attempts) + ", and has to be from 1 to 1000");
  }
  if (terms->priority &&
      (*terms->priority < -proto::kMaxPriority || *terms->priority > proto::kMaxPriority)) {
    invalid("priority is " + std::to_string(*terms->priority) + ", and has to be from -100 to 100");
  }
  if (terms->backoff) check_backoff(*terms->backoff);
  check_no_retry_on(terms->no_retry_on);
  return terms;
}

std::size_t Terms::size() const {
  std::size_t size = 120;
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
  if (delay && left(*delay) > milliseconds(0)) number(Attribute::kDelay, left(*delay));
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
  const unsigned follow =
      (on_progress ? proto::kFollowProgress : 0u) | (on_log ? proto::kFollowLog : 0u);
  if (follow > 0) out.number(Attribute::kFollow, follow);
}

}  // namespace tusk
