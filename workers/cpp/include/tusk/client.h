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
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tusk/convert.h"
#include "tusk/error.h"
#include "tusk/filter.h"
#include "tusk/log_level.h"
#include "tusk/options.h"
#include "tusk/task_id.h"
#include "tusk/task_status.h"
#include "tusk/value.h"

namespace tusk {

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
  Ending(const TaskId& id, std::string_view body, unsigned codec, detail::FailurePtr failure,
         const TaskId* joined = nullptr)
      : id_(id), joined_(joined), body_(body), codec_(codec), failure_(std::move(failure)) {}

  const TaskId& id() const { return id_; }
  // The id that counts: of the task that it joined by its unique key, else id().
  const TaskId& joined_id() const { return joined_ ? *joined_ : id_; }
  bool ok() const { return !failure_; }
  // What get() would throw; nothing if it succeeded.
  std::exception_ptr error() const;
  // The bytes of the result: msgpack, unless codec() says otherwise (1 JSON, 2 plain bytes).
  std::string_view body() const { return body_; }
  unsigned codec() const { return codec_; }
  const detail::FailurePtr& failure() const { return failure_; }

  // The result. Throws what happened instead (see error.h), or ValueError if it is no T.
  template <class T = Value>
  T get() const;

 private:
  friend struct detail::Pending;

  TaskId id_;
  const TaskId* joined_;
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
  // How many of the topic were missed before this one: the connection, the broker or this program
  // could not keep up.
  std::uint64_t missed = 0;
  bool retained = false;  // the last event that the topic kept from before the subscription
  std::string body;       // msgpack; null for the event of Client::clear
  unsigned codec = 0;     // 1: JSON, 2: plain bytes

  template <class T = Value>
  T get() const;
};

// What becomes of a subscription that does not keep up, here or at the broker.
enum class Slow : std::uint8_t {
  kDropOldest,  // the oldest events go, and Event::missed counts them
  kDisconnect   // it ends; next() throws SlowSubscriber behind what is there
};

struct SubscribeOptions {
  std::size_t buffer = 10'000;  // events that may wait in next(), at least 1
  Slow slow = Slow::kDropOldest;
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
    kUnsubscribe,
    kUpdate,
    kAwait,
    kControl,
    kCredit
  };
  Op op = Op::kSubmit;
  std::string name;  // type, stage, topic, query or control
  std::string body;
  bool has_body = false;
  CallOptions options;
};

class Awaiting;

// What a Task and its client share.
struct Pending : std::enable_shared_from_this<Pending> {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  // Of a child of a run in this process: whose it is, and whether the broker has accepted it.
  std::shared_ptr<Awaiting> awaiting;
  TaskId id;
  bool taken = false;
  std::string body;
  unsigned codec = 0;
  FailurePtr failure;
  std::optional<TaskId> joined;

  void finish(const Ending& ending);
  void accept();
  void wait_until_done();
  // Waits until it is done, and throws what went wrong, if anything did.
  void wait();
  bool wait_until(std::chrono::steady_clock::time_point time);
};

// Queues of several threads with an end; see Subscription.
struct Channel;

template <class T>
T read_result(std::string_view body, unsigned codec) {
  if (codec == 0 || codec == 1) {
    if constexpr (std::is_void_v<T>) {
      return;
    } else {
      return codec == 0 ? from_body<T>(body) : from_body<T>(from_json(body));
    }
  }
  if constexpr (std::is_void_v<T>) {
    return;
  } else if constexpr (std::same_as<T, Bytes>) {
    if (codec == 2) return to_bytes(body);
  } else if constexpr (std::same_as<T, Value>) {
    if (codec == 2) return Value(to_bytes(body));
  }
  throw ValueError("the body is neither msgpack nor JSON (codec " + std::to_string(codec) +
                   "): read Ending::body()");
}

}  // namespace detail

