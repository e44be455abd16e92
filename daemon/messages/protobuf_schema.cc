#include "daemon/messages/protobuf_schema.h"

#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "config/error.h"
#include "proto/scanner.h"

namespace tusk::messages {
namespace {

namespace pb = google::protobuf;
using pb::Descriptor;
using pb::FieldDescriptor;
using Type = FieldDescriptor::Type;

// Braces within one another in a .proto file; the compiler recurses at each.
constexpr size_t kMaxBraces = 64;

// --- compiling -----------------------------------------------------------------------------------

// The first error of the grammar.
class GrammarErrors final : public pb::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& why) override {
    if (!fault) fault = Fault{why, line + 1, column + 1};
  }
  std::optional<Fault> fault;
};

// The first error of names and types, with its place.
class MeaningErrors final : public pb::DescriptorPool::ErrorCollector {
 public:
  explicit MeaningErrors(const pb::compiler::SourceLocationTable& places) : places_(places) {}

  void AddError(const std::string&, const std::string& element, const pb::Message* descriptor,
                ErrorLocation location, const std::string& why) override {
    if (fault) return;
    fault = Fault{element.empty() ? why : element + ": " + why};
    int line = 0, column = 0;
    if (descriptor == nullptr || !places_.Find(descriptor, location, &line, &column)) return;
    fault->line = line + 1;
    fault->column = column + 1;
  }
  std::optional<Fault> fault;

 private:
  const pb::compiler::SourceLocationTable& places_;
};

// Every message of the file, those within others too.
void list_messages(const Descriptor& message, std::vector<const Descriptor*>& out) {
  if (message.options().map_entry()) return;
  out.push_back(&message);
  for (int i = 0; i < message.nested_type_count(); ++i) list_messages(*message.nested_type(i), out);
}

Compiled<const Descriptor*> choose(const pb::FileDescriptor& file,
                                   const std::optional<std::string>& wanted) {
  if (file.message_type_count() == 0) return tl::unexpected(Fault{"it has no message"});
  if (!wanted && file.message_type_count() == 1) return file.message_type(0);
  std::vector<const Descriptor*> all;
  for (int i = 0; i < file.message_type_count(); ++i) list_messages(*file.message_type(i), all);
  const std::string package = file.package().empty() ? "" : file.package() + ".";
  std::vector<std::string> names;
  for (const Descriptor* message : all)
    names.push_back(message->full_name().substr(package.size()));
  std::string listed;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 10); ++i) {
    listed += (i == 0 ? "" : ", ") + names[i];
  }
  if (names.size() > 10) listed += ", ...";
  if (!wanted) {
    return tl::unexpected(
        Fault{"it has several messages (" + listed + "); say which with the key message"});
  }
  for (size_t i = 0; i < all.size(); ++i) {
    if (names[i] == *wanted || all[i]->full_name() == *wanted) return all[i];
  }
  Fault fault{"the schema has no message \"" + *wanted + "\"; it has " + listed +
              config::did_you_mean(*wanted, {names.begin(), names.end()})};
  fault.names_message = true;
  return tl::unexpected(std::move(fault));
}

// Where braces go too deep, if they do.
std::optional<Fault> too_deep(std::string_view text) {
  size_t depth = 0;
  int line = 1;
  for (char c : text) {
    line += c == '\n';
    if (c == '}' && depth > 0) --depth;
    if (c == '{' && ++depth > kMaxBraces) {
      return Fault{"more than " + std::to_string(kMaxBraces) + " braces within one another", line,
                   1};
    }
  }
  return std::nullopt;
}

// --- checking ------------------------------------------------------------------------------------

// Required fields that were seen in a message. Its parts add up: protobuf merges them.
struct Presence {
  std::set<int> seen;
  std::map<const FieldDescriptor*, Presence> parts;  // messages that are no lists
};

