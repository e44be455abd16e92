#include "config/resolve.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "config/parser.h"

namespace tusk::config {
namespace {

constexpr std::string_view kTasks = "_tasks";
constexpr std::string_view kMessages = "message_types";

std::string in_quotes(std::string_view text) { return "\"" + std::string(text) + "\""; }

std::string joined(const std::vector<std::string>& texts) {
  std::string out;
  for (const std::string& text : texts) out += (out.empty() ? "" : ", ") + text;
  return out.empty() ? "none" : out;
}

template <class T>
std::vector<std::string_view> names_of(const Named<T>& named) {
  std::vector<std::string_view> names;
  for (const auto& entry : named) names.push_back(entry.first);
  return names;
}

// Whether one of the tokens between its dots stands for others in a pattern of topics.
bool has_wildcard(std::string_view name) {
  for (size_t at = 0; at <= name.size();) {
    const size_t end = std::min(name.find('.', at), name.size());
    const std::string_view token = name.substr(at, end - at);
    if (token == "*" || token == ">") return true;
    at = end + 1;
  }
  return false;
}

}  // namespace

bool language_allowed(const Orchestration& orchestration, std::string_view language) {
  if (!orchestration.worker_languages) return true;
  std::string_view known = canonical_language(language);
  const std::vector<std::string>& listed = *orchestration.worker_languages;
  return known == orchestration.master_language ||
         std::find(listed.begin(), listed.end(), known) != listed.end();
}

Resolver::Resolver(const Value& root, const Source& source, std::string folder,
                   Orchestration& config)
    : root_(root), source_(source), folder_(std::move(folder)), config_(config) {}

void Resolver::resolve() {
  general();
  daemon();
  workers();
  messages();
  types();
  topics();
  stages();
}

// --- looking into the file -----------------------------------------------------------------------

const Value* Resolver::at(std::initializer_list<std::string_view> path) const {
  const Value* value = &root_;
  for (std::string_view name : path) {
    if (!value->is(Value::Kind::map)) return nullptr;
    value = value->map().find(name);
    if (value == nullptr) return nullptr;
  }
  return value;
}

// Of the value at the path, or of as much of it as there is.
Place Resolver::place(std::initializer_list<std::string_view> path) const {
  const Value* value = &root_;
  Place last = source_.error("").place;
  for (std::string_view name : path) {
    if (!value->is(Value::Kind::map)) break;
    value = value->map().find(name);
    if (value == nullptr) break;
    last = value->place;
  }
  return last;
}

Place Resolver::name_place(std::string_view section, std::string_view name) const {
  const Value* value = at({section});
  if (value == nullptr || !value->is(Value::Kind::map)) return place({section});
  const Map::Key* key = value->map().find_key(name);
  return key == nullptr ? value->place : key->place;
}

std::string Resolver::beside_file(const std::string& path) const {
  std::filesystem::path full = (std::filesystem::path(folder_) / path).lexically_normal();
  bool slash_at_end = !full.has_filename() && full.has_relative_path();
  return (slash_at_end ? full.parent_path() : full).string();
}

// Each error holds a copy of its line, so more of them than are shown would cost dearly.
void Resolver::error(const Place& place, std::string message) {
  if (errors.size() > kMaxErrors) return;
  errors.push_back(source_.error(place, std::move(message)));
}

// --- the daemon and its workers ------------------------------------------------------------------

void Resolver::general() {
  const Sections& sections = config_.sections;
  const RequestReply& calls = sections.ipc_patterns.request_reply;
  config_.default_timeout = std::chrono::milliseconds(calls.timeout_ms);
  config_.retry_attempts = static_cast<std::size_t>(calls.retry_attempts);
  config_.load_balancing = sections.orchestration.load_balancing;
  config_.master_language = sections.orchestration.master_language;
  config_.worker_languages = sections.orchestration.worker_languages;
  config_.serialization = sections.ipc_config.serialization;
  config_.compression = sections.ipc_config.compression;
}

void Resolver::daemon() {
  Tuskd& tuskd = config_.tuskd;
  if (tuskd.state) tuskd.state = beside_file(*tuskd.state);
  if (tuskd.log != "stderr") tuskd.log = beside_file(tuskd.log);
  if (config_.sections.ipc_config.protocol == Protocol::none) {
    tuskd.events_in = tuskd.events_out = tuskd.pipeline_in = tuskd.pipeline_out = std::nullopt;
  }
  orders();
  endpoints();
}

void Resolver::orders() {
  const Limits& limits = config_.tuskd.limits;
  const Times& times = config_.tuskd.times;
  auto at_least_body = [&](std::string_view name, Bytes size) {
    if (size.count >= limits.max_body.count) return;
    error(place({"tuskd", name}), "[tuskd] " + std::string(name) + " is " + to_text(size) +
                                      "; expected at least max_body, which is " +
                                      to_text(limits.max_body));
  };
  at_least_body("max_memory", limits.max_memory);
  at_least_body("max_session_bytes", limits.max_session_bytes);
  if (times.max_backoff < times.retry_backoff) {
    error(place({"tuskd", "max_backoff"}), "[tuskd] max_backoff is " + to_text(times.max_backoff) +
                                               "; expected at least retry_backoff, which is " +
                                               to_text(times.retry_backoff));
  }
}

void Resolver::endpoints() {
  const Tuskd& t = config_.tuskd;
  const std::vector<std::pair<std::string_view, std::optional<std::string>>> all = {
      {"endpoint", t.endpoint},
      {"ipc", t.ipc},
      {"events_in", t.events_in},
      {"events_out", t.events_out},
      {"pipeline_in", t.pipeline_in},
      {"pipeline_out", t.pipeline_out},
      {"http", t.http}};
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t j = 0; j < i && all[i].second; ++j) {
      if (all[i].second != all[j].second || all[i].second->ends_with(":*")) continue;
      // The later of the two in the file, if it stands there: else the other is at its default.
      std::string_view shown = at({"tuskd", all[i].first}) != nullptr ? all[i].first : all[j].first;
      error(place({"tuskd", shown}), "[tuskd] " + std::string(all[i].first) + " and " +
                                         std::string(all[j].first) + " are both " + *all[i].second);
      break;
    }
  }
}

