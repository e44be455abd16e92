// The C++ worker of the conformance tests; ../programs.py says what it serves.
#include "tusk/worker.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <thread>

namespace {

using std::chrono::milliseconds;

struct Crash {
  int signal;
  unsigned attempts;
  TUSK_FIELDS(signal, attempts);
};

struct Item {
  int n;
  std::optional<std::string> drop;
  std::vector<std::string> path;
  TUSK_FIELDS(n, drop, path);
};

struct Flaky {
  unsigned fails;
  std::optional<std::string> type;
  TUSK_FIELDS(fails, type);
};

struct Deferring {
  unsigned times;
  int after;
  TUSK_FIELDS(times, after);
};

struct Pausing {
  int pause;
  TUSK_FIELDS(pause);
};

struct Progressing {
  int steps;
  std::optional<int> pause;
  TUSK_FIELDS(steps, pause);
};

struct Checkpointed {
  unsigned fails;
  tusk::Value value;
  std::optional<int> hang;
  TUSK_FIELDS(fails, value, hang);
};

struct Costing {
  std::int64_t cost;
  TUSK_FIELDS(cost);
};

struct Beating {
  int beats, every;
  std::optional<int> silent;
  TUSK_FIELDS(beats, every, silent);
};

struct Streaming {
  int chunks;
  std::optional<unsigned> fails;
  std::optional<int> pause;
  TUSK_FIELDS(chunks, fails, pause);
};

struct Parenting {
  std::string type;
  tusk::List bodies;
  TUSK_FIELDS(type, bodies);
};

struct Nesting {
  int depth;
  unsigned width;
  std::string type;
  TUSK_FIELDS(depth, width, type);
};

std::optional<Item> marked(Item item, const std::string& name) {
  if (item.drop == name) return tusk::drop;
  item.path.push_back(name);
  return item;
}

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value ? value : otherwise;
}

void sleep_until_cancelled(int ms, tusk::Context& context) {
  const auto end = std::chrono::steady_clock::now() + milliseconds(ms);
  while (std::chrono::steady_clock::now() < end) {
    if (context.cancelled()) throw tusk::Cancelled();
    std::this_thread::sleep_for(milliseconds(5));
  }
}

void print_lines(milliseconds pause) {
  for (int n = 1;; ++n) {
    std::cout << "line " + std::to_string(n) + "\n" << std::flush;
    std::this_thread::sleep_for(pause);
  }
}

void add_tasks(tusk::Worker& worker, const std::string& suffix) {
  using tusk::Context, tusk::Value;
  const auto fail = [](const std::string& message) { throw std::runtime_error(message); };
  worker.task("echo" + suffix, [](const Value& body) { return body; });
  worker.task("fail" + suffix, fail);
  worker.task("panic" + suffix, fail);
  worker.task("noretry" + suffix, [](const std::string& message) { throw tusk::NoRetry(message); });
  worker.task("crash" + suffix, [](const Crash& body, Context& context) {
    if (context.attempt() <= body.attempts) {
      kill(getpid(), body.signal);
      pause();
    }
    return body;
  });
  worker.task("sleep" + suffix, [](int ms, Context& context) {
    sleep_until_cancelled(ms, context);
    return ms;
  });
  worker.task("unserialisable" + suffix, [](const Value&) { return std::string("\xff"); });
}

// What is about the runs of a task: those that fail, wait, tell.
void add_runs(tusk::Worker& worker, const std::string& suffix) {
  using tusk::Context, tusk::Value;
  worker.task("flaky" + suffix, [](const Flaky& body, Context& context) {
    if (context.attempt() > body.fails) return context.attempt();
    throw tusk::TypedError(body.type.value_or("Flaky"),
                           "attempt " + std::to_string(context.attempt()) + " fails");
  });
  worker.task("deferring" + suffix, [](const Deferring& body, Context& context) {
    if (context.attempt() <= body.times) throw tusk::Defer(milliseconds(body.after));
    return context.attempt();
  });
  worker.task("pausing" + suffix, [](const Pausing& body, Context& context) {
    context.pause_type(milliseconds(body.pause));
  });
  worker.task("progressing" + suffix, [](const Progressing& body, Context& context) {
    for (int n = 1; n <= body.steps; ++n) {
      context.progress(n);
      context.log(tusk::LogLevel::kInfo, "step " + std::to_string(n));
      std::this_thread::sleep_for(milliseconds(body.pause.value_or(0)));
    }
    return body.steps;
  });
  worker.task("checkpointed" + suffix, [](const Checkpointed& body, Context& context) {
    if (context.attempt() <= body.fails) {
      context.checkpoint(body.value);
      std::this_thread::sleep_for(std::chrono::milliseconds(body.hang.value_or(0)));
      throw std::runtime_error("again from there");
    }
    return tusk::list(context.attempt(), context.last_checkpoint().value_or(Value()));
  });
  worker.task("beating" + suffix, [](const Beating& body, Context& context) {
    for (int n = 0; n < body.beats; ++n) {
      context.heartbeat();
      sleep_until_cancelled(body.every, context);
    }
    sleep_until_cancelled(body.silent.value_or(0), context);
    return body.beats;
  });
  worker.task("time_left" + suffix,
              [](const Value&, Context& context) -> std::optional<std::int64_t> {
                if (auto left = context.time_left()) return left->count();
                return std::nullopt;
              });
  worker.task("costing" + suffix, [](const Costing& body, Context& context) {
    context.set_cost(body.cost);
    return body.cost;
  });
  worker.task("stubborn" + suffix, [](int ms) {
    std::this_thread::sleep_for(milliseconds(ms));
    return ms;
  });
}

