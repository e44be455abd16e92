// What events go to: a topic, and what of it waits or is kept.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "daemon/core/body_checker.h"
#include "daemon/core/token_bucket.h"
#include "proto/bytes.h"
#include "proto/writer.h"

namespace tusk::core {

struct Topic;

// An event that is sent later: it waits for a subscriber that is slow, or is its topic's last.
struct HeldEvent {
  Topic* topic = nullptr;  // which goes after all that waits of it
  uint64_t sequence = 0;
  proto::Bytes body;  // or nothing
  proto::Bytes attributes;
  uint32_t attribute_count = 0;

  // What it counts against bounds; not only its bytes take memory.
  size_t bytes() const { return 256 + body.size() + attributes.size(); }
};
using HeldEventPtr = std::shared_ptr<const HeldEvent>;

struct Topic {
  std::string name;
  BodyRule bodies;
  bool retains = false;
  TokenBucket bucket;
  uint64_t sequence = 0;
  std::vector<uint32_t> subscribers;  // sessions
  HeldEventPtr retained;
  proto::Writer edge;  // events for XPUB, gathered
  uint64_t published = 0, missed = 0, refused = 0;
  size_t waiting = 0;  // events, once for each subscriber that they wait for
};

// What a session subscribed to: a topic, or a pattern of them.
struct Subscription {
  std::string pattern;
  bool disconnects = false;  // it ends when it does not keep up; otherwise its oldest events go
};

// An event in the backlog of a session.
struct WaitingEvent {
  HeldEventPtr event;
  bool retained = false;  // it is from before the subscription
};

}  // namespace tusk::core
