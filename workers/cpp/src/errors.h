// Records of the wire as what becomes the exceptions of tusk/error.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "proto/decoder.h"
#include "tusk/client.h"

namespace tusk {

namespace detail {

// Plain data and no exception: an exception's text and count are shared in ways that a thread
// cannot hand to another without both being in libstdc++'s confidence.
struct Failure {
  std::string code;
  std::string reason;
  std::optional<TaskId> task;
  std::string url;    // Unavailable
  std::string limit;  // too_large, busy, full
  std::uint64_t value = 0;
  RemoteError remote;  // failed, dead
  TaskId holder;       // duplicate: of the task that has the key
  std::string state;   // duplicate: of that task
};

}  // namespace detail

using detail::FailurePtr;

FailurePtr failure(std::string_view code, std::string reason,
                   const std::optional<TaskId>& task = {}, std::string limit = {},
                   std::uint64_t value = 0);
FailurePtr unavailable(const std::string& url, std::string reason,
                       const std::optional<TaskId>& task = {});
// An error record.
FailurePtr failure_of(const proto::Record& error, const std::optional<TaskId>& task,
                      const std::string& url);
// A result record that is no success.
FailurePtr ending_of(const proto::Record& result, const TaskId& task);
// The id of the task whose result this is, if it says so.
std::optional<TaskId> task_of(const proto::Record& result);

// The value of an attribute, whatever it is; nothing if it is not there.
proto::Value attribute(const proto::Record& record, proto::Attribute key);

}  // namespace tusk
