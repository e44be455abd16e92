#include "proto/decoder.h"

#include <algorithm>

#include "proto/plain_record.h"

namespace tusk::proto {
namespace {

using Type = Token::Type;

// Walks the elements of one record. Each take_* returns false, and leaves `why`, if the element is
// missing or of another type.
class Elements {
 public:
  explicit Elements(const Token* array)
      : at_(array + 1), left_(array->size), end_(array + array->next) {}

  bool more() const { return left_ > 0; }
  bool next_is(Type type) const { return left_ > 0 && Value(at_).is(type); }
  const char* why() const { return why_; }

  bool take_number(uint64_t& out, const char* why) {
    Value v = next();
    if (!v.is(Type::kUnsigned) || v.token()->number > kMaxInteger) return fail(why);
    out = v.token()->number;
    return true;
  }

  // Any integer up to 2^53 - 1 in magnitude, as two's complement.
  bool take_integer(uint64_t& out, const char* why) {
    Value v = next();
    if (!v.is(Type::kUnsigned) && !v.is(Type::kNegative)) return fail(why);
    const uint64_t number = v.token()->number;
    if ((v.is(Type::kNegative) ? 0 - number : number) > kMaxInteger) return fail(why);
    out = number;
    return true;
  }

  bool take_text(std::string_view& out, const char* why) {
    Value v = next();
    if (!v.is(Type::kText)) return fail(why);
    out = *v.text();
    return true;
  }

  bool take_id(const char*& out) {
    Value v = next();
    if (!v.is(Type::kBinary) || v.token()->size != 16) return fail("id is not 16 bytes");
    out = v.token()->data;
    return true;
  }

  Value next() {
    if (left_ == 0) return Value();
    --left_;
    const Token* here = at_;
    at_ += at_->next;
    return Value(here);
  }

  bool fail(const char* why) {
    why_ = why;
    return false;
  }

