// One run of a task or item in this worker, from its record to the acknowledgement of its result.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "notices.h"
#include "proto/bytes.h"
#include "proto/wire.h"
#include "tusk/worker.h"

namespace tusk::detail {

class Children;
struct Run;

// A handler under its name. Runs of a batch handler are gathered here.
struct Entry {
  std::string name;
  bool is_stage = false;
  bool wants_context = false;
  Notices* notices = nullptr;
  Children* children = nullptr;
  Handler handler;
  BatchHandler batch_handler;  // in place of handler
  Batch batch;

  // The link's thread.
  std::vector<Run*> gathered;
  std::chrono::steady_clock::time_point gather_until{};
};

// How many chunks a run may still send.
class Outflow {
 public:
  explicit Outflow(std::uint64_t credit) : credit_(credit) {}
  void add(std::uint64_t chunks) {
    std::lock_guard lock(mutex_);
    credit_ += chunks;
    changed_.notify_all();
  }
  // Waits for the credit of one; false: to be stopped.
  bool take(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, std::move(stop), [this] { return credit_ > 0; })) return false;
    --credit_;
    return true;
  }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::uint64_t credit_;
};

// What seldom comes with a run.
struct Given {
  std::optional<std::chrono::steady_clock::time_point> due;  // when it has to be over
  std::optional<std::string> checkpoint;                     // of an earlier run
  std::map<std::string, std::string> labels;
  std::unique_ptr<Outflow> stream;  // if somebody asked for one
};

struct Run {
  // Who has it: whoever moves it out of kQueued. Only a handler's thread starts, only the link's
  // thread withdraws.
  enum class Claim : std::uint8_t { kQueued, kStarted, kWithdrawn };
  // The link's thread: how far its answer is. kGone: nobody waits for one.
  enum class Answer : std::uint8_t { kOpen, kReady, kSent, kGone };

  // Written by the link's thread before the run is queued.
  TaskId id;
  std::uint32_t attempt = 0;
  Entry* entry = nullptr;
  bool is_item = false;
  bool compressed = false;
  unsigned codec = 0;
  std::string body;                      // small ones
  proto::Bytes frame;                    // large ones
  std::optional<std::stop_source> stop;  // if the handler takes a Context
  std::unique_ptr<const Given> given;    // seldom there
  std::uint64_t serial = 0;              // which run it is, of those that had this place

  std::atomic<Claim> claim{Claim::kQueued};
  std::atomic<bool> cancelled{false};
  std::atomic<const char*> cancel_reason{nullptr};  // a literal

  std::atomic<bool> awaits{false};  // it has waited for children

  std::atomic<std::int64_t> cost{-1};  // what it really took; -1: it did not say

  std::unique_ptr<Said> said;  // see Notices

  // Written by whoever has it.
  proto::State state = proto::State::kSucceeded;
  bool has_result = false;
  bool result_compressed = false;
  bool no_retry = false;
  bool deferred = false;  // in place of a result: again after defer_ms
  std::uint64_t defer_ms = 0;
  std::string result;
  proto::Bytes result_frame;
  std::string error_type;  // kFailed
  std::string error_message;

  // The link's thread alone.
  std::uint64_t handle = 0;
  std::uint64_t seq = 0;  // kSent
  Answer answer = Answer::kOpen;
  bool back = false;      // no thread and no queue knows it any more
  Run* before = nullptr;  // the list of all that the broker may ask for
  Run* behind = nullptr;

  Run* done_before = nullptr;  // on its way from a handler's thread to the link's

  std::string_view raw_body() const { return frame ? frame.view() : std::string_view(body); }
  std::size_t result_size() const { return result_frame ? result_frame.size() : result.size(); }

  // The link's thread: whether what it says is still of use.
  bool may_speak() const { return answer == Answer::kOpen || answer == Answer::kReady; }

  bool withdraw() {
    Claim queued = Claim::kQueued;
    return claim.compare_exchange_strong(queued, Claim::kWithdrawn, std::memory_order_acq_rel);
  }
  bool start() {
    Claim queued = Claim::kQueued;
    return claim.compare_exchange_strong(queued, Claim::kStarted, std::memory_order_acq_rel);
  }
};

// Runs that are used again, with the memory of their strings. The link's thread.
class RunPool {
 public:
  Run* take() {
    if (free_.empty()) {
      constexpr std::size_t kSlab = 256;
      slabs_.push_back(std::make_unique<Run[]>(kSlab));
      for (std::size_t i = kSlab; i > 0; --i) free_.push_back(&slabs_.back()[i - 1]);
    }
    Run* run = free_.back();
    free_.pop_back();
    return run;
  }
  void give_back(Run* run) {
    constexpr std::size_t kKeep = 64 << 10;
    if (run->body.capacity() > kKeep) std::string().swap(run->body);
    if (run->result.capacity() > kKeep) std::string().swap(run->result);
    run->frame = proto::Bytes();
    run->result_frame = proto::Bytes();
    run->stop.reset();
    run->given.reset();
    run->said.reset();
    free_.push_back(run);
  }

 private:
  std::vector<std::unique_ptr<Run[]>> slabs_;
  std::vector<Run*> free_;
};

// What a result has to keep to.
struct ResultRules {
  std::atomic<std::size_t> body{proto::Limits{}.body};
  std::atomic<std::size_t> threshold{0};  // 0: no compression
  std::atomic<std::size_t> checkpoint{proto::Limits{}.checkpoint};
};

// Runs the handler and fills in the run's answer. Any thread; throws nothing.
void execute(Run& run, const ResultRules& rules);
// The same for the runs of a batch handler, which has all of them at once.
void execute_batch(Entry& entry, const std::vector<Run*>& runs, const ResultRules& rules);

}  // namespace tusk::detail
