#include "config/parser.h"

#include "config/structure.h"

namespace tusk::config {

Result<Document> parse(std::string_view text, std::string name, const Surroundings& around) {
  if (text.size() > kMaxFile) {
    Source empty(std::move(name), {});
    return tl::unexpected(
        std::vector{empty.error("is larger than " + std::to_string(kMaxFile) + " bytes")});
  }
  auto source = std::make_shared<Source>(std::move(name), text);
  if (auto odd = source->first_odd_byte()) return tl::unexpected(std::vector{std::move(*odd)});
  State state(*source, around);
  Map root = Structure(state).file();
  if (!state.errors.empty()) return tl::unexpected(std::move(state.errors));
  return Document{Value(source->place(0, 0), std::move(root)), std::move(source)};
}

}  // namespace tusk::config
