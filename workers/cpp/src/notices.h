// What runs say while they go on (progress, logs, checkpoints, pauses), on its way from the
// handlers' threads to the link's. No thread waits for the network here.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "proto/task_id.h"
#include "proto/wire.h"
#include "tusk/log_level.h"
#include "wake.h"

namespace tusk::detail {

struct Run;
struct ResultRules;

struct Notice {
  proto::Kind kind = proto::Kind::kProgress;
  Run* run = nullptr;
  std::uint64_t serial = 0;              // of the run: its place may be another's by now
  std::optional<std::string> body = {};  // of a progress; none: a sign of life
  bool compressed = false;
  LogLevel level{};
  std::string text = {};
  std::vector<proto::TaskId> ids = {};  // of a suspend

  std::size_t cost() const { return (body ? body->size() : 0) + text.size() + 200; }
};

// What a run keeps, or asks of its type: the last word of each is enough. Under the mutex of
// Notices.
struct Said {
  bool has_checkpoint = false;            // it said something about one
  std::optional<std::string> checkpoint;  // none: it was taken away
  bool checkpoint_queued = false;
  std::uint64_t pause_ms = 0;
  bool pause_queued = false;
  bool suspend_queued = false;
};

class Notices {
 public:
  Notices(std::shared_ptr<Wake> wake, std::shared_ptr<const ResultRules> rules)
      : wake_(std::move(wake)), rules_(std::move(rules)) {}

  const ResultRules& rules() const { return *rules_; }

  // --- the thread of a handler whose run this is ---

  // Progress and log lines: beyond a bound of what waits they are let go, for they are told at most
  // once.
  void add(Run& run, Notice notice);
  void keep(Run& run, std::optional<std::string> checkpoint);
  void pause(Run& run, std::uint64_t ms);
  // One at a time is queued. Also the link's thread.
  void suspend(Run& run, std::vector<proto::TaskId> ids);
  // A chunk of its stream, for which it has credit: none is let go.
  void send(Run& run, std::string body, bool compressed);

  // --- the link's thread ---

  // Whether something was said since the last look.
  bool is_fresh() const { return fresh_.load(std::memory_order_seq_cst); }
  void look() {
    if (is_fresh()) fresh_.store(false, std::memory_order_seq_cst);
  }
  bool any() const { return any_.load(std::memory_order_relaxed); }
  // Gives what waits, in order, to `write`, until that says that there is no room. Whether all
  // went.
  bool drain(const std::function<bool(const Notice&)>& write);
  // Another session's broker may not know what this run kept.
  void keep_again(Run& run);

 private:
  void queue(Run& run, Notice notice);

  const std::shared_ptr<Wake> wake_;
  const std::shared_ptr<const ResultRules> rules_;
  std::atomic<bool> any_{false};
  std::atomic<bool> fresh_{false};

  std::mutex mutex_;
  std::deque<Notice> queue_;
  std::size_t bytes_ = 0;  // the cost of what is in the queue
};

}  // namespace tusk::detail
