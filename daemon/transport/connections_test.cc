#include "daemon/transport/connections.h"

#include <gtest/gtest.h>

#include <string>

namespace tusk::transport {
namespace {

std::string routing_id(uint32_t number) {
  std::string id(5, '\0');
  for (int i = 0; i < 4; ++i) id[1 + i] = static_cast<char>(number >> (24 - 8 * i));
  return id;
}

TEST(Connections, AreFoundByTheirRoutingIdAndGiveItBack) {
  Connections connections;
  EXPECT_FALSE(connections.find(routing_id(0x01FF80FE)));
  const core::ConnectionId id = connections.add(routing_id(0x01FF80FE), 7);
  EXPECT_EQ(connections.find(routing_id(0x01FF80FE)), id);
  EXPECT_FALSE(connections.find(routing_id(0x01FF80FF)));
  EXPECT_TRUE(connections.is_open(id));
  EXPECT_FALSE(connections.is_open(id + 1));
  char out[5];
  connections.routing_id(id, out);
  EXPECT_EQ(std::string(out, 5), routing_id(0x01FF80FE));
  EXPECT_EQ(connections.size(), 1u);
}

TEST(Connections, OnlyRoutingIdsOfLibzmqsOwnMakingAreTaken) {
  EXPECT_TRUE(Connections::is_own(routing_id(1)));
  EXPECT_FALSE(Connections::is_own("mine!"));
  EXPECT_FALSE(Connections::is_own(std::string(4, '\0')));
  EXPECT_FALSE(Connections::is_own(std::string(6, '\0')));
  EXPECT_FALSE(Connections::is_own(""));
}

TEST(Connections, ANumberIsUsedAgainOnlyAfterItsRemoval) {
  Connections connections;
  const core::ConnectionId first = connections.add(routing_id(1), 7);
  EXPECT_EQ(connections.descriptor_closed(7), first);
  EXPECT_NE(connections.add(routing_id(2), 8), first) << "its end is not applied yet";
  EXPECT_EQ(connections.find(routing_id(1)), first) << "its last packets may still come";
  connections.remove(first);
  EXPECT_FALSE(connections.find(routing_id(1)));
  EXPECT_FALSE(connections.is_open(first));
  EXPECT_EQ(connections.add(routing_id(3), 9), first);
  EXPECT_EQ(connections.size(), 2u);
}

// libzmq tells of a connection's end by its descriptor, which the next one may have got at once.
TEST(Connections, ADescriptorThatIsUsedAgainIsNeverTakenForItsFormerOwner) {
  Connections connections;
  const core::ConnectionId old = connections.add(routing_id(1), 7);
  EXPECT_EQ(connections.descriptor_closed(7), old);
  EXPECT_FALSE(connections.descriptor_closed(7)) << "once";
  const core::ConnectionId fresh = connections.add(routing_id(2), 7);
  connections.remove(old);
  EXPECT_EQ(connections.descriptor_closed(7), fresh);
}

TEST(Connections, WhatNeverSentAnythingOrHasNoDescriptorEndsWithoutANumber) {
  Connections connections;
  EXPECT_FALSE(connections.descriptor_closed(3));
  const core::ConnectionId id = connections.add(routing_id(1), -1);
  EXPECT_FALSE(connections.descriptor_closed(-1));
  connections.remove(id);
  connections.remove(id);  // again: nothing to do
  EXPECT_NE(connections.add(routing_id(2), 1), connections.add(routing_id(3), 2));
}

}  // namespace
}  // namespace tusk::transport
