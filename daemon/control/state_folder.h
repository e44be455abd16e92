// The folder for what survives a restart, held by one tuskd at a time.
//
//   auto folder = StateFolder::open(config.tuskd.state);
//   if (!folder) fail(folder.error());       // "the state folder /x is in use by process 71"
//   folder->path();                          // keep `folder` as long as tuskd lives
//
// Which one: that of the config, else $STATE_DIRECTORY (systemd sets it), else /var/lib/tuskd for
// root, else $XDG_STATE_HOME/tuskd, else ~/.local/state/tuskd. Where it is missing it is made, for
// nobody else to read (0700). The file `lock` in it is locked (flock) and holds our pid; the kernel
// lets go of it with our last breath.
#pragma once

#include <optional>
#include <string>
#include <tl/expected.hpp>

#include "daemon/control/fd.h"

namespace tusk::control {

class StateFolder {
 public:
  // The error is one line that names the folder, what is wrong and how to choose another.
  static tl::expected<StateFolder, std::string> open(const std::optional<std::string>& configured);

  const std::string& path() const { return path_; }

 private:
  StateFolder(std::string path, Fd lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  Fd lock_;
};

}  // namespace tusk::control
