// Runs and their answers. What is said about the worker as a whole (hello, claims, stopping) is in
// worker_session.cc.
#include "worker_core.h"

#include <algorithm>

#include "labels.h"
#include "payload.h"

namespace tusk::detail {
namespace {

using proto::Attribute;
using proto::Kind;

constexpr std::chrono::seconds kFinish{1};
constexpr std::size_t kResultBytes = 64;  // what a result's record has beside body and error

// Why a task is not carried out, in words for people.
std::string fault_of(const proto::Record& task) {
  if (task.fault == proto::code::kUnsupported) {
    return "attribute " + std::to_string(task.fault_number) + " is unknown here";
  }
  return std::string(task.fault_text) + ": " + std::string(task.fault_field);
}

// Handlers may look at it for longer than the record lives.
const char* reason_of(std::string_view text) {
  for (const char* known :
       {"cancelled", "deadline", "run_timeout", "heartbeat_timeout", "parent", "moved"}) {
    if (text == known) return known;
  }
  return "cancelled";  // a broker that says nothing, or what later ones say
}

}  // namespace

void WorkerCore::link_in(Run* run) {
  run->before = nullptr;
  run->behind = first_;
  if (first_) first_->before = run;
  first_ = run;
  ++live_;
  ++open_;
}

void WorkerCore::link_out(Run* run) {
  (run->before ? run->before->behind : first_) = run->behind;
  if (run->behind) run->behind->before = run->before;
  run->before = run->behind = nullptr;
  --live_;
}

void WorkerCore::is_ready(Run* run) {
  run->answer = Run::Answer::kReady;
  --open_;
  ready_.push_back(run);
}

void WorkerCore::forget(Run* run) {
  if (run->answer == Run::Answer::kOpen) --open_;
  link_out(run);
  run->answer = Run::Answer::kGone;
  release(run);
}

void WorkerCore::release(Run* run) {
  if (run->answer == Run::Answer::kGone && run->back) state_->pool.give_back(run);
}

void WorkerCore::record(const proto::Record& record, Incoming& packet) {
  switch (record.kind) {
    case Kind::kTask:
    case Kind::kItem:
      take_run(record, packet);
      break;
    case Kind::kCancel:
      cancel(record);
      break;
    case Kind::kRecall:
      recall(record);
      break;
    case Kind::kCredit:
      if (const Run* run = find_open(record.ref); run && run->given && run->given->stream) {
        run->given->stream->add(record.time);
      }
      break;
    case Kind::kResume:
      if (const Run* run = find_open(record.ref)) {
        if (auto awaiting = state_->children.find(*run)) awaiting->resume(false, nullptr);
      }
      break;
    case Kind::kDrain:
      state_->stop_requested = true;
      break;
    case Kind::kError:
      if (const Run* run = find_open(record.ref); run && state_->children.refused(*run, record)) {
        break;
      }
      // Of a result that the broker refused: it has ended its run all the same, and is acknowledged
      // like any other. One whose run somebody else has, the broker has dropped and counted.
      if (record.name != proto::code::kUnknownHandle) {
        link_.complain("an error from the broker: " + std::string(record.name) + " for run " +
                       std::to_string(record.ref) + ": " + std::string(record.message));
      }
      break;
    default:
      break;
  }
}

void WorkerCore::take_run(const proto::Record& record, Incoming& packet) {
  if (stopping_) {
    returned_.push_back({0, {record.ref}});
    return;
  }
  Run* run = state_->pool.take();
  run->id.bytes = record.id().bytes;
  run->attempt = record.attempt;
  run->is_item = record.kind == Kind::kItem;
  run->compressed = record.attributes.compression == proto::Compression::kLz4;
  run->codec = record.attributes.codec;
  run->handle = record.ref;
  run->answer = Run::Answer::kOpen;
  run->back = false;
  run->cancelled.store(false, std::memory_order_relaxed);
  run->cancel_reason.store(nullptr, std::memory_order_relaxed);
  run->cost.store(-1, std::memory_order_relaxed);
  run->awaits.store(false, std::memory_order_relaxed);
  run->deferred = false;
  ++run->serial;
  if (record.body.where == proto::BodyRef::Where::kFrame) {
    run->frame = packet.take(record.body.frame);
    run->body.clear();
  } else if (record.body.where == proto::BodyRef::Where::kInline) {
    run->body.assign(record.body.inline_bytes);
  } else {
    run->body.assign(1, static_cast<char>(0xC0));  // no body: null
    run->compressed = false;
    run->codec = 0;
  }
  link_in(run);
  if (!record.fault.empty()) {
    refuse(run, "tusk::Unsupported", fault_of(record));
    return;
  }

  run->entry = find_entry(record.name, run->is_item);
  if (!run->entry) {
    refuse(run, "tusk::UnknownType", "this worker has no such handler");
    return;
  }
  if (run->entry->wants_context) {
    run->stop.emplace();
    if (record.attributes.all) give(*run, record);
  }
  run->claim.store(Run::Claim::kQueued, std::memory_order_release);
  if (run->entry->batch_handler) {
    Entry& entry = *run->entry;
    if (entry.gathered.empty()) {
      entry.gather_until = Clock::now() + entry.batch.time;  // now_ is from before it slept
      gathering_.push_back(&entry);
    }
    entry.gathered.push_back(run);
    // The broker runs what may have killed its worker one at a time: nothing joins it.
    if (run->attempt > 1) entry.gather_until = now_;
    if (entry.gathered.size() >= entry.batch.items) {
      queue_->add_batch(entry, entry.gathered);
      std::erase(gathering_, &entry);
    }
  } else {
    chunk_.push_back(run);
  }
}

// What a handler may ask of its run, and seldom comes with it.
void WorkerCore::give(Run& run, const proto::Record& record) {
  const auto time_left = attribute(record, Attribute::kTimeLeft).number();
  const auto checkpoint = attribute(record, Attribute::kCheckpoint).binary();
  const auto labels = attribute(record, Attribute::kLabels);
  const auto stream = attribute(record, Attribute::kStream).number();
  if (!time_left && !checkpoint && !stream && !labels.is_map()) return;
  auto given = std::make_unique<Given>();
  given->labels = task_labels(labels);
  if (stream) given->stream = std::make_unique<Outflow>(*stream);
  if (time_left) {
    given->due =
        Clock::now() + std::chrono::milliseconds(std::min(*time_left, proto::kMaxDuration));
  }
  if (checkpoint) given->checkpoint = *checkpoint;
  run.given = std::move(given);
}

Run* WorkerCore::find_open(std::uint64_t handle) {
  Run* run = first_;
  while (run && (run->handle != handle || run->answer != Run::Answer::kOpen)) run = run->behind;
  return run;
}

Entry* WorkerCore::find_entry(std::string_view name, bool is_item) {
  // Most are of the same type as the one before.
  if (last_entry_ && last_entry_->is_stage == is_item && last_entry_->name == name) {
    return last_entry_;
  }
  auto& all = is_item ? state_->stages : state_->tasks;
  const auto at = all.find(std::string(name));
  return at == all.end() ? nullptr : last_entry_ = at->second.get();
}

// Answers a run that this worker cannot carry out, in place of a handler.
void WorkerCore::refuse(Run* run, std::string_view type, std::string message) {
  run->entry = nullptr;
  run->claim.store(Run::Claim::kWithdrawn, std::memory_order_relaxed);
  run->back = true;
  run->state = proto::State::kFailed;
  run->has_result = run->result_compressed = false;
  run->no_retry = true;
  run->error_type = type;
  run->error_message = std::move(message);
  is_ready(run);
}

void WorkerCore::packet_ends() {
  forget_acknowledged();
  queue_->add(chunk_);
}

// A run that has not started ends here; one that runs is told, and answers when it stops.
void WorkerCore::cancel(const proto::Record& record) {
  const char* const reason = reason_of(attribute(record, Attribute::kReason).text().value_or(""));
  Run* run = find_open(record.ref);
  if (!run) return;
  run->cancel_reason.store(reason, std::memory_order_release);
  run->cancelled.store(true, std::memory_order_release);
  if (run->withdraw()) {
    run->state = proto::State::kCancelled;
    run->has_result = run->result_compressed = run->no_retry = false;
    is_ready(run);
  } else if (run->stop) {
    run->stop->request_stop();
  }
}

void WorkerCore::recall(const proto::Record& record) {
  std::vector<std::uint64_t> wanted;
  for (proto::Value handle : record.value.items()) wanted.push_back(*handle.number());
  std::sort(wanted.begin(), wanted.end());
  Returned answer{record.ref, {}};
  for (Run* run = first_; run;) {
    Run* next = run->behind;
    if (run->answer == Run::Answer::kOpen &&
        std::binary_search(wanted.begin(), wanted.end(), run->handle) && run->withdraw()) {
      answer.handles.push_back(run->handle);
      forget(run);
    }
    run = next;
  }
  returned_.push_back(std::move(answer));
}

void WorkerCore::give_batches(Clock::time_point now) {
  for (std::size_t i = 0; i < gathering_.size();) {
    Entry& entry = *gathering_[i];
    if (entry.gather_until <= now) {
      queue_->add_batch(entry, entry.gathered);
      gathering_.erase(gathering_.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
}

void WorkerCore::collect() {
  done_.clear();
  queue_->collect(done_, now_);
  for (Run* run : done_) {
    run->back = true;
    if (run->answer == Run::Answer::kGone) {
      release(run);
    } else if (run->answer == Run::Answer::kOpen) {
      is_ready(run);
    }
  }
}

WorkerCore::Clock::time_point WorkerCore::work(Clock::time_point now) {
  now_ = now;
  state_->notices.look();
  collect();
  give_batches(now);
  const unsigned signals = signals_ ? signals_->count() : 0;
  if ((state_->stop_requested || signals > 0) && !stopping_) begin_stop(now);
  if (signals > 1) stop_by_ = std::min(stop_by_, now);  // asked twice: at once
  // Results that are not acknowledged when it ends have others run their tasks again: a broker that
  // is slow has the whole stop_timeout, one that is not there a second.
  if (stopping_ && (open_ == 0 || past_stop())) {
    if (!link_.finishing()) finish_from_ = now;
    const auto last = std::max(stop_by_, finish_from_ + kFinish);
    link_.finish(link_.connected()
                     ? last
                     : std::min(last, std::max(finish_from_, link_.unreachable_since()) + kFinish));
  }

  auto due = stopping_ && !link_.finishing() ? stop_by_ : Clock::time_point::max();
  for (Entry* entry : gathering_) due = std::min(due, entry->gather_until);
  if (state_->supervised && !link_.connected() && !stopping_) {
    const auto give_up = link_.unreachable_since() + adopt_grace_;
    if (give_up <= now) {
      link_.complain("no broker at " + link_.url() + " for " +
                     std::to_string(adopt_grace_.count()) + " ms: this worker ends");
      begin_stop(now);
      stop_by_ = now;
      link_.finish(now);
    }
    due = std::min(due, give_up);
  }
  return due;
}

// The last question before sleep.
bool WorkerCore::has_work() {
  return queue_->has_done() || state_->notices.is_fresh() ||
         (state_->stop_requested && !stopping_) ||
         (signals_ && signals_->count() > (stopping_ ? 1u : 0u) && !past_stop());
}

void WorkerCore::fill(proto::Writer& out, std::uint64_t seq) {
  if (tell_slots_) {
    out.slots(0);
    tell_slots_ = false;
  }
  while (!returned_.empty()) {
    Returned& r = returned_.front();
    // Many handles at once are rare: those of a stop, at most slots; split to fit.
    constexpr std::size_t kAtOnce = 4096;
    const std::size_t count = std::min(r.handles.size(), kAtOnce);
    if (link_.full(out, 32 + 9 * count, 0)) return;
    out.returned(r.recall, r.handles.data(), count);
    if (count == r.handles.size()) {
      returned_.pop_front();
    } else {
      // One answer per recall: what is too long for it goes back unasked.
      r.recall = 0;
      r.handles.erase(r.handles.begin(), r.handles.begin() + static_cast<std::ptrdiff_t>(count));
    }
  }
  if (!fill_notices(out)) return;
  while (!ready_.empty()) {
    Run* run = ready_.front();
    if (!run->result_frame && run->result.size() >= link_.frame_body()) {
      run->result_frame = proto::Bytes::copy(run->result);
      run->result.clear();
    }
    const std::size_t error = run->state == proto::State::kFailed
                                  ? run->error_type.size() + run->error_message.size() + 64
                                  : 0;
    if (link_.full(out, kResultBytes + run->result.size() + error, run->result_frame.size())) {
      return;
    }
    ready_.pop_front();
    write_result(out, *run);
    run->answer = Run::Answer::kSent;
    run->seq = seq;
    sent_.push_back(run);
  }
}

// What runs said before they were done goes before their results. False: the packet is full.
bool WorkerCore::fill_notices(proto::Writer& out) {
  if (!state_->notices.any()) return true;
  return state_->notices.drain([&](const Notice& notice) { return write_notice(out, notice); });
}

bool WorkerCore::write_notice(proto::Writer& out, const Notice& notice) {
  const Run& run = *notice.run;
  const bool keeps = notice.kind == Kind::kCheckpoint;
  const std::optional<std::string>& bytes = keeps ? run.said->checkpoint : notice.body;
  const std::size_t size = bytes ? bytes->size() : 0;
  // The limits may be those of another session than when it was said.
  if (size > (keeps ? link_.limits().checkpoint : link_.limits().body)) return true;
  const bool alone = size >= link_.frame_body();
  if (link_.full(out,
                 kResultBytes + notice.text.size() + 18 * notice.ids.size() + (alone ? 0 : size),
                 alone ? size : 0)) {
    return false;
  }
  proto::BodyOut body;
  if (bytes) {
    body = alone ? proto::BodyOut{true, {}, proto::Bytes::copy(*bytes)}
                 : proto::BodyOut::copied(*bytes);
  }
  attributes_.clear();
  switch (notice.kind) {
    case Kind::kCheckpoint:
      out.checkpoint(run.handle, body);
      break;
    case Kind::kPause:
      out.pause(run.handle, run.said->pause_ms);
      break;
    case Kind::kLog:
      out.log(run.handle, static_cast<std::uint32_t>(notice.level), notice.text, attributes_);
      break;
    case Kind::kSuspend:
      out.suspend(run.handle, notice.ids.data(), notice.ids.size(), notice.ids.size());
      break;
    case Kind::kChunk:
      if (notice.compressed) attributes_.number(Attribute::kCompression, 1);
      out.chunk(run.handle, body, attributes_);
      break;
    default:
      if (notice.compressed) attributes_.number(Attribute::kCompression, 1);
      out.progress(run.handle, body, attributes_);
      break;
  }
  return true;
}

void WorkerCore::write_result(proto::Writer& out, Run& run) {
  if (run.deferred) {
    out.defer(run.handle, run.defer_ms);
    return;
  }
  attributes_.clear();
  if (run.result_compressed && run.state == proto::State::kSucceeded) {
    attributes_.number(Attribute::kCompression, 1);
  }
  if (const auto cost = run.cost.load(std::memory_order_relaxed); cost >= 0) {
    attributes_.number(Attribute::kCost, static_cast<std::uint64_t>(cost));
  }
  if (run.state == proto::State::kFailed) {
    if (run.no_retry) attributes_.flag(Attribute::kNoRetry);
    attributes_.error(run.error_type, run.error_message, "cpp");
  }
  proto::BodyOut body;
  if (run.state == proto::State::kSucceeded && run.has_result) {
    body = run.result_frame ? proto::BodyOut{true, {}, run.result_frame}
                            : proto::BodyOut::copied(run.result);
  }
  out.result(run.handle, run.state, body, attributes_);
}

// Only when the packet that acknowledges them is read to its end: it may also say that what they
// came in was refused.
void WorkerCore::forget_acknowledged() {
  while (!sent_.empty() && sent_.front()->seq <= acknowledged_) {
    Run* run = sent_.front();
    sent_.pop_front();
    forget(run);
  }
}

// Another answer in place of one that was sent and is out of sent_.
void WorkerCore::answer_again(Run* run, std::string_view type, std::string message) {
  run->state = proto::State::kFailed;
  run->deferred = false;
  run->no_retry = true;
  run->error_type = type;
  run->error_message = std::move(message);
  run->result_frame = proto::Bytes();
  run->answer = Run::Answer::kOpen;
  ++open_;
  is_ready(run);
}

bool WorkerCore::refused_packet(std::uint64_t seq, const proto::Record& error) {
  static constexpr std::string_view kType = "tusk::Malformed";
  const auto is_in = [seq](Run* run) { return run->seq == seq; };
  // If there is nothing else in it than such answers, one more is not the cure.
  if (std::none_of(sent_.begin(), sent_.end(), [&](Run* run) {
        return is_in(run) && (run->state != proto::State::kFailed || run->error_type != kType);
      })) {
    return false;
  }
  const auto first = std::find_if(sent_.begin(), sent_.end(), is_in);
  const auto last = std::find_if_not(first, sent_.end(), is_in);
  const std::vector<Run*> runs(first, last);
  sent_.erase(first, last);
  for (Run* run : runs) {
    answer_again(run, kType,
                 "the broker refused the packet with the result: " + std::string(error.message));
  }
  return true;
}

// A result that the broker's socket cannot take is replaced by an error that it can.
void WorkerCore::dropped(std::uint64_t seq) {
  for (auto at = sent_.begin(); at != sent_.end();) {
    Run* run = *at;
    if (run->seq != seq || !run->result_frame) {
      ++at;
      continue;
    }
    at = sent_.erase(at);
    answer_again(run, "tusk::TooLarge",
                 "the broker ended the connection each time that this result of " +
                     std::to_string(run->result_size()) + " bytes was sent");
  }
}

}  // namespace tusk::detail
