// A worker: runs tasks and pipeline items for clients in any language.
//
//   tusk::Worker worker({.slots = 16});
//   worker.task("add", [](const Add& in) { return in.a + in.b; });       // types are deduced
//   worker.task("any", [](const tusk::Value& in, tusk::Context& context) { return in; });
//   worker.run();                          // until SIGTERM, SIGINT, stop() or the broker's drain
//
// A handler takes its body as any type that convert.h knows, and returns one, or nothing. What it
// throws is a failed run; tusk::NoRetry says that another run makes no sense; tusk::Cancelled that
// it saw context.cancelled(); tusk::Defer that it cannot run now. A body that is not of its type
// fails without another run.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tusk/client.h"
#include "tusk/convert.h"
#include "tusk/error.h"
#include "tusk/log_level.h"
#include "tusk/task_id.h"
#include "tusk/value.h"

namespace tusk {

struct WorkerOptions {
  std::string url = {};  // default: TUSK_URL, else tcp://127.0.0.1:7420
  // How many runs the broker may give this worker at once. Default: TUSK_SLOTS, else 1.
  unsigned slots = 0;
  // How many threads run handlers, so how many handlers run at the same time; the other runs wait
  // in line here. Default: the smaller of slots and the number of processors. Handlers that wait
  // (for a database, for a disk) want threads = slots; short ones that compute want no more threads
  // than processors, and slots far above (1,000), so that the next run is always there already.
  unsigned threads = 0;
  std::string name = {};  // for people. Default: TUSK_WORKER, else cpp-<pid>
  std::string pool = {};  // Default: TUSK_POOL, else "cpp"
  // What this worker has, for tasks that require or consume it: at most 32 names of 1 to 255 bytes
  // of UTF-8; a text, as long, is a fact, a whole number from 0 to 10^9 an amount. They are added
  // to those of the environment's TUSK_LABELS, a JSON object, and win. Out of range: Invalid.
  // .labels = tusk::map("region", "eu", "gpu", 2)
  Map labels = {};
  // How long running handlers may go on after SIGTERM, SIGINT, stop() or drain.
  std::chrono::milliseconds stop_timeout = std::chrono::seconds(10);
  // Whether run() handles SIGTERM and SIGINT while it runs.
  bool handle_signals = true;
  // A worker that tuskd's supervisor started (TUSK_SUPERVISED=1) takes slots, name and pool from
  // the environment even if they are given here, and ends when its broker does not come back.
};

namespace detail {
struct Run;
struct WorkerState;
}  // namespace detail

// What a handler may ask about its run, and say of it; a batch handler has one for each item, in
// which "run" is that of the item. Lives as long as the call of the handler;
// any thread may use it meanwhile. What is said waits for no network: it goes out in order, and
// before the result.
class Context {
 public:
  Context(const TaskId& id, std::string_view type, std::uint32_t attempt, std::stop_token stop,
          detail::Run* run = nullptr)
      : id_(id), type_(type), attempt_(attempt), stop_(std::move(stop)), run_(run) {}

  const TaskId& id() const { return id_; }
  std::string_view type() const { return type_; }     // or the stage's handler
  std::uint32_t attempt() const { return attempt_; }  // from 1
  // Whether the run is to stop, because somebody cancelled the task or its time is over. A handler
  // that looks, and throws Cancelled, ends it; one
  // that returns a result all the same has succeeded.
  bool cancelled() const { return stop_.stop_requested(); }
  const std::stop_token& stop_token() const { return stop_; }
  // Why: "cancelled", "deadline", "run_timeout", "heartbeat_timeout", "parent" when the task whose
  // child this is was cancelled or expired, or "moved" when another worker has the run now. Empty
  // while it is not to stop.
  std::string_view cancel_reason() const;
  // Those of the task, its parent's among them.
  std::map<std::string, std::string> labels() const;
  // How long this run may still take, 0 at the least; nothing if nobody set a bound.
  std::optional<std::chrono::milliseconds> time_left() const;

