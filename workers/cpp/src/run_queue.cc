#include "run_queue.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>

namespace tusk::detail {
namespace {

// A finished run waits so long for others of its chunk before the link is told. Beyond that the
// link's own look, once a millisecond, is the bound: a long run may follow a short one.
constexpr auto kHoldBack = std::chrono::microseconds(100);
// Another thread is woken for what would take the others so long, as far as one can tell. To wake
// one for less takes more from everybody than it gives.
constexpr auto kWorthAWake = std::chrono::microseconds(200);
// Should no thread have finished anything for so long, another helps whatever was expected.
constexpr auto kStuck = std::chrono::microseconds(500);
// Reading the clock costs as much as a short run. While runs are so short that several fit into
// kShort, it is read once for up to kAtMost of them.
constexpr auto kShort = std::chrono::microseconds(20);
constexpr unsigned kAtMost = 16;

}  // namespace

void RunQueue::start(unsigned threads) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  {
    std::lock_guard lock(mutex_);
    limit_ = threads;
    for (unsigned i = 0; i < threads; ++i) start_thread();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// Under mutex_. It blocks the signals that this thread does.
void RunQueue::start_thread() {
  // Each holds the queue: a handler that does not end outlives the worker.
  threads_.emplace_back([self = shared_from_this()] {
    pthread_setname_np(pthread_self(), "tusk-handler");
    self->work();
  });
  ++count_;
}

void RunQueue::lend() {
  std::vector<std::thread> ended;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    if (count_ < limit_ + lent_ + 1) start_thread();
    ++lent_;
    ended.swap(left_);
  }
  changed_.notify_one();
  for (std::thread& thread : ended) thread.join();
}

void RunQueue::take_back() {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    if (lent_ > 0) --lent_;
    wake = has_too_many() && idle_ > 0;
  }
  if (wake) changed_.notify_one();
}

// Under mutex_: this thread ends.
void RunQueue::leave() {
  const auto self = std::find_if(threads_.begin(), threads_.end(), [](const std::thread& thread) {
    return thread.get_id() == std::this_thread::get_id();
  });
  left_.push_back(std::move(*self));
  threads_.erase(self);
  --count_;
  // What it may have been woken for.
  if (!chunks_.empty()) changed_.notify_one();
}

void RunQueue::add(std::vector<Run*>& runs) {
  if (runs.empty()) return;
  auto chunk = std::make_shared<Chunk>();
  chunk->runs.swap(runs);
  add_chunk(std::move(chunk));
}

void RunQueue::add_batch(Entry& entry, std::vector<Run*>& runs) {
  if (runs.empty()) return;
  auto chunk = std::make_shared<Chunk>();
  chunk->runs.swap(runs);
  chunk->batch = &entry;
  add_chunk(std::move(chunk));
}

void RunQueue::add_chunk(std::shared_ptr<Chunk> chunk) {
  bool wake;
  {
    std::lock_guard lock(mutex_);
    chunks_.push_back(std::move(chunk));
    // One is enough: whoever takes a chunk with more in it wakes the next.
    wake = wants_another();
  }
  if (wake) changed_.notify_one();
}

// Whether one of the idle threads should help with what waits. Under mutex_.
bool RunQueue::wants_another() {
  if (idle_ == 0) return false;
  const auto usual = usual_ns_.load(std::memory_order_relaxed);
  bool wants = idle_ + lent_ == count_ || are_stuck();
  std::int64_t expected = 0;
  for (const auto& chunk : chunks_) {
    wants |= chunk->batch && !chunk->is_taken();
    expected += static_cast<std::int64_t>(chunk->left()) * usual;
  }
  wants |= std::chrono::nanoseconds(expected) >= kWorthAWake;
  left_asleep_.store(!wants, std::memory_order_relaxed);
  return wants;
}

// Whether none of the threads at work has finished a run for a while.
bool RunQueue::are_stuck() const {
  const std::chrono::nanoseconds now = Clock::now().time_since_epoch();
  return now.count() - moved_ns_.load(std::memory_order_relaxed) >=
         std::chrono::nanoseconds(kStuck).count();
}

// The link's thread: what was left to threads at work that then got stuck is for another.
void RunQueue::watch() {
  if (!left_asleep_.load(std::memory_order_relaxed) || !are_stuck()) return;
  {
    std::lock_guard lock(mutex_);
    drop_taken();
    if (chunks_.empty() || !wants_another()) return;
  }
  changed_.notify_one();
}

void RunQueue::drop_taken() {
  while (!chunks_.empty() && chunks_.front()->is_taken()) chunks_.pop_front();
}

