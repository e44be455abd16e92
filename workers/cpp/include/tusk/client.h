// A client: hands tasks to workers in any language, and gets their results.
//
//   tusk::Client client;                                            // TUSK_URL
//   int sum = client.call<int>("add", tusk::map("a", 1, "b", 2));
//
// All functions may be called from any thread. One thread of its own talks to the broker; callbacks
// run on it, must not throw and must not wait. It reconnects by itself and sends again what the
// broker may not have, without a second run.
//
// A client belongs to the process that made it: make it after fork(). Used in a child, it throws.
#pragma once

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tusk/convert.h"
#include "tusk/error.h"
#include "tusk/log_level.h"
#include "tusk/task_id.h"
#include "tusk/value.h"

namespace tusk {

// Wait without end, as a timeout.
inline constexpr std::chrono::milliseconds kForever = std::chrono::milliseconds::max();

struct ClientOptions {
  std::string url = {};   // default: TUSK_URL, else tcp://127.0.0.1:7420
  std::string name = {};  // for people; default cpp-<pid>
  // How long a caller waits who does not say. Default: what the broker says, 5 s before it did.
  std::optional<std::chrono::milliseconds> timeout = {};
  // How long close() waits for what was not delivered yet.
  std::chrono::milliseconds close_timeout = std::chrono::seconds(5);
};

// Which of the tasks that wait is next: the highest, from -100 to 100.
class Priority {
 public:
  template <std::integral T>
  Priority(T value)  // what is out of range stays so, and is an error at the call
      : value_(std::cmp_greater(value, 1000) ? 1000
               : std::cmp_less(value, -1000) ? -1000
                                             : static_cast<int>(value)) {}
  // "low" (-10), "normal" (0, which is that of a task without one), "high" (10), "critical" (20).
  // Throws Invalid.
  Priority(const char* name) : Priority(std::string_view(name)) {}
  Priority(const std::string& name) : Priority(std::string_view(name)) {}
  explicit Priority(std::string_view name);

  int value() const { return value_; }

 private:
  int value_;
};

// How long a task waits before the run that follows failure n: first * factor^(n - 1), at most
// `most`, times a random number between 1 - jitter and 1 + jitter.
struct Backoff {
  std::chrono::milliseconds first{0}, most{0};  // to 100 years
  double factor = 2;                            // 1 to 100
  double jitter = 0.25;                         // 0 to 1
};

class Progress;
struct LogLine;
using OnProgress = std::function<void(const Progress&)>;
using OnLog = std::function<void(const LogLine&)>;

struct CallOptions {
  std::optional<std::chrono::milliseconds> timeout = {};  // kForever: no end
  std::optional<TaskId> id = {};                          // default: a new UUIDv7
  bool resent = false;       // this id may have been sent before, by another process
  bool rerun_ok = false;     // a second run does no harm: never UnknownOutcome
  std::string trace = {};    // W3C traceparent
  std::string baggage = {};  // W3C baggage

  // What a task may ask for; call, submit and post. Times count from the call, and are at most 100
  // years. What is out of its range is Invalid, before anything is sent.
  std::optional<Priority> priority = {};                // .priority = "high", or a number
  std::optional<std::chrono::milliseconds> delay = {};  // before it may run
  // The same for a point in time; one that is past is no delay. The clock is read once, at the
  // call.
  std::optional<std::chrono::system_clock::time_point> not_before = {};
  // How long it may take in all; then it is TaskExpired, for whoever waits.
  std::optional<std::chrono::milliseconds> deadline = {};
  // How long one run may take, from 1 ms. Then it is told to stop, and has failed with RunTimeout.
  std::optional<std::chrono::milliseconds> run_timeout = {};
  // Within how long, from 1 ms, a run gives a sign of life (Context::heartbeat). Else it is told to
  // stop, and has failed with HeartbeatTimeout.
  std::optional<std::chrono::milliseconds> heartbeat_timeout = {};
  std::optional<int> attempts = {};           // runs that may fail, 1 to 1,000; then TaskDead
  std::optional<Backoff> backoff = {};        // between runs that fail
  std::vector<std::string> no_retry_on = {};  // at most 32 types of errors that no other run cures
  // What its runs say of their progress, and what they log; not with post. On the client's thread,
  // in the order in which the run spoke, before its result: they must not wait. What is said while
  // the connection is gone is missed. An exception of theirs is told on stderr.
  OnProgress on_progress = {};
  OnLog on_log = {};
};

namespace detail {
// What went wrong, as plain data: each thread that wants the exception makes its own.
struct Failure;
using FailurePtr = std::shared_ptr<const Failure>;
struct Pending;
[[noreturn]] void raise(const Failure& failure);
}  // namespace detail

// How a request ended. The bytes live as long as the callback that it is given to.
class Ending {
 public:
  Ending(const TaskId& id, std::string_view body, unsigned codec, detail::FailurePtr failure)
      : id_(id), body_(body), codec_(codec), failure_(std::move(failure)) {}

