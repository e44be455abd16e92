#include "inflow.h"

#include <utility>

#include "client_core.h"
#include "proto/wire.h"
#include "terms.h"

namespace tusk {
namespace detail {

std::optional<Chunk> Inflow::next() {
  std::uint64_t credit = 0, session = 0;
  Arrived next;
  {
    std::unique_lock lock(mutex_);
    for (;;) {
      if (is_closed_) throw Closed("closed", "the stream was closed", id_);
      changed_.wait(lock, [this] { return is_done_ || !waiting_.empty(); });
      if (waiting_.empty()) {
        is_read_ = true;
        if (failure_) raise(*failure_);
        return std::nullopt;
      }
      next = std::move(waiting_.front());
      waiting_.pop_front();
      // Of the attempt before the program may have seen nothing.
      if (next.restarted == 0 || has_given_) break;
    }
    if (next.restarted > 0) throw StreamRestarted(id_, next.restarted);
    if (next.missing > 0) throw StreamBroken(id_, next.missing);
    has_given_ = true;
    credit = credit_for(next);
    session = session_;
  }
  auto client = client_.lock();
  if (credit > 0 && client) {
    try {
      client->hand_over(Submission::Op::kCredit, {}, {}, false, CallOptions{.id = id_}, nullptr,
                        {.inflow = shared_from_this(), .credit = credit, .session = session});
    } catch (const Closed&) {
      // What has arrived may be read all the same.
    }
  }
  return std::move(next.chunk);
}

// How much to give for it and those before; 0 until that is half of the window. Under mutex_.
std::uint64_t Inflow::credit_for(const Arrived& chunk) {
  if (chunk.session != session_) return 0;  // asked for again, it has its whole window
  if (++credit_ < (window + 1) / 2) return 0;
  return std::exchange(credit_, 0);
}

Chunk Inflow::result() {
  std::lock_guard lock(mutex_);
  if (!is_read_) {
    throw Invalid("invalid",
                  "the stream was not read to its end; the result comes behind the last chunk",
                  id_);
  }
  if (failure_) raise(*failure_);
  return result_;
}

void Inflow::close() {
  {
    std::lock_guard lock(mutex_);
    if (is_read_ || std::exchange(is_closed_, true)) return;
    waiting_.clear();
    changed_.notify_all();
    if (is_done_) return;
  }
  try {
    if (auto client = client_.lock()) cancel(*client, id_);
  } catch (const Error&) {
    // Closed: the task goes on, as those do that nobody waits for.
  }
}

void Inflow::push(Arrived what) {
  std::lock_guard lock(mutex_);
  if (is_closed_) return;
  what.session = session_;
  waiting_.push_back(std::move(what));
  changed_.notify_all();
}

void Inflow::take(std::uint64_t attempt, std::uint64_t index, Chunk what) {
  if (attempt < attempt_) return;  // of a run that is over
  if (attempt > attempt_) {
    if (attempt_ > 0) push({.chunk = {}, .restarted = attempt});
    attempt_ = attempt;
    index_ = 0;
  }
  if (index > index_ + 1) push({.chunk = {}, .missing = index - index_ - 1});
  index_ = index;
  push({.chunk = std::move(what)});
}

void Inflow::take_count(std::uint64_t attempt, std::optional<std::uint64_t> chunks) {
  const std::uint64_t came = attempt == attempt_ || attempt == 0 ? index_ : 0;
  if (chunks && *chunks > came) push({.chunk = {}, .missing = *chunks - came});
}

void Inflow::finish(const Ending& ending) {
  std::lock_guard lock(mutex_);
  is_done_ = true;
  result_ = {std::string(ending.body()), ending.codec()};
  failure_ = ending.failure();
  number = 0;
  changed_.notify_all();
}

void Inflow::again() {
  std::lock_guard lock(mutex_);
  number = 0;
  ++session_;
  credit_ = 0;
}

std::uint64_t Inflow::session() {
  std::lock_guard lock(mutex_);
  return session_;
}

std::optional<Chunk> next_chunk(Inflow& inflow) { return inflow.next(); }
Chunk stream_result(Inflow& inflow) { return inflow.result(); }
void close_stream(const std::shared_ptr<Inflow>& inflow) { inflow->close(); }

}  // namespace detail

std::pair<TaskId, std::shared_ptr<detail::Inflow>> Client::open_stream(std::string_view type,
                                                                       std::string body,
                                                                       const CallOptions& options) {
  constexpr std::size_t kWindow = 16;
  const std::size_t window = options.window.value_or(kWindow);
  if (window < 1 || window > proto::kMaxStream) {
    throw Invalid("invalid", "window is " + std::to_string(window) +
                                 " chunks, and has to be from 1 to " +
                                 std::to_string(proto::kMaxStream));
  }
  auto inflow = std::make_shared<detail::Inflow>(window, core_);
  CallOptions own = options;
  if (!own.id) own.id = TaskId::make();
  inflow->set_id(*own.id);
  core_->hand_over(detail::Submission::Op::kSubmit, type, std::move(body), true, own,
                   [inflow](const Ending& ending) { inflow->finish(ending); }, {.inflow = inflow});
  return {*own.id, std::move(inflow)};
}

}  // namespace tusk
