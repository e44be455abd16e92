#include "daemon/load_config.h"

#include "daemon/messages/compile.h"

namespace tusk {

config::Result<LoadedConfig> load_config(const std::string& file) {
  auto loaded = config::load(file);
  if (!loaded) return tl::unexpected(std::move(loaded.error()));
  auto checkers = messages::compile(loaded->orchestration);
  if (!checkers) return tl::unexpected(std::move(checkers.error()));
  LoadedConfig out;
  out.configuration.config =
      std::make_shared<const config::Orchestration>(std::move(loaded->orchestration));
  out.configuration.checkers = std::move(*checkers);
  out.warnings = std::move(loaded->warnings);
  return out;
}

}  // namespace tusk
