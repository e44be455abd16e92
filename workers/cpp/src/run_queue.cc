#include "run_queue.h"

#include <pthread.h>
#include <signal.h>

namespace tusk::detail {
namespace {

// A finished run waits so long for others of its chunk before the link is told. Beyond that the
// link's own look, once a millisecond, is the bound: a long run may follow a short one.
constexpr auto kHoldBack = std::chrono::microseconds(100);

}  // namespace

void RunQueue::start(unsigned threads) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  for (unsigned i = 0; i < threads; ++i) bins_.push_back(std::make_unique<Bin>());
  for (unsigned i = 0; i < threads; ++i) {
    // Each holds the queue: a handler that does not end outlives the worker.
    threads_.emplace_back([self = shared_from_this(), &bin = *bins_[i]] {
      pthread_setname_np(pthread_self(), "tusk-handler");
      self->work(bin);
    });
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
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
  std::lock_guard lock(mutex_);
  chunks_.push_back(std::move(chunk));
  // One is enough: whoever takes a chunk with more in it wakes the next.
  if (idle_ > 0) changed_.notify_one();
}

void RunQueue::collect(std::vector<Run*>& done, Clock::time_point now) {
  // Cleared first and in any case: who told of something has put it in before.
  const bool told = told_.load(std::memory_order_relaxed);
  if (told) told_.store(false, std::memory_order_seq_cst);
  if (holding_.load(std::memory_order_seq_cst) == 0) return;
  if (!told) {
    if (seen_ == kNever) seen_ = now;
    if (now - seen_ < kHoldBack) return;
  }
  seen_ = kNever;
  for (auto& bin : bins_) {
    std::lock_guard lock(bin->mutex);
    if (!bin->holds) continue;
    done.insert(done.end(), bin->done.begin(), bin->done.end());
    bin->done.clear();
    bin->holds = false;
    holding_.fetch_sub(1, std::memory_order_seq_cst);
  }
}

// A thread that puts something into its bin looks at looking_ behind it; this thread looks at the
// bins behind looking_. So one of the two sees the other.
bool RunQueue::must_look_again() {
  looking_.store(false, std::memory_order_seq_cst);
  const bool must = holding_.load(std::memory_order_seq_cst) > 0;
  if (must) looking_.store(true, std::memory_order_seq_cst);
  if (must && seen_ == kNever) seen_ = Clock::now() - kHoldBack;  // at the next look it is due
  return must;
}

bool RunQueue::put(Bin& bin, Run* const* runs, std::size_t count) {
  std::lock_guard lock(bin.mutex);
  bin.done.insert(bin.done.end(), runs, runs + count);
  if (bin.holds) return false;
  bin.holds = true;
  holding_.fetch_add(1, std::memory_order_seq_cst);
  return true;
}

void RunQueue::tell() {
  told_.store(true, std::memory_order_seq_cst);
  wake_->notify();
}

std::shared_ptr<RunQueue::Chunk> RunQueue::next_chunk() {
  std::unique_lock lock(mutex_);
  for (;;) {
    while (!chunks_.empty() && chunks_.front()->is_taken()) chunks_.pop_front();
    if (!chunks_.empty()) {
      const bool is_more = chunks_.size() > 1 || chunks_.front()->size() > 1;
      if (is_more && idle_ > 0) changed_.notify_one();
      return chunks_.front();
    }
    if (stopping_) return nullptr;
    ++idle_;
    changed_.wait(lock);
    --idle_;
  }
}

void RunQueue::work(Bin& bin) {
  Clock::time_point held_since;
  for (;;) {
    const std::shared_ptr<Chunk> chunk = next_chunk();
    if (!chunk) return;
    if (chunk->batch) {
      if (chunk->next.fetch_add(1) == 0) run_batch(*chunk, bin);
      continue;
    }
    bool is_untold = false;
    for (;;) {
      const std::size_t index = chunk->next.fetch_add(1, std::memory_order_relaxed);
      if (index >= chunk->runs.size()) break;
      Run* run = chunk->runs[index];
      if (run->start()) execute(*run, *rules_);
      const auto now = Clock::now();
      if (put(bin, &run, 1)) held_since = now;
      is_untold = true;
      const bool looked_at = wake_->awake() || looking_.load(std::memory_order_seq_cst);
      if (!looked_at || now - held_since >= kHoldBack) {
        tell();
        is_untold = false;
      }
    }
    if (is_untold) tell();
  }
}

void RunQueue::run_batch(Chunk& chunk, Bin& bin) {
  std::vector<Run*> mine;
  for (Run* run : chunk.runs) {
    if (run->start()) mine.push_back(run);
  }
  if (!mine.empty()) execute_batch(*chunk.batch, mine, *rules_);
  put(bin, chunk.runs.data(), chunk.runs.size());
  tell();
}

void RunQueue::stop(bool wait) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  for (std::thread& thread : threads_) {
    if (wait) {
      thread.join();
    } else {
      thread.detach();
    }
  }
  threads_.clear();
}

}  // namespace tusk::detail
