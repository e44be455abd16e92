// What goes wrong, as exceptions that a program can tell apart.
//
//   Error
//     ValueError              a value that cannot be written, or is of another type than asked for
//     TaskFailed              the handler failed; what() has its message, the fields the rest
//       TaskDead              every allowed run failed, or the task killed its workers
//     TaskCancelled           somebody cancelled it
//     TaskExpired             its deadline passed
//     Timeout                 the caller's time is over; the task goes on
//     Unavailable             no broker at url(): nothing was answered
//     Closed                  the client was closed before the answer came
//     StreamRestarted         another attempt of the task begins its stream anew
//     StreamBroken            chunks of a stream are missing
//     BrokerError             the broker (or this SDK, in its stead) refused; code() says why
//       Unserved Busy Full TooLarge IdConflict Duplicate AlreadyEnded UnknownOutcome
//       UnknownTopic UnknownStage UnknownTask Refused Malformed Invalid
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tusk/task_id.h"

namespace tusk {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& reason, std::optional<TaskId> task = {})
      : std::runtime_error(reason), code_(std::move(code)), task_(task) {}

  // A word for programs that never changes: "failed", "timeout", "too_large", ...
  const std::string& code() const { return code_; }
  // The task that this is about, if it is about one. Of an ending: another than was submitted, if
  // that joined it by a unique key.
  const std::optional<TaskId>& task() const { return task_; }

 private:
  std::string code_;
  std::optional<TaskId> task_;
};

class ValueError : public Error {
 public:
  explicit ValueError(const std::string& reason) : Error("value", reason) {}
};

// One run of a task that did not succeed.
struct Attempt {
  std::uint64_t attempt = 0;             // from 1
  std::string worker;                    // name of the worker that ran it
  std::chrono::milliseconds started{0};  // how long before the task's ending
  std::chrono::milliseconds ended{0};    // how long before the task's ending
  std::string type;                      // the exception's class
  std::string message;                   // cut to 1 KiB
  std::string language;
  std::string stack;  // cut to 4 KiB; may be empty
};

// What the worker's language says about a failure; the same fields from every language.
struct RemoteError {
  std::string type;  // the exception's class
  std::string message;
  std::string language;       // "python", "javascript", "go", "cpp", ...
  std::string stack;          // as the language prints it; may be empty
  std::string worker;         // name of the worker that ran it; empty if none did
  std::uint64_t attempt = 0;  // which run this ending came from, from 1
  bool retry = false;         // whether another try makes sense
  // The last 16 runs that failed, the oldest first; nothing if only one was allowed.
  std::vector<Attempt> history;
};

class TaskFailed : public Error {
 public:
  TaskFailed(std::string code, const TaskId& task, RemoteError remote);

  const std::string& type() const { return remote_.type; }
  const std::string& message() const { return remote_.message; }
  const std::string& language() const { return remote_.language; }
  const std::string& stack() const { return remote_.stack; }
  const std::string& worker() const { return remote_.worker; }
  std::uint64_t attempt() const { return remote_.attempt; }
  bool retry() const { return remote_.retry; }
  const std::vector<Attempt>& history() const { return remote_.history; }
  const RemoteError& remote() const { return remote_; }

 private:
  RemoteError remote_;
};

class TaskDead : public TaskFailed {
 public:
  using TaskFailed::TaskFailed;
};

class TaskCancelled : public Error {
 public:
  explicit TaskCancelled(const TaskId& task, std::vector<Attempt> history = {});
  const std::vector<Attempt>& history() const { return history_; }

 private:
  std::vector<Attempt> history_;
};

class TaskExpired : public Error {
 public:
  explicit TaskExpired(const TaskId& task, std::vector<Attempt> history = {});
  const std::vector<Attempt>& history() const { return history_; }

 private:
  std::vector<Attempt> history_;
};

class Timeout : public Error {
 public:
  using Error::Error;
};

class Unavailable : public Error {
 public:
  Unavailable(std::string url, const std::string& reason, std::optional<TaskId> task = {})
      : Error("unavailable", reason, task), url_(std::move(url)) {}
  const std::string& url() const { return url_; }

 private:
  std::string url_;
};

class Closed : public Error {
 public:
  using Error::Error;
};

// A subscription with Slow::kDisconnect was read too slowly, and ended.
class SlowSubscriber : public Error {
 public:
  using Error::Error;
};

