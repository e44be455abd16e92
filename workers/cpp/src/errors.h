// Records of the wire as the exceptions of tusk/error.h.
#pragma once

#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "proto/decoder.h"
#include "tusk/error.h"

namespace tusk {

std::exception_ptr broker_error(std::string_view code, std::string_view message,
                                const std::optional<TaskId>& task, const std::string& url,
                                std::string limit = {}, std::uint64_t value = 0);
// An error record.
std::exception_ptr error_of(const proto::Record& error, const std::optional<TaskId>& task,
                            const std::string& url);
// A result record that is no success.
std::exception_ptr ending_of(const proto::Record& result, const TaskId& task);

// The value of an attribute, whatever it is; nothing if it is not there.
proto::Value attribute(const proto::Record& record, proto::Attribute key);

}  // namespace tusk