void Resolver::workers() {
  for (auto& [name, worker] : config_.workers.entries) {
    if (worker.pool.empty()) worker.pool = worker.language;
    worker.directory = beside_file(worker.directory.empty() ? "." : worker.directory);
    if (worker.language.empty() || language_allowed(config_, worker.language)) continue;
    error(place({"workers", name, "language"}),
          "[workers] " + name + ".language: " + worker.language + " is neither master_language (" +
              config_.master_language + ") nor in worker_languages (" +
              joined(*config_.worker_languages) + ")");
  }
}

// --- task types ----------------------------------------------------------------------------------

void Resolver::types() {
  TaskType& other = config_.other_type;
  other.attempts = 1 + config_.retry_attempts;
  other.max_waiting = config_.tuskd.limits.max_waiting;
  other.load_balancing = config_.load_balancing;
  other.retry_backoff = config_.tuskd.times.retry_backoff;
  other.max_backoff = config_.tuskd.times.max_backoff;
  std::map<std::string, Place, std::less<>> bound;  // type -> where its pool is named
  pools(bound);
  for (const auto& [name, message] : config_.sections.message_types) {
    if (message.routing != Routing::fanout) config_.types.try_emplace(name, other);
  }
  for (const auto& entry : config_.type_sections) config_.types.try_emplace(entry.first, other);
  for (auto& [name, type] : config_.types) govern(type, name);
  type_sections(bound);
  if (config_.types.size() > config_.tuskd.limits.max_types) {
    error(place({"tuskd", "max_types"}),
          "the file names " + std::to_string(config_.types.size()) +
              " task types, more than max_types of [tuskd], which is " +
              std::to_string(config_.tuskd.limits.max_types));
  }
}

void Resolver::pools(std::map<std::string, Place, std::less<>>& bound) {
  for (const auto& [name, listed] : config_.sections.task_distribution) {
    std::string_view prefix = name;
    if (!prefix.ends_with(kTasks) || prefix.size() == kTasks.size()) {
      error(name_place("task_distribution", name),
            "[task_distribution] expects names such as python_tasks, found " + in_quotes(name));
      continue;
    }
    prefix.remove_suffix(kTasks.size());
    std::string pool(canonical_language(prefix));
    if (listed.empty()) continue;
    const List& items = at({"task_distribution", name})->list();
    for (std::size_t i = 0; i < listed.size(); ++i) {
      TaskType& type = config_.types.try_emplace(listed[i], config_.other_type).first->second;
      if (type.pool && *type.pool != pool) {
        error(items[i].place, "the type " + in_quotes(listed[i]) + " is bound to pool " +
                                  *type.pool + " in line " + std::to_string(bound[listed[i]].line) +
                                  " already; a type has one pool");
      } else {
        type.pool = pool;
        bound.try_emplace(listed[i], items[i].place);
      }
    }
  }
}