  const TaskId& id() const { return id_; }
  bool ok() const { return !failure_; }
  // What get() would throw; nothing if it succeeded.
  std::exception_ptr error() const;
  // The bytes of the result: msgpack, unless codec() says otherwise (1 JSON, 2 plain bytes).
  std::string_view body() const { return body_; }
  unsigned codec() const { return codec_; }

  // The result. Throws what happened instead (see error.h), or ValueError if it is no T.
  template <class T = Value>
  T get() const;

 private:
  friend struct detail::Pending;

  TaskId id_;
  std::string_view body_;
  unsigned codec_;
  detail::FailurePtr failure_;
};

// What a run said of how far it is. The bytes live as long as the callback that it is given to.
class Progress {
 public:
  Progress(std::string_view body, unsigned codec, std::uint64_t attempt)
      : body_(body), codec_(codec), attempt_(attempt) {}

  std::uint64_t attempt() const { return attempt_; }  // which run it was, from 1
  std::string_view body() const { return body_; }     // as Ending::body()
  unsigned codec() const { return codec_; }
  // Throws ValueError if it is no T.
  template <class T = Value>
  T get() const;

 private:
  std::string_view body_;
  unsigned codec_;
  std::uint64_t attempt_;
};

// A line that a run logged.
struct LogLine {
  LogLevel level{};
  std::string_view text;
  std::uint64_t attempt = 0;  // which run it was, from 1
};

// An event of a topic.
struct Event {
  std::string topic;
  std::uint64_t sequence = 0;  // the topic's own count
  std::uint64_t missed = 0;    // how many were missed between the one before and this
  std::string body;            // msgpack

  template <class T = Value>
  T get() const {
    return from_body<T>(body);
  }
};

using Callback = std::function<void(const Ending&)>;

namespace detail {

class ClientCore;

template <class F>
concept IsCallback = std::is_invocable_v<F, const Ending&>;

struct Submission {
  enum class Op : std::uint8_t {
    kSubmit,
    kPost,
    kPush,
    kPublish,
    kCancel,
    kQuery,
    kSubscribe,
    kUnsubscribe
  };
  Op op = Op::kSubmit;
  std::string name;  // type, stage, topic or query
  std::string body;
  bool has_body = false;
  CallOptions options;
};

// What a Task and its client share.
struct Pending {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::string body;
  unsigned codec = 0;
  FailurePtr failure;

  void finish(const Ending& ending);
  // Waits until it is done, and throws what went wrong, if anything did.
  void wait();
  bool wait_until(std::chrono::steady_clock::time_point time);
};

// Queues of several threads with an end; see Subscription.
struct Channel;

template <class T>
T read_result(std::string_view body, unsigned codec) {
  if (codec == 0) {
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return from_body<T>(body);
    }
  }
  if constexpr (std::is_void_v<T>) {
    return;
  } else if constexpr (std::same_as<T, Bytes>) {
    if (codec == 2) return to_bytes(body);
  } else if constexpr (std::same_as<T, Value>) {
    if (codec == 2) return Value(to_bytes(body));
  }
  throw ValueError("the body is not msgpack (codec " + std::to_string(codec) +
                   "): read Ending::body()");
}

}  // namespace detail

template <class T>
T Ending::get() const {
  if (failure_) detail::raise(*failure_);
  return detail::read_result<T>(body_, codec_);
}

template <class T>
T Progress::get() const {
  return detail::read_result<T>(body_, codec_);
}

// A task that was handed over. It may be moved, and dropped: then its result goes nowhere.
template <class T = Value>
class Task {
 public:
  const TaskId& id() const { return id_; }
  // Whether get() would return or throw at once.
  bool ready() const { return wait_for(std::chrono::milliseconds(0)); }
  // Waits at most so long for the ending; whether it is there.
  bool wait_for(std::chrono::milliseconds time) const {
    return pending_->wait_until(std::chrono::steady_clock::now() + time);
  }
  // Waits for the result. Throws what happened instead; see error.h. May be called once or often.
  T get() const {
    pending_->wait();
    return detail::read_result<T>(pending_->body, pending_->codec);
  }
  // Asks the broker to cancel it, and does not wait: get() throws TaskCancelled when it is.
  void cancel() const;

