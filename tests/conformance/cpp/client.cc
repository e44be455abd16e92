// The C++ client that conformance tests drive; ../programs.py says how.
#include "tusk/client.h"

#include <atomic>
#include <fstream>
#include <iostream>
#include <set>
#include <thread>

#include "tagged.h"

namespace tusk::conformance {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

Json history(const std::vector<Attempt>& runs) {
  Json out = Json::array();
  for (const Attempt& run : runs) {
    out.push_back({{"attempt", run.attempt},
                   {"worker", run.worker},
                   {"started", run.started.count()},
                   {"ended", run.ended.count()},
                   {"type", run.type},
                   {"message", run.message}});
  }
  return out;
}

// Starts with the fields of every error, and adds those of its class.
Json describe(std::exception_ptr thrown) {
  Json out = {{"class", "std::exception"}, {"code", "program"}};
  auto refused = [&out](const BrokerError& error, const char* name) {
    out.update({{"class", name}, {"limit", error.limit()}, {"value", error.value()}});
  };
  try {
    try {
      std::rethrow_exception(thrown);
    } catch (const Error& error) {
      out.update({{"class", "Error"}, {"code", error.code()}, {"text", error.what()}});
      throw;
    }
  } catch (const TaskFailed& error) {
    const RemoteError& remote = error.remote();
    out.update({{"class", dynamic_cast<const TaskDead*>(&error) ? "TaskDead" : "TaskFailed"},
                {"type", remote.type},
                {"message", remote.message},
                {"language", remote.language},
                {"stack", remote.stack},
                {"attempt", remote.attempt},
                {"worker", remote.worker},
                {"retry", remote.retry},
                {"history", history(remote.history)}});
  } catch (const TaskCancelled& error) {
    out.update({{"class", "TaskCancelled"}, {"history", history(error.history())}});
  } catch (const TaskExpired& error) {
    out.update({{"class", "TaskExpired"}, {"history", history(error.history())}});
  } catch (const StreamBroken& error) {
    out.update({{"class", "StreamBroken"}, {"value", error.missing()}});
  } catch (const SlowSubscriber&) {
    out["class"] = "SlowSubscriber";
  } catch (const Timeout&) {
    out["class"] = "Timeout";
  } catch (const Unavailable& error) {
    out.update({{"class", "Unavailable"}, {"url", error.url()}});
  } catch (const ValueError&) {
    out["class"] = "ValueError";
  } catch (const Closed&) {
    out["class"] = "Closed";
  } catch (const Unserved& error) {
    refused(error, "Unserved");
  } catch (const TooLarge& error) {
    refused(error, "TooLarge");
  } catch (const Duplicate& error) {
    refused(error, "Duplicate");
    out.update({{"id", error.id().hex()}, {"state", error.state()}});
  } catch (const IdConflict& error) {
    refused(error, "IdConflict");
  } catch (const AlreadyEnded& error) {
    refused(error, "AlreadyEnded");
  } catch (const UnknownOutcome& error) {
    refused(error, "UnknownOutcome");
  } catch (const UnknownTopic& error) {
    refused(error, "UnknownTopic");
  } catch (const UnknownStage& error) {
    refused(error, "UnknownStage");
  } catch (const UnknownTask& error) {
    refused(error, "UnknownTask");
  } catch (const Full& error) {
    refused(error, "Full");
  } catch (const Busy& error) {
    refused(error, "Busy");
  } catch (const Invalid& error) {
    refused(error, "Invalid");
  } catch (const BrokerError& error) {
    refused(error, "BrokerError");
  } catch (const std::exception& error) {
    out["text"] = error.what();
  }
  return out;
}

Json outcome(const Ending& ending) {
  try {
    return {{"ok", to_tagged(ending.get())}};
  } catch (...) {
    return {{"error", describe(std::current_exception())}};
  }
}

std::string noise(std::size_t size) {
  std::string bytes(size, '\0');
  std::ifstream("/dev/urandom", std::ios::binary).read(bytes.data(), static_cast<long>(size));
  return bytes;
}

struct LoadTask {
  int n;
  std::string from;
  TUSK_FIELDS(n, from);
};

// What `load` counts, of one type; see Load in programs.py.
class Load {
 public:
  Load(Client& client, std::string type, const Json& command, const std::atomic<bool>& stopped)
      : client_(client), type_(std::move(type)), stopped_(stopped) {
    most_ = command.value("count", 0);
    in_flight_ = command["in_flight"];
    const double seconds = command.value("seconds", 0.0);
    end_ = seconds > 0 ? Clock::now() + milliseconds(static_cast<int>(seconds * 1000))
                       : Clock::time_point::max();
  }