// Messages that have a required field, or hold one that has.
std::set<const Descriptor*> with_required(const Descriptor& root) {
  std::vector<const Descriptor*> all{&root};
  std::set<const Descriptor*> known{&root};
  for (size_t i = 0; i < all.size(); ++i) {
    for (int f = 0; f < all[i]->field_count(); ++f) {
      const Descriptor* inner = all[i]->field(f)->message_type();
      if (inner != nullptr && known.insert(inner).second) all.push_back(inner);
    }
  }
  std::set<const Descriptor*> out;
  for (size_t before = 1; before != 0;) {
    before = 0;
    for (const Descriptor* message : all) {
      if (out.contains(message)) continue;
      for (int f = 0; f < message->field_count(); ++f) {
        const FieldDescriptor* field = message->field(f);
        if (!field->is_required() && !out.contains(field->message_type())) continue;
        out.insert(message);
        ++before;
        break;
      }
    }
  }
  return out;
}

enum Wire { kVarint = 0, kFixed64 = 1, kBytes = 2, kGroup = 3, kEndGroup = 4, kFixed32 = 5 };

Wire wire_of(Type type) {
  switch (type) {
    case FieldDescriptor::TYPE_DOUBLE:
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
      return kFixed64;
    case FieldDescriptor::TYPE_FLOAT:
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
      return kFixed32;
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
    case FieldDescriptor::TYPE_MESSAGE:
      return kBytes;
    case FieldDescriptor::TYPE_GROUP:
      return kGroup;
    default:
      return kVarint;
  }
}

class Walk {
 public:
  Walk(std::string_view body, const std::set<const Descriptor*>& required)
      : in_(reinterpret_cast<const uint8_t*>(body.data()), static_cast<int>(body.size())),
        body_(body),
        required_(required) {}

  std::optional<core::Refusal> run(const Descriptor& type) {
    Presence presence;
    const auto end = in_.PushLimit(static_cast<int>(body_.size()));
    if (message(type, presence, 0)) complete(type, presence);
    in_.PopLimit(end);
    return std::move(wrong_);
  }

 private:
  // The fields of a message up to the limit, or to the end of its group.
  bool message(const Descriptor& type, Presence& presence, int group) {
    if (path_.size() > kMaxDepth) {
      return no("nests deeper than " + std::to_string(kMaxDepth) + " messages");
    }
    std::map<const FieldDescriptor*, size_t> counts;  // of lists of messages
    while (in_.BytesUntilLimit() > 0) {
      if (++steps_ > kMaxSteps) {
        return no("has more than " + std::to_string(kMaxSteps) + " fields");
      }
      uint32_t tag = 0;
      if (!read_tag(tag)) return false;
      const int number = static_cast<int>(tag >> 3), wire = static_cast<int>(tag & 7);
      if (wire == kEndGroup) {
        return number == group || no("ends a group that it does not begin");
      }
      const FieldDescriptor* field = type.FindFieldByNumber(number);
      if (field == nullptr) {
        if (!skip(number, wire, path_.size())) return false;
        continue;
      }
      const bool counted = field->is_repeated() && field->message_type() != nullptr;
      path_.push_back(field->name() + (counted ? "[" + std::to_string(counts[field]++) + "]" : ""));
      if (!value(*field, wire, presence)) return false;
      path_.pop_back();
    }
    return group == 0 || no("ends within a group");
  }

  bool value(const FieldDescriptor& field, int wire, Presence& presence) {
    const Wire expected = wire_of(field.type());
    if (wire == kBytes && field.is_packable()) return packed(field, expected);
    if (wire != expected) {
      return no("is written with wire type " + std::to_string(wire) + "; the schema says " +
                field.type_name() + ", which is wire type " + std::to_string(expected));
    }
    if (const pb::OneofDescriptor* one = field.real_containing_oneof()) {
      std::erase_if(presence.parts, [&](const auto& part) {
        return part.first != &field && part.first->real_containing_oneof() == one;
      });
    }
    if (field.message_type() != nullptr) return inner(field, presence);
    if (expected != kBytes) {
      uint64_t number = 0;
      if (!read_number(expected, number)) return false;
      note(field, number, presence);
      return true;
    }
    std::string_view bytes;
    if (!read_bytes(bytes)) return false;
    const bool proto3 = field.file()->syntax() == pb::FileDescriptor::SYNTAX_PROTO3;
    if (proto3 && field.type() == FieldDescriptor::TYPE_STRING && !proto::is_utf8(bytes)) {
      return no("is a string that is not UTF-8");
    }
    note(field, 0, presence);
    return true;
  }