  // Tells those who follow the task how far it is, as any value. Who is away, or slow, misses it.
  // Throws ValueError, TooLarge.
  template <class T>
  void progress(const T& value) {
    say_progress(to_body(value));
  }
  // Hands one more value to the caller of this task's Client::stream, before the result. It waits
  // while the caller has not taken enough of those before, and throws Cancelled when this run is to
  // stop meanwhile. If nobody asked for a stream it does nothing. Throws ValueError, TooLarge.
  template <class T>
  void send(const T& value) {
    if (has_stream()) send_chunk(to_body(value));
  }
  // A sign of life, for tasks with a heartbeat_timeout. Progress, logs, checkpoints and chunks are
  // too.
  void heartbeat();
  // Tells those who follow the task a line of text. What is longer than 16 KiB is cut, and ends in
  // "[cut]". Throws Invalid: no such level.
  void log(LogLevel level, std::string_view text);

  // Keeps a value for the next run of this task, whether this one fails, is deferred or dies with
  // its worker. It replaces the one before. Throws ValueError, and TooLarge beyond what the broker
  // allows (256 KiB, unless its config says otherwise).
  template <class T>
  void checkpoint(const T& value) {
    keep(to_body(value));
  }
  // Takes it away: the next run gets none.
  void clear_checkpoint();
  // What an earlier run kept last, if one did. Throws ValueError if it is no T.
  template <class T = Value>
  std::optional<T> last_checkpoint() const {
    if (const std::string* body = kept()) return from_body<T>(*body);
    return std::nullopt;
  }

  // Keeps all tasks of this run's type from starting for so long, up to 100 years, in all workers:
  // for a handler that knows that none of them can run for a while. 0 ends the pause. This run goes
  // on. Throws Invalid.
  void pause_type(std::chrono::milliseconds time);

  // Runs a task as child of this one and waits for its result. Meanwhile this run takes none of the
  // worker's slots and no place among its threads; it goes on when it has the result and a slot
  // again. A child is cancelled with its parent, for the reason "parent", and has its parent's
  // deadline and labels. It may take as long as the run, or options.timeout. Throws as
  // Client::call, and Cancelled when this run is to stop. What a stage handler submits are no
  // children, and it keeps its slot.
  template <class R = Value, class In>
  R call(std::string_view type, const In& body, const CallOptions& options = no_options()) {
    Task<R> task = submit<R>(type, body, options);
    try {
      return task.get();
    } catch (const Cancelled&) {
      task.cancel();
      throw;
    }
  }
  // The same for each of `bodies`, 1,000 at a time, with one waiting for all of these. The results
  // are in the order of the bodies. Throws the first error in this order, when all have ended.
  template <class R = Value, class Range>
  std::vector<R> call_many(std::string_view type, const Range& bodies,
                           const CallOptions& options = no_options());
  // Hands a child over and does not wait: Task::get() does, as call().
  template <class R = Value, class In>
  Task<R> submit(std::string_view type, const In& body, const CallOptions& options = no_options()) {
    Child child = hand_over_child(type, to_body(body), options);
    return Task<R>(child.id, std::move(child.pending), child.client);
  }
  // Waits until all of these children of this run have ended, however they did, and gives the run's
  // slot back only then. Throws Cancelled when this run is to stop before.
  template <class R>
  void wait_all(const std::vector<Task<R>>& children) const {
    std::vector<std::shared_ptr<detail::Pending>> all;
    for (const Task<R>& child : children) {
      if (child.pending_->awaiting) all.push_back(child.pending_);
    }
    wait_for(all);
  }

  // What this run really takes from the rates of its type and limit key, 0 to 10^9 units, in place
  // of the task's cost: it goes with the answer, also with that of a failure. The last word counts.
  // Throws Invalid.
  void set_cost(std::int64_t units);

 private:
  struct Child {
    TaskId id;
    std::shared_ptr<detail::Pending> pending;
    std::weak_ptr<detail::ClientCore> client;
  };

