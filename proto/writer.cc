#include "proto/writer.h"

#include <algorithm>
#include <string>
#include <utility>

#include "proto/big_endian.h"

namespace tusk::proto {
namespace {

void put_u64(char* at, uint64_t value) {
  *at = static_cast<char>(0xCF);
  store_big_endian(at + 1, value);
}

void pack_text(Packer& packer, std::string_view text) {
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
}

// Smaller ones are copied into memory of their very size, which fragments less than what grew.
constexpr size_t kWorthTaking = 8 << 10;

}  // namespace

Bytes Buffer::take() {
  Bytes out;
  usual_ = std::max({size_ + size_ / 4, usual_ - usual_ / 8, kSmallest});
  if (size_ >= kWorthTaking && 2 * size_ >= capacity_) {
    out = Bytes::seal(std::exchange(memory_, nullptr), size_);
  } else {
    out = Bytes::copy(view());
    const bool is_idle = capacity_ > kWorthTaking && capacity_ > 2 * usual_;
    if (is_idle) Bytes::drop_room(std::exchange(memory_, nullptr));
  }
  if (!memory_) capacity_ = 0;
  size_ = 0;
  return out;
}

void Buffer::grow(size_t more) {
  const size_t wanted = std::max({capacity_ * 2, size_ + more, usual_});
  char* bigger = Bytes::make_room(wanted);
  if (size_ > 0) std::memcpy(bigger, memory_, size_);
  Bytes::drop_room(std::exchange(memory_, bigger));
  capacity_ = wanted;
}

void write_value(Packer& packer, Value value) {
  using Type = Token::Type;
  const Token* token = value.token();
  if (!token) {
    packer.pack_nil();
    return;
  }
  switch (token->type) {
    case Type::kNil:
      packer.pack_nil();
      break;
    case Type::kFalse:
      packer.pack_false();
      break;
    case Type::kTrue:
      packer.pack_true();
      break;
    case Type::kUnsigned:
      packer.pack_uint64(token->number);
      break;
    case Type::kNegative:
      packer.pack_int64(static_cast<int64_t>(token->number));
      break;
    case Type::kFloat32:
      packer.pack_float(static_cast<float>(token->real));
      break;
    case Type::kFloat64:
      packer.pack_double(token->real);
      break;
    case Type::kText:
      pack_text(packer, {token->data, token->size});
      break;
    case Type::kBinary:
      packer.pack_bin(token->size);
      packer.pack_bin_body(token->data, token->size);
      break;
    case Type::kExtension:  // the token's bytes begin with the extension's type
      packer.pack_ext(token->size - 1, static_cast<int8_t>(token->data[0]));
      packer.pack_ext_body(token->data + 1, token->size - 1);
      break;
    case Type::kArray:
      packer.pack_array(token->size);
      for (Value item : value.items()) write_value(packer, item);
      break;
    case Type::kMap:
      packer.pack_map(token->size);
      for (Value item : value.items()) write_value(packer, item);
      break;
  }
}

void AttributeWriter::error(std::string_view type, std::string_view message,
                            std::string_view language, std::string_view stack) {
  Packer& p = key(Attribute::kError);
  p.pack_map(stack.empty() ? 3 : 4);
  pack_text(p, "type");
  pack_text(p, type);
  pack_text(p, "message");
  pack_text(p, message);
  pack_text(p, "language");
  pack_text(p, language);
  if (!stack.empty()) {
    pack_text(p, "stack");
    pack_text(p, stack);
  }
}

void AttributeWriter::forward(Value map, std::initializer_list<Attribute> own) {
  if (!map.is_map()) return;
  const Token* end = map.token() + map.token()->next;
  for (const Token* at = map.token() + 1; at != end;) {
    const Token* value = at + at->next;
    const auto key = static_cast<Attribute>(at->number);
    const bool passes = at->number % 2 == 0 || key == Attribute::kCodec ||
                        key == Attribute::kCompression || key == Attribute::kNoRetry;
    if (passes && std::find(own.begin(), own.end(), key) == own.end()) {
      ++count_;
      packer_.pack_uint64(at->number);
      write_value(packer_, Value(value));
    }
    at = value + value->next;
  }
}

void Writer::fill_header(char* at, uint64_t session, uint64_t seq, uint64_t ack) {
  at[0] = static_cast<char>(0x94);  // an array of four
  at[1] = 0;                        // kind 0
  put_u64(at + 2, session);
  put_u64(at + 11, seq);
  put_u64(at + 20, ack);
}

void Writer::reserve_header() {
  static constexpr char kBlank[kHeaderSize] = {};
  buffer_.write(kBlank, kHeaderSize);
}

void Writer::error(uint64_t ref, std::string_view code, std::string_view message) {
  start(Kind::kError, 4).pack_uint64(ref);
  text(code);
  text(message);
}

void Writer::error(uint64_t ref, std::string_view code, std::string_view message,
                   std::string_view key, uint64_t value) {
  start(Kind::kError, 5).pack_uint64(ref);
  text(code);
  text(message);
  packer_.pack_map(1);
  text(key);
  packer_.pack_uint64(value);
}

void Writer::error(uint64_t ref, std::string_view code, std::string_view message,
                   std::string_view key, std::string_view value) {
  start(Kind::kError, 5).pack_uint64(ref);
  text(code);
  text(message);
  packer_.pack_map(1);
  text(key);
  text(value);
}

void Writer::error_limit(uint64_t ref, std::string_view code, std::string_view message,
                         std::string_view limit, uint64_t value) {
  start(Kind::kError, 5).pack_uint64(ref);
  text(code);
  text(message);
  packer_.pack_map(2);
  text("limit");
  text(limit);
  text("value");
  packer_.pack_uint64(value);
}

void Writer::error_malformed(std::string_view message, uint64_t record, uint64_t packet) {
  start(Kind::kError, 5).pack_uint64(0);
  text(code::kMalformed);
  text(message);
  packer_.pack_map(packet == 0 ? 1 : 2);
  text("record");
  packer_.pack_uint64(record);
  if (packet == 0) return;
  text("packet");
  packer_.pack_uint64(packet);
}

// Writes the elements of one record where there is room for them: the way for what nearly all
// packets consist of, at a fraction of what the packer costs, which looks for room at each byte.
class Writer::Elements {
 public:
  explicit Elements(char* at) : at_(at) {}
  const char* at() const { return at_; }

