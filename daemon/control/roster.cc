#include "daemon/control/roster.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "daemon/control/fd.h"
#include "daemon/control/process.h"

namespace tusk::control {
namespace {

using nlohmann::json;

constexpr int kVersion = 1;

// Pids of before the machine's last start mean nothing.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

json to_json(const Roster::Entry& entry) {
  return {{"name", entry.name},    {"worker", entry.worker}, {"token", entry.token},
          {"pid", entry.pid},      {"digest", entry.digest}, {"start_time", entry.start_time},
          {"offset", entry.offset}};
}

Roster::Entry from_json(const json& value) {
  return {.name = value.at("name"),
          .worker = value.at("worker"),
          .token = value.at("token"),
          .pid = value.at("pid"),
          .start_time = value.at("start_time"),
          .digest = value.at("digest"),
          .offset = value.at("offset")};
}

bool write_all(int fd, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    ssize_t n = ::write(fd, text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

}  // namespace

Roster::Roster(const std::string& state_folder) : path_(state_folder + "/workers.json") {}

tl::expected<std::vector<Roster::Entry>, std::string> Roster::read() const {
  std::ifstream file(path_, std::ios::binary);
  if (!file) {
    if (errno == ENOENT) return std::vector<Entry>{};
    return tl::unexpected("cannot read " + path_ + ": " + std::strerror(errno));
  }
  std::string content(std::istreambuf_iterator<char>(file), {});
  std::vector<Entry> entries;
  try {
    json root = json::parse(content);
    if (root.at("version") != kVersion) {
      return tl::unexpected(path_ + " is of another version of tuskd");
    }
    if (root.at("boot") != boot_id()) return entries;
    for (const json& value : root.at("processes")) entries.push_back(from_json(value));
  } catch (const json::exception& error) {
    return tl::unexpected(path_ + " is damaged: " + error.what());
  }
  return entries;
}

// Not flushed to the disk: it matters only while the processes live, and these end with the
// machine.
tl::expected<void, std::string> Roster::write(const std::vector<Entry>& entries) const {
  json processes = json::array();
  for (const Entry& entry : entries) processes.push_back(to_json(entry));
  json root = {{"version", kVersion}, {"boot", boot_id()}, {"processes", std::move(processes)}};
  std::string content = root.dump(1, ' ', false, json::error_handler_t::replace) + "\n";

  std::string fresh = path_ + ".new";
  Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd || !write_all(fd.get(), content) || ::rename(fresh.c_str(), path_.c_str()) != 0) {
    return tl::unexpected("cannot write " + path_ + ": " + std::strerror(errno));
  }
  return {};
}

pid_t find(const Roster::Entry& entry) {
  if (entry.pid > 0) return start_time(entry.pid) == entry.start_time ? entry.pid : 0;
  return find_session_leader("TUSK_LAUNCH", entry.token);
}

}  // namespace tusk::control