  void run() {
    while ((most_ == 0 || sent_ < most_) && !stopped_ && Clock::now() < end_) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return under_way_ < in_flight_; });
        ++under_way_;
      }
      const int n = ++sent_;
      try {
        client_.submit(type_, LoadTask{n, type_},
                       [this, n](const Ending& ending) { ended(n, ending); },
                       {.timeout = std::chrono::minutes(2)});
      } catch (...) {
        std::lock_guard lock(mutex_);
        failed(std::current_exception());
        --under_way_;
      }
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return under_way_ == 0; });
  }

  void add_to(Json& out) const {
    for (auto [name, value] :
         {std::pair("sent", sent_), {"ok", ok_}, {"wrong", wrong_}, {"doubled", doubled_}}) {
      out[name] = out.value(name, 0) + value;
    }
    for (const auto& [code, count] : errors_) {
      out["errors"][code] = out["errors"].value(code, 0) + count;
    }
    if (!first_.is_null()) out["first"] = first_;
  }

 private:
  void ended(int n, const Ending& ending) {
    std::lock_guard lock(mutex_);
    if (!seen_.insert(n).second) {
      ++doubled_;
      return;
    }
    --under_way_;
    changed_.notify_one();
    try {
      const auto result = ending.get<LoadTask>();
      ++(result.n == n && result.from == type_ ? ok_ : wrong_);
    } catch (...) {
      failed(std::current_exception());
    }
  }

  void failed(std::exception_ptr error) {
    Json told = describe(error);
    ++errors_[told["code"]];
    if (first_.is_null()) first_ = std::move(told);
  }

  Client& client_;
  const std::string type_;
  const std::atomic<bool>& stopped_;
  int most_ = 0;
  int in_flight_ = 0;
  Clock::time_point end_;
  int sent_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  int under_way_ = 0;
  std::set<int> seen_;
  int ok_ = 0, wrong_ = 0, doubled_ = 0;
  std::map<std::string, int> errors_;
  Json first_;
};

class Program {
 public:
  void run() {
    for (std::string line; std::getline(std::cin, line);) {
      Json command = Json::parse(line);
      if (command["op"] == "close") break;
      ++under_way_;
      std::thread([this, command = std::move(command)] {
        carry_out(command);
        --under_way_;
      }).detach();
    }
    client_.close();  // says what is left, and wakes what still waits
    while (under_way_ > 0) std::this_thread::sleep_for(milliseconds(1));
  }

 private:
  void carry_out(const Json& command) {
    Json answer;
    try {
      answer = {{"ok", perform(command["op"], command)}};
    } catch (...) {
      answer = {{"error", describe(std::current_exception())}};
    }
    answer["n"] = command["n"];
    std::lock_guard lock(printing_);
    std::cout << answer.dump() << std::endl;
  }

  // What a need may be, and what it may not.
  static Value plain(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    if (value.is_number_integer()) return value.get<std::int64_t>();
    if (value.is_number()) return value.get<double>();
    return nullptr;
  }

  static CallOptions options(const Json& command) {
    CallOptions out;
    if (command.contains("timeout")) out.timeout = milliseconds(command["timeout"].get<int>());
    if (command.contains("id")) out.id = TaskId::parse(command["id"].get<std::string>());
    out.resent = command.value("resent", false);
    add_terms(out, command);
    return out;
  }

