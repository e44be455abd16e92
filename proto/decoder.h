// Reads packets: bytes in, records out, nothing copied and nothing allocated in the steady state.
//
//   Decoder decoder;
//   auto packet = decoder.decode(frames[0], frames.size() - 1);
//   if (!packet.ok()) answer(packet.malformed);          // refused whole
//   for (const Record& r : packet.records) ...           // views into frames[0]
//
// A Decoder belongs to one thread. What it returns lives until its next decode() and as long as the
// frame does.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "proto/scanner.h"
#include "proto/task_id.h"
#include "proto/value.h"
#include "proto/wire.h"

namespace tusk::proto {

// Where a record's body is.
struct BodyRef {
  BodyRef() {}
  enum class Where : uint8_t { kNone, kInline, kFrame };
  Where where = Where::kNone;
  uint32_t frame = 0;             // kFrame: 1 is the first body frame
  std::string_view inline_bytes;  // kInline
};

// What a submit asks for beyond an ordinary run. Durations in ms; what is not given is left to the
// settings of the type.
struct Terms {
  struct Backoff {
    uint64_t first, most;
    double factor, jitter;
  };
  std::optional<uint64_t> delay, deadline, run_timeout, heartbeat_timeout, retention;
  std::optional<uint32_t> attempts;
  std::optional<int> priority;
  std::optional<Backoff> backoff;
  Value no_retry_on;  // a list of texts, or nothing
  uint8_t follow = 0;
  std::string_view unique;  // empty: none
  UniquePolicy unique_policy = UniquePolicy::kJoin;
  uint64_t unique_for = 0;
  std::string_view order_key, limit_key, group, sticky_key;  // empty: none
  Value needs;                                               // a map, or nothing
  Value labels;                                              // a map of texts to texts, or nothing
  const char* parent = nullptr;                              // 16 bytes, or nothing
  uint32_t stream = 0;                                       // chunks on their way; 0: no stream
  std::optional<uint64_t> cost;                              // units
};

// The attributes that this version carries out, and all of them as they came.
struct Attributes {
  Attributes() {}
  Reply reply = Reply::kResult;
  bool resent = false;
  bool rerun_ok = false;
  bool no_retry = false;
  bool crashed = false;
  uint32_t codec = 0;
  Compression compression = Compression::kNone;
  uint64_t wait = 0;             // ms; 0: not given
  Slow slow{};                   // subscribe
  const Terms* terms = nullptr;  // of a submit, or nothing
  Value all;                     // the map itself, or nothing
};

struct Record {
  Record() {}  // written out: an implicit one would have the whole of it zeroed first
  Kind kind = Kind::kUnknown;
  uint64_t unknown_kind = 0;  // kUnknown and kIgnorable
  // Well-formed, but to be refused alone: an error code and the words for it, else empty.
  std::string_view fault;
  const char* fault_text = nullptr;
  std::string_view fault_field;  // name of the limit or field, if it has one
  uint64_t fault_number = 0;     // the kind, attribute or limit that it is about

  uint64_t time = 0;         // ms: of a defer or a pause; chunks: of a credit
  uint64_t ref = 0;          // request, handle, recall, session, version, slots or sequence; or the
                             // token of a ping, which may be negative: two's complement
  uint64_t seq = 0;          // header
  uint64_t ack = 0;          // header
  uint32_t attempt = 0;      // task, item
  uint32_t level = 0;        // log; suspend: how many must have ended
  State state{};             // result
  std::string_view name;     // type, topic, stage, handler, query, error code or reason
  std::string_view message;  // error, log
  const char* id_bytes = nullptr;  // 16 bytes, or nothing
  BodyRef body;
  bool has_body = false;  // update: it brings one, which may be none
  Attributes attributes;
  // Hello's fields, arguments, answer, details, endpoints, or the list of handles or ids.
  Value value;

  bool has_id() const { return id_bytes != nullptr; }
  TaskId id() const { return TaskId::from_bytes(id_bytes); }
};

struct Malformed {
  const char* why = nullptr;  // a few words, a literal
  size_t record = 0;          // which record, from 0
};

struct Decoded {
  std::span<const Record> records;
  Malformed malformed;
  bool ok() const { return malformed.why == nullptr; }
};

class Decoder {
 public:
  explicit Decoder(Limits limits = {}) : limits_(limits) {}

  void set_limits(const Limits& limits) { limits_ = limits; }

  // `records`: frame 0 of the packet. `body_frames`: how many frames follow it. Frames over a limit
  // are the caller's to refuse before.
  Decoded decode(std::string_view records, size_t body_frames);

  // Only the first record, and only if it is short: whether a packet that is refused has a header.
  Decoded decode_first(std::string_view records);

 private:
  void start(size_t body_frames);
  const char* read(const Token* token, Record& record);
  const char* read_body(Value value, BodyRef& body);
  const char* read_attributes(Value map, Record& record);

  Limits limits_;
  Scanner scanner_;
  std::vector<Record> records_;
  // Those that are not plain ones: which, and where its tokens begin.
  struct Other {
    uint32_t record;
    uint32_t tokens;
  };
  std::vector<Other> others_;
  std::vector<Terms> terms_;  // with room for those of all records, so that none moves
  std::vector<bool> named_;   // which body frames a record named
  size_t body_frames_ = 0;
};

}  // namespace tusk::proto
