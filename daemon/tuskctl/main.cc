// tuskctl: what an operator asks a running tuskd, and tells it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include "config/units.h"
#include "daemon/tuskctl/json.h"
#include "daemon/tuskctl/table.h"
#include "daemon/version.h"
#include "tusk/client.h"

namespace {

using tusk::ctl::Json;

struct Context {
  std::string url;
  bool json = false;
  double timeout = 5;  // seconds

  tusk::Client connect() const {
    return tusk::Client(tusk::ClientOptions{
        .url = url, .name = "tuskctl", .timeout = std::chrono::milliseconds(milliseconds())});
  }
  int64_t milliseconds() const { return static_cast<int64_t>(timeout * 1000); }
};

std::string cell(const Json& value) {
  if (value.is_string()) return value == "" ? "-" : value.get<std::string>();
  if (value.is_array()) {
    std::string out;
    for (const Json& item : value) out += (out.empty() ? "" : " ") + cell(item);
    return out.empty() ? "-" : out;
  }
  return value.is_null() ? "-" : value.dump();
}

// A map as two columns; maps inside it are shown behind their key with a dot.
void add_pairs(const Json& map, const std::string& prefix,
               std::vector<std::vector<std::string>>& rows) {
  for (const auto& [key, value] : map.items()) {
    if (value.is_object()) {
      add_pairs(value, prefix + key + ".", rows);
    } else {
      rows.push_back({prefix + key, cell(value)});
    }
  }
}

// `columns`: which keys of a list's maps are shown, in this order; none: all of a map as pairs.
void show(const Context& context, const Json& answer, const std::vector<std::string>& columns) {
  if (context.json) {
    std::cout << answer.dump(2) << '\n';
    return;
  }
  std::vector<std::vector<std::string>> rows;
  if (columns.empty()) {
    rows.push_back({"KEY", "VALUE"});
    add_pairs(answer, "", rows);
  } else {
    std::vector<std::string> header;
    for (std::string name : columns) {
      for (char& c : name) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      header.push_back(name);
    }
    rows.push_back(header);
    for (const Json& item : answer) {
      std::vector<std::string> row;
      for (const std::string& name : columns) row.push_back(cell(item.value(name, Json())));
      rows.push_back(std::move(row));
    }
  }
  std::cout << tusk::ctl::table(rows);
}

void query(const Context& context, const std::string& what, const tusk::Value& arguments,
           const std::vector<std::string>& columns) {
  tusk::Client client = context.connect();
  show(context, tusk::ctl::to_json(client.query(what, arguments)), columns);
}

tusk::TaskId parse_id(const std::string& text) {
  auto id = tusk::TaskId::parse(text);
  if (!id) throw std::invalid_argument("\"" + text + "\" is no task id: 32 hexadecimal digits");
  return *id;
}

void submit(const Context& context, const std::string& type, const std::string& text) {
  Json body;
  try {
    body = Json::parse(text);
  } catch (const Json::parse_error& e) {
    throw std::invalid_argument("the body is not JSON: " + std::string(e.what()));
  }
  tusk::Client client = context.connect();
  const Json result =
      tusk::ctl::to_json(client.call<tusk::Value>(type, tusk::ctl::from_json(body)));
  std::cout << (context.json ? result.dump(2) : result.dump()) << '\n';
}

void cancel(const Context& context, const std::string& id) {
  tusk::Client client = context.connect();
  show(context, Json{{"state", client.cancel(parse_id(id))}}, {});
}

// In whole milliseconds that are never too few.
std::chrono::milliseconds parse_time(const std::string& text) {
  if (text == "0") return std::chrono::milliseconds(0);
  const auto time = tusk::config::parse_duration(text);
  if (!time) {
    throw std::invalid_argument("\"" + text +
                                "\" is no duration: 500ms, 30s, 5m, 2h, 1d; 0 ends a pause");
  }
  return std::chrono::ceil<std::chrono::milliseconds>(*time);
}

// The exit status: whether there was something to do.
int tell(const Context& context, bool done, const std::string& line) {
  std::cout << (context.json ? Json{{"done", done}}.dump(2) : line) << '\n';
  return done ? 0 : 1;
}

int pause(const Context& context, const std::string& type, const std::string& text) {
  const auto time = parse_time(text);
  tusk::Client client = context.connect();
  const bool done = client.pause_type(type, time);
  if (time.count() > 0) return tell(context, done, type + " is paused for " + text);
  return tell(context, done, type + (done ? " is no longer paused" : " was not paused"));
}

int unblock(const Context& context, const std::string& type, const std::string& key) {
  tusk::Client client = context.connect();
  const bool done = client.unblock(type, key);
  return tell(context, done,
              "the key \"" + key + "\" of " + type + (done ? " goes on" : " was not blocked"));
}

// Which tasks, by the options of the command line.
struct Which {
  std::string type, state, parent, older;
  std::vector<std::string> labels;  // NAME=TEXT, or NAME for any text
  bool all = false, dry_run = false;

