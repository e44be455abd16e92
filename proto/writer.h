// Writes packets: records go into one growing buffer, large bodies become frames of their own.
//
//   Writer out;
//   out.submit(1, id, "add", body, {});
//   send(out.records(), out.frames());
//   out.clear();                            // keeps its memory
//
// A Writer belongs to one thread. It checks nothing: the caller keeps the limits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <msgpack/pack.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "proto/bytes.h"
#include "proto/decoder.h"
#include "proto/task_id.h"
#include "proto/wire.h"

namespace tusk::proto {

// Bytes that grow at the end and keep their memory when cleared.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { Bytes::drop_room(memory_); }

  void write(const char* data, size_t size) {
    if (size == 0) return;  // nothing may be at a null `data`, which memcpy does not take
    std::memcpy(room(size), data, size);
    size_ += size;
  }
  // Where the next `more` bytes may be written; end_at() says how many were.
  char* room(size_t more) {
    if (more > capacity_ - size_) grow(more);
    return memory_ + size_;
  }
  void end_at(const char* end) { size_ = static_cast<size_t>(end - memory_); }
  void clear() { size_ = 0; }
  // What was written, as Bytes, and the buffer is empty. Its memory goes with them if they are many
  // and most of it is in use.
  Bytes take();
  size_t size() const { return size_; }
  char* data() { return memory_; }
  std::string_view view() const { return {memory_, size_}; }

 private:
  void grow(size_t more);

  char* memory_ = nullptr;  // of Bytes::make_room
  size_t size_ = 0;
  size_t capacity_ = 0;
  static constexpr size_t kSmallest = 256;
  size_t usual_ = kSmallest;  // what it grows to at first: somewhat more than was taken lately
};

using Packer = msgpack::packer<Buffer>;

// Writes `value` as it was read (integers in their shortest form).
void write_value(Packer& packer, Value value);

// A map of attributes under construction: pack_* in any order, then its bytes and count.
class AttributeWriter {
 public:
  AttributeWriter() = default;
  AttributeWriter(const AttributeWriter&) = delete;
  AttributeWriter& operator=(const AttributeWriter&) = delete;

  void flag(Attribute key) { this->key(key).pack_true(); }
  void number(Attribute key, uint64_t value) { this->key(key).pack_uint64(value); }
  void text(Attribute key, std::string_view value) {
    Packer& p = this->key(key);
    p.pack_str(static_cast<uint32_t>(value.size()));
    p.pack_str_body(value.data(), static_cast<uint32_t>(value.size()));
  }
  // The map {type, message, language} and, unless empty, stack.
  void error(std::string_view type, std::string_view message, std::string_view language,
             std::string_view stack = {});
  void raw(std::string_view entries, size_t count) {
    buffer_.write(entries.data(), entries.size());
    count_ += count;
  }
  // What the broker passes on of `map`: codec, compression, no_retry and every even attribute, but
  // for those that it writes itself: a key that is there twice makes a packet malformed.
  void forward(Value map, std::initializer_list<Attribute> own = {});
  // The next pack_* of the returned packer writes the value.
  Packer& key(Attribute key) {
    ++count_;
    return packer_.pack_uint64(static_cast<uint64_t>(key));
  }

  size_t count() const { return count_; }
  std::string_view entries() const { return buffer_.view(); }
  void clear() {
    buffer_.clear();
    count_ = 0;
  }

 private:
  Buffer buffer_;
  Packer packer_{buffer_};
  size_t count_ = 0;
};

// Attributes as they go out: entries already written, and how many.
struct AttributeEntries {
  std::string_view entries;
  size_t count = 0;
  AttributeEntries() = default;
  AttributeEntries(std::string_view e, size_t n) : entries(e), count(n) {}
  AttributeEntries(const AttributeWriter& w) : entries(w.entries()), count(w.count()) {}  // NOLINT
};

// A body as it goes out: none, bytes to be written inline, or bytes to travel as a frame.
struct BodyOut {
  bool present = false;
  std::string_view inline_bytes;
  Bytes frame;

  static BodyOut none() { return {}; }
  static BodyOut copied(std::string_view bytes) { return {true, bytes, {}}; }
  // Large ones become a frame, small ones are copied.
  static BodyOut shared(const Bytes& bytes) {
    if (!bytes) return {};
    if (bytes.size() < kFrameBody) return {true, bytes.view(), {}};
    return {true, {}, bytes};
  }
};

class Writer {
 public:
  Writer() = default;
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // A header has a fixed size, so that it can be filled in when the packet is closed.
  static constexpr size_t kHeaderSize = 29;
  static void fill_header(char* at, uint64_t session, uint64_t seq, uint64_t ack);
  void reserve_header();

  // A token may be negative: two's complement, as Record::ref has it.
  void ping(uint64_t token) { start(Kind::kPing, 2).pack_int64(static_cast<int64_t>(token)); }
  void pong(uint64_t token) { start(Kind::kPong, 2).pack_int64(static_cast<int64_t>(token)); }
  void error(uint64_t ref, std::string_view code, std::string_view message);
  // With details of one key.
  void error(uint64_t ref, std::string_view code, std::string_view message, std::string_view key,
             uint64_t value);
  void error(uint64_t ref, std::string_view code, std::string_view message, std::string_view key,
             std::string_view value);
  // An error about a limit: details {limit, value}.
  void error_limit(uint64_t ref, std::string_view code, std::string_view message,
                   std::string_view limit, uint64_t value);
  // A packet that does not decode: details {record} and, unless it is 0, {packet}.
  void error_malformed(std::string_view message, uint64_t record, uint64_t packet);
  void bye(std::string_view reason) { text_record(Kind::kBye, reason); }
  void goaway(std::string_view reason) { text_record(Kind::kGoaway, reason); }
  void drain(std::string_view reason) { text_record(Kind::kDrain, reason); }

