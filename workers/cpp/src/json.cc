#include "json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "tusk/body.h"
#include "tusk/error.h"

namespace tusk {
namespace {

using Json = nlohmann::json;

void write_value(std::string& out, BodyReader& reader) {
  using Type = BodyReader::Type;
  const BodyReader::Item item = reader.next();
  switch (item.type) {
    case Type::kNull:
      out += "null";
      break;
    case Type::kBoolean:
      out += item.boolean ? "true" : "false";
      break;
    case Type::kInteger:
      out += std::to_string(item.integer);
      break;
    case Type::kUnsigned:
      out += std::to_string(item.integer_unsigned);
      break;
    case Type::kFloat:
      if (!std::isfinite(item.real)) {
        throw ValueError("NaN and infinities cannot be sent as JSON");
      }
      out += Json(item.real).dump();
      break;
    case Type::kText:
      out += Json(item.data).dump();
      break;
    case Type::kList:
      out += '[';
      for (std::size_t i = 0; i < item.size; ++i) {
        if (i > 0) out += ',';
        write_value(out, reader);
      }
      out += ']';
      break;
    case Type::kMap:
      out += '{';
      for (std::size_t i = 0; i < item.size; ++i) {
        if (i > 0) out += ',';
        out += Json(reader.next().data).dump();
        out += ':';
        write_value(out, reader);
      }
      out += '}';
      break;
    case Type::kBytes:
    case Type::kTimestamp:
      throw ValueError("bytes and timestamps cannot be sent as JSON");
  }
}

// Writes msgpack as the parser goes. The size of a list or map is known at its end only, so each
// that is open has a buffer.
class Reader final : public nlohmann::json_sax<Json> {
 public:
  bool null() override {
    return add([](BodyWriter& w) { w.null(); });
  }
  bool boolean(bool value) override {
    return add([&](BodyWriter& w) { w.boolean(value); });
  }
  bool number_integer(number_integer_t value) override {
    return add([&](BodyWriter& w) { w.integer(value); });
  }
  bool number_unsigned(number_unsigned_t value) override {
    return add([&](BodyWriter& w) { w.integer_unsigned(value); });
  }
  bool number_float(number_float_t value, const string_t& text) override {
    if (text.find_first_of(".eE") == text.npos) return fail("a whole number beyond 64 bits");
    return add([&](BodyWriter& w) { w.real(value); });
  }
  bool string(string_t& value) override {
    return add([&](BodyWriter& w) { w.text(value); });
  }
  bool binary(binary_t&) override { return fail("bytes"); }
  bool start_object(std::size_t) override { return open(); }
  bool start_array(std::size_t) override { return open(); }
  bool key(string_t& name) override {
    if (!open_.back().keys.insert(name).second) return fail("a map has the same key twice");
    BodyWriter(open_.back().content).text(name);
    return true;
  }
  bool end_object() override {
    return close([](BodyWriter& w, std::size_t size) { w.begin_map(size); });
  }
  bool end_array() override {
    return close([](BodyWriter& w, std::size_t size) { w.begin_list(size); });
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    if (why.empty()) why = "no JSON at byte " + std::to_string(position);
    return false;
  }

  std::string why, out;

 private:
  struct Open {
    std::string content;
    std::size_t size = 0;
    std::set<std::string> keys;
  };

  bool fail(const char* what) {
    why = what;
    return false;
  }
  std::string& place() {
    if (open_.empty()) return out;
    ++open_.back().size;
    return open_.back().content;
  }
  template <typename Write>
  bool add(Write write) {
    BodyWriter writer(place());
    write(writer);
    return true;
  }
  bool open() {
    if (open_.size() >= kMaxBodyDepth) return fail("lists and maps nest over 64 deep");
    open_.emplace_back();
    return true;
  }
  template <typename Begin>
  bool close(Begin begin) {
    const Open inner = std::move(open_.back());
    open_.pop_back();
    std::string& to = place();
    BodyWriter writer(to);
    begin(writer, inner.size);
    to += inner.content;
    return true;
  }

  std::vector<Open> open_;
};

}  // namespace

std::string to_json(std::string_view body) {
  BodyReader reader(body);
  std::string out;
  write_value(out, reader);
  return out;
}

namespace detail {

std::string from_json(std::string_view json) {
  Reader reader;
  if (!Json::sax_parse(json.begin(), json.end(), &reader)) {
    throw ValueError("the body cannot be read: " + reader.why);
  }
  return std::move(reader.out);
}

}  // namespace detail
}  // namespace tusk