  void array(uint64_t elements) { byte(0x90 | elements); }  // at most 15
  void number(uint64_t value) {
    if (value < 0x80) {
      byte(value);
    } else if (value <= UINT32_MAX) {
      sized(0xCC, value);
    } else {
      big_endian<uint64_t>(0xCF, value);
    }
  }
  void id(const TaskId& id) {
    byte(0xC4);
    byte(16);
    bytes(reinterpret_cast<const char*>(id.bytes.data()), 16);
  }
  void text(std::string_view text) {
    if (text.size() < 32) {
      byte(0xA0 | text.size());
    } else {
      sized(0xD9, text.size());
    }
    bytes(text.data(), text.size());
  }
  void binary(std::string_view binary) {
    sized(0xC4, binary.size());
    bytes(binary.data(), binary.size());
  }
  void nil() { byte(0xC0); }
  void attributes(const AttributeEntries& attributes) {
    if (attributes.count < 16) {
      byte(0x80 | attributes.count);
    } else {
      big_endian<uint16_t>(0xDE, attributes.count);
    }
    bytes(attributes.entries.data(), attributes.entries.size());
  }

 private:
  void byte(uint64_t value) { *at_++ = static_cast<char>(value); }
  template <typename T>
  void big_endian(int head, uint64_t value) {
    byte(static_cast<uint64_t>(head));
    store_big_endian(at_, static_cast<T>(value));
    at_ += sizeof(T);
  }
  // In 8, 16 or 32 bits, whose heads follow each other.
  void sized(uint8_t head, uint64_t value) {
    if (value <= UINT8_MAX) {
      big_endian<uint8_t>(head, value);
    } else if (value <= UINT16_MAX) {
      big_endian<uint16_t>(head + 1, value);
    } else {
      big_endian<uint32_t>(head + 2, value);
    }
  }
  void bytes(const char* data, size_t size) {
    if (size == 0) return;
    std::memcpy(at_, data, size);
    at_ += size;
  }