// What comes next in a stream is from another attempt of the task, which begins anew.
class StreamRestarted : public Error {
 public:
  StreamRestarted(const TaskId& task, std::uint64_t attempt)
      : Error("restarted", "the stream begins anew: attempt " + std::to_string(attempt), task),
        attempt_(attempt) {}
  std::uint64_t attempt() const { return attempt_; }

 private:
  std::uint64_t attempt_;
};

// Chunks were lost, with a session of the worker or the caller.
class StreamBroken : public Error {
 public:
  StreamBroken(const TaskId& task, std::uint64_t missing)
      : Error("broken", std::to_string(missing) + " chunks of the stream are missing", task),
        missing_(missing) {}
  std::uint64_t missing() const { return missing_; }

 private:
  std::uint64_t missing_;
};

class BrokerError : public Error {
 public:
  BrokerError(std::string code, const std::string& reason, std::optional<TaskId> task = {},
              std::string limit = {}, std::uint64_t value = 0)
      : Error(std::move(code), reason, task), limit_(std::move(limit)), value_(value) {}

  // Of too_large, busy and full: which limit, and its bound. Else empty and 0.
  const std::string& limit() const { return limit_; }
  std::uint64_t value() const { return value_; }

 private:
  std::string limit_;
  std::uint64_t value_;
};

// No worker runs this type; the nearest name is in what().
struct Unserved : BrokerError {
  using BrokerError::BrokerError;
};
// This client has too much unanswered or unacknowledged: try again later.
struct Busy : BrokerError {
  using BrokerError::BrokerError;
};
// A queue or table of the broker is full: try again later.
struct Full : BrokerError {
  using BrokerError::BrokerError;
};
struct TooLarge : BrokerError {
  using BrokerError::BrokerError;
};
// The id belongs to another type or body.
struct IdConflict : BrokerError {
  using BrokerError::BrokerError;
};
// Another task has the unique key: the submit has done nothing.
class Duplicate : public BrokerError {
 public:
  Duplicate(const std::string& reason, std::optional<TaskId> task, const TaskId& id,
            std::string state)
      : BrokerError("duplicate", reason, task), id_(id), state_(std::move(state)) {}

  // Of the task that has the key; task() is that which was refused.
  const TaskId& id() const { return id_; }
  // Of that task: "waiting", "delayed", "running", or how it ended if it keeps the key for a while.
  const std::string& state() const { return state_; }

 private:
  TaskId id_;
  std::string state_;
};
// The task ended and its ending is not kept: it was acknowledged, or its retention is over.
struct AlreadyEnded : BrokerError {
  using BrokerError::BrokerError;
};
// The task may have run before: the caller decides whether it may run again (rerun_ok).
struct UnknownOutcome : BrokerError {
  using BrokerError::BrokerError;
};
struct UnknownTopic : BrokerError {
  using BrokerError::BrokerError;
};
struct UnknownStage : BrokerError {
  using BrokerError::BrokerError;
};
struct UnknownTask : BrokerError {
  using BrokerError::BrokerError;
};
// The broker's config does not allow this peer.
struct Refused : BrokerError {
  using BrokerError::BrokerError;
};
// The broker could not read the packet that this was asked in; nothing of it was done.
struct Malformed : BrokerError {
  using BrokerError::BrokerError;
};

// A value is out of its range; what() names it and the bound.
struct Invalid : BrokerError {
  using BrokerError::BrokerError;
};

// Thrown by a handler: a failure whose type, as callers see it and no_retry_on means it, is `type`.
// That of any other exception is the name of its class.
class TypedError : public std::runtime_error {
 public:
  TypedError(std::string type, const std::string& message)
      : std::runtime_error(message), type_(std::move(type)) {}
  const std::string& type() const { return type_; }

 private:
  std::string type_;
};

// Thrown by a handler that cannot run now, say for a lock that somebody holds: the task runs again
// after that time, from 0 to 100 years (else the constructor throws Invalid). That is no failure
// and uses up no attempt, though the next run has the next number.
class Defer : public std::exception {
 public:
  explicit Defer(std::chrono::milliseconds after);
  std::chrono::milliseconds after() const { return after_; }
  const char* what() const noexcept override { return "the run is deferred"; }

 private:
  std::chrono::milliseconds after_;
};

// Thrown by a handler: another run makes no sense.
class NoRetry : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Thrown by a handler that saw that it was cancelled and stopped.
class Cancelled : public std::runtime_error {
 public:
  Cancelled() : std::runtime_error("the run was cancelled") {}
};

}  // namespace tusk