  Child hand_over_child(std::string_view type, std::string body, const CallOptions& options);
  void wait_for(const std::vector<std::shared_ptr<detail::Pending>>& children) const;
  bool fit(const char* what, std::string& body) const;
  bool has_stream() const;
  void send_chunk(std::string body);
  void say_progress(std::string body);
  void keep(std::string checkpoint);
  const std::string* kept() const;

  TaskId id_;
  std::string_view type_;
  std::uint32_t attempt_;
  std::stop_token stop_;
  detail::Run* run_;
};

template <class R, class Range>
std::vector<R> Context::call_many(std::string_view type, const Range& bodies,
                                  const CallOptions& options) {
  constexpr std::size_t kAtOnce = 1000;
  std::vector<R> results;
  std::vector<Task<R>> round;
  std::exception_ptr error;
  const auto end_round = [&] {
    try {
      wait_all(round);
    } catch (...) {
      for (const Task<R>& child : round) child.cancel();
      throw;
    }
    for (const Task<R>& child : round) {
      try {
        results.push_back(child.get());
      } catch (...) {
        if (!error) error = std::current_exception();
      }
    }
    round.clear();
  };
  for (const auto& body : bodies) {
    round.push_back(submit<R>(type, body, options));
    if (round.size() == kAtOnce) end_round();
  }
  end_round();
  if (error) std::rethrow_exception(error);
  return results;
}

// What a stage handler returns for an item that ends here: its result is std::optional<T>.
inline constexpr std::nullopt_t drop = std::nullopt;

// Tasks or items that a handler gets together: at most `items`, or what came within `time` of the
// first, or at once what there is when one of them ran before: its attempt is over 1. `items` is
// from 1 to the worker's slots, `time` 0 or more.
struct Batch {
  std::size_t items = 100;
  std::chrono::milliseconds time = std::chrono::milliseconds(10);
};

// What becomes of one of a batch, where they do not all fare alike: a value is the task's result,
// or goes on to the next stage, `drop` ends the item here, and an exception is what a handler of
// one item would throw.
//
//   std::vector<tusk::Output<int>> out;
//   out.push_back(3);  out.push_back(tusk::drop);  out.push_back(tusk::Defer(1s));
template <class T>
class Output {
 public:
  Output(T value) : value_(std::move(value)) {}
  Output(std::nullopt_t) {}
  template <std::derived_from<std::exception> E>
  Output(E error) : error_(std::make_exception_ptr(std::move(error))) {}
  Output(std::exception_ptr error) : error_(std::move(error)) {}

  const std::optional<T>& value() const { return value_; }
  const std::exception_ptr& error() const { return error_; }

