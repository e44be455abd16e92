// The file workers.json in the state folder: which processes tuskd started, so that the next tuskd
// finds them instead of starting a second of each.
//
//   Roster roster("/var/lib/tuskd");
//   for (const Roster::Entry& entry : *roster.read())
//     if (pid_t pid = find(entry)) adopt(pid);
//   roster.write(entries);                  // whole and atomically: another file, renamed
//
//   {"version": 1, "boot": "5b2c...", "processes": [{"name": "pandas-1", "worker": "pandas",
//    "token": "8f3a...", "pid": 4711, "start_time": 123456, "digest": "77ab...", "offset": 1024}]}
//
// An entry stands in the file before its process is started: should tuskd be killed between the
// start and the next write, the process is known by TUSK_LAUNCH=token in its environment.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace tusk::control {

class Roster {
 public:
  struct Entry {
    std::string name;              // of the process
    std::string worker;            // its name in the config
    std::string token;             // TUSK_LAUNCH, another one for each start
    pid_t pid = 0;                 // 0: not started, or ended
    std::uint64_t start_time = 0;  // see process.h
    std::string digest;            // of the settings that it runs with
    std::uint64_t offset = 0;      // how far its output has been followed
  };

  explicit Roster(const std::string& state_folder);

  // No file, and one from before this machine's last start, are an empty list. The error: it cannot
  // be read, or is no roster.
  tl::expected<std::vector<Entry>, std::string> read() const;

  // The error: why it cannot be written; then the former file is still whole.
  tl::expected<void, std::string> write(const std::vector<Entry>& entries) const;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The living process of an entry: by pid and start time, where it has no pid by its token. 0 if
// there is none.
pid_t find(const Roster::Entry& entry);

}  // namespace tusk::control
