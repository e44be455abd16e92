// How a run ends: result, returned, retry, crash, cancel.
#include <algorithm>

#include "proto/writer.h"
#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

Run Model::take_run(Session& session, size_t index) {
  const Run run = session.runs[index];
  session.runs.erase(session.runs.begin() + static_cast<long>(index));
  if (!run.ghost) {
    Task& task = tasks_.at(run.id);
    task.session = 0;
    task.due = kNever;
  }
  return run;
}

void Model::on_result(Session& session, const Record& record, bool refused) {
  const Who who{.session = session.number};
  auto at = std::find_if(session.runs.begin(), session.runs.end(),
                         [&](const Run& run) { return run.handle == record.ref && run.handle; });
  if (at == session.runs.end()) {
    if (!refused) error(who, Rule::unknown_handle, record.ref, code::kUnknownHandle);
    return;
  }
  if (at->ghost) {
    take_run(session, static_cast<size_t>(at - session.runs.begin()));
    return settle();
  }
  const bool fits = !refused && check_body(who, record);
  const Run run = take_run(session, static_cast<size_t>(at - session.runs.begin()));
  Task& task = tasks_.at(run.id);
  const std::string worker = session.name;
  if (record.state == State::kSucceeded && fits) {
    if (task.is_item) {
      item_done(task, record);
    } else {
      const std::string body(body_view(record));
      const bool has_body = record.body.where != proto::BodyRef::Where::kNone;
      end(task, State::kSucceeded, has_body ? &body : nullptr, forwarded(record.attributes.all));
    }
  } else if (record.state == State::kCancelled && fits && !task.cancelled) {
    // It stopped on its own: another worker may do better.
    task.orphan ? forget(run.id) : place(task);
  } else {
    Attributes attributes;
    if (fits) {
      attributes = forwarded(record.attributes.all);
      attributes.erase(4);
      attributes.erase(6);
      attributes.erase(28);
    }
    if (!attributes.count(2)) attributes.emplace(2, kAny);
    run_failed(task, record, worker, fits, std::move(attributes));
  }
  settle();
}

namespace {

std::string packed(uint64_t number) {
  proto::Buffer buffer;
  proto::Packer(buffer).pack_uint64(number);
  return std::string(buffer.view());
}

std::string packed(const std::string& text) {
  proto::Buffer buffer;
  proto::Packer packer(buffer);
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
  return std::string(buffer.view());
}

Attributes reason(const Task& task, const std::string& worker) {
  Attributes out{{2, kAny}};
  if (task.attempt > 0) out[4] = packed(uint64_t{task.attempt});
  if (task.remembered > 0) out[28] = kAny;  // its history
  if (!worker.empty()) out[6] = packed(worker);
  return out;
}

}  // namespace

void Model::run_failed(Task& task, const Record& record, const std::string& worker, bool fits,
                       Attributes attributes) {
  if (task.cancelled) return end_cancelled(task, worker);
  if (record.attributes.crashed) return crash(task, worker);
  ++task.failures;
  const size_t attempts = config_->type(task.type).attempts;
  if (attempts > 1 && !task.is_item) ++task.remembered;
  const bool hopeless = record.attributes.no_retry || !fits;
  if (!hopeless && task.failures < attempts) {
    if (task.orphan) return forget(task.id);
    return back_off(task, task.failures);
  }
  attributes.merge(reason(task, worker));
  const std::string body(body_view(record));
  const bool has_body = fits && record.body.where != proto::BodyRef::Where::kNone;
  end(task, !hopeless && attempts > 1 ? State::kDead : State::kFailed, has_body ? &body : nullptr,
      std::move(attributes));
}

