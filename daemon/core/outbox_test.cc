// The outbox of a session: packets gather, are kept until acknowledged, and are sent again.
#include <gtest/gtest.h>

#include "daemon/core/session.h"
#include "proto/decoder.h"

namespace tusk::core {
namespace {

using proto::BodyOut;
using proto::Bytes;

struct Sent {
  uint64_t seq, ack;
  std::string records;  // without the header
  std::vector<const char*> bodies;
};

class OutboxTest : public ::testing::Test {
 protected:
  void open(bool keeps, proto::Limits limits = {}) { out_.open(77, keeps, limits); }

  void ping(uint64_t token) { out_.writer(16).ping(token); }

  std::vector<Sent> flush(uint64_t ack = 0) {
    std::vector<Sent> sent;
    out_.flush(ack, [&](const SentPacket& packet) {
      std::string_view records = packet.records.view();
      uint64_t seq = 0, said = 0;
      proto::Decoder decoder;
      auto decoded = decoder.decode(records, packet.bodies.size());
      EXPECT_TRUE(decoded.ok()) << decoded.malformed.why;
      if (decoded.records[0].kind == proto::Kind::kHeader) {
        EXPECT_EQ(decoded.records[0].ref, 77u);
        seq = decoded.records[0].seq;
        said = decoded.records[0].ack;
        records.remove_prefix(proto::Writer::kHeaderSize);
      }
      sent.push_back({seq, said, std::string(records), {}});
      for (const Bytes& body : packet.bodies) sent.back().bodies.push_back(body.data());
      held_.push_back(packet.records);
    });
    return sent;
  }

  Outbox out_;
  std::vector<Bytes> held_;  // as a socket holds what it was given
};

TEST_F(OutboxTest, GathersRecordsInOnePacketWithAHeader) {
  open(true);
  ping(1);
  ping(2);
  EXPECT_FALSE(out_.idle());
  auto sent = flush(5);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].seq, 1u);
  EXPECT_EQ(sent[0].ack, 5u);
  EXPECT_TRUE(out_.idle());
  EXPECT_TRUE(flush().empty());
}

TEST_F(OutboxTest, KeepsPacketsUntilTheyAreAcknowledged) {
  open(true);
  ping(1);
  flush();
  ping(2);
  flush();
  EXPECT_GT(out_.bytes(), 0u);
  out_.acknowledge(1);
  out_.resend();
  auto again = flush();
  ASSERT_EQ(again.size(), 1u);
  EXPECT_EQ(again[0].seq, 2u);
  out_.acknowledge(2);
  EXPECT_EQ(out_.bytes(), 0u);
  out_.resend();
  EXPECT_TRUE(flush().empty());
}

TEST_F(OutboxTest, SendsAgainUnchangedInOrderWithTheNewestAcknowledgement) {
  open(true);
  const Bytes large = Bytes::copy(std::string(proto::kFrameBody, 'x'));
  out_.writer(100).event(1, "a", BodyOut::shared(large), {});
  auto first = flush(3);
  ping(2);
  auto second = flush(4);
  const std::string before(held_[0].view());
  out_.resend();
  ping(3);
  auto again = flush(9);
  ASSERT_EQ(again.size(), 3u);
  EXPECT_EQ(again[0].records, first[0].records);
  EXPECT_EQ(again[0].bodies, first[0].bodies);  // the same memory, not a copy
  EXPECT_EQ(again[1].records, second[0].records);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(again[i].seq, i + 1);
    EXPECT_EQ(again[i].ack, 9u);
  }
  EXPECT_EQ(held_[0].view(), before) << "the first copy may still be on its way";
}

TEST_F(OutboxTest, BeginsANewPacketAtEachLimit) {
  open(true, {.frame = 100, .records = 3, .frames = 2});
  for (uint64_t i = 0; i < 4; ++i) ping(i);
  EXPECT_EQ(flush().size(), 2u) << "records";

  const Bytes large = Bytes::copy(std::string(proto::kFrameBody, 'x'));
  for (uint64_t i = 0; i < 3; ++i) out_.writer(20).event(1, "a", BodyOut::shared(large), {});
  auto sent = flush();
  ASSERT_EQ(sent.size(), 2u) << "frames";
  EXPECT_EQ(sent[0].bodies.size(), 2u);
  EXPECT_EQ(sent[1].bodies.size(), 1u);

  ping(1);
  out_.writer(80).error(0, "invalid", std::string(60, 'x'));
  EXPECT_EQ(flush().size(), 2u) << "frame";
}

TEST_F(OutboxTest, NextPacketIsTheOneThatTheLastRecordWentInto) {
  open(true, {.records = 2});
  for (uint64_t i = 1; i <= 5; ++i) {
    ping(i);
    EXPECT_EQ(out_.next_packet(), (i + 1) / 2);
  }
  auto sent = flush();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(out_.last_seq(), 3u);
}

TEST_F(OutboxTest, IgnoresTheAcknowledgementOfWhatWasNeverSent) {
  open(true);
  ping(1);
  out_.close();
  out_.acknowledge(99);
  auto sent = flush();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].seq, 1u);
}

TEST_F(OutboxTest, KeepsNothingForAPeerThatDoesNotAcknowledge) {
  open(false);
  ping(1);
  auto sent = flush();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].seq, 0u);
  EXPECT_EQ(out_.bytes(), 0u);
  out_.resend();
  EXPECT_TRUE(flush().empty());
}

TEST_F(OutboxTest, CountsTheBytesOfRecordsAndBodies) {
  open(true);
  const Bytes large = Bytes::copy(std::string(100'000, 'x'));
  out_.writer(100).event(1, "a", BodyOut::shared(large), {});
  EXPECT_GT(out_.bytes(), 100'000u) << "what is still being written counts, too";
  EXPECT_LT(out_.bytes(), 100'100u);
  out_.close();
  EXPECT_GT(out_.bytes(), 100'000u);
  EXPECT_LT(out_.bytes(), 100'100u);
}

}  // namespace
}  // namespace tusk::core
