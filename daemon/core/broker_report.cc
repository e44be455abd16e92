// What a worker says of a run that goes on: progress, log lines, checkpoints; and that the run is
// put off, or its type.
#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Attribute;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

// write(out, request) writes what those get that follow the task in this (kFollow...).
template <typename Write>
void Broker::tell_followers(const Task& task, uint8_t what, size_t more, Write write) {
  auto tell = [&](const Asker& asker) {
    if (!(asker.follow & what)) return;
    const uint32_t session = caller_of(asker).session;
    // What they miss is not kept: it is out of date by the time they are back.
    if (session == kNone || sessions_[session].over_bound) return;
    write(writer(sessions_[session], more), asker.request);
  };
  tell(task.asker);
  for (const Asker& asker : task.more_askers) tell(asker);
}

// The run lives.
void Broker::sign_of_life(Task& task) {
  if (task.terms) task.terms->last_sign = now_;
}

void Broker::progress(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone || tasks_[t].state == TaskState::kGhost) return;
  Task& task = tasks_[t];
  sign_of_life(task);
  if (record.body.where == proto::BodyRef::Where::kNone) return;
  if (!check_body(Caller{.session = session.index}, record)) return;
  scratch_.clear();
  scratch_.forward(record.attributes.all, {Attribute::kAttempt});
  scratch_.number(Attribute::kAttempt, task.attempt);
  const proto::BodyOut body = body_out(record);
  const size_t more = kRecordOverhead + body.inline_bytes.size() + scratch_.entries().size();
  tell_followers(task, proto::kFollowProgress, more,
                 [&](Writer& out, uint64_t request) { out.progress(request, body, scratch_); });
}

void Broker::run_log(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone || tasks_[t].state == TaskState::kGhost) return;
  Task& task = tasks_[t];
  sign_of_life(task);
  scratch_.clear();
  scratch_.number(Attribute::kAttempt, task.attempt);
  const size_t more = kRecordOverhead + record.message.size();
  tell_followers(task, proto::kFollowLog, more, [&](Writer& out, uint64_t request) {
    out.log(request, record.level, record.message, scratch_);
  });
}

void Broker::checkpoint(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone || tasks_[t].state == TaskState::kGhost) return;
  sign_of_life(tasks_[t]);
  const size_t limit = sessions_[session.index].limits.checkpoint;
  const std::string_view body = body_view(record);
  if (body.size() > limit) {
    return too_large(Caller{.session = session.index}, record.ref,
                     "the checkpoint is larger than the limit", "checkpoint", limit);
  }
  proto::Bytes& checkpoint = terms_of(t).checkpoint;
  held_bytes_ -= checkpoint.size();
  checkpoint = body.empty() ? proto::Bytes() : proto::Bytes::copy(body);
  held_bytes_ += checkpoint.size();
}

void Broker::defer(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone) return;
  Task& task = tasks_[t];
  const uint32_t type = task.type, w = session.worker;
  release(t);
  if (task.state == TaskState::kGhost) {
    free_task(t);
  } else if (ended_as_told(t, session.name)) {
    // It was told to stop for good, and has.
  } else if (task.stop != Stop::kNone) {
    run_lost(t, session.name);
  } else if (task.orphan) {
    forget(t);
  } else {
    ++counters_.deferred;
    delay(t, std::chrono::milliseconds(record.time));
    give_back_if_stopping(t);
  }
  run_left(type);
  fill_worker(w);
}

void Broker::pause(Session& session, const Record& record) {
  const uint32_t t = own_run(session, record);
  if (t == kNone) return;
  pause_type(tasks_[t].type, std::chrono::milliseconds(record.time), "worker " + session.name);
}

// No task of the type starts for so long; the last word counts.
void Broker::pause_type(uint32_t index, Duration time, const std::string& who) {
  Type& type = scheduler_.type(index);
  timers_.cancel(type.pause_timer);
  if (time == Duration{0}) return pause_over(index);
  type.paused_until = now_ + time;
  type.pause_timer = timers_.add(type.paused_until, {Timer::Kind::kPause, index});
  scheduler_.close(index, type.closed | Type::kPaused);
  log(config::LogLevel::info, LogTopic::kPeer, [&] {
    return who + " paused " + (type.is_stage ? "stage " : "type ") + type.name + " for " +
           std::to_string(milliseconds(time)) + " ms";
  });
}

void Broker::pause_over(uint32_t type) {
  scheduler_.close(type, static_cast<uint8_t>(scheduler_.type(type).closed & ~Type::kPaused));
  serve_type(type);
}

}  // namespace tusk::core
