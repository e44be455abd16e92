#include "config/orchestration.h"

#include <filesystem>

#include "config/codec.h"
#include "config/load.h"
#include "config/operators.h"
#include "config/parser.h"
#include "config/reader.h"
#include "config/resolve.h"

namespace tusk::config {
namespace {

namespace fs = std::filesystem;

Json print(const TaskType& type) {
  auto text = [](const Text& value) { return value ? Json(*value) : Json(nullptr); };
  auto time = [](const std::optional<Duration>& value) {
    return value ? Json(to_text(*value)) : Json(nullptr);
  };
  auto number = [](const std::optional<std::size_t>& value) {
    return value ? Json(*value) : Json(nullptr);
  };
  auto rate = [](const std::optional<Rate>& value) {
    return value ? print_plain(*value) : Json(nullptr);
  };
  auto labels = [](const auto& named) {
    Json out = Json::object();
    for (const auto& [name, value] : named) append(out, name, print_plain(value));
    return out;
  };
  return Json{{"pool", text(type.pool)},
              {"delay", to_text(type.delay)},
              {"deadline", time(type.deadline)},
              {"timeout", time(type.timeout)},
              {"heartbeat_timeout", time(type.heartbeat_timeout)},
              {"retention", to_text(type.retention)},
              {"attempts", type.attempts},
              {"retry_backoff", to_text(type.retry_backoff)},
              {"max_backoff", to_text(type.max_backoff)},
              {"backoff_factor", type.backoff_factor},
              {"backoff_jitter", type.backoff_jitter},
              {"no_retry_on", print_plain(type.no_retry_on)},
              {"concurrency", number(type.concurrency)},
              {"rate", rate(type.rate)},
              {"burst", number(type.burst)},
              {"key_concurrency", number(type.key_concurrency)},
              {"key_rate", rate(type.key_rate)},
              {"key_burst", number(type.key_burst)},
              {"order_on_dead", print_plain(type.order_on_dead)},
              {"priority", print_plain(type.priority)},
              {"durable", type.durable},
              {"message", text(type.message)},
              {"max_waiting", type.max_waiting},
              {"unserved", print_plain(type.unserved)},
              {"load_balancing", print_plain(type.load_balancing)},
              {"requires", labels(type.required)},
              {"prefers", labels(type.prefers)},
              {"consumes", labels(type.consumes)}};
}

Json resolved(const Orchestration& o) {
  Json types = Json::object();
  for (const auto& [name, type] : o.types) append(types, name, print(type));
  Json topics = Json::array();
  for (const Topic& topic : o.topics) {
    topics.push_back(Json{{"name", topic.name},
                          {"message", topic.message ? Json(*topic.message) : Json(nullptr)},
                          {"retain", topic.retain},
                          {"rate", topic.rate ? print_plain(*topic.rate) : Json(nullptr)},
                          {"burst", topic.burst ? Json(*topic.burst) : Json(nullptr)}});
  }
  Json stages = Json::array();
  for (const Stage& stage : o.stages) {
    stages.push_back(
        Json{{"name", stage.name},
             {"language", stage.language.empty() ? Json(nullptr) : Json(stage.language)},
             {"function", stage.function}});
  }
  Json languages = o.worker_languages ? print_plain(*o.worker_languages) : Json(nullptr);
  return Json{{"default_timeout", to_text(std::chrono::duration_cast<Duration>(o.default_timeout))},
              {"retry_attempts", o.retry_attempts},
              {"load_balancing", print_plain(o.load_balancing)},
              {"master_language", o.master_language},
              {"worker_languages", std::move(languages)},
              {"serialization", print_plain(o.serialization)},
              {"compression", print_plain(o.compression)},
              {"types", std::move(types)},
              {"other_types", print(o.other_type)},
              {"topics", std::move(topics)},
              {"stages", std::move(stages)}};
}

// The restart-only keys of a table that differ; with `keep`, `fresh` gets the running values.
void compare(const Table& table, const std::string& path, const void* running, void* fresh,
             bool keep, std::vector<std::string>& changed) {
  for (const Key& key : table.keys) {
    std::string name = path.empty()
                           ? "[" + std::string(key.name) + "]"
                           : path + (path.back() == ']' ? " " : ".") + std::string(key.name);
    const void* old_field = key.field(running);
    void* new_field = key.reach(fresh);
    if (key.type->names == 0 && !key.type->table().keys.empty()) {
      compare(key.type->table(), name, old_field, new_field, keep, changed);
    } else if (key.restart && key.type->print(old_field) != key.type->print(new_field)) {
      if (keep) key.type->copy(old_field, new_field);
      changed.push_back(std::move(name));
    }
  }
}

}  // namespace

Result<Loaded> load_document(const Document& document, const std::string& folder) {
  Loaded loaded;
  Reader reader(*document.source);
  reader.read(document.root, loaded.orchestration);
  std::vector<Error> errors = reader.take_errors();
  if (errors.empty()) {
    Resolver resolver(document.root, *document.source, folder, loaded.orchestration);
    resolver.resolve();
    errors = std::move(resolver.errors);
    if (errors.empty()) resolver.warn(reader.idle());
    loaded.warnings = std::move(resolver.warnings);
  }
  if (errors.empty()) return loaded;
  if (errors.size() > kMaxErrors) {
    errors.resize(kMaxErrors);
    errors.push_back(document.source->error("more errors are not shown"));
  }
  return tl::unexpected(std::move(errors));
}

Result<Loaded> load(const std::string& path) {
  auto text = read_regular_file(path, kMaxFile);
  if (!text) {
    Place whole{std::make_shared<const std::string>(path), 0, 0};
    return tl::unexpected(std::vector{Error{std::move(whole), text.error(), ""}});
  }
  std::error_code error;
  // Absolute, so that paths in the file mean the same wherever the daemon goes.
  fs::path absolute = fs::absolute(path, error);
  std::string folder = (error ? fs::path(path) : absolute).parent_path().string();
  Result<Document> document = parse(*text, path, real_surroundings(folder));
  if (!document) return tl::unexpected(std::move(document.error()));
  return load_document(*document, folder);
}

Result<Loaded> load_text(std::string_view text, const std::string& name) {
  std::string folder = fs::path(name).parent_path().string();
  Result<Document> document = parse(text, name, real_surroundings(folder));
  if (!document) return tl::unexpected(std::move(document.error()));
  return load_document(*document, folder);
}

std::string to_json(const Orchestration& orchestration) {
  Json out = Codec<Orchestration>::print(orchestration);
  append(out, "resolved", resolved(orchestration));
  return out.dump(2);
}

std::vector<std::string> changed_restart_only(const Orchestration& running,
                                              const Orchestration& fresh) {
  Orchestration copy = fresh;
  std::vector<std::string> changed;
  compare(table<Orchestration>(), "", &running, &copy, false, changed);
  return changed;
}

std::vector<std::string> keep_restart_only(const Orchestration& running, Orchestration& fresh) {
  std::vector<std::string> changed;
  compare(table<Orchestration>(), "", &running, &fresh, true, changed);
  return changed;
}

}  // namespace tusk::config
