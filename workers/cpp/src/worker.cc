#include "tusk/worker.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "identity.h"
#include "labels.h"
#include "proto/wire.h"
#include "worker_core.h"

namespace tusk {
namespace detail {

WorkerState::WorkerState(WorkerOptions o) : options(std::move(o)) {
  supervised = environment("TUSK_SUPERVISED") == "1";
  // The supervisor's word counts more than the program's, and the program's more than a default.
  const auto text = [&](std::string& given, const char* name, std::string otherwise) {
    const std::string set = environment(name);
    if (!set.empty() && (supervised || given.empty())) given = set;
    if (given.empty()) given = std::move(otherwise);
  };
  text(options.url, "TUSK_URL", kDefaultUrl);
  text(options.name, "TUSK_WORKER", "");
  text(options.pool, "TUSK_POOL", "");
  std::string slots = options.slots > 0 ? std::to_string(options.slots) : "";
  text(slots, "TUSK_SLOTS", "1");
  options.slots = static_cast<unsigned>(std::clamp<long>(std::atol(slots.c_str()), 1, 1'000'000));
  options.labels = worker_labels(environment("TUSK_LABELS"), std::move(options.labels));
  if (options.threads == 0) {
    options.threads = std::min(options.slots, std::max(1u, std::thread::hardware_concurrency()));
  }
  options.threads = std::min(options.threads, options.slots);
}

}  // namespace detail

Worker::Worker(WorkerOptions options)
    : state_(std::make_shared<detail::WorkerState>(std::move(options))) {}
Worker::Worker(Worker&&) noexcept = default;
Worker& Worker::operator=(Worker&&) noexcept = default;
Worker::~Worker() = default;

namespace {

void put_in(detail::WorkerState& state, std::unique_ptr<detail::Entry> entry) {
  if (state.started) throw std::logic_error("handlers are named before run()");
  if (entry->name.empty() || entry->name.size() > proto::kMaxName) {
    throw std::invalid_argument("a handler's name has 1 to 255 bytes");
  }
  auto& all = entry->is_stage ? state.stages : state.tasks;
  entry->notices = &state.notices;
  entry->children = &state.children;
  const std::string name = entry->name;
  if (!all.try_emplace(name, std::move(entry)).second) {
    throw std::invalid_argument("\"" + name + "\" has a handler already");
  }
}

}  // namespace

void Worker::add(bool is_stage, std::string name, bool wants_context, detail::Handler handler) {
  auto entry = std::make_unique<detail::Entry>();
  entry->name = std::move(name);
  entry->is_stage = is_stage;
  entry->wants_context = wants_context;
  entry->handler = std::move(handler);
  put_in(*state_, std::move(entry));
}

void Worker::add(bool is_stage, std::string name, Batch batch, bool wants_context,
                 detail::BatchHandler handler) {
  const std::string of = "the batch of \"" + name + "\" has ";
  if (batch.items < 1 || batch.items > state_->options.slots) {
    throw std::invalid_argument(of + std::to_string(batch.items) +
                                " items, and has to have from 1 to the worker's " +
                                std::to_string(state_->options.slots) +
                                " slots, or it would never be full (WorkerOptions::slots, "
                                "TUSK_SLOTS)");
  }
  if (batch.time.count() < 0) {
    throw std::invalid_argument(of + "a time of " + std::to_string(batch.time.count()) +
                                " ms, and has to have 0 or more");
  }
  auto entry = std::make_unique<detail::Entry>();
  entry->name = std::move(name);
  entry->is_stage = is_stage;
  entry->wants_context = wants_context;
  entry->batch = batch;
  entry->batch_handler = std::move(handler);
  put_in(*state_, std::move(entry));
}

void Worker::run() {
  if (state_->started.exchange(true)) throw std::logic_error("run() may be called once");
  struct End {  // however it ends, nobody waits for it any more
    detail::WorkerState& state;
    ~End() { state.readiness.set(false); }
  } end{*state_};
  detail::WorkerCore(state_).run();
}

bool Worker::wait_until_ready(std::chrono::milliseconds time) {
  return state_->readiness.wait(time);
}

void Worker::stop() {
  state_->stop_requested = true;
  state_->wake->notify();
}

}  // namespace tusk
