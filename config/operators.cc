#include "config/operators.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "config/json_reader.h"
#include "config/source.h"

namespace tusk::config {
namespace {

namespace fs = std::filesystem;
using Outcome = tl::expected<Value, std::string>;

constexpr std::array<std::string_view, 4> kOperators = {"env", "file.read", "json.read", "date"};

struct Forbidden {
  std::string_view name, does;
};

// Operators that the language has elsewhere. At load a daemon reads what is beside the file and
// nothing else: no network, no database, no other program, no state that changes by being read.
constexpr std::array<Forbidden, 36> kForbidden = {{
    {"query", "asks a database"},
    {"sql", "asks a database"},
    {"mongodb", "asks a database"},
    {"mysql", "asks a database"},
    {"postgresql", "asks a database"},
    {"redis", "asks a database"},
    {"sqlite", "asks a database"},
    {"http", "uses the network"},
    {"request", "uses the network"},
    {"graphql", "uses the network"},
    {"grpc", "uses the network"},
    {"websocket", "uses the network"},
    {"sse", "uses the network"},
    {"amqp", "uses the network"},
    {"kafka", "uses the network"},
    {"nats", "uses the network"},
    {"consul", "uses the network"},
    {"etcd", "uses the network"},
    {"vault", "uses the network"},
    {"email", "uses the network"},
    {"slack", "uses the network"},
    {"sms", "uses the network"},
    {"webhook", "uses the network"},
    {"shell", "starts a program"},
    {"exec", "starts a program"},
    {"python", "starts a program"},
    {"javascript", "starts a program"},
    {"php", "starts a program"},
    {"file.write", "writes a file"},
    {"cache", "keeps a state of its own"},
    {"learn", "keeps a state of its own"},
    {"optimize", "keeps a state of its own"},
    {"predict", "keeps a state of its own"},
    {"metrics", "keeps a state of its own"},
    {"feature", "keeps a state of its own"},
    {"encrypt", "needs keys that a file must not hold"},
}};

Outcome fail(std::string message) { return tl::unexpected(std::move(message)); }

tl::unexpected<std::string> unreadable(std::string why) {
  return tl::unexpected<std::string>(std::move(why));
}

bool all_text(const std::vector<Value>& arguments) {
  return std::all_of(arguments.begin(), arguments.end(),
                     [](const Value& v) { return v.is(Value::Kind::text); });
}

Outcome env(const std::vector<Value>& arguments, const Place& place, const Surroundings& around) {
  if (arguments.empty() || arguments.size() > 2 || !arguments[0].is(Value::Kind::text)) {
    return fail("expected @env(\"NAME\") or @env(\"NAME\", default)");
  }
  const std::string& name = arguments[0].text();
  std::optional<std::string> found = around.environment(name);
  if (!found) {
    if (arguments.size() == 2) return arguments[1];
    return fail("the environment variable " + name + " is not set, and no default is given");
  }
  if (!is_text(*found)) return fail("the environment variable " + name + " is not UTF-8");
  Value value(place, std::move(*found));
  value.from_environment = true;
  return value;
}

// The text of the file that the only argument names.
tl::expected<std::string, std::string> file(std::string_view name,
                                            const std::vector<Value>& arguments,
                                            const Surroundings& around) {
  if (arguments.size() != 1 || !all_text(arguments)) {
    return tl::unexpected("expected @" + std::string(name) + "(\"path\")");
  }
  const std::string& path = arguments[0].text();
  auto text = around.read_file(path);
  if (!text) return tl::unexpected("\"" + path + "\" " + text.error());
  if (!is_text(*text)) return tl::unexpected("\"" + path + "\" is not UTF-8 text");
  return text;
}

Outcome file_read(const std::vector<Value>& arguments, const Place& place,
                  const Surroundings& around) {
  auto text = file("file.read", arguments, around);
  if (!text) return fail(text.error());
  Value value(place, std::move(*text));
  value.file = std::make_shared<const std::string>(arguments[0].text());
  return value;
}

Outcome json_read(const std::vector<Value>& arguments, const Place& place,
                  const Surroundings& around, std::size_t room) {
  auto text = file("json.read", arguments, around);
  if (!text) return fail(text.error());
  auto value = read_json(*text, place, room);
  if (!value) return fail("\"" + arguments[0].text() + "\": " + value.error());
  return std::move(*value);
}

// What a letter of a date pattern stands for, in the notation of strftime. The letters are those of
// PHP's date(), as TuskLang has them.
std::string_view strftime_of(char letter) {
  switch (letter) {
    case 'Y':
      return "%Y";
    case 'y':
      return "%y";
    case 'm':
      return "%m";
    case 'd':
      return "%d";
    case 'H':
      return "%H";
    case 'i':
      return "%M";
    case 's':
      return "%S";
    case 'D':
      return "%a";
    case 'l':
      return "%A";
    case 'M':
      return "%b";
    case 'F':
      return "%B";
    case 'U':
      return "%s";
    case 'c':
      return "%Y-%m-%dT%H:%M:%SZ";
    default:
      return {};
  }
}

Outcome date(const std::vector<Value>& arguments, const Place& place, const Surroundings& around) {
  if (arguments.size() > 1 || !all_text(arguments)) {
    return fail("expected @date() or @date(\"Y-m-d H:i:s\")");
  }
  std::time_t seconds = std::chrono::system_clock::to_time_t(around.now);
  std::tm utc{};
  if (gmtime_r(&seconds, &utc) == nullptr) return fail("the clock shows no date");
  std::string out;
  for (char letter : arguments.empty() ? std::string("c") : arguments[0].text()) {
    bool is_letter = (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    if (!is_letter && letter != '%') {
      out += letter;
      continue;
    }
    if (letter == 'U') {  // strftime's %s would take the fields for local time
      out += std::to_string(seconds);
      continue;
    }
    std::string_view format = strftime_of(letter);
    if (format.empty()) {
      return fail(std::string("\"") + letter +
                  "\" is no letter of a date; expected Y y m d H i s D l M F U c");
    }
    char part[64];
    out.append(part, std::strftime(part, sizeof part, std::string(format).c_str(), &utc));
  }
  return Value(place, std::move(out));
}

}  // namespace

tl::expected<std::string, std::string> read_regular_file(const std::string& path,
                                                         std::size_t most) {
  std::error_code error;
  fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found) return unreadable("does not exist");
  if (error) return unreadable("cannot be read: " + error.message());
  if (!fs::is_regular_file(status)) return unreadable("is no regular file");
  std::ifstream in(path, std::ios::binary);
  if (!in) return unreadable("cannot be opened");
  // Read rather than ask for the size: the file may grow meanwhile.
  std::string text(most + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad()) return unreadable("cannot be read");
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (text.size() > most) {
    return unreadable("is larger than " + std::to_string(most) + " bytes");
  }
  text.shrink_to_fit();
  return text;
}

Surroundings real_surroundings(const std::string& folder) {
  Surroundings around;
  around.environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  around.read_file = [folder](const std::string& path) {
    return read_regular_file((fs::path(folder) / path).string(), kMaxFile);
  };
  around.now = std::chrono::system_clock::now();
  return around;
}

std::string refusal(std::string_view operator_name) {
  if (std::find(kOperators.begin(), kOperators.end(), operator_name) != kOperators.end()) return {};
  std::string name = "@" + std::string(operator_name);
  for (const Forbidden& forbidden : kForbidden) {
    // @cache.get is refused as @cache is.
    bool is_part = operator_name.starts_with(forbidden.name) &&
                   operator_name.size() > forbidden.name.size() &&
                   operator_name[forbidden.name.size()] == '.';
    if (operator_name == forbidden.name || is_part) {
      return name + " " + std::string(forbidden.does) +
             ", which tuskd does not do while it loads a file; expected @env, @file.read, "
             "@json.read or @date";
    }
  }
  return "unknown operator " + name +
         did_you_mean(operator_name, {kOperators.begin(), kOperators.end()});
}

Outcome call(std::string_view operator_name, const std::vector<Value>& arguments,
             const Place& place, const Surroundings& around, std::size_t room) {
  if (operator_name == "env") return env(arguments, place, around);
  if (operator_name == "file.read") return file_read(arguments, place, around);
  if (operator_name == "json.read") return json_read(arguments, place, around, room);
  if (operator_name == "date") return date(arguments, place, around);
  return fail(refusal(operator_name));
}

}  // namespace tusk::config
