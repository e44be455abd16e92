// What anybody may ask about a task by its id.
#include "client_core.h"
#include "tusk/client.h"

namespace tusk {
namespace {

using detail::Pending;
using detail::Submission;

// How a task is sent is no longer to be said.
void check_asks_by_id(const CallOptions& o) {
  if (!o.id && !o.resent && !o.rerun_ok && o.trace.empty() && o.baggage.empty()) return;
  throw Invalid("invalid",
                "id, resent, rerun_ok, trace and baggage say how a task is submitted: not here");
}

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
  std::optional<std::string> type, worker;
  std::optional<std::uint64_t> attempts, failures, crashes;
  std::optional<int> priority;
  std::optional<std::int64_t> age;
  std::optional<std::vector<ToldRun>> history;
  std::optional<ToldError> error;
  TUSK_FIELDS(state, type, worker, attempts, failures, crashes, priority, age, history, error);
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

}  // namespace

std::vector<std::shared_ptr<Pending>> Client::await_each(std::span<const TaskId> ids,
                                                         const CallOptions& options) {
  check_may_wait();
  check_asks_by_id(options);
  std::vector<std::shared_ptr<Pending>> pending;
  std::vector<Callback> done;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    pending.push_back(std::make_shared<Pending>());
    done.push_back([one = pending.back()](const Ending& ending) { one->finish(ending); });
  }
  if (!ids.empty()) core_->await_all(ids, options, std::move(done));
  return pending;
}

void Client::await_later(const TaskId& id, const CallOptions& options, Callback&& done) {
  check_asks_by_id(options);
  std::vector<Callback> all;
  all.push_back(std::move(done));
  core_->await_all({&id, 1}, options, std::move(all));
}

Updated Client::change(const TaskId& id, std::string* body, const CallOptions& changes) {
  check_may_wait();
  check_asks_by_id(changes);
  CallOptions options = changes;
  options.id = id;
  auto pending = std::make_shared<Pending>();
  core_->hand_over(Submission::Op::kUpdate, {}, body ? std::move(*body) : std::string(),
                   body != nullptr, options,
                   [pending](const Ending& ending) { pending->finish(ending); });
  pending->wait();
  const auto answer = from_body<Value>(pending->body);
  return {answer["state"].text(), answer["updated"].as<bool>()};
}

TaskStatus Client::task(const TaskId& id, CallOptions options) {
  const std::string_view bytes(reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size());
  const auto told = query("task", map("id", to_bytes(bytes)), std::move(options)).as<ToldTask>();
  TaskStatus status;
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