void Resolver::type_sections(const std::map<std::string, Place, std::less<>>& bound) {
  for (const auto& [name, set] : config_.type_sections) {
    TaskType& type = config_.types.find(name)->second;
    if (set.pool && type.pool && *set.pool != *type.pool) {
      error(place({"types", name, "pool"}),
            "the type " + in_quotes(name) + " is bound to pool " + *type.pool + " in line " +
                std::to_string(bound.find(name)->second.line) + " already; a type has one pool");
    }
    if (set.pool) type.pool = set.pool;
    if (set.message) govern(type, *set.message);
    type.delay = set.delay.value_or(Duration{0});
    type.deadline = set.deadline;
    type.timeout = set.timeout;
    type.heartbeat_timeout = set.heartbeat_timeout;
    type.retention = set.retention.value_or(Duration{0});
    type.attempts = set.attempts.value_or(type.attempts);
    type.retry_backoff = set.retry_backoff.value_or(type.retry_backoff);
    type.max_backoff = set.max_backoff.value_or(type.max_backoff);
    type.backoff_factor = set.backoff_factor.value_or(type.backoff_factor);
    type.backoff_jitter = set.backoff_jitter.value_or(type.backoff_jitter);
    type.no_retry_on = set.no_retry_on.value_or(Texts{});
    type.concurrency = set.concurrency;
    type.rate = set.rate;
    type.burst = set.burst;
    type.key_concurrency = set.key_concurrency;
    type.key_rate = set.key_rate;
    type.key_burst = set.key_burst;
    type.order_on_dead = set.order_on_dead.value_or(OnDead::skip);
    type.priority = set.priority.value_or(type.priority);
    type.durable = set.durable.value_or(false);
    type.max_waiting = set.max_waiting.value_or(type.max_waiting);
    type.unserved = set.unserved.value_or(Unserved::error);
    type.load_balancing = set.load_balancing.value_or(type.load_balancing);
    type.required = set.required;
    type.prefers = set.prefers;
    type.consumes = set.consumes;
    needs(name, "requires", set.required);
    needs(name, "prefers", set.prefers);
    needs(name, "consumes", set.consumes);
  }
}

// What the wire protocol could not say either.
template <typename T>
void Resolver::needs(const std::string& type, const char* key, const Named<T>& entries) {
  if (entries.size() > 16) {
    error(place({"types", type, key}), "the type " + in_quotes(type) + " " + key + " " +
                                           std::to_string(entries.size()) +
                                           " labels; there may be 16");
  }
  for (const auto& entry : entries) {
    if (!entry.first.empty() && entry.first.size() <= 255) continue;
    error(place({"types", type, key, entry.first}), "the name of a label is 1 to 255 bytes long");
  }
}

// --- messages ------------------------------------------------------------------------------------

void Resolver::messages() {
  for (const auto& message : config_.sections.message_types) {
    const std::string& name = message.first;
    const MessageType& entry = message.second;
    const Value* schema = at({"message_types", name, "schema"});
    config_.messages[name] = {
        .entry = entry,
        .schema_file = schema != nullptr && schema->file ? *schema->file : "",
        .schema_at = source_.error(place({"message_types", name, "schema"}), ""),
        .message_at = source_.error(place({"message_types", name, "message"}), "")};
    auto wrong = [&, where = "[message_types] " + name + "."](std::string_view key,
                                                              std::string_view why) {
      error(place({"message_types", name, key}), where + std::string(key) + " " + std::string(why));
    };
    if (entry.validation && !entry.schema) {
      wrong("validation", "needs a schema to check bodies against: add the key schema");
    }
    if (entry.schema && !entry.format) {
      wrong("schema",
            "needs to know what bodies are written in: add format: json, msgpack or "
            "protobuf");
    }
    if (entry.message && (!entry.schema || entry.format != MessageFormat::protobuf)) {
      wrong("message", "names a message of a .proto file: it needs a schema and format: protobuf");
    }
  }
  message_references("types");
  message_references("topics");
}

// The entry of that name, if there is one, has a say in how the tasks of the type run.
void Resolver::govern(TaskType& type, const std::string& name) {
  auto message = config_.messages.find(name);
  if (message == config_.messages.end()) return;
  const MessageType& entry = message->second.entry;
  type.message = name;
  type.priority = entry.priority.value_or(Priority{});
  type.load_balancing = entry.routing == Routing::round_robin ? LoadBalancing::round_robin
                        : entry.routing == Routing::least_connections
                            ? LoadBalancing::least_connections
                            : config_.load_balancing;
}

// --- topics and stages ---------------------------------------------------------------------------

