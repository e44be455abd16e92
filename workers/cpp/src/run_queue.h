// Between the link's thread and the threads of the handlers: runs go over in chunks, a packet's at
// a time, and come back in chunks, so that a short task costs no lock of its own against others.
//
// A run is claimed by moving its chunk's index on, so no thread hoards runs. An idle thread is
// woken for what is expected to keep the others busy for a while; should that be wrong, because a
// long run follows many short ones, the link's thread wakes one within two milliseconds.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "run.h"
#include "wake.h"

namespace tusk::detail {

class RunQueue : public std::enable_shared_from_this<RunQueue> {
 public:
  using Clock = std::chrono::steady_clock;

  // `keep`: owns the runs and their handlers; held as long as a thread may use them.
  RunQueue(std::shared_ptr<Wake> wake, std::shared_ptr<ResultRules> rules,
           std::shared_ptr<void> keep)
      : wake_(std::move(wake)), rules_(std::move(rules)), keep_(std::move(keep)) {}

  void start(unsigned threads);

  // --- a handler's thread ---

  // Lets another thread run handlers while this one waits. Throws std::system_error if there can be
  // none.
  void lend();
  // --- any thread ---
  // Undoes it; a thread that there is one too many of ends when it is idle.
  void take_back();

  // --- the link's thread ---

  // Takes the runs and leaves the vector empty.
  void add(std::vector<Run*>& runs);
  // Runs that a batch handler gets together.
  void add_batch(Entry& entry, std::vector<Run*>& runs);
  // Appends the runs that are done, and those that were withdrawn and have left the queue; but
  // while more are being done, not before it is worth a packet.
  void collect(std::vector<Run*>& done, Clock::time_point now);
  // Whether a thread said that there is something to collect.
  bool has_done() const { return told_.load(std::memory_order_seq_cst); }
  // Call it before you sleep, behind Wake::about_to_sleep(). True: sleep a millisecond at most, for
  // there is something of which nobody will say so for a while.
  bool must_look_again();
  // Ends the threads. Those that are still in a handler are left alone, with what they use.
  void stop(bool wait);

 private:
  struct Chunk {
    std::vector<Run*> runs;
    std::atomic<std::size_t> next{0};
    Entry* batch = nullptr;  // all runs at once
    bool is_taken() const { return next.load(std::memory_order_relaxed) >= size(); }
    std::size_t size() const { return batch ? 1 : runs.size(); }
    std::size_t left() const {
      return size() - std::min(size(), next.load(std::memory_order_relaxed));
    }
  };

  void start_thread();
  bool has_too_many() const { return count_ > limit_ + lent_; }
  void leave();
  void add_chunk(std::shared_ptr<Chunk> chunk);
  bool wants_another();
  bool are_stuck() const;
  void watch();
  void drop_taken();
  void note_time(std::chrono::nanoseconds took);
  void note_move(Clock::time_point now);
  void work();
  // Puts a finished run where the link's thread takes it; whether it is the first there.
  bool put(Run* run);
  void tell();
  // The next chunk with something in it, or nothing: the end.
  std::shared_ptr<Chunk> next_chunk();
  void run_batch(Chunk& chunk);

  const std::shared_ptr<Wake> wake_;
  const std::shared_ptr<ResultRules> rules_;
  const std::shared_ptr<void> keep_;

  // The link's thread alone: since when it has seen finished runs and left them there.
  Clock::time_point seen_ = kNever;
  static constexpr Clock::time_point kNever = Clock::time_point::max();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Chunk>> chunks_;
  std::vector<std::thread> threads_;
  std::vector<std::thread> left_;  // have ended, or are about to
  unsigned limit_ = 0;             // threads that run handlers at the same time
  unsigned lent_ = 0;              // threads that wait in a handler, and are not among those
  unsigned count_ = 0;             // of threads
  unsigned idle_ = 0;
  bool stopping_ = false;

  // What is finished, the last first: the handlers' threads add, the link's takes all.
  alignas(64) std::atomic<Run*> done_{nullptr};
  static constexpr std::int64_t kLong = 1'000'000'000;
  std::atomic<std::int64_t> usual_ns_{kLong};  // how long a run takes lately
  std::atomic<std::int64_t> moved_ns_{0};  // when a thread was seen to finish or begin something
  std::atomic<bool> left_asleep_{false};   // something waits, and a thread idles all the same
  std::atomic<bool> told_{false};
  std::atomic<bool> looking_{true};  // the link's thread looks again within a millisecond
};

}  // namespace tusk::detail
