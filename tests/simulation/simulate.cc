// simulate: histories of a broker with an adversary, judged by a model.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include "tests/simulation/adversary.h"
#include "tests/simulation/faults.h"
#include "tests/simulation/run.h"

namespace tusk::simulation {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  uint64_t seed = 0, seed_from = 1, histories = 0;
  double seconds = 0;
  std::string history, save;
  std::string fault;
  bool list_faults = false, all_faults = false, crash_counts = false;
  int at_least = 100;
  bool coverage = false, shrinks = true, quiet = false, keep_going = false;
};

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void print_coverage(const Coverage& coverage) {
  for (size_t i = 0; i < kRules; ++i) {
    const Rule rule = static_cast<Rule>(i);
    std::printf("%12llu  %-18s %s\n", static_cast<unsigned long long>(coverage[i]),
                std::string(rule_name(rule)).c_str(), std::string(rule_text(rule)).c_str());
  }
}

void save(const History& history, const std::string& path) {
  std::ofstream(path) << to_text(history);
}

// Shrinks, prints what is left, saves it.
void report(const History& history, const Broken& broken, const Options& options) {
  std::printf("seed %llu breaks %s: %s\n  %s\n", static_cast<unsigned long long>(history.seed),
              std::string(rule_name(broken.rule)).c_str(),
              std::string(rule_text(broken.rule)).c_str(), broken.what.c_str());
  History shortest = history;
  if (options.shrinks) shortest = shrink(history, broken.rule);
  if (!options.save.empty()) save(shortest, options.save);
  if (options.quiet) return;
  std::string trace;
  Coverage ignored{};
  const Outcome outcome = run(shortest, ignored, &trace);
  std::printf("\n%zu decisions are left of %zu:\n\n%s\n%s\n", shortest.decisions.size(),
              history.decisions.size(), to_text(shortest).c_str(), trace.c_str());
  if (outcome.broken) std::printf("%s\n", outcome.broken->what.c_str());
}

int replay(const History& history, const Options& options) {
  std::string trace;
  Coverage coverage{};
  if (!options.save.empty()) save(history, options.save);
  const Outcome outcome = run(history, coverage, &trace);
  std::fputs(trace.c_str(), stdout);
  if (options.coverage) print_coverage(coverage);
  if (!outcome.broken) {
    std::printf("every promise was kept: %zu decisions, %llu steps\n", history.decisions.size(),
                static_cast<unsigned long long>(outcome.steps));
    return 0;
  }
  std::printf("\nbroken after decision %zu: %s\n  %s\n", outcome.at,
              std::string(rule_text(outcome.broken->rule)).c_str(), outcome.broken->what.c_str());
  return 1;
}

int list_faults() {
  for (const Fault& fault : all_faults()) {
    std::printf("%-24s %-24s %s\n", fault.name, fault.where, fault.says);
  }
  return 0;
}

// Chooses the fault of this name; false if there is none.
bool choose_fault(const std::string& name) {
  int number = 0;
  for (const Fault& fault : all_faults()) {
    ++number;
    if (fault.name == name) tusk_fault = number;
  }
  if (tusk_fault == 0) {
    std::fprintf(stderr, "simulate: no fault %s; --faults lists those of this binary\n",
                 name.c_str());
  }
  return tusk_fault != 0;
}

int search(const Options& options) {
  Coverage coverage{};
  const Clock::time_point start = Clock::now();
  uint64_t done = 0, steps = 0, failed = 0;
  for (uint64_t seed = options.seed_from;; ++seed) {
    if (options.histories ? done >= options.histories : since(start) >= options.seconds) break;
    const History history = draw_history(seed);
    const Outcome outcome = run(history, coverage);
    ++done;
    steps += outcome.steps;
    if (!outcome.broken) continue;
    ++failed;
    report(history, *outcome.broken, options);
    if (!options.keep_going) return 1;
  }
  if (failed > 0) {
    std::printf("%llu of %llu histories break a promise\n", static_cast<unsigned long long>(failed),
                static_cast<unsigned long long>(done));
    return 1;
  }
  const double took = since(start);
  std::printf(
      "%llu histories, %llu steps in %.1f s (%.0f histories/s, %.0f steps/s): every "
      "promise was kept\n",
      static_cast<unsigned long long>(done), static_cast<unsigned long long>(steps), took,
      static_cast<double>(done) / took, static_cast<double>(steps) / took);
  if (options.coverage) print_coverage(coverage);
  return 0;
}

}  // namespace
}  // namespace tusk::simulation

int main(int argc, char** argv) {
  using namespace tusk::simulation;
  Options options;
  CLI::App app("Histories of a broker with an adversary, judged by a model.");
  auto* seed = app.add_option("--seed", options.seed, "replay the history of this seed");
  app.add_option("--history", options.history, "replay a saved history");
  app.add_option("--histories", options.histories, "run so many");
  app.add_option("--seconds", options.seconds, "run for so long")->default_val(10);
  app.add_option("--seed-from", options.seed_from, "the first seed")->default_val(1);
  app.add_option("--save", options.save, "save the history (shortened, if it fails) here");
  app.add_flag("--coverage", options.coverage, "how often each promise was checked");
  app.add_flag("!--no-shrink", options.shrinks, "do not shorten a history that fails");
  app.add_flag("--quiet", options.quiet, "only one line of a history that fails");
  app.add_flag("--keep-going", options.keep_going, "do not stop at the first that fails");
  app.add_option("--fault", options.fault, "put this fault into the core");
  app.add_flag("--faults", options.list_faults, "list the faults that this binary has");
  app.add_flag("--fault-all", options.all_faults,
               "try each fault for --seconds or --histories; fails if one is not found");
  app.add_option("--at-least", options.at_least, "percent of the faults that must be found")
      ->default_val(100);
  app.add_flag("--crash-counts", options.crash_counts, "a crash or a hang is a find too");
  CLI11_PARSE(app, argc, argv);
  if (options.list_faults) return list_faults();
  if (options.all_faults) {
    return try_faults({.seed_from = options.seed_from,
                       .histories = options.histories ? options.histories : UINT64_MAX,
                       .seconds = options.seconds,
                       .crash_counts = options.crash_counts,
                       .at_least = options.at_least})
               ? 0
               : 1;
  }
  if (!options.fault.empty() && !choose_fault(options.fault)) return 2;
  if (!options.history.empty()) {
    std::ifstream file(options.history);
    std::ostringstream text;
    text << file.rdbuf();
    std::string why = "the file cannot be read";
    const auto history = file ? parse_history(text.str(), why) : std::nullopt;
    if (!history) {
      std::cerr << "simulate: " << options.history << ": " << why << "\n";
      return 2;
    }
    return replay(*history, options);
  }
  if (*seed) return replay(draw_history(options.seed), options);
  return search(options);
}