// Another run after a back-off that doubles with each; then it stands behind those that wait.
void Model::back_off(Task& task, uint32_t runs) {
  const config::TaskType& type = config_->type(task.type);
  std::chrono::nanoseconds wait = type.retry_backoff;
  const std::chrono::nanoseconds most = type.max_backoff;
  for (uint32_t i = 1; i < runs && wait < most; ++i) wait *= 2;
  task.phase = Phase::kBackoff;
  task.due = now_ + std::min(wait, most).count();
  alarm(task.due, {.what = Alarm::kBackoff, .id = task.id});
  if (stopping_ && !task.is_item) give_back(task.id, code::kShuttingDown, Rule::shutdown);
}

// What ran it died. The first time it runs again at once.
void Model::crash(Task& task, const std::string& worker) {
  ++task.crashes;
  task.suspect = true;
  if (task.cancelled) return end_cancelled(task, worker);
  if (task.orphan) return forget(task.id);
  if (!task.is_item) ++task.remembered;
  if (task.crashes >= config_->tuskd.limits.max_crashes) {
    ++coverage_[static_cast<size_t>(Rule::dead)];
    return end(task, State::kDead, nullptr, reason(task, worker));
  }
  if (task.crashes == 1) return place(task);
  back_off(task, task.crashes - 1);
}

void Model::on_returned(Session& session, const Record& record) {
  for (proto::Value value : record.value.items()) {
    const uint64_t handle = value.number().value_or(0);
    auto at = std::find_if(session.runs.begin(), session.runs.end(),
                           [&](const Run& run) { return run.handle == handle && handle; });
    if (at == session.runs.end()) continue;
    const Run run = take_run(session, static_cast<size_t>(at - session.runs.begin()));
    if (!run.ghost) {
      Task& task = tasks_.at(run.id);
      if (task.cancelled) {
        end_cancelled(task, session.name);
      } else if (task.orphan) {
        forget(run.id);
      } else {
        --task.attempt;  // it never ran
        place(task);
      }
    }
    // Its slot is free for the task itself, and for others once the whole record is read.
    settle();
  }
  settle();
}

void Model::on_slots(Session& session, const Record& record) {
  session.slots = std::min<uint64_t>(record.ref, config_->tuskd.limits.max_tasks);
  settle();
}

// --- cancel --------------------------------------------------------------------------------------

void Model::on_cancel(const Who& who, const Record& record) {
  auto say = [&](std::string_view state) {
    owe(who, {.rule = Rule::cancel_answer,
              .kind = Kind::kAnswer,
              .ref = record.ref,
              .name = std::string(state)});
  };
  const TaskId id = record.id();
  auto it = tasks_.find(id);
  if (it == tasks_.end()) {
    const Ended* ended = remembered(id);
    if (ended) return say(proto::state_name(ended->state));
    return error(who, Rule::cancel_answer, record.ref, code::kUnknownTask);
  }
  Task& task = it->second;
  if (task.phase == Phase::kEnded) return say(proto::state_name(task.ending));
  if (task.phase != Phase::kRunning) {
    queue_.erase(task.order);
    end_cancelled(task, "");
    say("cancelled");
    return settle();
  }
  say("cancelling");
  if (task.cancelled) return;
  task.cancelled = true;
  Session& session = sessions_.at(task.session);
  for (const Run& run : session.runs) {
    if (run.id != id || run.ghost) continue;
    owe_session(session, {.rule = Rule::cancel_told,
                          .kind = Kind::kCancel,
                          .ref = run.handle,
                          .name = "cancelled",
                          .id = id});
  }
  const Nanos grace = std::chrono::nanoseconds(config_->tuskd.times.cancel_grace).count();
  task.due = now_ + grace;
  alarm(task.due, {.what = Alarm::kCancel, .id = id});
}

// The worker did not answer the cancel: the task ends, its slot stays taken by a ghost.
void Model::cancel_grace_over(Task& task) {
  ++coverage_[static_cast<size_t>(Rule::cancel_grace)];
  Session& session = sessions_.at(task.session);
  for (Run& run : session.runs) {
    if (run.id == task.id) run.ghost = true;
  }
  const std::string worker = session.name;
  task.session = 0;
  end_cancelled(task, worker);
  settle();
}

}  // namespace tusk::simulation
