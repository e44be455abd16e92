#include "tests/simulation/wish.h"

namespace tusk::simulation {

using proto::Attribute;
using proto::AttributeWriter;

namespace {

// Numbers out of one number (Knuth's linear congruential generator for MMIX).
class Draw {
 public:
  explicit Draw(uint64_t number) : state_(number) {}
  uint32_t below(uint32_t n) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 33) % n;
  }
  bool one_in(uint32_t n) { return below(n) == 0; }

 private:
  uint64_t state_;
};

void write_texts(proto::Packer& p, std::initializer_list<const char*> texts) {
  p.pack_array(static_cast<uint32_t>(texts.size()));
  for (std::string_view text : texts) {
    p.pack_str(static_cast<uint32_t>(text.size()));
    p.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
  }
}

void write_times(AttributeWriter& out, Draw& draw) {
  if (draw.one_in(3)) out.number(Attribute::kDelay, draw.below(draw.one_in(4) ? 600 : 60));
  if (draw.one_in(3)) out.number(Attribute::kDeadline, draw.below(draw.one_in(4) ? 1500 : 200));
  if (draw.one_in(3)) out.number(Attribute::kRunTimeout, 1 + draw.below(150));
  if (draw.one_in(3)) out.number(Attribute::kHeartbeatTimeout, 1 + draw.below(100));
}

void write_retries(AttributeWriter& out, Draw& draw) {
  if (draw.one_in(2)) out.number(Attribute::kAttempts, 1 + draw.below(draw.one_in(4) ? 30 : 4));
  if (draw.one_in(3)) {
    proto::Packer& p = out.key(Attribute::kBackoff);
    p.pack_array(4);
    p.pack_uint64(draw.below(30));
    p.pack_uint64(draw.below(100));
    p.pack_double(1 + 0.5 * draw.below(4));
    p.pack_double(0);
  }
  switch (draw.below(6)) {
    case 0:
      return write_texts(out.key(Attribute::kNoRetryOn), {"ValueError"});
    case 1:
      return write_texts(out.key(Attribute::kNoRetryOn), {"KeyError", "RunTimeout", "Failed"});
    case 2:
      return write_texts(out.key(Attribute::kNoRetryOn), {});
    default:
      return;
  }
}

}  // namespace

void write_wish(AttributeWriter& out, uint32_t number, const Features& features) {
  if (number == 0) return;
  Draw draw(number);
  if (features.times) write_times(out, draw);
  if (features.retries) write_retries(out, draw);
  if (features.priorities && draw.one_in(2)) {
    constexpr int kLevels[] = {-100, -10, 0, 10, 20, 100};
    out.key(Attribute::kPriority).pack_int(draw.one_in(40) ? 101 : kLevels[draw.below(6)]);
  }
  if (features.order_keys && draw.one_in(2)) {
    out.text(Attribute::kOrderKey, std::string(1, static_cast<char>('o' + draw.below(2))));
  }
  if (features.limits && draw.one_in(2)) out.number(Attribute::kCost, draw.below(5));
  if (features.limit_keys && !draw.one_in(3)) {
    out.text(Attribute::kLimitKey, std::string(1, static_cast<char>('k' + draw.below(2))));
  }
  if (features.groups && !draw.one_in(3)) {
    out.text(Attribute::kGroup, std::string(1, static_cast<char>('a' + draw.below(3))));
  }
}

}  // namespace tusk::simulation