  static void add_terms(CallOptions& out, const Json& command) {
    const auto time = [&](std::optional<milliseconds>& option, const char* name) {
      if (command.contains(name)) option = milliseconds(command[name].get<std::int64_t>());
    };
    time(out.delay, "delay");
    time(out.deadline, "deadline");
    time(out.run_timeout, "run_timeout");
    time(out.heartbeat_timeout, "heartbeat_timeout");
    time(out.unique_for, "unique_for");
    time(out.retention, "retention");
    if (command.contains("unique_policy")) {
      out.unique_policy = command["unique_policy"].get<std::string>();
    }
    if (command.contains("not_before")) {
      out.not_before = std::chrono::system_clock::now() +
                       milliseconds(command["not_before"].get<std::int64_t>());
    }
    if (const Json priority = command.value("priority", Json()); priority.is_string()) {
      out.priority = priority.get<std::string>();
    } else if (!priority.is_null()) {
      out.priority = priority.get<int>();
    }
    if (command.contains("attempts")) out.attempts = command["attempts"].get<int>();
    if (const Json backoff = command.value("backoff", Json()); !backoff.is_null()) {
      out.backoff = Backoff{.first = milliseconds(backoff[0].get<std::int64_t>()),
                            .most = milliseconds(backoff[1].get<std::int64_t>()),
                            .factor = backoff[2],
                            .jitter = backoff[3]};
    }
    const auto key = [&](std::optional<std::string>& option, const char* name) {
      if (command.contains(name)) option = command[name].get<std::string>();
    };
    key(out.unique, "unique");
    key(out.order_key, "order_key");
    key(out.limit_key, "limit_key");
    key(out.group, "group");
    key(out.sticky_key, "sticky_key");
    out.labels = command.value("labels", out.labels);
    const auto needs = [&](std::optional<Map>& option, const char* name) {
      if (!command.contains(name)) return;
      option.emplace();
      for (const auto& [label, value] : command[name].items()) option->emplace(label, plain(value));
    };
    needs(out.requires_, "requires");
    needs(out.prefers, "prefers");
    needs(out.consumes, "consumes");
    if (command.contains("cost")) out.cost = command["cost"].get<std::int64_t>();
    if (command.contains("no_retry_on")) {
      out.no_retry_on = command["no_retry_on"].get<std::vector<std::string>>();
    }
  }

  // Calls, and collects what it is told meanwhile.
  Json follow(const Json& c) {
    Json out = {{"progress", Json::array()}, {"logs", Json::array()}};
    CallOptions followed = options(c);
    followed.on_progress = [&](const Progress& p) {
      out["progress"].push_back(to_tagged(p.get()));
    };
    followed.on_log = [&](const LogLine& line) {
      out["logs"].push_back({to_string(line.level), line.text});
    };
    const Value result = client_.call(text(c, "type"), from_tagged(c["body"]), followed);
    out["result"] = to_tagged(result);
    return out;
  }

  // Reads all chunks, or as many as "take", and notes what happened between them.
  Json stream(const Json& c) {
    CallOptions wanted = options(c);
    if (c.contains("window")) wanted.window = c["window"].get<std::size_t>();
    auto stream = client_.stream(text(c, "type"), from_tagged(c["body"]), wanted);
    Json chunks = Json::array(), attempts = Json::array();
    const unsigned take = c.value("take", 0u);
    unsigned taken = 0;
    for (;;) {
      try {
        const auto chunk = stream.next();
        if (!chunk) break;
        chunks.push_back(to_tagged(*chunk));
      } catch (const StreamRestarted& restarted) {
        chunks.push_back({{"restarted", restarted.attempt()}});
        attempts.push_back(restarted.attempt());
        continue;
      }
      if (++taken == take) return {{"chunks", chunks}};
    }
    return {{"chunks", chunks}, {"result", to_tagged(stream.result())}, {"attempts", attempts}};
  }

  static Filter filter(const Json& c) {
    const Json given = c.value("filter", Json::object());
    Filter out;
    out.type = given.value("type", "");
    out.state = given.value("state", "");
    out.all = given.value("all", false);
    out.min_age = milliseconds(given.value("age", std::int64_t{0}));
    if (given.contains("parent")) out.parent = TaskId::parse(given["parent"].get<std::string>());
    const Json labels = given.value("labels", Json::object());
    for (const auto& [name, text] : labels.items()) {
      out.labels[name] = text.is_null() ? std::nullopt : std::optional(text.get<std::string>());
    }
    return out;
  }

