// Which workers may run a task, beyond those that serve its type: needs and sticky keys (SPEC.md,
// "Needs" and "Sticky").
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <set>
#include <utility>

#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Record;
using proto::Value;
namespace code = proto::code;

Properties properties_of(Value map) {
  Properties out;
  bool is_key = true;
  std::string_view name;
  for (Value v : map.items()) {
    if (is_key) {
      name = v.text().value_or("");
    } else {
      put(out, {std::string(name), std::string(v.text().value_or("")), v.number().value_or(0)});
    }
    is_key = !is_key;
  }
  return out;
}

bool are_labels(Value map) {
  if (!map) return true;
  if (!map.is_map() || map.size() > proto::kMaxWorkerLabels) return false;
  auto is_text = [](Value v) {
    return v.text() && !v.text()->empty() && v.text()->size() <= proto::kMaxName;
  };
  bool is_key = true;
  for (Value v : map.items()) {
    const bool amount = v.number() && *v.number() <= proto::kMaxAmount;
    if (is_key ? !is_text(v) : !(is_text(v) || amount)) return false;
    is_key = !is_key;
  }
  return true;
}

namespace {

Properties of(const config::Named<config::Label>& labels) {
  Properties out;
  for (const auto& [name, label] : labels) put(out, {name, label.text, label.amount});
  return out;
}

Properties of(const config::Named<std::size_t>& amounts) {
  Properties out;
  for (const auto& [name, amount] : amounts) put(out, {name, "", amount});
  return out;
}

std::string shown(const Property& need) {
  return need.text.empty() ? std::to_string(need.amount) + " of \"" + need.name + "\""
                           : need.name + " \"" + need.text + "\"";
}

// A text that only equal needs have.
std::string text_of(const Needs& needs) {
  std::string out;
  for (const Properties* part : {&needs.required, &needs.preferred, &needs.consumed}) {
    for (const Property& p : *part) {
      out += std::to_string(p.name.size()) + ":" + p.name + "=";
      out +=
          p.text.empty() ? std::to_string(p.amount) : std::to_string(p.text.size()) + ":" + p.text;
      out += ",";
    }
    out += ";";
  }
  return out;
}

}  // namespace

// --- needs ---------------------------------------------------------------------------------------

// What a submit asks for; each of the three that it does not name is the type's.
Needs Broker::needs_of(const proto::Terms* asked, const config::TaskType& usual) {
  Needs needs;
  const Value wish = asked ? asked->needs : Value();
  auto take = [&](Properties& into, std::string_view name, const auto& other) {
    Value named = wish.get(name);
    into = named ? properties_of(named) : of(other);
  };
  take(needs.required, "requires", usual.required);
  take(needs.preferred, "prefers", usual.prefers);
  take(needs.consumed, "consumes", usual.consumes);
  return needs;
}

// Equal needs are one object, so that their tasks wait in one lane.
std::shared_ptr<const Needs> Broker::intern(Needs needs) {
  if (!needs.any()) return nullptr;
  std::weak_ptr<const Needs>& known = needs_[text_of(needs)];
  if (auto there = known.lock()) return there;
  auto fresh = std::make_shared<const Needs>(std::move(needs));
  known = fresh;
  if (needs_.size() > 2 * many_needs_) {
    std::erase_if(needs_, [](const auto& entry) { return entry.second.expired(); });
    many_needs_ = std::max<size_t>(needs_.size(), 64);
  }
  return fresh;
}

// Whether some worker could run it, or may come yet; if not, says so.
bool Broker::can_fit(const Caller& caller, const Record& record, uint32_t index) {
  const Type& type = scheduler_.type(index);
  const Needs needs = needs_of(record.attributes.terms, type.settings);
  if (!needs.any() || !scheduler_.is_served(index)) return true;
  const bool patient = type.settings.pool || type.settings.unserved == config::Unserved::wait ||
                       now_ < started_ + config_->tuskd.times.unserved_grace;
  if (patient || scheduler_.anybody_could_run(index, needs)) return true;
  ++counters_.errors_unserved;
  const std::string why = why_unfit(index, needs);
  log(config::LogLevel::warning, LogTopic::kUnserved, [&] { return why; });
  error(caller, record.ref, code::kUnserved, why, "type", type.name);
  return false;
}

