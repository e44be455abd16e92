#include "config/error.h"

#include <algorithm>
#include <cstdlib>

namespace tusk::config {
namespace {

constexpr std::size_t kShownWidth = 160;
// Whatever a file holds, looking for a name stays cheap.
constexpr std::size_t kLongestName = 64;
constexpr std::size_t kMostCandidates = 1000;

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }

// The byte at which the character number `column` (from 1) of `line` starts.
std::size_t byte_of(std::string_view line, int column) {
  std::size_t i = 0;
  for (int seen = 0; i < line.size(); ++i) {
    if (starts_character(line[i]) && ++seen == column) return i;
  }
  return line.size();
}

void append_source(std::string& out, const Error& error) {
  std::string_view line = error.source;
  std::size_t caret = byte_of(line, error.place.column);
  if (line.size() > kShownWidth) {
    std::size_t from = caret > kShownWidth / 2 ? caret - kShownWidth / 2 : 0;
    while (from < line.size() && !starts_character(line[from])) ++from;
    std::size_t to = std::min(line.size(), from + kShownWidth);
    while (to < line.size() && !starts_character(line[to])) ++to;
    line = line.substr(from, to - from);
    caret -= std::min(caret, from);
  }
  std::string number = std::to_string(error.place.line);
  out.append("  ").append(number).append(" | ").append(line).append("\n");
  out.append(2 + number.size(), ' ').append(" | ");
  // Tabs stay tabs, so that the caret stands below its character however wide they are shown.
  for (std::size_t i = 0; i < caret && i < line.size(); ++i) {
    if (starts_character(line[i])) out += line[i] == '\t' ? '\t' : ' ';
  }
  out += "^\n";
}

// Optimal string alignment distance (Damerau-Levenshtein without overlapping swaps), or more than
// `most` as soon as it is known to be more.
// https://en.wikipedia.org/wiki/Damerau-Levenshtein_distance
std::size_t distance(std::string_view a, std::string_view b, std::size_t most) {
  std::size_t difference = a.size() > b.size() ? a.size() - b.size() : b.size() - a.size();
  if (difference > most) return most + 1;
  std::vector<std::size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        now[j] = std::min(now[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

std::string format(const Error& error) {
  std::string out = error.place.file ? *error.place.file : std::string("?");
  if (error.place.line > 0) {
    out.append(":").append(std::to_string(error.place.line));
    out.append(":").append(std::to_string(error.place.column));
  }
  out.append(": ").append(error.message).append("\n");
  if (error.place.line > 0) append_source(out, error);
  return out;
}

std::string format(const std::vector<Error>& errors) {
  std::string out;
  for (const Error& error : errors) out += format(error);
  return out;
}

std::string_view nearest(std::string_view name, const std::vector<std::string_view>& candidates) {
  if (name.size() > kLongestName) return {};
  std::size_t most = std::max<std::size_t>(1, name.size() / 3);
  std::string_view best;
  std::size_t tried = std::min(candidates.size(), kMostCandidates);
  for (std::size_t i = 0; i < tried; ++i) {
    std::string_view candidate = candidates[i];
    std::size_t d = distance(name, candidate, most);
    if (d <= most && d > 0) {
      best = candidate;
      if (d == 1) break;
      most = d - 1;  // only a closer one still counts
    }
  }
  return best;
}

std::string did_you_mean(std::string_view name, const std::vector<std::string_view>& candidates) {
  std::string_view close = nearest(name, candidates);
  return close.empty() ? std::string() : "; did you mean \"" + std::string(close) + "\"?";
}

}  // namespace tusk::config
