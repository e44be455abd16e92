// The core is pure: no file of it includes anything of the OS, ZeroMQ, Boost or a store, nor asks a
// clock or another source of chance.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace {

namespace fs = std::filesystem;

// What the core may include of the standard library. Not among them: threads, locks, files, streams
// and whatever else could block or make two runs differ. <chrono> is there for durations;
// <random> for a generator that the caller seeds.
const std::set<std::string> kStandard = {
    "algorithm", "array",       "bit",           "cassert",       "chrono",  "compare",
    "concepts",  "cstddef",     "cstdint",       "cstring",       "deque",   "functional",
    "limits",    "list",        "map",           "memory",        "numeric", "optional",
    "queue",     "random",      "set",           "span",          "string",  "string_view",
    "tuple",     "type_traits", "unordered_map", "unordered_set", "utility", "variant",
    "vector"};
// Of others: the hash of bodies.
const std::set<std::string> kOthers = {"xxhash.h"};
// Of the project: what knows nobody, and the core itself.
const std::vector<std::string> kFolders = {"config/", "proto/", "daemon/core/"};

const std::regex kInclude(R"re(^\s*#\s*(?:include|import)\s*([<"])([^>"]+)[>"])re");
const std::regex kForbiddenCall(
    R"(::now\s*\(|\bnow\s*\(\s*\)|\btime\s*\(\s*(0|NULL|nullptr|&)|\bgettimeofday\b|\bclock_gettime\b)"
    R"(|\btimespec_get\b|\brandom_device\b|\b(system|steady|high_resolution)_clock\b|\bs?rand\s*\()"
    R"(|\b(getenv|getpid|fopen|usleep|nanosleep|sleep_for)\b)");

bool allowed(bool angled, const std::string& name) {
  if (angled) return kStandard.count(name) || kOthers.count(name);
  for (const std::string& folder : kFolders) {
    if (name.rfind(folder, 0) == 0 && name.find("..") == name.npos) return true;
  }
  return false;
}

// The line without a comment behind it.
std::string code_of(const std::string& line) { return line.substr(0, line.find("//")); }

std::vector<std::string> faults(const std::string& file, std::istream& text) {
  std::vector<std::string> out;
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    const std::string code = code_of(line), where = file + ":" + std::to_string(number) + ": ";
    std::smatch match;
    if (std::regex_search(code, match, kInclude)) {
      if (!allowed(match[1] == "<", match[2])) out.push_back(where + "includes " + match[2].str());
    } else if (std::regex_search(code, match, kForbiddenCall)) {
      out.push_back(where + "says " + match[0].str());
    }
  }
  return out;
}

TEST(CoreIncludes, NothingOfTheSystemAndNoClock) {
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(TUSK_CORE)) {
    const std::string name = entry.path().filename().string();
    const bool source = name.ends_with(".cc") || name.ends_with(".h");
    if (!source || name.ends_with("_test.cc") || name.find("harness") != name.npos) continue;
    ++files;
    std::ifstream file(entry.path());
    for (const std::string& fault : faults(name, file)) ADD_FAILURE() << fault;
  }
  EXPECT_GE(files, 18u) << "where are the core's files?";
}

// The check itself finds what it is there to find.
TEST(CoreIncludes, EachForbiddenThingIsFound) {
  for (const char* line : {"#include <thread>",
                           "#include <zmq.hpp>",
                           "#include <boost/asio.hpp>",
                           "#include <fstream>",
                           "#include <iostream>",
                           "#include <mutex>",
                           "#include <filesystem>",
                           "#include <unistd.h>",
                           "#include <sys/socket.h>",
                           "#include <ctime>",
                           "#include <rocksdb/db.h>",
                           "#include \"daemon/transport/data_plane.h\"",
                           "#include \"daemon/control/log.h\"",
                           "#include \"daemon/core/../transport/clock.h\"",
                           "  # include <spdlog/spdlog.h>",
                           "auto t = std::chrono::steady_clock::now();",
                           "auto t = Clock::now();",
                           "x = time(nullptr);",
                           "x = time(0);",
                           "gettimeofday(&tv, nullptr);",
                           "clock_gettime(CLOCK_MONOTONIC, &ts);",
                           "std::random_device device;",
                           "int r = rand();",
                           "getenv(\"HOME\")"}) {
    std::istringstream text(line);
    EXPECT_EQ(faults("x", text).size(), 1u) << line;
  }
  for (const char* line : {"#include <vector>", "#include \"proto/wire.h\"", "#include <xxhash.h>",
                           "Time now_;  // not ::now()", "broker.handle(event, now, actions);",
                           "type.last_served = now;", "uint64_t unix_ms() const;"}) {
    std::istringstream text(line);
    EXPECT_TRUE(faults("x", text).empty()) << line;
  }
}

}  // namespace
