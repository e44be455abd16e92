// Answers to queries: what the broker holds and counts, as maps with text keys.
#include <algorithm>

#include "daemon/core/broker.h"
#include "daemon/core/stored_attributes.h"

namespace tusk::core {

using proto::Packer;
using proto::Record;
using proto::Writer;
namespace code = proto::code;

namespace {

void text(Packer& p, std::string_view value) {
  p.pack_str(static_cast<uint32_t>(value.size()));
  p.pack_str_body(value.data(), static_cast<uint32_t>(value.size()));
}
void entry(Packer& p, std::string_view key, std::string_view value) {
  text(p, key);
  text(p, value);
}
void entry(Packer& p, std::string_view key, uint64_t value) {
  text(p, key);
  p.pack_uint64(value);
}

}  // namespace

std::string_view Broker::state_of(const Task& task) {
  switch (task.state) {
    case TaskState::kRunning:
      return task.suspended ? "suspended" : "running";
    case TaskState::kGhost:
      return "running";
    case TaskState::kEnded:
      return proto::state_name(task.ending);
    case TaskState::kDelayed:
      return "delayed";
    default:
      return "waiting";
  }
}

void Broker::query(const Caller& caller, const Record& record) {
  using Fill = void (Broker::*)(Packer&);
  static constexpr std::pair<std::string_view, Fill> kQueries[] = {
      {"status", &Broker::write_status}, {"workers", &Broker::write_workers},
      {"types", &Broker::write_types},   {"stages", &Broker::write_stages},
      {"topics", &Broker::write_topics}, {"jobs", &Broker::write_jobs}};
  auto give = [&](auto fill) {
    Writer out;
    out.start(proto::Kind::kAnswer, 3).pack_uint64(record.ref);
    fill(out.packer());
    answer(caller, out.records().size(), [&](Writer& to) { to.append(out); });
  };
  for (const auto& [name, fill] : kQueries) {
    if (record.name == name) return give([&, fill = fill](Packer& p) { (this->*fill)(p); });
  }
  if (record.name == "task") {
    auto id = record.value.get("id").binary();
    if (!id || id->size() != 16) {
      return error(caller, record.ref, code::kInvalid, "query task needs an id of 16 bytes",
                   "field", "id");
    }
    return give([&](Packer& p) { write_task(p, proto::TaskId::from_bytes(id->data())); });
  }
  if (record.name == "tasks") return list_tasks(caller, record);
  error(caller, record.ref, code::kInvalid,
        "no query \"" + std::string(record.name) +
            "\"; there are status, workers, types, stages, topics, jobs, tasks and task",
        "field", "what");
}

void Broker::write_status(Packer& p) {
  p.pack_map(14);
  entry(p, "server", around_.server);
  entry(p, "version", proto::kVersion);
  entry(p, "epoch", around_.epoch);
  entry(p, "uptime", static_cast<uint64_t>(milliseconds(now_ - started_)));
  entry(p, "stopping", stopping_ ? 1 : 0);
  entry(p, "sessions", sessions_.live());
  entry(p, "workers", workers_.live());
  uint64_t waiting = 0, running = 0;
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t)) continue;
    const Type& type = scheduler_.type(t);
    waiting += type.held() - type.running;
    running += type.running;
  }
  entry(p, "waiting", waiting);
  entry(p, "running", running);
  entry(p, "kept_endings", kept_.count);
  entry(p, "held_bytes", held_bytes_);
  entry(p, "remembered_ids", ended_.size());
  entry(p, "timers", timers_.size());
  text(p, "counters");
  p.pack_map(static_cast<uint32_t>(Counters::size()));
  counters_.each(
      [&](std::string_view name, std::string_view, uint64_t value) { entry(p, name, value); });
}

void Broker::write_workers(Packer& p) {
  p.pack_array(workers_.live());
  for (uint32_t w = 0; w < workers_.size(); ++w) {
    const WorkerState& worker = workers_[w];
    if (worker.session == kNone) continue;
    const Session& session = sessions_[worker.session];
    p.pack_map(15);
    for (const auto& [name, all] : {std::pair{"labels", &worker.offers}, {"used", &worker.used}}) {
      text(p, name);
      p.pack_map(static_cast<uint32_t>(all->size()));
      for (const Property& one : *all) {
        one.text.empty() ? entry(p, one.name, one.amount) : entry(p, one.name, one.text);
      }
    }
    entry(p, "name", session.name);
    entry(p, "language", session.language);
    entry(p, "pool", session.pool);
    entry(p, "sdk", session.sdk);
    entry(p, "pid", session.pid);
    entry(p, "state",
          session.connection == kNoConnection ? "disconnected"
          : worker.slots == 0                 ? "draining"
          : session.over_bound                ? "slow"
                                              : "connected");
    entry(p, "slots", worker.slots);
    entry(p, "running", worker.running.count);
    entry(p, "dispatched", worker.counters.dispatched);
    entry(p, "succeeded", worker.counters.succeeded);
    entry(p, "failed", worker.counters.failed);
    for (bool stages : {false, true}) {
      text(p, stages ? "stages" : "types");
      uint32_t count = 0;
      for (uint32_t t : worker.serves) count += scheduler_.type(t).is_stage == stages;
      p.pack_array(count);
      for (uint32_t t : worker.serves) {
        if (scheduler_.type(t).is_stage == stages) text(p, scheduler_.type(t).name);
      }
    }
  }
}