void RunQueue::collect(std::vector<Run*>& done, Clock::time_point now) {
  watch();
  // Cleared first and in any case: who told of something has put it in before.
  const bool told = told_.load(std::memory_order_relaxed);
  if (told) told_.store(false, std::memory_order_seq_cst);
  if (!done_.load(std::memory_order_seq_cst)) return;
  if (!told) {
    if (seen_ == kNever) seen_ = now;
    if (now - seen_ < kHoldBack) return;
  }
  seen_ = kNever;
  const auto first = static_cast<std::ptrdiff_t>(done.size());
  for (Run* run = done_.exchange(nullptr, std::memory_order_acquire); run; run = run->done_before) {
    done.push_back(run);
  }
  std::reverse(done.begin() + first, done.end());
}

// A thread that has finished a run looks at looking_ behind it; this thread looks for finished runs
// behind looking_. So one of the two sees the other.
bool RunQueue::must_look_again() {
  looking_.store(false, std::memory_order_seq_cst);
  const bool must = done_.load(std::memory_order_seq_cst) != nullptr ||
                    left_asleep_.load(std::memory_order_relaxed);
  if (must) looking_.store(true, std::memory_order_seq_cst);
  if (must && seen_ == kNever) seen_ = Clock::now() - kHoldBack;  // at the next look it is due
  return must;
}

bool RunQueue::put(Run* run) {
  Run* before = done_.load(std::memory_order_relaxed);
  do {
    run->done_before = before;
  } while (!done_.compare_exchange_weak(before, run, std::memory_order_seq_cst,
                                        std::memory_order_relaxed));
  return before == nullptr;  // the run itself may be another's by now
}

void RunQueue::tell() {
  told_.store(true, std::memory_order_seq_cst);
  wake_->notify();
}

std::shared_ptr<RunQueue::Chunk> RunQueue::next_chunk() {
  std::unique_lock lock(mutex_);
  for (;;) {
    drop_taken();
    if (has_too_many() && !stopping_) {
      leave();
      return nullptr;
    }
    if (!chunks_.empty()) {
      note_move(Clock::now());
      const bool is_more = chunks_.size() > 1 || chunks_.front()->size() > 1;
      if (is_more && wants_another()) changed_.notify_one();
      return chunks_.front();
    }
    left_asleep_.store(false, std::memory_order_relaxed);
    if (stopping_) return nullptr;
    ++idle_;
    changed_.wait(lock);
    --idle_;
  }
}

void RunQueue::work() {
  Clock::time_point held_since{}, looked_at_clock{};
  unsigned runs = 0, at_once = 1;
  for (;;) {
    const std::shared_ptr<Chunk> chunk = next_chunk();
    if (!chunk) return;
    if (chunk->batch) {
      if (chunk->next.fetch_add(1) == 0) run_batch(*chunk);
      continue;
    }
    bool is_untold = false;
    runs = 0;
    looked_at_clock = Clock::now();
    for (;;) {
      const std::size_t index = chunk->next.fetch_add(1, std::memory_order_relaxed);
      if (index >= chunk->runs.size()) break;
      Run* run = chunk->runs[index];
      if (run->start()) execute(*run, *rules_);
      if (put(run) || !is_untold) held_since = Clock::now();
      is_untold = true;
      bool is_due = false;
      if (++runs >= at_once) {
        const auto now = Clock::now();
        const auto took = now - looked_at_clock;
        note_move(now);
        note_time(took / runs);
        at_once = took < kShort ? std::min(2 * at_once, kAtMost) : 1;
        looked_at_clock = now;
        runs = 0;
        is_due = now - held_since >= kHoldBack;
      }
      const bool looked_at = wake_->awake() || looking_.load(std::memory_order_seq_cst);
      if (!looked_at || is_due) {
        tell();
        is_untold = false;
      }
    }
    if (is_untold) tell();
  }
}

// An average of the last runs.
void RunQueue::note_time(std::chrono::nanoseconds took) {
  const auto usual = usual_ns_.load(std::memory_order_relaxed);
  const auto last = std::min<std::int64_t>(took.count(), kLong);
  usual_ns_.store(usual + (last - usual) / 8, std::memory_order_relaxed);
}

void RunQueue::note_move(Clock::time_point now) {
  const std::chrono::nanoseconds since = now.time_since_epoch();
  moved_ns_.store(since.count(), std::memory_order_relaxed);
}

void RunQueue::run_batch(Chunk& chunk) {
  std::vector<Run*> mine;
  for (Run* run : chunk.runs) {
    if (run->start()) mine.push_back(run);
  }
  if (!mine.empty()) execute_batch(*chunk.batch, mine, *rules_);
  for (Run* run : chunk.runs) put(run);
  tell();
}

void RunQueue::stop(bool wait) {
  std::vector<std::thread> threads;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
    for (std::thread& thread : left_) threads.push_back(std::move(thread));
    left_.clear();
    changed_.notify_all();
  }
  for (std::thread& thread : threads) {
    if (wait) {
      thread.join();
    } else {
      thread.detach();
    }
  }
}

}  // namespace tusk::detail
