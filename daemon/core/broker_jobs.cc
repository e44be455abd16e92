// Tasks by filter: which there are, and changes of all of them at once (SPEC.md, "Labels").
#include <algorithm>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Packer;
using proto::Record;
using proto::TaskId;
using proto::Value;
using proto::Writer;
namespace code = proto::code;

namespace {

constexpr size_t kMostJobs = 16;  // that run at a time
constexpr size_t kMostDone = 64;  // that are remembered
constexpr uint32_t kStep = 1024;  // tasks that a job looks at before others have their turn
constexpr Duration kPause = std::chrono::milliseconds(1);  // between two steps
constexpr uint32_t kMostLooked = 10'000;                   // tasks that one query looks at
constexpr uint64_t kMostListed = 1000, kUsuallyListed = 100;

constexpr std::string_view kStates[] = {"waiting", "delayed",   "running", "suspended", "succeeded",
                                        "failed",  "cancelled", "expired", "dead"};

// Whether one serial number was given after the other; they go round.
bool later(uint64_t a, uint64_t b) { return static_cast<int32_t>(a - b) > 0; }

// Reads one entry of a filter; what is wrong with it, or "".
std::string read_entry(Filter& filter, std::string_view key, Value value) {
  const std::string text(value.text().value_or(""));
  if (key == "type") {
    if (text.empty()) return "`type` is not the name of a type";
    filter.type = text;
  } else if (key == "state") {
    if (std::find(std::begin(kStates), std::end(kStates), text) == std::end(kStates)) {
      return "there is no state \"" + text + "\"";
    }
    filter.state = text;
  } else if (key == "labels") {
    if (!value.is_map() || value.size() == 0 || value.size() > proto::kMaxLabels) {
      return "`labels` is not a map of 1 to 16 names";
    }
    bool is_key = true;
    for (Value v : value.items()) {
      if (is_key) {
        if (!v.text()) return "the name of a label is not text";
        filter.labels.emplace_back(std::string(*v.text()), std::nullopt);
      } else if (!v.is_nil()) {
        if (!v.text()) return "a label is a text, or nil for any";
        filter.labels.back().second = std::string(*v.text());
      }
      is_key = !is_key;
    }
  } else if (key == "parent") {
    if (!value.binary() || value.binary()->size() != 16) return "`parent` is not 16 bytes";
    filter.parent = TaskId::from_bytes(value.binary()->data());
  } else if (key == "age") {
    if (!value.number() || *value.number() > proto::kMaxDuration) {
      return "`age` is not a number of milliseconds";
    }
    filter.age = std::chrono::milliseconds(*value.number());
  } else if (key == "all") {
    if (value.boolean() != true) return "`all` is not true";
  } else {
    return "there is no entry \"" + std::string(key) +
           "\" in a filter; there are type, state, labels, parent, age and all";
  }
  return "";
}

// The filter of a query or a control; what is wrong with it, or "".
std::string read_filter(Value map, Filter& filter) {
  if (!map.is_map() || map.size() == 0) {
    return "which tasks: `filter` is not a map with entries; {\"all\": true} means all of them";
  }
  bool is_key = true;
  std::string_view key;
  for (Value v : map.items()) {
    if (is_key) {
      key = v.text().value_or("");
    } else if (std::string why = read_entry(filter, key, v); !why.empty()) {
      return why;
    }
    is_key = !is_key;
  }
  return "";
}

}  // namespace

bool Broker::fits(const Filter& filter, uint32_t t) const {
  const Task& task = tasks_[t];
  if (task.state == TaskState::kFree || task.state == TaskState::kGhost) return false;
  const Type& type = scheduler_.type(task.type);
  if (type.is_stage) return false;
  if (filter.parent) {
    const uint32_t parent = parent_of(t);
    if (parent == kNone || tasks_[parent].id != *filter.parent) return false;
  }
  if (filter.type && type.name != *filter.type) return false;
  if (filter.state && state_of(task) != *filter.state) return false;
  if (filter.age && now_ - task.since < *filter.age) return false;
  auto has = [&](const auto& wanted) {
    return std::any_of(task.terms->labels.begin(), task.terms->labels.end(), [&](uint32_t node) {
      return labels_.name(node) == wanted.first &&
             (!wanted.second || labels_.value(node) == *wanted.second);
    });
  };
  return filter.labels.empty() ||
         (task.terms && std::all_of(filter.labels.begin(), filter.labels.end(), has));
}

