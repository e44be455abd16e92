// What is behind tusk::Worker::run(): tasks come in over the link, go through the handlers'
// threads, and their results go out.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "children.h"
#include "errors.h"
#include "link.h"
#include "run.h"
#include "run_queue.h"
#include "signals.h"
#include "tusk/worker.h"

namespace tusk::detail {

// Whether a broker has taken the worker: not known yet, yes, or never again.
class Readiness {
 public:
  void set(bool ready) {
    std::lock_guard lock(mutex_);
    ready_ = ready;
    changed_.notify_all();
  }
  bool wait(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    const auto known = [this] { return ready_.has_value(); };
    // Until a time beyond its own range a clock does not wait at all.
    changed_.wait_for(lock, std::min<std::chrono::milliseconds>(time, std::chrono::hours(100'000)),
                      known);
    return ready_.value_or(false);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<bool> ready_;
};

// What outlives a worker whose handler does not end: its handlers, its runs.
struct WorkerState {
  explicit WorkerState(WorkerOptions o);

  WorkerOptions options;  // completed from the environment
  bool supervised = false;
  std::shared_ptr<Wake> wake = std::make_shared<Wake>();
  std::atomic<bool> stop_requested{false};
  std::atomic<bool> started{false};

  std::unordered_map<std::string, std::unique_ptr<Entry>> tasks;
  std::unordered_map<std::string, std::unique_ptr<Entry>> stages;
  RunPool pool;
  std::shared_ptr<ResultRules> rules = std::make_shared<ResultRules>();
  Notices notices{wake, rules};
  Children children{notices, options.url, options.name};
  Readiness readiness;
};

class WorkerCore : public Link::Peer {
 public:
  using Clock = Link::Clock;

  explicit WorkerCore(std::shared_ptr<WorkerState> state);

  // Worker::run().
  void run();

  std::uint32_t hello_fields() override;
  void pack_hello(proto::Writer& out) override;
  void welcomed(proto::Value fields, bool resumed) override;
  void record(const proto::Record& record, Incoming& packet) override;
  void packet_ends() override;
  Clock::time_point work(Clock::time_point now) override;
  bool has_work() override;
  bool sleeps_lightly() override { return queue_->must_look_again(); }
  bool delivered() override;
  void fill(proto::Writer& out, std::uint64_t seq) override;
  void acknowledged(std::uint64_t seq) override { acknowledged_ = seq; }
  bool refused_packet(std::uint64_t seq, const proto::Record& error) override;
  void refused(std::string_view code, std::string_view message) override;
  void dropped(std::uint64_t seq) override;

 private:
  struct Returned {
    std::uint64_t recall;
    std::vector<std::uint64_t> handles;
  };

  void take_run(const proto::Record& record, Incoming& packet);
  Run* find_open(std::uint64_t handle);
  Entry* find_entry(std::string_view name, bool is_item);
  void refuse(Run* run, std::string_view type, std::string message);
  void recall(const proto::Record& record);
  void give(Run& run, const proto::Record& record);
  void cancel(const proto::Record& record);
  void begin_stop(Clock::time_point now);
  void give_batches(Clock::time_point now);
  void collect();
  void adopt_claims(proto::Value claims);

  // The list of runs that the broker may still ask for.
  void link_in(Run* run);
  void link_out(Run* run);
  void is_ready(Run* run);  // its answer can be sent
  void forget_acknowledged();
  void answer_again(Run* run, std::string_view type, std::string message);
  void forget(Run* run);   // nobody waits for its answer
  void release(Run* run);  // its memory, if nobody has it any more
  bool past_stop() const { return stopping_ && stop_by_ <= now_; }
  bool fill_notices(proto::Writer& out);
  bool write_notice(proto::Writer& out, const Notice& notice);
  void write_result(proto::Writer& out, Run& run);

  const std::shared_ptr<WorkerState> state_;
  const std::shared_ptr<RunQueue> queue_;
  Link link_;

  Run* first_ = nullptr;  // all that the broker may ask for
  std::size_t live_ = 0;
  std::size_t open_ = 0;         // of those, without an answer
  Entry* last_entry_ = nullptr;  // that was asked for
  std::vector<Run*> chunk_;      // of the packet that is being read
  std::vector<Run*> done_;
  std::deque<Run*> ready_;  // answers to be sent
  std::deque<Run*> sent_;   // answers that are not acknowledged, in the order of their packets
  std::uint64_t acknowledged_ = 0;
  std::deque<Returned> returned_;
  std::vector<Entry*> gathering_;
  proto::AttributeWriter attributes_;

  Clock::time_point now_{};
  bool stopping_ = false;
  bool tell_slots_ = false;  // slots 0 is to be sent
  Clock::time_point stop_by_ = Clock::time_point::max();
  Clock::time_point finish_from_;
  const StopSignals* signals_ = nullptr;  // while run() handles them
  std::chrono::milliseconds adopt_grace_{10'000};
  FailurePtr refusal_;
};

}  // namespace tusk::detail