// Which need nobody meets that serves the type.
std::string Broker::why_unfit(uint32_t index, const Needs& needs) const {
  const Type& type = scheduler_.type(index);
  const std::string who = "no worker that serves type \"" + type.name + "\" has ";
  for (const Properties* part : {&needs.required, &needs.consumed}) {
    for (const Property& need : *part) {
      bool met = false;
      std::set<std::string> texts, names;
      uint64_t most = 0;
      for (const WorkerState* worker : serving(index)) {
        met |= meets(worker->offers, need);
        for (const Property& offer : worker->offers) names.insert(offer.name);
        const Property* offer = lookup(worker->offers, need.name);
        if (!offer) continue;
        most = std::max(most, offer->amount);
        if (texts.size() < 10) texts.insert(offer->text.empty() ? "a number" : offer->text);
      }
      if (met) continue;
      std::string out = who + shown(need);
      if (names.count(need.name) > 0) {
        if (need.text.empty() && most > 0) return out + "; the most is " + std::to_string(most);
        out += "; there are ";
        for (const std::string& text : texts) out += (text == *texts.begin() ? "" : ", ") + text;
        return out;
      }
      for (const std::string& name : names) {
        if (edit_distance(name, need.name) <= std::max<size_t>(2, name.size() / 3)) {
          return out + "; did you mean \"" + name + "\"?";
        }
      }
      return out;
    }
  }
  return who + "all that the task needs";
}

std::vector<const WorkerState*> Broker::serving(uint32_t type) const {
  std::vector<const WorkerState*> out;
  for (uint32_t w = 0; w < workers_.size(); ++w) {
    const WorkerState& worker = workers_[w];
    if (worker.session == kNone || worker.group == kNone) continue;
    if (std::binary_search(worker.serves.begin(), worker.serves.end(), type)) {
      out.push_back(&worker);
    }
  }
  return out;
}

// --- lanes ---------------------------------------------------------------------------------------

// Where a task with terms waits.
uint32_t Broker::lane_of(uint32_t t) {
  const Task& task = tasks_[t];
  const Terms& terms = *task.terms;
  if (terms.sticky == kNone) return scheduler_.lane_for(task.type, terms.needs, kNone);
  StickyKey& key = sticky_[terms.sticky];
  if (!holds(key)) bind(key, choose_for(key, terms.needs.get()));
  const bool fits =
      key.worker != kNone && (!terms.needs || could_run(workers_[key.worker].offers, *terms.needs));
  return scheduler_.lane_for(task.type, terms.needs, fits ? key.worker : kNone);
}

// Whether a task that is about to go to this worker may: its key may be another's.
bool Broker::sticks_to(uint32_t t, uint32_t w) {
  const Task& task = tasks_[t];
  if (!task.terms || task.terms->sticky == kNone) return true;
  StickyKey& key = sticky_[task.terms->sticky];
  if (!holds(key)) bind(key, w);
  const Needs* needs = task.terms->needs.get();
  return key.worker == w || (needs && !could_run(workers_[key.worker].offers, *needs));
}

// --- sticky keys ---------------------------------------------------------------------------------

// Whether the key has a worker that lives, goes on to take tasks, and serves its type.
bool Broker::holds(const StickyKey& key) const {
  if (key.worker == kNone) return false;
  const WorkerState& worker = workers_[key.worker];
  return worker.session != kNone && sessions_[worker.session].number == key.session &&
         takes_keys(worker, key.type);
}

bool Broker::takes_keys(const WorkerState& worker, uint32_t type) {
  return worker.group != kNone && worker.slots > 0 && !worker.condemned &&
         std::binary_search(worker.serves.begin(), worker.serves.end(), type);
}

