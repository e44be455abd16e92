// What a broker tells about tasks when it is asked.
#pragma once

#include "tusk/task_status.h"
#include "tusk/value.h"

namespace tusk {

// A task, of query `task` or `tasks`. Throws ValueError.
TaskStatus status_of(const Value& told);

}  // namespace tusk