 private:
  std::optional<T> value_;
  std::exception_ptr error_;
};

namespace detail {

// One item of a batch: its body, then its result.
struct BatchItem {
  std::string_view body;
  unsigned codec = 0;
  std::string result;
  bool has_result = false;
  std::exception_ptr error;
};

// Returns whether there is a body in `out`. Throws what the handler throws.
using Handler =
    std::function<bool(std::string_view body, unsigned codec, Context& context, std::string& out)>;
// `runs`: of the items, in their order; empty if the handler does not want them.
using BatchHandler = std::function<void(std::vector<BatchItem>& items, std::vector<Context>& runs)>;

// The argument and result types of a callable that is not overloaded.
template <class F>
struct Signature : Signature<decltype(&F::operator())> {};
template <class R, class... Args>
struct Signature<R (*)(Args...)> {
  using Result = R;
  static constexpr std::size_t kArguments = sizeof...(Args);
  using First = std::tuple_element_t<0, std::tuple<Args..., void>>;
  using Second = std::tuple_element_t<1, std::tuple<Args..., void, void>>;
};
template <class R, class C, class... Args>
struct Signature<R (C::*)(Args...) const> : Signature<R (*)(Args...)> {};
template <class R, class C, class... Args>
struct Signature<R (C::*)(Args...)> : Signature<R (*)(Args...)> {};
template <class R, class... Args>
struct Signature<R(Args...)> : Signature<R (*)(Args...)> {};

// The body cannot be read: no fault of the handler, and no other run would go better.
class UnreadableBody : public ValueError {
 public:
  using ValueError::ValueError;
};
// The handler's value cannot be written.
class UnwritableResult : public ValueError {
 public:
  using ValueError::ValueError;
};

template <class In>
In read_argument(std::string_view body, unsigned codec) {
  try {
    if (codec == 0) return from_body<In>(body);
    if (codec == 1) return from_body<In>(from_json(body));
    if constexpr (std::same_as<In, Bytes>) {
      if (codec == 2) return to_bytes(body);
    } else if constexpr (std::same_as<In, Value>) {
      if (codec == 2) return Value(to_bytes(body));
    }
  } catch (const ValueError& error) {
    throw UnreadableBody(error.what());
  }
  throw UnreadableBody("the body is neither msgpack nor JSON (codec " + std::to_string(codec) +
                       ")");
}

template <class T>
void write_result(std::string& out, const T& value) {
  try {
    BodyWriter writer(out);
    Convert<std::decay_t<T>>::write(writer, value);
  } catch (const ValueError& error) {
    throw UnwritableResult(error.what());
  }
}

// Calls `f` with what it takes of body and context, and writes what it returns.
template <bool kIsStage, class F>
bool call_handler(F& f, std::string_view body, unsigned codec, Context& context, std::string& out) {
  using S = Signature<std::decay_t<F>>;
  using First = std::decay_t<typename S::First>;
  static_assert(S::kArguments >= 1 && S::kArguments <= 2,
                "a handler takes its body, and a tusk::Context& if it wants");
  First in = read_argument<First>(body, codec);
  auto run = [&]() -> decltype(auto) {
    if constexpr (S::kArguments == 2) {
      return f(std::move(in), context);
    } else {
      return f(std::move(in));
    }
  };
  using R = typename S::Result;
  if constexpr (std::is_void_v<R>) {
    run();
    if constexpr (!kIsStage) out += static_cast<char>(0xC0);  // null
    return !kIsStage;
  } else {
    R result = run();
    if constexpr (kIsStage && is_optional<R>) {
      if (!result) return false;
      write_result(out, *result);
    } else {
      write_result(out, result);
    }
    return true;
  }
}

template <class T>
inline constexpr bool is_vector = false;
template <class T, class A>
inline constexpr bool is_vector<std::vector<T, A>> = true;

template <class F>
inline constexpr bool wants_context = Signature<std::decay_t<F>>::kArguments == 2;

template <class T>
inline constexpr bool is_output = false;
template <class T>
inline constexpr bool is_output<Output<T>> = true;

// Writes what a batch handler returned for an item.
template <class Out>
void write_output(BatchItem& item, const Out& output) {
  if constexpr (is_output<Out>) {
    item.error = output.error();
    if (item.error || !output.value()) return;
    write_result(item.result, *output.value());
  } else if constexpr (is_optional<Out>) {
    if (!output) return;
    write_result(item.result, *output);
  } else {
    write_result(item.result, output);
  }
  item.has_result = true;
}

template <class F>
void call_batch_handler(F& f, std::vector<BatchItem>& items, std::vector<Context>& runs) {
  using S = Signature<std::decay_t<F>>;
  using Inputs = std::decay_t<typename S::First>;
  using Outputs = typename S::Result;
  static_assert(is_vector<Inputs> && is_vector<Outputs>,
                "a batch handler takes a vector of items and returns a vector of as many results");
  static_assert(
      S::kArguments == 1 || (S::kArguments == 2 &&
                             std::same_as<std::decay_t<typename S::Second>, std::vector<Context>>),
      "a batch handler takes its items, and a std::vector<tusk::Context>& if it wants");
  Inputs inputs;
  std::vector<BatchItem*> readable;
  std::vector<Context> of_readable;
  for (std::size_t i = 0; i < items.size(); ++i) {
    BatchItem& item = items[i];
    try {
      inputs.push_back(read_argument<typename Inputs::value_type>(item.body, item.codec));
      readable.push_back(&item);
      if constexpr (S::kArguments == 2) of_readable.push_back(runs[i]);
    } catch (...) {
      item.error = std::current_exception();
    }
  }
  if (readable.empty()) return;
  Outputs outputs;
  try {
    if constexpr (S::kArguments == 2) {
      outputs = f(std::move(inputs), of_readable);
    } else {
      outputs = f(std::move(inputs));
    }
    if (outputs.size() != readable.size()) {
      throw UnwritableResult("a batch of " + std::to_string(readable.size()) + " items has " +
                             std::to_string(outputs.size()) + " results");
    }
  } catch (...) {
    for (BatchItem* item : readable) item->error = std::current_exception();
    return;
  }
  for (std::size_t i = 0; i < readable.size(); ++i) {
    try {
      write_output<typename Outputs::value_type>(*readable[i], outputs[i]);
    } catch (...) {
      readable[i]->error = std::current_exception();
    }
  }
}

}  // namespace detail

class Worker {
 public:
  explicit Worker(WorkerOptions options = {});
  Worker(Worker&&) noexcept;
  Worker& operator=(Worker&&) noexcept;
  ~Worker();