template <class T>
T Event::get() const {
  return detail::read_result<T>(body, codec);
}

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
  // The id that counts once it has ended: of the task that it joined by its unique key, else id().
  TaskId joined_id() const {
    std::lock_guard lock(pending_->mutex);
    return pending_->joined.value_or(id_);
  }
  // Whether get() would return or throw at once.
  bool ready() const { return wait_for(std::chrono::milliseconds(0)); }
  // Waits at most so long for the ending; whether it is there.
  bool wait_for(std::chrono::milliseconds time) const {
    return pending_->wait_until(std::chrono::steady_clock::now() + time);
  }
  // Waits for the result. Throws what happened instead; see error.h. May be called once or often.
  // That of a child (Context::submit) lends its parent's slot out meanwhile.
  T get() const {
    pending_->wait();
    return detail::read_result<T>(pending_->body, pending_->codec);
  }
  // Asks the broker to cancel it, and does not wait: get() throws TaskCancelled when it is.
  void cancel() const;

 private:
  friend class Client;
  friend class Context;
  Task(TaskId id, std::shared_ptr<detail::Pending> pending,
       std::weak_ptr<detail::ClientCore> client)
      : id_(id), pending_(std::move(pending)), client_(std::move(client)) {}

  TaskId id_;
  std::shared_ptr<detail::Pending> pending_;
  std::weak_ptr<detail::ClientCore> client_;
};

namespace detail {

// What arrives of a stream.
class Inflow;
struct Chunk {
  std::string body;
  unsigned codec = 0;
};
// Nothing: that was the last. Throws what happened instead.
std::optional<Chunk> next_chunk(Inflow& inflow);
// The result. Throws Invalid if the stream was not read to its end, and what happened instead.
Chunk stream_result(Inflow& inflow);
void close_stream(const std::shared_ptr<Inflow>& inflow);

}  // namespace detail

// What a task's handler sends one by one (Context::send), for one thread that reads it. Dropping it
// before its end cancels the task.
//
//   auto words = client.stream<std::string>("complete", prompt);
//   while (auto word = words.next()) std::cout << *word;
//   auto used = words.result<int>();
template <class T = Value>
class Stream {
 public:
  Stream(Stream&&) noexcept = default;
  Stream& operator=(Stream&& other) noexcept {
    if (this != &other) {
      close();
      id_ = other.id_;
      inflow_ = std::move(other.inflow_);
    }
    return *this;
  }
  ~Stream() { close(); }

  const TaskId& id() const { return id_; }
  // The next chunk, or nothing behind the last. Throws what the task ended with instead (see
  // error.h); StreamRestarted, StreamBroken, and ValueError if a chunk is no T: then the next call
  // goes on.
  std::optional<T> next() {
    if (auto chunk = detail::next_chunk(*inflow_)) {
      return detail::read_result<T>(chunk->body, chunk->codec);
    }
    return std::nullopt;
  }
  // What the handler returned, once next() has returned nothing.
  template <class R = Value>
  R result() {
    const detail::Chunk result = detail::stream_result(*inflow_);
    return detail::read_result<R>(result.body, result.codec);
  }
  // Cancels the task if it has not ended. Then next() throws Closed.
  void close() {
    if (inflow_) detail::close_stream(inflow_);
  }

 private:
  friend class Client;
  Stream(TaskId id, std::shared_ptr<detail::Inflow> inflow) : id_(id), inflow_(std::move(inflow)) {}

  TaskId id_;
  std::shared_ptr<detail::Inflow> inflow_;
};

// Events as they come, for a thread that takes them. Ends its subscription when it goes.
class Subscription {
 public:
  Subscription(Subscription&&) noexcept;
  Subscription& operator=(Subscription&&) noexcept;
  ~Subscription();

  // The next event, or nothing: the time is over, or the client is closed. Throws SlowSubscriber
  // (see Slow), or what the broker said when it did not take the subscription again.
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
  R call(std::string_view type, const In& body, const CallOptions& options = no_options()) {
    check_may_wait();
    return submit<R>(type, body, options).get();
  }

