// Any bytes as a configuration, as far as the daemon takes a file: grammar, types, what follows
// from them, its schemas; then printing and reload.
#include <cstdint>
#include <string_view>

#include "config/load.h"
#include "daemon/messages/compile.h"
#include "tests/fuzz/require.h"
#include "tests/fuzz/surroundings.h"

using namespace tusk;
using fuzz::require;

namespace {

void can_be_shown(const std::vector<config::Error>& errors) {
  require(!errors.empty(), "a configuration that is refused has an error");
  require(errors.size() <= config::kMaxErrors + 1, "no more errors than are shown");
  require(config::is_text(config::format(errors)), "errors are text, whatever the file is");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto document = config::parse(text, "fuzz.tsk", fuzz::made_up_world());
  if (!document) return 0;  // the target tusklang looks at those
  auto loaded = config::load_document(*document, "folder");
  if (!loaded) {
    can_be_shown(loaded.error());
    return 0;
  }
  if (!loaded->warnings.empty()) can_be_shown(loaded->warnings);
  require(config::is_text(config::to_json(loaded->orchestration)), "--print prints text");
  auto checkers = messages::compile(loaded->orchestration);
  if (!checkers) can_be_shown(checkers.error());

  config::Orchestration kept = loaded->orchestration;
  const config::Orchestration defaults;
  config::keep_restart_only(defaults, kept);
  require(config::changed_restart_only(defaults, kept).empty(),
          "a reload takes what it may take and keeps the rest");
  return 0;
}