// The label by which tasks are found fastest, if the filter names one with its text.
const Broker::Label* Broker::rarest(const Filter& filter) const {
  const Label* best = nullptr;
  size_t fewest = 0;
  for (const auto& label : filter.labels) {
    if (!label.second) continue;
    const size_t count = labels_.count(label.first, *label.second);
    if (best && count >= fewest) continue;
    best = &label;
    fewest = count;
  }
  return best;
}

// --- listing -------------------------------------------------------------------------------------

void Broker::list_tasks(const Caller& caller, const Record& record) {
  auto invalid = [&](const std::string& why, std::string_view field) {
    error(caller, record.ref, code::kInvalid, why, "field", field);
  };
  Filter filter;
  if (std::string why = read_filter(record.value.get("filter"), filter); !why.empty()) {
    return invalid(why, "filter");
  }
  uint64_t limit = kUsuallyListed;
  if (Value asked = record.value.get("limit")) {
    limit = asked.number().value_or(0);
    if (limit == 0 || limit > kMostListed) return invalid("`limit` is 1 to 1,000", "limit");
  }
  // Where to go on: behind this place in the pool and, in the list of a label, behind this order.
  uint64_t parts[2] = {kNone, 0};
  if (Value after = record.value.get("after"); after && !after.is_nil()) {
    size_t n = 0;
    for (Value part : after.items()) {
      if (n < 2 && part.number()) parts[n++] = *part.number();
    }
    if (n != 2) return invalid("`after` is not what an answer had as `next`", "after");
  }
  proto::Buffer listed;
  Packer packer(listed);
  const size_t room =
      (caller.session == kNone ? limits() : sessions_[caller.session].limits).frame -
      kRecordOverhead;
  uint32_t count = 0, looked = 0, last = kNone;
  bool more = false;
  // False: that was enough for one answer.
  auto look = [&](uint32_t t) {
    const size_t before = listed.size();
    more = count == limit || looked == kMostLooked;
    if (!more && fits(filter, t)) {
      write_task(packer, t, true);
      ++count;
      more = listed.size() > room && count > 1;
      if (more) {  // it is the first of the next answer
        listed.end_at(listed.data() + before);
        --count;
      }
    }
    if (more) return false;
    ++looked;
    last = t;
    return true;
  };
  if (const auto* label = rarest(filter)) {
    for (uint32_t node = node_behind(*label, parts[0], parts[1]); node != kNone;
         node = labels_.next(node)) {
      if (!look(labels_.task(node))) break;
    }
  } else {
    for (uint64_t t = parts[0] == kNone ? 0 : parts[0] + 1; t < tasks_.size(); ++t) {
      if (!look(static_cast<uint32_t>(t))) break;
    }
  }
  Writer out;
  Packer& p = out.start(proto::Kind::kAnswer, 3).pack_uint64(record.ref);
  p.pack_map(more ? 2 : 1);
  if (more) {
    out.text("next");
    p.pack_array(2);
    p.pack_uint64(last);
    p.pack_uint64(tasks_[last].serial);
  }
  out.text("tasks");
  p.pack_array(count);
  out.records().write(listed.view().data(), listed.size());
  answer(caller, out.records().size(), [&](Writer& to) { to.append(out); });
}

// Where the list of a label goes on behind this task, which may be gone by now: the list is in the
// order of acceptance.
uint32_t Broker::node_behind(const Label& label, uint64_t place, uint64_t serial) const {
  const uint32_t first = labels_.first(label.first, *label.second);
  if (place == kNone) return first;
  if (place < tasks_.size() && tasks_[place].serial == serial && tasks_[place].terms) {
    for (uint32_t node : tasks_[place].terms->labels) {
      if (labels_.name(node) == label.first && labels_.value(node) == *label.second) {
        return labels_.next(node);
      }
    }
  }
  uint32_t node = first;
  while (node != kNone && !later(tasks_[labels_.task(node)].serial, serial))
    node = labels_.next(node);
  return node;
}