  void submit(uint64_t request, const TaskId& id, std::string_view type, const BodyOut& body,
              AttributeEntries attributes);
  void push(uint64_t request, const TaskId& id, std::string_view stage, const BodyOut& body,
            AttributeEntries attributes);
  void cancel(uint64_t ref, const TaskId& id);
  // To a worker, with attribute `reason`.
  void cancel(uint64_t handle, const TaskId& id, std::string_view reason);
  void await(uint64_t request, const TaskId& id, AttributeEntries attributes);
  // With `body` nothing, it stays as it is.
  void update(uint64_t request, const TaskId& id, AttributeEntries attributes,
              const BodyOut* body = nullptr);
  void publish(uint64_t request, std::string_view topic, const BodyOut& body,
               AttributeEntries attributes);
  void subscribe(uint64_t request, std::string_view topic, AttributeEntries attributes = {});
  void unsubscribe(uint64_t request, std::string_view topic);

  void result(uint64_t ref, State state, const BodyOut& body, AttributeEntries attributes);
  void returned(uint64_t recall, const uint64_t* handles, size_t count);
  void recall(uint64_t recall, const uint64_t* handles, size_t count);
  void progress(uint64_t ref, const BodyOut& body, AttributeEntries attributes);
  void chunk(uint64_t ref, const BodyOut& body, AttributeEntries attributes);
  // From a client.
  void credit(uint64_t request, const TaskId& id, uint64_t chunks);
  // To a worker.
  void credit(uint64_t handle, uint64_t chunks) {
    start(Kind::kCredit, 3).pack_uint64(handle).pack_uint64(chunks);
  }
  // Until `count` of the ids have ended.
  void suspend(uint64_t handle, const TaskId* ids, size_t size, uint64_t count);
  void resume(uint64_t handle) { start(Kind::kResume, 2).pack_uint64(handle); }
  void log(uint64_t ref, uint32_t level, std::string_view text, AttributeEntries attributes);
  void checkpoint(uint64_t handle, const BodyOut& body);
  void defer(uint64_t handle, uint64_t after_ms) {
    start(Kind::kDefer, 3).pack_uint64(handle).pack_uint64(after_ms);
  }
  void pause(uint64_t handle, uint64_t ms) {
    start(Kind::kPause, 3).pack_uint64(handle).pack_uint64(ms);
  }
  void slots(uint64_t slots) { start(Kind::kSlots, 2).pack_uint64(slots); }
  void accepted(uint64_t request) { start(Kind::kAccepted, 2).pack_uint64(request); }
  void event(uint64_t sequence, std::string_view topic, const BodyOut& body,
             AttributeEntries attributes);
  void unsubscribed(std::string_view topic, std::string_view message);
  void task(Kind task_or_item, uint64_t handle, const TaskId& id, std::string_view name,
            uint32_t attempt, const BodyOut& body, AttributeEntries attributes);

  // The records of another packet, which must have no frames.
  void append(const Writer& other) {
    buffer_.write(other.buffer_.view().data(), other.buffer_.size());
    count_ += other.count_;
  }

  // For records that end in a value of the caller's own making (hello, welcome, query, answer):
  // writes [kind, and the caller packs the other `elements - 1`.
  Packer& start(Kind kind, uint32_t elements) {
    ++count_;
    packer_.pack_array(elements);
    return packer_.pack_uint64(static_cast<uint64_t>(kind));
  }
  void text(std::string_view text) {
    packer_.pack_str(static_cast<uint32_t>(text.size()));
    packer_.pack_str_body(text.data(), static_cast<uint32_t>(text.size()));
  }
  Packer& packer() { return packer_; }

  size_t count() const { return count_; }
  Buffer& records() { return buffer_; }
  const Buffer& records() const { return buffer_; }
  std::vector<Bytes>& frames() { return frames_; }
  // Bytes of the frames.
  size_t frame_bytes() const { return frame_bytes_; }
  bool empty() const { return count_ == 0; }
  void clear();

 private:
  class Elements;
  Elements begin(Kind kind, uint32_t elements, uint64_t ref, std::string_view name,
                 const BodyOut& body, const AttributeEntries& attributes);
  void end(Elements& e, const BodyOut& body, const AttributeEntries& attributes);
  void text_record(Kind kind, std::string_view reason) {
    start(kind, 2);
    text(reason);
  }

  Buffer buffer_;
  Packer packer_{buffer_};
  std::vector<Bytes> frames_;
  size_t frame_bytes_ = 0;
  size_t count_ = 0;
};

// The one-buffer form: for each frame its length (32 bits, big-endian) and its bytes.
void append_frame(std::string& out, std::string_view frame);
// Splits it again; false if it is cut off.
bool split_frames(std::string_view buffer, std::vector<std::string_view>& frames);

}  // namespace tusk::proto
