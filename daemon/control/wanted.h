// The processes that a config asks for, worked out from its [workers].
//
//   for (Wanted& process : expand(config, "tcp://127.0.0.1:7420"))
//     process.name;                  // "pandas-2"; "pandas" where there is only one instance
//
// Plain values.
#pragma once

#include <string>
#include <vector>

#include "config/orchestration.h"
#include "daemon/control/process.h"

namespace tusk::control {

struct Wanted {
  std::string name;    // of the process
  std::string worker;  // its name in the config
  Launch launch;       // TUSK_URL, TUSK_WORKER, TUSK_POOL, TUSK_SLOTS and TUSK_SUPERVISED included
  std::string digest;  // of all that, when it changes, makes a replacement necessary
};

std::vector<Wanted> expand(const config::Orchestration& config, const std::string& url);

}  // namespace tusk::control
