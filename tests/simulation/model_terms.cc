// What a submit asks for beyond an ordinary run, and where it is silent, its type.
#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace {

Nanos nanos(config::Duration d) { return std::chrono::nanoseconds(d).count(); }

// In the submit's ms, or as its type says, or `otherwise`.
template <typename Usual>
Nanos time_of(const std::optional<uint64_t>& ms, const Usual& usual, Nanos otherwise) {
  if (ms) return static_cast<Nanos>(*ms) * kMillisecond;
  return usual ? nanos(*usual) : otherwise;
}

}  // namespace

Nanos Model::delay_of(const proto::Record& record) const {
  const proto::Terms* asked = record.attributes.terms;
  if (asked && asked->delay) return static_cast<Nanos>(*asked->delay) * kMillisecond;
  return nanos(config_->type(record.name).delay);
}

void Model::take_terms(Task& task, const proto::Record& record) {
  const config::TaskType& usual = config_->type(task.type);
  const proto::Terms nothing;
  const proto::Terms& asked = record.attributes.terms ? *record.attributes.terms : nothing;
  const Nanos deadline = time_of(asked.deadline, usual.deadline, -1);
  task.deadline = deadline < 0 ? kNever : now_ + deadline;
  if (deadline >= 0) alarm(task.deadline, {.what = Alarm::kDeadline, .id = task.id});
  task.run_timeout = time_of(asked.run_timeout, usual.timeout, 0);
  task.heartbeat_timeout = time_of(asked.heartbeat_timeout, usual.heartbeat_timeout, 0);
  task.attempts = asked.attempts;
  task.backoff.reset();
  if (asked.backoff) {
    const auto ns = [](uint64_t ms) { return static_cast<double>(ms) * kMillisecond; };
    task.backoff = {ns(asked.backoff->first), ns(asked.backoff->most), asked.backoff->factor};
  }
  task.no_retry_on.reset();
  if (asked.no_retry_on) {
    task.no_retry_on.emplace();
    for (proto::Value name : asked.no_retry_on.items()) {
      task.no_retry_on->emplace_back(*name.text());
    }
  }
  task.group = asked.group;
  if (task.order_key.empty()) task.order_key = asked.order_key;
  if (task.limit_key.empty()) task.limit_key = asked.limit_key;
  task.cost = static_cast<double>(asked.cost.value_or(1));
  task.priority = asked.priority.value_or(usual.priority.level);
}

// It is accepted: it waits for those of its order key, its delay, then for a worker.
void Model::begin(Task& task, Nanos wait) {
  if (!is_first_of_key(task)) {
    task.phase = Phase::kBlocked;
    task.not_before = now_ + wait;
    return;
  }
  wait > 0 ? delay(task, wait) : place(task);
}

}  // namespace tusk::simulation
