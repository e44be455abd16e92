#include "proto/decoder.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

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

// The same packet with the head of its only record in a longer form, which no plain record has.
std::string widened(std::string_view packet) {
  std::string out{'\xDC', '\0', static_cast<char>(packet[0] & 0x0F)};
  return out.append(packet.substr(1));
}

// What a decoder makes of a packet of one record, in words that can be compared.
std::string reading(Decoder& decoder, std::string_view packet) {
  const Decoded decoded = decoder.decode(packet, 2);
  if (!decoded.ok()) return "malformed: " + std::string(decoded.malformed.why);
  const Record& r = decoded.records[0];
  std::string out;
  for (uint64_t number :
       {uint64_t(r.kind), r.unknown_kind, r.ref, uint64_t(r.attempt), uint64_t(r.state),
        r.fault_number, uint64_t(r.body.where), uint64_t(r.body.frame), r.attributes.all.size()}) {
    out += std::to_string(number) + " ";
  }
  if (r.has_id()) out += r.id().hex();
  out.append(r.name).append(" ").append(r.fault).append(" ");
  return out.append(r.body.inline_bytes);
}

TEST(Decoder, ReadsPlainRecordsAsItReadsTheOthers) {
  constexpr uint64_t kNumbers[] = {0,     127,   128,        255,        256,
                                   65535, 65536, 4294967295, 4294967296, kMaxInteger};
  std::vector<std::string> packets;
  auto add = [&](auto write) {
    Writer out;
    write(out);
    packets.emplace_back(out.records().view());
  };
  for (size_t size : {0, 1, 255, 256, 65535, 65536}) {
    const std::string bytes(size, 'x');
    const BodyOut body = size % 2 ? BodyOut::copied(bytes) : BodyOut::none();
    const std::string name(std::min<size_t>(size, kMaxName + 1), 'n');
    for (uint64_t n : kNumbers) {
      add([&](Writer& w) { w.submit(n, some_id(), "add", body, {}); });
      add([&](Writer& w) { w.push(n, some_id(), name, BodyOut::copied(bytes), {}); });
      add([&](Writer& w) { w.task(Kind::kTask, n, some_id(), name, 7, body, {}); });
      add([&](Writer& w) {
        w.task(Kind::kItem, 7, some_id(), "add", uint32_t(n), BodyOut::copied(bytes), {});
      });
      add([&](Writer& w) { w.result(n, State::kDead, BodyOut::copied(bytes), {}); });
    }
  }
  Decoder decoder;
  for (const std::string& packet : packets) {
    const std::string want = reading(decoder, widened(packet));
    EXPECT_EQ(reading(decoder, packet), want);
    if (packet.size() > 200) continue;
    for (size_t cut = 1; cut < packet.size(); ++cut) {
      const std::string part = packet.substr(0, cut);
      EXPECT_EQ(reading(decoder, part), reading(decoder, widened(part))) << cut;
    }
    // Another byte at each place: other types, sizes, states, text that is none.
    for (size_t at = 1; at < packet.size(); ++at) {
      for (int byte : {0x00, 0x01, 0x1F, 0x80, 0x95, 0xA0, 0xC0, 0xC1, 0xC4, 0xC6, 0xCC, 0xCF, 0xD9,
                       0xDA, 0xE0, 0xFF}) {
        std::string other = packet;
        other[at] = static_cast<char>(byte);
        ASSERT_EQ(reading(decoder, other), reading(decoder, widened(other))) << at << " " << byte;
      }
    }
  }
}

TEST(IsUtf8, LooksAtEveryByteOfAsciiText) {
  for (size_t size = 0; size < 70; ++size) {
    const std::string text(size, 'a');
    EXPECT_TRUE(is_utf8(text)) << size;
    for (size_t at = 0; at < size; ++at) {
      std::string bad = text;
      bad[at] = '\x80';
      EXPECT_FALSE(is_utf8(bad)) << size << " " << at;
    }
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
