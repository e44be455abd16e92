#include "proto/writer.h"

#include <gtest/gtest.h>

#include <thread>

namespace tusk::proto {
namespace {

const TaskId kId = TaskId::make_v7(1'700'000'000'000, 1, 2);

TEST(Writer, CountsItsRecordsAndFrames) {
  Writer out;
  EXPECT_TRUE(out.empty());
  out.ping(1);
  Bytes large = Bytes::copy(std::string(kFrameBody, 'x'));
  out.submit(1, kId, "a", BodyOut::shared(large), {});
  EXPECT_EQ(out.count(), 2u);
  ASSERT_EQ(out.frames().size(), 1u);
  EXPECT_EQ(out.frame_bytes(), kFrameBody);
  EXPECT_EQ(out.frames()[0].data(), large.data()) << "a large body is not copied";
  out.clear();
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(out.frames().size(), 0u);
  EXPECT_EQ(out.frame_bytes(), 0u);
  EXPECT_EQ(out.records().size(), 0u);
}

TEST(Writer, SmallBodiesAreCopiedIntoTheRecords) {
  Writer out;
  out.submit(1, kId, "a", BodyOut::shared(Bytes::copy(std::string(kFrameBody - 1, 'x'))), {});
  EXPECT_TRUE(out.frames().empty());
  EXPECT_GT(out.records().size(), kFrameBody - 1);
}

TEST(Writer, AReservedHeaderIsFilledInPlace) {
  Writer out;
  out.reserve_header();
  out.ping(9);
  EXPECT_EQ(out.count(), 1u) << "the header is not counted";
  Writer::fill_header(out.records().data(), 5, 6, 7);
  Decoder decoder;
  Decoded packet = decoder.decode(out.records().view(), 0);
  ASSERT_TRUE(packet.ok());
  ASSERT_EQ(packet.records.size(), 2u);
  EXPECT_EQ(packet.records[0].ref, 5u);
  EXPECT_EQ(packet.records[0].seq, 6u);
  EXPECT_EQ(packet.records[0].ack, 7u);
  EXPECT_EQ(packet.records[1].ref, 9u);
}

TEST(AttributeWriter, PassesOnCodecCompressionAndEvenKeysOnly) {
  AttributeWriter in;
  in.number(Attribute::kReply, 1);
  in.number(Attribute::kCodec, 2);
  in.number(Attribute::kCompression, 1);
  in.flag(Attribute::kResent);
  in.text(Attribute::kTrace, "00-ab");
  in.number(static_cast<Attribute>(1000), 5);
  Writer out;
  out.submit(1, kId, "a", BodyOut::none(), in);
  Decoder decoder;
  Decoded packet = decoder.decode(out.records().view(), 0);
  ASSERT_TRUE(packet.ok());

  AttributeWriter forwarded;
  forwarded.forward(packet.records[0].attributes.all);
  EXPECT_EQ(forwarded.count(), 4u);
  Writer again;
  again.task(Kind::kTask, 1, kId, "a", 1, BodyOut::none(), forwarded);
  Decoder second;
  Decoded task = second.decode(again.records().view(), 0);
  ASSERT_TRUE(task.ok());
  const Record& r = task.records[0];
  EXPECT_EQ(r.fault, "");
  EXPECT_EQ(r.attributes.codec, 2u);
  EXPECT_EQ(r.attributes.compression, Compression::kLz4);
  EXPECT_FALSE(r.attributes.resent);
  EXPECT_EQ(r.attributes.reply, Reply::kResult);
}

TEST(AttributeWriter, AnErrorIsAMapOfText) {
  AttributeWriter with_stack, without;
  with_stack.error("Boom", "it broke", "cpp", "main()");
  without.error("Boom", "it broke", "cpp");
  for (bool has_stack : {true, false}) {
    Writer out;
    out.result(1, State::kFailed, BodyOut::none(), has_stack ? with_stack : without);
    Decoder decoder;
    Decoded packet = decoder.decode(out.records().view(), 0);
    ASSERT_TRUE(packet.ok());
    const Token* map = packet.records[0].attributes.all.token();
    Value error(map + 2);  // behind the map and its only key
    EXPECT_EQ(error.get("type").text(), "Boom");
    EXPECT_EQ(error.get("message").text(), "it broke");
    EXPECT_EQ(error.get("language").text(), "cpp");
    EXPECT_EQ(error.get("stack").text().has_value(), has_stack);
  }
}

TEST(OneBuffer, SplitsIntoTheFramesItWasMadeOf) {
  std::string buffer;
  append_frame(buffer, "records");
  append_frame(buffer, "");
  append_frame(buffer, std::string(300, 'b'));
  std::vector<std::string_view> frames;
  ASSERT_TRUE(split_frames(buffer, frames));
  ASSERT_EQ(frames.size(), 3u);
  EXPECT_EQ(frames[0], "records");
  EXPECT_EQ(frames[1], "");
  EXPECT_EQ(frames[2], std::string(300, 'b'));
  for (size_t cut : {1, 3, 5, 10, 14, 18}) {
    EXPECT_FALSE(split_frames(std::string_view(buffer).substr(0, cut), frames)) << cut;
  }
}

TEST(Bytes, AreFreedByTheLastHolderOnWhateverThread) {
  int released = 0;
  {
    Bytes first = Bytes::adopt(
        "abc", 3, [](void* owner) { ++*static_cast<int*>(owner); }, &released);
    void* share = first.share();
    std::thread([held = first] { EXPECT_EQ(held.view(), "abc"); }).join();
    first = Bytes();
    EXPECT_EQ(released, 0);
    Bytes::drop_share(share);
    EXPECT_EQ(released, 1);
  }
  EXPECT_EQ(released, 1);
}

TEST(Bytes, OfNoLengthAreStillBytes) {
  EXPECT_FALSE(Bytes());
  EXPECT_TRUE(Bytes::copy(""));
  EXPECT_EQ(Bytes::copy("").size(), 0u);
}

TEST(TaskId, CarriesItsTimeAndReadsItsOwnText) {
  TaskId id = TaskId::make_v7(1'700'000'000'123, 0x1234, 0x5678);
  EXPECT_EQ(id.unix_ms(), 1'700'000'000'123u);
  EXPECT_EQ(id.bytes[6] >> 4, 7);
  EXPECT_EQ(id.bytes[8] >> 6, 2);
  EXPECT_EQ(TaskId::parse(id.hex()), id);
  EXPECT_EQ(TaskId::parse("0190163d-8694-739b-b5fe-2e9f3a0a0d5e")->hex(),
            "0190163d8694739bb5fe2e9f3a0a0d5e");
  for (const char* bad :
       {"", "12", "g190163d8694739bb5fe2e9f3a0a0d5e", "0190163d8694739bb5fe2e9f3a0a0d5e0"}) {
    EXPECT_FALSE(TaskId::parse(bad)) << bad;
  }
}

}  // namespace
}  // namespace tusk::proto
