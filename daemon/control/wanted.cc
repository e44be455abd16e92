#include "daemon/control/wanted.h"

#include <spdlog/fmt/fmt.h>

#include <nlohmann/json.hpp>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace tusk::control {
namespace {

// Of what the process was started with. The number of instances is none of it, so that changing it
// leaves alone those that stay.
std::string digest(const Launch& launch) {
  nlohmann::json all = {launch.command, launch.directory};
  for (const auto& [name, value] : launch.environment) all.push_back({name, value});
  std::string text = all.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return fmt::format("{:016x}", XXH3_64bits(text.data(), text.size()));
}

Launch launch(const config::Worker& worker, const std::string& name, const std::string& url) {
  Launch launch{worker.command, worker.directory, worker.environment};
  auto set = [&](const char* key, std::string value) {
    launch.environment.entries.emplace_back(key, std::move(value));
  };
  set("TUSK_URL", url);
  set("TUSK_WORKER", name);
  set("TUSK_POOL", worker.pool);
  if (worker.slots) set("TUSK_SLOTS", std::to_string(*worker.slots));
  if (!worker.labels.empty()) {
    nlohmann::json labels;
    for (const auto& [label, value] : worker.labels) {
      if (value.text.empty()) {
        labels[label] = value.amount;
      } else {
        labels[label] = value.text;
      }
    }
    set("TUSK_LABELS", labels.dump());
  }
  set("TUSK_SUPERVISED", "1");
  return launch;
}

}  // namespace

std::vector<Wanted> expand(const config::Orchestration& config, const std::string& url) {
  std::vector<Wanted> all;
  for (const auto& [key, worker] : config.workers) {
    for (std::size_t i = 1; i <= worker.instances; ++i) {
      std::string name = worker.instances == 1 ? key : key + "-" + std::to_string(i);
      Launch what = launch(worker, name, url);
      std::string sum = digest(what);
      all.push_back({std::move(name), key, std::move(what), std::move(sum)});
    }
  }
  return all;
}

}  // namespace tusk::control