 private:
  const Token* at_;
  size_t left_;
  [[maybe_unused]] const Token* end_;
  const char* why_ = nullptr;
};

void refuse(Record& record, std::string_view code, const char* text, std::string_view field,
            uint64_t number) {
  if (!record.fault.empty()) return;  // the first fault counts
  record.fault = code;
  record.fault_text = text;
  record.fault_field = field;
  record.fault_number = number;
}

void check_name(Record& record, std::string_view name) {
  if (name.size() > kMaxName) {
    refuse(record, code::kTooLarge, "a name is longer than 255 bytes", "name", kMaxName);
  } else if (name.empty()) {
    refuse(record, code::kInvalid, "a name is empty", "name", 0);
  }
}

bool as_flag(Record& record, Value value, const char* name) {
  if (auto flag = value.boolean()) return *flag;
  refuse(record, code::kInvalid, "an attribute is not true or false", name, 0);
  return false;
}

uint64_t as_number(Record& record, Value value, uint64_t most, const char* name) {
  auto number = value.number();
  if (number && *number <= most) return *number;
  refuse(record, code::kInvalid, "an attribute is out of its range", name, most);
  return 0;
}

double as_real(Record& record, Value value, double least, double most, const char* name) {
  double real = -1;
  if (auto number = value.number()) real = static_cast<double>(*number);
  if (value.is(Type::kFloat32) || value.is(Type::kFloat64)) real = value.token()->real;
  if (real >= least && real <= most) return real;  // not so for a NaN
  refuse(record, code::kInvalid, "an attribute is out of its range", name, 0);
  return least;
}

int as_priority(Record& record, Value value) {
  if (value.is(Type::kUnsigned) || value.is(Type::kNegative)) {
    const auto level = static_cast<int64_t>(value.token()->number);
    if (level >= -kMaxPriority && level <= kMaxPriority) return static_cast<int>(level);
  }
  refuse(record, code::kInvalid, "a priority is a whole number from -100 to 100", "priority",
         kMaxPriority);
  return 0;
}

Terms::Backoff as_backoff(Record& record, Value value) {
  Value parts[4];
  size_t n = 0;
  if (value.is_array() && value.size() == 4) {
    for (Value part : value.items()) parts[n++] = part;
  }
  if (n == 4) {
    return {as_number(record, parts[0], kMaxDuration, "backoff"),
            as_number(record, parts[1], kMaxDuration, "backoff"),
            as_real(record, parts[2], 1, 100, "backoff"),
            as_real(record, parts[3], 0, 1, "backoff")};
  }
  refuse(record, code::kInvalid, "backoff is not a list of first, most, factor and jitter",
         "backoff", 4);
  return {};
}

Value as_texts(Record& record, Value value) {
  bool fits = value.is_array() && value.size() <= kMaxNoRetryOn;
  for (Value item : value.items()) fits &= item.text() && item.text()->size() <= kMaxName;
  if (fits) return value;
  refuse(record, code::kInvalid, "an attribute is not a list of at most 32 names", "no_retry_on",
         kMaxNoRetryOn);
  return {};
}

std::string_view as_key(Record& record, Value value, const char* name) {
  const std::string_view key = value.text().value_or("");
  if (key.empty() || key.size() > kMaxName) {
    refuse(record, code::kInvalid, "a key is a text of 1 to 255 bytes", name, kMaxName);
  }
  return key;
}

// A map of at most `most` texts to texts, and if `amounts` to numbers; all of 1 to 255 bytes.
bool is_label_map(Value value, size_t most, bool texts, bool amounts) {
  if (!value.is_map() || value.size() > most) return false;
  auto fits = [](Value v) {
    return v.text() && !v.text()->empty() && v.text()->size() <= kMaxName;
  };
  bool is_key = true;
  for (Value item : value.items()) {
    const bool amount = amounts && item.number() && *item.number() <= kMaxAmount;
    if (is_key ? !fits(item) : !(amount || (texts && fits(item)))) return false;
    is_key = !is_key;
  }
  return true;
}

Value as_labels(Record& record, Value value) {
  if (is_label_map(value, kMaxLabels, true, false)) return value;
  refuse(record, code::kInvalid,
         "labels are not a map of at most 16 texts to texts of 1 to 255 bytes", "labels",
         kMaxLabels);
  return {};
}

Value as_needs(Record& record, Value value) {
  bool fits = value.is_map();
  std::string_view key;
  bool is_key = true;
  for (Value item : value.items()) {
    if (is_key) {
      key = item.text().value_or("");
    } else if (key == "consumes") {
      fits &= is_label_map(item, kMaxNeeds, false, true);
      bool name = true;
      for (Value amount : item.items()) {
        fits &= name || amount.number() != uint64_t{0};
        name = !name;
      }
    } else {
      fits &= (key == "requires" || key == "prefers") && is_label_map(item, kMaxNeeds, true, true);
    }
    is_key = !is_key;
  }
  if (fits) return value;
  refuse(
      record, code::kInvalid,
      "needs are a map of requires, prefers and consumes, each a map of at most 16 names to texts "
      "or amounts (consumes: amounts of 1 to 10^9)",
      "needs", kMaxNeeds);
  return {};
}

const char* as_id(Record& record, Value value, const char* name) {
  const auto bytes = value.binary();
  if (bytes && bytes->size() == 16) return bytes->data();
  refuse(record, code::kInvalid, "a task id is 16 bytes", name, 16);
  return nullptr;
}

uint64_t as_duration(Record& record, Value value, uint64_t least, const char* name) {
  const uint64_t ms = as_number(record, value, kMaxDuration, name);
  if (ms >= least) return ms;
  refuse(record, code::kInvalid, "a time-out is at least 1 ms", name, 1);
  return least;
}

// One of the terms of a submit; false if the key is none of them.
bool read_term(Record& record, Terms& terms, uint64_t key, Value value) {
  switch (static_cast<Attribute>(key)) {
    case Attribute::kDelay:
      terms.delay = as_duration(record, value, 0, "delay");
      return true;
    case Attribute::kDeadline:
      terms.deadline = as_duration(record, value, 0, "deadline");
      return true;
    case Attribute::kRunTimeout:
      terms.run_timeout = as_duration(record, value, 1, "run_timeout");
      return true;
    case Attribute::kHeartbeatTimeout:
      terms.heartbeat_timeout = as_duration(record, value, 1, "heartbeat_timeout");
      return true;
    case Attribute::kAttempts:
      terms.attempts = static_cast<uint32_t>(as_number(record, value, kMaxAttempts, "attempts"));
      if (*terms.attempts == 0) {
        refuse(record, code::kInvalid, "a task has at least one attempt", "attempts", 1);
      }
      return true;
    case Attribute::kPriority:
      terms.priority = as_priority(record, value);
      return true;
    case Attribute::kBackoff:
      terms.backoff = as_backoff(record, value);
      return true;
    case Attribute::kNoRetryOn:
      terms.no_retry_on = as_texts(record, value);
      return true;
    case Attribute::kRetention:
      terms.retention = as_duration(record, value, 0, "retention");
      return true;
    case Attribute::kUnique:
      terms.unique = as_key(record, value, "unique");
      return true;
    case Attribute::kOrderKey:
      terms.order_key = as_key(record, value, "order_key");
      return true;
    case Attribute::kLimitKey:
      terms.limit_key = as_key(record, value, "limit_key");
      return true;
    case Attribute::kStickyKey:
      terms.sticky_key = as_key(record, value, "sticky_key");
      return true;
    case Attribute::kNeeds:
      terms.needs = as_needs(record, value);
      return true;
    case Attribute::kLabels:
      terms.labels = as_labels(record, value);
      return true;
    case Attribute::kParent:
      terms.parent = as_id(record, value, "parent");
      return true;
    case Attribute::kStream:
      terms.stream = static_cast<uint32_t>(as_number(record, value, kMaxStream, "stream"));
      if (terms.stream == 0) {
        refuse(record, code::kInvalid, "a stream has at least one chunk on its way", "stream", 1);
      }
      return true;
    case Attribute::kGroup:
      terms.group = as_key(record, value, "group");
      return true;
    case Attribute::kCost:
      terms.cost = as_number(record, value, kMaxCost, "cost");
      return true;
    case Attribute::kUniquePolicy:
      terms.unique_policy = static_cast<UniquePolicy>(as_number(record, value, 4, "unique_policy"));
      return true;
    case Attribute::kUniqueFor:
      terms.unique_for = as_duration(record, value, 0, "unique_for");
      return true;
    case Attribute::kFollow:
      terms.follow = static_cast<uint8_t>(as_number(record, value, 3, "follow"));
      return true;
    default:
      return false;
  }
}

// Whether the key is one of the terms that a record of this kind may have: all of them belong to a
// submit.
bool is_term(Kind kind, uint64_t key) {
  constexpr auto kBits = [] {
    uint64_t bits = 0;
    for (int low : {1, 3, 5, 7, 9, 13, 16, 18, 19, 21, 23, 25, 49, 51, 61, 63})
      bits |= uint64_t{1} << low;
    return bits;
  }();
  const auto attribute = static_cast<Attribute>(key);
  switch (kind) {
    case Kind::kSubmit:
      return key < 64 ? kBits >> key & 1 : key % 2 == 1 && key >= 65 && key <= 75;
    case Kind::kUpdate:
      return attribute == Attribute::kDelay || attribute == Attribute::kPriority;
    case Kind::kAwait:
      return attribute == Attribute::kFollow;
    case Kind::kResult:
      return attribute == Attribute::kCost;
    default:
      return false;
  }
}

// One attribute that this version carries out; an unknown odd one is refused, an even one passes.
void read_attribute(Record& record, uint64_t key, Value value) {
  Attributes& a = record.attributes;
  switch (static_cast<Attribute>(key)) {
    case Attribute::kReply:
      a.reply = static_cast<Reply>(as_number(record, value, 2, "reply"));
      break;
    case Attribute::kResent:
      a.resent = as_flag(record, value, "resent");
      break;
    case Attribute::kRerunOk:
      a.rerun_ok = as_flag(record, value, "rerun_ok");
      break;
    case Attribute::kNoRetry:
      a.no_retry = as_flag(record, value, "no_retry");
      break;
    case Attribute::kCrashed:
      a.crashed = as_flag(record, value, "crashed");
      break;
    case Attribute::kCodec:
      a.codec = static_cast<uint32_t>(as_number(record, value, 2, "codec"));
      break;
    case Attribute::kCompression:
      a.compression = static_cast<Compression>(as_number(record, value, 1, "compression"));
      break;
    case Attribute::kWait:
      a.wait = as_number(record, value, kMaxInteger, "wait");
      break;
    case Attribute::kSlow:
      if (record.kind == Kind::kSubscribe) {
        a.slow = static_cast<Slow>(as_number(record, value, 1, "slow"));
      } else {
        refuse(record, code::kUnsupported, "a subscriber's wish here", "attribute", key);
      }
      break;
    case Attribute::kCheckpoint: {
      const bool of_run = record.kind == Kind::kTask || record.kind == Kind::kItem;
      const bool belongs = of_run && value.binary();
      if (!belongs) refuse(record, code::kUnsupported, "a checkpoint here", "attribute", key);
      break;
    }
    case Attribute::kStream:
      if (record.kind != Kind::kTask) {
        refuse(record, code::kUnsupported, "a stream here", "attribute", key);
      }
      break;
    default:
      if (key % 2 == 1) {
        refuse(record, code::kUnsupported, "an attribute that this broker does not carry out",
               "attribute", key);
      }
  }
}

const char* read_optional_reason(Elements& e, Record& r) {
  if (!e.more()) return nullptr;
  return e.take_text(r.name, "the reason is not text") ? nullptr : e.why();
}

}  // namespace

// Structure is checked first (a fault of structure refuses the packet), then each key.
const char* Decoder::read_attributes(Value map, Record& record) {
  if (!map) return nullptr;
  if (!map.is_map()) return "attributes are not a map";
  record.attributes.all = map;
  uint64_t small_keys = 0;  // keys below 64 that were seen
  const Token* first = map.token() + 1;
  const Token* end = map.token() + map.token()->next;
  size_t count = 0;
  for (const Token* key = first; key != end;) {
    const Token* value = key + key->next;
    if (key->type != Type::kUnsigned || key->number > kMaxInteger) {
      return "an attribute's key is not a small integer";
    }
    if (key->number < 64) {
      if (small_keys >> key->number & 1) return "an attribute's key is there twice";
      small_keys |= uint64_t{1} << key->number;
    } else {
      for (const Token* other = first; other != key; other += other->next, other += other->next) {
        if (other->number == key->number) return "an attribute's key is there twice";
      }
    }
    if (++count > kMaxAttributes) {
      refuse(record, code::kTooLarge, "more than 64 attributes", "attributes", kMaxAttributes);
      return nullptr;
    }
    if (is_term(record.kind, key->number)) {
      if (!record.attributes.terms) record.attributes.terms = &terms_.emplace_back();
      read_term(record, terms_.back(), key->number, Value(value));
    } else {
      read_attribute(record, key->number, Value(value));
    }
    key = value + value->next;
  }
  return nullptr;
}

const char* Decoder::read_body(Value value, BodyRef& body) {
  if (!value) return "the body is missing";
  if (value.is_nil()) return nullptr;
  if (auto bytes = value.binary()) {
    body.where = BodyRef::Where::kInline;
    body.inline_bytes = *bytes;
    return nullptr;
  }
  auto index = value.number();
  if (!index) return "the body is neither bytes nor the number of a frame";
  if (*index == 0 || *index > body_frames_) return "the body names a frame that is not there";
  if (named_[*index - 1]) return "a body frame is named twice";
  named_[*index - 1] = true;
  body.where = BodyRef::Where::kFrame;
  body.frame = static_cast<uint32_t>(*index);
  return nullptr;
}

// Reads one record from its tokens. Returns why the packet is to be refused, or nothing.
const char* Decoder::read(const Token* token, Record& r) {
  if (token->type != Type::kArray || token->size == 0) return "a record is not an array";
  Elements e(token);
  uint64_t kind;
  if (!e.take_number(kind, "a record's kind is not a positive integer")) return e.why();
  r.kind = static_cast<Kind>(kind);

  // The elements that most kinds share, in the order in which they stand.
  auto ref = [&] { return e.take_number(r.ref, "a number is missing or out of range"); };
  auto name = [&] {
    if (!e.take_text(r.name, "a name is missing or not text")) return false;
    check_name(r, r.name);
    return true;
  };
  auto attempt = [&] {
    uint64_t n;
    if (!e.take_number(n, "the attempt is not a number")) return false;
    r.attempt = static_cast<uint32_t>(n);
    return true;
  };
  auto body = [&] {
    const char* why = read_body(e.next(), r.body);
    return why ? e.fail(why) : true;
  };
  auto attributes = [&] {
    const char* why = read_attributes(e.next(), r);
    return why ? e.fail(why) : true;
  };
  auto value = [&](Type type, const char* why) {
    r.value = e.next();
    return r.value.is(type) ? true : e.fail(why);
  };

  bool ok = true;
  switch (r.kind) {
    case Kind::kHeader:
      if (&r != records_.data()) return "a header that is not the first record";
      ok = ref() && e.take_number(r.seq, "seq is not a number") &&
           e.take_number(r.ack, "ack is not a number");
      break;
    case Kind::kHello:
    case Kind::kWelcome:
      ok = ref() && value(Type::kMap, "the fields are not a map");
      break;
    case Kind::kPing:
    case Kind::kPong:
      ok = e.take_integer(r.ref, "the token is not an integer");
      break;
    case Kind::kSlots:
      ok = ref();
      break;
    case Kind::kResume:
      ok = ref();
      break;
    case Kind::kChunk:
      ok = ref() && body() && attributes();
      break;
    case Kind::kCredit: {
      // From a client with an id, to a worker without one.
      ok = ref();
      if (ok && e.next_is(Type::kBinary)) ok = e.take_id(r.id_bytes);
      ok = ok && e.take_number(r.time, "the chunks are not a number");
      if (ok && (r.time == 0 || r.time > kMaxStream)) {
        refuse(r, code::kInvalid, "a credit is 1 to 1024 chunks", "chunks", kMaxStream);
      }
      break;
    }
    case Kind::kSuspend: {
      ok = ref() && value(Type::kArray, "the ids are not a list");
      if (!ok) break;
      for (Value id : r.value.items()) {
        if (!id.is(Type::kBinary) || id.token()->size != 16) return "an id is not 16 bytes";
      }
      uint64_t count = r.value.size();
      if (e.more() && !e.take_number(count, "the count is not a number")) return e.why();
      if (r.value.size() == 0 || r.value.size() > kMaxAwaited) {
        refuse(r, code::kInvalid, "a run awaits 1 to 1,000 tasks", "ids", kMaxAwaited);
      } else if (count == 0 || count > r.value.size()) {
        refuse(r, code::kInvalid, "the count is more than the tasks, or 0", "count",
               r.value.size());
      }
      r.level = static_cast<uint32_t>(std::min<uint64_t>(count, kMaxAwaited));
      break;
    }
    case Kind::kProgress:
      ok = ref();
      if (ok && e.more()) ok = body();
      if (ok && e.more()) ok = attributes();
      break;
    case Kind::kLog: {
      uint64_t level;
      ok = ref() && e.take_number(level, "the level is not a number") &&
           e.take_text(r.message, "the text is not text");
      if (!ok) break;
      if (level < 1 || level > 4) refuse(r, code::kInvalid, "a level that is none", "level", level);
      if (r.message.size() > kMaxLogText) {
        refuse(r, code::kTooLarge, "a log line is longer than 16 KiB", "log", kMaxLogText);
      }
      r.level = static_cast<uint32_t>(level);
      ok = attributes();
      break;
    }
    case Kind::kCheckpoint:
      ok = ref() && body();
      break;
    case Kind::kDefer:
    case Kind::kPause:
      ok = ref() && e.take_number(r.time, "the time is not a number");
      if (ok && r.time > kMaxDuration) {
        refuse(r, code::kInvalid, "a time is longer than 100 years", "time", kMaxDuration);
      }
      break;
    case Kind::kError:
      ok = ref() && e.take_text(r.name, "the code is not text") &&
           e.take_text(r.message, "the message is not text");
      r.value = e.next();
      if (ok && r.value && !r.value.is_map()) return "the details are not a map";
      break;
    case Kind::kBye:
    case Kind::kDrain:
      return read_optional_reason(e, r);
    case Kind::kGoaway:
      if (const char* why = read_optional_reason(e, r)) return why;
      r.value = e.next();
      break;
    case Kind::kSubmit:
    case Kind::kPush:
      ok = ref();
      if (!ok) break;
      // On the pipeline edge a push may leave its id to the broker.
      if (Value id = e.next(); r.kind == Kind::kPush && id.is_nil()) {
        r.id_bytes = nullptr;
      } else if (id.is(Type::kBinary) && id.token()->size == 16) {
        r.id_bytes = id.token()->data;
      } else {
        return "id is not 16 bytes";
      }
      ok = name() && body() && attributes();
      break;
    case Kind::kCancel:
      ok = ref() && e.take_id(r.id_bytes) && attributes();
      break;
    case Kind::kAwait:
      ok = ref() && e.take_id(r.id_bytes) && attributes();
      break;
    case Kind::kUpdate:
      ok = ref() && e.take_id(r.id_bytes) && attributes();
      r.has_body = ok && e.more();
      if (r.has_body) ok = body();
      break;
    case Kind::kControl:
    case Kind::kQuery:
      ok = ref() && name();
      r.value = e.next();
      break;
    case Kind::kPublish:
    case Kind::kEvent:
      ok = ref() && name() && body() && attributes();
      break;
    case Kind::kSubscribe:
      ok = ref() && name() && attributes();
      break;
    case Kind::kUnsubscribe:
      ok = ref() && name();
      break;
    case Kind::kUnsubscribed:
      ok = name() && e.take_text(r.message, "the message is not text");
      break;
    case Kind::kResult: {
      uint64_t state;
      ok = ref() && e.take_number(state, "the state is not a number");
      if (!ok) break;
      if (state < 1 || state > 5) {
        refuse(r, code::kInvalid, "a state that is none", "state", state);
        state = 2;
      }
      r.state = static_cast<State>(state);
      if (e.more()) ok = body();
      if (ok && e.more()) ok = attributes();
      break;
    }
    case Kind::kReturned:
    case Kind::kRecall:
      ok = ref() && value(Type::kArray, "the handles are not a list");
      for (Value handle : r.value.items()) {
        if (handle.number().value_or(kMaxInteger + 1) > kMaxInteger) {
          return ok ? "a handle is not a positive integer" : e.why();
        }
      }
      break;
    case Kind::kAccepted:
      ok = ref();
      break;
    case Kind::kAnswer:
      ok = ref();
      r.value = e.next();
      if (ok && !r.value) return "the answer is missing";
      break;
    case Kind::kTask:
    case Kind::kItem:
      ok = ref() && e.take_id(r.id_bytes) && name() && attempt() && body() && attributes();
      break;
    default:
      r.unknown_kind = kind;
      r.kind = kind < 128 ? Kind::kUnknown : Kind::kIgnorable;
      // Most requests have their number here; the answer should name it.
      if (Value v = e.next(); v.number() && *v.number() <= kMaxInteger) r.ref = *v.number();
      if (r.kind == Kind::kUnknown) {
        refuse(r, code::kUnsupported, "a kind of record that this broker does not carry out",
               "kind", kind);
      }
  }
  return ok ? nullptr : e.why();
}

void Decoder::start(size_t body_frames) {
  scanner_.clear();
  records_.clear();
  others_.clear();
  terms_.clear();
  body_frames_ = body_frames;
  named_.assign(body_frames, false);
}

Decoded Decoder::decode_first(std::string_view frame) {
  constexpr size_t kLongest = 64;
  start(0);
  size_t offset = 0;
  if (const char* why = scanner_.scan(frame.substr(0, kLongest), offset)) return {{}, {why, 0}};
  terms_.reserve(1);
  Record& record = records_.emplace_back();
  if (const char* why = read(scanner_.tokens().data(), record)) return {{}, {why, 0}};
  return {records_, {}};
}

Decoded Decoder::decode(std::string_view frame, size_t body_frames) {
  start(body_frames);
  if (frame.empty()) return Decoded{{}, {"the packet is empty", 0}};
  const char* const end = frame.data() + frame.size();
  for (const char* at = frame.data(); at != end;) {
    const auto index = static_cast<uint32_t>(records_.size());
    Record& record = records_.emplace_back();
    if (const char* behind = read_plain(at, end, record)) {
      at = behind;
      continue;
    }
    others_.push_back({index, static_cast<uint32_t>(scanner_.tokens().size())});
    auto offset = static_cast<size_t>(at - frame.data());
    if (const char* why = scanner_.scan(frame, offset)) return Decoded{{}, {why, index}};
    at = frame.data() + offset;
  }
  // Their tokens stay where they are only now.
  terms_.reserve(others_.size());
  bool all_known = true;
  for (const Other& other : others_) {
    Record& record = records_[other.record];
    if (const char* why = read(scanner_.tokens().data() + other.tokens, record)) {
      return Decoded{{}, {why, other.record}};
    }
    all_known &= record.kind != Kind::kUnknown && record.kind != Kind::kIgnorable;
  }
  if (all_known) {
    for (bool named : named_) {
      if (!named) return Decoded{{}, {"a body frame that no record names", records_.size() - 1}};
    }
  }
  return Decoded{records_, {}};
}

}  // namespace tusk::proto
