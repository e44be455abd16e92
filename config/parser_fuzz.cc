// libFuzzer target: any bytes as a file, through the grammar, the types, printing and reload. The
// world that operators see is made up, so that a run touches no file and repeats exactly.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "config/load.h"
#include "config/orchestration.h"
#include "config/parser.h"

namespace {

using namespace tusk::config;  // NOLINT: one function

Surroundings made_up_world() {
  Surroundings around;
  around.environment = [](const std::string& name) -> std::optional<std::string> {
    if (name.size() > 3) return std::nullopt;
    return name.size() == 1 ? std::string("12") : name;
  };
  around.read_file = [](const std::string& path) -> tl::expected<std::string, std::string> {
    if (path.empty()) return tl::unexpected<std::string>("does not exist");
    return path;  // a file holds its own name: whatever the fuzzer likes
  };
  return around;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Surroundings around = made_up_world();
  Result<Document> document = parse(text, "fuzz.tsk", around);
  if (!document) {
    require(!document.error().empty());
    (void)format(document.error());
    return 0;
  }
  (void)tusk::config::to_json(document->root);
  Result<Loaded> loaded = load_document(*document, "folder");
  if (!loaded) {
    require(!loaded.error().empty());
    (void)format(loaded.error());
    return 0;
  }
  (void)format(loaded->warnings);
  (void)to_json(loaded->orchestration);
  Orchestration kept = loaded->orchestration;
  Orchestration defaults;
  (void)keep_restart_only(defaults, kept);
  require(changed_restart_only(defaults, kept).empty());
  return 0;
}