  char* at_;
};

// Writes kind and number, with room for the rest: heads, id and numbers take less than kHeads.
Writer::Elements Writer::begin(Kind kind, uint32_t elements, uint64_t ref, std::string_view name,
                               const BodyOut& body, const AttributeEntries& attributes) {
  constexpr size_t kHeads = 64;
  Elements e(
      buffer_.room(kHeads + name.size() + body.inline_bytes.size() + attributes.entries.size()));
  e.array(elements + (attributes.count > 0));
  e.number(static_cast<uint64_t>(kind));
  e.number(ref);
  return e;
}

// The body, the attributes if there are any, and the record is whole.
void Writer::end(Elements& e, const BodyOut& body, const AttributeEntries& attributes) {
  if (!body.present) {
    e.nil();
  } else if (body.frame) {
    frame_bytes_ += body.frame.size();
    frames_.push_back(body.frame);
    e.number(frames_.size());
  } else {
    e.binary(body.inline_bytes);
  }
  if (attributes.count > 0) e.attributes(attributes);
  buffer_.end_at(e.at());
  ++count_;
}

void Writer::submit(uint64_t request, const TaskId& task, std::string_view type, const BodyOut& b,
                    AttributeEntries a) {
  Elements e = begin(Kind::kSubmit, 5, request, type, b, a);
  e.id(task);
  e.text(type);
  end(e, b, a);
}

void Writer::push(uint64_t request, const TaskId& item, std::string_view stage, const BodyOut& b,
                  AttributeEntries a) {
  Elements e = begin(Kind::kPush, 5, request, stage, b, a);
  e.id(item);
  e.text(stage);
  end(e, b, a);
}

void Writer::cancel(uint64_t ref, const TaskId& task) {
  start(Kind::kCancel, 3).pack_uint64(ref);
  packer_.pack_bin(16);
  packer_.pack_bin_body(reinterpret_cast<const char*>(task.bytes.data()), 16);
}

void Writer::cancel(uint64_t handle, const TaskId& task, std::string_view reason) {
  start(Kind::kCancel, 4).pack_uint64(handle);
  packer_.pack_bin(16);
  packer_.pack_bin_body(reinterpret_cast<const char*>(task.bytes.data()), 16);
  packer_.pack_map(1);
  packer_.pack_uint64(static_cast<uint64_t>(Attribute::kReason));
  text(reason);
}

void Writer::await(uint64_t request, const TaskId& task, AttributeEntries a) {
  Elements e = begin(Kind::kAwait, 3, request, {}, {}, a);
  e.id(task);
  if (a.count > 0) e.attributes(a);
  buffer_.end_at(e.at());
  ++count_;
}

void Writer::update(uint64_t request, const TaskId& task, AttributeEntries a, const BodyOut* b) {
  start(Kind::kUpdate, b ? 5 : 4).pack_uint64(request);
  packer_.pack_bin(16);
  packer_.pack_bin_body(reinterpret_cast<const char*>(task.bytes.data()), 16);
  packer_.pack_map(static_cast<uint32_t>(a.count));
  buffer_.write(a.entries.data(), a.entries.size());
  if (!b) return;
  if (!b->present) {
    packer_.pack_nil();
  } else if (b->frame) {
    frame_bytes_ += b->frame.size();
    frames_.push_back(b->frame);
    packer_.pack_uint64(frames_.size());
  } else {
    packer_.pack_bin(static_cast<uint32_t>(b->inline_bytes.size()));
    packer_.pack_bin_body(b->inline_bytes.data(), static_cast<uint32_t>(b->inline_bytes.size()));
  }
}

void Writer::progress(uint64_t ref, const BodyOut& b, AttributeEntries a) {
  Elements e = begin(Kind::kProgress, 3, ref, {}, b, a);
  end(e, b, a);
}

void Writer::chunk(uint64_t ref, const BodyOut& b, AttributeEntries a) {
  Elements e = begin(Kind::kChunk, 3, ref, {}, b, a);
  end(e, b, a);
}

void Writer::credit(uint64_t request, const TaskId& task, uint64_t chunks) {
  start(Kind::kCredit, 4).pack_uint64(request);
  packer_.pack_bin(16);
  packer_.pack_bin_body(reinterpret_cast<const char*>(task.bytes.data()), 16);
  packer_.pack_uint64(chunks);
}

void Writer::suspend(uint64_t handle, const TaskId* ids, size_t size, uint64_t count) {
  start(Kind::kSuspend, count == size ? 3 : 4).pack_uint64(handle);
  packer_.pack_array(static_cast<uint32_t>(size));
  for (size_t i = 0; i < size; ++i) {
    packer_.pack_bin(16);
    packer_.pack_bin_body(reinterpret_cast<const char*>(ids[i].bytes.data()), 16);
  }
  if (count != size) packer_.pack_uint64(count);
}

void Writer::log(uint64_t ref, uint32_t level, std::string_view line, AttributeEntries a) {
  start(Kind::kLog, a.count > 0 ? 5 : 4).pack_uint64(ref);
  packer_.pack_uint32(level);
  text(line);
  if (a.count == 0) return;
  packer_.pack_map(static_cast<uint32_t>(a.count));
  buffer_.write(a.entries.data(), a.entries.size());
}

void Writer::checkpoint(uint64_t handle, const BodyOut& b) {
  Elements e = begin(Kind::kCheckpoint, 3, handle, {}, b, {});
  end(e, b, {});
}

void Writer::publish(uint64_t request, std::string_view topic, const BodyOut& b,
                     AttributeEntries a) {
  Elements e = begin(Kind::kPublish, 4, request, topic, b, a);
  e.text(topic);
  end(e, b, a);
}

void Writer::subscribe(uint64_t request, std::string_view topic, AttributeEntries a) {
  Elements e = begin(Kind::kSubscribe, 3, request, topic, {}, a);
  e.text(topic);
  if (a.count > 0) e.attributes(a);
  buffer_.end_at(e.at());
  ++count_;
}

void Writer::unsubscribe(uint64_t request, std::string_view topic) {
  start(Kind::kUnsubscribe, 3).pack_uint64(request);
  text(topic);
}

void Writer::unsubscribed(std::string_view topic, std::string_view message) {
  start(Kind::kUnsubscribed, 3);
  text(topic);
  text(message);
}

void Writer::result(uint64_t ref, State state, const BodyOut& b, AttributeEntries a) {
  if (!b.present && a.count == 0) {
    start(Kind::kResult, 3).pack_uint64(ref);
    packer_.pack_uint64(static_cast<uint64_t>(state));
    return;
  }
  Elements e = begin(Kind::kResult, 4, ref, {}, b, a);
  e.number(static_cast<uint64_t>(state));
  end(e, b, a);
}

void Writer::returned(uint64_t recall, const uint64_t* handles, size_t count) {
  start(Kind::kReturned, 3).pack_uint64(recall);
  packer_.pack_array(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) packer_.pack_uint64(handles[i]);
}

void Writer::recall(uint64_t recall, const uint64_t* handles, size_t count) {
  start(Kind::kRecall, 3).pack_uint64(recall);
  packer_.pack_array(static_cast<uint32_t>(count));
  for (size_t i = 0; i < count; ++i) packer_.pack_uint64(handles[i]);
}

void Writer::event(uint64_t sequence, std::string_view topic, const BodyOut& b,
                   AttributeEntries a) {
  Elements e = begin(Kind::kEvent, 4, sequence, topic, b, a);
  e.text(topic);
  end(e, b, a);
}

void Writer::task(Kind kind, uint64_t handle, const TaskId& task, std::string_view name,
                  uint32_t attempt, const BodyOut& b, AttributeEntries a) {
  Elements e = begin(kind, 6, handle, name, b, a);
  e.id(task);
  e.text(name);
  e.number(attempt);
  end(e, b, a);
}

void Writer::clear() {
  buffer_.clear();
  frames_.clear();
  frame_bytes_ = 0;
  count_ = 0;
}

void append_frame(std::string& out, std::string_view frame) {
  auto size = static_cast<uint32_t>(frame.size());
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(size >> shift);
  out += frame;
}

bool split_frames(std::string_view buffer, std::vector<std::string_view>& frames) {
  frames.clear();
  while (!buffer.empty()) {
    if (buffer.size() < 4) return false;
    size_t size = 0;
    for (int i = 0; i < 4; ++i) size = size << 8 | static_cast<unsigned char>(buffer[i]);
    if (buffer.size() - 4 < size) return false;
    frames.push_back(buffer.substr(4, size));
    buffer.remove_prefix(4 + size);
  }
  return true;
}

}  // namespace tusk::proto
