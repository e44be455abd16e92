#include "notices.h"

#include "payload.h"
#include "proto/scanner.h"
#include "run.h"
#include "terms.h"
#include "tusk/worker.h"

namespace tusk {
namespace detail {
namespace {

using proto::Kind;

constexpr std::size_t kMostBytes = 16 << 20;  // of progress and logs that wait
constexpr std::string_view kCutMark = " ... [cut]";

// A log line goes into a record, where text is UTF-8 and not endless.
std::string fitting(std::string_view text) {
  std::string line(text.substr(0, proto::kMaxLogText));
  if (text.size() > proto::kMaxLogText) {
    std::size_t size = proto::kMaxLogText - kCutMark.size();
    while (size > 0 && (line[size] & 0xC0) == 0x80) --size;
    line.resize(size);
    line += kCutMark;
  }
  if (!proto::is_utf8(line)) {
    for (char& c : line) {
      if (c & 0x80) c = '?';
    }
  }
  return line;
}

}  // namespace

void Notices::add(Run& run, Notice notice) {
  std::lock_guard lock(mutex_);
  if (bytes_ + notice.cost() > kMostBytes) return;
  queue(run, std::move(notice));
}

void Notices::keep(Run& run, std::optional<std::string> checkpoint) {
  std::lock_guard lock(mutex_);
  if (!run.said) run.said = std::make_unique<Said>();
  run.said->has_checkpoint = true;
  run.said->checkpoint = std::move(checkpoint);
  if (std::exchange(run.said->checkpoint_queued, true)) return;
  queue(run, {.kind = Kind::kCheckpoint});
}

void Notices::pause(Run& run, std::uint64_t ms) {
  std::lock_guard lock(mutex_);
  if (!run.said) run.said = std::make_unique<Said>();
  run.said->pause_ms = ms;
  if (std::exchange(run.said->pause_queued, true)) return;
  queue(run, {.kind = Kind::kPause});
}

void Notices::suspend(Run& run, std::vector<proto::TaskId> ids) {
  std::lock_guard lock(mutex_);
  if (!run.said) run.said = std::make_unique<Said>();
  if (std::exchange(run.said->suspend_queued, true)) return;
  queue(run, {.kind = Kind::kSuspend, .ids = std::move(ids)});
}

void Notices::send(Run& run, std::string body, bool compressed) {
  std::lock_guard lock(mutex_);
  queue(run, {.kind = Kind::kChunk, .body = std::move(body), .compressed = compressed});
}

void Notices::keep_again(Run& run) {
  std::lock_guard lock(mutex_);
  if (!run.said || !run.said->has_checkpoint) return;
  if (std::exchange(run.said->checkpoint_queued, true)) return;
  queue(run, {.kind = Kind::kCheckpoint});
}

// Under mutex_.
void Notices::queue(Run& run, Notice notice) {
  notice.run = &run;
  notice.serial = run.serial;
  bytes_ += notice.cost();
  queue_.push_back(std::move(notice));
  any_.store(true, std::memory_order_relaxed);
  fresh_.store(true, std::memory_order_seq_cst);
  wake_->notify();
}

bool Notices::drain(const std::function<bool(const Notice&)>& write) {
  std::lock_guard lock(mutex_);
  while (!queue_.empty()) {
    const Notice& notice = queue_.front();
    // What is not of a run that goes on any more is of no use; its place may be another's.
    const bool is_live = notice.serial == notice.run->serial && notice.run->may_speak();
    if (is_live && !write(notice)) return false;
    if (is_live && notice.kind == Kind::kCheckpoint) notice.run->said->checkpoint_queued = false;
    if (is_live && notice.kind == Kind::kPause) notice.run->said->pause_queued = false;
    if (is_live && notice.kind == Kind::kSuspend) notice.run->said->suspend_queued = false;
    bytes_ -= notice.cost();
    queue_.pop_front();
  }
  any_.store(false, std::memory_order_relaxed);
  return true;
}

}  // namespace detail

namespace {

detail::Notices& notices_of(detail::Run& run) { return *run.entry->notices; }

}  // namespace

// Whether it is compressed now. Throws TooLarge.
bool Context::fit(const char* what, std::string& body) const {
  const detail::ResultRules& rules = notices_of(*run_).rules();
  const std::size_t limit = rules.body.load(std::memory_order_relaxed);
  if (body.size() > limit) {
    throw TooLarge("too_large",
                   std::string(what) + " has " + std::to_string(body.size()) +
                       " bytes, the limit \"body\" is " + std::to_string(limit),
                   id_, "body", limit);
  }
  const std::size_t threshold = rules.threshold.load(std::memory_order_relaxed);
  return threshold > 0 && compress(body, {.body = limit, .lz4 = true, .threshold = threshold});
}

void Context::say_progress(std::string body) {
  if (!run_) return;
  const bool compressed = fit("the progress", body);
  notices_of(*run_).add(*run_, {.body = std::move(body), .compressed = compressed});
}

bool Context::has_stream() const { return run_ && run_->given && run_->given->stream; }

void Context::send_chunk(std::string body) {
  const bool compressed = fit("the chunk", body);
  if (!run_->given->stream->take(stop_)) throw Cancelled();
  notices_of(*run_).send(*run_, std::move(body), compressed);
}

void Context::heartbeat() {
  if (run_) notices_of(*run_).add(*run_, {});
}

void Context::log(LogLevel level, std::string_view text) {
  if (to_string(level).empty()) {
    throw Invalid("invalid", "a log level of " + std::to_string(static_cast<int>(level)) +
                                 " does not exist; there are 1 (debug) to 4 (error)");
  }
  if (!run_) return;
  notices_of(*run_).add(*run_,
                        {.kind = proto::Kind::kLog, .level = level, .text = detail::fitting(text)});
}

void Context::keep(std::string checkpoint) {
  if (!run_) return;
  const std::size_t limit = notices_of(*run_).rules().checkpoint.load(std::memory_order_relaxed);
  if (checkpoint.size() > limit) {
    throw TooLarge("too_large",
                   "the checkpoint has " + std::to_string(checkpoint.size()) +
                       " bytes, the limit \"checkpoint\" is " + std::to_string(limit),
                   id_, "checkpoint", limit);
  }
  notices_of(*run_).keep(*run_, std::move(checkpoint));
}

void Context::clear_checkpoint() {
  if (run_) notices_of(*run_).keep(*run_, std::nullopt);
}

const std::string* Context::kept() const {
  if (!run_ || !run_->given || !run_->given->checkpoint) return nullptr;
  return &*run_->given->checkpoint;
}

std::map<std::string, std::string> Context::labels() const {
  return run_ && run_->given ? run_->given->labels : std::map<std::string, std::string>();
}

std::optional<std::chrono::milliseconds> Context::time_left() const {
  if (!run_ || !run_->given || !run_->given->due) return std::nullopt;
  const auto left = *run_->given->due - std::chrono::steady_clock::now();
  return std::max(std::chrono::milliseconds(0),
                  std::chrono::duration_cast<std::chrono::milliseconds>(left));
}

void Context::pause_type(std::chrono::milliseconds time) {
  check_duration("the pause", time, std::chrono::milliseconds(0));
  if (run_) notices_of(*run_).pause(*run_, static_cast<std::uint64_t>(time.count()));
}

void Context::set_cost(std::int64_t units) {
  check_cost(units);
  if (run_) run_->cost.store(units, std::memory_order_relaxed);
}

std::string_view Context::cancel_reason() const {
  const char* reason = run_ ? run_->cancel_reason.load(std::memory_order_acquire) : nullptr;
  return reason ? reason : "";
}

Defer::Defer(std::chrono::milliseconds after) : after_(after) {
  check_duration("defer", after, std::chrono::milliseconds(0));
}

}  // namespace tusk
