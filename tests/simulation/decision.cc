#include "tests/simulation/decision.h"

#include <sstream>

namespace tusk::simulation {

namespace {

struct ActInfo {
  std::string_view name;
  std::vector<std::string> numbers;
  std::string_view text;
};

std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

const std::array<ActInfo, kActs>& infos() {
  static const std::array<ActInfo, kActs> kInfos = {{
#define TUSK_ACT_INFO(name, numbers, text) {#name, words(numbers), text},
      TUSK_ACTS(TUSK_ACT_INFO)
#undef TUSK_ACT_INFO
  }};
  return kInfos;
}

}  // namespace

std::string_view act_text(Act act) { return infos()[static_cast<size_t>(act)].text; }

size_t numbers_of(Act act) { return infos()[static_cast<size_t>(act)].numbers.size(); }

std::string to_text(const Decision& decision) {
  const ActInfo& info = infos()[static_cast<size_t>(decision.act)];
  std::string out(info.name);
  for (size_t i = 0; i < info.numbers.size(); ++i) {
    out += " " + info.numbers[i] + "=" + std::to_string(decision.with[i]);
  }
  return out;
}

std::string to_text(const History& history) {
  std::string out = "seed " + std::to_string(history.seed) + "\n";
  for (const Decision& decision : history.decisions) out += to_text(decision) + "\n";
  return out;
}

std::optional<History> parse_history(std::string_view text, std::string& why) {
  History history;
  std::istringstream in{std::string(text)};
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    const std::vector<std::string> parts = words(line);
    if (parts.empty() || parts[0][0] == '#') continue;
    if (parts[0] == "seed" && parts.size() == 2) {
      history.seed = std::strtoull(parts[1].c_str(), nullptr, 10);
      continue;
    }
    size_t act = 0;
    while (act < kActs && infos()[act].name != parts[0]) ++act;
    if (act == kActs || parts.size() != infos()[act].numbers.size() + 1) {
      why = "line " + std::to_string(number) + " is no decision: " + line;
      return std::nullopt;
    }
    Decision decision{.act = static_cast<Act>(act)};
    for (size_t i = 1; i < parts.size(); ++i) {
      const size_t equals = parts[i].find('=');
      if (equals == std::string::npos ||
          parts[i].substr(0, equals) != infos()[act].numbers[i - 1]) {
        why = "line " + std::to_string(number) + ": expected " + infos()[act].numbers[i - 1] +
              "=NUMBER, not " + parts[i];
        return std::nullopt;
      }
      decision.with[i - 1] =
          static_cast<uint32_t>(std::strtoul(parts[i].c_str() + equals + 1, nullptr, 10));
    }
    history.decisions.push_back(decision);
  }
  return history;
}

}  // namespace tusk::simulation