 private:
  friend class Client;
  Task(TaskId id, std::shared_ptr<detail::Pending> pending,
       std::weak_ptr<detail::ClientCore> client)
      : id_(id), pending_(std::move(pending)), client_(std::move(client)) {}

  TaskId id_;
  std::shared_ptr<detail::Pending> pending_;
  std::weak_ptr<detail::ClientCore> client_;
};

// Events as they come, for a thread that takes them. Ends its subscription when it goes.
class Subscription {
 public:
  Subscription(Subscription&&) noexcept;
  Subscription& operator=(Subscription&&) noexcept;
  ~Subscription();

  // The next event, or nothing: the time is over, or the client is closed. At most `buffer` events
  // wait here (see Client::subscribe); beyond that the oldest go, and Event::missed counts them.
  std::optional<Event> next(std::chrono::milliseconds time = kForever);
  // Ends the subscription; next() gives what is there, then nothing.
  void close();

 private:
  friend class Client;
  Subscription(std::shared_ptr<detail::ClientCore> client,
               std::shared_ptr<detail::Channel> channel);
  std::shared_ptr<detail::ClientCore> client_;
  std::shared_ptr<detail::Channel> channel_;
};

class Client {
 public:
  // Connects in the background: with no broker there, it is the calls that throw Unavailable.
  explicit Client(ClientOptions options = {});
  explicit Client(std::string url) : Client(ClientOptions{.url = std::move(url)}) {}
  explicit Client(const char* url) : Client(std::string(url)) {}
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();  // close()

  const std::string& url() const;

  // Runs a task and waits for its result.
  template <class R = Value, class In>
  R call(std::string_view type, const In& body, const CallOptions& options = {}) {
    check_may_wait();
    return submit<R>(type, body, options).get();
  }

  // Hands a task over and returns at once. Throws Busy, TooLarge, ValueError.
  template <class R = Value, class In>
  Task<R> submit(std::string_view type, const In& body, const CallOptions& options = {}) {
    auto pending = std::make_shared<detail::Pending>();
    TaskId id = hand_over(detail::Submission::Op::kSubmit, type, to_body(body), options,
                          [pending](const Ending& ending) { pending->finish(ending); });
    return Task<R>(id, std::move(pending), core_);
  }

  // The same for many tasks at once: no future each, `done` is called on the client's thread.
  template <class In, detail::IsCallback F>
  TaskId submit(std::string_view type, const In& body, F&& done, const CallOptions& options = {}) {
    return hand_over(detail::Submission::Op::kSubmit, type, to_body(body), options,
                     Callback(std::forward<F>(done)));
  }

  // Hands a task over and waits only until the broker has it. Its result goes nowhere, but is there
  // for whoever asks by the id (query "task").
  template <class In>
  TaskId post(std::string_view type, const In& body, CallOptions options = {}) {
    return wait(detail::Submission::Op::kPost, type, to_body(body), std::move(options)).first;
  }
  template <class In, detail::IsCallback F>
  TaskId post(std::string_view type, const In& body, F&& accepted,
              const CallOptions& options = {}) {
    return hand_over(detail::Submission::Op::kPost, type, to_body(body), options,
                     Callback(std::forward<F>(accepted)));
  }

  // Runs a task for each of `bodies`, at most `in_flight` at once, and gives the results in their
  // order. Throws the first error there is, when what was in flight has ended.
  template <class R = Value, class Range>
  std::vector<R> call_many(std::string_view type, const Range& bodies, std::size_t in_flight = 1000,
                           CallOptions options = {});

  // The same as they complete: each(index, ending) runs on the client's thread. Throws only what
  // kept a task from being handed over (ValueError, Busy, TooLarge), when the rest has ended.
  template <class Range, class F>
  requires std::is_invocable_v<F, std::size_t, const Ending&>
  void call_many(std::string_view type, const Range& bodies, F each, std::size_t in_flight = 1000,
                 CallOptions options = {});

  // Asks for the end of a task, whoever submitted it. Returns its state: "cancelled", "cancelling",
  // "succeeded", ... Throws UnknownTask.
  std::string cancel(const TaskId& id, CallOptions options = {});

  // What the broker knows: "status", "workers", "types", "stages", "topics", "task".
  Value query(std::string_view what, const Value& arguments = {}, CallOptions options = {});

  // Publishes an event and waits until the broker has it. At most once: not sent a second time.
  template <class In>
  void publish(std::string_view topic, const In& body, CallOptions options = {}) {
    wait(detail::Submission::Op::kPublish, topic, to_body(body), std::move(options));
  }
  template <class In, detail::IsCallback F>
  void publish(std::string_view topic, const In& body, F&& accepted,
               const CallOptions& options = {}) {
    hand_over(detail::Submission::Op::kPublish, topic, to_body(body), options,
              Callback(std::forward<F>(accepted)));
  }

