// What anybody may ask about a task by its id.
#include "client_core.h"
#include "told.h"
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
  const Value told = query("task", map("id", to_bytes(bytes)), std::move(options));
  TaskStatus status = status_of(told);
  status.id = id;
  return status;
}

}  // namespace tusk