  // A value of an enum of proto2 that the schema does not list is no value of the field.
  void note(const FieldDescriptor& field, uint64_t number, Presence& presence) {
    if (!field.is_required()) return;
    const bool closed = field.type() == FieldDescriptor::TYPE_ENUM;
    if (closed && field.enum_type()->FindValueByNumber(static_cast<int>(number)) == nullptr) return;
    presence.seen.insert(field.number());
  }

  bool inner(const FieldDescriptor& field, Presence& presence) {
    if (field.is_required()) presence.seen.insert(field.number());
    const Descriptor& type = *field.message_type();
    const bool watched = required_.contains(&type);
    Presence own;
    Presence& part = watched && !field.is_repeated() ? presence.parts[&field] : own;
    if (field.type() == FieldDescriptor::TYPE_GROUP) {
      if (!message(type, part, field.number())) return false;
    } else {
      int size = 0;
      if (!read_size(size)) return false;
      const auto limit = in_.PushLimit(size);
      if (!message(type, part, 0)) return false;
      in_.PopLimit(limit);
    }
    return !watched || !field.is_repeated() || complete(type, own);
  }

  bool packed(const FieldDescriptor&, Wire wire) {
    int size = 0;
    if (!read_size(size)) return false;
    const auto limit = in_.PushLimit(size);
    while (in_.BytesUntilLimit() > 0) {
      if (++steps_ > kMaxSteps) {
        return no("has more than " + std::to_string(kMaxSteps) + " values");
      }
      uint64_t number = 0;
      if (!read_number(wire, number)) return false;
    }
    in_.PopLimit(limit);
    return true;
  }

  // A field that the schema does not know: of a later version of it, and good.
  bool skip(int number, int wire, size_t depth) {
    uint64_t value = 0;
    std::string_view bytes;
    switch (wire) {
      case kVarint:
      case kFixed32:
      case kFixed64:
        return read_number(static_cast<Wire>(wire), value);
      case kBytes:
        return read_bytes(bytes);
      case kGroup:
        break;
      default:
        return no("has a tag of wire type " + std::to_string(wire) + ", which there is not");
    }
    if (depth > kMaxDepth) {
      return no("nests deeper than " + std::to_string(kMaxDepth) + " messages");
    }
    while (in_.BytesUntilLimit() > 0) {
      if (++steps_ > kMaxSteps) {
        return no("has more than " + std::to_string(kMaxSteps) + " fields");
      }
      uint32_t tag = 0;
      if (!read_tag(tag)) return false;
      if ((tag & 7) == kEndGroup) {
        return static_cast<int>(tag >> 3) == number || no("ends a group that it does not begin");
      }
      if (!skip(static_cast<int>(tag >> 3), static_cast<int>(tag & 7), depth + 1)) return false;
    }
    return no("ends within a group");
  }

  // Whether all that is required was there.
  bool complete(const Descriptor& type, const Presence& presence) {
    if (!required_.contains(&type)) return true;
    for (int i = 0; i < type.field_count(); ++i) {
      const FieldDescriptor& field = *type.field(i);
      if (field.is_required() && !presence.seen.contains(field.number())) {
        return no("has no \"" + field.name() + "\", which is required");
      }
    }
    for (const auto& [field, part] : presence.parts) {
      path_.push_back(field->name());
      if (!complete(*field->message_type(), part)) return false;
      path_.pop_back();
    }
    return true;
  }