  // Hands a task over and returns at once. Throws Busy, TooLarge, ValueError.
  template <class R = Value, class In>
  Task<R> submit(std::string_view type, const In& body, const CallOptions& options = no_options()) {
    auto pending = std::make_shared<detail::Pending>();
    TaskId id = hand_over(detail::Submission::Op::kSubmit, type, to_body(body), options,
                          [pending](const Ending& ending) { pending->finish(ending); });
    return Task<R>(id, std::move(pending), core_);
  }

  // The same for many tasks at once: no future each, `done` is called on the client's thread.
  template <class In, detail::IsCallback F>
  TaskId submit(std::string_view type, const In& body, F&& done,
                const CallOptions& options = no_options()) {
    return hand_over(detail::Submission::Op::kSubmit, type, to_body(body), options,
                     Callback(std::forward<F>(done)));
  }

  // Hands a task over and waits only until the broker has it. Its result goes nowhere, but may be
  // asked for by the id: see await_task.
  template <class In>
  TaskId post(std::string_view type, const In& body, CallOptions options = {}) {
    return wait(detail::Submission::Op::kPost, type, to_body(body), std::move(options)).first;
  }
  template <class In, detail::IsCallback F>
  TaskId post(std::string_view type, const In& body, F&& accepted,
              const CallOptions& options = no_options()) {
    return hand_over(detail::Submission::Op::kPost, type, to_body(body), options,
                     Callback(std::forward<F>(accepted)));
  }

