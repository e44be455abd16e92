#include "config/json_reader.h"

#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "config/parser.h"

namespace tusk::config {
namespace {

using Json = nlohmann::json;

// Builds the tree event by event, so that bounds hold while it grows and not only afterwards.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Builder(const Place& place, std::size_t room) : place_(place), room_(room) {}

  bool null() override { return put(Value(place_)); }
  bool boolean(bool value) override { return put(Value(place_, value)); }
  bool number_integer(std::int64_t value) override { return put(Value(place_, value)); }
  bool number_unsigned(std::uint64_t value) override {
    if (value > static_cast<std::uint64_t>(INT64_MAX)) return fail("a whole number beyond 64 bits");
    return put(Value(place_, static_cast<std::int64_t>(value)));
  }
  bool number_float(double value, const std::string& text) override {
    // The library reads 18446744073709551616 as a double; it would be rounded.
    if (text.find_first_of(".eE") == std::string::npos)
      return fail("a whole number beyond 64 bits");
    return put(Value(place_, value));
  }
  bool string(std::string& value) override {
    if (value.find('\0') != std::string::npos) return fail("a text with a NUL");
    return put(Value(place_, std::move(value)));
  }
  bool binary(Json::binary_t&) override { return fail("no JSON"); }
  bool start_object(std::size_t) override { return open(Value(place_, Map())); }
  bool start_array(std::size_t) override { return open(Value(place_, List())); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& name) override {
    open_.back().key = name;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return fail("no valid JSON at byte " + std::to_string(position));
  }

  Value result;
  std::string error;

 private:
  struct Open {
    Value value;
    std::string key;
  };

  bool fail(std::string message) {
    if (error.empty()) error = std::move(message);
    return false;
  }
  bool count() {
    if (room_ == 0) return fail("too many values");
    --room_;
    return true;
  }
  bool open(Value value) {
    if (open_.size() >= kMaxDepth) return fail("nested too deeply");
    if (!count()) return false;
    open_.push_back({std::move(value), {}});
    return true;
  }
  bool close() {
    Value value = std::move(open_.back().value);
    open_.pop_back();
    return attach(std::move(value));
  }
  bool put(Value value) { return count() && attach(std::move(value)); }
  bool attach(Value value) {
    if (open_.empty()) {
      result = std::move(value);
      return true;
    }
    Open& parent = open_.back();
    if (parent.value.is(Value::Kind::list)) {
      parent.value.list().push_back(std::move(value));
      return true;
    }
    if (parent.value.map().add(parent.key, place_, std::move(value))) return true;
    return fail("the name \"" + parent.key + "\" stands twice in one object");
  }

  Place place_;
  std::size_t room_;
  std::vector<Open> open_;
};

}  // namespace

tl::expected<Value, std::string> read_json(std::string_view text, const Place& place,
                                           std::size_t room) {
  Builder builder(place, room);
  if (Json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.result);
  return tl::unexpected(builder.error.empty() ? std::string("no valid JSON") : builder.error);
}

}  // namespace tusk::config
