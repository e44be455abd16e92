#include "proto/decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "proto/writer.h"

// Counts every allocation of this program through operator new, to show that there is none.
namespace {
std::atomic<size_t> allocations{0};
}  // namespace

// Not inlined: GCC takes the pair of an inlined one and a called one for a mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size ? size : 1)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace tusk::proto {
namespace {

TaskId some_id(uint64_t n = 1) { return TaskId::make_v7(1'700'000'000'000 + n, n, ~n); }

TEST(Decoder, ReadsEveryFieldOfASubmit) {
  AttributeWriter attributes;
  attributes.number(Attribute::kReply, 2);
  attributes.flag(Attribute::kResent);
  attributes.number(Attribute::kWait, 1500);
  attributes.text(Attribute::kTrace, "00-ab");
  Writer out;
  out.submit(7, some_id(), "add", BodyOut::copied("\x01"), attributes);

  Decoder decoder;
  Decoded packet = decoder.decode(out.records().view(), 0);
  ASSERT_TRUE(packet.ok());
  ASSERT_EQ(packet.records.size(), 1u);
  const Record& r = packet.records[0];
  EXPECT_EQ(r.kind, Kind::kSubmit);
  EXPECT_EQ(r.ref, 7u);
  EXPECT_EQ(r.id(), some_id());
  EXPECT_EQ(r.name, "add");
  EXPECT_EQ(r.body.where, BodyRef::Where::kInline);
  EXPECT_EQ(r.body.inline_bytes, "\x01");
  EXPECT_EQ(r.attributes.reply, Reply::kBoth);
  EXPECT_TRUE(r.attributes.resent);
  EXPECT_FALSE(r.attributes.rerun_ok);
  EXPECT_EQ(r.attributes.wait, 1500u);
  EXPECT_EQ(r.attributes.all.size(), 4u);
}

TEST(Decoder, AllocatesNothingOnceItsScratchHasGrown) {
  AttributeWriter attributes;
  attributes.number(Attribute::kReply, 0);
  attributes.text(Attribute::kTrace, "00-ab");
  Writer out;
  Bytes large = Bytes::copy(std::string(kFrameBody, 'x'));
  for (uint64_t n = 1; n <= 500; ++n) {
    out.submit(n, some_id(n), "add", BodyOut::copied("\x82\xA1\x61\x01\xA1\x62\x02"), attributes);
    out.result(n, State::kSucceeded, BodyOut::copied("\x03"), {});
    if (n % 100 == 0) out.push(n, some_id(n), "clean", BodyOut::shared(large), {});
  }
  Decoder decoder;
  ASSERT_TRUE(decoder.decode(out.records().view(), out.frames().size()).ok());
  size_t before = allocations;
  for (int i = 0; i < 10; ++i) {
    Decoded packet = decoder.decode(out.records().view(), out.frames().size());
    ASSERT_TRUE(packet.ok());
    ASSERT_EQ(packet.records.size(), 1005u);
  }
  EXPECT_EQ(allocations, before);
}

TEST(Decoder, RefusesAPacketThatIsCutAnywhere) {
  Writer out;
  out.submit(7, some_id(), "add", BodyOut::copied("body"), {});
  std::string_view whole = out.records().view();
  Decoder decoder;
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own, so that a sanitizer sees a read behind the end.
    std::string cut(whole.substr(0, size));
    EXPECT_FALSE(decoder.decode(cut, 0).ok()) << size;
  }
  EXPECT_TRUE(decoder.decode(whole, 0).ok());
}

TEST(Decoder, IsAsGoodAsNewAfterRubbish) {
  Writer out;
  out.ping(1);
  Decoder decoder;
  for (std::string_view rubbish :
       {"\xC1", "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x01", "\xDD\xFF", "\x92\x03", "\xA1x"}) {
    EXPECT_FALSE(decoder.decode(rubbish, 0).ok());
    Decoded packet = decoder.decode(out.records().view(), 0);
    ASSERT_TRUE(packet.ok());
    EXPECT_EQ(packet.records.size(), 1u);
  }
}

TEST(Decoder, BodyFramesAreNamedExactlyOnce) {
  Writer out;
  Bytes large = Bytes::copy(std::string(kFrameBody, 'x'));
  out.submit(1, some_id(1), "a", BodyOut::shared(large), {});
  out.submit(2, some_id(2), "a", BodyOut::shared(large), {});
  Decoder decoder;
  Decoded packet = decoder.decode(out.records().view(), 2);
  ASSERT_TRUE(packet.ok());
  EXPECT_EQ(packet.records[0].body.frame, 1u);
  EXPECT_EQ(packet.records[1].body.frame, 2u);
  EXPECT_FALSE(decoder.decode(out.records().view(), 1).ok());
  EXPECT_FALSE(decoder.decode(out.records().view(), 3).ok());
}

TEST(Decoder, AFaultIsOfOneRecordAlone) {
  AttributeWriter unknown;
  unknown.number(static_cast<Attribute>(999), 1);
  Writer out;
  out.submit(1, some_id(1), "a", BodyOut::none(), {});
  out.submit(2, some_id(2), "a", BodyOut::none(), unknown);
  out.submit(3, some_id(3), std::string(256, 'n'), BodyOut::none(), {});
  Decoder decoder;
  Decoded packet = decoder.decode(out.records().view(), 0);
  ASSERT_TRUE(packet.ok());
  EXPECT_EQ(packet.records[0].fault, "");
  EXPECT_EQ(packet.records[1].fault, code::kUnsupported);
  EXPECT_EQ(packet.records[1].fault_number, 999u);
  EXPECT_EQ(packet.records[2].fault, code::kTooLarge);
}

TEST(Decoder, ValuesAreFoundByKey) {
  Writer out;
  out.start(Kind::kAnswer, 3).pack_uint64(5);
  out.packer().pack_map(2);
  out.text("state");
  out.text("running");
  out.text("list");
  out.packer().pack_array(2).pack_uint64(1).pack_uint64(2);
  Decoder decoder;
  Decoded packet = decoder.decode(out.records().view(), 0);
  ASSERT_TRUE(packet.ok());
  Value map = packet.records[0].value;
  EXPECT_EQ(map.get("state").text(), "running");
  EXPECT_EQ(map.get("list").size(), 2u);
  EXPECT_FALSE(map.get("missing"));
  EXPECT_FALSE(map.get("missing").get("deeper").number());
}

TEST(Decoder, TextThatIsNotUtf8IsRefusedWhereverItStands) {
  Decoder decoder;
  for (std::string_view packet : {"\x93\x01\x01\x81\xA1\xFF\x01",       // a key of hello
                                  "\x93\x01\x01\x81\xA1x\x91\xA1\xC3",  // deep in a value
                                  "\x92\x06\xA1\xFF"}) {
    EXPECT_FALSE(decoder.decode(packet, 0).ok());
  }
}

TEST(IsUtf8, RefusesWhatRfc3629Refuses) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\x98"));
  EXPECT_TRUE(is_utf8("\xF4\x8F\xBF\xBF"));
  for (const char* bad :
       {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF0\x80\x80\xAF",
        "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xFF", "a\xE2\x82", "\xC3\x28"}) {
    EXPECT_FALSE(is_utf8(bad)) << bad;
  }
}

}  // namespace
}  // namespace tusk::proto
