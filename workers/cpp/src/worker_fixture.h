// A worker and the broker that a test plays for it.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "scripted_broker.h"
#include "tusk/worker.h"

namespace tusk {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::body_of;
using test::Json;
using test::ScriptedBroker;
using test::value_of;

struct Add {
  int a = 0, b = 0;
  TUSK_FIELDS(a, b);
};

// A door that a handler waits at until the test opens it.
struct Door {
  std::promise<void> opened;
  std::shared_future<void> open = opened.get_future().share();
  std::atomic<int> waiting{0};
  void wait() {
    ++waiting;
    open.wait();
  }
};

inline std::string hex_id(unsigned n) {
  char text[33];
  std::snprintf(text, sizeof text, "018f3c2a7b1e70008000%012x", n);
  return text;
}

inline Json task(std::uint64_t handle, const char* type, const Json& body, unsigned attempt = 1,
                 const Json& attributes = nullptr, const char* kind = "task") {
  Json record{kind, handle, {{"hex", hex_id(static_cast<unsigned>(handle))}}, type, attempt, body};
  if (!attributes.is_null()) record.push_back(attributes);
  return record;
}
inline Json item(std::uint64_t handle, const char* handler, const Json& body,
                 unsigned attempt = 1) {
  return task(handle, handler, body, attempt, nullptr, "item");
}

struct WorkerTest : testing::Test {
  Door door;  // outlives the handlers that wait at it
  ScriptedBroker broker;
  std::unique_ptr<Worker> worker;
  std::thread thread;
  std::promise<void> ended;
  std::future<void> end = ended.get_future();
  std::atomic<bool> is_over = false;

  void make(unsigned slots = 8, unsigned threads = 2, milliseconds stop = milliseconds(200)) {
    worker = std::make_unique<Worker>(WorkerOptions{
        .url = broker.url(), .slots = slots, .threads = threads, .stop_timeout = stop});
    worker->task("add", [](const Add& in) { return in.a + in.b; });
  }
  void start() {
    thread = std::thread([this] {
      try {
        worker->run();
        ended.set_value();
      } catch (...) {
        ended.set_exception(std::current_exception());
      }
      is_over = true;
    });
  }
  void meet(Json welcome = Json::object()) {
    broker.hello();
    broker.welcome(std::move(welcome));
  }
  void TearDown() override {
    if (!thread.joinable()) return;
    worker->stop();
    // It waits for the acknowledgement of what it sent last, and scripts seldom give that.
    while (!is_over) broker.acknowledge_for(milliseconds(5));
    thread.join();
  }
};

inline const Json kAdd = body_of(map("a", 1, "b", 2));

}  // namespace tusk