// What sends chunks, has children, comes in lists, and tells of the worker and the task.
void add_families(tusk::Worker& worker, const std::string& suffix, std::size_t slots) {
  using tusk::Context, tusk::Value;
  worker.task("streaming" + suffix, [](const Streaming& body, Context& context) {
    const bool fails = context.attempt() <= body.fails.value_or(0);
    const int chunks = fails ? body.chunks / 2 : body.chunks;
    for (int n = 1; n <= chunks; ++n) {
      context.send(n);
      sleep_until_cancelled(body.pause.value_or(0), context);
    }
    if (fails) {
      throw std::runtime_error("attempt " + std::to_string(context.attempt()) + " fails");
    }
    return body.chunks;
  });
  worker.task("labelled" + suffix, [](const Value&, Context& context) { return context.labels(); });
  worker.task("parenting" + suffix, [](const Parenting& body, Context& context) {
    return context.call_many(body.type, body.bodies);
  });
  worker.task("nesting" + suffix, [](Nesting body, Context& context) {
    if (body.depth == 0) return 1;
    --body.depth;
    int sum = 1;
    const std::vector<Nesting> children(body.width, body);
    for (int count : context.call_many<int>(body.type, children)) sum += count;
    return sum;
  });
  worker.task("whereami" + suffix, [](const Value&) { return variable("TUSK_WORKER", ""); });
  worker.task("batching" + suffix,
              {.items = std::min<std::size_t>(3, slots), .time = milliseconds(200)},
              [](const std::vector<Value>& bodies) {
                std::vector<tusk::List> out;
                for (const Value& body : bodies) out.push_back(tusk::list(body, bodies.size()));
                return out;
              });
}

void add_count(tusk::Worker& worker, const std::string& suffix, const char* path) {
  const int counts = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  worker.task("stopping" + suffix, [counts](const tusk::Value&, tusk::Context& context) {
    while (!context.cancelled()) std::this_thread::sleep_for(milliseconds(5));
    const std::string line = context.id().hex() + " " + std::to_string(context.attempt()) + " " +
                             std::string(context.cancel_reason()) + " " +
                             std::string(context.type()) + "\n";
    if (write(counts, line.data(), line.size()) < 0) throw std::runtime_error("cannot write");
    throw tusk::Cancelled();
  });
  worker.task("count" + suffix, [counts](const tusk::Value& body, tusk::Context& context) {
    const std::string line = context.id().hex() + " " + std::to_string(context.attempt()) + " " +
                             std::to_string(body["n"].as<int>()) + " " +
                             std::string(context.type()) + "\n";
    if (write(counts, line.data(), line.size()) < 0) throw std::runtime_error("cannot write");
    return body;
  });
}

void add_stages(tusk::Worker& worker, const std::string& suffix, std::size_t slots) {
  worker.stage("mark" + suffix,
               [name = "mark" + suffix](Item item) { return marked(std::move(item), name); });
  worker.stage("batch" + suffix,
               {.items = std::min<std::size_t>(8, slots), .time = milliseconds(5)},
               [name = "batch" + suffix](std::vector<Item> items) {
                 std::vector<std::optional<Item>> out;
                 for (Item& item : items) out.push_back(marked(std::move(item), name));
                 return out;
               });
}

}  // namespace

int main() {
  const std::string suffix = variable("TUSK_TEST_SUFFIX", "-cpp");
  // Handlers that sleep want a thread each.
  const auto slots = static_cast<unsigned>(std::stoul(variable("TUSK_SLOTS", "1")));
  tusk::Worker worker({.threads = slots});
  add_tasks(worker, suffix);
  if (const char* path = std::getenv("TUSK_TEST_COUNTS")) add_count(worker, suffix, path);
  add_runs(worker, suffix);
  add_families(worker, suffix, slots);
  add_stages(worker, suffix, slots);
  if (const char* pause = std::getenv("TUSK_TEST_PRINT")) {
    std::thread(print_lines, milliseconds(std::stoi(pause))).detach();
  }
  worker.run();
}
