// A configuration file with all that follows from it: read, checked, its schemas compiled.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/orchestration.h"
#include "daemon/core/body_checker.h"

namespace tusk {

// What the daemon runs on; by default that of no file.
struct Configuration {
  std::shared_ptr<const config::Orchestration> config =
      std::make_shared<const config::Orchestration>();
  core::BodyCheckers checkers = {};
};

struct LoadedConfig {
  Configuration configuration;
  std::vector<config::Error> warnings;
};

// config::load(), and messages::compile() of what it gives.
config::Result<LoadedConfig> load_config(const std::string& file);

}  // namespace tusk
