// A client and the broker that a test plays for it.
#pragma once

#include <gtest/gtest.h>

#include "scripted_broker.h"
#include "tusk/client.h"

namespace tusk {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test::body_of;
using test::Json;
using test::ScriptedBroker;
using test::value_of;

struct ClientTest : testing::Test {
  ScriptedBroker broker;
  // Scripts seldom acknowledge their last packet: not worth a wait.
  Client client{{.url = broker.url(), .close_timeout = milliseconds(100)}};

  void meet(Json welcome = Json::object()) {
    broker.hello();
    broker.welcome(std::move(welcome));
  }
  void answer(const Json& submit, int value) {
    broker.send({{"result", submit[1], 1, body_of(value)}});
  }
};

}  // namespace tusk
