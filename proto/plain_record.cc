#include "proto/plain_record.h"

#include "proto/big_endian.h"

namespace tusk::proto {
namespace {

// Reads the elements of one record, in the forms that writers use. A take_* that returns false has
// met something else.
class Elements {
 public:
  Elements(const char* at, const char* end) : at_(at), end_(end) {}

  const char* at() const { return at_; }

  bool take_number(uint64_t& out) {
    if (at_ == end_) return false;
    const auto head = static_cast<uint8_t>(*at_++);
    out = head;
    if (head < 0x80) return true;
    if (head == 0xCF) return take_big_endian<uint64_t>(out) && out <= kMaxInteger;
    return take_sized(head, 0xCC, out);
  }

  bool take_id(const char*& out) {
    if (left() < 18 || at_[0] != '\xC4' || at_[1] != 16) return false;
    out = at_ + 2;
    at_ += 18;
    return true;
  }

  bool take_name(std::string_view& out) {
    if (at_ == end_) return false;
    const auto head = static_cast<uint8_t>(*at_++);
    uint64_t size = head & 0x1F;
    if ((head & 0xE0) != 0xA0 && (head != 0xD9 || !take_big_endian<uint8_t>(size))) return false;
    if (size == 0 || left() < size) return false;
    out = {at_, size};
    at_ += size;
    return is_utf8(out);
  }

  bool take_body(BodyRef& out) {
    if (at_ == end_) return false;
    const auto head = static_cast<uint8_t>(*at_++);
    if (head == 0xC0) return true;
    uint64_t size;
    if (!take_sized(head, 0xC4, size) || left() < size) return false;
    out.where = BodyRef::Where::kInline;
    out.inline_bytes = {at_, size};
    at_ += size;
    return true;
  }

 private:
  size_t left() const { return static_cast<size_t>(end_ - at_); }

  // The heads of 8, 16 and 32 bits follow each other, from `first` on.
  bool take_sized(uint8_t head, uint8_t first, uint64_t& out) {
    if (head == first) return take_big_endian<uint8_t>(out);
    if (head == first + 1) return take_big_endian<uint16_t>(out);
    return head == first + 2 && take_big_endian<uint32_t>(out);
  }

  template <typename T>
  bool take_big_endian(uint64_t& out) {
    if (left() < sizeof(T)) return false;
    out = load_big_endian<T>(at_);
    at_ += sizeof(T);
    return true;
  }

  const char* at_;
  const char* end_;
};

}  // namespace

const char* read_plain(const char* at, const char* end, Record& record) {
  if (end - at < 2) return nullptr;
  const auto elements = static_cast<uint8_t>(at[0]) - 0x90u;
  const auto kind = static_cast<Kind>(at[1]);
  Elements e(at + 2, end);
  uint64_t ref, state, attempt = 0;
  const char* id = nullptr;
  std::string_view name;
  BodyRef body;
  switch (kind) {
    case Kind::kSubmit:
    case Kind::kPush:
      if (elements != 5 || !e.take_number(ref) || !e.take_id(id) || !e.take_name(name) ||
          !e.take_body(body)) {
        return nullptr;
      }
      break;
    case Kind::kTask:
    case Kind::kItem:
      if (elements != 6 || !e.take_number(ref) || !e.take_id(id) || !e.take_name(name) ||
          !e.take_number(attempt) || !e.take_body(body)) {
        return nullptr;
      }
      break;
    case Kind::kResult:
      if (elements != 4 || !e.take_number(ref) || !e.take_number(state) || state < 1 || state > 5 ||
          !e.take_body(body)) {
        return nullptr;
      }
      record.state = static_cast<State>(state);
      break;
    default:
      return nullptr;
  }
  record.kind = kind;
  record.ref = ref;
  record.id_bytes = id;
  record.name = name;
  record.attempt = static_cast<uint32_t>(attempt);
  record.body = body;
  return e.at();
}

}  // namespace tusk::proto
