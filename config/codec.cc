#include "config/codec.h"

#include <cmath>

#include "config/literal.h"
#include "config/shell_words.h"

namespace tusk::config {
namespace {

constexpr std::int64_t kNoLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kNoMost = std::numeric_limits<std::int64_t>::max();

struct Level {
  std::string_view name;
  std::int64_t level;
};
constexpr std::array<Level, 4> kLevels = {
    {{"low", -10}, {"normal", 0}, {"high", 10}, {"critical", 20}}};
constexpr std::int64_t kLowest = -100, kHighest = 100;

// A text of the environment as the number, true or false that it reads as.
Value of_environment(const Value& value) {
  if (!value.from_environment) return value;
  auto read = literal(value.text(), value.place);
  return read && *read ? std::move(**read) : value;
}

// "a size from 1KB to 64MB"; `show` writes a bound.
template <class Show>
std::string bounded(const Key& key, const std::string& what, Show show) {
  bool least = key.least != kNoLeast;
  bool most = key.most != kNoMost;
  if (least && most) return what + " from " + show(key.least) + " to " + show(key.most);
  if (least) return what + " of at least " + show(key.least);
  if (most) return what + " of at most " + show(key.most);
  return what;
}

std::string show_number(std::int64_t number) { return std::to_string(number); }
std::string show_bytes(std::int64_t count) {
  return to_text(Bytes{static_cast<std::size_t>(count)});
}
std::string show_duration(std::int64_t count) { return to_text(Duration(count)); }

bool inside(const Key& key, std::int64_t number) {
  return number >= key.least && number <= key.most;
}

bool read_text(Reader& reader, const Key& key, const Value& value, std::string& field) {
  if (!value.is(Value::Kind::text)) {
    bool scalar = value.is(Value::Kind::boolean) || value.is(Value::Kind::integer) ||
                  value.is(Value::Kind::real);
    reader.expected(value, describe_plain(key, &field), scalar ? "; put it in quotes" : "");
    return false;
  }
  std::string text = value.text();
  std::string wrong = key.refine != nullptr ? key.refine(text) : "";
  bool other = !key.only.empty() && text != key.only;
  if (other || !wrong.empty() || text.find('\0') != std::string::npos) {
    reader.expected(value, describe_plain(key, &field), wrong.empty() ? "" : ": " + wrong);
    return false;
  }
  field = std::move(text);
  return true;
}

}  // namespace

std::string choice(const std::vector<std::string_view>& texts) {
  std::string out;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    out += i == 0 ? "" : i + 1 == texts.size() ? " or " : ", ";
    out.append(texts[i]);
  }
  return out;
}

// --- reading -------------------------------------------------------------------------------------

bool read_plain(Reader& reader, const Key& key, const Value& value, bool& field) {
  Value plain = of_environment(value);
  if (!plain.is(Value::Kind::boolean)) {
    reader.expected(value, describe_plain(key, &field));
    return false;
  }
  field = plain.boolean();
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, std::int64_t& field) {
  Value plain = of_environment(value);
  if (!plain.is(Value::Kind::integer) || !inside(key, plain.integer())) {
    reader.expected(value, describe_plain(key, &field));
    return false;
  }
  field = plain.integer();
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, std::size_t& field) {
  std::int64_t number = 0;
  if (!read_plain(reader, key, value, number)) return false;
  field = static_cast<std::size_t>(number);
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, std::string& field) {
  return read_text(reader, key, value, field);
}