  void add_to(CLI::App* command) {
    command->add_option("--type", type, "tasks of this type");
    command->add_option("--state", state,
                        "waiting, delayed, running, suspended, failed, dead, ...");
    command->add_option("--label", labels, "NAME=TEXT, or NAME for any text; all of them")
        ->type_name("NAME=TEXT");
    command->add_option("--parent", parent, "children of the task with this id");
    command->add_option("--older", older, "of at least this age: 30s, 5m, 2h");
    command->add_flag("--all", all, "all tasks");
  }
  void add_dry_run_to(CLI::App* command) {
    command->add_flag("--dry-run", dry_run, "only count them");
  }

  tusk::Filter filter() const {
    tusk::Filter out{.type = type, .state = state, .all = all};
    for (const std::string& label : labels) {
      const size_t at = label.find('=');
      if (at == std::string::npos) {
        out.labels[label] = std::nullopt;
      } else {
        out.labels[label.substr(0, at)] = label.substr(at + 1);
      }
    }
    if (!parent.empty()) out.parent = parse_id(parent);
    if (!older.empty()) out.min_age = parse_time(older);
    return out;
  }
  void check() const {
    if (any()) return;
    throw std::invalid_argument(
        "which tasks? --type, --state, --label, --parent, --older or --all");
  }
  bool any() const {
    return all ||
           !(type.empty() && state.empty() && parent.empty() && older.empty() && labels.empty());
  }
};

void tasks(const Context& context, const Which& which, size_t most) {
  which.check();
  tusk::Client client = context.connect();
  Json list = Json::array();
  client.tasks(which.filter(), [&](const tusk::TaskStatus& task) {
    Json labels = Json::object();
    std::string shown;
    for (const auto& [name, text] : task.labels) {
      labels[name] = text;
      shown += (shown.empty() ? "" : " ") + name + "=" + text;
    }
    list.push_back({{"id", task.id.hex()},
                    {"type", task.type},
                    {"state", task.state},
                    {"priority", task.priority},
                    {"attempts", task.attempts},
                    {"age", tusk::config::to_text(task.age)},
                    {"worker", task.worker},
                    {"labels", context.json ? labels : Json(shown)}});
    return list.size() < most;
  });
  show(context, list, {"id", "type", "state", "priority", "attempts", "age", "worker", "labels"});
}

// Waits for a job, and says meanwhile how far it is if somebody looks on.
int change(const Context& context, const Which& which, const std::string& what,
           const std::function<tusk::Job(tusk::Client&, const tusk::JobOptions&)>& start) {
  which.check();
  const bool watched = isatty(STDERR_FILENO) && !context.json;
  tusk::Client client = context.connect();
  const tusk::Job job = start(
      client, {.dry_run = which.dry_run, .on_progress = [&](const tusk::Job& j) {
                 if (!watched) return;
                 std::cerr << "\r" << j.looked << " of " << j.total << " looked at" << std::flush;
               }});
  if (watched) std::cerr << '\n';
  if (context.json) {
    std::cout
        << Json{{"matched", job.matched}, {"changed", job.changed}, {"failed", job.failed}}.dump(2)
        << '\n';
  } else if (which.dry_run) {
    std::cout << job.matched << " tasks fit\n";
  } else {
    std::cout << job.changed << " tasks " << what;
    if (job.failed > 0) std::cout << ", " << job.failed << " could not be";
    std::cout << '\n';
  }
  return job.failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"tuskctl: asks a running tuskd"};
  app.set_version_flag("--version", tusk::kServer);
  app.require_subcommand(1);
  app.fallthrough();
  Context context;
  app.add_option("--url", context.url,
                 "where tuskd listens; default $TUSK_URL, else "
                 "tcp://127.0.0.1:7420");
  app.add_flag("--json", context.json, "print JSON");
  app.add_option("--timeout", context.timeout, "seconds to wait for an answer")
      ->check(CLI::PositiveNumber);