void Broker::write_types(Packer& p) {
  uint32_t count = 0;
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    count += scheduler_.exists(t) && !scheduler_.type(t).is_stage;
  }
  p.pack_array(count);
  for (uint32_t t = 0; t < scheduler_.types(); ++t) {
    if (!scheduler_.exists(t) || scheduler_.type(t).is_stage) continue;
    const Type& type = scheduler_.type(t);
    uint64_t workers = 0;
    for (uint32_t w = 0; w < workers_.size(); ++w) {
      const std::vector<uint32_t>& serves = workers_[w].serves;
      workers += std::binary_search(serves.begin(), serves.end(), t);
    }
    const Type::Counters& c = type.counters;
    p.pack_map(17);
    entry(p, "name", type.name);
    entry(p, "pool", type.settings.pool.value_or(""));
    entry(p, "configured", type.configured ? 1 : 0);
    entry(p, "workers", workers);
    entry(p, "waiting", type.held() - type.running);
    entry(p, "delayed", type.elsewhere);
    entry(p, "paused",
          type.closed & Type::kPaused
              ? static_cast<uint64_t>(milliseconds(type.paused_until - now_))
              : 0);
    entry(p, "running", type.running);
    entry(p, "accepted", c.accepted);
    entry(p, "succeeded", c.succeeded);
    entry(p, "failed", c.failed);
    entry(p, "cancelled", c.cancelled);
    entry(p, "expired", c.expired);
    entry(p, "dead", c.dead);
    entry(p, "retried", c.retried);
    entry(p, "requeued", c.requeued);
    entry(p, "crashed", c.crashed);
  }
}

void Broker::write_stages(Packer& p) {
  p.pack_array(static_cast<uint32_t>(scheduler_.stages().size()));
  for (uint32_t t : scheduler_.stages()) {
    const Type& type = scheduler_.type(t);
    p.pack_map(13);
    entry(p, "name", type.name);
    entry(p, "handler", type.handler);
    entry(p, "capacity", type.capacity);
    entry(p, "waiting", type.queued() + type.elsewhere);
    entry(p, "parked", type.parked.count);
    entry(p, "running", type.running);
    entry(p, "pushed", type.counters.accepted);
    entry(p, "done", type.counters.succeeded);
    entry(p, "dropped", type.counters.dropped);
    entry(p, "dead", type.counters.dead);
    entry(p, "retried", type.counters.retried);
    entry(p, "requeued", type.counters.requeued);
    entry(p, "crashed", type.counters.crashed);
  }
}

void Broker::write_topics(Packer& p) {
  p.pack_array(static_cast<uint32_t>(topics_.size()));
  for (const auto& [name, topic] : topics_) {
    p.pack_map(7);
    entry(p, "name", name);
    entry(p, "subscribers", topic->subscribers.size());
    entry(p, "published", topic->published);
    entry(p, "refused", topic->refused);
    entry(p, "waiting", topic->waiting);
    entry(p, "missed", topic->missed);
    entry(p, "retained", topic->retained ? topic->retained->sequence : 0);
  }
}

void Broker::write_jobs(Packer& p) {
  p.pack_array(static_cast<uint32_t>(jobs_.size()));
  for (const Job& job : jobs_) {
    p.pack_map(10);
    entry(p, "job", job.number);
    entry(p, "what", name_of(job.what));
    entry(p, "state", job.done ? "done" : "running");
    text(p, "dry_run");
    job.dry_run ? p.pack_true() : p.pack_false();
    entry(p, "total", job.total);
    entry(p, "looked", job.looked);
    entry(p, "matched", job.matched);
    entry(p, "changed", job.changed);
    entry(p, "failed", job.failed);
    entry(p, "age", static_cast<uint64_t>(milliseconds(now_ - job.since)));
  }
}

void Broker::write_task(Packer& p, const proto::TaskId& id) {
  const uint32_t ref = find_task(id);
  if (ref == kNone || is_ended(ref)) {
    p.pack_map(1);
    entry(p, "state", ref == kNone ? "unknown" : proto::state_name(ended_at(ref).state));
    return;
  }
  write_task(p, ref, false);
}

void Broker::write_task(Packer& p, uint32_t ref, bool with_id) {
  const Task& task = tasks_[ref];
  const bool has_labels = task.terms && !task.terms->labels.empty();
  const bool has_history = task.terms && !task.terms->history.empty();
  const StoredAttributes stored(task.result_attributes.view(), task.result_count);
  const proto::Value failure = stored.get(proto::Attribute::kError);
  const uint32_t parent = parent_of(ref);
  p.pack_map(7u + with_id + has_labels + (parent != kNone) + (task.worker != kNone) + has_history +
             static_cast<bool>(failure));
  if (with_id) {
    text(p, "id");
    p.pack_bin(16).pack_bin_body(reinterpret_cast<const char*>(task.id.bytes.data()), 16);
  }
  entry(p, "state", state_of(task));
  entry(p, "type", scheduler_.type(task.type).name);
  entry(p, "attempts", task.attempt);
  entry(p, "failures", task.failures);
  entry(p, "crashes", task.crashes);
  text(p, "priority");
  p.pack_int(task.priority);
  entry(p, "age", static_cast<uint64_t>(milliseconds(now_ - task.since)));
  if (parent != kNone) {
    text(p, "parent");
    const proto::TaskId& id = tasks_[parent].id;
    p.pack_bin(16).pack_bin_body(reinterpret_cast<const char*>(id.bytes.data()), 16);
  }
  if (has_labels) {
    text(p, "labels");
    p.pack_map(static_cast<uint32_t>(task.terms->labels.size()));
    for (uint32_t node : task.terms->labels) entry(p, labels_.name(node), labels_.value(node));
  }
  if (has_history) {
    text(p, "history");
    write_history(p, task, now_);
  }
  if (failure) {
    text(p, "error");
    proto::write_value(p, failure);
  }
  if (task.worker != kNone) entry(p, "worker", sessions_[workers_[task.worker].session].name);
}

}  // namespace tusk::core