// --- jobs ----------------------------------------------------------------------------------------

void Broker::start_job(const Caller& caller, const Record& record, Job::What what) {
  auto invalid = [&](const std::string& why, std::string_view field) {
    error(caller, record.ref, code::kInvalid, why, "field", field);
  };
  Job job;
  job.what = what;
  if (std::string why = read_filter(record.value.get("filter"), job.filter); !why.empty()) {
    return invalid(why, "filter");
  }
  if (Value dry = record.value.get("dry_run")) {
    if (!dry.boolean()) return invalid("`dry_run` is not true or false", "dry_run");
    job.dry_run = *dry.boolean();
  }
  if (job.what == Job::What::kReprioritise) {
    const Value level = record.value.get("priority");
    const bool whole =
        level.is(proto::Token::Type::kUnsigned) || level.is(proto::Token::Type::kNegative);
    const int64_t number = whole ? static_cast<int64_t>(level.token()->number) : INT64_MAX;
    if (number < -proto::kMaxPriority || number > proto::kMaxPriority) {
      return invalid("reprioritise needs `priority`, a whole number from -100 to 100", "priority");
    }
    job.priority = static_cast<int>(number);
  }
  if (job.what == Job::What::kRetry) {
    const auto id = record.value.get("id").binary();
    if (!id || id->size() != 16) {
      return invalid("retry needs `id`, a new task id of 16 bytes, to make others from", "id");
    }
    job.base = TaskId::from_bytes(id->data());
  }
  const auto running = std::count_if(jobs_.begin(), jobs_.end(), [](auto& j) { return !j.done; });
  if (static_cast<size_t>(running) >= kMostJobs) {
    return full(caller, record.ref, code::kFull,
                "as many jobs run as may run at a time: wait until one is done", "jobs", kMostJobs);
  }
  while (jobs_.size() - static_cast<size_t>(running) >= kMostDone) {
    jobs_.erase(std::find_if(jobs_.begin(), jobs_.end(), [](auto& j) { return j.done; }));
  }
  job.number = ++job_number_;
  job.newest = serial_;
  job.since = now_;
  if (const auto* label = rarest(job.filter)) {
    job.listed = true;
    job.places.reserve(labels_.count(label->first, *label->second));
    for (uint32_t n = labels_.first(label->first, *label->second); n != kNone;
         n = labels_.next(n)) {
      job.places.push_back(labels_.task(n));
    }
  }
  job.total = job.listed ? job.places.size() : tasks_.size();
  const uint64_t number = job.number;
  jobs_.push_back(std::move(job));
  answer(caller, kRecordOverhead, [&](Writer& out) {
    Packer& p = out.start(proto::Kind::kAnswer, 3).pack_uint64(record.ref);
    p.pack_map(1);
    out.text("job");
    p.pack_uint64(number);
  });
  if (job_timer_ == kNoTimer) job_timer_ = timers_.add(now_ + kPause, {Timer::Kind::kJob, 0});
}

// A step of each job.
void Broker::work_on_jobs() {
  bool more = false;
  for (Job& job : jobs_) {
    if (job.done) continue;
    for (uint32_t n = 0; n < kStep && job.looked < job.total; ++n) {
      const uint32_t t = job.listed ? job.places[job.looked] : static_cast<uint32_t>(job.looked);
      ++job.looked;
      // The place may belong to another task by now.
      if (later(tasks_[t].serial, job.newest) || !fits(job.filter, t)) continue;
      ++job.matched;
      if (!job.dry_run) change(job, t);
    }
    job.done = job.looked == job.total;
    if (job.done) {
      job.since = now_;
      job.places = {};
      log(config::LogLevel::info, LogTopic::kOperator, [&] {
        return "job " + std::to_string(job.number) + " (" + std::string(name_of(job.what)) +
               (job.dry_run ? ", dry run" : "") + ") is done: " + std::to_string(job.matched) +
               " tasks fit, " + std::to_string(job.changed) + " changed, " +
               std::to_string(job.failed) + " failed";
      });
    }
    more |= !job.done;
  }
  if (more) job_timer_ = timers_.add(now_ + kPause, {Timer::Kind::kJob, 0});
}

