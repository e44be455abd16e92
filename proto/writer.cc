#include "proto/writer.h"

#include <string>

namespace tusk::proto {
namespace {

void put_u64(char* at, uint64_t value) {
  *at = static_cast<char>(0xCF);
  for (int i = 8; i > 0; --i, value >>= 8) at[i] = static_cast<char>(value);
}

void pack_text(Packer& packer, std::string_view text) {
  packer.pack_str(static_cast<uint32_t>(text.size()));
  packer.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
}

}  // namespace

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

void AttributeWriter::forward(Value map) {
  if (!map.is_map()) return;
  const Token* end = map.token() + map.token()->next;
  for (const Token* at = map.token() + 1; at != end;) {
    const Token* value = at + at->next;
    bool passes = at->number % 2 == 0 || at->number == static_cast<uint64_t>(Attribute::kCodec) ||
                  at->number == static_cast<uint64_t>(Attribute::kCompression) ||
                  at->number == static_cast<uint64_t>(Attribute::kNoRetry);
    if (passes) {
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

void Writer::id(const TaskId& id) {
  packer_.pack_bin(16);
  packer_.pack_bin_body(reinterpret_cast<const char*>(id.bytes.data()), 16);
}

void Writer::body(const BodyOut& body) {
  if (!body.present) {
    packer_.pack_nil();
  } else if (body.frame) {
    frame_bytes_ += body.frame.size();
    frames_.push_back(body.frame);
    packer_.pack_uint64(frames_.size());
  } else {
    packer_.pack_bin(static_cast<uint32_t>(body.inline_bytes.size()));
    packer_.pack_bin_body(body.inline_bytes.data(),
                          static_cast<uint32_t>(body.inline_bytes.size()));
  }
}

void Writer::attributes(AttributeEntries attributes) {
  packer_.pack_map(static_cast<uint32_t>(attributes.count));
  buffer_.write(attributes.entries.data(), attributes.entries.size());
}

void Writer::submit(uint64_t request, const TaskId& task, std::string_view type, const BodyOut& b,
                    AttributeEntries a) {
  start(Kind::kSubmit, a.count ? 6 : 5).pack_uint64(request);
  id(task);
  text(type);
  body(b);
  if (a.count) attributes(a);
}

void Writer::push(uint64_t request, const TaskId& item, std::string_view stage, const BodyOut& b,
                  AttributeEntries a) {
  start(Kind::kPush, a.count ? 6 : 5).pack_uint64(request);
  id(item);
  text(stage);
  body(b);
  if (a.count) attributes(a);
}

void Writer::cancel(uint64_t ref, const TaskId& task) {
  start(Kind::kCancel, 3).pack_uint64(ref);
  id(task);
}

void Writer::publish(uint64_t request, std::string_view topic, const BodyOut& b,
                     AttributeEntries a) {
  start(Kind::kPublish, a.count ? 5 : 4).pack_uint64(request);
  text(topic);
  body(b);
  if (a.count) attributes(a);
}

void Writer::subscribe(uint64_t request, std::string_view topic) {
  start(Kind::kSubscribe, 3).pack_uint64(request);
  text(topic);
}

void Writer::unsubscribe(uint64_t request, std::string_view topic) {
  start(Kind::kUnsubscribe, 3).pack_uint64(request);
  text(topic);
}

void Writer::result(uint64_t ref, State state, const BodyOut& b, AttributeEntries a) {
  start(Kind::kResult, a.count ? 5 : b.present ? 4 : 3).pack_uint64(ref);
  packer_.pack_uint64(static_cast<uint64_t>(state));
  if (b.present || a.count) body(b);
  if (a.count) attributes(a);
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
  start(Kind::kEvent, a.count ? 5 : 4).pack_uint64(sequence);
  text(topic);
  body(b);
  if (a.count) attributes(a);
}

void Writer::task(Kind kind, uint64_t handle, const TaskId& task, std::string_view name,
                  uint32_t attempt, const BodyOut& b, AttributeEntries a) {
  start(kind, a.count ? 7 : 6).pack_uint64(handle);
  id(task);
  text(name);
  packer_.pack_uint64(attempt);
  body(b);
  if (a.count) attributes(a);
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