  // Events of a topic from now on. Throws UnknownTopic. `buffer`: how many may wait in next().
  Subscription subscribe(std::string_view topic, std::size_t buffer = 10'000);
  // The same with a callback on the client's thread, as long as the Subscription lives.
  Subscription subscribe(std::string_view topic, std::function<void(const Event&)> on_event);

  // Brings an item into a stage of the pipeline, and waits until there was room for it.
  template <class In>
  TaskId push(std::string_view stage, const In& body, CallOptions options = {}) {
    return wait(detail::Submission::Op::kPush, stage, to_body(body), std::move(options)).first;
  }
  // Does not wait for the room, but for the place in line: at most the broker's push_window are
  // unanswered, more than twice that makes the caller wait (on the client's own thread: Busy).
  template <class In, detail::IsCallback F>
  TaskId push(std::string_view stage, const In& body, F&& accepted,
              const CallOptions& options = {}) {
    return hand_over(detail::Submission::Op::kPush, stage, to_body(body), options,
                     Callback(std::forward<F>(accepted)));
  }
  // Pushes them all, waits until all were accepted, and returns how many. Throws the first error.
  template <class Range>
  std::size_t push_many(std::string_view stage, const Range& bodies, CallOptions options = {});

  // Waits at most close_timeout for what was not delivered yet, says goodbye, and on stderr how
  // many tasks were left. What still waits for an answer gets Closed. Then nothing may be called.
  void close();

 private:
  template <class>
  friend class Task;

  TaskId hand_over(detail::Submission::Op op, std::string_view name, std::string&& body,
                   const CallOptions& options, Callback&& done);
  void check_may_wait() const;
  // The same, and waits for the answer.
  std::pair<TaskId, std::string> wait(detail::Submission::Op op, std::string_view name,
                                      std::string body, CallOptions options);

  std::shared_ptr<detail::ClientCore> core_;
};

namespace detail {

void cancel(ClientCore& client, const TaskId& id);

// How many of a crowd are in flight, and the first error.
struct Crowd {
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t in_flight = 0;
  bool full = false;  // somebody waits for a place
  std::exception_ptr error;

  // Waits until there are fewer than `most` in flight; false: there was an error.
  bool enter(std::size_t most);
  void leave(std::exception_ptr error_or_nothing);
  // Waits until nothing is in flight, and throws the error, if there was one.
  void finish();
};

}  // namespace detail

template <class T>
void Task<T>::cancel() const {
  if (auto client = client_.lock()) detail::cancel(*client, id_);
}

template <class R, class Range>
std::vector<R> Client::call_many(std::string_view type, const Range& bodies, std::size_t in_flight,
                                 CallOptions options) {
  std::mutex mutex;
  std::vector<std::optional<R>> results;
  std::exception_ptr error;
  call_many(
      type, bodies,
      [&](std::size_t index, const Ending& ending) {
        try {
          auto result = ending.get<R>();
          std::lock_guard lock(mutex);
          if (results.size() <= index) results.resize(index + 1);
          results[index] = std::move(result);
        } catch (...) {
          std::lock_guard lock(mutex);
          if (!error) error = std::current_exception();
        }
      },
      in_flight, std::move(options));
  if (error) std::rethrow_exception(error);
  std::vector<R> out;
  out.reserve(results.size());
  for (auto& result : results) out.push_back(std::move(*result));
  return out;
}

template <class Range, class F>
requires std::is_invocable_v<F, std::size_t, const Ending&>
void Client::call_many(std::string_view type, const Range& bodies, F each, std::size_t in_flight,
                       CallOptions options) {
  detail::Crowd crowd;
  std::size_t index = 0;
  for (const auto& body : bodies) {
    if (!crowd.enter(in_flight)) break;
    try {
      submit(
          type, body,
          [&crowd, &each, index](const Ending& ending) {
            each(index, ending);
            crowd.leave(nullptr);
          },
          options);
    } catch (...) {
      crowd.leave(std::current_exception());
      break;
    }
    ++index;
  }
  crowd.finish();
}

template <class Range>
std::size_t Client::push_many(std::string_view stage, const Range& bodies, CallOptions options) {
  detail::Crowd crowd;
  std::size_t count = 0;
  for (const auto& body : bodies) {
    if (!crowd.enter(SIZE_MAX)) break;
    try {
      push(
          stage, body, [&crowd](const Ending& ending) { crowd.leave(ending.error()); }, options);
    } catch (...) {
      crowd.leave(std::current_exception());
      break;
    }
    ++count;
  }
  crowd.finish();
  return count;
}

}  // namespace tusk