void Broker::change(Job& job, uint32_t t) {
  Task& task = tasks_[t];
  switch (job.what) {
    case Job::What::kCancel:
      if (task.state == TaskState::kEnded || task.stop == Stop::kCancelled) return;
      cancel_task(t, Stop::kCancelled);
      ++job.changed;
      return;
    case Job::What::kReprioritise:
      if (task.state == TaskState::kEnded || task.state == TaskState::kRunning) return;
      if (task.priority == job.priority) return;
      change_priority(t, job.priority);
      ++job.changed;
      return;
    case Job::What::kRetry:
      if (task.state == TaskState::kDelayed) {
        change_delay(t, Duration{0});
        ++job.changed;
      } else if (task.state == TaskState::kEnded && task.terms && task.terms->again) {
        submit_again(t, new_id(job.base)) ? ++job.changed : ++job.failed;
      }
  }
}

// Another id of the same time.
TaskId Broker::new_id(const TaskId& base) {
  TaskId id = base;
  const uint64_t random[2] = {random_(), random_()};
  for (size_t i = 6; i < 16; ++i) id.bytes[i] = static_cast<uint8_t>(random[i / 8] >> i % 8 * 8);
  id.bytes[6] = static_cast<uint8_t>((id.bytes[6] & 0x0F) | 0x70);  // version 7
  id.bytes[8] = static_cast<uint8_t>((id.bytes[8] & 0x3F) | 0x80);  // variant of RFC 9562
  return id;
}

// A task that failed or is dead once more, under another id and for nobody. False: there is no room
// for it, or another one has its unique key.
bool Broker::submit_again(uint32_t old, const TaskId& id) {
  Type& type = scheduler_.type(tasks_[old].type);
  const Again& again = *tasks_[old].terms->again;
  const config::Limits& limit = config_->tuskd.limits;
  const bool has_room = type.queued() + type.elsewhere < type.settings.max_waiting &&
                        tasks_.live() < limit.max_tasks && held_bytes_ < limit.max_memory;
  if (!has_room || find_task(id) != kNone || type.unique.count(again.unique) > 0) return false;
  const uint32_t t = tasks_.add();
  Task& from = tasks_[old];
  Task& task = tasks_[t];
  const Terms& was = *from.terms;
  task.id = id;
  task.type = from.type;
  task.order = ++order_;
  task.serial = ++serial_;
  task.since = now_;
  task.body = std::move(from.body);  // its bytes are counted already
  task.forwarded = std::move(from.forwarded);
  task.forwarded_count = from.forwarded_count;
  task.priority = from.priority;
  task.group = from.group;
  index_.insert(task.id.hash(), t);
  Terms& terms = terms_of(t);
  terms.run_timeout = was.run_timeout;
  terms.heartbeat_timeout = was.heartbeat_timeout;
  terms.attempts = was.attempts;
  terms.backoff = was.backoff;
  terms.no_retry_on = was.no_retry_on;
  terms.cost = was.cost;
  terms.retention = was.retention;
  terms.unique_for = was.unique_for;
  if (was.deadline_after) set_deadline(t, *was.deadline_after);
  for (uint32_t node : was.labels) add_label(t, labels_.name(node), labels_.value(node));
  proto::Terms keys;
  keys.order_key = again.order_key;
  keys.limit_key = again.limit_key;
  take_gates(t, keys);
  terms.needs = was.needs;
  take_sticky(t, again.sticky_key);
  if (!again.unique.empty()) take_key(t, again.unique);
  from.body = {};
  from.terms->again.reset();
  ++counters_.submitted;
  ++type.counters.accepted;
  begin(t, Duration{0});
  return true;
}

void Broker::add_label(uint32_t t, std::string_view name, std::string_view value) {
  terms_of(t).labels.push_back(labels_.add(t, name, value));
  held_bytes_ += kLabelBytes + name.size() + value.size();
}

void Broker::drop_labels(Terms& terms) {
  for (uint32_t node : terms.labels) {
    held_bytes_ -= kLabelBytes + labels_.name(node).size() + labels_.value(node).size();
    labels_.remove(node);
  }
  terms.labels.clear();
}

}  // namespace tusk::core