  // Runs tasks of this type. The handler is called on up to `threads` threads at the same time. All
  // handlers are named before run(). A name that is there already: std::invalid_argument.
  template <class F>
  void task(std::string type, F handler) {
    add(false, std::move(type), detail::wants_context<F>,
        [f = std::move(handler)](std::string_view body, unsigned codec, Context& context,
                                 std::string& out) mutable {
          return detail::call_handler<false>(f, body, codec, context, out);
        });
  }

  // The same for many tasks at once; see the stage of a Batch.
  template <class F>
  void task(std::string type, Batch batch, F handler) {
    add_batch(false, std::move(type), batch, std::move(handler));
  }

  // Runs items of the stage whose handler has this name. What it returns goes to the next stage;
  // an empty std::optional (tusk::drop), or void, ends the item here.
  template <class F>
  void stage(std::string handler_name, F handler) {
    add(true, std::move(handler_name), detail::wants_context<F>,
        [f = std::move(handler)](std::string_view body, unsigned codec, Context& context,
                                 std::string& out) mutable {
          return detail::call_handler<true>(f, body, codec, context, out);
        });
  }

  // The same for many items at once: takes std::vector<In>, and a std::vector<tusk::Context>& with
  // the runs of the items in their order if it wants; returns a std::vector of as many results:
  // std::optional ones if items may be dropped, tusk::Output ones if they may fail or be deferred
  // one by one. What it throws holds for all of them. A batch of no items, of more than the worker
  // has slots, or of a negative time is std::invalid_argument.
  template <class F>
  void stage(std::string handler_name, Batch batch, F handler) {
    add_batch(true, std::move(handler_name), batch, std::move(handler));
  }

  // Connects, and works until it is told to stop: then nothing new is started, what waits in line
  // is given back, what runs may end within stop_timeout, and its results are delivered. For ever
  // reconnects, but when a supervisor started it. Throws Refused or BrokerError if the broker does
  // not take this worker, and Error if it was made before a fork().
  void run();

  // Waits, at most so long, until a broker has taken this worker for the first time: from then on
  // what it runs is served. False: that did not come, or run() has returned. Any thread but
  // run()'s, also before run().
  bool wait_until_ready(std::chrono::milliseconds time);

  // Makes run() return. May be called from any thread, a handler included, but not from a signal
  // handler.
  void stop();

 private:
  template <class F>
  void add_batch(bool is_stage, std::string name, Batch batch, F handler) {
    add(is_stage, std::move(name), batch, detail::wants_context<F>,
        [f = std::move(handler)](std::vector<detail::BatchItem>& items,
                                 std::vector<Context>& runs) mutable {
          detail::call_batch_handler(f, items, runs);
        });
  }
  void add(bool is_stage, std::string name, bool wants_context, detail::Handler handler);
  void add(bool is_stage, std::string name, Batch batch, bool wants_context,
           detail::BatchHandler handler);

  std::shared_ptr<detail::WorkerState> state_;
};

}  // namespace tusk
