#include "errors.h"

#include <algorithm>

namespace tusk {
namespace {

namespace code = proto::code;

std::string text_of(proto::Value map, std::string_view key) {
  return std::string(map.get(key).text().value_or(""));
}

std::string failure_text(const RemoteError& remote) {
  std::string text = remote.type.empty() ? "the task failed" : remote.type;
  if (!remote.message.empty()) text += ": " + remote.message;
  if (!remote.language.empty()) text += " (" + remote.language;
  if (!remote.worker.empty()) text += (remote.language.empty() ? " (" : ", ") + remote.worker;
  if (!remote.language.empty() || !remote.worker.empty()) text += ")";
  return text;
}

}  // namespace

TaskFailed::TaskFailed(std::string code, const TaskId& task, RemoteError remote)
    : Error(std::move(code), failure_text(remote), task), remote_(std::move(remote)) {}

TaskCancelled::TaskCancelled(const TaskId& task, std::vector<Attempt> history)
    : Error("cancelled", "task " + task.hex() + " was cancelled", task),
      history_(std::move(history)) {}

TaskExpired::TaskExpired(const TaskId& task, std::vector<Attempt> history)
    : Error("expired", "the deadline of task " + task.hex() + " passed", task),
      history_(std::move(history)) {}

FailurePtr failure(std::string_view c, std::string reason, const std::optional<TaskId>& task,
                   std::string limit, std::uint64_t value) {
  auto f = std::make_shared<detail::Failure>();
  f->code = c;
  f->reason = std::move(reason);
  f->task = task;
  f->limit = std::move(limit);
  f->value = value;
  return f;
}

FailurePtr unavailable(const std::string& url, std::string reason,
                       const std::optional<TaskId>& task) {
  auto f = std::make_shared<detail::Failure>();
  f->code = "unavailable";
  f->reason = std::move(reason);
  f->task = task;
  f->url = url;
  return f;
}

FailurePtr failure_of(const proto::Record& error, const std::optional<TaskId>& task,
                      const std::string& url) {
  if (error.name == code::kShuttingDown) {
    return unavailable(url, std::string(error.message), task);
  }
  if (error.name == code::kDuplicate) {
    auto f = std::make_shared<detail::Failure>();
    f->code = error.name;
    f->reason = error.message;
    f->task = task;
    f->holder = TaskId::parse(text_of(error.value, "id")).value_or(TaskId{});
    f->state = text_of(error.value, "state");
    return f;
  }
  return failure(error.name, std::string(error.message), task, text_of(error.value, "limit"),
                 error.value.get("value").number().value_or(0));
}

std::optional<TaskId> task_of(const proto::Record& result) {
  const auto bytes = attribute(result, proto::Attribute::kTask).binary();
  if (!bytes || bytes->size() != 16) return std::nullopt;
  TaskId id;
  std::copy(bytes->begin(), bytes->end(), id.bytes.begin());
  return id;
}

void detail::raise(const Failure& f) {
  const std::string& c = f.code;
  if (c == "failed") throw TaskFailed(c, f.task.value_or(TaskId{}), f.remote);
  if (c == "dead") throw TaskDead(c, f.task.value_or(TaskId{}), f.remote);
  if (c == "cancelled") throw TaskCancelled(f.task.value_or(TaskId{}), f.remote.history);
  if (c == "expired") throw TaskExpired(f.task.value_or(TaskId{}), f.remote.history);
  if (c == "value") throw ValueError(f.reason);
  if (c == "closed") throw Closed(c, f.reason, f.task);
  if (c == "slow_subscriber") throw SlowSubscriber(c, f.reason);
  if (c == "unavailable") throw Unavailable(f.url, f.reason, f.task);
  if (c == code::kTimeout) throw Timeout(c, f.reason, f.task);
  if (c == code::kUnserved) throw Unserved(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kBusy) throw Busy(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kFull) throw Full(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kTooLarge) throw TooLarge(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kIdConflict) throw IdConflict(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kDuplicate) throw Duplicate(f.reason, f.task, f.holder, f.state);
  if (c == code::kAlreadyEnded) throw AlreadyEnded(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kUnknownOutcome) throw UnknownOutcome(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kUnknownTopic) throw UnknownTopic(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kUnknownStage) throw UnknownStage(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kUnknownTask) throw UnknownTask(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kRefused) throw Refused(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kInvalid) throw Invalid(c, f.reason, f.task, f.limit, f.value);
  if (c == code::kMalformed) throw Malformed(c, f.reason, f.task, f.limit, f.value);
  throw BrokerError(c, f.reason, f.task, f.limit, f.value);
}

proto::Value attribute(const proto::Record& record, proto::Attribute key) {
  bool is_key = true, found = false;
  for (proto::Value item : record.attributes.all.items()) {
    if (!is_key && found) return item;
    if (is_key) found = item.number() == static_cast<std::uint64_t>(key);
    is_key = !is_key;
  }
  return {};
}

namespace {

std::vector<Attempt> history_of(proto::Value list) {
  const auto ms = [](proto::Value time) {
    return std::chrono::milliseconds(time.number().value_or(0));
  };
  std::vector<Attempt> runs;
  if (!list.is_array()) return runs;
  for (proto::Value run : list.items()) {
    const proto::Value error = run.get("error");
    runs.push_back({.attempt = run.get("attempt").number().value_or(0),
                    .worker = text_of(run, "worker"),
                    .started = ms(run.get("started")),
                    .ended = ms(run.get("ended")),
                    .type = text_of(error, "type"),
                    .message = text_of(error, "message"),
                    .language = text_of(error, "language"),
                    .stack = text_of(error, "stack")});
  }
  return runs;
}

}  // namespace

FailurePtr ending_of(const proto::Record& result, const TaskId& task) {
  auto f = std::make_shared<detail::Failure>();
  f->code = proto::state_name(result.state);  // "failed", "dead", "cancelled", "expired"
  f->task = task;
  const proto::Value map = attribute(result, proto::Attribute::kError);
  f->remote.type = text_of(map, "type");
  f->remote.message = text_of(map, "message");
  f->remote.language = text_of(map, "language");
  f->remote.stack = text_of(map, "stack");
  f->remote.worker = std::string(attribute(result, proto::Attribute::kWorker).text().value_or(""));
  f->remote.attempt = attribute(result, proto::Attribute::kAttempt).number().value_or(0);
  f->remote.retry = !result.attributes.no_retry;
  f->remote.history = history_of(attribute(result, proto::Attribute::kHistory));
  return f;
}

}  // namespace tusk