  bool read_tag(uint32_t& tag) {
    uint64_t number = 0;
    if (!in_.ReadVarint64(&number)) return ends();
    if (number > UINT32_MAX || number >> 3 == 0) return no("has a tag that no field has");
    tag = static_cast<uint32_t>(number);
    return true;
  }
  bool read_number(Wire wire, uint64_t& number) {
    uint32_t small = 0;
    switch (wire) {
      case kFixed32:
        return in_.ReadLittleEndian32(&small) || ends();
      case kFixed64:
        return in_.ReadLittleEndian64(&number) || ends();
      default:
        return in_.ReadVarint64(&number) || ends();
    }
  }
  // The size of what follows, all of which is there.
  bool read_size(int& size) {
    uint64_t number = 0;
    if (!in_.ReadVarint64(&number)) return ends();
    if (number > static_cast<uint64_t>(in_.BytesUntilLimit())) return ends();
    size = static_cast<int>(number);
    return true;
  }
  bool read_bytes(std::string_view& bytes) {
    int size = 0;
    if (!read_size(size)) return false;
    bytes = body_.substr(static_cast<size_t>(in_.CurrentPosition()), static_cast<size_t>(size));
    return in_.Skip(size) || ends();
  }

  bool ends() {
    return no("cannot be read at byte " + std::to_string(in_.CurrentPosition()) +
              ": it ends too early, or a number is too long");
  }
  bool no(std::string why) {
    std::string path;
    for (const std::string& name : path_) path += (path.empty() ? "" : ".") + name;
    wrong_ = core::Refusal{cut(std::move(path)), cut(std::move(why))};
    return false;
  }

  pb::io::CodedInputStream in_;
  const std::string_view body_;
  const std::set<const Descriptor*>& required_;
  std::vector<std::string> path_;
  size_t steps_ = 0;
  std::optional<core::Refusal> wrong_;
};

class ProtobufSchema final : public Schema {
 public:
  Compiled<void> read(std::string_view text, const std::optional<std::string>& message) {
    if (auto fault = too_deep(text)) return tl::unexpected(std::move(*fault));
    const pb::LogSilencer quiet;  // what it has to say is in the errors
    pb::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
    GrammarErrors grammar;
    pb::io::Tokenizer tokens(&stream, &grammar);
    pb::compiler::SourceLocationTable places;
    pb::compiler::Parser parser;
    parser.RecordErrorsTo(&grammar);
    parser.RecordSourceLocationsTo(&places);
    pb::FileDescriptorProto file;
    file.set_name("schema.proto");
    const bool parsed = parser.Parse(&tokens, &file);
    if (grammar.fault) return tl::unexpected(std::move(*grammar.fault));
    if (!parsed) return tl::unexpected(Fault{"it is no .proto file"});
    if (file.dependency_size() > 0) {
      Fault fault{"it imports \"" + file.dependency(0) +
                  "\"; a schema is one file: put the messages into it"};
      int line = 0, column = 0;
      if (places.FindImport(&file, file.dependency(0), &line, &column)) {
        fault.line = line + 1;
        fault.column = column + 1;
      }
      return tl::unexpected(std::move(fault));
    }
    MeaningErrors meaning(places);
    const pb::FileDescriptor* built = pool_.BuildFileCollectingErrors(file, &meaning);
    if (built == nullptr) {
      return tl::unexpected(meaning.fault ? std::move(*meaning.fault)
                                          : Fault{"it is no .proto file"});
    }
    auto chosen = choose(*built, message);
    if (!chosen) return tl::unexpected(std::move(chosen.error()));
    type_ = *chosen;
    required_ = with_required(*type_);
    return {};
  }

  std::optional<core::Refusal> check(std::string_view body) const override {
    if (body.size() > static_cast<size_t>(INT32_MAX)) {
      return core::Refusal{"", "is larger than 2 GiB, which is more than protobuf reads"};
    }
    return Walk(body, required_).run(*type_);
  }

 private:
  pb::DescriptorPool pool_;
  const Descriptor* type_ = nullptr;
  std::set<const Descriptor*> required_;
};

}  // namespace

Compiled<std::unique_ptr<Schema>> protobuf_schema(std::string_view text,
                                                  const std::optional<std::string>& message) {
  auto schema = std::make_unique<ProtobufSchema>();
  if (auto read = schema->read(text, message); !read) {
    return tl::unexpected(std::move(read.error()));
  }
  return schema;
}

}  // namespace tusk::messages