  std::function<void()> run;
  int status = 0;
  auto list = [&](const std::string& what, const std::string& help,
                  std::vector<std::string> columns) {
    app.add_subcommand(what, help)->callback([&run, &context, what, columns] {
      run = [&context, what, columns] { query(context, what, {}, columns); };
    });
  };
  list("status", "what the broker holds and every counter", {});
  list("workers", "connected workers",
       {"name", "language", "pool", "pid", "state", "slots", "running", "dispatched", "succeeded",
        "failed", "types", "stages"});
  list("types", "task types and their queues",
       {"name", "pool", "workers", "waiting", "running", "accepted", "succeeded", "failed",
        "cancelled", "dead", "retried", "requeued", "crashed"});
  list("stages", "stages of the pipeline",
       {"name", "handler", "capacity", "waiting", "parked", "running", "pushed", "done", "dropped",
        "dead", "retried", "requeued", "crashed"});
  list("topics", "topics",
       {"name", "subscribers", "published", "refused", "waiting", "missed", "retained"});
  list("jobs", "changes of many tasks, running and done",
       {"job", "what", "state", "dry_run", "total", "looked", "matched", "changed", "failed",
        "age"});

  std::string id, type, body = "null";
  auto* task = app.add_subcommand("task", "the state of one task");
  task->add_option("ID", id, "32 hexadecimal digits")->required();
  task->callback([&] {
    run = [&] {
      const auto bytes = parse_id(id).bytes;
      auto* data = reinterpret_cast<const std::byte*>(bytes.data());
      query(context, "task", tusk::map("id", tusk::Bytes(data, data + bytes.size())), {});
    };
  });
  auto* submitting = app.add_subcommand("submit", "run a task and print its result");
  submitting->add_option("TYPE", type, "the task's type")->required();
  submitting->add_option("JSON", body, "its body; null if left out");
  submitting->callback([&] { run = [&] { submit(context, type, body); }; });
  Which which;
  size_t most = 100;
  auto* listing = app.add_subcommand("tasks", "the tasks that fit");
  which.add_to(listing);
  listing->add_option("--limit", most, "at most so many; 100 if left out")
      ->check(CLI::PositiveNumber);
  listing->callback([&] { run = [&] { tasks(context, which, most); }; });
  auto* cancelling = app.add_subcommand("cancel", "cancel a task, or all that fit");
  cancelling->add_option("ID", id, "32 hexadecimal digits");
  which.add_to(cancelling);
  which.add_dry_run_to(cancelling);
  cancelling->callback([&] {
    run = [&] {
      if (!id.empty() && which.any()) throw std::invalid_argument("either an id or a filter");
      if (!id.empty()) return cancel(context, id);
      status = change(context, which, "cancelled", [&](tusk::Client& client, const auto& options) {
        return client.cancel_all(which.filter(), options);
      });
    };
  });
  auto* retrying = app.add_subcommand(
      "retry", "run all that fit and are delayed now, and those that failed for good once more");
  which.add_to(retrying);
  which.add_dry_run_to(retrying);
  retrying->callback([&] {
    run = [&] {
      status = change(context, which, "retried", [&](tusk::Client& client, const auto& options) {
        return client.retry_all(which.filter(), options);
      });
    };
  });
  int priority = 0;
  auto* moving = app.add_subcommand("reprioritise", "give all that fit and wait another priority");
  moving->add_option("PRIORITY", priority, "-100 to 100; low is -10, high 10, critical 20")
      ->required()
      ->check(CLI::Range(-100, 100));
  which.add_to(moving);
  which.add_dry_run_to(moving);
  moving->callback([&] {
    run = [&] {
      status = change(context, which, "moved", [&](tusk::Client& client, const auto& options) {
        return client.reprioritise_all(which.filter(), priority, options);
      });
    };
  });
  std::string duration, key;
  auto* pausing = app.add_subcommand("pause", "keep a type's tasks from starting for a while");
  pausing->add_option("TYPE", type, "the tasks' type")->required();
  pausing->add_option("DURATION", duration, "500ms, 30s, 5m, 2h, 1d; 0 ends the pause")->required();
  pausing->callback([&] { run = [&] { status = pause(context, type, duration); }; });
  auto* unblocking =
      app.add_subcommand("unblock", "let the next task of a blocked order key begin");
  unblocking->add_option("TYPE", type, "the tasks' type")->required();
  unblocking->add_option("KEY", key, "their order key")->required();
  unblocking->callback([&] { run = [&] { status = unblock(context, type, key); }; });

  CLI11_PARSE(app, argc, argv);
  try {
    run();
    return status;
  } catch (const std::exception& e) {
    std::cerr << "tuskctl: " << e.what() << '\n';
    return 1;
  }
}