void Broker::bind(StickyKey& key, uint32_t w) {
  key.worker = w;
  key.session = w == kNone ? 0 : sessions_[workers_[w].session].number;
}

// Rendezvous hashing (Thaler and Ravishankar, 1998): of all workers the one for which a hash of key
// and worker is highest, so that few keys move when workers come and go.
uint32_t Broker::choose_for(const StickyKey& key, const Needs* needs) const {
  const uint64_t of_key = XXH3_64bits(key.key.data(), key.key.size());
  uint32_t best = kNone;
  uint64_t highest = 0;
  for (uint32_t w = 0; w < workers_.size(); ++w) {
    const WorkerState& worker = workers_[w];
    if (worker.session == kNone || !takes_keys(worker, key.type)) continue;
    if (needs && !could_run(worker.offers, *needs)) continue;
    const std::string& name = sessions_[worker.session].name;
    const uint64_t score = XXH3_64bits_withSeed(name.data(), name.size(), of_key);
    if (best != kNone && score <= highest) continue;
    best = w;
    highest = score;
  }
  return best;
}

void Broker::take_sticky(uint32_t t, std::string_view name) {
  Task& task = tasks_[t];
  if (name.empty() || task.terms->sticky != kNone) return;
  auto& keys = scheduler_.type(task.type).sticky;
  const auto [it, fresh] = keys.try_emplace(std::string(name), kNone);
  if (fresh) {
    it->second = sticky_.add();
    sticky_[it->second].type = task.type;
    sticky_[it->second].key = name;
  } else if (sticky_[it->second].tasks == 0) {
    idle_keys_.remove(sticky_, it->second);
  }
  task.terms->sticky = it->second;
  ++sticky_[it->second].tasks;
}

// The task has ended, or is forgotten. Its key's worker is remembered for a while.
void Broker::leave_sticky(uint32_t t) {
  Task& task = tasks_[t];
  if (!task.terms) return;
  const uint32_t index = std::exchange(task.terms->sticky, kNone);
  if (index == kNone || --sticky_[index].tasks > 0) return;
  sticky_[index].idle_since = now_;
  idle_keys_.push_back(sticky_, index);
  if (idle_keys_.count > config_->tuskd.limits.max_sticky_keys) forget_sticky(idle_keys_.head);
  if (idle_keys_timer_ == kNoTimer) {
    idle_keys_timer_ =
        timers_.add(now_ + config_->tuskd.times.sticky_ttl, {Timer::Kind::kStickyKeys, 0});
  }
}

void Broker::idle_keys_due() {
  const Duration ttl = config_->tuskd.times.sticky_ttl;
  while (!idle_keys_.empty() && sticky_[idle_keys_.head].idle_since + ttl <= now_) {
    forget_sticky(idle_keys_.head);
  }
  if (idle_keys_.empty()) return;
  idle_keys_timer_ =
      timers_.add(sticky_[idle_keys_.head].idle_since + ttl, {Timer::Kind::kStickyKeys, 0});
}

void Broker::forget_sticky(uint32_t index) {
  idle_keys_.remove(sticky_, index);
  scheduler_.type(sticky_[index].type).sticky.erase(sticky_[index].key);
  sticky_.remove(index);
}

// What waits for this worker because of its key, although it no longer takes such tasks, goes to
// others.
void Broker::leave_sticky_lanes(uint32_t w) {
  const std::vector<uint32_t> lanes = workers_[w].sticky;
  std::vector<uint32_t> tasks;
  for (uint32_t l : lanes) {
    if (takes_keys(workers_[w], scheduler_.lane(l).type)) continue;
    for (Queue* queue : {&scheduler_.lane(l).suspects, &scheduler_.lane(l).waiting}) {
      while (!queue->empty()) {
        tasks.push_back(queue->head());
        scheduler_.unqueue(tasks.back());
      }
    }
    scheduler_.drop_sticky(l);
  }
  for (uint32_t t : tasks) place(t);
}

}  // namespace tusk::core