  Json list_tasks(const Json& c) {
    Json found = Json::array();
    client_.tasks(
        filter(c),
        [&found](const TaskStatus& task) {
          found.push_back({{"id", task.id.hex()},
                           {"type", task.type},
                           {"state", task.state},
                           {"labels", task.labels}});
          return true;
        },
        c.value("limit", 100u));
    return found;
  }

  Json job(const Json& c) {
    const JobOptions how{.dry_run = c.value("dry_run", false)};
    const std::string what = text(c, "what");
    Job done;
    if (what == "cancel") {
      done = client_.cancel_all(filter(c), how);
    } else if (what == "retry") {
      done = client_.retry_all(filter(c), how);
    } else {
      const Json& given = c["priority"];
      const Priority priority =
          given.is_string() ? Priority(given.get<std::string>()) : Priority(given.get<int>());
      done = client_.reprioritise_all(filter(c), priority, how);
    }
    return {{"matched", done.matched}, {"changed", done.changed}, {"failed", done.failed}};
  }

  // What is asked about a task has its id for itself.
  static CallOptions options_by_id(const Json& command) {
    CallOptions out = options(command);
    out.id.reset();
    return out;
  }

  Json await(const Json& c) {
    return to_tagged(client_.await_task(*TaskId::parse(text(c, "id")), options_by_id(c)));
  }

  Json await_all(const Json& c) {
    std::vector<TaskId> ids;
    for (const auto& id : c["ids"]) ids.push_back(*TaskId::parse(id.get<std::string>()));
    Json found = Json::array();
    for (const auto& task : client_.await_all(ids, options(c))) {
      try {
        found.push_back({{"ok", to_tagged(task.get())}});
      } catch (...) {
        found.push_back({{"error", describe(std::current_exception())}});
      }
    }
    return found;
  }

  Json update(const Json& c) {
    const TaskId id = *TaskId::parse(text(c, "id"));
    const CallOptions changes = options_by_id(c);
    const Updated told = c.contains("body") ? client_.update(id, from_tagged(c["body"]), changes)
                                            : client_.update(id, changes);
    return {{"state", told.state}, {"updated", told.updated}};
  }

  bool control(const Json& c) {
    const Json& given = c["arguments"];
    if (c["what"] == "pause") {
      return client_.pause_type(text(given, "type"), milliseconds(given["ms"].get<std::int64_t>()));
    }
    return client_.unblock(text(given, "type"), text(given, "key"));
  }

  Json status(const Json& c) {
    const TaskStatus told = client_.task(*TaskId::parse(text(c, "id")), options_by_id(c));
    Json out = {{"state", told.state}};
    if (told.type.empty()) return out;
    out.update({{"type", told.type},
                {"attempts", told.attempts},
                {"failures", told.failures},
                {"crashes", told.crashes},
                {"priority", told.priority},
                {"age", told.age.count()}});
    if (!told.worker.empty()) out["worker"] = told.worker;
    if (!told.history.empty()) out["history"] = history(told.history);
    if (told.error) {
      out["error"] = {{"type", told.error->type},
                      {"message", told.error->message},
                      {"language", told.error->language},
                      {"stack", told.error->stack}};
    }
    return out;
  }

  Json perform(const std::string& op, const Json& c) {
    if (op == "await") return await(c);
    if (op == "await_all") return await_all(c);
    if (op == "update") return update(c);
    if (op == "task") return status(c);
    if (op == "control") return control(c);
    if (op == "call") {
      return to_tagged(client_.call(text(c, "type"), from_tagged(c["body"]), options(c)));
    }
    if (op == "submit") return submit(c);
    if (op == "follow") return follow(c);
    if (op == "stream") return stream(c);
    if (op == "tasks") return list_tasks(c);
    if (op == "job") return job(c);
    if (op == "result") return to_tagged(submitted(text(c, "id")).get());
    if (op == "post") {
      return client_.post(text(c, "type"), from_tagged(c["body"]), options(c)).hex();
    }
    if (op == "cancel") return client_.cancel(*TaskId::parse(text(c, "id")));
    if (op == "many") return many(c);
    if (op == "roundtrip") return roundtrip(c);
    if (op == "load") return load(c);
    if (op == "stop") {
      stopped_ = true;
      return nullptr;
    }
    if (op == "publish") {
      client_.publish(text(c, "topic"), from_tagged(c["body"]));
      return nullptr;
    }
    if (op == "clear") {
      client_.clear(text(c, "topic"));
      return nullptr;
    }
    if (op == "subscribe") {
      SubscribeOptions options{.buffer = c.value("buffer", SubscribeOptions{}.buffer)};
      if (c.value("slow", "") == "disconnect") options.slow = Slow::kDisconnect;
      auto subscription = client_.subscribe(text(c, "topic"), options);
      std::lock_guard lock(mutex_);
      subscriptions_.insert_or_assign(text(c, "topic"), std::move(subscription));
      return nullptr;
    }
    if (op == "events") return events(c);
    if (op == "push") {
      client_.push(text(c, "stage"), from_tagged(c["body"]));
      return nullptr;
    }
    if (op == "push_many") return client_.push_many(text(c, "stage"), values(c["bodies"]));
    if (op == "query") return to_tagged(client_.query(text(c, "what")));
    throw std::runtime_error("no operation " + op);
  }