bool read_plain(Reader& reader, const Key& key, const Value& value, Texts& field) {
  if (key.shell_words && value.is(Value::Kind::text)) {
    auto split = shell_words(value.text());
    if (!split) {
      reader.expected(value, describe_plain(key, &field), ": " + split.error());
      return false;
    }
    field = std::move(*split);
  } else if (value.is_null() && !key.shell_words) {
    return true;  // a key with no items below it
  } else if (value.is(Value::Kind::list)) {
    bool good = true;
    for (const Value& item : value.list()) {
      field.emplace_back();
      good = read_text(reader, key, item, field.back()) && good;
    }
    if (!good) return false;
  } else {
    reader.expected(value, describe_plain(key, &field));
    return false;
  }
  if (!key.shell_words || (!field.empty() && !field[0].empty())) return true;
  reader.expected(value, describe_plain(key, &field), ": there is no program to start");
  return false;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, Bytes& field) {
  Value plain = of_environment(value);
  std::optional<Bytes> size;
  if (plain.is(Value::Kind::text)) size = parse_bytes(plain.text());
  if (plain.is(Value::Kind::integer) && plain.integer() >= 0) {
    size = Bytes{static_cast<std::size_t>(plain.integer())};
  }
  if (!size || !inside(key, static_cast<std::int64_t>(size->count))) {
    reader.expected(value, describe_plain(key, &field));
    return false;
  }
  field = *size;
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, Duration& field) {
  std::optional<Duration> duration;
  if (value.is(Value::Kind::text)) duration = parse_duration(value.text());
  if (!duration || !inside(key, duration->count())) {
    bool number = value.is(Value::Kind::integer) || value.is(Value::Kind::real);
    reader.expected(value, describe_plain(key, &field),
                    number ? "; a duration has a unit: us, ms, s, m, h or d" : "");
    return false;
  }
  field = *duration;
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, Rate& field) {
  Value plain = of_environment(value);
  std::optional<Rate> rate;
  if (plain.is(Value::Kind::text)) rate = parse_rate(plain.text());
  if (plain.is(Value::Kind::integer)) rate = Rate{static_cast<double>(plain.integer())};
  if (plain.is(Value::Kind::real)) rate = Rate{plain.real()};
  if (!rate || !(rate->per_second >= 0)) {
    reader.expected(value, describe_plain(key, &field));
    return false;
  }
  field = *rate;
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, double& field) {
  Value plain = of_environment(value);
  double number = std::numeric_limits<double>::quiet_NaN();
  if (plain.is(Value::Kind::integer)) number = static_cast<double>(plain.integer());
  if (plain.is(Value::Kind::real)) number = plain.real();
  if (!(number >= static_cast<double>(key.least) && number <= static_cast<double>(key.most))) {
    reader.expected(value, describe_plain(key, &field));
    return false;
  }
  field = number;
  return true;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, Priority& field) {
  Value plain = of_environment(value);
  if (plain.is(Value::Kind::integer) && plain.integer() >= kLowest && plain.integer() <= kHighest) {
    field.level = plain.integer();
    return true;
  }
  std::vector<std::string_view> names;
  for (const Level& level : kLevels) {
    if (plain.is(Value::Kind::text) && plain.text() == level.name) {
      field.level = level.level;
      return true;
    }
    names.push_back(level.name);
  }
  reader.expected(value, describe_plain(key, &field),
                  plain.is(Value::Kind::text) ? did_you_mean(plain.text(), names) : "");
  return false;
}

bool read_plain(Reader& reader, const Key& key, const Value& value, Label& field) {
  constexpr std::int64_t kMost = 1'000'000'000;
  Value plain = of_environment(value);
  if (plain.is(Value::Kind::integer) && plain.integer() >= 0 && plain.integer() <= kMost) {
    field.amount = static_cast<std::size_t>(plain.integer());
    return true;
  }
  if (plain.is(Value::Kind::text) && !plain.text().empty() && plain.text().size() <= 255) {
    field.text = plain.text();
    return true;
  }
  reader.expected(value, describe_plain(key, &field), "");
  return false;
}

// --- printing ------------------------------------------------------------------------------------

Json print_plain(const Texts& field) {
  Json out = Json::array();
  for (const std::string& text : field) out.push_back(text);
  return out;
}

Json print_plain(const Label& field) {
  return field.text.empty() ? Json(field.amount) : Json(field.text);
}

// Whole rates without a fraction.
Json print_plain(Rate field) {
  bool whole = std::floor(field.per_second) == field.per_second && field.per_second < 1e15;
  if (whole) return static_cast<std::int64_t>(field.per_second);
  return field.per_second;
}

Json print_plain(Priority field) {
  for (const Level& level : kLevels) {
    if (level.level == field.level) return level.name;
  }
  return field.level;
}

// --- describing ----------------------------------------------------------------------------------

std::string describe_plain(const Key&, const bool*) { return "true or false"; }

std::string describe_plain(const Key& key, const std::int64_t*) {
  return bounded(key, "a whole number", show_number);
}

std::string describe_plain(const Key& key, const std::size_t*) {
  return bounded(key, "a whole number", show_number);
}

std::string describe_plain(const Key& key, const std::string*) {
  if (!key.only.empty()) return "\"" + std::string(key.only) + "\"";
  return key.shape.empty() ? "text" : std::string(key.shape);
}

std::string describe_plain(const Key& key, const Texts*) {
  if (key.shell_words) return "a command line or a list of texts";
  return key.shape.empty() ? "a list of texts" : "a list, each " + std::string(key.shape);
}

std::string describe_plain(const Key& key, const Bytes*) {
  return bounded(key, "a size", show_bytes);
}

std::string describe_plain(const Key& key, const Duration*) {
  return bounded(key, "a duration", show_duration);
}

std::string describe_plain(const Key&, const Rate*) {
  return "a rate such as 100k_events_per_second";
}

std::string describe_plain(const Key& key, const double*) {
  return bounded(key, "a number", show_number);
}

std::string describe_plain(const Key&, const Label*) {
  return "a text of 1 to 255 bytes or a whole number from 0 to 1000000000";
}

std::string describe_plain(const Key&, const Priority*) {
  return "low, normal, high, critical or a whole number from -100 to 100";
}

}  // namespace tusk::config
