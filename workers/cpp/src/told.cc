#include "told.h"

#include <cstring>

#include "tusk/convert.h"

namespace tusk {
namespace {

// Of the answer to a query.
struct ToldError {
  std::optional<std::string> type, message, language, stack;
  TUSK_FIELDS(type, message, language, stack);
};
struct ToldRun {
  std::uint64_t attempt = 0;
  std::optional<std::string> worker;
  std::int64_t started = 0, ended = 0;
  std::optional<ToldError> error;
  TUSK_FIELDS(attempt, worker, started, ended, error);
};
struct ToldTask {
  std::string state;
  std::optional<std::string> type, worker, group;
  std::optional<Bytes> id, parent;
  std::optional<std::map<std::string, std::string>> labels;
  std::optional<std::uint64_t> attempts, failures, crashes;
  std::optional<int> priority;
  std::optional<std::int64_t> age;
  std::optional<std::vector<ToldRun>> history;
  std::optional<ToldError> error;
  TUSK_FIELDS(state, type, worker, group, id, parent, labels, attempts, failures, crashes, priority,
              age, history, error);
};

// To an Attempt or a RemoteError.
void tell(const ToldError& error, auto& out) {
  out.type = error.type.value_or("");
  out.message = error.message.value_or("");
  out.language = error.language.value_or("");
  out.stack = error.stack.value_or("");
}

Attempt attempt_of(const ToldRun& run) {
  Attempt out;
  out.attempt = run.attempt;
  out.worker = run.worker.value_or("");
  out.started = std::chrono::milliseconds(run.started);
  out.ended = std::chrono::milliseconds(run.ended);
  if (run.error) tell(*run.error, out);
  return out;
}

TaskId id_of(const Bytes& bytes) {
  TaskId id;
  if (bytes.size() == id.bytes.size()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

}  // namespace

TaskStatus status_of(const Value& value) {
  const auto told = value.as<ToldTask>();
  TaskStatus status;
  if (told.id) status.id = id_of(*told.id);
  if (told.parent) status.parent = id_of(*told.parent);
  status.labels = told.labels.value_or(std::map<std::string, std::string>());
  status.group = told.group.value_or("");
  status.state = told.state;
  status.type = told.type.value_or("");
  status.attempts = told.attempts.value_or(0);
  status.failures = told.failures.value_or(0);
  status.crashes = told.crashes.value_or(0);
  status.priority = told.priority.value_or(0);
  status.age = std::chrono::milliseconds(told.age.value_or(0));
  status.worker = told.worker.value_or("");
  if (told.history) {
    for (const ToldRun& run : *told.history) status.history.push_back(attempt_of(run));
  }
  if (told.error) {
    RemoteError& error = status.error.emplace();
    tell(*told.error, error);
    error.worker = status.worker;
    error.attempt = status.attempts;
    error.history = status.history;
  }
  return status;
}

}  // namespace tusk