void Resolver::topics() {
  std::set<std::string_view> known;
  auto add = [&](const std::string& name, const TopicSection& topic) {
    if (!known.insert(name).second) return;
    bool own = !topic.message && config_.messages.contains(name);
    config_.topics.push_back({.name = name,
                              .message = own ? Text(name) : topic.message,
                              .retain = topic.retain,
                              .rate = topic.rate,
                              .burst = topic.burst});
  };
  for (const auto& [name, topic] : config_.topic_sections) {
    add(name, topic);
    if (has_wildcard(name)) {
      error(place({"topics", name}),
            "[topics] " + in_quotes(name) +
                " is a pattern, for subscribers; name here each topic that events go to");
    }
  }
  for (const std::string& name : config_.sections.ipc_patterns.publish_subscribe.topics) {
    add(name, {});
  }
  for (const auto& [name, message] : config_.sections.message_types) {
    if (message.routing == Routing::fanout) add(name, {});
  }
  if (config_.topics.size() > config_.tuskd.limits.max_topics) {
    error(place({"tuskd", "max_topics"}),
          "the file names " + std::to_string(config_.topics.size()) +
              " topics, more than max_topics of [tuskd], which is " +
              std::to_string(config_.tuskd.limits.max_topics));
  }
}

void Resolver::stages() {
  stage_names();
  for (Stage& stage : config_.stages) stage.message = config_.message_of(stage.function);
}

void Resolver::stage_names() {
  if (has("data_pipeline")) {
    for (const auto& [name, stage] : config_.sections.data_pipeline) {
      const Value* settings = at({"data_pipeline", name});
      config_.stages.push_back({name, stage.language.value_or(""), stage.function.value_or(name),
                                settings == nullptr ? Value() : *settings});
    }
    return;
  }
  std::set<std::string_view> known;
  const Texts& named = config_.sections.ipc_patterns.pipeline.stages;
  for (std::size_t i = 0; i < named.size(); ++i) {
    if (!known.insert(named[i]).second) {
      error(at({"ipc_patterns", "pipeline", "stages"})->list()[i].place,
            "the stage " + in_quotes(named[i]) + " stands here twice");
      continue;
    }
    config_.stages.push_back({named[i], "", named[i], Value()});
  }
}

// --- warnings ------------------------------------------------------------------------------------

void Resolver::warn(std::vector<Reader::Idle> idle) {
  for (const auto& [name, message] : config_.sections.message_types) {
    if (message.routing != Routing::sticky) continue;
    if (idle.empty() || idle.back().section != kMessages) idle.push_back({kMessages, {}, {}});
    idle.back().keys.push_back(name + ".routing: sticky");
  }
  if (!idle.empty()) {
    std::string message = "accepted, but without effect in this version:";
    for (const Reader::Idle& section : idle) {
      message.append("\n  [").append(section.section).append("] ").append(joined(section.keys));
    }
    warnings.push_back(source_.error(std::move(message)));
  }
  dependency_references();
}

void Resolver::warn_of_reference(const Value& from, const std::string& where,
                                 std::string_view section,
                                 const std::vector<std::string_view>& names) {
  if (warnings.size() > kMaxErrors) return;
  if (warnings.size() == kMaxErrors) {
    warnings.push_back(source_.error("more warnings are not shown"));
    return;
  }
  warnings.push_back(source_.error(from.place, where + ": " + in_quotes(from.text()) +
                                                   " is no entry of [" + std::string(section) +
                                                   "]" + did_you_mean(from.text(), names)));
}

// `message` names an entry of [message_types].
void Resolver::message_references(std::string_view section) {
  const Value* entries = at({section});
  if (entries == nullptr || !entries->is(Value::Kind::map)) return;
  std::vector<std::string_view> names = names_of(config_.sections.message_types);
  std::set<std::string_view> known(names.begin(), names.end());
  const Map& map = entries->map();
  for (std::size_t i = 0; i < map.size(); ++i) {
    const Value* message =
        map.value(i).is(Value::Kind::map) ? map.value(i).map().find("message") : nullptr;
    if (message == nullptr || !message->is(Value::Kind::text)) continue;
    if (known.contains(message->text())) continue;
    error(message->place, "[" + std::string(section) + "] " + map.key(i).name + ".message: " +
                              in_quotes(message->text()) + " is no entry of [message_types]" +
                              did_you_mean(message->text(), names));
  }
}

// `dependencies` names services, if there is a section of them; other names are free text.
void Resolver::dependency_references() {
  if (!has("microservices")) return;
  std::vector<std::string_view> names = names_of(config_.sections.microservices);
  std::set<std::string_view> known(names.begin(), names.end());
  for (const auto& [name, service] : config_.sections.service_config) {
    for (std::size_t i = 0; i < service.dependencies.size(); ++i) {
      const std::string& needed = service.dependencies[i];
      if (known.contains(needed)) continue;
      const List& items = at({"service_config", name, "dependencies"})->list();
      warn_of_reference(items[i], "[service_config] " + name + ".dependencies", "microservices",
                        names);
    }
  }
}

}  // namespace tusk::config
