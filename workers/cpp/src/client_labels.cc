// Many tasks at once: those that fit a filter.
#include <algorithm>
#include <thread>

#include "labels.h"
#include "terms.h"
#include "told.h"
#include "tusk/client.h"

namespace tusk {
namespace {

using std::chrono::milliseconds;

// The pauses between two looks at a job grow from the one to the other.
constexpr milliseconds kFirstLook{10};
constexpr milliseconds kLastLook{500};

[[noreturn]] void invalid(const std::string& reason) { throw Invalid("invalid", reason); }

Bytes bytes_of(const TaskId& id) {
  return to_bytes({reinterpret_cast<const char*>(id.bytes.data()), id.bytes.size()});
}

Map entries_of(const Filter& filter) {
  Map entries;
  if (!filter.type.empty()) entries["type"] = filter.type;
  if (!filter.state.empty()) entries["state"] = filter.state;
  if (!filter.labels.empty()) {
    Map labels;
    for (const auto& [name, text] : filter.labels) {
      check_label("the filter", name);
      labels[name] = text ? Value(*text) : Value();
    }
    entries["labels"] = std::move(labels);
  }
  if (filter.parent) entries["parent"] = bytes_of(*filter.parent);
  check_duration("the filter's min_age", filter.min_age, milliseconds(0));
  if (filter.min_age.count() > 0) entries["age"] = filter.min_age.count();
  if (filter.all) entries["all"] = true;
  if (entries.empty()) invalid("the filter has no entry; .all = true means all tasks");
  return entries;
}

Job job_of(const Value& told) {
  const auto number = [&told](const char* key) { return told[key].as<std::uint64_t>(); };
  return {.number = number("job"),
          .what = told["what"].text(),
          .state = told["state"].text(),
          .dry_run = told["dry_run"].as<bool>(),
          .total = number("total"),
          .looked = number("looked"),
          .matched = number("matched"),
          .changed = number("changed"),
          .failed = number("failed")};
}

}  // namespace

void Client::tasks(const Filter& filter, const std::function<bool(const TaskStatus&)>& each,
                   unsigned limit) {
  if (limit < 1 || limit > 1000) {
    invalid("limit is " + std::to_string(limit) + ", and has to be from 1 to 1000");
  }
  Map arguments = map("filter", entries_of(filter), "limit", limit);
  for (;;) {
    const Value page = query("tasks", arguments);
    for (const Value& told : page["tasks"].list()) {
      if (!each(status_of(told))) return;
    }
    if (page["next"].is_null()) return;
    arguments["after"] = page["next"];
  }
}

std::vector<TaskStatus> Client::tasks(const Filter& filter) {
  std::vector<TaskStatus> all;
  tasks(
      filter,
      [&all](const TaskStatus& task) {
        all.push_back(task);
        return true;
      },
      1000);
  return all;
}

Job Client::cancel_all(const Filter& filter, const JobOptions& options) {
  return run_job("cancel", {}, filter, options);
}

Job Client::retry_all(const Filter& filter, const JobOptions& options) {
  return run_job("retry", map("id", bytes_of(TaskId::make())), filter, options);
}

Job Client::reprioritise_all(const Filter& filter, Priority priority, const JobOptions& options) {
  check_priority(priority.value());
  return run_job("reprioritise", map("priority", priority.value()), filter, options);
}

std::vector<Job> Client::jobs() {
  const Value told = query("jobs");
  std::vector<Job> jobs;
  for (const Value& job : told.list()) jobs.push_back(job_of(job));
  return jobs;
}

Job Client::run_job(std::string_view what, Map arguments, const Filter& filter,
                    const JobOptions& options) {
  arguments["filter"] = entries_of(filter);
  if (options.dry_run) arguments["dry_run"] = true;
  const auto number = control(what, arguments)["job"].as<std::uint64_t>();
  if (!options.wait) {
    return {.number = number,
            .what = std::string(what),
            .state = "running",
            .dry_run = options.dry_run};
  }
  for (milliseconds pause = kFirstLook;; pause = std::min(2 * pause, kLastLook)) {
    const std::vector<Job> all = jobs();
    const auto job =
        std::find_if(all.begin(), all.end(), [number](const Job& j) { return j.number == number; });
    if (job == all.end()) {
      throw UnknownOutcome(
          "unknown_outcome",
          "the broker at " + url() + " no longer knows job " + std::to_string(number) +
              ": it was restarted, or 64 others were done since; list the tasks to "
              "see what has become of them");
    }
    if (options.on_progress) options.on_progress(*job);
    if (job->state == "done") return *job;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace tusk