  // Runs a task and reads what its handler sends while it runs; see options.window. Without
  // options.timeout it may take as long as it likes once the broker is there. Not from a callback.
  template <class T = Value, class In>
  Stream<T> stream(std::string_view type, const In& body,
                   const CallOptions& options = no_options()) {
    check_may_wait();
    auto [id, inflow] = open_stream(type, to_body(body), options);
    return Stream<T>(id, std::move(inflow));
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

  // Waits for the ending of a task that anybody submitted, and gives its result as call() does. Of
  // the options it takes timeout, on_progress and on_log. Throws UnknownTask; AlreadyEnded if it
  // has ended and its ending is not kept (see CallOptions::retention); Timeout.
  template <class R = Value>
  R await_task(const TaskId& id, const CallOptions& options = no_options()) {
    auto pending = await_each({&id, 1}, options);
    pending[0]->wait();
    return detail::read_result<R>(pending[0]->body, pending[0]->codec);
  }
  // The same with a callback on the client's thread in place of the wait.
  template <detail::IsCallback F>
  void await_task(const TaskId& id, F&& done, const CallOptions& options = no_options()) {
    await_later(id, options, Callback(std::forward<F>(done)));
  }
  // The same for many tasks, which are asked for together: waits until each has ended, or the time
  // is over, and gives one Task for each id, in their order, whose get() returns or throws at once.
  template <class R = Value>
  std::vector<Task<R>> await_all(const std::vector<TaskId>& ids,
                                 const CallOptions& options = no_options()) {
    auto pending = await_each(ids, options);
    std::vector<Task<R>> tasks;
    tasks.reserve(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      pending[i]->wait_until_done();
      tasks.push_back(Task<R>(ids[i], std::move(pending[i]), core_));
    }
    return tasks;
  }

  // Changes a task that waits or is delayed: priority, delay (from now; 0: at once) or not_before,
  // and its body, if one is given (nullptr is one: null). What is not given stays. A task whose
  // priority changes stands behind those of its new priority. Throws UnknownTask.
  //
  //   client.update(id, {.priority = "high"});
  //   client.update(id, Resize{800}, {.delay = 0s});
  Updated update(const TaskId& id, const CallOptions& changes) {
    return change(id, nullptr, changes);
  }
  template <class In>
  requires(!std::same_as<In, CallOptions>) Updated
      update(const TaskId& id, const In& body, const CallOptions& changes = no_options()) {
    std::string bytes = to_body(body);
    return change(id, &bytes, changes);
  }

  // What the broker knows of a task. That it knows nothing is no error: the state is "unknown".
  TaskStatus task(const TaskId& id, CallOptions options = {});

  // Asks for the end of a task, whoever submitted it. Returns its state: "cancelled", "cancelling",
  // "succeeded", ... Throws UnknownTask.
  std::string cancel(const TaskId& id, CallOptions options = {});

  // What the broker knows: "status", "workers", "types", "stages", "topics".
  Value query(std::string_view what, const Value& arguments = {}, CallOptions options = {});

  // Keeps all tasks of a type from starting for so long, in all workers; 0 ends the pause. What
  // runs goes on. Whether there was something to do. Throws ValueError: more than 100 years, or
  // less than none; Invalid: the broker knows no such type.
  bool pause_type(std::string_view type, std::chrono::milliseconds time, CallOptions options = {});
  // Lets the next task of an order key begin that a dead or failed one blocks (in a type with
  // order_on_dead: block). Whether there was one. Throws ValueError, Invalid, as pause_type.
  bool unblock(std::string_view type, std::string_view key, CallOptions options = {});

  // Gives what the broker knows of each task that fits, page by page, until `each` returns false;
  // tasks that are accepted meanwhile may or may not be among them. `limit`: how many come at a
  // time, 1 to 1,000. Throws Invalid.
  void tasks(const Filter& filter, const std::function<bool(const TaskStatus&)>& each,
             unsigned limit = 100);
  // All of them at once.
  std::vector<TaskStatus> tasks(const Filter& filter);

  // Cancels all tasks that fit and had been accepted when the broker took this, and waits until
  // that is done. Throws Invalid; Full: 16 jobs run already; UnknownOutcome: the broker no longer
  // knows the job, for it was restarted.
  //
  //   client.cancel_all({.labels = {{"customer", "acme"}}}).changed
  Job cancel_all(const Filter& filter, const JobOptions& options = {});
  // Runs those that are delayed at once; submits those again, under new ids, that have failed or
  // are dead and are kept for their retention.
  Job retry_all(const Filter& filter, const JobOptions& options = {});
  // Gives those that wait another priority.
  Job reprioritise_all(const Filter& filter, Priority priority, const JobOptions& options = {});
  // Those that run, and the last 64 that are done.
  std::vector<Job> jobs();

  // Publishes an event and waits until the broker has it. At most once: not sent a second time.
  template <class In>
  void publish(std::string_view topic, const In& body, CallOptions options = {}) {
    wait(detail::Submission::Op::kPublish, topic, to_body(body), std::move(options));
  }
  template <class In, detail::IsCallback F>
  void publish(std::string_view topic, const In& body, F&& accepted,
               const CallOptions& options = no_options()) {
    hand_over(detail::Submission::Op::kPublish, topic, to_body(body), options,
              Callback(std::forward<F>(accepted)));
  }

  // Makes a topic forget the last event that it kept. Who subscribed gets an event without a body.
  void clear(std::string_view topic, CallOptions options = {});

  // Events from now on, of a topic or of all that match a pattern: `prices.*` is prices.eu,
  // `prices.>` also prices.eu.paris. A topic that keeps its last event gives that first. Throws
  // UnknownTopic; Invalid: no such pattern; Busy: too many subscriptions; ValueError: no buffer.
  Subscription subscribe(std::string_view topic, const SubscribeOptions& options = {});
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
              const CallOptions& options = no_options()) {
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
  std::pair<TaskId, std::shared_ptr<detail::Inflow>> open_stream(std::string_view type,
                                                                 std::string body,
                                                                 const CallOptions& options);
  std::vector<std::shared_ptr<detail::Pending>> await_each(std::span<const TaskId> ids,
                                                           const CallOptions& options);
  void await_later(const TaskId& id, const CallOptions& options, Callback&& done);
  Updated change(const TaskId& id, std::string* body, const CallOptions& changes);
  void check_may_wait() const;
  Value control(std::string_view what, const Value& arguments, CallOptions options = {});
  Job run_job(std::string_view what, Map arguments, const Filter& filter,
              const JobOptions& options);
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
