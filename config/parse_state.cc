#include "config/parse_state.h"

namespace tusk::config {
namespace {

struct Size {
  std::size_t values = 0, text = 0;
};

// Its recursion is bounded: no tree is deeper than the parser and @json.read make it.
void measure(const Value& value, Size& size) {
  ++size.values;
  if (value.is(Value::Kind::text)) size.text += value.text().size();
  if (value.is(Value::Kind::list)) {
    for (const Value& item : value.list()) measure(item, size);
  }
  if (value.is(Value::Kind::map)) {
    for (std::size_t i = 0; i < value.map().size(); ++i) {
      size.text += value.map().key(i).name.size();
      measure(value.map().value(i), size);
    }
  }
}

}  // namespace

void State::report(Error error) {
  if (stopped_) return;
  errors.push_back(std::move(error));
  if (errors.size() < kMaxErrors) return;
  errors.push_back(source.error("more errors are not shown"));
  stopped_ = true;
}

bool State::exhausted(const Place& place, std::string what) {
  report(source.error(place, std::move(what)));
  stopped_ = true;
  return false;
}

bool State::take_call(const Place& place) {
  if (++calls_ <= kMaxCalls) return true;
  return exhausted(place, "more than " + std::to_string(kMaxCalls) + " operators are called");
}

std::string_view State::count(const Value& value) {
  static const std::string kValues = std::to_string(kMaxValues) + " values";
  static const std::string kText = std::to_string(kMaxText) + " bytes of text";
  Size size;
  measure(value, size);
  if (size.values > kMaxValues - values_) return kValues;
  if (size.text > kMaxText - text_) return kText;
  values_ += size.values;
  text_ += size.text;
  return {};
}

const Value* State::find_word(std::string_view word) const {
  for (auto map = scope.rbegin(); map != scope.rend(); ++map) {
    const Value* value = (*map)->find(word);
    if (value != nullptr && !value->is(Value::Kind::map)) return value;
  }
  return nullptr;
}

std::vector<std::string_view> State::words() const {
  std::vector<std::string_view> names;
  for (const Map* map : scope) {
    for (std::size_t i = 0; i < map->size(); ++i) {
      if (!map->value(i).is(Value::Kind::map)) names.push_back(map->key(i).name);
    }
  }
  return names;
}

std::vector<std::string_view> State::variable_names() const {
  std::vector<std::string_view> names;
  for (std::size_t i = 0; i < variables.size(); ++i) names.push_back(variables.key(i).name);
  return names;
}

}  // namespace tusk::config
