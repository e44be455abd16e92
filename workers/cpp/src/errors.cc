#include "errors.h"

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

template <class E>
std::exception_ptr make(std::string_view c, std::string_view message,
                        const std::optional<TaskId>& task, std::string limit,
                        std::uint64_t value) {
  return std::make_exception_ptr(
      E(std::string(c), std::string(message), task, std::move(limit), value));
}

}  // namespace

TaskFailed::TaskFailed(std::string code, const TaskId& task, RemoteError remote)
    : Error(std::move(code), failure_text(remote), task), remote_(std::move(remote)) {}

TaskCancelled::TaskCancelled(const TaskId& task)
    : Error("cancelled", "task " + task.hex() + " was cancelled", task) {}

TaskExpired::TaskExpired(const TaskId& task)
    : Error("expired", "the deadline of task " + task.hex() + " passed", task) {}

std::exception_ptr broker_error(std::string_view c, std::string_view message,
                                const std::optional<TaskId>& task, const std::string& url,
                                std::string limit, std::uint64_t value) {
  if (c == code::kTimeout) {
    return std::make_exception_ptr(Timeout(std::string(c), std::string(message), task));
  }
  if (c == code::kShuttingDown) {
    return std::make_exception_ptr(Unavailable(url, std::string(message), task));
  }
  if (c == code::kUnserved) return make<Unserved>(c, message, task, limit, value);
  if (c == code::kBusy) return make<Busy>(c, message, task, limit, value);
  if (c == code::kFull) return make<Full>(c, message, task, limit, value);
  if (c == code::kTooLarge) return make<TooLarge>(c, message, task, limit, value);
  if (c == code::kIdConflict) return make<IdConflict>(c, message, task, limit, value);
  if (c == code::kAlreadyEnded) return make<AlreadyEnded>(c, message, task, limit, value);
  if (c == code::kUnknownOutcome) return make<UnknownOutcome>(c, message, task, limit, value);
  if (c == code::kUnknownTopic) return make<UnknownTopic>(c, message, task, limit, value);
  if (c == code::kUnknownStage) return make<UnknownStage>(c, message, task, limit, value);
  if (c == code::kUnknownTask) return make<UnknownTask>(c, message, task, limit, value);
  if (c == code::kRefused) return make<Refused>(c, message, task, limit, value);
  return make<BrokerError>(c, message, task, limit, value);
}

std::exception_ptr error_of(const proto::Record& error, const std::optional<TaskId>& task,
                            const std::string& url) {
  return broker_error(error.name, error.message, task, url, text_of(error.value, "limit"),
                      error.value.get("value").number().value_or(0));
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

std::exception_ptr ending_of(const proto::Record& result, const TaskId& task) {
  const proto::Value map = attribute(result, proto::Attribute::kError);
  if (result.state == proto::State::kCancelled) {
    return std::make_exception_ptr(TaskCancelled(task));
  }
  if (result.state == proto::State::kExpired) return std::make_exception_ptr(TaskExpired(task));
  RemoteError remote;
  remote.type = text_of(map, "type");
  remote.message = text_of(map, "message");
  remote.language = text_of(map, "language");
  remote.stack = text_of(map, "stack");
  remote.worker =
      std::string(attribute(result, proto::Attribute::kWorker).text().value_or(""));
  remote.attempt = attribute(result, proto::Attribute::kAttempt).number().value_or(0);
  remote.retry = !result.attributes.no_retry;
  if (result.state == proto::State::kDead) {
    return std::make_exception_ptr(TaskDead("dead", task, std::move(remote)));
  }
  return std::make_exception_ptr(TaskFailed("failed", task, std::move(remote)));
}

}  // namespace tusk
