#include "daemon/messages/json_body.h"

#include <cmath>

#include "proto/scanner.h"

namespace tusk::messages {
namespace {

constexpr size_t kMostText = 1000;
constexpr uint8_t kTimestamp = 255;  // extension type -1

// Builds the tree and stops at what BODY.md does not allow. The parsers call it before they go
// deeper, so that its depth bounds theirs.
class Builder final : public nlohmann::json_sax<Json> {
 public:
  explicit Builder(JsonForm form) : form_(form) {}

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t& text) override {
    // A whole number of JSON that 64 bits do not hold arrives here, rounded.
    if (form_ == JsonForm::kJson && text.find_first_of(".eE") == text.npos) {
      return refuse("is a whole number beyond 64 bits");
    }
    return add(value);
  }
  bool string(string_t& value) override {
    if (!proto::is_utf8(value)) return refuse("is a text that is not UTF-8");
    return add(std::move(value));
  }
  bool binary(binary_t& value) override {
    if (!value.has_subtype()) return add(Json(std::move(value)));
    if (value.subtype() != kTimestamp) {
      return refuse("is an extension of msgpack; of those only timestamps are values");
    }
    if (value.size() != 4 && value.size() != 8 && value.size() != 12) {
      return refuse("is a timestamp of " + std::to_string(value.size()) +
                    " bytes; expected 4, 8 or 12");
    }
    return add(Json(std::move(value)));
  }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    slot_ = nullptr;
    if (!proto::is_utf8(name)) return refuse("has a key that is not UTF-8");
    auto [place, fresh] = open_.back()->get_ref<Json::object_t&>().try_emplace(std::move(name));
    if (!fresh) return refuse("has the key \"" + place->first + "\" twice");
    slot_ = &place->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    position_ = position;
    if (why_.empty()) grammar_ = error.what();
    return false;
  }

  Json& root() { return root_; }
  // What is wrong if it is a rule of BODY.md, and where.
  const std::string& why() const { return why_; }
  std::string path() const { return json_pointer(way_); }
  // What the parser says if it is the grammar, and the byte, from 1.
  const std::string& grammar() const { return grammar_; }
  size_t position() const { return position_; }

 private:
  bool add(Json value) {
    if (++values_ > kMaxValues) {
      return refuse("has more than " + std::to_string(kMaxValues) +
                    " values, more than a body that is checked may have");
    }
    if (open_.empty()) {
      root_ = std::move(value);
      slot_ = &root_;
    } else if (open_.back()->is_array()) {
      slot_ = &open_.back()->get_ref<Json::array_t&>().emplace_back(std::move(value));
    } else {
      *slot_ = std::move(value);
    }
    return true;
  }
  bool open(Json container) {
    if (open_.size() >= kMaxDepth) {
      return refuse("nests deeper than " + std::to_string(kMaxDepth) + " lists and maps");
    }
    if (!add(std::move(container))) return false;
    open_.push_back(slot_);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  bool refuse(std::string why) {
    why_ = std::move(why);
    for (size_t i = 0; i < open_.size(); ++i) {
      const Json* next = i + 1 < open_.size() ? open_[i + 1] : nullptr;
      step_into(*open_[i], next);
    }
    return false;
  }
  // The step from a container to the one within it that is open, or to the value in hand.
  void step_into(const Json& container, const Json* next) {
    if (container.is_array()) {
      way_.push_back({nullptr, next != nullptr ? container.size() - 1 : container.size()});
      return;
    }
    if (next == nullptr && slot_ == nullptr) return;
    for (auto& [name, value] : container.get_ref<const Json::object_t&>()) {
      if (&value == (next != nullptr ? next : slot_)) return way_.push_back({&name, 0});
    }
  }

  const JsonForm form_;
  Json root_;
  std::vector<Json*> open_;  // from the root to the container in hand
  Json* slot_ = nullptr;     // of the value in hand, if it is in a map
  size_t values_ = 0;
  std::string why_, grammar_;
  std::vector<Step> way_;
  size_t position_ = 0;
};

// Whatever the parser quotes of the text is made printable: it may cut characters in two.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '?';
  }
  return text;
}

bool parse(std::string_view text, Builder& builder, JsonForm form) {
  return Json::sax_parse(text.begin(), text.end(), &builder,
                         form == JsonForm::kJson ? nlohmann::detail::input_format_t::json
                                                 : nlohmann::detail::input_format_t::msgpack);
}

}  // namespace

std::string cut(std::string text) {
  if (text.size() <= kMostText) return text;
  size_t end = kMostText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text + "...";
}

std::string json_pointer(const std::vector<Step>& path) {
  std::string out;
  for (const Step& step : path) {
    if (out.size() > kMostText) break;  // it will be cut
    out += '/';
    if (step.key == nullptr) {
      out += std::to_string(step.index);
      continue;
    }
    for (char c : std::string_view(*step.key).substr(0, kMostText)) {
      c == '~' ? out += "~0" : c == '/' ? out += "~1" : out += c;
    }
  }
  const bool whole = out.size() <= kMostText;
  out = cut(std::move(out));
  // No half of an escape at the cut.
  if (!whole && out[out.size() - 4] == '~') out.erase(out.size() - 4, 1);
  return out;
}

tl::expected<Json, core::Refusal> read_body(std::string_view body, JsonForm form) {
  Builder builder(form);
  if (parse(body, builder, form)) return std::move(builder.root());
  if (!builder.why().empty()) {
    return tl::unexpected(core::Refusal{builder.path(), cut(builder.why())});
  }
  const std::string name = form == JsonForm::kJson ? "JSON" : "msgpack";
  return tl::unexpected(core::Refusal{"", "is not one whole value of " + name + ": byte " +
                                              std::to_string(builder.position()) +
                                              " cannot stand there"});
}

Compiled<Json> read_schema_text(std::string_view text) {
  Builder builder(JsonForm::kJson);
  if (parse(text, builder, JsonForm::kJson)) return std::move(builder.root());
  if (!builder.why().empty()) {
    const std::string path = builder.path();
    return tl::unexpected(
        Fault{(path.empty() ? "it " : "the value at " + path + " ") + cut(builder.why())});
  }
  Fault fault{"it is no JSON: " + cut(printable(builder.grammar()))};
  // The library's text begins with a name of its own, and repeats the place.
  if (size_t at = fault.why.find(": ", fault.why.find("parse error")); at != fault.why.npos) {
    fault.why = "it is no JSON: " + fault.why.substr(at + 2);
  }
  fault.line = fault.column = 1;
  for (char c : text.substr(0, builder.position() == 0 ? 0 : builder.position() - 1)) {
    const bool begins = (static_cast<unsigned char>(c) & 0xc0) != 0x80;
    c == '\n' ? (++fault.line, fault.column = 1) : fault.column += begins;
  }
  return tl::unexpected(std::move(fault));
}

}  // namespace tusk::messages