  static std::string text(const Json& command, const char* key) { return command[key]; }

  static List values(const Json& bodies) {
    List out;
    for (const Json& body : bodies) out.push_back(from_tagged(body));
    return out;
  }

  Json submit(const Json& c) {
    auto task = client_.submit(text(c, "type"), from_tagged(c["body"]), options(c));
    const std::string id = task.id().hex();
    std::lock_guard lock(mutex_);
    tasks_.insert_or_assign(id, std::move(task));
    return id;
  }

  const Task<>& submitted(const std::string& id) {
    std::lock_guard lock(mutex_);
    return tasks_.at(id);
  }

  Json many(const Json& c) {
    Json found = Json::array();
    for (std::size_t i = 0; i < c["bodies"].size(); ++i) found.push_back(nullptr);
    std::mutex mutex;
    client_.call_many(text(c, "type"), values(c["bodies"]),
                      [&](std::size_t index, const Ending& ending) {
                        std::lock_guard lock(mutex);
                        found[index] = outcome(ending);
                      });
    return found;
  }

  bool roundtrip(const Json& c) {
    const std::size_t size = c["size"];
    std::string sent;
    if (c["noise"]) {
      sent = noise(size);
    } else {
      while (sent.size() < size) sent += "tusk";
    }
    const Bytes bytes = to_bytes(sent);
    return client_.call<Bytes>(text(c, "type"), bytes, {.timeout = std::chrono::minutes(1)}) ==
           bytes;
  }

  Json load(const Json& c) {
    std::vector<std::unique_ptr<Client>> own;
    for (int i = 0; i < c.value("clients", 0); ++i) own.push_back(std::make_unique<Client>());
    std::vector<std::unique_ptr<Load>> loads;
    auto add = [&](Client& client) {
      for (const auto& type : c["types"]) {
        loads.push_back(std::make_unique<Load>(client, type.get<std::string>(), c, stopped_));
      }
    };
    for (auto& client : own) add(*client);
    if (own.empty()) add(client_);
    std::vector<std::thread> threads;
    for (auto& load : loads) threads.emplace_back([&load] { load->run(); });
    for (auto& thread : threads) thread.join();
    Json out = {{"errors", Json::object()}};
    for (const auto& load : loads) load->add_to(out);
    return out;
  }

  Json events(const Json& c) {
    Subscription* subscription;
    {
      std::lock_guard lock(mutex_);
      subscription = &subscriptions_.at(text(c, "topic"));
    }
    Json found = Json::array();
    while (found.size() < c["count"]) {
      auto event = subscription->next(std::chrono::minutes(1));
      if (!event) throw std::runtime_error("no event in a minute");
      found.push_back({{"topic", event->topic},
                       {"body", to_tagged(event->get())},
                       {"sequence", event->sequence},
                       {"missed", event->missed},
                       {"retained", event->retained}});
    }
    return found;
  }

  Client client_;
  std::mutex printing_;
  std::mutex mutex_;
  std::map<std::string, Task<>> tasks_;
  std::map<std::string, Subscription> subscriptions_;
  std::atomic<bool> stopped_ = false;
  std::atomic<int> under_way_ = 0;
};

}  // namespace
}  // namespace tusk::conformance

int main() { tusk::conformance::Program().run(); }
